//! One directory of the tree against one of dest: deletes, then each entry, then the directory's own attributes.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat};

use super::{Sync, open_dir_at, stat_at};
use crate::error::Error;

/// The names in a directory, sorted.
pub(super) fn names(dir: BorrowedFd<'_>) -> Result<Vec<CString>, rustix::io::Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The bits that chmod sets.
pub(super) fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

/// Adds a component to a path below dest, and takes it away again when the closure is done.
pub(super) fn below<T>(path: &mut Vec<u8>, name: &CStr, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    let length = path.len();
    if length > 0 {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    let result = work(path);
    path.truncate(length);
    result
}

impl Sync<'_> {
    /// Brings the directory `to` (at `path` below dest) in line with `from`, whose attributes are `attributes`.
    pub(super) fn directory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        path: &mut Vec<u8>,
        attributes: &Stat,
    ) -> Result<(), Error> {
        // Files are moved out of `from` and put into `to`: without root both must let their owner do that for now.
        self.make_usable(from, path)?;
        self.make_usable(to, path)?;
        let wanted = self.wanted(from, path)?;
        self.delete_others(to, path, &wanted)?;
        for (name, stat) in &wanted {
            self.check_cancel()?;
            below(path, name, |path| match kind(stat) {
                FileType::Directory => self.subdirectory(from, to, name, path, stat),
                FileType::RegularFile => self.file(from, to, name, path, stat),
                FileType::Symlink => self.link(from, to, name, path, stat),
                other => Err(Error::Sync {
                    path: self.request.dest.join(name.to_string_lossy().as_ref()),
                    reason: format!("{other:?} is no file, link or directory"),
                }),
            })?;
        }
        self.set_directory_attributes(to, path, attributes)
    }

    pub(super) fn make_usable(&self, dir: BorrowedFd<'_>, path: &[u8]) -> Result<(), Error> {
        if self.root {
            return Ok(());
        }
        let stat = rustix::fs::fstat(dir).map_err(|error| self.failed("reading", path, error))?;
        let usable = mode(&stat) | Mode::RWXU;
        if usable == mode(&stat) {
            return Ok(());
        }
        // Not ours: what is to be done in it tells whether that matters.
        let _ = rustix::fs::fchmod(dir, usable);
        Ok(())
    }

    /// What the tree has here and the filter lets through.
    fn wanted(&self, from: BorrowedFd<'_>, path: &mut Vec<u8>) -> Result<Vec<(CString, Stat)>, Error> {
        let names = names(from).map_err(|error| self.failed("reading the tree for", path, error))?;
        let mut wanted = Vec::with_capacity(names.len());
        for name in names {
            let stat = stat_at(from, name.as_c_str())
                .map_err(|error| self.failed("reading the tree for", path, error))?;
            let Some(stat) = stat else { continue };
            let is_dir = kind(&stat) == FileType::Directory;
            if !below(path, &name, |path| self.request.filter.excludes(path, is_dir)) {
                wanted.push((name, stat));
            }
        }
        Ok(wanted)
    }

    fn delete_others(
        &mut self,
        to: BorrowedFd<'_>,
        path: &mut Vec<u8>,
        wanted: &[(CString, Stat)],
    ) -> Result<(), Error> {
        let wanted: HashSet<&CStr> = wanted.iter().map(|(name, _)| name.as_c_str()).collect();
        for name in names(to).map_err(|error| self.failed("reading", path, error))? {
            if !wanted.contains(name.as_c_str()) {
                below(path, &name, |path| self.delete(to, &name, path))?;
            }
        }
        Ok(())
    }

    fn subdirectory(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
        stat: &Stat,
    ) -> Result<(), Error> {
        let there = stat_at(to, name).map_err(|error| self.failed("reading", path, error))?;
        let there = there.map(|there| kind(&there));
        if there.is_some_and(|kind| kind != FileType::Directory) {
            rustix::fs::unlinkat(to, name, AtFlags::empty())
                .map_err(|error| self.failed("making way for the directory", path, error))?;
            self.done.deleted += 1;
        }
        if there != Some(FileType::Directory) {
            rustix::fs::mkdirat(to, name, Mode::RWXU)
                .map_err(|error| self.failed("making the directory", path, error))?;
            self.done.created += 1;
            self.changed("new", path);
        }
        let inner_from =
            open_dir_at(from, name).map_err(|error| self.failed("reading the tree for", path, error))?;
        let inner_to = match open_dir_at(to, name) {
            Err(rustix::io::Errno::ACCESS) if !self.root => {
                // A directory of ours that we may not read: made usable by name, the fd comes after.
                rustix::fs::chmodat(to, name, Mode::RWXU, AtFlags::empty())
                    .and_then(|()| open_dir_at(to, name))
                    .map_err(|error| self.failed("opening the directory", path, error))?
            }
            other => other.map_err(|error| self.failed("opening the directory", path, error))?,
        };
        use std::os::fd::AsFd;
        self.directory(inner_from.as_fd(), inner_to.as_fd(), path, stat)
    }
}
