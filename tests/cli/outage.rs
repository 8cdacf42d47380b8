//! Consul is down, hangs, or is back: what commands say of it, the way on without it, and what is known afterwards.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use serde_json::{Value, json};
use shipit_testbed::{Cmd, ConsulAgent, Signal};

use crate::fleet::Fleet;
use crate::project::{Project, binary};
use crate::status::{json as document, published, staging};

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// Hosts that Consul tells, in a config that knows how to tell them by exec, too.
fn by_consul(project: &Project, address: &str, role: &str) {
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    let text = text
        .replace("transport = \"exec\"", "transport = \"consul\"")
        .replace("[role.web]\n", &format!("[role.web]\n{role}\n"));
    project.config(&format!("{text}[consul]\naddress = \"{address}\"\n"));
}

#[test]
fn a_command_that_cannot_reach_consul_names_itself_without_it() {
    let (project, _) = published("[\"web1\"]", "true");
    by_consul(&project, NOWHERE, "hosts = [\"web1\"]");
    let commands: [&[&str]; 6] = [
        &["kick", "web", "--reason", "new prices"],
        &["status"],
        &["logs", "web1"],
        &["lock", "--status"],
        &["lock", "-m", "db migration"],
        &["unlock"],
    ];
    for args in commands {
        let args = staging(args);
        let ran = project.shipit(&args).run().exits(6);
        let words: Vec<String> = args
            .iter()
            .map(|word| match word.contains(' ') {
                true => format!("'{word}'"),
                false => (*word).to_owned(),
            })
            .collect();
        let again = format!("while it is down: `shipit {} --without-consul`", words.join(" "));
        assert!(ran.err().contains(&again), "{again}: {ran}");
        assert_eq!(ran.err().matches("--without-consul").count(), 1, "{ran}");
    }
    // The stage may come from the environment.
    let ran = project
        .shipit(&["status"])
        .env("SHIPIT_STAGE", "staging")
        .run()
        .exits(6);
    let _ = ran.says("`shipit status --stage staging --without-consul`");
}

#[test]
fn without_consul_hosts_are_told_by_exec_and_every_hint_goes_that_way() {
    let (project, release) = published(
        "[\"web1\", \"web2\"]",
        "echo this is $HOST; [ $HOST = web1 ] || [ -e $TMPDIR/mended ]",
    );
    by_consul(&project, NOWHERE, "hosts = [\"web1\", \"web2\"]");
    let without = |args: &[&str]| {
        let args = [args, &["--stage", "staging", "--without-consul"]].concat();
        project.shipit(&args).run()
    };
    let ran = without(&["kick", "web"]).exits(7);
    for hint in [
        "`shipit logs web2 --stage staging --without-consul`",
        "`shipit repair web --stage staging --without-consul`",
    ] {
        assert!(ran.err().contains(hint), "{hint}: {ran}");
    }
    // What came a moment before is not said again.
    assert_eq!(ran.err().matches("this is web2").count(), 1, "{ran}");
    let _ = without(&["logs", "web2"]).ok();
    let ran = without(&["status"]).ok();
    assert!(
        ran.out().contains("web2") && ran.out().contains("failed"),
        "{ran}"
    );
    let _ = without(&["lock", "-m", "look at web2"])
        .ok()
        .says("keeps nobody out who kicks through Consul");
    let _ = without(&["kick", "web"])
        .exits(8)
        .says("`shipit unlock --stage staging --without-consul`");
    assert!(without(&["lock", "--status"]).ok().out().contains("look at web2"));
    let _ = without(&["unlock"]).ok();
    project.tmp.write("tmp/mended", "");
    let ran = without(&["repair", "web"]).ok();
    assert_eq!(ran.out(), "web\tweb2\tsucceeded\n", "{ran}");
    let ran = without(&["history"]).ok();
    assert!(ran.out().contains(&release) && ran.err().is_empty(), "{ran}");
}

#[test]
fn who_waits_for_a_consul_that_hangs_is_told_so() {
    let (project, _) = published("[\"web1\"]", "true");
    // Connections come about, and no answer.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", hangs.local_addr().unwrap());
    by_consul(&project, &address, "hosts = [\"web1\"]");
    let kick = project.shipit(&staging(&["kick", "web"]));
    let mut kick = kick.start("kick", project.tmp.join("kick.log"));
    kick.wait_log(
        Duration::from_secs(60),
        &format!("waiting for Consul at {address}, up to 25 s more: "),
    );
    kick.signal(Signal::INT);
    assert_eq!(
        kick.wait(Duration::from_secs(60)).unwrap().code(),
        Some(130),
        "{}",
        kick.log()
    );
}

#[test]
fn who_waits_for_a_store_that_hangs_is_told_so() {
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let project = Project::new();
    project.config(&format!(
        "app = \"shop\"\n[store]\nurl = \"s3://bucket/shop\"\nregion = \"us-east-1\"\nendpoint = \"http://{}\"\n\
         path_style = true\n[kick]\ntransport = \"exec\"\n[role.web]\ndest = \"/srv/shop\"\n[role.web.exec]\n\
         hosts = [\"a\"]\ncommand = \"true\"\n\
         [stage.staging]\n",
        hangs.local_addr().unwrap()
    ));
    let history = project
        .shipit(&staging(&["history"]))
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    let mut history = history.start("history", project.tmp.join("history.log"));
    history.wait_log(
        Duration::from_secs(60),
        "waiting for the store, up to 55 s more: ",
    );
    history.signal(Signal::INT);
    assert_eq!(history.wait(Duration::from_secs(60)).unwrap().code(), Some(130));
    assert!(history.log().contains("s3://bucket/shop"), "{}", history.log());
}

#[test]
fn a_watch_ends_when_nobody_reads_it_any_more() {
    let (project, _) = published("[\"web1\"]", "true");
    let watch = "exec \"$0\" status --watch --stage staging | head -n 1";
    let watch = Cmd::new("sh").args(["-c", watch]).arg(binary());
    let ran = project
        .surround(watch)
        .timeout(Duration::from_secs(60))
        .run()
        .ok();
    assert!(
        ran.out().contains("web1") && ran.out().contains("never asked"),
        "{ran}"
    );
}

/// Each host's release in service, its state, and whether that is live.
fn stands(document: &Value) -> Vec<Value> {
    let hosts = document["roles"][0]["hosts"].as_array().unwrap().iter();
    hosts
        .map(|host| json!([host["host"], host["in_service"], host["state"], host["live"]]))
        .collect()
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn when_consul_is_back_status_knows_what_was_done_without_it() {
    let agent = ConsulAgent::dev();
    let consul = format!("[consul]\naddress = \"{}\"\n", agent.url());
    let fleet = Fleet::new(&["a", "b"], &consul, "");
    let status = || stands(&fleet.json("status", &[], 0));
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &[]).ok();
    let of = |host: &str, release: &str, live: bool| json!([host, release, "succeeded", live]);
    assert_eq!(status(), [of("a", &one, true), of("b", &one, true)]);
    // The outage: one host fails, and is repaired; the release is not live.
    let two = fleet.release("two");
    fleet.fails("b", true);
    let _ = fleet.shipit("kick", &["--without-consul"]).exits(7);
    let failed = status();
    assert_eq!(
        (&failed[0], &failed[1][2]),
        (&of("a", &two, false), &json!("failed"))
    );
    fleet.fails("b", false);
    let _ = fleet.shipit("repair", &["--without-consul"]).ok();
    assert_eq!(status(), [of("a", &two, false), of("b", &two, false)]);
    // What comes after it goes by Consul again.
    let three = fleet.release("three");
    let _ = fleet.shipit("kick", &[]).ok();
    assert_eq!(status(), [of("a", &three, true), of("b", &three, true)]);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn hosts_that_were_told_by_other_names_than_consul_has_are_warned_of() {
    let agent = ConsulAgent::dev();
    let (project, _) = published("[\"web1.example\"]", "true");
    by_consul(&project, &agent.url(), &format!("hosts = [\"{}\"]", agent.node()));
    let _ = project
        .shipit(&staging(&["kick", "web", "--without-consul"]))
        .run()
        .ok();
    let ran = project.shipit(&staging(&["status"])).run().ok();
    let _ = ran
        .says("web was kicked without Consul since (")
        .says("(web1.example)")
        .says("`shipit repair web --stage staging`");
    let _ = project.shipit(&staging(&["kick", "web", "--no-wait"])).run().ok();
    let ran = project.shipit(&staging(&["status"])).run().ok();
    assert!(!ran.err().contains("without Consul"), "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_store_that_cannot_be_read_hides_no_report_that_consul_has() {
    let agent = ConsulAgent::dev();
    let (project, release) = published("[\"web1\"]", "true");
    let text = fs::read_to_string(project.repo.join("shipit.toml")).unwrap();
    project.config(&format!("{text}[consul]\naddress = \"{}\"\n", agent.url()));
    let _ = project.shipit(&staging(&["kick", "web"])).run().ok();
    let live = project.tmp.join("store/live/shop/staging/web.yml");
    fs::remove_file(&live).unwrap();
    std::os::unix::fs::symlink("web.yml", &live).unwrap();
    let ran = project.shipit(&staging(&["status"])).run().ok();
    assert!(
        ran.out().contains(&release) && ran.out().contains("succeeded"),
        "{ran}"
    );
    let _ = ran.says("what is live, and how the kicks before ended, is not known anew");
    assert_eq!(document(&project, &["status"])["roles"][0]["live"], Value::Null);
}
