//! Brings what a step vendored to the form that a layer has once it is packed: modes 0644 and 0755, one name for each file,
//! nothing but files, directories and symlinks. So later steps find the same whether the step ran or its layer was found.
//!
//! Not done here: times, which steps must not go by, and what an installer leaves behind ([`crate::normalise`]).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, chmodat, fchmod, futimens,
    openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;
use shipit_artifact::{EntryPath, Root};

use crate::normalise::Failed;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);
const EXECUTABLE: RawMode = 0o755;
const PLAIN: RawMode = 0o644;
/// The bit by which the packer takes a file for executable.
const OWNER_EXECUTES: RawMode = 0o100;
/// What a file is called while it gets an inode of its own; a killed build's workspace is put in order by the next one.
const ASIDE: &str = ".shipit-own-inode";

/// What could not be as it is packed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Odd {
    /// Fifos, sockets and devices, which are no layer's: removed. Sorted.
    pub(crate) removed: Vec<EntryPath>,
    /// Another user's, so that they keep their modes. Sorted.
    pub(crate) foreign: Vec<EntryPath>,
}

/// Why it ended early.
pub(crate) enum Ended {
    Failed(Failed),
    Cancelled,
}

/// Brings all at and beneath `owned`, paths below `root`, to that form, and the directories on the way to them. Symlinks are
/// not followed. Nothing else may write there meanwhile.
pub(crate) fn as_packed(root: &Path, owned: &[EntryPath], cancel: &AtomicBool) -> Result<Odd, Ended> {
    let opened = Root::open(root).map_err(|error| Ended::Failed(("open", root.to_path_buf(), error)))?;
    let mut walk = Walk {
        root: &opened,
        path: root,
        odd: Odd::default(),
        waiting: Vec::new(),
    };
    for path in owned {
        walk.start(path).map_err(Ended::Failed)?;
    }
    while let Some(directory) = walk.waiting.pop() {
        if cancel.load(Ordering::Relaxed) {
            return Err(Ended::Cancelled);
        }
        walk.directory(&directory).map_err(Ended::Failed)?;
    }
    let mut odd = walk.odd;
    odd.removed.sort();
    odd.foreign.sort();
    Ok(odd)
}

struct Walk<'a> {
    root: &'a Root,
    path: &'a Path,
    odd: Odd,
    /// Directories that are to be listed.
    waiting: Vec<EntryPath>,
}

impl Walk<'_> {
    /// An owned path; the directories above it were made for it, or are the tree's.
    fn start(&mut self, path: &EntryPath) -> Result<(), Failed> {
        let mut above: Vec<EntryPath> = std::iter::successors(path.parent(), EntryPath::parent).collect();
        above.reverse();
        for directory in above {
            if !self.visit_alone(&directory)? {
                return Ok(());
            }
        }
        self.visit_alone(path)?;
        self.waiting.push(path.clone());
        Ok(())
    }

    /// What lies at `path`, without what is beneath; whether it is a directory.
    fn visit_alone(&mut self, path: &EntryPath) -> Result<bool, Failed> {
        let opened = self.open_parent(path);
        let parent = opened.map_err(|error| self.failed("open the directory of", path, error))?;
        let before = self.waiting.len();
        self.visit(parent.as_fd(), path.clone())?;
        let is_directory = self.waiting.len() > before;
        self.waiting.truncate(before);
        Ok(is_directory)
    }

    fn open_parent(&self, path: &EntryPath) -> io::Result<std::os::fd::OwnedFd> {
        self.root.open_at(path.parent().as_ref(), DIRECTORY)
    }

    /// All that is in a directory; nothing when it is none.
    fn directory(&mut self, path: &EntryPath) -> Result<(), Failed> {
        let opened = match self.root.open_at(Some(path), DIRECTORY) {
            Ok(opened) => opened,
            Err(error) if is_no_directory(&error) => return Ok(()),
            Err(error) => return Err(self.failed("open", path, error)),
        };
        let list = |error: Errno| self.failed("list", path, error.into());
        // All names first: a file that gets an inode of its own gets a name for a moment.
        let mut children = Vec::new();
        for entry in Dir::read_from(&opened).map_err(list)? {
            let entry = entry.map_err(list)?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let child = path.join_bytes(name);
            children.push(child.map_err(|error| self.failed("take", path, io::Error::other(error)))?);
        }
        for child in children {
            self.visit(opened.as_fd(), child)?;
        }
        Ok(())
    }

    fn visit(&mut self, parent: BorrowedFd<'_>, path: EntryPath) -> Result<(), Failed> {
        let stat = match statat(parent, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.failed("look at", &path, error.into())),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.set_mode(parent, &path, &stat, EXECUTABLE)?;
                self.waiting.push(path);
            }
            FileType::RegularFile => self.file(parent, &path, &stat)?,
            FileType::Symlink => {}
            _ => {
                let removed = unlinkat(parent, path.file_name(), AtFlags::empty());
                removed.map_err(|error| self.failed("remove", &path, error.into()))?;
                self.odd.removed.push(path);
            }
        }
        Ok(())
    }

    fn file(&mut self, parent: BorrowedFd<'_>, path: &EntryPath, stat: &Stat) -> Result<(), Failed> {
        let mode = match stat.st_mode & OWNER_EXECUTES {
            0 => PLAIN,
            _ => EXECUTABLE,
        };
        if stat.st_nlink == 1 {
            return self.set_mode(parent, path, stat, mode);
        }
        // The other name may be a download cache's: neither its mode nor its content is the layer's to change.
        match own_inode(parent, path.file_name(), stat, mode) {
            Err(error) if is_refused(&error) => {
                self.odd.foreign.push(path.clone());
                Ok(())
            }
            copied => copied.map_err(|error| self.failed("copy", path, error)),
        }
    }

    fn set_mode(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &EntryPath,
        stat: &Stat,
        mode: RawMode,
    ) -> Result<(), Failed> {
        if stat.st_mode & 0o7777 == mode {
            return Ok(());
        }
        // It was no symlink a moment ago, and the step's processes have ended.
        match chmodat(
            parent,
            path.file_name(),
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        ) {
            Ok(()) => Ok(()),
            Err(Errno::PERM | Errno::ACCESS) => {
                self.odd.foreign.push(path.clone());
                Ok(())
            }
            Err(error) => Err(self.failed("set the mode of", path, error.into())),
        }
    }

    fn failed(&self, action: &'static str, path: &EntryPath, error: io::Error) -> Failed {
        let path: PathBuf = self.path.join(path.as_path());
        (action, path, error)
    }
}

/// Puts a copy in the place of a file that has further names.
fn own_inode(parent: BorrowedFd<'_>, name: &[u8], stat: &Stat, mode: RawMode) -> io::Result<()> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut from = File::from(openat(parent, name, read, Mode::empty())?);
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut to = File::from(openat(parent, ASIDE, write, Mode::RUSR | Mode::WUSR)?);
    let mut copy = || -> io::Result<()> {
        io::copy(&mut from, &mut to)?;
        fchmod(&to, Mode::from_raw_mode(mode))?;
        futimens(&to, &times(stat))?;
        Ok(renameat(parent, ASIDE, parent, name)?)
    };
    copy().inspect_err(|_| {
        let _ = unlinkat(parent, ASIDE, AtFlags::empty());
    })
}

fn times(stat: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        // The kernel's own number: below a thousand million.
        tv_nsec: nanoseconds as _,
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn is_no_directory(error: &io::Error) -> bool {
    let is = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    is(Errno::NOENT) || is(Errno::NOTDIR) || is(Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text).unwrap()
    }

    fn settle(root: &Path, owned: &[&str]) -> Odd {
        let owned: Vec<_> = owned.iter().map(|name| path(name)).collect();
        match as_packed(root, &owned, &AtomicBool::new(false)) {
            Ok(odd) => odd,
            Err(Ended::Failed((action, path, error))) => {
                panic!("cannot {action} {}: {error}", path.display())
            }
            Err(Ended::Cancelled) => panic!("cancelled"),
        }
    }

    #[test]
    fn what_is_a_layers_is_as_packed_and_nothing_else_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join("tree").join(name);
        let mode = |name: &str| fs::symlink_metadata(at(name)).unwrap().mode() & 0o7777;
        let set = |name: &str, mode| fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        fs::create_dir_all(at("o/closed/inner")).unwrap();
        fs::create_dir_all(at("way/own")).unwrap();
        let modes = [
            ("o/secret", 0o600, 0o644),
            ("o/group", 0o664, 0o644),
            ("o/run", 0o700, 0o755),
            ("o/setuid", 0o4755, 0o755),
            ("o/others", 0o611, 0o644),
            ("o/closed/inner/x", 0o444, 0o644),
            ("way/own/x", 0o640, 0o644),
            ("beside", 0o600, 0o600),
            ("way/beside", 0o600, 0o600),
        ];
        for (name, before, _) in modes {
            fs::write(at(name), name).unwrap();
            set(name, before);
        }
        set("o/closed/inner", 0o311);
        set("o/closed", 0o555);
        set("way", 0o2700);
        symlink("../beside", at("o/link")).unwrap();
        symlink("way", at("through")).unwrap();
        let _socket = UnixListener::bind(at("o/socket")).unwrap();

        let odd = settle(
            &dir.path().join("tree"),
            &["o", "way/own", "through/beside", "absent/x"],
        );
        assert_eq!(odd.removed, [path("o/socket")]);
        assert_eq!(odd.foreign, []);
        for (name, _, after) in modes {
            assert_eq!(mode(name), after, "{name}");
            assert_eq!(fs::read_to_string(at(name)).unwrap(), name);
        }
        for name in ["o", "o/closed", "o/closed/inner", "way", "way/own"] {
            assert_eq!(mode(name), 0o755, "{name}");
        }
        assert!(at("o/link").is_symlink() && !at("o/socket").exists());
    }

    #[test]
    fn a_file_with_another_name_gets_an_inode_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("tree/o")).unwrap();
        fs::write(at("store"), "shared").unwrap();
        fs::set_permissions(at("store"), Permissions::from_mode(0o555)).unwrap();
        for name in ["tree/o/a", "tree/o/b"] {
            fs::hard_link(at("store"), at(name)).unwrap();
        }
        let before = at("store").metadata().unwrap();
        assert_eq!(settle(&at("tree"), &["o"]), Odd::default());
        let stat = |name: &str| at(name).metadata().unwrap();
        for name in ["tree/o/a", "tree/o/b"] {
            let now = stat(name);
            assert_eq!((now.mode() & 0o7777, now.nlink()), (0o755, 1), "{name}");
            assert_eq!(fs::read_to_string(at(name)).unwrap(), "shared");
            assert_eq!(now.modified().unwrap(), before.modified().unwrap());
        }
        assert_eq!(stat("store").mode() & 0o7777, 0o555);
        assert_eq!(fs::read_dir(at("tree/o")).unwrap().count(), 2);
    }

    #[test]
    fn a_cancelled_walk_ends() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("o")).unwrap();
        let ended = as_packed(dir.path(), &[path("o")], &AtomicBool::new(true));
        assert!(matches!(ended, Err(Ended::Cancelled)));
    }
}
