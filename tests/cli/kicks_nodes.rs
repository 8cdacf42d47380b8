//! Kicks, and repairs, that ask Consul for nodes and their checks, where no handler runs: hosts are told by exec, or reports are
//! written here.

use std::fs;
use std::time::Duration;

use serde_json::json;
use shipit_testbed::{ConsulCluster, FaultProxy, Seen, until};

use crate::fleet::Fleet;

const SOON: Duration = Duration::from_secs(30);

/// Hosts of a role with further lines, and Consul's agents.
fn fleet(cluster: &ConsulCluster, hosts: &[&str], kick: &str, role: &str) -> Fleet {
    let consul = format!("[consul]\naddress = \"{}\"\n", cluster.server().url());
    Fleet::new(hosts, &format!("{kick}\n{consul}"), role)
}

/// Changes the config.
fn edit(fleet: &Fleet, from: &str, to: &str) {
    let config = fleet.project.repo.join("shipit.toml");
    let text = fs::read_to_string(config).unwrap();
    assert!(text.contains(from), "{text}");
    fleet.project.config(&text.replace(from, to));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn checks_of_the_service_must_pass_on_hosts_that_are_told_by_exec() {
    let cluster = ConsulCluster::start(&["web1", "web2"]);
    let role = "health = true\n[role.web.filter]\nservice = \"shop\"";
    let fleet = fleet(&cluster, &["web1", "web2"], "timeout = \"8s\"", role);
    for node in ["web1", "web2"] {
        cluster.client(node).register_service("shop", &[]);
    }
    let put = |target: &str, body: &[u8]| {
        let done = cluster.client("web1").api("PUT", target, body);
        assert_eq!(done.status, 200, "{}", done.text());
    };
    let check =
        json!({"Name": "answers", "ID": "answers", "ServiceID": "shop", "TTL": "1h", "Status": "critical"});
    put("/v1/agent/check/register", check.to_string().as_bytes());
    let one = fleet.release("one");
    until("the services in the catalog", SOON, || {
        let found = cluster.server().api("GET", "/v1/health/service/shop", b"").text();
        found.matches("\"Node\": {").count() == 2 && found.contains("\"answers\"")
    });
    let ran = fleet
        .shipit("kick", &[])
        .exits(7)
        .says("web1 is waited for: checks of the service shop fail: answers is critical")
        .says("1 of 2 hosts did not succeed: web1 (checks of the service shop fail");
    assert_eq!(ran.out(), "web\tweb1\tfailed\nweb\tweb2\tsucceeded\n", "{ran}");
    assert_eq!(fleet.live(), None);
    put("/v1/agent/check/pass/answers", b"");
    let _ = fleet.shipit("kick", &[]).ok();
    assert_eq!(fleet.live(), Some(one));
    // What Consul cannot be asked for is said before any host is told.
    let told = fleet.told("web1").len();
    edit(&fleet, "[\"web1\", \"web2\"]", "[\"web1\", \"web3\"]");
    let _ = fleet
        .shipit("kick", &[])
        .exits(2)
        .says("no node is named web3")
        .says("role.web.exec.hosts");
    // Without Consul, in an outage, they are not looked at, which is said.
    let without = ["--without-consul"];
    let _ = fleet
        .shipit("kick", &without)
        .ok()
        .says("(health) are not looked at");
    assert_eq!(fleet.told("web1").len(), told + 1);
    let consul = format!("[consul]\naddress = \"{}\"\n", cluster.server().url());
    edit(&fleet, &consul, "");
    let _ = fleet.shipit("kick", &[]).exits(2).says("no Consul is used here");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_repair_of_hosts_that_are_known_by_number_waits_for_none_that_is_gone() {
    let cluster = ConsulCluster::start(&["web1", "web2", "web3"]);
    let fleet = fleet(&cluster, &["x"], "timeout = \"3s\"", "hosts = 3");
    edit(&fleet, "transport = \"exec\"", "transport = \"consul\"");
    let one = fleet.release("one");
    let _ = fleet.shipit("kick", &["--no-wait"]).ok();
    let report = |node: &str, state: &str| {
        let key = format!("shipit/reports/shop/staging/web/{node}/{one}");
        let report = json!({"state": state, "time": 1_795_268_715, "current": one});
        cluster.server().kv_put(&key, report.to_string().as_bytes());
    };
    report("web1", "succeeded");
    report("web3", "failed");
    // One that an autoscaler took away, and one whose agent is dead.
    report("web9", "failed");
    cluster.client("web3").kill9();
    until("web3 to be dead", SOON, || {
        let health = cluster.server().api("GET", "/v1/health/node/web3", b"");
        health.text().contains("critical")
    });
    let status = fleet.json("status", &[], 0);
    let hosts = status["roles"][0]["hosts"].as_array().unwrap();
    let seen: Vec<_> = hosts
        .iter()
        .map(|host| (&host["host"], &host["alive"], &host["expected"]))
        .collect();
    let expected = [
        (&json!("web1"), &json!(true), &json!(true)),
        (&json!("web3"), &json!(false), &json!(true)),
        (&json!("web9"), &json!(null), &json!(false)),
    ];
    assert_eq!(seen, expected);
    let ran = fleet.shipit("status", &[]).ok();
    assert_eq!(ran.out().matches("not of the role").count(), 1, "{ran}");
    let _ = fleet
        .shipit("repair", &[])
        .ok()
        .says(&format!("each host says that it has {one}"))
        .says("left out, for Consul knows no living agent there: web3, web9")
        .says("3 hosts are expected, and 1 that ever reported are there");
    // The catalog is read once for that: a node that leaves it between two answers would be an error.
    let proxy = FaultProxy::start(cluster.server().addr());
    edit(&fleet, &cluster.server().url(), &proxy.url());
    let _ = fleet.shipit("repair", &[]).ok();
    let read = |seen: &Seen| seen.target.starts_with("/v1/catalog/nodes");
    assert_eq!(proxy.seen().iter().filter(|seen| read(seen)).count(), 1);
    edit(&fleet, &proxy.url(), &cluster.server().url());
    // One that is there is told, and waited for.
    report("web2", "failed");
    let ran = fleet
        .shipit("repair", &[])
        .exits(7)
        .says("nothing was heard from it in 3 s");
    assert_eq!(ran.out(), "web\tweb2\tsilent\n", "{ran}");
    assert_eq!(ran.err().matches("left out").count(), 1, "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn hints_name_what_the_command_has() {
    let cluster = ConsulCluster::start(&["web1"]);
    let fleet = fleet(&cluster, &["x"], "", "");
    edit(&fleet, "transport = \"exec\"", "transport = \"consul\"");
    let one = fleet.release("one");
    let ran = fleet.shipit("kick", &[]).exits(2).says("role.web.hosts");
    assert!(ran.err().contains("--no-wait"), "{ran}");
    let _ = fleet.shipit("kick", &["--no-wait"]).ok();
    for (command, more) in [("repair", &[][..]), ("rollback", &["--to", &one])] {
        let ran = fleet.shipit(command, more).exits(2).says("role.web.hosts");
        assert!(!ran.err().contains("--no-wait"), "{ran}");
    }
    // Hosts that do not report cannot be followed; a kick could tell them all the same.
    edit(
        &fleet,
        "[stage.staging]",
        "[report]\nwith = \"off\"\n[stage.staging]",
    );
    let _ = fleet.shipit("kick", &[]).exits(2).says("or kick with --no-wait");
    let unfollowed = format!("`shipit kick web --stage staging --release {one} --no-wait`");
    let _ = fleet
        .shipit("rollback", &["--to", &one])
        .exits(2)
        .says(&unfollowed);
}
