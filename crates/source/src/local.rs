//! Repositories on this machine that are read directly: nothing is fetched, nothing is written, no network is used.

use std::path::Path;

use git2::{Repository, Status, StatusOptions};

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::remote::Remote;
use crate::repository::{self, Found};
use crate::revision::Revision;

/// How many changed paths an event names.
const EXAMPLES: usize = 5;

/// What a repository on this machine answers.
pub(crate) enum Answer {
    Commit(Commit),
    /// It does not have the revision; these names are like it.
    Lacks(Vec<String>),
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
            let all = repository.references().map_err(failed)?;
            let all: Vec<String> = all
                .flatten()
                .filter_map(|found| found.name().ok().map(str::to_owned))
                .collect();
            return Ok(Answer::Lacks(repository::similar(
                revision,
                all.iter().map(String::as_str),
            )));
        }
    };
    report_changes(&repository, on_event);
    repository::commit(&repository, id, &Remote::Path(path.to_path_buf())).map(Answer::Commit)
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
