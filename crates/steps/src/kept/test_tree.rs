//! A small tree in memory, for tests: written by hand, and compared with what is on disk.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use shipit_artifact::{EntryPath, Kind, sha256};

use super::descent::{ancestors, as_path, is_within};
use super::{InPlace, Kept, PlannedFile, UpdateError, UpdateRequest, Updated};

pub(super) const JOBS: NonZeroUsize = NonZeroUsize::new(2).unwrap();
pub(super) static RUN: AtomicBool = AtomicBool::new(false);

/// Runs `test` in a thread that has no more rights than any user has over his own files.
pub(super) fn without_root<R: Send>(test: impl FnOnce() -> R + Send) -> R {
    let body = || {
        let mut sets = capabilities(None).unwrap();
        let all = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::FOWNER;
        sets.effective -= all;
        set_capabilities(None, sets).unwrap();
        test()
    };
    match std::thread::scope(|scope| scope.spawn(body).join()) {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    File { bytes: Vec<u8>, executable: bool },
    Link(Vec<u8>),
    Directory,
}

/// A revision's files, or a layer's.
#[derive(Debug, Clone, Default)]
pub(super) struct TestTree {
    pub(super) nodes: BTreeMap<Vec<u8>, Node>,
}

impl TestTree {
    /// Files whose content is their path; `x` at the end of a name makes one executable, `/` a directory.
    pub(super) fn of(paths: &[&str]) -> Self {
        let mut tree = Self::default();
        for path in paths {
            match path.strip_suffix('/') {
                Some(directory) => tree.put(directory.as_bytes(), Node::Directory),
                None => tree.put(path.as_bytes(), file(path, path.ends_with('x'))),
            }
        }
        tree
    }

    /// Puts a node there, whatever is in its way.
    pub(super) fn put(&mut self, path: &[u8], node: Node) {
        for ancestor in ancestors(path) {
            if self
                .nodes
                .get(ancestor)
                .is_none_or(|node| *node != Node::Directory)
            {
                self.nodes.insert(ancestor.to_vec(), Node::Directory);
            }
        }
        if node != Node::Directory || self.nodes.get(path) != Some(&Node::Directory) {
            self.remove(path);
            self.nodes.insert(path.to_vec(), node);
        }
    }

    pub(super) fn remove(&mut self, path: &[u8]) {
        self.nodes.retain(|other, _| !is_within(other, path));
    }

    pub(super) fn planned(&self) -> Vec<PlannedFile> {
        let planned = |(path, node): (&Vec<u8>, &Node)| {
            let path = EntryPath::new(path.as_slice()).unwrap();
            let (kind, bytes) = match node {
                Node::Directory => (Kind::Directory, &[][..]),
                Node::Link(target) => {
                    let target = target.clone();
                    (Kind::Symlink { target }, &[][..])
                }
                Node::File { bytes, executable } => {
                    let executable = *executable;
                    (Kind::File { executable }, bytes.as_slice())
                }
            };
            PlannedFile {
                path,
                kind,
                size: bytes.len() as u64,
                identity: *sha256(bytes).as_bytes(),
            }
        };
        self.nodes.iter().map(planned).collect()
    }

    /// Writes these files and links below `root`, as new ones.
    pub(super) fn write(&self, root: &Path, paths: &[EntryPath], mtime: Option<i64>) {
        assert!(paths.is_sorted());
        for path in paths {
            let to = root.join(path.as_path());
            match &self.nodes[path.as_bytes()] {
                Node::Directory => fs::create_dir(&to).unwrap(),
                Node::Link(target) => symlink(as_path(target), &to).unwrap(),
                Node::File { bytes, executable } => {
                    let mut file = OpenOptions::new().write(true).create_new(true).open(&to).unwrap();
                    file.write_all(bytes).unwrap();
                    let mode = if *executable { 0o755 } else { 0o644 };
                    file.set_permissions(Permissions::from_mode(mode)).unwrap();
                }
            }
            if let Some(time) = mtime {
                set_time(&to, time);
            }
        }
    }

    /// Everything, into a directory that is not there.
    pub(super) fn export(&self, root: &Path, mtime: i64) {
        fs::create_dir(root).unwrap();
        let all: Vec<EntryPath> = self
            .nodes
            .keys()
            .map(|path| EntryPath::new(path.as_slice()).unwrap())
            .collect();
        self.write(root, &all, Some(mtime));
        for (path, node) in self.nodes.iter().rev() {
            if *node == Node::Directory {
                fs::set_permissions(root.join(as_path(path)), Permissions::from_mode(0o755)).unwrap();
                set_time(&root.join(as_path(path)), mtime);
            }
        }
    }
}

pub(super) fn file(content: &str, executable: bool) -> Node {
    Node::File {
        bytes: content.as_bytes().to_vec(),
        executable,
    }
}

pub(super) fn paths(paths: &[&str]) -> Vec<EntryPath> {
    paths.iter().map(|path| EntryPath::new(*path).unwrap()).collect()
}

fn set_time(path: &Path, seconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// What is at a path: type, mode, content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) node: Option<Node>,
    pub(super) mode: u32,
    pub(super) modified: i64,
}

/// All that is beneath `root`, by path.
pub(super) fn list(root: &Path) -> BTreeMap<Vec<u8>, Listed> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        list_at(root, &entry.unwrap().path(), &mut found);
    }
    found
}

/// What is at `path`, and beneath it, by its path from `root`. Other things than files, links and directories have no node.
pub(super) fn list_at(root: &Path, path: &Path, found: &mut BTreeMap<Vec<u8>, Listed>) {
    let Ok(metadata) = path.symlink_metadata() else {
        return;
    };
    let node = if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            list_at(root, &entry.unwrap().path(), found);
        }
        Some(Node::Directory)
    } else if metadata.is_symlink() {
        Some(Node::Link(
            fs::read_link(path).unwrap().into_os_string().into_vec(),
        ))
    } else if metadata.is_file() {
        Some(Node::File {
            bytes: fs::read(path).unwrap(),
            executable: metadata.mode() & 0o100 != 0,
        })
    } else {
        None
    };
    let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
    let mode = if metadata.is_symlink() {
        0
    } else {
        metadata.mode() & 0o7777
    };
    let modified = metadata.mtime();
    found.insert(name, Listed { node, mode, modified });
}

/// A workspace in a temporary directory.
pub(super) struct Case {
    pub(super) dir: tempfile::TempDir,
    pub(super) kept: Kept,
}

/// What an update of a [`Case`] is asked for beside the tree.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) layers: Vec<InPlace>,
    pub(super) keep: Vec<EntryPath>,
    pub(super) mtime: Option<i64>,
}

impl Case {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::open(dir.path(), JOBS).unwrap();
        Self { dir, kept }
    }

    pub(super) fn open_again(&mut self) {
        self.kept = Kept::open(self.dir.path(), JOBS).unwrap();
    }

    pub(super) fn at(&self, path: &str) -> std::path::PathBuf {
        self.kept.root().join(path)
    }

    pub(super) fn update(&mut self, tree: &TestTree, asked: &Asked) -> Updated {
        self.try_update(tree, asked).unwrap()
    }

    pub(super) fn try_update(
        &mut self,
        tree: &TestTree,
        asked: &Asked,
    ) -> Result<Updated, UpdateError<Infallible>> {
        let root = self.kept.root().to_path_buf();
        let write = |paths: &[EntryPath]| {
            tree.write(&root, paths, asked.mtime);
            Ok(())
        };
        let request = UpdateRequest {
            planned: &tree.planned(),
            layers: &asked.layers,
            keep: &asked.keep,
            mtime: asked.mtime,
            write: &write,
        };
        self.kept.update(&request, &RUN)
    }

    /// That the tree is what an export of `tree` would give.
    pub(super) fn is(&self, tree: &TestTree, mtime: Option<i64>) {
        let fresh = tempfile::tempdir().unwrap();
        let fresh = fresh.path().join("tree");
        tree.export(&fresh, mtime.unwrap_or(0));
        let (mut found, mut expected) = (list(self.kept.root()), list(&fresh));
        for listed in found.values_mut().chain(expected.values_mut()) {
            if mtime.is_none() {
                listed.modified = 0;
            }
        }
        assert_eq!(found, expected);
    }
}
