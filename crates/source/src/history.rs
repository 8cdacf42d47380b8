//! The commits between two revisions, and the subjects of some: read where the repository is at hand, on this machine or in
//! the mirror. A mirror that has single commits alone gets their history from its remotes; none is made for that.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use git2::{Oid, Repository, Sort};
use serde::Serialize;

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::mirror::Mirror;
use crate::mirrored::Mirrored;
use crate::options::SourceOptions;
use crate::remote::Remote;
use crate::repository;
use crate::revision::Revision;
use crate::transport::{Failure, Wire};

/// How two revisions differ in commits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct History {
    /// Commits that the second has and the first has not, newest first.
    pub added: Side,
    /// Commits that the first has and the second has not, newest first.
    pub removed: Side,
}

/// The commits that one revision alone has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Side {
    /// The newest of them, as many as were asked for.
    pub commits: Vec<Commit>,
    /// How many there are in all.
    pub count: usize,
}

/// What is known of the commits between two revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Between {
    /// They are known.
    Known(History),
    /// The repository is not at hand, or not with its history: why, for people.
    Unknown(String),
}

pub(crate) fn between(
    options: &SourceOptions,
    (from, to): (&str, &str),
    limit: usize,
    cancel: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Between, Error> {
    let (Ok(from), Ok(to)) = (Oid::from_str(from), Oid::from_str(to)) else {
        return Ok(Between::Unknown("a revision is no commit id".to_owned()));
    };
    let ends = (from, to);
    let mut why = "there is no repository at hand".to_owned();
    for (repository, remote) in at_hand(options) {
        match walk(&repository, &remote, ends, limit) {
            Ok(history) => return Ok(Between::Known(history)),
            Err(cause) => why = cause,
        }
    }
    let mirrored = options.remotes.iter().find(|remote| is_mirrored(remote));
    let Some(first) = mirrored.filter(|_| options.mirror.exists()) else {
        return Ok(Between::Unknown(why));
    };
    if let Err(cause) = deepen(options, ends, cancel, on_event)? {
        return Ok(Between::Unknown(cause));
    }
    let repository = repository::open_git_dir(&options.mirror)?;
    Ok(match walk(&repository, first, ends, limit) {
        Ok(history) => Between::Known(history),
        Err(cause) => Between::Unknown(cause),
    })
}

/// The subjects of the revisions that are at hand, by their full ids. Nothing is fetched.
pub(crate) fn subjects(options: &SourceOptions, revisions: &[String]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (repository, remote) in at_hand(options) {
        for revision in revisions {
            let id = Oid::from_str(revision)
                .ok()
                .filter(|_| !found.contains_key(revision));
            let commit = id.and_then(|id| repository::commit(&repository, id, &remote).ok());
            if let Some(commit) = commit {
                found.insert(revision.clone(), commit.subject);
            }
        }
    }
    found
}

/// The repositories that can be read without asking anybody: those on this machine, and the mirror. It is read without its
/// lock: what git adds to a repository while it is read does not change what is there.
fn at_hand(options: &SourceOptions) -> Vec<(Repository, Remote)> {
    let mut found: Vec<(Repository, Remote)> = Vec::new();
    for remote in &options.remotes {
        if let Remote::Path(path) = remote
            && let Ok(repository) = repository::open_named(path)
        {
            found.push((repository, remote.clone()));
        }
    }
    let mirrored = options.remotes.iter().find(|remote| is_mirrored(remote));
    if let Some(remote) = mirrored
        && let Ok(repository) = repository::open_git_dir(&options.mirror)
    {
        found.push((repository, remote.clone()));
    }
    found
}

fn is_mirrored(remote: &Remote) -> bool {
    !matches!(remote, Remote::Path(_))
}

/// Both sides, or why they cannot be told.
fn walk(repository: &Repository, origin: &Remote, ends: (Oid, Oid), limit: usize) -> Result<History, String> {
    let (from, to) = ends;
    for id in [from, to] {
        if repository::peel(repository, id).is_none() {
            return Err(format!("{origin} is at hand without the commit {id}"));
        }
    }
    let cut = shallow_roots(repository.path());
    let shallow = || format!("{origin} is at hand without its history");
    if !cut.is_empty() && from != to && repository.merge_base(from, to).is_err() {
        return Err(shallow());
    }
    let side = |have: Oid, lack: Oid| -> Result<Side, String> {
        let ids = reachable(repository, have, lack).map_err(|error| error.message().to_owned())?;
        if ids.iter().any(|id| cut.contains(id)) {
            return Err(shallow());
        }
        let commits = ids.iter().take(limit);
        let commits = commits.map(|id| repository::commit(repository, *id, origin));
        Ok(Side {
            commits: commits
                .collect::<Result<_, _>>()
                .map_err(|error| error.to_string())?,
            count: ids.len(),
        })
    };
    Ok(History {
        added: side(to, from)?,
        removed: side(from, to)?,
    })
}

fn reachable(repository: &Repository, have: Oid, lack: Oid) -> Result<Vec<Oid>, git2::Error> {
    let mut walk = repository.revwalk()?;
    walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
    walk.push(have)?;
    walk.hide(lack)?;
    walk.collect()
}

/// The commits whose parents a shallow repository has not.
fn shallow_roots(git_dir: &Path) -> Vec<Oid> {
    let list = std::fs::read_to_string(git_dir.join("shallow")).unwrap_or_default();
    list.lines().filter_map(|line| Oid::from_str(line).ok()).collect()
}

/// Fetches the history of both commits into the mirror; the inner error says why no remote gave it.
fn deepen(
    options: &SourceOptions,
    ends: (Oid, Oid),
    cancel: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Result<(), String>, Error> {
    let mirror = Mirror::lock(&options.mirror, cancel, on_event)?;
    let wire = Wire {
        source: options,
        mirror: &mirror,
        cancel,
        on_event,
    };
    let mut why = String::new();
    for remote in options.remotes.iter().filter(|remote| is_mirrored(remote)) {
        let mut all = Ok(());
        for id in [ends.0, ends.1] {
            let revision = Revision::parse(&id.to_string())?;
            if all.is_ok() {
                all = Mirrored::open(&wire, &revision)?.deepen(remote, id);
            }
        }
        match all {
            Ok(()) => return Ok(Ok(())),
            Err(failure) => why = format!("{remote}: {}", reason(failure)?),
        }
    }
    Ok(Err(why))
}

fn reason(failure: Failure) -> Result<String, Error> {
    match failure {
        Failure::Unreachable(reason)
        | Failure::Auth(reason)
        | Failure::NotGiven(reason)
        | Failure::Absent(reason)
        | Failure::Damaged(reason)
        | Failure::HostKey { reason, .. }
        | Failure::OtherKeyTypes { reason, .. } => Ok(reason),
        Failure::Other(error) => Err(error),
    }
}
