//! One commit of a walk: its paths checked and mounted, its objects read, with errors that name them.

use git2::{ObjectType, Oid, Repository, Tree};
use shipit_artifact::EntryPath;

use crate::attributes::Stack;
use crate::commit::Commit;
use crate::error::Error;
use crate::object;

/// One commit being walked, and where its tree is mounted.
pub(crate) struct Level<'a> {
    pub repository: &'a Repository,
    pub commit: &'a Commit,
    pub origin: usize,
    /// The submodule's path with a slash; empty at the top.
    pub mount: Vec<u8>,
    pub depth: usize,
    pub stack: Stack,
    pub gitmodules: Option<Vec<u8>>,
}

/// What git itself refuses to check out, on any file system it knows of.
pub(crate) fn check_name(level: &Level<'_>, name: &[u8], path: &[u8]) -> Result<(), Error> {
    let refuse = |reason| Err(unsafe_path(&level.commit.id, path, reason));
    if name.contains(&b'/') {
        return refuse("a name holds a slash");
    }
    let lower = name.to_ascii_lowercase();
    let trimmed = match lower.iter().rposition(|byte| !matches!(byte, b' ' | b'.')) {
        Some(last) => &lower[..=last],
        None => &lower[..],
    };
    if trimmed == b".git" || trimmed == b"git~1" {
        return refuse("it would be taken for git's own directory");
    }
    Ok(())
}

pub(crate) fn mounted(level: &Level<'_>, path: &[u8]) -> Result<EntryPath, Error> {
    let mut full = level.mount.clone();
    full.extend_from_slice(path);
    EntryPath::new(full).map_err(|source| Error::BadPath {
        commit: level.commit.id.clone(),
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    })
}

pub(crate) fn unsafe_path(commit: &str, path: &[u8], reason: &'static str) -> Error {
    Error::UnsafePath {
        commit: commit.to_owned(),
        path: String::from_utf8_lossy(path).into_owned(),
        reason,
    }
}

pub(crate) fn read_blob(level: &Level<'_>, id: Oid, path: &EntryPath) -> Result<Vec<u8>, Error> {
    let read = || {
        let odb = level.repository.odb()?;
        Ok(object::read(&odb, id, ObjectType::Blob)?.data().to_vec())
    };
    read().map_err(|source| damaged_blob(level, id, path, source))
}

pub(crate) fn blob_size(level: &Level<'_>, id: Oid, path: &EntryPath) -> Result<u64, Error> {
    let header = level.repository.odb().and_then(|odb| odb.read_header(id));
    match header {
        Ok((size, ObjectType::Blob)) => Ok(size as u64),
        Ok(_) => Err(unsafe_path(
            &level.commit.id,
            path.as_bytes(),
            "it is no file in git's own store",
        )),
        Err(source) => Err(damaged_blob(level, id, path, source)),
    }
}

pub(crate) fn damaged_blob(level: &Level<'_>, id: Oid, path: &EntryPath, source: git2::Error) -> Error {
    Error::Damaged {
        git_dir: level.commit.git_dir.clone(),
        what: format!("{path} ({id})"),
        source,
    }
}

/// A regular file of a directory by its name.
pub(crate) fn read_blob_at(
    repository: &Repository,
    tree: &Tree<'_>,
    name: &[u8],
) -> Result<Option<Vec<u8>>, git2::Error> {
    let Some(item) = tree
        .iter()
        .find(|item| item.name_bytes() == name && item.filemode_raw() & 0o170_000 == 0o100_000)
    else {
        return Ok(None);
    };
    let odb = repository.odb()?;
    let content = object::read(&odb, item.id(), ObjectType::Blob)?;
    Ok(Some(content.data().to_vec()))
}
