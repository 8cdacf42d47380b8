//! A temporary directory that is gone after the test, whatever a test did to the modes inside.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory of one test, removed on drop, read-only directories included. With `SHIPIT_TESTBED_KEEP` set in the
/// environment it stays, and its path is printed.
#[derive(Debug)]
pub struct Tmp {
    dir: Option<TempDir>,
    path: PathBuf,
}

impl Tmp {
    /// Makes one under the system's temporary directory. `name` is part of its name, for whoever looks.
    #[track_caller]
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::within(&std::env::temp_dir(), name)
    }

    /// Makes one in memory, where the machine has such a place: for tests that go by the clock, which a disk must not hold up.
    #[track_caller]
    #[must_use]
    pub fn in_memory(name: &str) -> Self {
        let place = Path::new("/dev/shm");
        match rustix::fs::access(place, rustix::fs::Access::WRITE_OK) {
            Ok(()) => Self::within(place, name),
            Err(_) => Self::new(name),
        }
    }

    /// Makes one under `parent`.
    #[track_caller]
    #[must_use]
    pub fn within(parent: &Path, name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("shipit-{name}-"))
            .tempdir_in(parent)
            .unwrap_or_else(|err| panic!("cannot make a temporary directory in {}: {err}", parent.display()));
        // Tests compare paths with what programs print, and those resolve links.
        let path = dir
            .path()
            .canonicalize()
            .expect("a fresh temporary directory is gone");
        Self { dir: Some(dir), path }
    }

    /// The directory, absolute and without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it; nothing is made.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a directory in it, parents included.
    #[track_caller]
    #[must_use]
    pub fn mkdir(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|err| panic!("cannot make {}: {err}", path.display()));
        path
    }

    /// Writes a file in it, parents made as needed.
    #[track_caller]
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        let parent = path.parent().expect("a file in a directory has a parent");
        let written = fs::create_dir_all(parent).and_then(|()| fs::write(&path, content));
        written.unwrap_or_else(|err| panic!("cannot write {}: {err}", path.display()));
        path
    }
}

impl Drop for Tmp {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        if std::env::var_os("SHIPIT_TESTBED_KEEP").is_some() {
            eprintln!("testbed: kept {}", dir.keep().display());
            return;
        }
        make_writable(&self.path);
        let result = dir.close();
        // A second panic while one unwinds would abort the whole test binary.
        if let Err(err) = result
            && !std::thread::panicking()
        {
            panic!("cannot remove {}: {err}", self.path.display());
        }
    }
}

fn make_writable(dir: &Path) {
    let Ok(meta) = fs::symlink_metadata(dir) else {
        return;
    };
    if !meta.is_dir() {
        return;
    }
    let mode = meta.permissions().mode();
    if mode & 0o700 != 0o700 {
        let _ = fs::set_permissions(dir, fs::Permissions::from_mode(mode | 0o700));
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        make_writable(&entry.path());
    }
}

/// Copies files into a directory, under their own names.
#[track_caller]
pub(crate) fn copy_into(dir: &Path, files: &[PathBuf]) {
    for file in files {
        let name = file.file_name().expect("a file has a name");
        fs::copy(file, dir.join(name)).unwrap_or_else(|err| panic!("cannot copy {}: {err}", file.display()));
    }
}

/// `bytes` random bytes in hexadecimal: for credentials, names and marks.
#[must_use]
pub fn random_hex(bytes: usize) -> String {
    let mut raw = vec![0; bytes];
    let mut source = fs::File::open("/dev/urandom").expect("cannot open /dev/urandom");
    source.read_exact(&mut raw).expect("cannot read /dev/urandom");
    raw.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gone_after_drop_with_read_only_directories_inside() {
        let tmp = Tmp::new("tmp");
        let path = tmp.path().to_owned();
        tmp.write("a/b/file", "x");
        for dir in ["a/b", "a"] {
            fs::set_permissions(tmp.join(dir), fs::Permissions::from_mode(0o500)).unwrap();
        }
        drop(tmp);
        assert!(!path.exists());
    }

    #[test]
    fn random_names_differ() {
        assert_eq!(random_hex(8).len(), 16);
        assert_ne!(random_hex(8), random_hex(8));
    }
}
