//! The ways on from a kick that stopped: what a repair tells to whom, where a rollback goes, and what holds neither up. With hosts
//! that are told by exec.

use std::fs;

use serde_json::{Value, json};

use shipit_testbed::Signal;

use crate::fleet::{Fleet, states};

const FOUR: [&str; 4] = ["a", "b", "c", "d"];

fn waves(ran: &shipit_testbed::Ran, of: usize) -> bool {
    ran.err().contains(&format!("web, wave {of} of {of}: "))
}

/// A kick that a bad wave stopped is not gone on with behind its back: first those that were told, then waves like its own.
#[test]
fn a_repair_goes_on_in_waves_when_those_that_failed_are_good() {
    let fleet = Fleet::new(&FOUR, "", "");
    let _ = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    fleet.fails("a", true);
    let _ = fleet
        .shipit("kick", &["--batch", "1"])
        .exits(7)
        .says("1 of the 1 hosts that were told (of 4) did not succeed: a")
        .says("`shipit repair web --stage staging` tells a again, and, when that is good, b, c, d in waves of 1")
        .says("`shipit rollback web --stage staging` goes back");
    // Still bad: nobody else hears of it, and the waves are those of the kick.
    let document = fleet.json("repair", &[], 7);
    assert_eq!(states(&document), [("a".to_owned(), "failed".to_owned())]);
    assert_eq!(document["roles"][0]["not_told"], json!(["b", "c", "d"]));
    for host in ["b", "c", "d"] {
        assert_eq!(fleet.releases(host).len(), 1, "{host}");
    }
    // Good, and then another one is bad: the rest stays as it is.
    fleet.fails("a", false);
    fleet.fails("c", true);
    let ran = fleet
        .shipit("repair", &[])
        .exits(7)
        .says("web, wave 1 of 4: 1 succeeded")
        .says("tells c again, and, when that is good, d in waves of 1");
    assert_eq!(
        ran.out(),
        "web\ta\tsucceeded\nweb\tb\tsucceeded\nweb\tc\tfailed\n"
    );
    assert_eq!(fleet.releases("d").len(), 1);
    fleet.fails("c", false);
    // The repair's own batch counts more than the kick's.
    let ran = fleet.shipit("repair", &["--batch", "100%"]).ok();
    assert!(waves(&ran, 2), "{ran}");
    for host in FOUR {
        assert_eq!(fleet.releases(host).last(), Some(&two), "{host}");
    }
}

/// The check between waves stops a repair as it stops a kick.
#[test]
fn a_check_that_stopped_a_kick_says_how_to_go_on_and_back() {
    let fleet = Fleet::new(&["a", "b", "c"], "batch = 1\nwave_check = \"test ! -e @\"", "");
    let bad = fleet.project.tmp.join("bad");
    let config = fs::read_to_string(fleet.project.repo.join("shipit.toml")).unwrap();
    fleet
        .project
        .config(&config.replace('@', &bad.display().to_string()));
    let _ = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    fs::write(&bad, "").unwrap();
    let _ = fleet
        .shipit("kick", &[])
        .exits(7)
        .says("the check between waves failed")
        .says("`shipit repair web --stage staging` goes on with b, c in waves of 1, `shipit rollback web --stage staging` goes back");
    let _ = fleet
        .shipit("repair", &[])
        .exits(7)
        .says("goes on with c in waves of 1");
    assert_eq!(fleet.releases("b").last(), Some(&two));
    assert_eq!(fleet.releases("c").len(), 1);
}

/// What finds a bad release keeps no host on it: neither the check between waves nor a host that fails.
#[test]
fn the_way_back_is_held_up_by_no_check_and_no_host() {
    let kick = "batch = 1\npause = \"100s\"\nwave_check = \"false\"\nrollback_on_failure = true";
    let fleet = Fleet::new(&FOUR, kick, "");
    let one = fleet.release("one");
    let free = ["--pause", "0s", "--wave-check", "true"];
    let _ = fleet.shipit("kick", &free).ok();
    let two = fleet.release("two");
    // The check fails after the second host, and it goes back by itself, those that have the bad release first.
    let seen = fleet.project.tmp.join("seen");
    let check = format!("echo x >>{0}; [ $(wc -l <{0}) -lt 2 ]", seen.display());
    let ran = fleet
        .shipit("kick", &["--pause", "0s", "--wave-check", &check])
        .exits(7)
        .says(&format!(
            "rolling back web of shop in staging from {two} to {one}"
        ))
        .says(&format!("web was rolled back to {one}"));
    assert!(!ran.err().contains("could not be rolled back"), "{ran}");
    let order = |from: usize| {
        let told = |host: &&str| fleet.releases(host).len() > from;
        FOUR.iter().filter(|host| told(host)).count()
    };
    assert_eq!(
        order(2),
        2,
        "a and b were told the second, and all the first again"
    );
    assert_eq!(
        ran.out(),
        "web\ta\tsucceeded\nweb\tb\tsucceeded\nweb\ta\tsucceeded\trollback\nweb\tb\tsucceeded\trollback\n\
         web\tc\tsucceeded\trollback\nweb\td\tsucceeded\trollback\n"
    );
    // By hand, from all of them; the first one fails.
    let _ = fleet.shipit("kick", &free).ok();
    fleet.fails("a", true);
    let ran = fleet
        .shipit("rollback", &[])
        .exits(7)
        .says("1 of 4 hosts did not succeed: a")
        .says("`shipit repair web --stage staging` tells a again")
        .says("tries it again for all of them");
    assert!(!ran.err().contains("not told"), "{ran}");
    for host in ["b", "c", "d"] {
        assert_eq!(fleet.releases(host).last(), Some(&one), "{host}");
    }
    let ran = fleet.shipit("rollback", &["--max-failures", "1"]).ok();
    assert!(ran.out().starts_with("web\ta\tfailed\n"), "{ran}");
    assert_eq!(fleet.live(), Some(one));
    // Whoever wants a check on the way says so.
    fleet.fails("a", false);
    let _ = fleet
        .shipit("rollback", &["--to", &two, "--wave-check", "false"])
        .exits(7)
        .says("the check between waves failed");
}

/// Those that have the release already do not keep the others waiting.
#[test]
fn those_that_need_it_go_back_first() {
    let fleet = Fleet::new(&["a", "b", "c"], "batch = 1", "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let _ = fleet.release("two");
    let _ = fleet.shipit("kick", &["--only", "c"]).ok();
    fleet.hangs("c", true);
    let mut back = fleet.start("rollback", &["--to", &one]);
    fleet.wait_told("c", 3);
    assert_eq!(fleet.told("a").len(), 1, "{}", back.log());
    fleet.hangs("c", false);
    let status = back.wait(std::time::Duration::from_secs(100)).unwrap();
    assert!(status.success(), "{}", back.log());
}

#[test]
fn a_kick_that_told_nobody_is_left_to_the_live_release() {
    let fleet = Fleet::new(&["a", "b"], "", "once = [\"bin/migrate\"]");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    let _ = fleet.shipit("kick", &[]).ok();
    let three = fleet.release("three");
    fleet.fails("a", true);
    let _ = fleet
        .shipit("kick", &[])
        .exits(7)
        .says("the once commands failed, and no host was told to switch: a")
        .says("`shipit logs a --role web.once --stage staging` shows more");
    let (_, ended) = fleet.history().pop().unwrap();
    let ended = ended.unwrap();
    assert_eq!(
        (&ended["once_on"]["host"], &ended["once_on"]["state"]),
        (&json!("a"), &json!("failed"))
    );
    assert_eq!(ended["hosts"], json!({}));
    let history = fleet
        .project
        .shipit(&["history", "--stage", "staging"])
        .run()
        .ok();
    assert!(history.out().contains("once on a: failed"), "{history}");
    fleet.fails("a", false);
    let _ = fleet
        .shipit("rollback", &[])
        .ok()
        .says(&format!("rolling back web of shop in staging: {two} "))
        .says(&format!("of {three} failed before any host was told"));
    assert_eq!(fleet.live().as_ref(), Some(&two));
    // Again, and it goes further.
    let _ = fleet.shipit("rollback", &[]).ok().says(&format!(
        "rolling back web of shop in staging from {two} to {one} "
    ));
    assert_eq!(fleet.live(), Some(one));
}

#[test]
fn who_went_forth_again_by_name_can_go_back_again() {
    let fleet = Fleet::new(&["a"], "", "");
    let (one, two) = (fleet.release("one"), fleet.release("two"));
    for release in [&one, &two] {
        let _ = fleet.shipit("kick", &["--release", release]).ok();
    }
    let _ = fleet.shipit("rollback", &[]).ok();
    let _ = fleet
        .shipit("rollback", &["--to", &two])
        .ok()
        .says(&format!("from {one} to {two}"));
    let _ = fleet
        .shipit("rollback", &[])
        .ok()
        .says(&format!("from {two} to {one}"));
    assert_eq!(fleet.live(), Some(one));
}

/// The first kick of a stage has nothing that it could be rolled back to.
#[test]
fn the_first_kick_is_not_told_to_go_back() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let _ = fleet.release("one");
    fleet.fails("a", true);
    let ran = fleet.shipit("kick", &[]).exits(7);
    let ran = ran.says("`shipit repair web --stage staging` tells a again; no release is known to be live");
    assert!(!ran.err().contains("goes back"), "{ran}");
}

/// Once commands that were ended by hand may have come to their end after all.
#[test]
fn once_commands_that_were_stopped_are_said_with_their_host() {
    let fleet = Fleet::new(&["a"], "", "once = [\"bin/migrate\"]");
    let _ = fleet.release("one");
    fleet.hangs("a", true);
    let mut kick = fleet.start("kick", &[]);
    fleet.wait_told("a", 1);
    kick.signal(Signal::INT);
    let status = kick.wait(std::time::Duration::from_secs(100)).unwrap();
    assert_eq!(status.code(), Some(130), "{}", kick.log());
    assert!(kick.log().contains("role web: once on a: "), "{}", kick.log());
    let (_, ended) = fleet.history().pop().unwrap();
    let ended: Value = ended.unwrap();
    assert_eq!(
        (&ended["result"], &ended["once_on"]["host"]),
        (&json!("interrupted"), &json!("a"))
    );
}

#[test]
fn a_repair_of_one_host_alone_speaks_of_one() {
    let fleet = Fleet::new(&["a", "b"], "", "");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &["--only", "a"]).ok();
    let _ = fleet.shipit("repair", &[]).ok().says(&format!(
        "web: a, which alone was kicked last, says that it has {one}"
    ));
}

/// Nobody wrote down whom a kick told that was killed, but those that it told.
#[test]
fn what_a_killed_kick_told_is_mended_before_others_are_told() {
    let fleet = Fleet::new(&["a", "b", "c"], "", "");
    let _ = fleet.release("one");
    // All have a report of a failure with the second one, of a kick before.
    let two = fleet.release("two");
    for host in ["a", "b", "c"] {
        fleet.fails(host, true);
    }
    let _ = fleet.shipit("kick", &[]).exits(7);
    for host in ["a", "b", "c"] {
        fleet.fails(host, false);
    }
    fleet.hangs("b", true);
    let mut kick = fleet.start("kick", &["--batch", "1"]);
    fleet.wait_told("b", 2);
    let _ = kick.kill9();
    fleet.hangs("b", false);
    fleet.fails("b", true);
    let ran = fleet.shipit("repair", &["--lock-wait", "1m"]).exits(7);
    assert_eq!(ran.out(), "web\tb\tfailed\n", "a has it, c was not told: {ran}");
    assert_eq!(fleet.releases("c"), std::slice::from_ref(&two));
}

/// A kick that is killed when it has moved live has no end in the history; what it replaced is where a rollback goes.
#[test]
fn a_kick_that_was_killed_when_live_had_moved_can_be_gone_back_from() {
    let fleet = Fleet::new(&["a"], "", "");
    let kill_the_newest = || {
        let kicks = fs::read_dir(fleet.project.tmp.join("store/kicks/shop/staging")).unwrap();
        let newest = kicks.map(|kick| kick.unwrap().path()).max().unwrap();
        fs::remove_file(newest.join("ended.json")).unwrap();
    };
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let two = fleet.release("two");
    let _ = fleet.shipit("kick", &[]).ok();
    kill_the_newest();
    let _ = fleet.shipit("rollback", &[]).ok();
    assert_eq!(fleet.live().as_ref(), Some(&one));
    // Not to what an older kick of the same release had replaced.
    let three = fleet.release("three");
    for release in [&two, &three, &two] {
        let _ = fleet.shipit("kick", &["--release", release]).ok();
    }
    kill_the_newest();
    let _ = fleet.shipit("rollback", &[]).ok();
    assert_eq!(fleet.live(), Some(three));
}
