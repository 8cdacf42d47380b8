//! A process that is killed while it updates, or brings a layer back, at any point: the next one makes good what it left.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::InPlace;
use super::Kept;
use super::state::Lies;
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

/// The victim's case; nothing where none was made for it.
fn case_of_victim() -> Option<Case> {
    if !Path::new(MADE_FOR_IT).exists() {
        return None;
    }
    let dir = fs::canonicalize(".").unwrap();
    let kept = Kept::open(&dir, JOBS).unwrap();
    // Never removed: the one who kills it does that.
    let dir = tempfile::Builder::new()
        .disable_cleanup(true)
        .tempdir_in(&dir)
        .unwrap();
    fs::write(BEGUN, "").unwrap();
    Some(Case { dir, kept })
}

/// Starts a victim and kills it this long after it has begun.
fn kill(case: &mut Case, victim: &str, after: Duration) {
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--include-ignored", victim])
        .current_dir(case.dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = case.dir.path().join(BEGUN);
    while !begun.exists() {
        assert_eq!(victim.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
    fs::remove_file(begun).unwrap();
    std::thread::sleep(after);
    victim.kill().unwrap();
    victim.wait().unwrap();
    case.open_again();
}

#[test]
#[ignore = "the victim of the test below, which starts it"]
fn victim() {
    let Some(mut case) = case_of_victim() else {
        return;
    };
    for number in 0.. {
        build(&mut case, number);
    }
}

#[test]
fn whenever_an_update_is_killed_the_next_makes_it_good() {
    let mut case = Case::new();
    fs::write(case.dir.path().join(MADE_FOR_IT), "").unwrap();
    let mut random = 0x2545_f491_u64;
    let (mut interrupted, mut rounds) = (0, 0..ROUNDS * 20);
    // On a slow machine the victim may have hardly begun each time.
    while let Some(round) = rounds.next().filter(|round| *round < ROUNDS || interrupted == 0) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round);
        let after = Duration::from_millis((random >> 33) % 60);
        kill(&mut case, "kept::kill_tests::victim", after);
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
    assert!(interrupted > 0, "no update was hit in {} kills", ROUNDS * 20);
}

/// A layer with many paths of its own, so that it takes its time to come back.
fn wide() -> InPlace {
    let own: Vec<String> = (0..200).map(|at| format!("own{at:03}")).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    InPlace {
        key: "wide".to_owned(),
        owned: paths(&own),
    }
}

fn with_wide(mut tree: TestTree) -> TestTree {
    for own in wide().owned {
        tree.put(own.as_bytes(), file("own", false));
    }
    tree
}

/// Parks the layer and brings it back, or makes it where there is none; whether it came back.
fn forth_and_back(case: &mut Case) -> bool {
    case.update(&TestTree::of(&["app"]), &Asked::default());
    let back = case.kept.unpark(&wide()).unwrap();
    if !back {
        // Nothing of it is there.
        case.is(&TestTree::of(&["app"]), None);
        for own in wide().owned {
            fs::write(case.kept.root().join(own.as_path()), "own").unwrap();
        }
        case.kept.placed(&wide()).unwrap();
    }
    back
}

#[test]
#[ignore = "the victim of the test below, which starts it"]
fn victim_with_a_layer() {
    let Some(mut case) = case_of_victim() else {
        return;
    };
    loop {
        forth_and_back(&mut case);
    }
}

#[test]
fn a_layer_whose_return_is_killed_is_whole_or_gone() {
    let mut case = Case::new();
    fs::write(case.dir.path().join(MADE_FOR_IT), "").unwrap();
    let (mut random, mut hit, mut rounds) = (0x2545_f491_u64, 0, 0);
    while hit < 3 {
        rounds += 1;
        assert!(rounds < 200, "no return was hit in {rounds} kills");
        forth_and_back(&mut case);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(rounds);
        let after = Duration::from_millis((random >> 33) % 40);
        kill(&mut case, "kept::kill_tests::victim_with_a_layer", after);
        // On its way back nothing is known of it; an update that was killed is known.
        let known = |lies| !case.kept.state.layers(lies).unwrap().is_empty();
        let on_its_way = !known(Lies::Parked) && !known(Lies::InTree) && case.kept.distrust().is_none();
        hit += u32::from(on_its_way);
        let back = forth_and_back(&mut case);
        assert!(
            !back || !on_its_way,
            "of what nothing is known nothing comes back"
        );
        case.is(&with_wide(TestTree::of(&["app"])), None);
        // And so it is once more.
        assert!(forth_and_back(&mut case));
        case.is(&with_wide(TestTree::of(&["app"])), None);
        case.kept.remove_old().unwrap();
    }
}
