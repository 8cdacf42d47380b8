//! Lets the disk write while the processors are busy with something else. The release's files have to be on the disk before the
//! manifest's `post` marks it complete, and it waits for that by itself; what was written until then is not waited for twice.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::error::Error;

/// What stands in a tree is being brought to the disk.
#[derive(Debug)]
pub(crate) struct Writing {
    tree: PathBuf,
    /// None where no thread was to be had: it is written later then, that is all.
    thread: Option<JoinHandle<rustix::io::Result<()>>>,
}

impl Writing {
    /// Begins with what stands in `tree` now.
    pub(crate) fn begin(tree: &Path) -> Result<Self, Error> {
        let on = File::open(tree).map_err(|error| failed(tree, error))?;
        let thread = thread::Builder::new().spawn(move || rustix::fs::syncfs(&on));
        Ok(Self {
            tree: tree.to_owned(),
            thread: thread.ok(),
        })
    }

    /// Waits for it. What the disk refuses is an error: it tells only once.
    pub(crate) fn wait(self) -> Result<(), Error> {
        let Some(thread) = self.thread else { return Ok(()) };
        let ended = |_| failed(&self.tree, io::Error::other("the thread that waits for it ended"));
        let written = thread.join().map_err(ended)?;
        written.map_err(|error| failed(&self.tree, error.into()))
    }
}

fn failed(tree: &Path, error: io::Error) -> Error {
    Error::disk("writing to the disk", tree, error)
}
