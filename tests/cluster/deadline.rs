//! What becomes of the hosts of a kick that fail, each in its own way: dead, killed, broken, hanging, full.

use std::time::Duration;

use shipit_testbed::{ConsulCluster, Tmpfs, random_hex, until};

use crate::host::{Handler, Host};
use crate::shop::{Config, KICKER, SOON, Shop, WithLogs, line};

/// Room for a small release, and none for a large one.
const SMALL: u64 = 1 << 20;
const LARGE: usize = 3 << 20;
const FAULTS: [&str; 4] = ["web4.hang", "web5.fail", "web6.hang", "web9.hang"];

#[test]
#[ignore = "needs the testbed; run make test"]
fn each_fault_of_a_host_is_told_apart_and_repaired() {
    let full = [Tmpfs::mount(SMALL), Tmpfs::mount(SMALL)];
    let nodes = [
        KICKER, "web1", "web2", "web3", "web4", "web5", "web6", "web7", "web8", "web9",
    ];
    let cluster = ConsulCluster::with_servers(3, &nodes);
    let mut shop = Shop::new(cluster, &Config::default());
    for node in ["web1", "web3", "web4"] {
        shop.host(node, Handler::Stretcher);
    }
    for node in ["web2", "web5", "web6", "web9"] {
        shop.host(node, Handler::Apply);
    }
    shop.add(Host::new("web7", Handler::Stretcher).on_disk(full[0].path()));
    shop.add(Host::new("web8", Handler::Apply).on_disk(full[1].path()));
    let one = shop.release("one");
    let ran = shop.shipit("kick", &[]).exits_with_logs(0, &shop);
    let all_well: String = nodes[1..].iter().map(|node| line(node, "succeeded")).collect();
    assert_eq!(ran.out(), all_well, "{ran}");

    dead_hosts_are_shown_and_not_waited_for(&shop);
    let large: String = random_hex(LARGE / 2);
    let two = shop.release(&large);
    a_kick_with_all_faults(&mut shop, &two);
    assert_eq!(shop.live(), Some(one), "live stays");
    mended(&mut shop, &full, &two);
}

fn dead_hosts_are_shown_and_not_waited_for(shop: &Shop) {
    shop.agent("web3").kill9();
    until("web3 to be dead", SOON, || {
        shop.agent(KICKER)
            .api("GET", "/v1/health/node/web3", b"")
            .text()
            .contains("critical")
    });
    let ran = shop.shipit("kick", &["--timeout", "120s"]).ok();
    assert!(ran.took < Duration::from_secs(100), "{ran}");
    assert!(ran.out().contains(&line("web3", "silent")), "{ran}");
    assert_eq!(ran.out().matches("succeeded").count(), 8, "{ran}");
    let status = &shop.status()["web3"];
    assert_eq!(
        (status["alive"].as_bool(), status["expected"].as_bool()),
        (Some(false), Some(true))
    );
}

fn a_kick_with_all_faults(shop: &mut Shop, two: &str) {
    for fault in FAULTS {
        shop.switch(fault, true);
    }
    let hanging = ["web4", "web6", "web9"];
    let before = hanging.map(|node| shop.times_told(node));
    let mut kick = shop.start(
        "kick",
        &["--timeout", "30s", "--max-failures", "4", "--reason", "faults"],
    );
    for (node, before) in hanging.into_iter().zip(before) {
        shop.wait_told(node, before + 1);
    }
    // The whole host goes: its agent and all that it runs.
    shop.agent("web4").kill9();
    shop.hosts.get_mut("web4").unwrap().kill_watches();
    // The agent alone goes: the host comes through, and cannot say so.
    shop.agent("web9").kill9();
    shop.switch("web9.hang", false);
    let (code, said) = shop.end_of(&mut kick);
    assert_eq!(code, Some(7), "{said}\n{}", shop.logs());
    let wanted = [
        ("web1", "succeeded"),
        ("web2", "succeeded"),
        ("web3", "silent"),
        ("web4", "silent"),
        ("web5", "failed"),
        ("web6", "silent"),
        ("web7", "failed"),
        ("web8", "failed"),
        ("web9", "silent"),
    ];
    for (node, state) in wanted {
        assert!(
            said.contains(&line(node, state)),
            "{node} {state}\n{said}\n{}",
            shop.logs()
        );
    }
    // Dead is no failure; the others are named, with the last lines of those who had any.
    let summary = "6 of 9 hosts did not succeed: web4 (silent: ";
    for part in [
        summary,
        "web5 | web5 is broken",
        "web6 (silent: its last word came",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    for node in ["web7", "web8"] {
        let says = |line: &str| {
            line.contains(&format!("{node} | ")) && line.to_lowercase().contains("no space left")
        };
        assert!(said.lines().any(says), "{node}\n{said}");
    }
    assert!(
        !said.contains("stretcher.CommandLines"),
        "the whole manifest\n{said}"
    );
    let kick = shop.last_kick();
    assert_eq!(
        (&kick["state"], &kick["ended"]["release"]),
        (&"failed".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&kick["started"]["release"], &kick["started"]["reason"]),
        (&two.into(), &"faults".into())
    );
    for (node, state) in wanted {
        let end = kick["ended"]["hosts"][node]["state"].as_str().unwrap();
        assert_eq!(end, state, "{node}");
    }
    assert_eq!(shop.hosts["web9"].current().as_deref(), Some(two));
    let states = shop.states();
    for (node, state) in wanted {
        assert_eq!(states[node], state, "{states:?}");
    }
    let log = shop
        .project
        .shipit(&["logs", "web5", "--stage", "staging"])
        .run()
        .ok();
    assert!(log.out().contains("web5 is broken"), "{log}");
}

/// Hosts come back, one by itself; who needs it is told again, and then all have the release.
fn mended(shop: &mut Shop, full: &[Tmpfs], two: &str) {
    for fault in &FAULTS[..3] {
        shop.switch(fault, false);
    }
    until("web6 to say that it is done", SOON, || {
        shop.states()["web6"] == "succeeded"
    });
    full.iter().for_each(|disk| disk.resize(64 << 20));
    for node in ["web3", "web4", "web9"] {
        shop.agent(node).restart();
    }
    shop.cluster.wait_joined();
    shop.watch("web4");
    until("their nodes to be well", SOON, || {
        ["web3", "web4", "web9"].iter().all(|node| {
            let checks = shop
                .agent(KICKER)
                .api("GET", &format!("/v1/health/node/{node}"), b"");
            !checks.text().contains("critical")
        })
    });
    let done = ["web6", "web9"].map(|node| shop.times_told(node));
    let ran = shop.shipit("repair", &[]).exits_with_logs(0, shop);
    for node in ["web5", "web7", "web8"] {
        assert!(ran.out().contains(&line(node, "succeeded")), "{ran}");
    }
    for node in ["web1", "web2", "web6"] {
        assert!(!ran.out().contains(node), "{ran}");
    }
    for (node, status) in shop.status() {
        let state = (status["state"].as_str(), status["in_service"].as_str());
        assert_eq!(state, (Some("succeeded"), Some(two)), "{node}");
    }
    assert_eq!(["web6", "web9"].map(|node| shop.times_told(node)), done);
    assert_ne!(shop.live().as_deref(), Some(two), "a repair moves nothing");
    let _ = shop.shipit("kick", &[]).ok();
    assert_eq!(shop.live().as_deref(), Some(two));
}
