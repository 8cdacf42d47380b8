//! The threads that look at a layer on disk.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rustix::io::Errno;
use shipit_artifact::{IndexRow, Root};

use super::check::Look;
use super::gate::Gate;
use super::hand::root;
use crate::error::Error;

/// Entries that one thread takes at once.
const TOGETHER: usize = 512;

/// How nice the thread is that looks while others are busy with more.
const ASIDE: i32 = 19;

/// Who looks: `jobs` threads when the gate is open, and before that one of low priority.
pub(crate) struct Lookers<'a> {
    pub(crate) jobs: NonZeroUsize,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) gate: &'a Gate,
}

/// How many of the `rows` are missing in `files`, or are not as they were put there. With `exact`, which a release needs that links
/// to whole directories, a directory to which something was added, or from which it was removed, is one too: its time tells.
pub(crate) fn damaged<'a>(
    files: &Path,
    rows: impl Iterator<Item = IndexRow<'a>> + Send,
    exact: bool,
    lookers: &Lookers<'_>,
) -> Result<usize, Error> {
    let shared = Shared {
        root: &root(files)?,
        rows: Mutex::new(rows),
        exact,
        cancel: lookers.cancel,
        left: AtomicBool::new(true),
        gate: lookers.gate,
    };
    let look = |go_on: &dyn Fn() -> bool| {
        let looked = shared.look(go_on);
        looked.map_err(|lack| match lack {
            Some(errno) => Error::disk("looking at the layer", files, errno),
            None => Error::Cancelled,
        })
    };
    let aside = || {
        step_aside();
        look(&|| !lookers.gate.is_open())
    };
    let help = || {
        lookers.gate.wait_while(&shared.left);
        look(&|| true)
    };
    thread::scope(|scope| {
        let mut helpers = Vec::with_capacity(lookers.jobs.get());
        if !lookers.gate.is_open() {
            helpers.push(thread::Builder::new().spawn_scoped(scope, aside));
        }
        helpers.extend((1..lookers.jobs.get()).map(|_| thread::Builder::new().spawn_scoped(scope, help)));
        let own = help()?;
        // With fewer threads it takes longer, that is all.
        helpers.into_iter().flatten().try_fold(own, |wrong, helper| {
            let ended = |_| Error::Internal {
                what: "a thread that looked at a layer ended".to_owned(),
            };
            Ok(wrong + helper.join().map_err(ended)??)
        })
    })
}

/// Gives this thread what processors other threads leave.
fn step_aside() {
    // Where that is refused it takes its share, and they take longer.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), ASIDE);
}

/// What the threads that look at a layer share.
struct Shared<'r, I> {
    root: &'r Root,
    rows: Mutex<I>,
    exact: bool,
    cancel: &'r AtomicBool,
    /// There may be rows that nobody took.
    left: AtomicBool,
    gate: &'r Gate,
}

impl<'a, I: Iterator<Item = IndexRow<'a>>> Shared<'_, I> {
    /// Takes rows until there are none, or it shall not go on; how many of them do not fit. The error is none when it was cancelled.
    fn look(&self, go_on: &dyn Fn() -> bool) -> Result<usize, Option<Errno>> {
        let looked = self.take(go_on);
        if looked.is_err() {
            self.gate.none(&self.left);
        }
        looked
    }

    fn take(&self, go_on: &dyn Fn() -> bool) -> Result<usize, Option<Errno>> {
        let mut look = Look::new(self.root, self.exact);
        let (mut taken, mut wrong) = (Vec::with_capacity(TOGETHER), 0);
        while self.left.load(Ordering::Relaxed) && go_on() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(None);
            }
            taken.clear();
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            taken.extend(rows.by_ref().take(TOGETHER));
            drop(rows);
            if taken.is_empty() {
                self.gate.none(&self.left);
                break;
            }
            wrong += look.wrong(&taken).map_err(Some)?;
        }
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::check::tests::{make, row};
    use super::*;

    #[test]
    fn whether_the_gate_opens_or_not_all_is_looked_at() {
        let files = tempfile::tempdir().unwrap();
        let made = make(
            files.path(),
            &[("a".to_owned(), 3 * TOGETHER), ("b".to_owned(), 5)],
        );
        fs::write(files.path().join("a/7"), "other").unwrap();
        fs::remove_file(files.path().join("b/2")).unwrap();
        let rows = || made.iter().map(|(path, kind)| row(path, *kind));
        let look = |gate: &Gate, cancel: bool| {
            let lookers = Lookers {
                jobs: NonZeroUsize::new(3).unwrap(),
                cancel: &AtomicBool::new(cancel),
                gate,
            };
            damaged(files.path(), rows(), false, &lookers)
        };
        let (shut, open) = (Gate::default(), Gate::default());
        open.open();
        for gate in [&shut, &open] {
            assert_eq!(look(gate, false).unwrap(), 2);
            assert!(matches!(look(gate, true), Err(Error::Cancelled)));
        }
        assert!(!shut.is_open());
    }
}
