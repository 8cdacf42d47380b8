//! Writes entries into the destination, through descriptors of its directories.
//!
//! Every directory on the way to an entry is opened beneath the destination without following symlinks; the entry itself is
//! made by name in it, never opened when it exists. Directories get their modes and times at the end, deepest first, so
//! that one without write permission can be filled.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown,
    futimens, linkat, mkdirat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::beneath::{DIRECTORY, Root};
use crate::error::Error;
use crate::path::EntryPath;
use crate::unpack::UnpackOptions;
use crate::unpack::stream::Head;

/// The destination.
pub(super) struct Sink<'a> {
    root: Root,
    dest: &'a Path,
    modes: u32,
    owners: bool,
    /// The directory of the entry before, which is often that of the next.
    parent: Option<(Option<EntryPath>, OwnedFd)>,
    /// What directories get at the end; `None` is the destination itself.
    directories: BTreeMap<Option<EntryPath>, Metadata>,
    /// Bytes of the paths that are kept for that.
    kept: usize,
}

/// The paths of directories are kept until the end; more of them than this is no application but an attack on memory.
const MOST_KEPT: usize = 64 << 20;

#[derive(Debug, Clone)]
struct Metadata {
    mode: Mode,
    times: Timestamps,
    owner: Option<(Uid, Gid)>,
}

impl<'a> Sink<'a> {
    /// Opens `dest`, which has to be empty.
    pub(super) fn open(dest: &'a Path, options: &UnpackOptions<'_>) -> Result<Self, Error> {
        let failed = |source| Error::io("open the directory", dest, source);
        let root = Root::open(dest).map_err(failed)?;
        for entry in Dir::read_from(&root).map_err(|errno| failed(errno.into()))? {
            let entry = entry.map_err(|errno| failed(errno.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(Error::NotEmpty {
                    path: dest.to_path_buf(),
                });
            }
        }
        Ok(Self {
            root,
            dest,
            modes: if options.keep_setid { 0o7777 } else { 0o777 },
            owners: options.keep_owner && rustix::process::geteuid().is_root(),
            parent: None,
            directories: BTreeMap::new(),
            kept: 0,
        })
    }

    /// A directory; `None` for the destination itself.
    pub(super) fn directory(&mut self, path: Option<&EntryPath>, head: &Head) -> Result<(), Error> {
        let metadata = self.metadata(head);
        if let Some(path) = path {
            let dest = self.dest;
            let parent = self.parent(path, head)?;
            let make = || mkdirat(parent, path.file_name(), Mode::RWXU);
            let made = match make() {
                Err(Errno::EXIST) if is_directory(parent, path) => Ok(()),
                Err(Errno::EXIST) => {
                    unlinkat(parent, path.file_name(), AtFlags::empty()).and_then(|()| make())
                }
                result => result,
            };
            made.map_err(|errno| failed(dest, "create the directory", head, errno))?;
        }
        self.kept += path.map_or(0, |path| path.as_bytes().len());
        if self.kept > MOST_KEPT {
            let limit = format!("the names of its directories take more than {MOST_KEPT} bytes");
            return Err(Error::Bomb {
                entry: head.shown(),
                limit,
            });
        }
        self.directories.insert(path.cloned(), metadata);
        Ok(())
    }

    /// A new file, to be filled.
    pub(super) fn file(&mut self, path: &EntryPath, head: &Head) -> Result<NewFile, Error> {
        let metadata = self.metadata(head);
        let dest = self.dest;
        let parent = self.parent(path, head)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = replacing(parent, path, || {
            openat(parent, path.file_name(), flags, Mode::RUSR | Mode::WUSR)
        });
        let fd = fd.map_err(|errno| failed(dest, "create", head, errno))?;
        Ok(NewFile {
            file: File::from(fd),
            metadata,
            entry: head.shown(),
            dest: dest.to_path_buf(),
        })
    }

    /// A symlink, verbatim.
    pub(super) fn symlink(&mut self, path: &EntryPath, target: &[u8], head: &Head) -> Result<(), Error> {
        let metadata = self.metadata(head);
        let dest = self.dest;
        let parent = self.parent(path, head)?;
        let name = path.file_name();
        let settle = || {
            replacing(parent, path, || symlinkat(target, parent, name))?;
            if let Some((uid, gid)) = metadata.owner {
                chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            utimensat(parent, name, &metadata.times, AtFlags::SYMLINK_NOFOLLOW)
        };
        settle().map_err(|errno| failed(dest, "create the symlink", head, errno))
    }

    /// One more name of a file that was unpacked before.
    pub(super) fn hard_link(
        &mut self,
        path: &EntryPath,
        target: &EntryPath,
        head: &Head,
    ) -> Result<(), Error> {
        let wrong = |why: &str| Error::Broken {
            entry: head.shown(),
            why: format!("it is a hard link to {target}, {why}"),
        };
        if path == target {
            return Err(wrong("which is itself"));
        }
        let target_parent = self.root.open_at(target.parent().as_ref(), DIRECTORY);
        let target_parent = target_parent.map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::LOOP | Errno::NOTDIR) => Error::ThroughSymlink { entry: head.shown() },
            Some(Errno::NOENT) => wrong("which was not unpacked before it"),
            _ => Error::Unpack {
                action: "link",
                entry: head.shown(),
                dest: self.dest.to_path_buf(),
                source,
            },
        })?;
        if is_directory(target_parent.as_fd(), target) {
            return Err(wrong("which is a directory"));
        }
        let dest = self.dest;
        let parent = self.parent(path, head)?;
        // Without AT_SYMLINK_FOLLOW: a link to a symlink is one more symlink, not what it points to.
        let link = || {
            linkat(
                &target_parent,
                target.file_name(),
                parent,
                path.file_name(),
                AtFlags::empty(),
            )
        };
        match replacing(parent, path, link) {
            Err(Errno::NOENT) => Err(wrong("which was not unpacked before it")),
            result => result.map_err(|errno| failed(dest, "link", head, errno)),
        }
    }

    /// Gives the directories their modes and times.
    pub(super) fn finish(self) -> Result<(), Error> {
        for (path, metadata) in self.directories.iter().rev() {
            let failed = |source| Error::Unpack {
                action: "set mode and time of",
                entry: path.as_ref().map_or_else(|| ".".to_owned(), EntryPath::to_string),
                dest: self.dest.to_path_buf(),
                source,
            };
            let directory = self.root.open_at(path.as_ref(), DIRECTORY).map_err(failed)?;
            metadata
                .apply(directory.as_fd())
                .map_err(|errno| failed(errno.into()))?;
        }
        Ok(())
    }

    fn metadata(&self, head: &Head) -> Metadata {
        let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
        let owner = id(head.uid).zip(id(head.gid)).filter(|_| self.owners);
        let (seconds, nanoseconds) = head.mtime;
        Metadata {
            mode: Mode::from_raw_mode(head.mode & self.modes),
            times: Timestamps {
                last_access: Timespec {
                    tv_sec: 0,
                    tv_nsec: UTIME_OMIT,
                },
                last_modification: Timespec {
                    tv_sec: seconds,
                    tv_nsec: nanoseconds.into(),
                },
            },
            owner: owner.map(|(uid, gid)| (Uid::from_raw(uid), Gid::from_raw(gid))),
        }
    }

    /// The directory that holds `path`, made where the tarball did not name it.
    fn parent(&mut self, path: &EntryPath, head: &Head) -> Result<BorrowedFd<'_>, Error> {
        let wanted = path.parent();
        if self.parent.as_ref().is_none_or(|(cached, _)| *cached != wanted) {
            let opened = match self.root.open_at(wanted.as_ref(), DIRECTORY) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.make_directories(wanted.as_ref())
                }
                result => result,
            };
            let opened = opened.map_err(|source| match Errno::from_io_error(&source) {
                Some(Errno::LOOP | Errno::NOTDIR) => Error::ThroughSymlink { entry: head.shown() },
                _ => Error::Unpack {
                    action: "create the directories of",
                    entry: head.shown(),
                    dest: self.dest.to_path_buf(),
                    source,
                },
            })?;
            self.parent = Some((wanted, opened));
        }
        Ok(self
            .parent
            .as_ref()
            .map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn make_directories(&self, path: Option<&EntryPath>) -> io::Result<OwnedFd> {
        let mut missing = Vec::new();
        let mut at = path.cloned();
        // Upwards to what exists, then down again.
        while let Some(path) = at {
            at = path.parent();
            missing.push(path);
            match self.root.open_at(at.as_ref(), DIRECTORY) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        for path in missing.iter().rev() {
            let parent = self.root.open_at(path.parent().as_ref(), DIRECTORY)?;
            let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP | Mode::ROTH | Mode::XOTH;
            match mkdirat(&parent, path.file_name(), mode) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.root.open_at(path, DIRECTORY)
    }
}

impl Metadata {
    fn apply(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        // The owner first: changing it drops set-uid bits.
        if let Some((uid, gid)) = self.owner {
            fchown(fd, Some(uid), Some(gid))?;
        }
        fchmod(fd, self.mode)?;
        futimens(fd, &self.times)
    }
}

/// A file that is being filled.
pub(super) struct NewFile {
    file: File,
    metadata: Metadata,
    entry: String,
    dest: PathBuf,
}

impl NewFile {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file
            .write_all(bytes)
            .map_err(|source| self.failed("write", source))
    }

    /// Gives the file its owner, mode and time.
    pub(super) fn finish(self) -> Result<(), Error> {
        let applied = self.metadata.apply(self.file.as_fd());
        applied.map_err(|errno| self.failed("set mode and time of", errno.into()))
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Unpack {
            action,
            entry: self.entry.clone(),
            dest: self.dest.clone(),
            source,
        }
    }
}

/// Makes something at `path`; what an earlier entry of that name left is removed first, as tar does. A directory stays.
fn replacing<T>(
    parent: BorrowedFd<'_>,
    path: &EntryPath,
    make: impl Fn() -> Result<T, Errno>,
) -> Result<T, Errno> {
    match make() {
        Err(Errno::EXIST) if is_directory(parent, path) => Err(Errno::ISDIR),
        Err(Errno::EXIST) => unlinkat(parent, path.file_name(), AtFlags::empty()).and_then(|()| make()),
        result => result,
    }
}

fn is_directory(parent: BorrowedFd<'_>, path: &EntryPath) -> bool {
    let stat = rustix::fs::statat(parent, path.file_name(), AtFlags::SYMLINK_NOFOLLOW);
    stat.is_ok_and(|stat| {
        rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory
    })
}

fn failed(dest: &Path, action: &'static str, head: &Head, errno: Errno) -> Error {
    Error::Unpack {
        action,
        entry: head.shown(),
        dest: dest.to_path_buf(),
        source: errno.into(),
    }
}
