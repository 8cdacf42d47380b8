//! Git LFS: recognising pointers, and having their objects by the git-lfs program. Objects that the repository or an
//! earlier build has already are taken as they are, after a check of their SHA-256.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use shipit_artifact::{Digest, EntryPath, Sha256Writer};

use crate::commit::Commit;
use crate::config_text;
use crate::error::{Error, disk_error};
use crate::event::Event;
use crate::git_program::{Git, Smudge};
use crate::options::SourceOptions;
use crate::repository;
use crate::submodule;

/// A pointer is never longer than this many bytes (git-lfs's own rule).
pub(crate) const LARGEST_POINTER: u64 = 1024;

/// What stands in git in place of an LFS file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// The object's SHA-256.
    pub oid: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The pointer as git stores it.
    pub text: Vec<u8>,
}

impl Pointer {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let version = lines.next()?.strip_prefix("version ")?;
        if ![
            "https://git-lfs.github.com/spec/v1",
            "http://git-media.io/v/2",
            "https://hawser.github.com/spec/v1",
        ]
        .contains(&version)
        {
            return None;
        }
        let (mut oid, mut size) = (None, None);
        for line in lines {
            match line.split_once(' ') {
                Some(("oid", value)) => oid = value.strip_prefix("sha256:"),
                Some(("size", value)) => size = value.parse().ok(),
                _ => {}
            }
        }
        Some(Self {
            oid: oid?.to_ascii_lowercase().parse().ok()?,
            size: size?,
            text: bytes.to_vec(),
        })
    }
}

/// The file with an LFS object's content, in shipit's own store beside the mirror or in the repository's.
pub(crate) fn object(
    source: &SourceOptions,
    commit: &Commit,
    path: &EntryPath,
    pointer: &Pointer,
    cancel: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<PathBuf, Error> {
    let store = store(&source.mirror);
    let kept = object_path(&store, pointer.oid);
    for known in [&kept, &object_path(&commit.git_dir.join("lfs"), pointer.oid)] {
        if is_object(known, pointer)? {
            return Ok(known.clone());
        }
    }
    on_event(Event::LfsFetching {
        path: path.to_string(),
        size: pointer.size,
    });
    let directory = kept.parent().unwrap_or(&store).to_path_buf();
    fs::create_dir_all(&directory).map_err(failed("making the directory", &directory))?;
    let mut partial =
        tempfile::NamedTempFile::new_in(&directory).map_err(failed("making a file in", &directory))?;
    let git_dir = scratch_repository(&store)?;
    let not_had = |reason| Error::LfsObject {
        path: path.to_string(),
        oid: pointer.oid.to_string(),
        reason,
    };
    let output = partial.reopen().map_err(failed("opening", partial.path()))?;
    smudge(source, commit, pointer, &git_dir, output, cancel)?.map_err(|reason| {
        match disk_error(&reason) {
            Some(error) => failed("fetching an LFS object into", &store)(error),
            None => not_had(reason),
        }
    })?;
    partial.flush().map_err(failed("writing", partial.path()))?;
    if !is_object(partial.path(), pointer)? {
        return Err(not_had(
            "git-lfs gave other content than the pointer names".to_owned(),
        ));
    }
    // Its own copy is of no use: the file moves to where the next build looks.
    let _ = fs::remove_file(object_path(&git_dir.join("lfs"), pointer.oid));
    partial
        .persist(&kept)
        .map_err(|error| failed("writing", &kept)(error.error))?;
    Ok(kept)
}

/// Has git-lfs write the object to `output`; the inner error is what it said.
fn smudge(
    source: &SourceOptions,
    commit: &Commit,
    pointer: &Pointer,
    git_dir: &Path,
    output: File,
    cancel: &AtomicBool,
) -> Result<Result<(), String>, Error> {
    let remote = submodule::base(commit)?;
    let smudge = Smudge {
        git: Git::new(source, &remote),
        git_dir,
        pointer: &pointer.text,
        remote: &remote,
        lfs_url: configured_url(commit)?,
    };
    smudge.run(output, cancel, source.timeouts)
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_path_buf();
    move |source| Error::Io { doing, path, source }
}

/// `lfs.url` of the commit's `.lfsconfig`, which git-lfs cannot see in a bare repository.
fn configured_url(commit: &Commit) -> Result<Option<String>, Error> {
    let repository = repository::open_git_dir(&commit.git_dir)?;
    let read = || -> Result<Option<Vec<u8>>, git2::Error> {
        let tree = repository.find_tree(git2::Oid::from_str(&commit.tree_id)?)?;
        let Some(item) = tree.get_name(".lfsconfig") else {
            return Ok(None);
        };
        Ok(Some(repository.find_blob(item.id())?.content().to_vec()))
    };
    let damaged = |source| Error::Damaged {
        git_dir: commit.git_dir.clone(),
        what: ".lfsconfig".to_owned(),
        source,
    };
    let Some(bytes) = read().map_err(damaged)? else {
        return Ok(None);
    };
    Ok(config_text::entries(&bytes)
        .into_iter()
        .find(|(key, _)| key == "lfs.url")
        .map(|(_, value)| value))
}

/// The bare repository that git-lfs works in, without any commit: the repository of the commit may be the user's own, into
/// which nothing is written.
fn scratch_repository(store: &Path) -> Result<PathBuf, Error> {
    let path = store.join("scratch.git");
    git2::Repository::init_bare(&path)
        .map_err(|source| Error::writing("making the repository", &path, source))?;
    Ok(path)
}

/// `<mirror>.lfs`, beside the mirror: it outlives one that is made anew.
fn store(mirror: &Path) -> PathBuf {
    let mut name = mirror.as_os_str().to_owned();
    name.push(".lfs");
    PathBuf::from(name)
}

fn object_path(store: &Path, oid: Digest) -> PathBuf {
    let oid = oid.to_string();
    store.join("objects").join(&oid[..2]).join(&oid[2..4]).join(oid)
}

fn is_object(path: &Path, pointer: &Pointer) -> Result<bool, Error> {
    let failed = |source| Error::Io {
        doing: "reading",
        path: path.to_path_buf(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut hash = Sha256Writer::new(io::sink());
    let length = io::copy(&mut file, &mut hash).map_err(failed)?;
    Ok(length == pointer.size && hash.finish().1 == pointer.oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers() {
        let oid = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 12345\n");
        let pointer = Pointer::parse(text.as_bytes()).unwrap();
        assert_eq!((pointer.oid.to_string().as_str(), pointer.size), (oid, 12345));
        assert_eq!(Pointer::parse(b"just text\n"), None);
        assert_eq!(Pointer::parse(text.replace("4d7a", "4d7x").as_bytes()), None);
    }
}
