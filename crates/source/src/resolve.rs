//! From what a user typed to a commit.

use std::sync::atomic::AtomicBool;

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::options::SourceOptions;

pub(crate) fn resolve(
    _options: &SourceOptions,
    _revision: &str,
    _cancel: &AtomicBool,
    _on_event: &(dyn Fn(Event) + Sync),
) -> Result<Commit, Error> {
    Err(Error::NoRemote)
}
