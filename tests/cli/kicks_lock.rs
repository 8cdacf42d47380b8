//! One deploy at a time, and what a kick leaves that is stopped, killed or kept out.

use std::time::Duration;

use serde_json::json;
use shipit_testbed::{Process, Signal};

use crate::fleet::Fleet;

const SOON: Duration = Duration::from_secs(100);

#[test]
fn who_comes_second_is_told_who_has_the_lock_and_why() {
    let fleet = Fleet::new(&["a"], "", "");
    let _ = fleet.release("one");
    fleet.hangs("a", true);
    let mut first = fleet.start("kick", &["--reason", "new prices"]);
    fleet.wait_told("a", 1);
    let ran = fleet.shipit("kick", &[]).exits(8);
    let _ = ran.says("kick web").says("new prices");
    let _ = fleet
        .shipit("rollback", &["--to", &fleet.releases("a")[0]])
        .exits(8);
    assert_eq!(fleet.told("a").len(), 1);
    // A person who waits for it comes after it, too.
    let _ = fleet
        .project
        .shipit(&["lock", "-m", "now me", "--stage", "staging"])
        .run()
        .exits(8)
        .says("--lock-wait 10m");
    // Who waits comes after it.
    let mut second = fleet.start("kick", &["--lock-wait", "1m"]);
    second.wait_log(SOON, "waiting up to");
    fleet.hangs("a", false);
    assert_eq!(first.wait(SOON).unwrap().code(), Some(0), "{}", first.log());
    assert_eq!(second.wait(SOON).unwrap().code(), Some(0), "{}", second.log());
    let history = fleet.history();
    assert_eq!(history.len(), 2);
    assert!(history.iter().all(|(_, ended)| ended.is_some()) && !fleet.locked());
}

#[test]
fn a_person_who_waits_for_the_lock_has_it_after_the_kick() {
    let fleet = Fleet::new(&["a"], "", "");
    let _ = fleet.release("one");
    fleet.hangs("a", true);
    let mut kick = fleet.start("kick", &[]);
    fleet.wait_told("a", 1);
    let lock = ["lock", "-m", "now me", "--lock-wait", "1m", "--stage", "staging"];
    let lock = fleet.project.shipit(&lock);
    let mut lock = lock.start("lock", fleet.project.tmp.join("lock.log"));
    lock.wait_log(SOON, "waiting up to");
    fleet.hangs("a", false);
    assert_eq!(kick.wait(SOON).unwrap().code(), Some(0), "{}", kick.log());
    assert_eq!(lock.wait(SOON).unwrap().code(), Some(0), "{}", lock.log());
    let _ = fleet
        .shipit("kick", &[])
        .exits(8)
        .says("now me")
        .says("shipit unlock");
}

#[test]
fn of_two_kicks_at_once_one_proceeds() {
    let fleet = Fleet::new(&["a"], "", "");
    let _ = fleet.release("one");
    fleet.hangs("a", true);
    let mut kicks = [fleet.start("kick", &[]), fleet.start("kick", &[])];
    fleet.wait_told("a", 1);
    shipit_testbed::until("one of them to be kept out", SOON, || {
        kicks
            .iter_mut()
            .map(Process::running)
            .filter(|running| *running)
            .count()
            == 1
    });
    fleet.hangs("a", false);
    let mut codes = kicks.map(|mut kick| kick.wait(SOON).unwrap().code());
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(8)]);
    assert_eq!((fleet.told("a").len(), fleet.history().len()), (1, 1));
}

#[test]
fn a_signal_between_and_in_waves_ends_with_an_end_in_the_history_and_a_free_lock() {
    for (signal, code, name) in [(Signal::INT, 130, "SIGINT"), (Signal::TERM, 143, "SIGTERM")] {
        let fleet = Fleet::new(&["a", "b"], "batch = 1", "");
        let _ = fleet.release("one");
        // In a wave: the host's command is ended.
        fleet.hangs("a", true);
        let mut kick = fleet.start("kick", &[]);
        fleet.wait_told("a", 1);
        kick.signal(signal);
        assert_eq!(kick.wait(SOON).unwrap().code(), Some(code), "{}", kick.log());
        let log = kick.log();
        for part in ["a (was interrupted)", "not told: b", "kick again"] {
            assert!(log.contains(part), "{part}: {log}");
        }
        // Between two waves.
        fleet.hangs("a", false);
        let mut kick = fleet.start("kick", &["--pause", "5m"]);
        kick.wait_log(SOON, "before the next wave");
        kick.signal(signal);
        assert_eq!(kick.wait(SOON).unwrap().code(), Some(code), "{}", kick.log());
        assert!(!fleet.locked());
        let history = fleet.history();
        assert_eq!(history.len(), 2);
        for (_, ended) in &history {
            let ended = ended.as_ref().unwrap();
            let expected = (
                json!("interrupted"),
                json!(format!("stopped by {name}")),
                json!(false),
            );
            assert_eq!(
                (&ended["result"], &ended["reason"], &ended["moved_live"]),
                (&expected.0, &expected.1, &expected.2)
            );
        }
        assert_eq!(history[1].1.as_ref().unwrap()["hosts"]["a"]["state"], "succeeded");
        assert!(fleet.told("b").is_empty());
        let _ = fleet.shipit("kick", &[]).ok();
    }
}

#[test]
fn a_killed_kick_has_no_end_and_its_lock_frees_itself() {
    let fleet = Fleet::new(&["a"], "", "");
    let one = fleet.release("one");
    fleet.hangs("a", true);
    let mut kick = fleet.start("kick", &[]);
    fleet.wait_told("a", 1);
    let _ = kick.kill9();
    fleet.hangs("a", false);
    // At most twice the time that a lock stands, and some seconds; less where it is seen that its holder is gone.
    let _ = fleet.shipit("kick", &["--lock-wait", "100s"]).ok();
    let history = fleet.history();
    assert!(history[0].1.is_none() && history[1].1.is_some(), "{history:?}");
    assert_eq!(fleet.live(), Some(one));
    let ran = fleet
        .project
        .shipit(&["history", "--stage", "staging"])
        .run()
        .ok();
    assert!(ran.out().contains("interrupted"), "{ran}");
}

#[test]
fn the_next_role_waits_for_the_one_before() {
    let fleet = Fleet::new(&["a"], "", "");
    let config = fleet.project.repo.join("shipit.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let db = "[role.db]\n[role.db.exec]\nhosts = [\"d\"]\ncommand = \"false\"\n";
    let db = db.replace("[role.db]\n", "[role.db]\nafter_switch = [\"true\"]\n");
    fleet
        .project
        .config(&text.replace("[stage.staging]", &format!("{db}[stage.staging]")));
    let _ = fleet.release("one");
    let args = ["kick", "db", "web", "--stage", "staging"];
    let ran = fleet.project.shipit(&args).run().exits(7).says("not kicked: web");
    assert_eq!(ran.out(), "db\td\tfailed\n");
    assert!(fleet.told("a").is_empty());
    let args = ["kick", "web", "db", "--stage", "staging", "--output", "json"];
    let ran = fleet.project.shipit(&args).run().exits(7);
    let document: serde_json::Value = serde_json::from_str(&ran.out()).unwrap();
    let results: Vec<_> = document["roles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|role| role["result"].clone())
        .collect();
    assert_eq!(
        (results, &document["not_kicked"]),
        (vec![json!("succeeded"), json!("failed")], &json!([]))
    );
}

#[test]
fn of_several_roles_the_next_is_left_alone_after_a_signal_and_without_the_lock() {
    let fleet = Fleet::new(&["a"], "", "");
    let config = fleet.project.repo.join("shipit.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let (_, command) = text.split_once("command = ").unwrap();
    let (command, _) = command.split_once('\n').unwrap();
    let db = format!("[role.db]\ndest = \"/srv/db\"\n[role.db.exec]\nhosts = [\"d\"]\ncommand = {command}\n");
    let text = text.replace("[stage.staging]", &format!("{db}[stage.staging]"));
    fleet.project.config(&text);
    for release in ["one", "two"] {
        let _ = fleet.release(release);
        let _ = fleet.shipit("kick", &["db"]).ok();
    }
    let told = |host: &str| fleet.told(host).len();
    assert_eq!((told("a"), told("d")), (2, 2));
    fleet.hangs("a", true);
    let mut rollback = fleet.start("rollback", &["db"]);
    fleet.wait_told("a", 3);
    rollback.signal(Signal::TERM);
    assert_eq!(
        rollback.wait(SOON).unwrap().code(),
        Some(143),
        "{}",
        rollback.log()
    );
    assert!(rollback.log().contains("not kicked: db"), "{}", rollback.log());
    assert!(!fleet.locked());
    // The lock is taken away while the first role's host works; a renewal finds that out.
    let mut repair = fleet.start("repair", &["db", "--release", &fleet.releases("d")[0]]);
    fleet.wait_told("a", 4);
    let unlock = ["unlock", "--stage", "staging", "--force"];
    let _ = fleet.project.shipit(&unlock).run().ok();
    repair.wait_log(SOON, "was lost (");
    fleet.hangs("a", false);
    assert_eq!(repair.wait(SOON).unwrap().code(), Some(8), "{}", repair.log());
    assert!(repair.log().contains("the lock was lost"), "{}", repair.log());
    assert_eq!(told("d"), 2, "{}", repair.log());
    let end = |(started, ended): (serde_json::Value, Option<serde_json::Value>)| {
        (
            started["role"].clone(),
            started["action"].clone(),
            ended.unwrap()["result"].clone(),
        )
    };
    let ends: Vec<_> = fleet.history().into_iter().map(end).collect();
    let last = |role: &str| ends.iter().rfind(|(of, ..)| *of == json!(role)).cloned().unwrap();
    assert_eq!(last("web"), (json!("web"), json!("repair"), json!("succeeded")));
    assert_eq!(
        last("db").1,
        json!("kick"),
        "of the repair it is not even said that it began"
    );
    assert!(repair.log().contains("not kicked: db"), "{}", repair.log());
}
