//! Whether a layer on disk is still what it was when it was put there, as far as stat tells.
//!
//! A change of content that keeps size and time is not seen here; `apply --verify` reads.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{FileType, OFlags, Stat, fstat};
use shipit_artifact::{Index, IndexEntry, IndexKind};

use super::hand::{groups, parallel, root};
use super::take::{stat, untouched};
use crate::error::Error;

/// Nothing is read of a directory, and a handle for its path alone costs less.
const LOOKED_AT: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// How many entries of the layer in `files` are missing, or are not as they were put there. With `exact`, which a release needs
/// that links to whole directories, a directory to which something was added, or from which it was removed, is one too: its time
/// tells.
pub(crate) fn damaged(
    files: &Path,
    index: &Index,
    exact: bool,
    jobs: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<usize, Error> {
    let all: Vec<_> = (0..index.entries().len()).collect();
    let groups = groups(index, &all);
    let root = root(files)?;
    let uid = rustix::process::geteuid().as_raw();
    let count = AtomicUsize::new(0);
    parallel(
        jobs,
        cancel,
        &groups,
        || (),
        |(), group| {
            let wrong = match root.open_at(group.dir.as_ref(), LOOKED_AT) {
                Ok(dir) => {
                    let own = group.own.filter(|_| exact).map(|own| &index.entries()[own]);
                    let touched = own.is_some_and(|own| {
                        !fstat(&dir).is_ok_and(|stat| untouched_directory(&stat, own, uid))
                    });
                    let differs = |entry: &&IndexEntry| {
                        !stat(dir.as_fd(), entry.path.file_name()).is_ok_and(|stat| fits(&stat, entry, uid))
                    };
                    let entries = group.entries.iter().map(|number| &index.entries()[*number]);
                    usize::from(touched) + entries.filter(differs).count()
                }
                Err(_) => 1 + group.entries.len(),
            };
            count.fetch_add(wrong, Ordering::Relaxed);
            Ok(())
        },
    )?;
    Ok(count.into_inner())
}

fn untouched_directory(stat: &Stat, entry: &IndexEntry, uid: u32) -> bool {
    stat.st_mode & 0o7777 == u32::from(entry.mode())
        && stat.st_mtime == entry.mtime
        && stat.st_mtime_nsec == 0
        && stat.st_uid == uid
}

fn fits(stat: &Stat, entry: &IndexEntry, uid: u32) -> bool {
    match &entry.kind {
        IndexKind::Symlink { target } => {
            FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
                && usize::try_from(stat.st_size).is_ok_and(|size| size == target.len())
        }
        _ => untouched(stat, entry, uid),
    }
}
