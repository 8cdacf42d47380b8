//! Going back and mending, with hosts that are told by exec.

use std::fs;

use serde_json::json;

use crate::fleet::{Fleet, states};

#[test]
fn rollback_goes_to_live_after_a_bad_kick_and_to_the_one_before_after_a_good_one() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let one = fleet.release("one");
    let _ = fleet
        .shipit("rollback", &[])
        .exits(12)
        .says("no release was ever live");
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

/// Once commands have a log of their own, by the name that is shown of it.
#[test]
fn the_log_of_once_commands_is_had_by_its_name() {
    let fleet = Fleet::new(&["a"], "", "once = [\"true\"]\n");
    let _ = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let logs = |words: &[&str]| {
        let args = [&["logs", "a", "--stage", "staging"], words].concat();
        fleet.project.shipit(&args).run()
    };
    let roles = |words: &[&str]| {
        let ran = logs(&[words, &["--output", "json"]].concat()).ok();
        let document: serde_json::Value = serde_json::from_str(&ran.out()).unwrap();
        let logs = document["logs"].as_array().unwrap().clone();
        let role = |log: serde_json::Value| log["role"].as_str().unwrap().to_owned();
        logs.into_iter().map(role).collect::<Vec<_>>()
    };
    assert_eq!(roles(&[]), ["web.once", "web"]);
    assert_eq!(roles(&["--role", "web"]), ["web.once", "web"]);
    assert_eq!(roles(&["--role", "web.once"]), ["web.once"]);
    assert!(logs(&["--role", "web.once"]).ok().out().contains("web.once.yml"));
    let _ = logs(&["--role", "wep.once"]).exits(2).says("wep.once");
    // A stage with Consul, which is down, and of which some kicks went without it. Nothing listens there.
    let config = fs::read_to_string(fleet.project.repo.join("shipit.toml")).unwrap();
    let config = format!("{config}[consul]\naddress = \"http://127.0.0.1:1\"\n");
    fleet.project.config(&config);
    let _ = logs(&[]).exits(6);
    assert_eq!(roles(&["--without-consul"]), ["web.once", "web"]);
}

/// A kick whose document is damaged is left out of the history; each command says so, and says it once.
#[test]
fn a_damaged_kick_is_named_once_by_each_command() {
    let fleet = Fleet::new(&["a"], "", "");
    for text in ["one", "two", "three"] {
        let _ = fleet.release(text);
        let _ = fleet.shipit("kick", &[]).ok();
    }
    let kicks = fleet.project.tmp.join("store/kicks/shop/staging");
    let mut names: Vec<_> = fs::read_dir(&kicks)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    fs::write(names[0].join("started.json"), "{").unwrap();
    let project = |words: &[&str]| fleet.project.shipit(words).run();
    for ran in [
        project(&["history", "--stage", "staging"]).ok(),
        project(&["status", "--stage", "staging"]).ok(),
        project(&["prune", "--stage", "staging", "--dry-run"]).ok(),
        fleet.shipit("rollback", &[]).ok(),
    ] {
        let said = ran.err().matches("left out of the history").count();
        assert_eq!(said, 1, "{ran}");
    }
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
    let one = fleet.release("one");
    let _ = fleet.shipit("repair", &[]).exits(12).says("was never kicked");
    fleet.fails("b", true);
    let _ = fleet.shipit("kick", &["--batch", "1"]).exits(7);
    let document = fleet.json("repair", &[], 7);
    assert_eq!(states(&document), [("b".to_owned(), "failed".to_owned())]);
    fleet.fails("b", false);
    let moves =
        format!("live is another one (none yet): `shipit kick web --stage staging --release {one}` moves it");
    let ran = fleet.shipit("repair", &[]).ok().says(&moves);
    assert_eq!(ran.out(), "web\tb\tsucceeded\nweb\tc\tsucceeded\n");
    assert_eq!((fleet.releases("a").len(), fleet.releases("b").len()), (1, 3));
    let ran = fleet
        .shipit("repair", &[])
        .ok()
        .says(&format!("each host says that it has {one}"));
    assert_eq!(ran.out(), "");
    assert_eq!(fleet.live(), None, "a repair does not move live");
}

#[test]
fn rollbacks_go_further_back_and_one_that_failed_goes_to_the_same_again() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(fleet.release(text));
        let _ = fleet.shipit("kick", &[]).ok();
    }
    let target = |document: serde_json::Value| document["roles"][0]["release"].as_str().unwrap().to_owned();
    fleet.fails("b", true);
    assert_eq!(target(fleet.json("rollback", &[], 7)), ids[1]);
    assert_eq!(fleet.live().as_ref(), Some(&ids[2]));
    fleet.fails("b", false);
    // Not forward to what is live still.
    let ran = fleet.shipit("rollback", &[]).ok().says("going there again");
    assert_eq!(ran.err().matches("going there again").count(), 1, "{ran}");
    assert_eq!(fleet.live().as_ref(), Some(&ids[1]));
    assert_eq!(fleet.releases("a")[3..], [ids[1].clone(), ids[1].clone()]);
    assert_eq!(
        target(fleet.json("rollback", &[], 0)),
        ids[0],
        "not forward to the third"
    );
    let _ = fleet
        .shipit("rollback", &[])
        .exits(12)
        .says("knows of none before it")
        .says("`shipit releases --stage staging`");
}

#[test]
fn repair_does_not_spread_what_was_tried_on_one_host() {
    let fleet = Fleet::new(&["a", "b", "c"], "", "");
    let one = fleet.release("one");
    fleet.fails("c", true);
    let _ = fleet.shipit("kick", &[]).exits(7);
    fleet.fails("c", false);
    let two = fleet.release("two");
    fleet.fails("a", true);
    let _ = fleet.shipit("kick", &["--only", "a"]).exits(7);
    fleet.fails("a", false);
    let ran = fleet
        .shipit("repair", &[])
        .ok()
        .says("some hosts of web alone were kicked last");
    assert_eq!(ran.out(), "web\ta\tsucceeded\n");
    let _ = fleet
        .shipit("repair", &[])
        .ok()
        .says(&format!("a, which alone was kicked last, says that it has {two}"));
    assert_eq!(fleet.releases("b"), std::slice::from_ref(&one));
    // The others, by their names, have what all were told.
    let ran = fleet.shipit("repair", &["--only", "c"]).ok();
    assert_eq!(ran.out(), "web\tc\tsucceeded\n");
    assert_eq!(fleet.releases("c"), [one.clone(), one.clone()]);
    let _ = fleet
        .shipit("repair", &["--only", "a", "--only", "c"])
        .exits(12)
        .says("--release ID");
}

#[test]
fn the_live_release_is_not_what_its_own_failure_goes_back_to() {
    let fleet = Fleet::new(&["a"], "rollback_on_failure = true", "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let _ = fleet.release("two");
    let _ = fleet.shipit("kick", &[]).ok();
    fleet.fails("a", true);
    let _ = fleet
        .shipit("kick", &[])
        .exits(7)
        .says("is the live release itself")
        .says("`shipit rollback web --stage staging`");
    assert_eq!(fleet.told("a").len(), 3, "nothing was told again by itself");
    fleet.fails("a", false);
    let document = fleet.json("rollback", &[], 0);
    assert_eq!(document["roles"][0]["release"], json!(one));
}

#[test]
fn a_stdout_that_is_full_keeps_no_role_from_going_back() {
    let fleet = Fleet::new(&["a"], "rollback_on_failure = true", "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    fleet.fails("a", true);
    let program = "shipit=$1; shift; exec \"$shipit\" \"$@\" >/dev/full";
    let args = ["-c", program, "sh", crate::project::binary().to_str().unwrap()];
    let kick = ["kick", "web", "--stage", "staging"];
    let command = shipit_testbed::Cmd::new("sh").args(args.iter().chain(&kick));
    let _ = fleet
        .project
        .surround(command)
        .run()
        .exits(7)
        .says("did not succeed");
    assert_eq!(fleet.releases("a"), [one.clone(), two, one]);
}

#[test]
fn a_second_rollback_does_not_go_forward_to_what_was_just_left() {
    let fleet = Fleet::new(&["a"], "", "");
    let (one, two) = (fleet.release("one"), fleet.release("two"));
    let three = fleet.release("three");
    for release in [&three, &one, &two, &one] {
        let _ = fleet.shipit("kick", &["--release", release]).ok();
    }
    let _ = fleet.shipit("rollback", &[]).ok();
    assert_eq!(fleet.live().as_ref(), Some(&two));
    let _ = fleet.shipit("rollback", &[]).ok().says(&format!(
        "not to what a rollback left, and nobody kicked again since: {one}"
    ));
    assert_eq!(fleet.live().as_ref(), Some(&three), "not to the first again");
    let _ = fleet
        .shipit("rollback", &[])
        .exits(12)
        .says("knows of none before it");
}

#[test]
fn a_damaged_live_manifest_is_said_and_a_kick_replaces_it() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    let _ = fleet.shipit("kick", &[]).ok();
    let live = fleet.project.tmp.join("store/live/shop/staging/web.yml");
    let damage = || fs::write(&live, "half a manif").unwrap();
    damage();
    // What is known is shown.
    let ran = fleet
        .shipit("status", &[])
        .ok()
        .says("is damaged")
        .says("`shipit kick web --stage staging`");
    assert!(ran.out().contains(&two), "{ran}");
    assert_eq!(fleet.json("status", &[], 0)["roles"][0]["live"], json!(null));
    let releases = ["releases", "--stage", "staging"];
    let _ = fleet
        .project
        .shipit(&releases)
        .run()
        .ok()
        .says("what is live for web in staging is not known");
    // Where to go back to is not known, but by name.
    let _ = fleet
        .shipit("rollback", &[])
        .exits(12)
        .says("is damaged")
        .says("`shipit rollback web --stage staging --to ID`");
    // Nothing of the role is removed meanwhile.
    let prune = ["prune", "--stage", "staging", "--keep", "1", "--output", "json"];
    let ran = fleet
        .project
        .shipit(&prune)
        .run()
        .ok()
        .says("a kick of the whole role replaces it");
    assert!(
        ran.out().contains("\"objects\": []") && ran.out().contains("live_unknown"),
        "{ran}"
    );
    // Some hosts alone do not mend it, all of them do.
    let _ = fleet
        .shipit("kick", &["--only", "a"])
        .ok()
        .says("of all its hosts replaces it");
    assert_eq!(fleet.live(), None);
    let _ = fleet
        .shipit("rollback", &["--to", &one])
        .ok()
        .says("is damaged")
        .says("is live for web");
    assert_eq!(fleet.live(), Some(one));
    damage();
    let _ = fleet.shipit("kick", &[]).ok().says("takes its place");
    assert_eq!(fleet.live(), Some(two));
}
