//! Brings dest in line with the unpacked tree, as `rsync -a --delete` does.
//!
//! A dest that is not there yet is made by one rename when nothing forbids it. Else each directory is gone through:
//! what the tree does not have is deleted, a file or link that differs is replaced by a rename of a complete one (the unpacked
//! file itself where it lies on dest's file system, else a copy), a file of the same size and second is left as it
//! is, and modes, times and (as root) owners are set. What the filter excludes is neither copied nor deleted. Every step
//! works on an open directory and follows no link below dest, so nothing outside of it can be touched.
//!
//! The tree is used up by this. Not done here: unpacking, and what the manifest calls `mv` beyond the rename itself.

mod delete;
mod dir;
mod entry;
mod survey;

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

pub(crate) use survey::{Survey, survey};

use crate::error::Error;
use crate::event::{Event, Method, Synced};
use crate::filter::Filter;
use crate::log::Recorder;
use crate::stage::remove_tree;

/// From where to where, and how.
pub(crate) struct SyncRequest<'a> {
    /// The unpacked tree.
    pub(crate) tree: &'a Path,
    /// Where it goes; its parent is there.
    pub(crate) dest: &'a Path,
    /// What is left alone.
    pub(crate) filter: &'a Filter,
    /// What the tree holds.
    pub(crate) survey: Survey,
    /// Nobody needs half of it: it goes when this fails.
    pub(crate) incoming: bool,
    /// Name each changed path.
    pub(crate) verbose: bool,
}

/// A sync that runs.
struct Sync<'a> {
    request: &'a SyncRequest<'a>,
    cancel: &'a AtomicBool,
    recorder: &'a Recorder,
    /// Whether owners are kept.
    root: bool,
    /// Whether a file of the tree can be renamed into dest; found out by trying.
    can_move: bool,
    /// Whether dest was not there before.
    made: bool,
    done: Synced,
}

/// The `rsync` strategy.
pub(crate) fn sync(
    request: &SyncRequest<'_>,
    cancel: &AtomicBool,
    recorder: &Recorder,
) -> Result<Synced, Error> {
    let mut sync = Sync {
        request,
        cancel,
        recorder,
        root: rustix::process::geteuid().is_root(),
        can_move: true,
        made: false,
        done: Synced {
            method: Method::Synced,
            created: 0,
            updated: 0,
            deleted: 0,
            unchanged: 0,
        },
    };
    if request.filter.is_empty() && !request.survey.must_be_copied && rename(request.tree, request.dest)? {
        sync.done.method = Method::Renamed;
        sync.done.created = request.survey.entries;
        if request.verbose {
            sync.name_all();
        }
        return Ok(sync.done);
    }
    let result = sync.run();
    if result.is_err() {
        sync.discard();
    }
    result.map(|()| sync.done)
}

/// The `mv` strategy: dest must not be there, and must lie on the tree's file system.
pub(crate) fn mv(tree: &Path, dest: &Path, survey: Survey) -> Result<Synced, Error> {
    let dest = plain(dest);
    rename_to_nothing(tree, &dest)
        .map_err(|error| Error::disk("renaming the unpacked tree (sync_strategy mv) to", &dest, error))?;
    Ok(Synced {
        method: Method::Renamed,
        created: survey.entries,
        updated: 0,
        deleted: 0,
        unchanged: 0,
    })
}

/// Renames the tree to dest if nothing is there; false when something is, or when it cannot be renamed there.
fn rename(tree: &Path, dest: &Path) -> Result<bool, Error> {
    let dest = plain(dest);
    match rename_to_nothing(tree, &dest) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Err(Error::disk("renaming the unpacked tree to", dest, Errno::NOENT)),
        // There already, another file system, a tree that may not be written: the long way says what is really wrong,
        // if anything is.
        Err(_) => Ok(false),
    }
}

fn rename_to_nothing(tree: &Path, dest: &Path) -> Result<(), Errno> {
    match rustix::fs::renameat_with(CWD, tree, CWD, dest, RenameFlags::NOREPLACE) {
        // Some file systems do not know the flag. The lock keeps other handlers from coming in between.
        Err(Errno::INVAL | Errno::NOSYS) if stat_at(CWD, dest)?.is_none() => rustix::fs::rename(tree, dest),
        Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::EXIST),
        other => other,
    }
}

/// Dest without a slash or a dot behind it: a link there must be seen as one.
fn plain(dest: &Path) -> PathBuf {
    dest.components().collect()
}

impl Sync<'_> {
    fn run(&mut self) -> Result<(), Error> {
        let (tree, dest) = (self.request.tree, self.request.dest);
        self.made = match fs::create_dir(plain(dest)) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(Error::disk("making the directory", dest, error)),
        };
        self.done.created += u64::from(self.made);
        let from = open_dir(tree).map_err(|error| Error::disk("opening", tree, error))?;
        // Dest itself may be a link to a directory, as it may for `rsync dir/ dest/`.
        let to = rustix::fs::open(
            dest,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| Error::disk("opening the directory", dest, error))?;
        let attributes = rustix::fs::fstat(&from).map_err(|error| Error::disk("reading", tree, error))?;
        let mut path = Vec::new();
        self.directory(from.as_fd(), to.as_fd(), &mut path, &attributes)
    }

    /// Removes the part of a tree that got to a dest which was not there before, or which nobody looks into: on a full disk it
    /// would take the room from the next try, too.
    fn discard(&self) {
        let path = plain(self.request.dest);
        let is_dir = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        if !is_dir || !(self.made || self.request.incoming) {
            return;
        }
        if let Err(error) = remove_tree(&path) {
            let reason = error.to_string();
            self.recorder.say(Event::NotRemoved { path, reason });
        }
    }

    /// Names all that came by a rename. The tree is in place: what cannot be read is not named.
    fn name_all(&self) {
        let dest = self.request.dest;
        let mut left = vec![dest.to_owned()];
        while let Some(dir) = left.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    left.push(path.clone());
                }
                let path = path.strip_prefix(dest).map(ToOwned::to_owned).unwrap_or(path);
                self.recorder.say(Event::Changed { how: "new", path });
            }
        }
    }

    fn check_cancel(&self) -> Result<(), Error> {
        if self.cancel.load(Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    fn changed(&self, how: &'static str, path: &[u8]) {
        if self.request.verbose {
            self.recorder.say(Event::Changed {
                how,
                path: PathBuf::from(OsStr::from_bytes(path)),
            });
        }
    }

    /// An error about the entry of dest at `path`.
    fn failed(&self, doing: &'static str, path: &[u8], error: impl Into<std::io::Error>) -> Error {
        Error::disk(doing, self.request.dest.join(OsStr::from_bytes(path)), error)
    }
}

/// Opens a directory, not through a link.
fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    open_dir_at(CWD, path)
}

fn open_dir_at(at: impl AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// What stands at a name, not following a link; nothing when nothing does.
fn stat_at(at: impl AsFd, name: impl rustix::path::Arg) -> Result<Option<rustix::fs::Stat>, Errno> {
    match rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
