//! How whole trees stand: directory by directory, listed by several threads.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::descent::{Descent, Found, Lister, Root, join};
use super::error::KeptError;
use super::standing::Time;

/// A directory and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directory {
    /// From the tree's root; empty for the root itself.
    pub path: Vec<u8>,
    /// Sorted by name.
    pub entries: Vec<Found>,
}

/// The newest time of change in these directories.
pub(super) fn newest(directories: &[Directory]) -> Time {
    directories
        .iter()
        .flat_map(|directory| &directory.entries)
        .map(|found| found.standing.changed)
        .max()
        .unwrap_or_default()
}

/// Lists the directories `starts` and all beneath them, sorted by path. Entries that `skip` names are left out, with all
/// beneath them.
pub(super) fn crawl(
    root: &Root,
    starts: Vec<Vec<u8>>,
    jobs: NonZeroUsize,
    skip: &(dyn Fn(&[u8]) -> bool + Sync),
) -> Result<Vec<Directory>, KeptError> {
    let queue = Queue::new(starts);
    let listed = Mutex::new(Vec::new());
    let failure: Mutex<Option<(Vec<u8>, Errno)>> = Mutex::new(None);
    let work = || {
        let (mut descent, mut lister) = (Descent::new(root), Lister::new());
        let mut own = Vec::new();
        while let Some(path) = queue.take() {
            let found = descent.enter(&path).and_then(|directory| lister.list(directory));
            match found {
                Ok(mut entries) => {
                    entries.retain(|entry| !skip(&join(&path, &entry.name)));
                    let inner = entries.iter().filter(|entry| entry.standing.is_directory());
                    queue.done(inner.map(|entry| join(&path, &entry.name)).collect());
                    own.push(Directory { path, entries });
                }
                Err(error) => {
                    *locked(&failure) = Some((path, error));
                    queue.stop();
                }
            }
        }
        locked(&listed).append(&mut own);
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.get() {
            scope.spawn(work);
        }
        work();
    });
    if let Some((path, error)) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(root.failed("list", &path, error));
    }
    let mut listed = listed.into_inner().unwrap_or_else(PoisonError::into_inner);
    listed.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(listed)
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Directories that wait to be listed.
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

struct Waiting {
    paths: Vec<Vec<u8>>,
    /// How many are being listed, and may bring further ones.
    under_way: usize,
    stopped: bool,
}

impl Queue {
    fn new(paths: Vec<Vec<u8>>) -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                paths,
                under_way: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// The next one; `None` when there will be no more.
    fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = locked(&self.waiting);
        loop {
            if waiting.stopped {
                return None;
            }
            if let Some(path) = waiting.paths.pop() {
                waiting.under_way += 1;
                return Some(path);
            }
            if waiting.under_way == 0 {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, mut inner: Vec<Vec<u8>>) {
        let mut waiting = locked(&self.waiting);
        waiting.under_way -= 1;
        let more = !inner.is_empty();
        waiting.paths.append(&mut inner);
        if more || waiting.under_way == 0 {
            self.changed.notify_all();
        }
    }

    fn stop(&self) {
        locked(&self.waiting).stopped = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn any_number_of_threads_lists_the_same() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..40 {
            let inner = dir.path().join(format!("d{}/e{at}", at % 7));
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join("file"), "1").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let skip = |path: &[u8]| path == b"d3";
        let with = |jobs| crawl(&root, vec![Vec::new()], NonZeroUsize::new(jobs).unwrap(), &skip).unwrap();
        let one = with(1);
        assert_eq!(one.len(), 1 + 6 + 34);
        assert!(one.is_sorted_by(|a, b| a.path < b.path));
        assert_eq!(with(4), one);
        let error = crawl(&root, vec![b"no".to_vec()], NonZeroUsize::new(3).unwrap(), &skip).unwrap_err();
        assert!(error.to_string().contains("/no"), "{error}");
    }
}
