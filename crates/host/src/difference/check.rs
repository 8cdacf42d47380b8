//! Whether a layer on disk is still what it was when it was put there, as far as stat tells.
//!
//! A change of content that keeps size and time is not seen here, and of a layer that is linked as a whole no change within a file;
//! `apply --verify` reads.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::fs::{FileType, OFlags, Stat};
use shipit_artifact::{Index, IndexEntry, IndexKind};

use super::hand::{groups, parallel, root};
use super::take::{stat, untouched};
use crate::error::Error;

/// Nothing is read of a directory, and a handle for its path alone costs less.
const LOOKED_AT: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Directories that are looked at together.
const TOGETHER: usize = 64;

/// How many directories of the layer in `files` are missing, or have an entry more or less than was put there: their times tell.
/// What is in a file is not asked for: to look at each would take longer than all else that is done for a release that links to
/// whole directories.
pub(crate) fn rearranged(
    files: &Path,
    index: &Index,
    jobs: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<usize, Error> {
    let directories: Vec<&IndexEntry> = index
        .entries()
        .iter()
        .filter(|entry| entry.kind == IndexKind::Directory)
        .collect();
    let together: Vec<&[&IndexEntry]> = directories.chunks(TOGETHER).collect();
    let root = root(files)?;
    let failed = |error| Error::disk("opening the directory", files, error);
    let top = root.open_at(None, LOOKED_AT).map_err(failed)?;
    let uid = rustix::process::geteuid().as_raw();
    let count = AtomicUsize::new(0);
    parallel(
        jobs,
        cancel,
        &together,
        || (),
        |(), entries| {
            // A link on the way there is found where it stands in the place of a directory, for each has an entry.
            let wrong = |entry: &&&IndexEntry| {
                !stat(top.as_fd(), entry.path.as_bytes()).is_ok_and(|stat| {
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                        && untouched_directory(&stat, entry, uid)
                })
            };
            count.fetch_add(entries.iter().filter(wrong).count(), Ordering::Relaxed);
            Ok(())
        },
    )?;
    Ok(count.into_inner())
}

/// How many entries of the layer in `files` are missing, or are not as they were put there.
pub(crate) fn damaged(
    files: &Path,
    index: &Index,
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
                    let differs = |entry: &&IndexEntry| {
                        !stat(dir.as_fd(), entry.path.file_name()).is_ok_and(|stat| fits(&stat, entry, uid))
                    };
                    let entries = group.entries.iter().map(|number| &index.entries()[*number]);
                    entries.filter(differs).count()
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
