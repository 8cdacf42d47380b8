//! What is known of hosts after kicks: status, history, logs, and the lock by hand. With the store's board; Consul's has a file of
//! its own.

use std::time::Duration;

use serde_json::Value;
use shipit_testbed::Signal;

use crate::project::{Project, release_of};
use crate::small;

/// A project whose hosts do as `command` says, which knows `$HOST`; with a release published.
pub fn published(hosts: &str, command: &str) -> (Project, String) {
    let project = Project::new();
    let text = small::config(&project, "", "");
    let (before, _) = text.split_once("hosts = ").unwrap();
    let command = small::quoted(&format!("HOST={{{{ host }}}}; {command}"));
    project.config(&format!(
        "{before}hosts = {hosts}\ncommand = {command}\n[stage.staging]\n"
    ));
    project.repo.write("app.txt", "one\n").commit("one");
    let _ = project.build("main");
    let release = release_of(&project.publish("staging", "web"));
    (project, release)
}

pub fn staging<'a>(args: &[&'a str]) -> Vec<&'a str> {
    [args, &["--stage", "staging"]].concat()
}

#[track_caller]
pub fn json(project: &Project, args: &[&str]) -> Value {
    let args = [args, &["--stage", "staging", "--output", "json"]].concat();
    serde_json::from_str(&project.shipit(&args).run().ok().out()).unwrap()
}

/// Columns that differ from run to run, by their place in each line but the heading.
fn without(text: &str, columns: &[usize]) -> String {
    let line = |line: &str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let cells = cells
            .iter()
            .enumerate()
            .map(|(at, cell)| if columns.contains(&at) { "*" } else { cell });
        cells.collect::<Vec<_>>().join(" ")
    };
    let mut lines = text.lines();
    let heading = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    [heading]
        .into_iter()
        .chain(lines.map(line))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn after_a_kick_that_failed_in_part_each_host_is_told_apart() {
    let (project, release) = published(
        "[\"web1\", \"web2\"]",
        "echo this is $HOST; [ $HOST = web1 ] || { echo no space left; exit 3; }",
    );
    assert_eq!(
        json(&project, &["status"])["roles"][0]["hosts"][0]["state"],
        Value::Null
    );
    project
        .shipit(&staging(&["kick", "web", "--reason", "a try"]))
        .run()
        .exits(7);

    let out = project.shipit(&staging(&["status", "web"])).run().ok().out();
    insta::assert_snapshot!(without(&out.replace(&release, "ID"), &[4, 5]), @"
    ROLE HOST RELEASE STATE SINCE LAST LINE
    web web1 ID succeeded *
    web web2 - failed * * failed with exit code 3
    ");
    let status = json(&project, &["status"]);
    let hosts = &status["roles"][0]["hosts"];
    assert_eq!(
        (&hosts[0]["state"], &hosts[1]["state"]),
        (&"succeeded".into(), &"failed".into())
    );
    assert_eq!(status["roles"][0]["live"], Value::Null);

    let out = project.shipit(&staging(&["history"])).run().ok().out();
    insta::assert_snapshot!(without(&out.replace(&release, "ID"), &[0, 6, 11]), @"
    WHEN ROLE ACTION RELEASE ENDED HOSTS WHO WHY
    * web kick ID failed in * 1 failed, 1 succeeded * web2 (failed with exit code 3)
    ");
    let history = json(&project, &["history"]);
    assert_eq!(history["kicks"][0]["state"], "failed");
    assert_eq!(history["kicks"][0]["started"]["reason"], "a try");

    let ran = project.shipit(&staging(&["logs", "web2"])).run().ok();
    assert_eq!(ran.out().trim(), "this is web2\nno space left");
    let ran = project.shipit(&staging(&["logs", "web9"])).run().exits(7);
    assert!(ran.err().contains("web9 has reported no log"), "{ran}");
}

#[test]
fn a_lock_by_hand_keeps_kicks_out_until_it_is_unlocked() {
    let (project, release) = published("[\"web1\"]", "true");
    assert_eq!(
        project
            .shipit(&staging(&["lock", "--status"]))
            .run()
            .ok()
            .out()
            .trim(),
        "free"
    );
    project.shipit(&staging(&["kick", "web"])).run().ok();
    project
        .shipit(&staging(&["lock", "--message", "db migration"]))
        .run()
        .ok();
    for args in [
        &["kick", "web"][..],
        &["rollback", "web", "--to", &release],
        &["lock", "-m", "mine"],
    ] {
        let ran = project.shipit(&staging(args)).run().exits(8);
        assert!(
            ran.err().contains("\"db migration\"") && ran.err().contains("shipit unlock"),
            "{ran}"
        );
    }
    let held = json(&project, &["lock", "--status"]);
    assert_eq!(
        (&held["locked"], &held["holder"]["reason"]),
        (&true.into(), &"db migration".into())
    );
    assert_eq!(held["holder"]["manual"], true);
    // What it has not is told as such.
    let holder = held["holder"].as_object().unwrap();
    assert_eq!(
        (holder.get("revision"), holder.get("build")),
        (Some(&Value::Null), Some(&Value::Null))
    );
    // Publishing changes no host.
    let _ = project.publish("staging", "web");
    project.shipit(&staging(&["unlock"])).run().ok();
    project.shipit(&staging(&["unlock"])).run().ok();
    project.shipit(&staging(&["kick", "web"])).run().ok();
}

#[test]
fn the_lock_of_a_deploy_that_runs_is_ended_by_force_alone() {
    let (project, _) = published("[\"web1\", \"web2\"]", "touch $TMPDIR/runs; sleep 987");
    let kick = staging(&["kick", "web", "--batch", "1"]);
    let mut kick = project.shipit(&kick).start("kick", project.tmp.join("kick.log"));
    let runs = project.tmp.join("tmp/runs");
    kick.wait_ready(Duration::from_secs(30), || runs.exists());
    assert_eq!(json(&project, &["history"])["kicks"][0]["state"], "running");
    let ran = project.shipit(&staging(&["unlock"])).run().exits(8);
    assert!(
        ran.err().contains("kick web") && ran.err().contains("--force"),
        "{ran}"
    );
    project.shipit(&staging(&["unlock", "--force"])).run().ok();
    kick.signal(Signal::TERM);
    kick.wait(Duration::from_secs(100))
        .unwrap_or_else(|| panic!("{}", kick.log()));
    assert_eq!(json(&project, &["history"])["kicks"][0]["state"], "interrupted");
}

#[test]
fn a_watch_tells_each_change() {
    let hook = "while ! test -e $TMPDIR/go; do sleep 0.05; done; echo done";
    let (project, release) = published("[\"web1\"]", hook);
    let mut watch = project
        .shipit(&staging(&["status", "--watch"]))
        .start("watch", project.tmp.join("watch.log"));
    watch.wait_ready(Duration::from_secs(30), || watch_says(&project, "never asked"));
    let kick = project.shipit(&staging(&["kick", "web"]));
    let mut kick = kick.start("kick", project.tmp.join("kick.log"));
    watch.wait_ready(Duration::from_secs(30), || {
        watch_says(&project, "started") || watch_says(&project, "\tasked")
    });
    project.tmp.write("tmp/go", "");
    let status = kick.wait(Duration::from_secs(100)).unwrap();
    assert!(status.success(), "{}", kick.log());
    watch.wait_ready(Duration::from_secs(15), || watch_says(&project, "succeeded"));
    assert!(watch_says(&project, &release), "{}", watch.log());
    watch.signal(Signal::INT);
    let status = watch.wait(Duration::from_secs(60)).unwrap();
    assert_eq!(status.code(), Some(130), "{}", watch.log());
    assert!(!watch.log().contains("error"), "{}", watch.log());
}

fn watch_says(project: &Project, text: &str) -> bool {
    std::fs::read_to_string(project.tmp.join("watch.log")).is_ok_and(|log| log.contains(text))
}

#[test]
fn while_consul_is_down_a_kick_by_exec_goes_by_the_store() {
    let (project, _) = published("[\"web1\"]", "true");
    let config = std::fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    // Nothing listens there.
    project.config(&format!("{config}[consul]\naddress = \"http://127.0.0.1:1\"\n"));
    let ran = project.shipit(&staging(&["kick", "web"])).run().exits(6);
    assert!(ran.err().contains("--without-consul"), "{ran}");
    let ran = project
        .shipit(&staging(&["kick", "web", "--without-consul"]))
        .run()
        .ok();
    assert!(
        ran.err().contains("nobody is kept out who kicks through Consul"),
        "{ran}"
    );
    // The history is in the store, whoever holds the lock: only of a kick without an end that says how it stands.
    let ran = project.shipit(&staging(&["history"])).run().ok();
    assert!(ran.out().contains("succeeded") && ran.err().is_empty(), "{ran}");
    let kicks = project.tmp.join("store/kicks/shop/staging");
    let kick = std::fs::read_dir(kicks).unwrap().next().unwrap().unwrap();
    std::fs::remove_file(kick.path().join("ended.json")).unwrap();
    let ran = project.shipit(&staging(&["history"])).run().ok();
    assert!(
        ran.out().contains("interrupted") && ran.err().contains("who holds the lock is not known"),
        "{ran}"
    );
    let refused = ["kick", "web", "--without-consul", "--transport", "consul"];
    let ran = project.shipit(&staging(&refused)).run().exits(2);
    assert!(ran.err().contains("leave one of them out"), "{ran}");
}
