//! What happens to a tree in random histories: edits of revisions, and what steps do to what is on disk.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};

use super::descent::{as_path, is_within};
use super::test_tree::{Node, TestTree};

/// One change of the revision's tree.
#[derive(Debug, Clone)]
pub(super) enum Edit {
    File(Vec<u8>, u8, bool),
    Link(Vec<u8>, Vec<u8>),
    Directory(Vec<u8>),
    Remove(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Mode(Vec<u8>),
    Case(Vec<u8>),
}

/// One thing that a step does to what is on disk.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    /// In place, with as many bytes, and the time that it had.
    Content(Vec<u8>),
    Append(Vec<u8>),
    Remove(Vec<u8>),
    /// With a read-only tree in it.
    Directory(Vec<u8>),
    /// To a directory outside of the tree.
    Link(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    /// And a symlink in its place.
    Moved(Vec<u8>, Vec<u8>),
    Swap(Vec<u8>, Vec<u8>),
    Mode(Vec<u8>, u32),
    Fifo(Vec<u8>),
    Socket(Vec<u8>),
    HardLink(Vec<u8>, Vec<u8>),
}

/// What happens from one update to the next.
#[derive(Debug, Clone)]
pub(super) struct Round {
    pub(super) damage: Vec<Damage>,
    pub(super) edits: Vec<Edit>,
    /// Which version of each layer is wanted, if any.
    pub(super) layers: [Option<u8>; 2],
    pub(super) keep: bool,
    pub(super) open_again: bool,
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![
        &b"a"[..],
        b"A",
        b"b",
        b"a-b",
        b"ab",
        b"\xff\xfe",
        "\u{e4}".as_bytes(),
        b"vendor",
        b"bundle",
        b"node_modules",
        b"target",
    ]);
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'))
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        6 => (path(), 0..4_u8, any::<bool>()).prop_map(|(path, content, x)| Edit::File(path, content, x)),
        2 => (path(), path()).prop_map(|(path, target)| Edit::Link(path, target)),
        1 => path().prop_map(Edit::Directory),
        2 => path().prop_map(Edit::Remove),
        1 => (path(), path()).prop_map(|(from, to)| Edit::Rename(from, to)),
        1 => path().prop_map(Edit::Mode),
        1 => path().prop_map(Edit::Case),
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let mode = prop::sample::select(vec![0, 0o400, 0o555, 0o600, 0o700, 0o755, 0o2775, 0o4755]);
    prop_oneof![
        3 => path().prop_map(Damage::Content),
        1 => path().prop_map(Damage::Append),
        2 => path().prop_map(Damage::Remove),
        2 => path().prop_map(Damage::Directory),
        2 => path().prop_map(Damage::Link),
        2 => (path(), path()).prop_map(|(from, to)| Damage::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Damage::Moved(from, to)),
        2 => (path(), path()).prop_map(|(a, b)| Damage::Swap(a, b)),
        3 => (path(), mode).prop_map(|(path, mode)| Damage::Mode(path, mode)),
        1 => path().prop_map(Damage::Fifo),
        1 => path().prop_map(Damage::Socket),
        1 => (path(), path()).prop_map(|(from, to)| Damage::HardLink(from, to)),
    ]
}

pub(super) fn round() -> impl Strategy<Value = Round> {
    let layer = || prop::option::weighted(0.8, 0..2_u8);
    (
        prop::collection::vec(damage(), 0..6),
        prop::collection::vec(edit(), 0..6),
        [layer(), layer()],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(damage, edits, layers, keep, open_again)| Round {
            damage,
            edits,
            layers,
            keep,
            open_again,
        })
}

impl Edit {
    pub(super) fn apply(&self, tree: &mut TestTree) {
        match self {
            Self::File(path, content, executable) => {
                let bytes = vec![*content; 3];
                let executable = *executable;
                tree.put(path, Node::File { bytes, executable });
            }
            Self::Link(path, target) => tree.put(path, Node::Link(target.clone())),
            Self::Directory(path) => tree.put(path, Node::Directory),
            Self::Remove(path) => tree.remove(path),
            Self::Rename(from, to) => Self::rename(tree, from, to),
            Self::Mode(path) => {
                if let Some(Node::File { executable, .. }) = tree.nodes.get_mut(path) {
                    *executable = !*executable;
                }
            }
            Self::Case(path) => {
                let (upper, lower) = (path.to_ascii_uppercase(), path.to_ascii_lowercase());
                let to = if *path == lower { upper } else { lower };
                Self::rename(tree, path, &to);
            }
        }
    }

    fn rename(tree: &mut TestTree, from: &[u8], to: &[u8]) {
        if is_within(to, from) || is_within(from, to) {
            return;
        }
        let moved: Vec<(Vec<u8>, Node)> = tree
            .nodes
            .iter()
            .filter(|(path, _)| is_within(path, from))
            .map(|(path, node)| ([to, &path[from.len()..]].concat(), node.clone()))
            .collect();
        tree.remove(from);
        for (path, node) in moved {
            tree.put(&path, node);
        }
    }
}

impl Damage {
    /// What cannot be done is not done; nor is anything through a symlink: that would be damage outside of the tree.
    pub(super) fn apply(&self, root: &Path, outside: &Path) {
        let Ok(root) = root.canonicalize() else { return };
        let at = |path: &[u8]| {
            let path = root.join(as_path(path));
            let parent = path.parent().unwrap();
            let direct = parent.canonicalize().is_ok_and(|real| real == parent);
            if direct {
                path
            } else {
                root.join("not there/at all")
            }
        };
        let _ = match self {
            Self::Content(path) => content(&at(path)),
            Self::Append(path) => append(&at(path)),
            Self::Remove(path) => remove(&at(path)),
            Self::Directory(path) => remove(&at(path)).and_then(|()| read_only(&at(path))),
            Self::Link(path) => remove(&at(path)).and_then(|()| symlink(outside, at(path))),
            Self::Rename(from, to) => fs::rename(at(from), at(to)),
            Self::Moved(from, to) => fs::rename(at(from), at(to)).and_then(|()| symlink(at(to), at(from))),
            Self::Swap(a, b) => {
                let aside = root.join("swapped");
                fs::rename(at(a), &aside)
                    .and_then(|()| fs::rename(at(b), at(a)))
                    .and_then(|()| fs::rename(&aside, at(b)))
            }
            Self::Mode(path, mode) => mode_of(&at(path), *mode),
            Self::Fifo(path) => mkfifoat(CWD, at(path), Mode::RWXU).map_err(Into::into),
            Self::Socket(path) => UnixListener::bind(at(path)).map(drop),
            Self::HardLink(from, to) => fs::hard_link(at(from), at(to)),
        };
    }
}

fn content(path: &Path) -> io::Result<()> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_file() {
        return Ok(());
    }
    fs::write(path, vec![b'y'; metadata.len() as usize])?;
    fs::File::open(path)?.set_modified(metadata.modified()?)
}

fn append(path: &Path) -> io::Result<()> {
    if !path.symlink_metadata()?.is_file() {
        return Ok(());
    }
    fs::write(path, [fs::read(path)?, vec![b'x']].concat())
}

fn mode_of(path: &Path, mode: u32) -> io::Result<()> {
    if path.symlink_metadata()?.is_symlink() {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn read_only(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.join("mod/deep"))?;
    fs::write(path.join("mod/deep/x"), "x")?;
    for inner in ["mod/deep", "mod"] {
        fs::set_permissions(path.join(inner), Permissions::from_mode(0o555))?;
    }
    Ok(())
}
