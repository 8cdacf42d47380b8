//! Directories beside the entries: what is being written, and what is being removed. One that is written into is locked; what
//! a killed process left has no lock, and is swept away by the next builder and by prune.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::error::CacheError;
use super::lock;

/// A directory of this process's own. Removed when it is dropped, with what is in it.
#[derive(Debug)]
pub(super) struct Aside {
    path: PathBuf,
    _lock: File,
}

impl Aside {
    /// Makes one in `dir`.
    pub(super) fn create(dir: &Path, prefix: &str) -> Result<Self, CacheError> {
        let failed = |source| CacheError::io("make a directory in", dir, source);
        loop {
            let path = tempfile::Builder::new()
                .prefix(prefix)
                // As for any directory that is not secret, less the umask: an entry's mode is this one.
                .permissions(Permissions::from_mode(0o777))
                .tempdir_in(dir)
                .map_err(failed)?
                .keep();
            let handle = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(failed)?,
            };
            lock::alone(&handle).map_err(failed)?;
            // Another process may have taken it for left over before it was locked.
            if lock::is_at(&handle, &path).map_err(failed)? {
                return Ok(Self { path, _lock: handle });
            }
        }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // What cannot be removed now is left over, and swept later.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What `sweep` removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) count: u64,
    pub(super) bytes: u64,
}

/// Removes what nobody has a lock on in `dir`. What cannot be removed stays: it is in nobody's way.
pub(super) fn sweep(dir: &Path) -> Swept {
    let mut swept = Swept::default();
    for (path, handle) in left_over(dir) {
        let bytes = size_of(&path);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        drop(handle);
        if removed.is_ok() {
            swept.count += 1;
            swept.bytes += bytes;
        }
    }
    swept
}

/// How much of it there is.
pub(super) fn unswept(dir: &Path) -> Swept {
    let mut found = Swept::default();
    for (path, _handle) in left_over(dir) {
        found.count += 1;
        found.bytes += size_of(&path);
    }
    found
}

/// What nobody has a lock on, locked now.
fn left_over(dir: &Path) -> impl Iterator<Item = (PathBuf, File)> {
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let path = entry.path();
            let handle = File::open(&path).ok()?;
            let free = lock::try_alone(&handle).ok()? && lock::is_at(&handle, &path).ok()?;
            free.then_some((path, handle))
        })
}

fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| size_of(&entry.path()))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_is_written_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("killed/deep")).unwrap();
        fs::write(dir.path().join("killed/deep/frames"), [0; 1000]).unwrap();
        fs::write(dir.path().join("file"), [0; 10]).unwrap();
        let mine = Aside::create(dir.path(), "mine-").unwrap();
        fs::write(mine.path().join("frames"), "half").unwrap();
        let left = Swept {
            count: 2,
            bytes: 1010,
        };
        assert_eq!(unswept(dir.path()), left);
        assert_eq!(sweep(dir.path()), left);
        assert!(mine.path().join("frames").exists());
        drop(mine);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
