//! Random histories: whatever the revisions and whatever steps did to the tree, an update gives what an export from nothing
//! would.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proptest::prelude::*;

use super::InPlace;
use super::descent::{as_path, is_within};
use super::history::{Round, round};
use super::test_tree::{Asked, Case, Listed, Node, TestTree, list, list_at, paths, without_root};

const KEEP: &[u8] = b"target";
const OWNED: [&str; 2] = ["vendor/bundle", "node_modules"];

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
            if !done.in_place.contains(&layer.key) && !case.kept.unpark(layer).unwrap() {
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
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_ends_as_an_export_from_nothing(rounds in prop::collection::vec(round(), 4..14)) {
        without_root(|| follows(&rounds));
    }
}
