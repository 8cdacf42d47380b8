//! From what a user typed to a commit.

use std::sync::atomic::AtomicBool;

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::local::{self, Answer};
use crate::options::SourceOptions;
use crate::remote::Remote;
use crate::revision::Revision;

pub(crate) fn resolve(
    options: &SourceOptions,
    revision: &str,
    _cancel: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Commit, Error> {
    let revision = Revision::parse(revision)?;
    for remote in &options.remotes {
        if let Remote::Path(path) = remote {
            if let Answer::Commit(commit) = local::resolve(path, &revision, on_event)? {
                return Ok(commit);
            }
        }
    }
    Err(Error::NoRemote)
}
