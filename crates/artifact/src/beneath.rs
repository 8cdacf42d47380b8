//! Opens paths beneath a directory, never through a symlink and never out of it.
//!
//! The kernel does it in one call (openat2, Linux 5.6); where it is missing or forbidden, each component is opened on its
//! own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use crate::path::EntryPath;

/// A directory, held open: what lies beneath it is opened through it, never through a symlink and never out of it.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    /// Set once openat2 turned out to be missing.
    by_component: AtomicBool,
}

/// For directories that are only passed through.
pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

impl Root {
    /// Opens `path` itself, which may be reached through symlinks.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = openat(CWD, path, DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self::from_fd(fd))
    }

    fn from_fd(fd: OwnedFd) -> Self {
        Self {
            fd,
            by_component: AtomicBool::new(false),
        }
    }

    /// A directory beneath this one as a root of its own.
    pub(crate) fn sub_root(&self, path: &EntryPath) -> io::Result<Self> {
        self.open_at(Some(path), DIRECTORY).map(Self::from_fd)
    }

    /// Opens what lies at `path` (`None`: the root itself) without creating it. A symlink anywhere on the way, the last
    /// component included, is refused with ELOOP or ENOTDIR.
    pub fn open_at(&self, path: Option<&EntryPath>, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let Some(path) = path else {
            return Ok(openat(&self.fd, ".", flags, Mode::empty())?);
        };
        if !self.by_component.load(Ordering::Relaxed) {
            match self.in_one_call(path, flags) {
                // EPERM is what seccomp filters that predate the call answer.
                Err(Errno::NOSYS | Errno::PERM) => self.by_component.store(true, Ordering::Relaxed),
                result => return Ok(result?),
            }
        }
        Ok(self.component_by_component(path, flags)?)
    }

    fn in_one_call(&self, path: &EntryPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        loop {
            match openat2(&self.fd, path.as_bytes(), flags, Mode::empty(), resolve) {
                // A rename elsewhere in the tree got in between.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn component_by_component(&self, path: &EntryPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let mut components = path.as_bytes().split(|byte| *byte == b'/').peekable();
        let mut at: Option<OwnedFd> = None;
        while let Some(component) = components.next() {
            let here = at.as_ref().map_or(self.fd.as_fd(), |fd| fd.as_fd());
            if components.peek().is_none() {
                return openat(here, component, flags, Mode::empty());
            }
            let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at = Some(openat(here, component, through, Mode::empty())?);
        }
        // A path has at least one component.
        Err(Errno::NOENT)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// How many directories are kept open.
const KEPT: usize = 16;

/// Directories beneath a root that were used lately, held open: most files are opened by their name alone.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    /// The one used last comes first.
    recent: Mutex<Vec<(EntryPath, Arc<OwnedFd>)>>,
}

impl Handles {
    /// Opens what lies at `path`, as [`Root::open_at`] does.
    pub(crate) fn open(&self, root: &Root, path: &EntryPath, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let name = path.file_name();
        let Some(directory) = self.directory(root, path)? else {
            return Ok(openat(root, name, flags, Mode::empty())?);
        };
        match openat(&directory, name, flags, Mode::empty()) {
            Ok(fd) => Ok(fd),
            // The directory may have been put in another place since.
            Err(_) => root.open_at(Some(path), flags),
        }
    }

    /// Lets go of all.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    /// The directory that holds `path`; `None` is the root.
    fn directory(&self, root: &Root, path: &EntryPath) -> io::Result<Option<Arc<OwnedFd>>> {
        let bytes = path.as_bytes();
        let Some(cut) = bytes.iter().rposition(|byte| *byte == b'/') else {
            return Ok(None);
        };
        {
            let mut recent = self.lock();
            if let Some(at) = recent
                .iter()
                .position(|(path, _)| path.as_bytes() == &bytes[..cut])
            {
                recent[..=at].rotate_right(1);
                return Ok(recent.first().map(|(_, fd)| Arc::clone(fd)));
            }
        }
        let Some(parent) = path.parent() else {
            return Ok(None);
        };
        let through = OFlags::PATH | OFlags::DIRECTORY;
        let opened = Arc::new(root.open_at(Some(&parent), through)?);
        let mut recent = self.lock();
        recent.truncate(KEPT - 1);
        recent.insert(0, (parent, Arc::clone(&opened)));
        Ok(Some(opened))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(EntryPath, Arc<OwnedFd>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text).unwrap()
    }

    #[test]
    fn both_ways_refuse_symlinks_alike() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "x").unwrap();
        symlink("a", dir.path().join("link")).unwrap();
        symlink("/etc", dir.path().join("a/etc")).unwrap();
        symlink("file", dir.path().join("a/b/last")).unwrap();
        for by_component in [false, true] {
            let root = Root::open(dir.path()).unwrap();
            root.by_component.store(by_component, Ordering::Relaxed);
            assert!(root.open_at(Some(&path("a/b/file")), OFlags::RDONLY).is_ok());
            assert!(root.open_at(None, DIRECTORY).is_ok());
            for refused in ["link/b/file", "a/etc/passwd", "a/b/last", "link"] {
                let error = root.open_at(Some(&path(refused)), OFlags::RDONLY).unwrap_err();
                let errno = Errno::from_io_error(&error).unwrap();
                assert!(
                    matches!(errno, Errno::LOOP | Errno::NOTDIR),
                    "{refused} {by_component} {error}"
                );
            }
            let missing = root.open_at(Some(&path("a/no")), OFlags::RDONLY).unwrap_err();
            assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        }
    }
}
