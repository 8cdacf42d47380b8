//! Lets the disk write while the processors are busy with something else. The release's files have to be on the disk before the
//! manifest's `post` marks it complete, and it waits for that by itself; what was written until then is not waited for twice.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::error::Error;

/// How long the disk rests before it gets what was made since. Much shorter, and what makes files would wait for it more often.
const PAUSE: Duration = Duration::from_millis(20);

/// What is being made in a tree is brought to the disk, again and again until all is made.
#[derive(Debug)]
pub(crate) struct Writing {
    tree: PathBuf,
    /// Dropped when all is made.
    more: Option<Sender<()>>,
    /// None where no thread was to be had: it is written later then, that is all.
    thread: Option<JoinHandle<rustix::io::Result<()>>>,
}

impl Writing {
    /// Begins with what will stand in `tree`.
    pub(crate) fn begin(tree: &Path) -> Result<Self, Error> {
        let on = File::open(tree).map_err(|error| failed(tree, error))?;
        let (more, made) = channel();
        let thread = thread::Builder::new().spawn(move || write_out(&on, &made));
        Ok(Self {
            tree: tree.to_owned(),
            more: Some(more),
            thread: thread.ok(),
        })
    }

    /// All is made that is worth a beginning: what is made from now on may wait.
    pub(crate) fn all_made(&mut self) {
        self.more = None;
    }

    /// Waits for it. What the disk refuses is an error: it tells only once.
    pub(crate) fn wait(mut self) -> Result<(), Error> {
        self.all_made();
        let Some(thread) = self.thread else { return Ok(()) };
        let ended = |_| failed(&self.tree, io::Error::other("the thread that waits for it ended"));
        let written = thread.join().map_err(ended)?;
        written.map_err(|error| failed(&self.tree, error.into()))
    }
}

fn write_out(on: &File, made: &Receiver<()>) -> rustix::io::Result<()> {
    while made.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
        rustix::fs::syncfs(on)?;
    }
    rustix::fs::syncfs(on)
}

fn failed(tree: &Path, error: io::Error) -> Error {
    Error::disk("writing to the disk", tree, error)
}
