//! Locks that go with their process, however it ends: flock on a file or a directory. A lock belongs to the inode: whoever
//! got one must look whether its path still names that inode.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether `path` still names what `file` is open on. While it is open, no other inode can have its number.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes it alone, unless another has it. A share that this file had is lost then.
pub(super) fn try_alone(file: &File) -> io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Takes it alone. Only for what nobody holds for longer than a few system calls.
pub(super) fn alone(file: &File) -> io::Result<()> {
    until_done(|| file.lock())
}

/// Takes a share of it. Only for what nobody holds alone for longer than a few system calls.
pub(super) fn share(file: &File) -> io::Result<()> {
    until_done(|| file.lock_shared())
}

fn until_done(mut lock: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    loop {
        match lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
