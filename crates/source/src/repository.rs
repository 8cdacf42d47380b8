//! Opening repositories and looking commits up in them. Nothing is fetched or written here.

use std::path::{Path, PathBuf};

use git2::{ErrorCode, ObjectType, Oid, Repository, RepositoryOpenFlags};

use crate::commit::Commit;
use crate::commit_text::CommitText;
use crate::error::Error;
use crate::object;
use crate::remote::Remote;
use crate::revision::{Base, Revision};

/// Opens a git directory that was found before.
pub(crate) fn open_git_dir(path: &Path) -> Result<Repository, Error> {
    let flags = RepositoryOpenFlags::NO_SEARCH | RepositoryOpenFlags::BARE;
    open_with(path, flags)
}

/// Opens a repository that a user named: its work tree (also a linked one), its git directory, or a bare one with or
/// without `.git` at its end. Directories above it are not searched.
pub(crate) fn open_named(path: &Path) -> Result<Repository, Error> {
    let flags = RepositoryOpenFlags::NO_SEARCH;
    let first = open_with(path, flags);
    if !path.exists() {
        let mut with_suffix = path.as_os_str().to_owned();
        with_suffix.push(".git");
        if Path::new(&with_suffix).exists() {
            return open_with(Path::new(&with_suffix), flags);
        }
    }
    first
}

fn open_with(path: &Path, flags: RepositoryOpenFlags) -> Result<Repository, Error> {
    let nothing_above: [&Path; 0] = [];
    Repository::open_ext(path, flags, nothing_above).map_err(|source| {
        let path = path.to_path_buf();
        if source.code() == ErrorCode::Owner {
            Error::Owner { path, source }
        } else {
            Error::Repository { path, source }
        }
    })
}

/// What a lookup found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    One(Oid),
    /// Printable candidates.
    Many(Vec<String>),
}

/// Finds a revision among the commits that refs of its name point at (with a printable form each) and, for digits, among
/// all commits.
pub(crate) fn find(
    repository: &Repository,
    revision: &Revision,
    named: &[(Oid, String)],
) -> Result<Found, git2::Error> {
    let mut found: Vec<(Oid, String)> = named.to_vec();
    if let Base::Id(id) = revision.base
        && let Some(commit) = peel(repository, id)
    {
        found.push((commit, id.to_string()));
    }
    if let Some(digits) = revision.prefix() {
        for id in commits_with_prefix(repository, &digits)? {
            found.push((id, describe(repository, id)));
        }
    }
    settle(repository, revision, found)
}

/// One commit, several, or none; with the revision's suffix applied.
fn settle(
    repository: &Repository,
    revision: &Revision,
    mut found: Vec<(Oid, String)>,
) -> Result<Found, git2::Error> {
    let Some((first, _)) = found.first() else {
        return Ok(Found::Nothing);
    };
    let first = *first;
    if found.iter().any(|(id, _)| *id != first) {
        found.dedup_by_key(|(id, _)| *id);
        return Ok(Found::Many(found.into_iter().map(|(_, text)| text).collect()));
    }
    if revision.suffix.is_empty() {
        return Ok(Found::One(first));
    }
    match repository
        .revparse_single(&format!("{first}{}", revision.suffix))
        .and_then(|object| object.peel_to_commit())
    {
        Ok(commit) => Ok(Found::One(commit.id())),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

/// The commits that refs of these names point at, with a printable form each.
pub(crate) fn named(repository: &Repository, names: &[String]) -> Vec<(Oid, String)> {
    let commits = names.iter().filter_map(|name| {
        let commit = repository.find_reference(name).ok()?.peel_to_commit().ok()?;
        Some((commit.id(), format!("{name} ({})", commit.id())))
    });
    commits.collect()
}

fn commits_with_prefix(repository: &Repository, digits: &str) -> Result<Vec<Oid>, git2::Error> {
    let odb = repository.odb()?;
    let padded = Oid::from_str(&format!("{digits:0<40}"))?;
    match odb.exists_prefix(padded, digits.len()) {
        Ok(id) => return Ok(peel(repository, id).into_iter().collect()),
        Err(error) if error.code() == ErrorCode::NotFound => return Ok(Vec::new()),
        Err(error) if error.code() != ErrorCode::Ambiguous => return Err(error),
        Err(_) => {}
    }
    let mut matching = Vec::new();
    odb.foreach(|id| {
        if id.to_string().starts_with(digits) {
            matching.push(*id);
        }
        true
    })?;
    let mut commits: Vec<Oid> = matching
        .into_iter()
        .filter_map(|id| peel(repository, id))
        .collect();
    commits.sort();
    commits.dedup();
    Ok(commits)
}

/// The commit that an object is, or that it tags.
pub(crate) fn peel(repository: &Repository, id: Oid) -> Option<Oid> {
    let object = repository.find_object(id, None).ok()?;
    if !matches!(object.kind(), Some(ObjectType::Commit | ObjectType::Tag)) {
        return None;
    }
    object.peel_to_commit().ok().map(|commit| commit.id())
}

fn describe(repository: &Repository, id: Oid) -> String {
    let subject = repository
        .find_commit(id)
        .ok()
        .and_then(|commit| commit.summary().ok().flatten().map(str::to_owned));
    format!("{id} {}", subject.unwrap_or_default())
}

/// Everything that is to be known about a commit.
pub(crate) fn commit(repository: &Repository, id: Oid, origin: &Remote) -> Result<Commit, Error> {
    let git_dir: PathBuf = repository.commondir().to_path_buf();
    let read = || {
        let odb = repository.odb()?;
        Ok(CommitText::parse(
            object::read(&odb, id, ObjectType::Commit)?.data(),
        ))
    };
    let text = read().map_err(|source| Error::Damaged {
        git_dir: git_dir.clone(),
        what: format!("commit {id}"),
        source,
    })?;
    Ok(Commit {
        id: id.to_string(),
        tree_id: text.tree.clone(),
        time: text.committer.time,
        subject: text.readable(&text.subject_and_body().0),
        author: format!(
            "{} <{}>",
            text.readable(&text.author.name),
            text.readable(&text.author.mail)
        ),
        git_dir,
        origin: origin.clone(),
    })
}

/// Whether the commit, its trees and its files are all in the repository.
pub(crate) fn is_complete(repository: &Repository, id: Oid) -> bool {
    let check = || -> Result<bool, git2::Error> {
        let odb = repository.odb()?;
        let mut trees = vec![repository.find_commit(id)?.tree_id()];
        let mut seen = std::collections::HashSet::new();
        while let Some(tree) = trees.pop() {
            for item in &object::find_tree(repository, tree)? {
                match item.kind() {
                    Some(ObjectType::Tree) if seen.insert(item.id()) => trees.push(item.id()),
                    Some(ObjectType::Blob) if !odb.exists(item.id()) => return Ok(false),
                    _ => {}
                }
            }
        }
        Ok(true)
    };
    check().unwrap_or(false)
}

/// The names most like the one that was asked for, best first.
pub(crate) fn similar<'a>(revision: &Revision, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (Base::Name(wanted) | Base::Prefix(wanted)) = &revision.base else {
        return Vec::new();
    };
    let mut scored: Vec<(f64, String)> = names
        .filter_map(|name| {
            let short = short_name(name);
            let last = short.rsplit('/').next().unwrap_or(short);
            let score = strsim::jaro_winkler(wanted, short).max(strsim::jaro_winkler(wanted, last) - 0.01);
            (score > 0.8).then(|| (score, short.to_owned()))
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

fn short_name(name: &str) -> &str {
    let kinds = ["refs/heads/", "refs/tags/", "refs/remotes/", "refs/"];
    kinds
        .iter()
        .find_map(|kind| name.strip_prefix(kind))
        .unwrap_or(name)
}
