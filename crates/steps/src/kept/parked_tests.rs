//! Layers that are not asked for, and are asked for again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::InPlace;
use super::test_tree::{Asked, Case, TestTree, file, paths};

const FILES: [&str; 3] = ["web/node_modules/a/index.js", "web/node_modules/b", ".config"];

fn layer(key: &str) -> InPlace {
    InPlace {
        key: key.to_owned(),
        owned: paths(&["web/node_modules", ".config", "lib/never"]),
    }
}

fn sample() -> TestTree {
    TestTree::of(&["app"])
}

fn wanting(key: &str) -> Asked {
    Asked {
        layers: vec![layer(key)],
        ..Asked::default()
    }
}

fn fill(case: &mut Case, key: &str) {
    for path in FILES {
        fs::create_dir_all(case.at(path).parent().unwrap()).unwrap();
        fs::write(case.at(path), key).unwrap();
    }
    case.kept.placed(&layer(key)).unwrap();
}

/// A tree with the layer, which an update then parks; and the inodes of its files.
fn parked() -> (Case, Vec<u64>) {
    let mut case = Case::new();
    case.update(&sample(), &wanting("k"));
    fill(&mut case, "k");
    let inodes = inodes(&case);
    case.update(&sample(), &Asked::default());
    case.is(&sample(), None);
    (case, inodes)
}

fn inodes(case: &Case) -> Vec<u64> {
    let inode = |path| fs::metadata(case.at(path)).unwrap().ino();
    FILES.into_iter().map(inode).collect()
}

fn whole() -> TestTree {
    let mut tree = sample();
    for path in FILES {
        tree.put(path.as_bytes(), file("k", false));
    }
    tree
}

fn beside(case: &Case) -> Vec<String> {
    let entries = fs::read_dir(case.dir.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "state" && name != "tree").collect();
    names.sort();
    names
}

#[test]
fn a_layer_that_a_build_asks_for_late_comes_back_as_it_was() {
    let (mut case, inodes) = parked();
    for again in [false, true] {
        if again {
            case.open_again();
            case.update(&sample(), &Asked::default());
            case.is(&sample(), None);
        }
        assert!(case.kept.unpark(&layer("k")).unwrap());
        case.is(&whole(), None);
        assert_eq!(self::inodes(&case), inodes);
        assert_eq!(case.kept.changes("k").unwrap(), []);
        // Once.
        assert!(!case.kept.unpark(&layer("k")).unwrap());
    }
    assert_eq!(case.update(&sample(), &wanting("k")).in_place, ["k"]);
    case.kept.remove_old().unwrap();
    assert_eq!(beside(&case), [""; 0]);
}

#[test]
fn what_was_made_in_it_beside_its_files_goes() {
    let mut case = Case::new();
    case.update(&sample(), &wanting("k"));
    fill(&mut case, "k");
    fs::create_dir_all(case.at("web/node_modules/.cache/deep")).unwrap();
    case.update(&sample(), &Asked::default());
    assert!(case.kept.unpark(&layer("k")).unwrap());
    case.is(&whole(), None);
}

#[test]
fn it_is_parked_until_it_is_forgotten_or_another_one_has_its_paths() {
    let (mut case, _) = parked();
    case.kept.remove_old().unwrap();
    assert_eq!(beside(&case), ["parked-k"]);
    case.kept.forget_parked(&["k".to_owned()]).unwrap();
    case.update(&sample(), &Asked::default());
    fill(&mut case, "l");
    case.update(&sample(), &Asked::default());
    case.kept.remove_old().unwrap();
    assert_eq!(beside(&case), ["parked-l"]);
    case.kept.forget_parked(&["k".to_owned()]).unwrap();
    case.kept.remove_old().unwrap();
    assert_eq!(beside(&case), [""; 0]);
    assert!(!case.kept.unpark(&layer("l")).unwrap());
    case.is(&sample(), None);
}

#[test]
fn one_that_is_not_as_it_was_left_does_not_come_back() {
    type Change = fn(&Case);
    let changes: [Change; 8] = [
        |case| fs::write(case.dir.path().join("parked-k/0"), "x").unwrap(),
        |case| fs::write(case.dir.path().join("parked-k/1/a/index.js"), "x").unwrap(),
        |case| fs::remove_file(case.dir.path().join("parked-k/1/b")).unwrap(),
        |case| fs::remove_dir_all(case.dir.path().join("parked-k")).unwrap(),
        |case| fs::write(case.dir.path().join("state/parked-k"), "x").unwrap(),
        |case| fs::write(case.at("web"), "in the way").unwrap(),
        |case| fs::create_dir_all(case.at("web/node_modules")).unwrap(),
        |case| fs::write(case.at(".config"), "in the way").unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut case, _) = parked();
        change(&case);
        let before = case.at(".config").exists();
        assert!(!case.kept.unpark(&layer("k")).unwrap(), "change {number}");
        assert!(!case.at("web/node_modules/a").exists() && !case.at("web/node_modules/b").exists());
        assert_eq!(case.at(".config").exists(), before, "change {number}");
        case.update(&sample(), &Asked::default());
        case.kept.remove_old().unwrap();
        case.is(&sample(), None);
        assert_eq!(beside(&case), [""; 0], "change {number}");
    }
}

#[test]
fn one_that_was_changed_in_the_tree_does_not_come_back() {
    for path in FILES {
        let mut case = Case::new();
        case.update(&sample(), &wanting("k"));
        fill(&mut case, "k");
        fs::write(case.at(path), "x").unwrap();
        case.update(&sample(), &Asked::default());
        case.is(&sample(), None);
        assert!(!case.kept.unpark(&layer("k")).unwrap(), "{path}");
        case.is(&sample(), None);
    }
}

#[test]
fn one_with_other_paths_and_one_in_which_something_is_kept_are_not_parked() {
    let (mut case, _) = parked();
    let other = InPlace {
        owned: paths(&["web/node_modules"]),
        ..layer("k")
    };
    assert!(!case.kept.unpark(&other).unwrap());

    let mut case = Case::new();
    let keep = Asked {
        keep: paths(&["web/node_modules/.cache"]),
        ..Asked::default()
    };
    case.update(&sample(), &keep);
    fill(&mut case, "k");
    fs::create_dir_all(case.at("web/node_modules/.cache/babel")).unwrap();
    case.update(&sample(), &keep);
    assert!(case.at("web/node_modules/.cache/babel").is_dir());
    assert!(!case.kept.unpark(&layer("k")).unwrap());
}

#[test]
fn an_update_that_was_killed_and_a_build_from_nothing_forget_it() {
    let (mut case, _) = parked();
    fs::write(case.dir.path().join("state/updating"), "").unwrap();
    case.open_again();
    assert!(case.kept.distrust().is_some());
    case.update(&sample(), &Asked::default());
    assert!(!case.kept.unpark(&layer("k")).unwrap());

    let (mut case, _) = parked();
    case.kept.forget_all().unwrap();
    assert!(!case.kept.unpark(&layer("k")).unwrap());
    case.update(&sample(), &Asked::default());
    case.kept.remove_old().unwrap();
    assert_eq!(beside(&case), [""; 0]);
}
