//! Layers in a kept tree, and what steps do outside of theirs.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};

use super::test_tree::{Asked, Case, TestTree, file, paths, without_root};
use super::{InPlace, KeptError};

fn layer(key: &str, owned: &[&str]) -> InPlace {
    InPlace {
        key: key.to_owned(),
        owned: paths(owned),
    }
}

fn modules() -> InPlace {
    layer("modules-1", &["web/node_modules", "lib/node_modules"])
}

fn gems() -> InPlace {
    layer("gems-1", &["vendor/bundle", ".bundle/config"])
}

fn sample() -> TestTree {
    TestTree::of(&["Gemfile", "web/package.json"])
}

fn asked() -> Asked {
    Asked {
        layers: vec![modules(), gems()],
        mtime: Some(1_600_000_000),
        ..Asked::default()
    }
}

const FILES: [(&str, &str); 4] = [
    ("web/node_modules/a/index.js", "a"),
    ("web/node_modules/b/index.js", "b"),
    ("vendor/bundle/gem", "gem"),
    (".bundle/config", "config"),
];

fn whole() -> TestTree {
    let mut tree = sample();
    for (path, content) in FILES {
        tree.put(path.as_bytes(), file(content, false));
    }
    tree
}

/// A tree with both layers in place.
fn placed() -> Case {
    let mut case = Case::new();
    let done = case.update(&sample(), &asked());
    assert_eq!(done.in_place, [""; 0]);
    for (path, content) in FILES {
        fs::create_dir_all(case.at(path).parent().unwrap()).unwrap();
        fs::write(case.at(path), content).unwrap();
    }
    for layer in asked().layers {
        case.kept.placed(&layer).unwrap();
    }
    case
}

#[test]
fn layers_that_stand_as_they_were_left_stay_and_what_is_not_theirs_goes() {
    without_root(|| {
        let mut case = placed();
        let inode = |case: &Case| fs::metadata(case.at(FILES[0].0)).unwrap().ino();
        let before = inode(&case);
        for dir in [
            "web/node_modules/.cache/deep",
            "lib/node_modules/x",
            "vendor/other",
            ".bundle/plugin",
        ] {
            fs::create_dir_all(case.at(dir)).unwrap();
            fs::write(case.at(dir).join("file"), "1").unwrap();
        }
        fs::set_permissions(case.at("web/node_modules/.cache"), Permissions::from_mode(0o000)).unwrap();
        case.open_again();
        let mut next = sample();
        next.put(b"Gemfile", file("new", false));
        let done = case.update(&next, &asked());
        assert_eq!(done.in_place, ["modules-1", "gems-1"]);
        assert_eq!((done.written, inode(&case)), (1, before));
        let mut expected = whole();
        expected.put(b"Gemfile", file("new", false));
        case.is(&expected, None);
    });
}

#[test]
fn a_layer_that_was_changed_makes_way_and_the_others_stay() {
    let mut case = placed();
    fs::write(case.at("web/node_modules/a/index.js"), "b").unwrap();
    let done = case.update(&sample(), &asked());
    assert_eq!(done.in_place, ["gems-1"]);
    assert!(!case.at("web/node_modules").exists());
    // It is not taken for one in place before it is said to be.
    assert_eq!(case.update(&sample(), &asked()).in_place, ["gems-1"]);
}

#[test]
fn a_layer_with_another_key_or_other_paths_makes_way() {
    for other in [
        layer("modules-2", &["web/node_modules", "lib/node_modules"]),
        layer("modules-1", &["web/node_modules"]),
    ] {
        let mut case = placed();
        let asked = Asked {
            layers: vec![other, gems()],
            ..asked()
        };
        assert_eq!(case.update(&sample(), &asked).in_place, ["gems-1"]);
        assert!(!case.at("web/node_modules").exists());
    }
}

#[test]
fn layers_that_are_not_wanted_go_and_are_forgotten() {
    let mut case = placed();
    case.update(&sample(), &Asked::default());
    case.is(&sample(), None);
    let names: Vec<_> = fs::read_dir(case.dir.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("layer"))
        .collect();
    assert_eq!(names, [""; 0]);
}

#[test]
fn what_is_planned_wins_over_a_layer() {
    for path in ["vendor/bundle/gem", "vendor/bundle", "vendor"] {
        let mut case = placed();
        let mut next = sample();
        next.put(path.as_bytes(), file("tracked", false));
        assert_eq!(case.update(&next, &asked()).in_place, ["modules-1"]);
        assert_eq!(fs::read(case.at(path)).unwrap(), b"tracked");
        let beside = TestTree::of(&["Gemfile", "web/package.json", "vendor/bundle-2", "vendor/bundl"]);
        let mut case = placed();
        assert_eq!(case.update(&beside, &asked()).in_place.len(), 2);
    }
}

#[test]
fn kept_directories_in_a_layer_survive_it() {
    let mut case = placed();
    let asked = Asked {
        keep: paths(&["web/node_modules/.cache/babel"]),
        ..asked()
    };
    let fill = |case: &Case| {
        fs::create_dir_all(case.at("web/node_modules/.cache/babel")).unwrap();
        fs::write(case.at("web/node_modules/.cache/babel/1"), "1").unwrap();
        fs::write(case.at("web/node_modules/.cache/other"), "1").unwrap();
    };
    fill(&case);
    assert_eq!(case.update(&sample(), &asked).in_place.len(), 2);
    let mut expected = whole();
    expected.put(b"web/node_modules/.cache/babel/1", file("1", false));
    case.is(&expected, None);
    // Also when the layer has to go.
    fill(&case);
    fs::remove_file(case.at("web/node_modules/b/index.js")).unwrap();
    assert_eq!(case.update(&sample(), &asked).in_place, ["gems-1"]);
    expected.remove(b"web/node_modules/a");
    expected.remove(b"web/node_modules/b");
    case.is(&expected, None);
    // Noted with the kept files in it, it does not depend on them.
    fs::create_dir_all(case.at("web/node_modules/a")).unwrap();
    case.kept.placed(&modules()).unwrap();
    fs::write(case.at("web/node_modules/.cache/babel/1"), "2").unwrap();
    assert_eq!(case.update(&sample(), &asked).in_place.len(), 2);
    assert_eq!(
        fs::read(case.at("web/node_modules/.cache/babel/1")).unwrap(),
        b"2"
    );
}

#[test]
fn a_layer_below_a_kept_directory_makes_way() {
    let mut case = placed();
    let asked = Asked {
        keep: paths(&["vendor"]),
        ..asked()
    };
    fs::write(case.at("vendor/left"), "1").unwrap();
    assert_eq!(case.update(&sample(), &asked).in_place.len(), 2);
    fs::write(case.at("vendor/bundle/gem"), "changed").unwrap();
    assert_eq!(case.update(&sample(), &asked).in_place, ["modules-1"]);
    assert!(case.at("vendor/left").exists() && !case.at("vendor/bundle").exists());
}

#[test]
fn what_a_step_does_outside_of_its_paths_is_told() {
    let case = placed();
    fs::create_dir_all(case.at("target/debug")).unwrap();
    fs::create_dir_all(case.at("gone/with/all")).unwrap();
    let before = case.kept.stand(&paths(&["target", "out/kept"])).unwrap();
    let outside = |owned: &[&str]| -> Vec<String> {
        let changed = case.kept.changed_outside(&before, &paths(owned)).unwrap();
        changed.iter().map(ToString::to_string).collect()
    };
    assert_eq!(outside(&[]), [""; 0]);
    // Its own paths, what leads to them, caches, and what may be kept.
    for dir in [
        "api/deep/local/lib",
        "web/node_modules/.cache/x",
        "target/debug/y",
        "out/kept/x",
    ] {
        fs::create_dir_all(case.at(dir)).unwrap();
        fs::write(case.at(dir).join("file"), "1").unwrap();
    }
    assert_eq!(outside(&["api/deep/local"]), [""; 0]);
    assert_eq!(outside(&["api/other"]), ["api/deep"]);
    fs::write(case.at("web/package.json"), "web/package.jsoN").unwrap();
    fs::write(case.at("web/node_modules/b/index.js"), "c").unwrap();
    fs::remove_dir_all(case.at("gone")).unwrap();
    fs::remove_dir_all(case.at("vendor")).unwrap();
    symlink("bundle", case.at("vendor")).unwrap();
    fs::set_permissions(case.at("web/node_modules/a"), Permissions::from_mode(0o700)).unwrap();
    fs::create_dir_all(case.at("new/with/all")).unwrap();
    let expected = [
        "gone",
        "new",
        "vendor",
        "web/node_modules/a",
        "web/node_modules/b/index.js",
        "web/package.json",
    ];
    assert_eq!(outside(&["api/deep/local"]), expected);
    assert_eq!(
        outside(&["api/deep/local", "web", "gone/with", "new/with/all"]),
        ["vendor"]
    );
}

#[test]
fn what_another_user_left_makes_the_whole_tree_go() {
    let mut case = placed();
    fs::create_dir(case.at("web/of-root")).unwrap();
    fs::write(case.at("web/of-root/file"), "1").unwrap();
    // Only root can give a directory away.
    if chown(case.at("web/of-root"), Some(12345), None).is_err() {
        return;
    }
    without_root(|| {
        assert_eq!(case.update(&sample(), &asked()).in_place, [""; 0]);
        case.is(&sample(), asked().mtime);
        // It is in the way of nobody, but whoever owns it has to remove it.
        let error = case.kept.remove_old().unwrap_err();
        assert!(error.to_string().contains("cannot remove"), "{error}");
        let left = case.dir.path().join("old-1/0");
        assert!(left.join("web/of-root").exists() && !left.join("Gemfile").exists());
        assert_eq!(case.update(&sample(), &asked()).written, 0);
    });
}

/// Not a measurement of the machine, but that nothing takes a time that grows with the square of the files.
#[test]
fn many_files_are_looked_at_quickly() {
    let mut case = Case::new();
    let mut tree = TestTree::default();
    for at in 0..2000 {
        tree.put(format!("src/d{}/f{at}", at % 100).as_bytes(), file("1", false));
    }
    let asked = Asked {
        layers: vec![modules()],
        ..Asked::default()
    };
    case.update(&tree, &asked);
    for at in 0..8000 {
        let dir = case.at(&format!("web/node_modules/p{}/lib", at % 1000));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{at}")), "1").unwrap();
    }
    case.kept.placed(&modules()).unwrap();
    let began = std::time::Instant::now();
    case.open_again();
    assert_eq!(case.update(&tree, &asked).in_place, ["modules-1"]);
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

#[test]
fn a_key_that_names_no_file_is_refused() {
    let mut case = placed();
    let error = case
        .kept
        .placed(&layer("../x", &["web/node_modules"]))
        .unwrap_err();
    assert!(matches!(error, KeptError::Key { .. }));
}
