//! A process that is killed while it updates, at any point: the next one makes good what it left.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::InPlace;
use super::Kept;
use super::test_tree::{Asked, Case, JOBS, TestTree, file, paths};

/// Whoever runs the victim alone, without a directory made for it, gets nothing done.
const MADE_FOR_IT: &str = "victim";
/// There when it begins.
const BEGUN: &str = "begun";
const ROUNDS: u64 = 15;

/// Revisions that differ in much: files, modes, directories in the place of files.
fn revision(number: u32) -> TestTree {
    let mut tree = TestTree::default();
    for at in 0..200_u32 {
        let changes = (at + number).is_multiple_of(3);
        let content = if changes { number } else { 0 };
        let name = match (at + number) % 5 {
            0 => format!("d{}/only-{number}-{at}", at % 7),
            1 => format!("d{}/f{at}/inner", at % 7),
            _ => format!("d{}/f{at}", at % 7),
        };
        tree.put(name.as_bytes(), file(&content.to_string(), changes));
    }
    tree
}

fn asked() -> Asked {
    Asked {
        layers: vec![InPlace {
            key: "k".to_owned(),
            owned: paths(&["vendor"]),
        }],
        keep: Vec::new(),
        mtime: Some(1_500_000_000),
    }
}

fn with_layer(mut tree: TestTree) -> TestTree {
    tree.put(b"vendor/a/b", file("b", false));
    tree
}

fn build(case: &mut Case, number: u32) {
    let done = case.update(&revision(number), &asked());
    if done.in_place.is_empty() {
        fs::create_dir_all(case.at("vendor/a")).unwrap();
        fs::write(case.at("vendor/a/b"), "b").unwrap();
        case.kept.placed(&asked().layers[0]).unwrap();
    }
    // As a step would.
    fs::write(case.at("left"), number.to_string()).unwrap();
    fs::write(case.at("vendor/a/left"), "x").unwrap();
    case.kept.remove_old().unwrap();
}

#[test]
#[ignore = "the victim of the test below, which starts it"]
fn victim() {
    if !Path::new(MADE_FOR_IT).exists() {
        return;
    }
    let dir = fs::canonicalize(".").unwrap();
    let kept = Kept::open(&dir, JOBS).unwrap();
    // Never removed: the one who kills it does that.
    let dir = tempfile::Builder::new()
        .disable_cleanup(true)
        .tempdir_in(&dir)
        .unwrap();
    let mut case = Case { dir, kept };
    fs::write(BEGUN, "").unwrap();
    for number in 0.. {
        build(&mut case, number);
    }
}

#[test]
fn whenever_an_update_is_killed_the_next_makes_it_good() {
    let mut case = Case::new();
    fs::write(case.dir.path().join(MADE_FOR_IT), "").unwrap();
    let mut random = 0x2545_f491_u64;
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--include-ignored", "kept::kill_tests::victim"])
            .current_dir(case.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
        let begun = case.dir.path().join(BEGUN);
        while !begun.exists() {
            assert_eq!(victim.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        fs::remove_file(begun).unwrap();
        std::thread::sleep(Duration::from_millis((random >> 33) % 60));
        victim.kill().unwrap();
        victim.wait().unwrap();
        case.open_again();
        interrupted += u32::from(case.kept.distrust().is_some());
        let number = u32::try_from(round).unwrap();
        case.update(
            &revision(number),
            &Asked {
                layers: Vec::new(),
                ..asked()
            },
        );
        case.is(&revision(number), asked().mtime);
        build(&mut case, number + 1);
        fs::remove_file(case.at("left")).unwrap();
        fs::remove_file(case.at("vendor/a/left")).unwrap();
        let whole = with_layer(revision(number + 1));
        assert_eq!(case.update(&revision(number + 1), &asked()).in_place, ["k"]);
        for (path, found) in super::test_tree::list(case.kept.root()) {
            assert_eq!(found.node.as_ref(), whole.nodes.get(&path), "{path:?}");
        }
    }
    assert!(interrupted > 0, "no update was hit in {ROUNDS} kills");
}
