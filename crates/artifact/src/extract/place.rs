//! Writes entries below the destination, through descriptors of its directories.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, chmodat, fchmod, fstat, futimens,
    mkdirat, openat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::beneath::{DIRECTORY, Root};
use crate::error::Error;
use crate::index::IndexEntry;
use crate::path::EntryPath;

const NEW_FILE: OFlags = OFlags::WRONLY
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Tells temporary names of this process apart.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// One thread's hand on the destination.
pub(super) struct Places<'a> {
    root: &'a Root,
    dest: &'a Path,
    /// The directory of the entry before, which is often that of the next.
    parent: Option<(Vec<u8>, OwnedFd)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(root: &'a Root, dest: &'a Path) -> Self {
        Self {
            root,
            dest,
            parent: None,
        }
    }

    /// A directory, for now open to its owner alone to write; [`Places::finish_directory`] gives it mode and time.
    pub(super) fn directory(&mut self, entry: &IndexEntry) -> Result<(), Error> {
        let failed = self.failing("create the directory", entry);
        let parent = self.parent(entry)?;
        let name = entry.path.file_name();
        let make = || mkdirat(parent, name, Mode::from_raw_mode(entry.mode().into()));
        let made = match make() {
            Err(Errno::EXIST) if kind(parent, name) == Some(FileType::Directory) => Ok(()),
            Err(Errno::EXIST) => unlinkat(parent, name, AtFlags::empty()).and_then(|()| make()),
            other => other,
        };
        made.map_err(|errno| failed(errno.into()))
    }

    /// Gives a directory its mode and time, when all that is in it stands.
    pub(super) fn finish_directory(&self, entry: &IndexEntry) -> Result<(), Error> {
        let failed = self.failing("set mode and time of", entry);
        let directory = self.root.open_at(Some(&entry.path), DIRECTORY).map_err(&failed)?;
        settle(directory.as_fd(), entry).map_err(|errno| failed(errno.into()))
    }

    /// A file whose whole content is at hand and checked.
    pub(super) fn file(&mut self, entry: &IndexEntry, content: &[u8]) -> Result<(), Error> {
        let failed = self.failing("write", entry);
        let parent = self.parent(entry)?;
        let (file, name) = create(parent, entry).map_err(&failed)?;
        let filled = fill(file, entry, content);
        let put = filled.and_then(|()| put(parent, &name, entry));
        if put.is_err() {
            // The first error is the one to tell.
            let _ = unlinkat(parent, name.as_ref(), AtFlags::empty());
        }
        put.map_err(failed)
    }

    /// A file that comes in pieces; under another name until it is whole.
    pub(super) fn begin(&mut self, entry: &'a IndexEntry) -> Result<Growing<'a>, Error> {
        let failed = self.failing("create", entry);
        let parent = self.parent(entry)?;
        let parent = parent.try_clone_to_owned().map_err(&failed)?;
        let name = temporary_name();
        let file = openat(&parent, name.as_slice(), NEW_FILE, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| failed(errno.into()))?;
        Ok(Growing {
            file: File::from(file),
            parent,
            name,
            entry,
            dest: self.dest,
        })
    }

    /// A symlink, verbatim.
    pub(super) fn symlink(&mut self, entry: &IndexEntry, target: &[u8]) -> Result<(), Error> {
        let failed = self.failing("create the symlink", entry);
        let parent = self.parent(entry)?;
        let name = entry.path.file_name();
        let make = |name: &[u8]| {
            symlinkat(target, parent, name)?;
            utimensat(parent, name, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        };
        let made = match make(name) {
            Err(Errno::EXIST) => {
                let aside = temporary_name();
                make(&aside).and_then(|()| {
                    renameat(parent, aside.as_slice(), parent, name).inspect_err(|_| {
                        let _ = unlinkat(parent, aside.as_slice(), AtFlags::empty());
                    })
                })
            }
            other => other,
        };
        made.map_err(|errno| failed(errno.into()))
    }

    /// The directory that holds the entry, made where it is missing.
    fn parent(&mut self, entry: &IndexEntry) -> Result<BorrowedFd<'_>, Error> {
        let path = entry.path.as_bytes();
        let wanted = &path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)];
        if self.parent.as_ref().is_none_or(|(open, _)| open != wanted) {
            let opened = open_or_make(self.root, entry.path.parent().as_ref()).map_err(|source| {
                match Errno::from_io_error(&source) {
                    Some(Errno::LOOP | Errno::NOTDIR) => Error::ThroughSymlink {
                        entry: entry.path.to_string(),
                    },
                    _ => self.failing("create the directories of", entry)(source),
                }
            })?;
            self.parent = Some((wanted.to_vec(), opened));
        }
        Ok(self
            .parent
            .as_ref()
            .map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn failing<'e>(
        &self,
        action: &'static str,
        entry: &'e IndexEntry,
    ) -> impl Fn(io::Error) -> Error + use<'a, 'e> {
        let dest = self.dest;
        move |source| Error::Unpack {
            action,
            entry: entry.path.to_string(),
            dest: dest.to_path_buf(),
            source,
        }
    }
}

/// A file that grows under a temporary name. Gone when it is dropped before [`Growing::finish`].
pub(super) struct Growing<'a> {
    file: File,
    parent: OwnedFd,
    name: Vec<u8>,
    entry: &'a IndexEntry,
    dest: &'a Path,
}

impl<'a> Growing<'a> {
    pub(super) fn entry(&self) -> &'a IndexEntry {
        self.entry
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(|source| self.failed("write", source))
    }

    /// Gives it its mode, its time and its name.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        settle(self.file.as_fd(), self.entry)
            .and_then(|()| {
                let name = self.entry.path.file_name();
                renameat(&self.parent, self.name.as_slice(), &self.parent, name)
            })
            .map_err(|errno| self.failed("put in place", errno.into()))?;
        self.name.clear();
        Ok(())
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Unpack {
            action,
            entry: self.entry.path.to_string(),
            dest: self.dest.to_path_buf(),
            source,
        }
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            let _ = unlinkat(&self.parent, self.name.as_slice(), AtFlags::empty());
        }
    }
}

/// A new file at the entry's own name, or at a temporary one beside it when something stands there.
fn create<'e>(parent: BorrowedFd<'_>, entry: &'e IndexEntry) -> io::Result<(File, Cow<'e, [u8]>)> {
    let name = entry.path.file_name();
    let mode = Mode::from_raw_mode(entry.mode().into());
    match openat(parent, name, NEW_FILE, mode) {
        Ok(fd) => Ok((File::from(fd), Cow::Borrowed(name))),
        Err(Errno::EXIST) => {
            let aside = temporary_name();
            let fd = openat(parent, aside.as_slice(), NEW_FILE, mode)?;
            Ok((File::from(fd), Cow::Owned(aside)))
        }
        Err(errno) => Err(errno.into()),
    }
}

fn fill(mut file: File, entry: &IndexEntry, content: &[u8]) -> io::Result<()> {
    file.write_all(content)?;
    Ok(settle(file.as_fd(), entry)?)
}

/// Puts a file that was filled under a temporary name over what stands at its own.
fn put(parent: BorrowedFd<'_>, name: &[u8], entry: &IndexEntry) -> io::Result<()> {
    let own = entry.path.file_name();
    if name == own {
        return Ok(());
    }
    Ok(renameat(parent, name, parent, own)?)
}

fn open_or_make(root: &Root, path: Option<&EntryPath>) -> io::Result<OwnedFd> {
    match (root.open_at(path, DIRECTORY), path) {
        (Err(error), Some(path)) if error.kind() == io::ErrorKind::NotFound => {
            let parent = open_or_make(root, path.parent().as_ref())?;
            let mode = Mode::from_raw_mode(0o755);
            match mkdirat(&parent, path.file_name(), mode) {
                // No entry names its mode, and the umask had its say.
                Ok(()) => chmodat(&parent, path.file_name(), mode, AtFlags::empty())?,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            root.open_at(Some(path), DIRECTORY)
        }
        (opened, _) => opened,
    }
}

fn kind(parent: BorrowedFd<'_>, name: &[u8]) -> Option<FileType> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(FileType::from_raw_mode(stat.st_mode))
}

/// Mode and time; the umask had its say in the mode that the file was made with, mostly none, and to look costs less than to change.
fn settle(fd: BorrowedFd<'_>, entry: &IndexEntry) -> Result<(), Errno> {
    let mode = entry.mode();
    if fstat(fd)?.st_mode & 0o7777 != u32::from(mode) {
        fchmod(fd, Mode::from_raw_mode(mode.into()))?;
    }
    futimens(fd, &times(entry))
}

fn times(entry: &IndexEntry) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: entry.mtime,
            tv_nsec: 0,
        },
    }
}

/// A name that no other thread or process takes.
fn temporary_name() -> Vec<u8> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(".shipit-part-{}-{number}", std::process::id()).into_bytes()
}
