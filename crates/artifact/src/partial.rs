//! Files that appear whole or not at all: written under a temporary name, synced (or not: see
//! [`Partial::finish_unsynced`]), renamed.
//!
//! A temporary file is locked while it is written. What a killed process left behind has no lock, and the next one that
//! writes into the same directory removes it.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::thread::{self, JoinHandle};

use tempfile::{Builder, NamedTempFile};

use crate::error::Error;

const PREFIX: &str = ".partial-";

/// A file on its way. Removed when it is dropped before [`Partial::place`].
pub(crate) struct Partial {
    file: NamedTempFile,
    /// A thread that brings what was written to the disk.
    syncing: Option<JoinHandle<io::Result<()>>>,
    /// Bytes written since it began; only counted when what is written is brought to the disk all along.
    behind: Option<u64>,
}

/// How much is written before it is brought to the disk.
const ALONG: u64 = 16 << 20;

impl Partial {
    /// In `dir`, which is made where it is missing.
    pub(crate) fn create(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|source| Error::io("create the directory", dir, source))?;
        let failed = |source| Error::io("create a file in", dir, source);
        remove_left_over(dir).map_err(failed)?;
        loop {
            // 0666 less the umask, as for any file that is not secret.
            let permissions = Permissions::from_mode(0o666);
            let file = Builder::new()
                .prefix(PREFIX)
                .permissions(permissions)
                .tempfile_in(dir)
                .map_err(failed)?;
            file.as_file().lock().map_err(failed)?;
            // Another process may have taken it for left over before it was locked.
            if file.as_file().metadata().map_err(failed)?.nlink() > 0 {
                return Ok(Self {
                    file,
                    syncing: None,
                    behind: None,
                });
            }
        }
    }

    /// Where it lies until it is finished.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file itself, open for reading and writing.
    pub(crate) fn file(&self) -> &File {
        self.file.as_file()
    }

    /// The same file, for much that takes a while to be written: the disk takes it meanwhile, and [`Partial::place`] has
    /// little to wait for.
    pub(crate) fn synced_along(mut self) -> Self {
        self.behind = Some(0);
        self
    }

    /// Begins to bring to the disk what is written so far, so that [`Partial::place`] has less to wait for. Waits for what
    /// was begun before, which alone is told when that failed.
    pub(crate) fn begin_sync(&mut self) -> Result<(), Error> {
        self.begin()
            .map_err(|source| Error::io("write", self.path(), source))
    }

    fn begin(&mut self) -> io::Result<()> {
        joined(self.syncing.take())?;
        if let Ok(file) = self.file().try_clone() {
            let thread = thread::Builder::new().name("sync".to_owned());
            // Without a thread all is done at the end.
            self.syncing = thread.spawn(move || file.sync_data()).ok();
        }
        Ok(())
    }

    /// Counts what was written here or in another way, and begins to bring it to the disk when it is much and the disk has taken what was before.
    pub(crate) fn wrote(&mut self, bytes: usize) -> io::Result<()> {
        let Some(behind) = &mut self.behind else {
            return Ok(());
        };
        *behind += bytes as u64;
        if *behind < ALONG || self.syncing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Ok(());
        }
        *behind = 0;
        self.begin()
    }

    /// Brings it to the disk and gives it its name, which [`sync_directory`] makes last.
    pub(crate) fn place(mut self, target: &Path) -> Result<(), Error> {
        joined(self.syncing.take())
            .and_then(|()| self.file().sync_all())
            .map_err(|source| Error::io("write", target, source))?;
        self.finish_unsynced(target)
    }

    /// Gives it its name; when the power fails soon after, it may be found short. For what is checked at each use and can
    /// be made again.
    pub(crate) fn finish_unsynced(self, target: &Path) -> Result<(), Error> {
        self.file
            .persist(target)
            .map(drop)
            .map_err(|failed| Error::io("rename the finished file to", target, failed.error))
    }
}

impl Write for Partial {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let taken = self.file.as_file_mut().write(buf)?;
        self.wrote(taken)?;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

/// Writes `bytes` to `target`, without waiting for the disk: see [`Partial::finish_unsynced`].
pub(crate) fn write_unsynced(target: &Path, bytes: &[u8]) -> Result<(), Error> {
    written(target, bytes)?.finish_unsynced(target)
}

/// `bytes` in a file on its way to `target`.
pub(crate) fn written(target: &Path, bytes: &[u8]) -> Result<Partial, Error> {
    written_in(target.parent().unwrap_or(Path::new(".")), target, bytes)
}

/// The same, on its way from another directory, `dir`, on the same file system.
pub(crate) fn written_in(dir: &Path, target: &Path, bytes: &[u8]) -> Result<Partial, Error> {
    let mut partial = Partial::create(dir)?;
    partial
        .write_all(bytes)
        .map_err(|source| Error::io("write", target, source))?;
    Ok(partial)
}

fn joined(syncing: Option<JoinHandle<io::Result<()>>>) -> io::Result<()> {
    match syncing.map(JoinHandle::join) {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(panic)) => std::panic::resume_unwind(panic),
    }
}

/// Makes the names in a directory last.
pub(crate) fn sync_directory(dir: &Path) -> Result<(), Error> {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(|source| Error::io("sync the directory", dir, source))
}

fn remove_left_over(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        // It may be gone or another user's by now; then it is not ours to remove.
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn whole_or_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut dropped = Partial::create(dir.path()).unwrap();
        dropped.write_all(b"half").unwrap();
        drop(dropped);
        assert!(names(dir.path()).is_empty());
        let file = dir.path().join("sub/file");
        written(&file, b"whole").unwrap().place(&file).unwrap();
        assert_eq!(fs::read(dir.path().join("sub/file")).unwrap(), b"whole");
        assert_eq!(names(&dir.path().join("sub")), ["file"]);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_written_is_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(".partial-killed"), b"half").unwrap();
        let first = Partial::create(dir.path()).unwrap();
        let second = Partial::create(dir.path()).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        assert!(first.path().exists() && second.path().exists());
    }
}
