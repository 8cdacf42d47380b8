//! Going back and mending, with hosts that are told by exec.

use std::fs;

use serde_json::json;

use crate::fleet::{Fleet, states};

#[test]
fn rollback_goes_to_live_after_a_bad_kick_and_to_the_one_before_after_a_good_one() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let _ = fleet
        .shipit("rollback", &[])
        .exits(12)
        .says("no release was ever live");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let _ = fleet
        .shipit("rollback", &[])
        .exits(12)
        .says("the history knows of none before it");
    let two = fleet.release("two");
    fleet.fails("b", true);
    let _ = fleet.shipit("kick", &[]).exits(7);
    fleet.fails("b", false);
    // The last kick failed: back to what is live.
    let document = fleet.json("rollback", &[], 0);
    let role = &document["roles"][0];
    assert_eq!(
        (&role["action"], &role["release"]),
        (&json!("rollback"), &json!(one))
    );
    assert_eq!(fleet.releases("b"), [one.clone(), two.clone(), one.clone()]);
    // Now a good kick, and from it to the one before.
    let _ = fleet.shipit("kick", &[]).ok();
    assert_eq!(fleet.live(), Some(two.clone()));
    let _ = fleet
        .shipit("rollback", &["--lock", "until it is mended"])
        .ok()
        .says("stays locked");
    assert_eq!(fleet.live(), Some(one.clone()));
    let _ = fleet.shipit("kick", &[]).exits(8).says("until it is mended");
    let unlock = ["unlock", "--stage", "staging"];
    let _ = fleet.project.shipit(&unlock).run().ok();
    // By name.
    let _ = fleet.shipit("rollback", &["--to", &two]).ok();
    assert_eq!(fleet.live(), Some(two));
}

#[test]
fn rollback_refuses_a_release_that_is_gone() {
    let fleet = Fleet::new(&["a"], "", "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let _ = fleet.release("two");
    let _ = fleet.shipit("kick", &[]).ok();
    let release = fleet
        .project
        .tmp
        .join(format!("store/releases/shop/staging/{one}/release.json"));
    fs::remove_file(release).unwrap();
    let kicks = fleet.history().len();
    let _ = fleet
        .shipit("rollback", &[])
        .exits(12)
        .says(&one)
        .says("not in the store any more");
    assert_eq!(fleet.history().len(), kicks);
}

#[test]
fn a_failed_kick_is_rolled_back_where_the_config_wants_it() {
    let fleet = Fleet::new(&["a", "b"], "rollback_on_failure = true\nbatch = 1", "");
    let one = fleet.release("one");
    fleet.fails("a", true);
    // There is nothing to go back to.
    let _ = fleet
        .shipit("kick", &[])
        .exits(7)
        .says("could not be rolled back")
        .says("no release was ever live");
    fleet.fails("a", false);
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    // It fails with the second release alone.
    let run = fleet.project.tmp.join("hosts/run");
    let text = fs::read_to_string(&run).unwrap();
    fs::write(&run, format!("{text}case $host$url in b*{two}*) exit 5;; esac\n")).unwrap();
    let document = fleet.json("kick", &[], 7);
    let roles = document["roles"].as_array().unwrap();
    assert_eq!(
        (roles.len(), &roles[0]["result"], &roles[1]["result"]),
        (2, &json!("failed"), &json!("succeeded"))
    );
    assert_eq!(
        (&roles[1]["action"], &roles[1]["release"]),
        (&json!("rollback"), &json!(one))
    );
    assert_eq!(
        fleet.releases("a"),
        [one.clone(), one.clone(), two.clone(), one.clone()]
    );
    assert_eq!(fleet.live(), Some(one));
    let history = fleet.history();
    let reason = history.last().unwrap().0["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the kick ") && reason.ends_with(" failed"),
        "{reason}"
    );
    assert!(!fleet.locked());
}

#[test]
fn repair_tells_only_those_that_lag_behind() {
    let fleet = Fleet::new(&["a", "b", "c"], "", "");
    let _ = fleet.shipit("repair", &[]).exits(12).says("was never kicked");
    let one = fleet.release("one");
    fleet.fails("b", true);
    let _ = fleet.shipit("kick", &["--batch", "1"]).exits(7);
    let document = fleet.json("repair", &[], 7);
    let expected = [("b", "failed"), ("c", "succeeded")];
    assert_eq!(
        states(&document),
        expected.map(|(host, state)| (host.to_owned(), state.to_owned()))
    );
    fleet.fails("b", false);
    let ran = fleet.shipit("repair", &[]).ok();
    assert_eq!(ran.out(), "web\tb\tsucceeded\n");
    assert_eq!((fleet.releases("a").len(), fleet.releases("b").len()), (1, 3));
    let ran = fleet
        .shipit("repair", &[])
        .ok()
        .says(&format!("each host says that it has {one}"));
    assert_eq!(ran.out(), "");
    assert_eq!(fleet.live(), None, "a repair does not move live");
}
