//! The tree's root held open, and directories beneath it, opened one within the other: no symlink is followed on the
//! way, whatever a step put in the place of a directory.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, SeekFrom, openat, seek, statat};
use rustix::io::Errno;

use super::error::KeptError;
use super::standing::Standing;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Room for some hundred directory entries a call.
const BUFFER: usize = 32 * 1024;

/// The tree's root.
#[derive(Debug)]
pub(super) struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    pub(super) fn open(path: &Path) -> Result<Self, KeptError> {
        let fd = openat(CWD, path, DIRECTORY, Mode::empty())
            .map_err(|error| KeptError::io("open the directory", path, error))?;
        Ok(Self {
            fd,
            path: path.to_path_buf(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The error about a path of the tree; empty for the root.
    pub(super) fn failed(&self, action: &'static str, path: &[u8], error: Errno) -> KeptError {
        KeptError::io(action, &self.path.join(as_path(path)), error)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The open directories from the root down to the one entered last. Paths in their order share most of them.
pub(super) struct Descent<'a> {
    top: BorrowedFd<'a>,
    path: Vec<u8>,
    /// Each open directory with the length of its path.
    open: Vec<(usize, OwnedFd)>,
}

impl<'a> Descent<'a> {
    pub(super) fn new(root: &'a Root) -> Self {
        Self {
            top: root.as_fd(),
            path: Vec::new(),
            open: Vec::new(),
        }
    }

    /// The directory at this path; empty for the root. A symlink or file on the way is ENOTDIR or ELOOP.
    pub(super) fn enter(&mut self, directory: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        let path = &self.path;
        let shared = self
            .open
            .iter()
            .take_while(|(length, _)| is_within(directory, &path[..*length]));
        let shared = shared.count();
        self.open.truncate(shared);
        self.path.clear();
        self.path.extend_from_slice(directory);
        let mut at = self.open.last().map_or(0, |(length, _)| *length);
        while at < directory.len() {
            let start = if at == 0 { 0 } else { at + 1 };
            let end = directory[start..]
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(directory.len(), |slash| start + slash);
            let opened = openat(self.here(), &directory[start..end], DIRECTORY, Mode::empty())?;
            self.open.push((end, opened));
            at = end;
        }
        Ok(self.here())
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.open.last().map_or(self.top, |(_, fd)| fd.as_fd())
    }
}

/// Opens the directory `name` of `parent`.
pub(super) fn open_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(parent, name, DIRECTORY, Mode::empty())
}

/// How `name` of `parent` stands; `None` when it is not there.
pub(super) fn standing(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Standing>, Errno> {
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(Standing::of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub name: Box<[u8]>,
    pub standing: Standing,
}

/// Lists directories; its buffer serves one after the other.
pub(super) struct Lister {
    buffer: Vec<MaybeUninit<u8>>,
}

impl Lister {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![MaybeUninit::uninit(); BUFFER],
        }
    }

    /// The directory's entries, sorted by name.
    pub(super) fn list(&mut self, directory: BorrowedFd<'_>) -> Result<Vec<Found>, Errno> {
        // The descriptor may have been read from before.
        seek(directory, SeekFrom::Start(0))?;
        let mut found = Vec::new();
        let mut entries = RawDir::new(directory, &mut self.buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                // Gone since.
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            found.push(Found {
                name: name.to_bytes().into(),
                standing: Standing::of(&stat),
            });
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

/// Whether the path is `base` or lies beneath it; all lie beneath the empty one.
pub(super) fn is_within(path: &[u8], base: &[u8]) -> bool {
    base.is_empty()
        || path
            .strip_prefix(base)
            .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// The directory of a path (empty at the top) and its name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The paths of all directories that hold this one, the root left out, the nearest first.
pub(super) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(split(path).0), |parent| Some(split(parent).0))
        .take_while(|parent| !parent.is_empty())
}

/// `name` in `directory`, which is empty for the root.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    if !directory.is_empty() {
        path.extend_from_slice(directory);
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// A path's bytes as the operating system takes them.
pub(super) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_are_entered_and_symlinks_are_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        fs::create_dir_all(dir.path().join("a-b")).unwrap();
        fs::write(dir.path().join("a/b/c/file"), "1").unwrap();
        symlink("b", dir.path().join("a/link")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut descent = Descent::new(&root);
        let mut lister = Lister::new();
        let mut names = |path: &[u8]| -> Result<Vec<String>, Errno> {
            let found = lister.list(descent.enter(path)?)?;
            Ok(found
                .iter()
                .map(|f| String::from_utf8_lossy(&f.name).into_owned())
                .collect())
        };
        assert_eq!(names(b"a").unwrap(), ["b", "link"]);
        assert_eq!(names(b"a-b").unwrap(), [""; 0]);
        assert_eq!(names(b"a/b/c").unwrap(), ["file"]);
        assert_eq!(names(b"a").unwrap(), ["b", "link"]);
        assert_eq!(names(b"").unwrap(), ["a", "a-b"]);
        for refused in [&b"a/link"[..], b"a/link/c", b"a/b/c/file"] {
            assert!(matches!(names(refused), Err(Errno::LOOP | Errno::NOTDIR)));
        }
        assert_eq!(names(b"a/no/where"), Err(Errno::NOENT));
        assert_eq!(names(b"a/b").unwrap(), ["c"]);
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"a"), (&b""[..], &b"a"[..]));
        assert_eq!(ancestors(b"a/b/c").collect::<Vec<_>>(), [&b"a/b"[..], b"a"]);
        assert_eq!(ancestors(b"a").count(), 0);
        assert!(is_within(b"a/b", b"a") && is_within(b"a", b"a") && !is_within(b"ab", b"a"));
    }
}
