//! What has to go is renamed out of the tree first and deleted last: files that are made right after a large tree was
//! deleted take longer.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, chmodat, fchmod, fstat, openat, renameat_with};
use rustix::io::Errno;

use super::descent::{Descent, Root, as_path, join, split, standing};
use super::error::KeptError;

/// How a directory of old files is called; a number follows.
const PREFIX: &str = "old-";

/// A directory that takes what has to go. It stays until [`remove_all`].
#[derive(Debug)]
pub(super) struct Aside {
    fd: OwnedFd,
    taken: u64,
}

impl Aside {
    /// A new one in `dir`, which is on the tree's file system.
    pub(super) fn create(dir: &Path) -> Result<Self, KeptError> {
        let mut number = 0_u64;
        loop {
            match Self::at(&dir.join(format!("{PREFIX}{number}"))) {
                Err(KeptError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => number += 1,
                result => return result,
            }
        }
    }

    /// A new one at `path`, where nothing is.
    pub(super) fn at(path: &Path) -> Result<Self, KeptError> {
        fs::create_dir(path).map_err(|error| KeptError::io("make the directory", path, error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())
            .map_err(|error| KeptError::io("open the directory", path, error))?;
        Ok(Self { fd, taken: 0 })
    }

    /// Takes a whole directory that is not beneath a [`Root`].
    pub(super) fn take_path(&mut self, path: &Path) -> Result<(), KeptError> {
        use std::os::unix::ffi::OsStrExt as _;
        let failed = |error: Errno| KeptError::io("move aside", path, error);
        let (directory, name) = split(path.as_os_str().as_bytes());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(CWD, as_path(directory), flags, Mode::empty()).map_err(failed)?;
        self.rename(parent.as_fd(), name, path).map_err(failed)
    }

    /// Takes `name` of `directory`, an open directory of the tree, whatever it is.
    pub(super) fn take(
        &mut self,
        root: &Root,
        (directory, open): (&[u8], BorrowedFd<'_>),
        name: &[u8],
    ) -> Result<(), KeptError> {
        let path = join(directory, name);
        let whole = root.path().join(as_path(&path));
        self.rename(open, name, &whole)
            .map_err(|error| root.failed("move aside", &path, error))
    }

    fn rename(&mut self, parent: BorrowedFd<'_>, name: &[u8], path: &Path) -> Result<(), Errno> {
        let to = self.taken.to_string();
        self.taken += 1;
        // Never over anything: two processes without the lock would else lose files.
        let rename = || match renameat_with(parent, name, &self.fd, &*to, RenameFlags::NOREPLACE) {
            Err(Errno::NOSYS | Errno::INVAL) => rustix::fs::renameat(parent, name, &self.fd, &*to),
            result => result,
        };
        match rename() {
            // Gone by itself.
            Err(Errno::NOENT) => Ok(()),
            Err(Errno::ACCESS) => with_permission(parent, name, rename),
            // Overlay file systems do not rename directories of their lower layers.
            Err(Errno::XDEV) => {
                remove(path).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
            result => result,
        }
    }
}

/// Tries once more after the two directories that a rename writes to were made writable: the one that holds `name`, and
/// `name` itself where it is one, since its `..` changes.
fn with_permission(
    parent: BorrowedFd<'_>,
    name: &[u8],
    rename: impl Fn() -> Result<(), Errno>,
) -> Result<(), Errno> {
    let before = Mode::from_raw_mode(fstat(parent)?.st_mode);
    fchmod(parent, before | Mode::RWXU)?;
    let directory = standing(parent, name)?.is_some_and(|found| found.is_directory());
    if directory {
        chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
    }
    let result = rename();
    fchmod(parent, before)?;
    result
}

/// Moves what lies at these paths of the tree into a new directory in `dir`. One to which no directory leads has nothing.
pub(super) fn clear<'p>(
    dir: &Path,
    root: &Root,
    paths: impl IntoIterator<Item = &'p [u8]>,
) -> Result<(), KeptError> {
    let mut aside = None;
    let mut descent = Descent::new(root);
    for path in paths {
        let (directory, name) = split(path);
        let open = match descent.enter(directory) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            open => open.map_err(|error| root.failed("open", directory, error))?,
        };
        let aside = match &mut aside {
            Some(aside) => aside,
            none => none.insert(Aside::create(dir)?),
        };
        aside.take(root, (directory, open), name)?;
    }
    Ok(())
}

/// Deletes all old files in `dir`, also those of processes that were killed, and what else there `is_old` by its name. What
/// cannot be deleted does not keep the rest; the first of it is the error.
pub(super) fn remove_all(dir: &Path, is_old: &dyn Fn(&str) -> bool) -> Result<(), KeptError> {
    let failed = |error| KeptError::io("list", dir, error);
    let mut first = Ok(());
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(PREFIX) || is_old(&name) {
            let path = entry.path();
            let removed = remove(&path).map_err(|error| KeptError::io("remove", &path, error));
            first = first.and(removed);
        }
    }
    first
}

/// Removes whatever lies at the path, directories that may not be written to or read included.
fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => remove_by_entry(path),
        result => result,
    }
}

/// Opens each directory before it is looked into, and goes on where something cannot be removed: another user's files, for
/// example. The first error counts.
fn remove_by_entry(directory: &Path) -> io::Result<()> {
    // When this fails, the next calls say why.
    let _ = fs::set_permissions(directory, Permissions::from_mode(0o700));
    let mut first = Ok(());
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let removed = if entry.file_type()?.is_dir() {
            remove_by_entry(&entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        first = first.and(removed);
    }
    first.and(fs::remove_dir(directory))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::test_tree::without_root;
    use super::*;

    #[test]
    fn directories_that_nobody_may_write_to_go_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(tree.join("held/mod/deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(tree.join("held/mod/deep/file"), "1").unwrap();
        symlink(&outside, tree.join("held/mod/link")).unwrap();
        for (path, mode) in [("held/mod/deep", 0), ("held/mod", 0o555), ("held", 0o555)] {
            fs::set_permissions(tree.join(path), Permissions::from_mode(mode)).unwrap();
        }
        fs::set_permissions(&outside, Permissions::from_mode(0o555)).unwrap();
        without_root(|| {
            let root = Root::open(&tree).unwrap();
            let mut aside = Aside::create(dir.path()).unwrap();
            let mut descent = Descent::new(&root);
            let held = descent.enter(b"held").unwrap();
            aside.take(&root, (b"held", held), b"mod").unwrap();
            aside.take(&root, (b"held", held), b"never was").unwrap();
            assert!(fs::read_dir(tree.join("held")).unwrap().next().is_none());
            assert_eq!(
                fs::metadata(tree.join("held")).unwrap().permissions().mode() & 0o777,
                0o555
            );
            Aside::create(dir.path()).unwrap();
            assert!(dir.path().join("old-0/0/deep").is_dir() && dir.path().join("old-1").is_dir());
            remove_all(dir.path(), &|_| false).unwrap();
        });
        let mode = fs::metadata(&outside).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o555);
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["outside", "tree"]);
    }
}
