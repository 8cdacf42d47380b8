//! Directories below a root that is being written into, opened one within the other: no symlink is followed on the way,
//! and the kernel walks no path twice.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

use crate::error::Error;

/// How often another thread may be ahead in making the same directory.
const ATTEMPTS: usize = 8;

/// The open directories from the root down to the one that was entered last. Entries in the order of their paths share
/// most of them.
pub(crate) struct Descent<'a> {
    root: &'a Path,
    top: BorrowedFd<'a>,
    path: Vec<u8>,
    /// The length of `path` down to each open directory.
    open: Vec<(usize, OwnedFd)>,
}

impl<'a> Descent<'a> {
    pub(crate) fn new(root: &'a Path, top: BorrowedFd<'a>) -> Self {
        Self {
            root,
            top,
            path: Vec::new(),
            open: Vec::new(),
        }
    }

    /// The directory at this path from the root, made when it is not there; what is no directory gives way. The path is
    /// one of an entry, so it has no `..`; empty for the root.
    pub(crate) fn enter(&mut self, directory: &[u8]) -> Result<BorrowedFd<'_>, Error> {
        while let Some((length, _)) = self.open.last()
            && !within(directory, &self.path[..*length])
        {
            self.open.pop();
        }
        self.path.clear();
        self.path.extend_from_slice(directory);
        let mut at = self.open.last().map_or(0, |(length, _)| *length);
        while at < directory.len() {
            let start = if at == 0 { 0 } else { at + 1 };
            let rest = &directory[start..];
            let end = rest
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(directory.len(), |slash| start + slash);
            let made = open_or_make(self.here(), &directory[start..end]).map_err(|source| Error::Io {
                doing: "making the directory",
                path: self.root.join(as_path(&directory[..end])),
                source: source.into(),
            })?;
            self.open.push((end, made));
            at = end;
        }
        Ok(self.here())
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.top, |(_, fd)| fd.as_fd())
    }
}

/// Whether the path is `base` or lies beneath it.
fn within(path: &[u8], base: &[u8]) -> bool {
    path.strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

fn open_or_make(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut last = Errno::NOENT;
    for _ in 0..ATTEMPTS {
        last = match openat(parent, name, flags, Mode::empty()) {
            Ok(found) => return Ok(found),
            Err(other) => other,
        };
        match last {
            Errno::NOENT => {}
            // A file or a symlink. Another thread may have replaced it by now.
            Errno::NOTDIR | Errno::LOOP => match unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => continue,
                Err(error) => return Err(error),
            },
            error => return Err(error),
        }
        match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// A path's bytes as the operating system takes them.
pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// The directory of an entry (empty at the top) and its name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Opens the root itself; a symlink to it is the caller's own and followed.
pub(crate) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(root, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_once_and_links_give_way() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("b"), "x").unwrap();
        let top = open_root(dir.path()).unwrap();
        let mut descent = Descent::new(dir.path(), top.as_fd());
        for path in [&b"a/x"[..], b"a/xy/z", b"a", b"", b"b/c"] {
            descent.enter(path).unwrap();
        }
        assert!(dir.path().join("a/xy/z").is_dir() && dir.path().join("b/c").is_dir());
        assert!(dir.path().join("a").symlink_metadata().unwrap().is_dir());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
