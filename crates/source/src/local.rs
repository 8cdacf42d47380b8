//! Repositories on this machine that are read directly: nothing is fetched, nothing is written, no network is used.

use std::path::Path;

use git2::{ObjectType, Repository, Status, StatusOptions};

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::lack::{self, Lack};
use crate::remote::Remote;
use crate::repository::{self, Found};
use crate::revision::{Base, Revision};

/// How many changed paths an event names.
const EXAMPLES: usize = 5;

/// What a repository on this machine answers.
pub(crate) enum Answer {
    Commit(Commit),
    /// It does not have the revision.
    Lacks(Lack),
}

/// Looks a revision up in the repository at `path`.
pub(crate) fn resolve(
    path: &Path,
    revision: &Revision,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Answer, Error> {
    let repository = repository::open_named(path)?;
    let failed = |source| Error::Repository {
        path: path.to_path_buf(),
        source,
    };
    let mut names = revision.refs();
    if let Some(short) = names
        .first()
        .and_then(|name| name.strip_prefix("refs/"))
        .filter(|_| names.len() > 1)
    {
        names.push(format!("refs/remotes/{short}"));
    }
    let id = match repository::find(&repository, revision, &repository::named(&repository, &names))
        .map_err(failed)?
    {
        Found::One(id) => id,
        Found::Many(candidates) => {
            return Err(Error::Ambiguous {
                revision: revision.given.clone(),
                candidates,
            });
        }
        Found::Nothing => {
            return lack(&repository, path, revision, &names)
                .map(Answer::Lacks)
                .map_err(failed);
        }
    };
    report_changes(&repository, on_event);
    repository::commit(&repository, id, &Remote::Path(path.to_path_buf())).map(Answer::Commit)
}

/// Why the repository has no such commit.
fn lack(
    repository: &Repository,
    path: &Path,
    revision: &Revision,
    names: &[String],
) -> Result<Lack, git2::Error> {
    let has_base = !repository::named(repository, names).is_empty()
        || matches!(revision.base, Base::Id(id) if repository::peel(repository, id).is_some());
    let shallow = repository.is_shallow();
    if shallow && (has_base || !matches!(revision.base, Base::Name(_))) {
        let path = path.display();
        return Ok(Lack::because(
            "a shallow clone, which lacks the older commits".to_owned(),
            format!("run git -C {path} fetch --unshallow, or set `repo` to the URL that it was cloned from"),
        ));
    }
    if has_base {
        return Ok(Lack::no_ancestor(revision));
    }
    for name in names {
        let object = repository
            .find_reference(name)
            .and_then(|found| found.peel(ObjectType::Any));
        if let Some(kind) = object.ok().and_then(|object| object.kind()) {
            return Ok(Lack::no_commit(name, kind));
        }
    }
    if let Some(other) = lack::other_object(repository, revision) {
        return Ok(other);
    }
    let all: Vec<String> = repository
        .references()?
        .flatten()
        .filter_map(|found| found.name().ok().map(str::to_owned))
        .collect();
    if repository.head().is_err() {
        if all.is_empty() {
            return Ok(Lack::empty());
        }
        if names.iter().any(|name| name == "HEAD") {
            return Ok(Lack::because(
                "the branch that is checked out has no commit yet".to_owned(),
                "name another branch, a tag or a commit id",
            ));
        }
    }
    let similar = repository::similar(revision, all.iter().map(String::as_str));
    let advice = similar.is_empty().then(|| {
        let path = path.display();
        format!("fetch it (git -C {path} fetch), or name a branch, a tag or a commit id that is there")
    });
    let why = shallow.then(|| "a shallow clone".to_owned());
    Ok(Lack { similar, why, advice })
}

/// Says what lies in the work tree and not in the commit. A status that cannot be had is not worth an error.
fn report_changes(repository: &Repository, on_event: &(dyn Fn(Event) + Sync)) {
    let Some(workdir) = repository.workdir() else {
        return;
    };
    let mut options = StatusOptions::new();
    options
        .include_untracked(true)
        .recurse_untracked_dirs(false)
        .exclude_submodules(true)
        .no_refresh(true);
    let Ok(statuses) = repository.statuses(Some(&mut options)) else {
        return;
    };
    let changed: Vec<String> = statuses
        .iter()
        .filter(|entry| entry.status() != Status::CURRENT && !entry.status().contains(Status::IGNORED))
        .map(|entry| String::from_utf8_lossy(entry.path_bytes()).into_owned())
        .collect();
    if !changed.is_empty() {
        on_event(Event::DirtyWorkTree {
            path: workdir.to_path_buf(),
            changed: changed.len(),
            examples: changed.into_iter().take(EXAMPLES).collect(),
        });
    }
}
