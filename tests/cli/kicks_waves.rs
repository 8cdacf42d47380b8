//! Waves, what stops them, the live pointer and the history, with hosts that are told by exec.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fleet::{Fleet, states};

#[test]
fn a_good_kick_tells_all_hosts_and_moves_live() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let one = fleet.release("one");
    let ran = fleet.shipit("kick", &["--reason", "friday"]).ok();
    assert_eq!(ran.out(), "web\ta\tsucceeded\nweb\tb\tsucceeded\n");
    assert_eq!(fleet.live().as_ref(), Some(&one));
    assert_eq!(fleet.releases("a"), std::slice::from_ref(&one));
    let history = fleet.history();
    let (started, ended) = &history[0];
    let ended = ended.as_ref().unwrap();
    assert_eq!(started["hosts"], json!(["a", "b"]));
    assert_eq!(
        (&started["reason"], &started["live"], &started["whole"]),
        (&json!("friday"), &json!(null), &json!(true))
    );
    assert_eq!(
        (&ended["result"], &ended["moved_live"]),
        (&json!("succeeded"), &json!(true))
    );
    assert_eq!(ended["hosts"]["b"]["state"], "succeeded");
    assert!(!fleet.locked());
    // Once more: the same release stays live, and the history says what was live before.
    let document = fleet.json("kick", &[], 0);
    assert_eq!(document["roles"][0]["release"], json!(one));
    assert_eq!(fleet.history()[1].0["live"], json!(one));
}

#[test]
fn a_failed_host_fails_the_kick_and_is_shown_with_its_last_lines() {
    let fleet = Fleet::new(&["a", "b", "c"], "", "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    fleet.fails("b", true);
    let ran = fleet.shipit("kick", &["--quiet"]).exits(7);
    let ran = ran.says("1 of 3 hosts did not succeed: b (failed with exit code 3)");
    let ran = ran.says("b | b is broken").says("shipit rollback web");
    // What came a moment before is not said again.
    assert_eq!(ran.err().matches("b | b is broken").count(), 1, "{ran}");
    assert_eq!(
        ran.out(),
        "web\ta\tsucceeded\nweb\tb\tfailed\nweb\tc\tsucceeded\n"
    );
    assert_eq!(fleet.live(), Some(one.clone()), "live stays as it was");
    let history = fleet.history();
    let (started, ended) = &history[1];
    assert_eq!(
        (&started["release"], &started["live"]),
        (&json!(two), &json!(one))
    );
    let ended = ended.as_ref().unwrap();
    assert_eq!(
        (&ended["result"], &ended["moved_live"]),
        (&json!("failed"), &json!(false))
    );
    assert_eq!(ended["hosts"]["b"]["reason"], "failed with exit code 3");
    assert!(!fleet.locked());
}

#[test]
fn so_many_hosts_may_fail() {
    let fleet = Fleet::new(&["a", "b", "c"], "max_failures = 1", "");
    let one = fleet.release("one");
    fleet.fails("b", true);
    let ran = fleet
        .shipit("kick", &[])
        .ok()
        .says("no more failed than may, but these did: b");
    assert_eq!(
        ran.out(),
        "web\ta\tsucceeded\nweb\tb\tfailed\nweb\tc\tsucceeded\n"
    );
    assert_eq!(fleet.live(), Some(one));
    // In the whole kick, not in each wave.
    fleet.fails("a", true);
    let document = fleet.json("kick", &["--batch", "1"], 7);
    assert_eq!(document["roles"][0]["not_told"], json!(["c"]));
    let _ = fleet.shipit("kick", &["--max-failures", "0"]).exits(7);
}

#[test]
fn waves_stop_at_the_first_bad_one() {
    let fleet = Fleet::new(&["a", "b", "c", "d", "e"], "batch = \"40%\"", "");
    let _ = fleet.release("one");
    fleet.fails("c", true);
    let document = fleet.json("kick", &[], 7);
    let role = &document["roles"][0];
    let expected = [
        ("a", "succeeded"),
        ("b", "succeeded"),
        ("c", "failed"),
        ("d", "succeeded"),
    ];
    assert_eq!(
        states(&document),
        expected.map(|(host, state)| (host.to_owned(), state.to_owned()))
    );
    assert_eq!((&role["waves"], &role["not_told"]), (&json!(1), &json!(["e"])));
    assert!(fleet.told("e").is_empty());
    assert_eq!(fleet.live(), None);
}

#[test]
fn between_waves_there_is_a_pause_and_a_check() {
    let fleet = Fleet::new(&["a", "b", "c"], "", "");
    let one = fleet.release("one");
    let seen = fleet.project.tmp.join("seen");
    let check = format!(
        "echo $SHIPIT_APP $SHIPIT_STAGE $SHIPIT_ROLE $SHIPIT_WAVE $SHIPIT_RELEASE >>{}",
        seen.display()
    );
    let begin = Instant::now();
    let waves = ["--batch", "1", "--pause", "1s", "--wave-check", &check];
    let ran = fleet.shipit("kick", &waves).ok();
    let at = |text: &str| ran.err().find(text).unwrap_or_else(|| panic!("{text}: {ran}"));
    assert!(at("waiting 1s before the next wave") < at("checking before the next wave: echo …"));
    assert!(begin.elapsed() >= Duration::from_secs(2));
    let lines = std::fs::read_to_string(seen).unwrap();
    assert_eq!(
        lines,
        format!("shop staging web 1 {one}\nshop staging web 2 {one}\n")
    );
    // A check that fails: the second wave is not told.
    let two = fleet.release("two");
    let ran = fleet
        .shipit(
            "kick",
            &["--batch", "2", "--wave-check", "echo too slow {{ x }}; exit 4"],
        )
        .exits(7);
    let _ = ran
        .says("wave_check | too slow {{ x }}")
        .says("the check between waves failed")
        .says("failed with exit code 4")
        .says("not told: c");
    assert_eq!(fleet.releases("c"), std::slice::from_ref(&one));
    assert_eq!(fleet.releases("b"), [one.clone(), two]);
    assert_eq!(fleet.live(), Some(one));
    // A URL where nobody listens.
    let nobody = shipit_testbed::ports::Address::claim();
    let nobody = nobody.socket();
    let url = format!("http://bob:geheim@{nobody}/health?token=geheim");
    let ran = fleet
        .shipit("kick", &["--batch", "2", "--wave-check", &url])
        .exits(7)
        .says("does not answer")
        .says(&format!(
            "checking before the next wave: http://{nobody}/health?…"
        ));
    assert!(!ran.err().contains("geheim"), "{ran}");
    assert!(!format!("{:?}", fleet.history()).contains("geheim"));
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_told() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let _ = fleet.release("one");
    let _ = fleet
        .shipit("kick", &["--timeout", "0s"])
        .exits(2)
        .says("1s or more");
    let _ = fleet
        .shipit("kick", &["--only", "*"])
        .exits(2)
        .says("--only * is no host's name")
        .says("[role.web.filter] node");
    let _ = fleet
        .shipit("kick", &["--dc", "east"])
        .exits(2)
        .says("--dc is for the transport consul");
    assert!(fleet.history().is_empty() && fleet.told("a").is_empty());
}

#[test]
fn commands_in_hints_name_the_stage() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let _ = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    fleet.fails("b", true);
    let _ = fleet
        .shipit("kick", &[])
        .exits(7)
        .says("`shipit logs b --stage staging`")
        .says("`shipit repair web --stage staging`")
        .says("`shipit rollback web --stage staging`");
}

#[test]
fn a_release_that_is_pruned_while_its_kick_waits_is_told_to_nobody() {
    let fleet = Fleet::new(&["a"], "", "");
    let one = fleet.release("one");
    fleet.hangs("a", true);
    let mut first = fleet.start("kick", &[]);
    fleet.wait_told("a", 1);
    let two = fleet.release("two");
    let mut second = fleet.start("kick", &["--lock-wait", "1m"]);
    second.wait_log(Duration::from_secs(30), "waiting up to");
    let release = format!("store/releases/shop/staging/{two}/release.json");
    std::fs::remove_file(fleet.project.tmp.join(release)).unwrap();
    fleet.hangs("a", false);
    let soon = Duration::from_secs(100);
    assert_eq!(first.wait(soon).unwrap().code(), Some(0), "{}", first.log());
    assert_eq!(second.wait(soon).unwrap().code(), Some(5), "{}", second.log());
    assert!(second.log().contains("was pruned meanwhile"), "{}", second.log());
    assert_eq!(fleet.releases("a"), std::slice::from_ref(&one));
    assert_eq!(fleet.live(), Some(one));
    let history = fleet.history();
    assert_eq!(history[1].1.as_ref().unwrap()["result"], "error");
    assert!(!fleet.locked());
}

#[test]
fn live_that_cannot_be_moved_is_said_with_what_the_hosts_have() {
    let fleet = Fleet::new(&["a"], "", "");
    let one = fleet.release("one");
    fleet.hangs("a", true);
    let mut kick = fleet.start("kick", &[]);
    fleet.wait_told("a", 1);
    let live = fleet.project.tmp.join("store/live");
    std::fs::write(&live, "in the way").unwrap();
    fleet.hangs("a", false);
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    let log = kick.log();
    assert!(matches!(status.code(), Some(5 | 10)), "{log}");
    for part in [
        &format!("moving live: its hosts have {one}"),
        "none is live yet",
        &format!("`shipit kick web --stage staging --release {one}`"),
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    std::fs::remove_file(live).unwrap();
    let _ = fleet.shipit("kick", &["--release", &one]).ok();
    assert_eq!(fleet.live(), Some(one));
}

#[test]
fn only_some_hosts_leave_live_alone() {
    let fleet = Fleet::new(&["a", "b", "c"], "", "");
    let _ = fleet.release("one");
    let ran = fleet.shipit("kick", &["--only", "a", "--node", "c"]).ok();
    assert_eq!(ran.out(), "web\ta\tsucceeded\nweb\tc\tsucceeded\n");
    assert!(fleet.told("b").is_empty());
    assert_eq!(fleet.live(), None);
    assert_eq!(fleet.history()[0].0["whole"], false);
    let _ = fleet
        .shipit("kick", &["--only", "z"])
        .exits(2)
        .says("z is not among its hosts");
    let _ = fleet
        .shipit("kick", &["--no-wait"])
        .exits(2)
        .says("exec waits for its commands anyway");
    let _ = fleet
        .shipit("kick", &["--transport", "consul"])
        .exits(2)
        .says("[consul]");
    assert_eq!(
        fleet.history().len(),
        1,
        "nothing is in the history that was refused"
    );
}

#[test]
fn once_commands_run_on_one_host_before_the_others_and_only_once() {
    let fleet = Fleet::new(&["a", "b"], "", "once = [\"bin/migrate\"]");
    let one = fleet.release("one");
    fleet.fails("a", true);
    let ran = fleet
        .shipit("kick", &[])
        .exits(7)
        .says("the once commands failed")
        .says("not told: a, b");
    assert_eq!(ran.out(), "");
    assert_eq!(fleet.told("a"), [format!("{one}/web.once.yml")]);
    assert!(fleet.told("b").is_empty());
    fleet.fails("a", false);
    let _ = fleet.shipit("kick", &[]).ok();
    let (once, all) = (format!("{one}/web.once.yml"), format!("{one}/web.yml"));
    assert_eq!(fleet.told("a"), [once.clone(), once.clone(), all.clone()]);
    assert_eq!(fleet.told("b"), std::slice::from_ref(&all));
    assert_eq!(fleet.history()[1].1.as_ref().unwrap()["once"], true);
    // Not again for this release, not for some hosts, not on the way back.
    let _ = fleet.shipit("kick", &[]).ok().says("ran already");
    let two = fleet.release("two");
    let _ = fleet.shipit("kick", &["--only", "a"]).ok();
    let _ = fleet.shipit("rollback", &["--to", &two]).ok();
    assert_eq!(fleet.told("a").iter().filter(|told| **told == once).count(), 2);
    assert!(!fleet.told("a").contains(&format!("{two}/web.once.yml")));
}
