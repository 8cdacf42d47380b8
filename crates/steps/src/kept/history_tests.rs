//! Random histories: whatever the revisions and whatever steps did to the tree, an update gives what an export from nothing
//! would.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{CWD, Mode, mkfifoat};

use super::InPlace;
use super::descent::{as_path, is_within};
use super::test_tree::{Asked, Case, Listed, Node, TestTree, list, list_at, paths, without_root};

const KEEP: &[u8] = b"target";
const OWNED: [&str; 2] = ["vendor/bundle", "node_modules"];

/// One change of the revision's tree.
#[derive(Debug, Clone)]
enum Edit {
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
enum Damage {
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
struct Round {
    damage: Vec<Damage>,
    edits: Vec<Edit>,
    /// Which version of each layer is wanted, if any.
    layers: [Option<u8>; 2],
    keep: bool,
    open_again: bool,
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

fn round() -> impl Strategy<Value = Round> {
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
    fn apply(&self, tree: &mut TestTree) {
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
    /// What cannot be done is not done.
    fn apply(&self, root: &Path, outside: &Path) {
        let at = |path: &[u8]| root.join(as_path(path));
        let _ = match self {
            Self::Content(path) => content(&at(path)),
            Self::Append(path) => fs::read(at(path)).and_then(|mut bytes| {
                bytes.push(b'x');
                fs::write(at(path), bytes)
            }),
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

/// Never through a symlink: that would be damage outside of the tree.
fn content(path: &Path) -> std::io::Result<()> {
    let metadata = path.symlink_metadata()?;
    if !metadata.is_file() || path.canonicalize()? != path {
        return Ok(());
    }
    fs::write(path, vec![b'y'; metadata.len() as usize])?;
    fs::File::open(path)?.set_modified(metadata.modified()?)
}

fn mode_of(path: &Path, mode: u32) -> std::io::Result<()> {
    if path.symlink_metadata()?.is_symlink() || path.canonicalize()? != path {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.canonicalize().is_ok_and(|real| real != path) && !path.is_symlink() {
        return Err(std::io::Error::other("outside"));
    }
    match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

fn read_only(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(path.join("mod/deep"))?;
    fs::write(path.join("mod/deep/x"), "x")?;
    for inner in ["mod/deep", "mod"] {
        fs::set_permissions(path.join(inner), Permissions::from_mode(0o555))?;
    }
    Ok(())
}

/// A layer's files.
fn layer_tree(owned: &str, version: u8) -> TestTree {
    let mut tree = TestTree::default();
    for name in ["a/b", "a/c/d", "b"] {
        let bytes = format!("{name} {version}").into_bytes();
        let executable = false;
        tree.put(
            format!("{owned}/{name}").as_bytes(),
            Node::File { bytes, executable },
        );
    }
    tree.put(format!("{owned}/link").as_bytes(), Node::Link(b"a".to_vec()));
    tree
}

/// Puts the layer where an update left room for it.
fn place(case: &mut Case, layer: &InPlace, tree: &TestTree) {
    let root = case.kept.root().to_path_buf();
    let own = layer.owned[0].as_bytes();
    let there = list(&root);
    assert!(
        !there.keys().any(|path| is_within(path, own)),
        "{own:?} is not empty before the layer is placed"
    );
    for (path, node) in &tree.nodes {
        match node {
            Node::Directory => fs::create_dir_all(root.join(as_path(path))).unwrap(),
            _ => tree.write(
                &root,
                &[shipit_artifact::EntryPath::new(path.as_slice()).unwrap()],
                None,
            ),
        }
    }
    case.kept.placed(layer).unwrap();
}

/// What of the kept directory survives an update to `tree`.
fn survivors(before: &BTreeMap<Vec<u8>, Listed>, tree: &TestTree) -> BTreeMap<Vec<u8>, Listed> {
    let collides = |path: &[u8]| {
        tree.nodes.iter().any(|(planned, node)| {
            let same_directory = *node == Node::Directory
                && before
                    .get(planned)
                    .is_some_and(|found| found.node == Some(Node::Directory));
            is_within(path, planned) && !same_directory
        })
    };
    before
        .iter()
        .filter(|(path, _)| is_within(path, KEEP) && !tree.nodes.contains_key(*path) && !collides(path))
        .map(|(path, found)| (path.clone(), found.clone()))
        .collect()
}

/// All can be read, so that the test can look into it; a step's closed directory in `target` stays closed otherwise.
fn open_up(directory: &Path) {
    let Ok(metadata) = directory.symlink_metadata() else {
        return;
    };
    if !metadata.is_dir() {
        return;
    }
    fs::set_permissions(
        directory,
        Permissions::from_mode(metadata.permissions().mode() | 0o700),
    )
    .unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        open_up(&entry.unwrap().path());
    }
}

fn follows(rounds: &[Round]) {
    let mut case = Case::new();
    let outside = canary();
    let before = list(outside.path());
    let mut tree = TestTree::default();
    for (number, round) in rounds.iter().enumerate() {
        for damage in &round.damage {
            damage.apply(case.kept.root(), &outside.path().join("inner"));
        }
        for edit in &round.edits {
            edit.apply(&mut tree);
        }
        let wanted: Vec<(InPlace, TestTree)> = std::iter::zip(OWNED, round.layers)
            .filter_map(|(owned, version)| {
                let layer = InPlace {
                    key: format!("{}-{}", owned.replace('/', "_"), version?),
                    owned: paths(&[owned]),
                };
                Some((layer, layer_tree(owned, version?)))
            })
            // Refused before any build: what git tracks where a step vendors.
            .filter(|(layer, _)| {
                let own = layer.owned[0].as_bytes();
                let planned = &tree.nodes;
                let on_the_way = |path: &Vec<u8>| is_within(own, path) && planned[path] != Node::Directory;
                !planned
                    .keys()
                    .any(|path| is_within(path, own) || on_the_way(path))
            })
            .collect();
        let asked = Asked {
            layers: wanted.iter().map(|(layer, _)| layer.clone()).collect(),
            keep: if round.keep {
                paths(&["target"])
            } else {
                Vec::new()
            },
            mtime: (!round.keep).then_some(1_000_000_000 + number as i64),
        };
        if round.open_again {
            case.open_again();
        }
        let kept = if round.keep && case.kept.root().exists() {
            let (root, target) = (case.kept.root(), case.at("target"));
            open_up(&target);
            let mut before = BTreeMap::new();
            list_at(root, &target, &mut before);
            survivors(&before, &tree)
        } else {
            BTreeMap::new()
        };
        let done = case.update(&tree, &asked);
        assert_eq!(
            done.unchanged + done.written,
            tree.nodes.values().filter(|n| **n != Node::Directory).count()
        );
        let mut expected = tree.clone();
        for (layer, files) in &wanted {
            if !done.in_place.contains(&layer.key) {
                place(&mut case, layer, files);
            }
            for (path, node) in &files.nodes {
                expected.put(path, node.clone());
            }
        }
        compare(&case, &expected, &kept, (&tree, asked.mtime));
    }
    assert_eq!(
        list(outside.path()),
        before,
        "nothing outside of the tree was changed"
    );
    case.kept.forget_all().unwrap();
    case.kept.remove_old().unwrap();
}

fn compare(
    case: &Case,
    expected: &TestTree,
    kept: &BTreeMap<Vec<u8>, Listed>,
    (planned, mtime): (&TestTree, Option<i64>),
) {
    let fresh = tempfile::tempdir().unwrap();
    let fresh = fresh.path().join("tree");
    expected.export(&fresh, mtime.unwrap_or(0));
    let mut expected = list(&fresh);
    expected.extend(kept.iter().map(|(path, listed)| (path.clone(), listed.clone())));
    let mut found = list(case.kept.root());
    for listing in [&mut found, &mut expected] {
        for (path, listed) in listing.iter_mut() {
            // Placing a layer changes the time of the directories that hold it.
            let timed = planned
                .nodes
                .get(path)
                .is_some_and(|node| *node != Node::Directory);
            if mtime.is_none() || !timed {
                listed.modified = 0;
            }
            if is_within(path, KEEP) && !planned.nodes.contains_key(path) {
                listed.mode |= 0o700;
            }
        }
    }
    assert_eq!(found, expected);
}

fn canary() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut tree = TestTree::of(&["a/b/b", "A/b", "node_modules/a/b", "b", "target/x"]);
    tree.put(b"a/a", Node::Link(b"b".to_vec()));
    tree.export(&dir.path().join("inner"), 5);
    dir
}

proptest! {
    // Some 25 edits and as much damage a case.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_as_an_export_from_nothing(rounds in prop::collection::vec(round(), 4..14)) {
        without_root(|| follows(&rounds));
    }
}
