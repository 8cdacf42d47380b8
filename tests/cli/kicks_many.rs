//! A kick of a thousand hosts that all report within seconds, followed to its end, while `shipit status --watch` looks on. What it
//! costs is measured by the benchmarks.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use shipit_testbed::{ConsulAgent, Signal, until, wait_for};

use crate::project::{Project, release_of};

const HOSTS: usize = 1000;
const WRITERS: usize = 4;
const SOON: Duration = Duration::from_secs(60);

fn name(host: usize) -> String {
    format!("web{host:04}")
}

/// Each of these by one of a few connections at a time.
fn each_host(act: impl Fn(usize) + Sync) {
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let act = &act;
            scope.spawn(move || (writer..HOSTS).step_by(WRITERS).for_each(act));
        }
    });
}

/// Nodes of no agent, alive as far as Consul knows.
fn register(agent: &ConsulAgent) {
    each_host(|host| {
        let node = name(host);
        let check = json!({ "Node": &node, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing" });
        let body = json!({ "Node": &node, "Address": "127.0.0.1", "Check": check }).to_string();
        let done = agent.api("PUT", "/v1/catalog/register", body.as_bytes());
        assert_eq!(done.status, 200, "{}", done.text());
    });
}

fn report(agent: &ConsulAgent, host: usize, state: &str, kick: &str, release: &str) {
    let value = json!({ "state": state, "time": 1_795_259_200, "kick": kick, "current": release, "message": "its last line" });
    let key = format!("shipit/reports/shop/staging/web/{}/{release}", name(host));
    agent.kv_put(&key, value.to_string().as_bytes());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_thousand_hosts_are_followed_to_their_end() {
    let agent = ConsulAgent::dev();
    register(&agent);
    let project = Project::new();
    project.config(&format!(
        "app = \"shop\"\n[store]\nurl = \"file://{}\"\n[consul]\naddress = \"{}\"\n[role.web]\ndest = \"/srv/shop\"\n\
         [role.web.filter]\nnode = \"web*\"\n[stage.staging]\n",
        project.tmp.join("store").display(),
        agent.url(),
    ));
    project.repo.write("app.txt", "one\n").commit("one");
    let _ = project.build("main");
    let release = release_of(&project.publish("staging", "web"));
    let start = |args: &[&str]| {
        let args = [args, &["--stage", "staging"]].concat();
        project.shipit(&args).start(args[0], project.tmp.join(args[0]))
    };
    let mut status = start(&["status", "web", "--watch"]);
    let mut kick = start(&["kick", "web"]);
    let asked = wait_for("the last host to be asked", SOON, || {
        agent.kv_get(&format!("shipit/asks/shop/staging/web/{}", name(HOSTS - 1)))
    });
    let asked = String::from_utf8(asked).unwrap();
    let id = asked.split(' ').next().unwrap();
    for state in ["started", "succeeded"] {
        // One fails, and is no reason to give up the others that are as far.
        let said = |host| match host == 7 && state == "succeeded" {
            true => "failed",
            false => state,
        };
        each_host(|host| report(&agent, host, said(host), id, &release));
    }
    assert_eq!(kick.wait(SOON).unwrap().code(), Some(7), "{}", kick.tail());
    let log = kick.log();
    assert!(log.contains("web0007") && log.contains("its last line"), "{log}");
    let last_words = |text: &str| -> BTreeMap<String, String> {
        let cells = |line: &str| {
            let cells: Vec<&str> = line.split('\t').collect();
            Some((cells.get(1)?.to_string(), cells.get(3)?.to_string()))
        };
        text.lines().filter_map(cells).collect()
    };
    let ended = |words: &BTreeMap<String, String>| {
        let last = words.values().filter(|state| state.starts_with("succeeded"));
        last.count() == HOSTS - 1 && words["web0007"].starts_with("failed")
    };
    until("all hosts to be shown as they ended", SOON, || {
        ended(&last_words(&status.log()))
    });
    status.signal(Signal::INT);
    assert_eq!(status.wait(SOON).unwrap().code(), Some(130));
    let args = ["status", "--stage", "staging", "--output", "json"];
    let ran = project.shipit(&args).run().ok();
    let document: Value = serde_json::from_str(&ran.out()).unwrap();
    let hosts = document["roles"][0]["hosts"].as_array().unwrap();
    let count = |state: &str| hosts.iter().filter(|host| host["state"] == state).count();
    assert_eq!(
        (hosts.len(), count("succeeded"), count("failed")),
        (HOSTS, HOSTS - 1, 1)
    );
}
