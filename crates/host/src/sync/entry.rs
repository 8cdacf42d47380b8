//! One file or link of dest: left alone, or replaced by a complete one in one rename; and the attributes of all entries.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use super::dir::{kind, mode};
use super::{Sync, stat_at};
use crate::error::Error;

/// Bytes that are copied between two looks at the cancel flag.
const PIECE: usize = 1 << 20;

impl Sync<'_> {
    pub(super) fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
        stat: &Stat,
    ) -> Result<(), Error> {
        let there = stat_at(to, name).map_err(|error| self.failed("reading", path, error))?;
        if let Some(there) = &there
            && kind(there) == FileType::RegularFile
            && there.st_size == stat.st_size
            && there.st_mtime == stat.st_mtime
        {
            self.done.unchanged += 1;
            return self.set_attributes(to, name, path, there, stat);
        }
        self.make_way(to, name, path, there.as_ref())?;
        if !self.moved(from, to, name, path, stat)? {
            let temporary = self.copy(from, to, name, path, stat)?;
            self.put(to, &temporary, name, path)?;
        }
        self.count(path, there.is_some());
        Ok(())
    }

    pub(super) fn link(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
        stat: &Stat,
    ) -> Result<(), Error> {
        let target = rustix::fs::readlinkat(from, name, Vec::new())
            .map_err(|error| self.failed("reading the tree's link", path, error))?;
        let there = stat_at(to, name).map_err(|error| self.failed("reading", path, error))?;
        if let Some(there) = &there
            && kind(there) == FileType::Symlink
            && rustix::fs::readlinkat(to, name, Vec::new()).is_ok_and(|old| old == target)
        {
            self.done.unchanged += 1;
            return self.set_attributes(to, name, path, there, stat);
        }
        self.make_way(to, name, path, there.as_ref())?;
        if !self.moved(from, to, name, path, stat)? {
            let temporary = temporary_name();
            rustix::fs::symlinkat(&target, to, &temporary)
                .map_err(|error| self.failed("making the link", path, error))?;
            self.set_link_attributes(to, &temporary, path, stat)?;
            self.put(to, &temporary, name, path)?;
        }
        self.count(path, there.is_some());
        Ok(())
    }

    fn count(&mut self, path: &[u8], was_there: bool) {
        if was_there {
            self.done.updated += 1;
            self.changed("updated", path);
        } else {
            self.done.created += 1;
            self.changed("new", path);
        }
    }

    /// A directory must go before a file or link can be renamed over it, and goes only with all that it holds.
    fn make_way(
        &mut self,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
        there: Option<&Stat>,
    ) -> Result<(), Error> {
        if there.is_some_and(|there| kind(there) == FileType::Directory)
            && !self.delete_directory(to, name, path)?
        {
            use std::os::unix::ffi::OsStrExt;
            return Err(Error::Sync {
                path: self.request.dest.join(std::ffi::OsStr::from_bytes(path)),
                reason: "a directory is in the way, and it holds what the excludes protect".to_owned(),
            });
        }
        Ok(())
    }

    /// Renames the tree's own entry into dest where that can be done; a hard link stays, for rsync would copy it.
    fn moved(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<bool, Error> {
        if !self.can_move || stat.st_nlink > 1 {
            return Ok(false);
        }
        match rustix::fs::renameat(from, name, to, name) {
            Ok(()) => Ok(true),
            Err(Errno::XDEV) => {
                self.can_move = false;
                Ok(false)
            }
            Err(error) => Err(self.failed("moving the unpacked file to", path, error)),
        }
    }

    /// Copies a file to a temporary name beside its place, with all its attributes; nothing is left when it fails.
    fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<CString, Error> {
        let temporary = temporary_name();
        let copied = self.copy_to(from, to, name, &temporary, path, stat);
        if copied.is_err() {
            // The first error is the one to tell.
            let _ = rustix::fs::unlinkat(to, &temporary, AtFlags::empty());
        }
        copied.map(|()| temporary)
    }

    fn copy_to(
        &self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        temporary: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Error> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(from, name, flags | OFlags::RDONLY, Mode::empty())
            .map_err(|error| self.failed("reading the tree's file for", path, error))?;
        let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let target = rustix::fs::openat(to, temporary, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| self.failed("writing", path, error))?;
        let (mut source, mut target) = (File::from(source), File::from(target));
        let mut buffer = vec![0; PIECE.min(usize::try_from(stat.st_size).unwrap_or(PIECE).max(1))];
        loop {
            self.check_cancel()?;
            let count = source
                .read(&mut buffer)
                .map_err(|error| self.failed("reading the tree's file for", path, error))?;
            if count == 0 {
                break;
            }
            target
                .write_all(&buffer[..count])
                .map_err(|error| self.failed("writing", path, error))?;
        }
        let failed = |error| self.failed("setting the attributes of", path, error);
        self.own(|uid, gid| rustix::fs::fchown(&target, uid, gid), stat)
            .map_err(failed)?;
        rustix::fs::fchmod(&target, mode(stat)).map_err(failed)?;
        rustix::fs::futimens(&target, &modified(stat)).map_err(failed)
    }

    fn put(&self, to: BorrowedFd<'_>, temporary: &CStr, name: &CStr, path: &[u8]) -> Result<(), Error> {
        rustix::fs::renameat(to, temporary, to, name).map_err(|error| {
            let _ = rustix::fs::unlinkat(to, temporary, AtFlags::empty());
            self.failed("replacing", path, error)
        })
    }

    /// Sets what differs on a file or link that is otherwise as it should be.
    fn set_attributes(
        &self,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        there: &Stat,
        stat: &Stat,
    ) -> Result<(), Error> {
        if kind(stat) == FileType::Symlink {
            return if there.st_mtime == stat.st_mtime && self.owner_fits(there, stat) {
                Ok(())
            } else {
                self.set_link_attributes(to, name, path, stat)
            };
        }
        let failed = |error| self.failed("setting the attributes of", path, error);
        let owned = self.owner_fits(there, stat);
        if !owned {
            let chown = |uid, gid| rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
            self.own(chown, stat).map_err(failed)?;
        }
        // A change of owner may take the set-id bits away.
        if !owned || mode(there) != mode(stat) {
            chmod(to, name, mode(stat)).map_err(failed)?;
        }
        Ok(())
    }

    fn set_link_attributes(
        &self,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Error> {
        let failed = |error| self.failed("setting the attributes of", path, error);
        self.own(
            |uid, gid| rustix::fs::chownat(to, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW),
            stat,
        )
        .map_err(failed)?;
        match rustix::fs::utimensat(to, name, &modified(stat), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    pub(super) fn set_directory_attributes(
        &self,
        to: BorrowedFd<'_>,
        path: &[u8],
        stat: &Stat,
    ) -> Result<(), Error> {
        let failed = |error| self.failed("setting the attributes of", path, error);
        let there = rustix::fs::fstat(to).map_err(failed)?;
        let owned = self.owner_fits(&there, stat);
        if !owned {
            self.own(|uid, gid| rustix::fs::fchown(to, uid, gid), stat)
                .map_err(failed)?;
        }
        if !owned || mode(&there) != mode(stat) {
            rustix::fs::fchmod(to.as_fd(), mode(stat)).map_err(failed)?;
        }
        if there.st_mtime != stat.st_mtime || there.st_mtime_nsec != stat.st_mtime_nsec {
            rustix::fs::futimens(to, &modified(stat)).map_err(failed)?;
        }
        Ok(())
    }

    fn owner_fits(&self, there: &Stat, stat: &Stat) -> bool {
        there.st_gid == stat.st_gid && (!self.root || there.st_uid == stat.st_uid)
    }

    /// Only root gives files away; others may give them to a group of theirs, and rsync is silent when they may not.
    fn own(
        &self,
        chown: impl Fn(Option<Uid>, Option<Gid>) -> Result<(), Errno>,
        stat: &Stat,
    ) -> Result<(), Errno> {
        let uid = self.root.then(|| Uid::from_raw(stat.st_uid));
        match chown(uid, Some(Gid::from_raw(stat.st_gid))) {
            Err(Errno::PERM) if !self.root => Ok(()),
            other => other,
        }
    }
}

/// chmod of a file that must not be a link by now.
fn chmod(at: BorrowedFd<'_>, name: &CStr, mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Ok(file) => rustix::fs::fchmod(file, mode),
        // A file of ours that we may not read; without root nothing can be gained by putting a link there.
        Err(Errno::ACCESS) => rustix::fs::chmodat(at, name, mode, AtFlags::empty()),
        Err(error) => Err(error),
    }
}

fn modified(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}

/// A name that the tree does not have; what a killed handler leaves under one is deleted by the next sync.
fn temporary_name() -> CString {
    let mut name = format!(".shipit-{:016x}.part", fastrand::u64(..)).into_bytes();
    name.retain(|byte| *byte != 0);
    CString::new(name).unwrap_or_default()
}
