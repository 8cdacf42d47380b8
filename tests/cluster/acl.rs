//! A cluster that refuses what no token allows: what `shipit policy` prints is enough for hosts and for who kicks, and for
//! hosts no more than that.

use shipit_testbed::{Cmd, ConsulAgent, ConsulCluster, until};

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
