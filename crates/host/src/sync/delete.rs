//! Deleting from dest what the tree does not have; what the filter excludes stays, and with it the directories it is in.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::dir::{below, kind, names};
use super::{Sync, open_dir_at, stat_at};
use crate::error::Error;

impl Sync<'_> {
    /// Deletes the entry `name` of `to`, at `path` below dest, unless it is excluded; true when it is gone.
    pub(super) fn delete(
        &mut self,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        self.check_cancel()?;
        let Some(stat) = stat_at(to, name).map_err(|error| self.failed("reading", path, error))? else {
            return Ok(true);
        };
        let is_dir = kind(&stat) == FileType::Directory;
        if self.request.filter.excludes(path, is_dir) {
            return Ok(false);
        }
        if is_dir {
            return self.delete_directory(to, name, path);
        }
        rustix::fs::unlinkat(to, name, AtFlags::empty())
            .map_err(|error| self.failed("deleting", path, error))?;
        self.done.deleted += 1;
        self.changed("deleting", path);
        Ok(true)
    }

    /// Deletes a directory with what it holds; false when something in it is excluded, which then stays.
    pub(super) fn delete_directory(
        &mut self,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &mut Vec<u8>,
    ) -> Result<bool, Error> {
        let dir = match open_dir_at(to, name) {
            Err(Errno::ACCESS) if !self.root => {
                rustix::fs::chmodat(to, name, rustix::fs::Mode::RWXU, AtFlags::empty())
                    .and_then(|()| open_dir_at(to, name))
            }
            other => other,
        }
        .map_err(|error| self.failed("deleting", path, error))?;
        self.make_usable(dir.as_fd(), path)?;
        let mut empty = true;
        for inner in names(dir.as_fd()).map_err(|error| self.failed("deleting", path, error))? {
            empty &= below(path, &inner, |path| self.delete(dir.as_fd(), &inner, path))?;
        }
        if !empty {
            return Ok(false);
        }
        rustix::fs::unlinkat(to, name, AtFlags::REMOVEDIR)
            .map_err(|error| self.failed("deleting", path, error))?;
        self.done.deleted += 1;
        self.changed("deleting", path);
        Ok(true)
    }
}
