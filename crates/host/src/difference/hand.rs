//! Hands on trees: open directories beneath a root, one remembered, and work spread over threads.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::{io, path::Path};

use rustix::fs::{AtFlags, Mode, OFlags, chmodat, mkdirat};
use rustix::io::Errno;
use shipit_artifact::{EntryPath, Index, IndexKind, Root};

use crate::error::Error;

/// For directories that are gone through.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// Opens the directory as a root.
pub(crate) fn root(path: &Path) -> Result<Root, Error> {
    Root::open(path).map_err(|error| Error::disk("opening the directory", path, error))
}

/// One thread's hand on a tree; the directory of the entry before is often that of the next.
pub(crate) struct Hand<'a> {
    root: &'a Root,
    open: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Hand<'a> {
    pub(crate) fn new(root: &'a Root) -> Self {
        Self { root, open: None }
    }

    /// The directory that holds `path`, not through a symlink.
    pub(crate) fn parent(&mut self, path: &EntryPath) -> io::Result<BorrowedFd<'_>> {
        let wanted = parent_bytes(path.as_bytes());
        if self.open.as_ref().is_none_or(|(open, _)| open != wanted) {
            self.open = None;
            let fd = self.root.open_at(path.parent().as_ref(), DIRECTORY)?;
            self.open = Some((wanted.to_vec(), fd));
        }
        match &self.open {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Makes a directory, and those above it that no entry names. Of one that is `named` by an entry the mode is set later.
    pub(crate) fn make_directory(&mut self, path: &EntryPath, named: bool) -> io::Result<()> {
        match self.parent(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(above) = path.parent() {
                    self.make_directory(&above, false)?;
                }
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let mode = Mode::from_raw_mode(0o755);
        let parent = self.parent(path)?;
        match mkdirat(parent, path.file_name(), mode) {
            // The umask had its say.
            Ok(()) if !named => Ok(chmodat(parent, path.file_name(), mode, AtFlags::empty())?),
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The path of the directory that holds `path`; empty at the top.
pub(crate) fn parent_bytes(path: &[u8]) -> &[u8] {
    &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)]
}

/// Whether the path is that of `dir`, or of what lies below it.
pub(crate) fn is_at_or_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
}

/// The files and links of one directory.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// The directory; none is the tree's root.
    pub(crate) dir: Option<EntryPath>,
    /// Its own entry, where the layer has one.
    pub(crate) own: Option<usize>,
    /// Numbers of its files and links.
    pub(crate) entries: Vec<usize>,
}

/// The entries `numbers` by directory; each directory among them has a group, empty or not.
pub(crate) fn groups(index: &Index, numbers: &[usize]) -> Vec<Group> {
    let mut at: HashMap<&[u8], usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    // The directory of the entry before is often that of the next.
    let mut last: (&[u8], Option<usize>) = (&[], None);
    for number in numbers {
        let entry = &index.entries()[*number];
        let directory = entry.kind == IndexKind::Directory;
        let dir = if directory {
            entry.path.as_bytes()
        } else {
            parent_bytes(entry.path.as_bytes())
        };
        let known = last.1.filter(|_| last.0 == dir);
        let place = known.unwrap_or_else(|| {
            *at.entry(dir).or_insert_with(|| {
                groups.push(Group {
                    dir: if directory {
                        Some(entry.path.clone())
                    } else {
                        entry.path.parent()
                    },
                    ..Group::default()
                });
                groups.len() - 1
            })
        });
        last = (dir, Some(place));
        if directory {
            groups[place].own = Some(*number);
        } else {
            groups[place].entries.push(*number);
        }
    }
    groups
}

/// Does `work` on each item by up to `jobs` threads, each with a state of its own. The first error ends it.
pub(crate) fn parallel<T: Sync, S>(
    jobs: NonZeroUsize,
    cancel: &AtomicBool,
    items: &[T],
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &T) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<Error>> = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let run = || {
        let mut state = state();
        while !stop.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            let done = if cancel.load(Ordering::Relaxed) {
                Err(Error::Cancelled)
            } else {
                work(&mut state, item)
            };
            if let Err(error) = done {
                stop.store(true, Ordering::Relaxed);
                if let Ok(mut failed) = failed.lock() {
                    failed.get_or_insert(error);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..jobs.get().min(items.len()) {
            // With fewer threads it takes longer, that is all.
            if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
    failed.into_inner().ok().flatten().map_or(Ok(()), Err)
}
