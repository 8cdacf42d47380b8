//! A cluster that refuses what no token allows: what `shipit policy` prints is enough for hosts and for who kicks, and for
//! hosts no more than that.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::Value;
use shipit_testbed::{Cmd, ConsulAgent, ConsulCluster, Testbed, until};

use crate::host::{Handler, Host};
use crate::shop::{Config, EVENT, KICKER, SOON, Shop, WithLogs, line};

/// The rules that `shipit policy` prints.
#[track_caller]
fn rules(shop: &Shop, words: &[&str]) -> String {
    let args = [&["policy"], words, &["--stage", "staging"]].concat();
    shop.project.shipit(&args).run().ok().out()
}

/// A token with those rules, once every server knows it.
#[track_caller]
fn token(shop: &Shop, words: &[&str]) -> String {
    let token = shop.cluster.server().create_token(&rules(shop, words));
    until("the token to be known", SOON, || {
        let knows = |server: &ConsulAgent| {
            server
                .api_as(Some(&token), "GET", "/v1/acl/token/self?stale", b"")
                .status
                == 200
        };
        shop.cluster.servers().iter().all(knows)
    });
    token
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_printed_policies_are_enough_and_a_host_speaks_for_itself_alone() {
    let cluster = ConsulCluster::with_acl(3, &[KICKER, "web1", "web2", "web10"]);
    let config = Config {
        role: "once = [\"true\"]\n",
        ..Config::default()
    };
    let mut shop = Shop::new(cluster, &config);
    let mut tokens = Vec::new();
    for (node, handler) in [
        ("web1", Handler::Stretcher),
        ("web2", Handler::Apply),
        ("web10", Handler::Stretcher),
    ] {
        let token = token(&shop, &["host", "--node", node]);
        tokens.push(token.clone());
        shop.add(Host::new(node, handler).with_token(token));
    }
    let one = shop.release("one");
    // Without a token nothing is said to be empty that is not.
    let _ = shop.shipit("kick", &[]).exits(6);
    let kicker = token(&shop, &["kicker", "--node", KICKER]);
    shop.project.env([("CONSUL_HTTP_TOKEN".to_owned(), kicker)]);
    let ran = shop.shipit("kick", &["--batch", "2"]).exits_with_logs(0, &shop);
    let all = ["web1", "web10", "web2"]
        .map(|node| line(node, "succeeded"))
        .concat();
    assert_eq!(ran.out(), all, "{ran}");
    all_of_the_commands(&shop, &one);
    own_alone(&shop, &tokens[0], &one);
}

/// What else who kicks does with the token.
fn all_of_the_commands(shop: &Shop, one: &str) {
    assert!(
        shop.states().values().all(|state| state == "succeeded"),
        "{:?}",
        shop.states()
    );
    let two = shop.release("two");
    let _ = shop.shipit("kick", &[]).exits_with_logs(0, shop);
    let ran = shop
        .shipit("rollback", &["--lock", "two is bad"])
        .exits_with_logs(0, shop);
    assert_eq!(ran.out().matches("succeeded").count(), 3, "{ran}");
    let staging = |words: &[&str]| {
        shop.project
            .shipit(&[words, &["--stage", "staging"]].concat())
            .run()
    };
    let _ = shop
        .shipit("repair", &["--release", &two])
        .exits(8)
        .says("two is bad");
    let _ = staging(&["unlock"]).ok();
    let _ = staging(&["lock", "--message", "by hand"]).ok();
    assert!(staging(&["lock", "--status"]).ok().out().contains("by hand"));
    let _ = staging(&["unlock"]).ok();
    let _ = shop.shipit("repair", &["--release", one]).ok();
    for node in ["web1", "web2"] {
        let log = staging(&["logs", node]).ok();
        assert!(log.out().contains(&format!("{node} works")), "{log}");
    }
    let _ = staging(&["history"]).ok();
}

/// The token of web1, asked of its agent.
fn own_alone(shop: &Shop, token: &str, one: &str) {
    let agent = shop.agent("web1");
    let key = |area: &str, node: &str| format!("/v1/kv/shipit/{area}/shop/staging/web/{node}");
    let of = |area: &str, node: &str| format!("{}/{one}", key(area, node));
    let allowed = [
        ("GET", "/v1/agent/self".to_owned()),
        ("GET", key("asks", "web1")),
        ("PUT", of("reports", "web1")),
        ("PUT", of("logs", "web1")),
        ("GET", format!("/v1/event/list?name={EVENT}")),
    ];
    for (method, target) in &allowed {
        let answer = agent.api_as(Some(token), method, target, b"{}");
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
    }
    let mut denied = vec![
        ("PUT", key("asks", "web1")),
        ("PUT", "/v1/kv/shipit/locks/shop/staging".to_owned()),
        ("GET", "/v1/kv/shipit/locks/shop/staging".to_owned()),
        ("PUT", format!("/v1/event/fire/{EVENT}")),
        ("PUT", "/v1/session/create".to_owned()),
        ("PUT", "/v1/agent/leave".to_owned()),
        ("PUT", "/v1/kv/anything".to_owned()),
    ];
    for other in ["web2", "web10"] {
        denied.extend([
            ("GET", key("asks", other)),
            ("PUT", of("reports", other)),
            ("PUT", of("logs", other)),
            ("DELETE", of("reports", other)),
        ]);
    }
    for (method, target) in &denied {
        let answer = agent.api_as(Some(token), method, target, b"{}");
        assert_eq!(answer.status, 403, "{method} {target}: {}", answer.text());
    }
    // By another node's agent the token is worth no more; nor is it anything to `shipit`.
    let answer = shop
        .agent("web2")
        .api_as(Some(token), "GET", "/v1/agent/self", b"");
    assert_eq!(answer.status, 403, "{}", answer.text());
    let as_host = |cmd: Cmd| cmd.env("CONSUL_HTTP_TOKEN", token);
    let _ = as_host(shop.project.shipit(&["kick", "web", "--stage", "staging"]))
        .run()
        .exits(6);
}

/// What consul-kv-dashboard shows of a category: of each of the catalog's nodes the status, the time and the text. It reads them out of
/// `dashboard/<category>/<node>` and the key's flags.
fn shown(agent: &ConsulAgent, category: &str) -> BTreeMap<String, (i64, i64, String)> {
    let ask = |target: &str| agent.api("GET", target, b"");
    let catalog: Value = serde_json::from_slice(&ask("/v1/catalog/nodes").body).unwrap();
    let answer = ask("/v1/kv/dashboard/?recurse");
    if answer.status == 404 {
        return BTreeMap::new();
    }
    let found: Value = serde_json::from_slice(&answer.body).unwrap();
    let mut shown = BTreeMap::new();
    for entry in found.as_array().unwrap() {
        let key = entry["Key"].as_str().unwrap();
        let parts: Vec<&str> = key.split('/').collect();
        let [_, of, node] = parts[..] else {
            panic!("{key} names no node alone")
        };
        let nodes = catalog.as_array().unwrap();
        assert!(nodes.iter().any(|known| known["Node"] == node), "{key}");
        if of != category {
            continue;
        }
        let flags = entry["Flags"].as_i64().unwrap();
        let text = agent.kv_get(key).unwrap();
        let text = String::from_utf8(text).unwrap();
        shown.insert(node.to_owned(), (flags % 1000, flags / 1000, text));
    }
    shown
}

/// What the dashboard shows, once it is this status on both hosts; with the role's release, and of now.
#[track_caller]
fn shows(shop: &Shop, status: i64, word: &str, release: &str) -> BTreeMap<String, String> {
    let server = shop.cluster.server();
    until(&format!("the dashboard to show {word}"), SOON, || {
        let shown = shown(server, "deploys");
        shown.len() == 2
            && shown
                .values()
                .all(|(seen, _, text)| *seen == status && text.contains(release))
    });
    let now = jiff::Timestamp::now().as_second();
    let of = |(node, (_, time, text)): (String, (i64, i64, String))| {
        assert!((now - 120..=now + 1).contains(&time), "{node}: {time}");
        let begins = format!("shop/staging/web {release} {word}");
        assert!(text.starts_with(&begins), "{node}: {text}");
        (node, text)
    };
    shown(server, "deploys").into_iter().map(of).collect()
}

/// The rules that are printed for `report.with = "consul"` and a dashboard, with hosts that have no curl.
#[test]
#[ignore = "needs the testbed; run make test"]
fn consuls_own_program_and_the_dashboard_need_no_more_than_what_is_printed() {
    let cluster = ConsulCluster::with_acl(1, &[KICKER, "web1", "web2"]);
    let config = Config {
        kick: "[report]\nwith = \"consul\"\ndashboard = \"deploys\"\n",
        ..Config::default()
    };
    let mut shop = Shop::new(cluster, &config);
    let programs = shop.project.tmp.mkdir("programs");
    symlink(Testbed::get().consul(), programs.join("consul")).unwrap();
    symlink("/bin/false", programs.join("curl")).unwrap();
    let usual = Testbed::get().path().to_string_lossy().into_owned();
    shop.env(&[("PATH".to_owned(), format!("{}:{usual}", programs.display()))]);
    for (node, handler) in [("web1", Handler::Stretcher), ("web2", Handler::Apply)] {
        let token = token(&shop, &["host", "--node", node]);
        shop.add(Host::new(node, handler).with_token(token));
    }
    let kicker = token(&shop, &["kicker", "--node", KICKER]);
    shop.project.env([("CONSUL_HTTP_TOKEN".to_owned(), kicker)]);
    // `consul rtt` names a node when the ways between nodes have been measured.
    until("the network's coordinates", Duration::from_secs(90), || {
        let known = shop
            .cluster
            .server()
            .api("GET", "/v1/coordinate/nodes", b"")
            .text();
        ["web1", "server1"]
            .iter()
            .all(|node| known.contains(&format!("\"{node}\"")))
    });
    let one = shop.release("one");
    for node in ["web1", "web2"] {
        shop.switch(&format!("{node}.hang"), true);
    }
    let mut kick = shop.start("kick", &[]);
    // 3 is info, 0 success, 2 danger.
    let _ = shows(&shop, 3, "started", &one);
    for node in ["web1", "web2"] {
        shop.switch(&format!("{node}.hang"), false);
    }
    let (code, log) = shop.end_of(&mut kick);
    assert_eq!(code, Some(0), "{log}\n{}", shop.logs());
    let _ = shows(&shop, 0, "succeeded", &one);
    let two = shop.release("two");
    for node in ["web1", "web2"] {
        shop.switch(&format!("{node}.fail"), true);
    }
    let _ = shop.shipit("kick", &[]).exits_with_logs(7, &shop);
    let texts = shows(&shop, 2, "failed", &two);
    for (node, text) in texts {
        assert!(
            text.contains("after_switch.1 of") || text.contains("broken"),
            "{node}: {text}"
        );
    }
    let log = shop
        .project
        .shipit(&["logs", "web1", "--stage", "staging"])
        .run()
        .ok();
    assert!(log.out().contains("web1 is broken"), "{log}");
    // The node's own key and no other's.
    let agent = shop.agent("web1");
    let token = shop.hosts["web1"].token().unwrap();
    for (node, status) in [("web1", 200), ("web2", 403)] {
        let target = format!("/v1/kv/dashboard/deploys/{node}");
        let answer = agent.api_as(Some(token), "PUT", &target, b"x");
        assert_eq!(answer.status, status, "{node}: {}", answer.text());
    }
}
