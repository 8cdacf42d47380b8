//! Whether a layer on disk is still what it was when it was put there, as far as stat tells: each of its files is looked at, whoever
//! links to it.
//!
//! That many looks take longer than much else of an apply, so a look is one call on an open directory and little beside it.
//! Not seen here: a change of content that keeps size and time, which `apply --verify` reads for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};
use shipit_artifact::{EntryPath, Index, IndexEntry, IndexKind, IndexRow, Root, RowKind};

use super::Setting;
use super::hand::{is_at_or_below, parallel, parent_bytes, root};
use super::take::stat;
use crate::error::Error;

/// Nothing is read of a directory, and a handle for its path alone costs less.
const LOOKED_AT: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Entries that one thread takes at once.
const TOGETHER: usize = 512;

/// What stat can tell of an index's entries.
pub(crate) fn rows(index: &Index) -> impl Iterator<Item = IndexRow<'_>> + Send {
    index.entries().iter().map(row)
}

fn row(entry: &IndexEntry) -> IndexRow<'_> {
    let (kind, size) = match &entry.kind {
        IndexKind::File { size, executable, .. } => (
            RowKind::File {
                executable: *executable,
            },
            *size,
        ),
        IndexKind::Symlink { target } => (RowKind::Symlink, target.len() as u64),
        IndexKind::Directory => (RowKind::Directory, 0),
    };
    IndexRow {
        path: entry.path.as_bytes(),
        kind,
        size,
        mtime: entry.mtime,
        content: entry.content().copied(),
    }
}

/// How many of the `rows` are missing in `files`, or are not as they were put there. With `exact`, which a release needs that links
/// to whole directories, a directory to which something was added, or from which it was removed, is one too: its time tells.
pub(crate) fn damaged<'a>(
    files: &Path,
    rows: impl Iterator<Item = IndexRow<'a>> + Send,
    exact: bool,
    setting: &Setting<'_>,
) -> Result<usize, Error> {
    let root = root(files)?;
    let uid = rustix::process::geteuid().as_raw();
    let (rows, count) = (Mutex::new(rows), AtomicUsize::new(0));
    let threads = vec![(); setting.jobs.get()];
    parallel(
        setting.jobs,
        setting.cancel,
        &threads,
        || (),
        |(), ()| {
            let mut look = Look {
                root: &root,
                open: Vec::new(),
                exact,
                uid,
            };
            let mut taken = Vec::with_capacity(TOGETHER);
            loop {
                if setting.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled);
                }
                taken.clear();
                let mut rows = rows.lock().unwrap_or_else(PoisonError::into_inner);
                taken.extend(rows.by_ref().take(TOGETHER));
                drop(rows);
                if taken.is_empty() {
                    return Ok(());
                }
                let wrong = taken.iter().filter(|row| !look.fits(row)).count();
                count.fetch_add(wrong, Ordering::Relaxed);
            }
        },
    )?;
    Ok(count.into_inner())
}

/// One thread's look at a layer.
struct Look<'r, 'a> {
    root: &'r Root,
    /// The directory of the row before and those above it that are still open, the deepest last.
    open: Vec<(&'a [u8], OwnedFd)>,
    exact: bool,
    uid: u32,
}

impl<'a> Look<'_, 'a> {
    fn fits(&mut self, row: &IndexRow<'a>) -> bool {
        let (exact, uid) = (self.exact, self.uid);
        let Some(dir) = self.directory_of(row.path) else {
            return false;
        };
        let name = &row.path[row.path.len() - file_name_length(row.path)..];
        if row.kind != RowKind::Directory {
            return stat(dir, name).is_ok_and(|stat| as_put(&stat, row, uid));
        }
        // What is in it comes next, mostly. A link that stands in its place is no directory.
        let Ok(own) = openat(dir, name, LOOKED_AT, Mode::empty()) else {
            return false;
        };
        let fits = !exact || fstat(&own).is_ok_and(|stat| as_put(&stat, row, uid));
        self.open.push((row.path, own));
        fits
    }

    /// The directory that holds what is at `path`, reached through no link.
    fn directory_of(&mut self, path: &'a [u8]) -> Option<BorrowedFd<'_>> {
        let parent = parent_bytes(path);
        if parent.is_empty() {
            return Some(self.root.as_fd());
        }
        while self
            .open
            .last()
            .is_some_and(|(open, _)| !is_at_or_below(parent, open))
        {
            self.open.pop();
        }
        if self.open.last().is_none_or(|(open, _)| *open != parent) {
            let at = EntryPath::new(parent).ok()?;
            let fd = self.root.open_at(Some(&at), LOOKED_AT).ok()?;
            self.open.push((parent, fd));
        }
        self.open.last().map(|(_, fd)| fd.as_fd())
    }
}

fn file_name_length(path: &[u8]) -> usize {
    path.iter().rev().take_while(|byte| **byte != b'/').count()
}

fn as_put(stat: &Stat, row: &IndexRow<'_>, uid: u32) -> bool {
    let type_is = |wanted| FileType::from_raw_mode(stat.st_mode) == wanted;
    let size_is = || u64::try_from(stat.st_size).is_ok_and(|size| size == row.size);
    let rest = || {
        stat.st_mode & 0o7777 == u32::from(row.kind.mode())
            && stat.st_mtime == row.mtime
            && stat.st_mtime_nsec == 0
            && stat.st_uid == uid
    };
    match row.kind {
        RowKind::File { .. } => type_is(FileType::RegularFile) && size_is() && rest(),
        RowKind::Directory => type_is(FileType::Directory) && rest(),
        RowKind::Symlink => type_is(FileType::Symlink) && size_is(),
    }
}
