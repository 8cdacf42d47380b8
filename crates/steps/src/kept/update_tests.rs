//! What an update leaves of a tree that steps worked in.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::sync::atomic::AtomicBool;

use rustix::fs::{CWD, Mode, mkfifoat};
use shipit_artifact::EntryPath;

use super::test_tree::{Asked, Case, Node, RUN, TestTree, file, list, paths, without_root};
use super::{Distrust, KeptError, PlannedFile, UpdateError, UpdateRequest, Updated};

const TIME: Option<i64> = Some(1_600_000_000);

fn sample() -> TestTree {
    let mut tree = TestTree::of(&["README", "bin/runx", "lib/a/deep/b", "lib/c", "empty/"]);
    tree.put(b"lib/link", Node::Link(b"a/deep".to_vec()));
    tree.put(b"lib/\xff\xfe", file("not UTF-8", false));
    tree
}

fn at(mtime: Option<i64>) -> Asked {
    Asked {
        mtime,
        ..Asked::default()
    }
}

/// A case at the sample's revision.
fn updated() -> Case {
    let mut case = Case::new();
    case.update(&sample(), &at(TIME));
    case
}

/// That a step's `damage` is made good, and how much was written for it.
fn is_made_good(damage: impl Fn(&Case) + Sync) -> Updated {
    without_root(|| {
        let mut case = updated();
        damage(&case);
        case.open_again();
        assert_eq!(case.kept.distrust(), None);
        let done = case.update(&sample(), &at(TIME));
        case.is(&sample(), TIME);
        let again = case.update(&sample(), &at(TIME));
        assert_eq!((again.written, again.removed), (0, 0));
        case.kept.remove_old().unwrap();
        done
    })
}

fn mode(case: &Case, path: &str, mode: u32) {
    fs::set_permissions(case.at(path), Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_first_update_is_an_export_and_the_second_does_nothing() {
    let mut case = updated();
    case.is(&sample(), TIME);
    let inode = |case: &Case| fs::metadata(case.at("lib/c")).unwrap().ino();
    let before = inode(&case);
    let state = fs::metadata(case.dir.path().join("state/tree")).unwrap().ino();
    case.open_again();
    let done = case.update(&sample(), &at(TIME));
    assert_eq!((done.written, done.removed, done.unchanged), (0, 0, 6));
    assert_eq!(inode(&case), before);
    let same = fs::metadata(case.dir.path().join("state/tree")).unwrap().ino();
    assert_eq!(state, same, "the state is not written for nothing");
}

#[test]
fn another_revision_writes_what_differs() {
    let mut case = updated();
    let mut next = sample();
    next.put(b"lib/c", file("lib/C", false));
    next.put(b"bin/runx", file("bin/runx", false));
    next.put(b"lib/a", file("was a directory", false));
    next.put(b"README/now", file("a directory", false));
    next.put(b"lib/link", Node::Link(b"elsewhere".to_vec()));
    next.remove(b"empty");
    let done = case.update(&next, &at(Some(1_700_000_000)));
    case.is(&next, Some(1_700_000_000));
    // README, lib/a as a whole, lib/c, lib/link, bin/runx, empty.
    assert_eq!((done.written, done.removed, done.unchanged), (5, 6, 1));
    case.update(&sample(), &at(TIME));
    case.is(&sample(), TIME);
}

#[test]
fn names_that_differ_in_case_alone_are_renamed() {
    let mut case = updated();
    let mut next = sample();
    next.remove(b"README");
    next.remove(b"lib");
    next.put(b"readme", file("README", false));
    next.put(b"Lib/C", file("lib/c", false));
    case.update(&next, &at(TIME));
    case.is(&next, TIME);
}

#[test]
fn what_a_step_wrote_is_written_again() {
    let done = is_made_good(|case| fs::write(case.at("lib/c"), "lib/X").unwrap());
    assert_eq!((done.written, done.removed), (1, 1));
    let done = is_made_good(|case| {
        let time = fs::metadata(case.at("lib/c")).unwrap().modified().unwrap();
        fs::write(case.at("lib/c"), "lib/X").unwrap();
        fs::File::open(case.at("lib/c"))
            .unwrap()
            .set_modified(time)
            .unwrap();
    });
    assert_eq!(done.written, 1);
    assert_eq!(is_made_good(|case| mode(case, "lib/c", 0o755)).written, 1);
    assert_eq!(
        is_made_good(|case| fs::remove_file(case.at("README")).unwrap()).written,
        1
    );
    assert_eq!(
        is_made_good(|case| fs::remove_dir_all(case.at("lib")).unwrap()).written,
        4
    );
    assert_eq!(
        is_made_good(|case| fs::remove_dir_all(case.kept.root()).unwrap()).written,
        6
    );
}

#[test]
fn what_a_step_left_is_removed() {
    let done = is_made_good(|case| {
        fs::create_dir_all(case.at("log/deep")).unwrap();
        fs::write(case.at("log/deep/x"), "x").unwrap();
        fs::write(case.at("lib/a/x"), "x").unwrap();
        drop(UnixListener::bind(case.at("sock")).unwrap());
        mkfifoat(CWD, case.at("bin/fifo"), Mode::RWXU).unwrap();
        fs::hard_link(case.at("README"), case.at("empty/link")).unwrap();
    });
    // A hard link changes the file that it leads to, as far as stat can tell.
    assert_eq!((done.removed, done.written), (6, 1));
}

#[test]
fn directories_that_a_step_closed_are_opened() {
    is_made_good(|case| {
        for (path, mode_) in [
            ("lib/a/deep", 0o555),
            ("lib/a", 0),
            ("lib", 0o500),
            ("bin", 0o2777),
        ] {
            mode(case, path, mode_);
        }
    });
    is_made_good(|case| mode(case, "", 0));
    // As Go makes its module cache.
    is_made_good(|case| {
        fs::create_dir_all(case.at("mod/pkg/deep")).unwrap();
        fs::write(case.at("mod/pkg/deep/x"), "x").unwrap();
        for path in ["mod/pkg/deep", "mod/pkg", "mod"] {
            mode(case, path, 0o555);
        }
    });
}

#[test]
fn a_symlink_in_the_place_of_a_directory_is_never_followed() {
    let outside = tempfile::tempdir().unwrap();
    let tree = TestTree::of(&["lib/a/deep/b", "lib/c", "lib/extra", "precious"]);
    tree.export(&outside.path().join("tree"), 5);
    let before = list(outside.path());
    for directory in ["lib", "lib/a", "lib/a/deep", "empty"] {
        is_made_good(|case| {
            fs::remove_dir_all(case.at(directory)).unwrap();
            let to = outside.path().join("tree").join(directory);
            symlink(
                if directory == "empty" { outside.path() } else { &to },
                case.at(directory),
            )
            .unwrap();
        });
    }
    // To the directory itself, moved away: its files look as they did.
    is_made_good(|case| {
        fs::rename(case.at("lib"), case.at("moved")).unwrap();
        symlink("moved", case.at("lib")).unwrap();
    });
    let whole = outside.path().join("whole");
    is_made_good(|case| {
        fs::rename(case.kept.root(), &whole).unwrap();
        symlink(&whole, case.kept.root()).unwrap();
    });
    fs::remove_dir_all(&whole).unwrap();
    assert_eq!(list(outside.path()), before);
}

#[test]
fn types_that_a_step_changed_are_changed_back() {
    is_made_good(|case| {
        fs::remove_file(case.at("README")).unwrap();
        fs::create_dir_all(case.at("README/x")).unwrap();
        fs::remove_dir_all(case.at("bin")).unwrap();
        fs::write(case.at("bin"), "a file").unwrap();
        fs::remove_file(case.at("lib/link")).unwrap();
        fs::create_dir(case.at("lib/link")).unwrap();
        fs::remove_file(case.at("lib/c")).unwrap();
        symlink("../README", case.at("lib/c")).unwrap();
        fs::rename(case.at("lib/a"), case.at("empty/a")).unwrap();
    });
}

#[test]
fn kept_directories_survive_unless_something_is_planned_there() {
    without_root(|| {
        let mut case = updated();
        let asked = Asked {
            keep: paths(&["target", "lib/cache/x", "none"]),
            ..Asked::default()
        };
        let mut tree = sample();
        tree.put(b"target/tracked", file("1", false));
        tree.put(b"target/inner/tracked", file("1", false));
        case.update(&tree, &asked);
        case.is(&tree, None);
        fs::create_dir_all(case.at("target/debug")).unwrap();
        fs::write(case.at("target/debug/app"), "app").unwrap();
        fs::write(case.at("target/tracked"), "2").unwrap();
        fs::write(case.at("target/inner/left"), "3").unwrap();
        fs::create_dir_all(case.at("lib/cache/x")).unwrap();
        fs::write(case.at("lib/cache/x/1"), "x").unwrap();
        fs::write(case.at("lib/cache/y"), "y").unwrap();
        mode(&case, "target/debug", 0);
        case.open_again();
        case.update(&tree, &asked);
        assert_eq!(fs::metadata(case.at("target/debug")).unwrap().mode() & 0o777, 0);
        mode(&case, "target/debug", 0o755);
        let mut expected = tree.clone();
        for (path, content) in [
            ("target/debug/app", "app"),
            ("target/inner/left", "3"),
            ("lib/cache/x/1", "x"),
        ] {
            expected.put(path.as_bytes(), file(content, false));
        }
        case.is(&expected, None);
        // What leads to a kept directory that is not there goes, and so do kept ones in a file's place.
        fs::remove_dir_all(case.at("lib/cache/x")).unwrap();
        tree.put(b"target", file("a file now", false));
        case.update(&tree, &asked);
        case.is(&tree, None);
    });
}

#[test]
fn with_kept_directories_files_that_did_not_change_keep_their_times() {
    let mut case = updated();
    let asked = Asked {
        keep: paths(&["target"]),
        ..Asked::default()
    };
    let mut next = sample();
    next.put(b"lib/c", file("new", false));
    case.update(&next, &asked);
    let found = list(case.kept.root());
    assert_eq!(Some(found[&b"README"[..]].modified), TIME);
    assert!(found[&b"lib/c"[..]].modified > TIME.unwrap() + 1000);
    case.update(&next, &at(Some(7)));
    case.is(&next, Some(7));
}

#[test]
fn an_update_that_fails_is_made_good_by_the_next() {
    for open_again in [false, true] {
        let mut case = updated();
        let next = TestTree::of(&["README", "other/file"]);
        let planned = next.planned();
        let request = UpdateRequest {
            planned: &planned,
            layers: &[],
            keep: &[],
            mtime: TIME,
            write: &|_: &[EntryPath]| Err(std::io::Error::other("disk full")),
        };
        let error = case.kept.update(&request, &RUN).unwrap_err();
        assert!(matches!(&error, UpdateError::Write(e) if e.to_string() == "disk full"));
        if open_again {
            case.open_again();
            assert_eq!(case.kept.distrust(), Some(&Distrust::Interrupted));
        }
        let done = case.update(&next, &at(TIME));
        assert_eq!(done.unchanged, 0);
        case.is(&next, TIME);
        case.open_again();
        assert_eq!(case.kept.distrust(), None);
        case.kept.remove_old().unwrap();
        let mut left: Vec<_> = fs::read_dir(case.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["state", "tree"]);
    }
}

#[test]
fn cancelled_before_anything_is_done_nothing_changes() {
    let mut case = updated();
    let request = UpdateRequest::<std::io::Error> {
        planned: &[],
        layers: &[],
        keep: &[],
        mtime: None,
        write: &|_| Ok(()),
    };
    let error = case.kept.update(&request, &AtomicBool::new(true)).unwrap_err();
    assert!(matches!(error, UpdateError::Kept(KeptError::Cancelled)));
    case.is(&sample(), TIME);
    case.open_again();
    assert_eq!(case.kept.distrust(), None);
}

#[test]
fn what_is_not_written_as_planned_is_an_error() {
    let mut case = Case::new();
    let tree = sample();
    let planned = tree.planned();
    let root = case.kept.root().to_path_buf();
    for wrong in ["gone", "short", "mode"] {
        let write = |paths: &[EntryPath]| {
            tree.write(&root, paths, TIME);
            let path = root.join("lib/c");
            match wrong {
                "gone" => fs::remove_file(path),
                "short" => fs::write(path, "1"),
                _ => fs::set_permissions(path, Permissions::from_mode(0o600)),
            }
        };
        let request = UpdateRequest {
            planned: &planned,
            layers: &[],
            keep: &[],
            mtime: TIME,
            write: &write,
        };
        let error = case.kept.update(&request, &RUN).unwrap_err();
        assert!(
            error.to_string().contains("lib/c was not written as planned"),
            "{error}"
        );
    }
    case.update(&tree, &at(TIME));
    case.is(&tree, TIME);
}

#[test]
fn what_is_no_tree_is_refused() {
    let mut case = Case::new();
    let mut orphan = sample().planned();
    orphan.retain(|planned| planned.path.as_bytes() != b"lib");
    let mut unsorted = TestTree::of(&["a", "b"]).planned();
    unsorted.reverse();
    let mut refused = |planned: &[PlannedFile]| {
        let request = UpdateRequest::<std::io::Error> {
            planned,
            layers: &[],
            keep: &[],
            mtime: None,
            write: &|_| Ok(()),
        };
        case.kept.update(&request, &RUN).unwrap_err().to_string()
    };
    assert!(refused(&orphan).contains("the directory that holds it is not planned"));
    assert!(refused(&unsorted).contains("it is not in order"));
}

#[test]
fn forgetting_all_begins_with_nothing() {
    let mut case = updated();
    fs::create_dir(case.at("target")).unwrap();
    case.kept.forget_all().unwrap();
    assert!(!case.kept.root().exists());
    let asked = Asked {
        keep: paths(&["target"]),
        mtime: TIME,
        ..Asked::default()
    };
    case.update(&sample(), &asked);
    case.is(&sample(), TIME);
}
