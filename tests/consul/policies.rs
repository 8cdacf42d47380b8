//! What `shipit policy` prints is enough for an agent that denies by default, and no more than that.

use std::path::Path;
use std::time::Duration;

use shipit_fleet::board::{Attempt, Board, ConsulBoard, Holder};
use shipit_fleet::consul::{Client, ConsulConfig};
use shipit_fleet::hosts::{self, Wanted};
use shipit_fleet::report::{Asked, Report, Said};
use shipit_fleet::{Secret, consul};
use shipit_testbed::{Cmd, ConsulAgent, Testbed, Tmp};

use crate::agents::{READY, block_on, config, event};

const EVENT: &str = "deploy_shop_web_production";
const RELEASE: &str = "20261121T134515Z-3074f46";

/// The rules that `shipit policy` prints for somebody.
fn rules(dir: &Path, words: &[&str]) -> String {
    let ran = Cmd::new(env!("CARGO_BIN_EXE_shipit"))
        .arg("policy")
        .args(words)
        .args(["--stage", "production"])
        .cwd(dir)
        .run()
        .ok();
    ran.out()
}

fn project() -> Tmp {
    let dir = Tmp::new("policies");
    dir.write(
        "shipit.toml",
        "app = \"shop\"\n[consul]\n[report]\ndashboard = true\n[role.web]\ndest = \"/srv/shop\"\nonce = \"true\"\n\
         filter.node = \"*\"\n[role.batch]\ndest = \"/srv/batch\"\nfilter.node = \"*\"\n[stage.production]\n",
    );
    dir
}

fn client(agent: &ConsulAgent, token: &str) -> Client {
    let mut config: ConsulConfig = config(&agent.url());
    config.token = Some(Secret::new(token));
    Client::new(&config).unwrap()
}

fn holder() -> Holder {
    Holder {
        id: "5e1f00aa".to_owned(),
        who: "me@ci".to_owned(),
        build: None,
        pid: None,
        doing: "kick web".to_owned(),
        revision: None,
        reason: None,
        time: 1,
        manual: false,
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_host_may_report_about_itself_and_nothing_else() {
    let agent = ConsulAgent::with_acl();
    let node = agent.node().to_owned();
    let dir = project();
    let token = agent.create_token(&rules(dir.path(), &["host", "--node", &node, "--role", "web"]));
    let key = |area: &str, role: &str, node: &str, rest: &str| {
        format!("/v1/kv/shipit/{area}/shop/production/{role}/{node}{rest}")
    };
    let release = format!("/{RELEASE}");
    for ask in [
        key("asks", "web", &node, ""),
        key("asks", "web", "other", ""),
        key("asks", "batch", &node, ""),
    ] {
        assert_eq!(agent.api("PUT", &ask, b"k r").status, 200);
    }
    let allowed = [
        ("GET", "/v1/agent/self".to_owned(), &b""[..]),
        ("GET", key("asks", "web", &node, "?raw"), b""),
        ("PUT", key("reports", "web", &node, &release), b"{}"),
        ("PUT", key("logs", "web", &node, &release), b"text"),
        ("GET", key("reports", "web", &node, &release), b""),
        ("PUT", key("reports", "web.once", &node, &release), b"{}"),
        ("PUT", format!("/v1/kv/dashboard/shop/{node}?flags=1000"), b"x"),
        ("GET", format!("/v1/event/list?name={EVENT}"), b""),
    ];
    for (method, target, body) in &allowed {
        let answer = agent.api_as(Some(&token), method, target, body);
        assert_eq!(answer.status, 200, "{method} {target}: {}", answer.text());
    }
    let denied = [
        ("PUT", key("asks", "web", &node, "")),
        ("GET", key("asks", "web", "other", "")),
        ("GET", key("asks", "batch", &node, "")),
        ("PUT", key("reports", "web", "other", &release)),
        // A name that begins like its own.
        ("PUT", key("reports", "web", &format!("{node}2"), &release)),
        ("PUT", key("reports", "batch", &node, &release)),
        ("PUT", key("logs", "web", "other", &release)),
        ("DELETE", key("reports", "web", "other", &release)),
        ("PUT", "/v1/kv/dashboard/shop/other".to_owned()),
        ("PUT", "/v1/kv/shipit/locks/shop/production".to_owned()),
        ("GET", "/v1/kv/shipit/locks/shop/production".to_owned()),
        ("PUT", format!("/v1/event/fire/{EVENT}")),
        ("PUT", "/v1/session/create".to_owned()),
        ("PUT", "/v1/agent/leave".to_owned()),
    ];
    for (method, target) in &denied {
        let answer = agent.api_as(Some(&token), method, target, b"");
        assert_eq!(answer.status, 403, "{method} {target}: {}", answer.text());
    }
    // An event of another role is as if it were not there.
    agent.fire(EVENT, b"file:///web.yml");
    agent.fire("deploy_shop_batch_production", b"file:///batch.yml");
    let seen = |name: &str| agent.api_as(Some(&token), "GET", &format!("/v1/event/list?name={name}"), b"");
    assert!(seen(EVENT).text().contains(EVENT));
    assert_eq!(seen("deploy_shop_batch_production").text().trim(), "[]");
    watches(&agent, &token, &dir);
}

/// `consul watch` gets its event with this token.
fn watches(agent: &ConsulAgent, token: &str, dir: &Tmp) {
    let got = dir.join("got");
    let mut watch = Cmd::new(Testbed::get().consul())
        .args(["watch", "-type", "event", "-name", EVENT])
        .arg(format!("cat >>'{}'", got.display()))
        .env("CONSUL_HTTP_ADDR", agent.http_addr())
        .env("CONSUL_HTTP_TOKEN", token)
        .cwd(dir.path())
        .start("watch", dir.join("watch.log"));
    watch.wait_ready(READY, || {
        std::fs::read_to_string(&got).is_ok_and(|text| text.contains(EVENT))
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_host_with_consuls_own_program_finds_its_name_and_writes() {
    let agent = ConsulAgent::with_acl();
    let node = agent.node().to_owned();
    let dir = project();
    let config = std::fs::read_to_string(dir.join("shipit.toml")).unwrap();
    dir.write(
        "shipit.toml",
        config.replace("[report]", "[report]\nwith = \"consul\""),
    );
    let token = agent.create_token(&rules(dir.path(), &["host", "--node", &node]));
    let consul = |words: &[&str]| {
        Cmd::new(Testbed::get().consul())
            .args(words)
            .env("CONSUL_HTTP_ADDR", agent.http_addr())
            .env("CONSUL_HTTP_TOKEN", &token)
            .cwd(dir.path())
            .run()
    };
    assert!(consul(&["members"]).ok().out().contains(&node));
    let report = |node: &str| format!("shipit/reports/shop/production/web/{node}/{RELEASE}");
    let _ = consul(&["kv", "put", &report(&node), "{}"]).ok();
    let ran = consul(&["kv", "put", &report("other"), "{}"]);
    assert!(ran.err().contains("403"), "{ran}");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_kicker_may_do_all_of_a_kick() {
    let agent = ConsulAgent::with_acl();
    let node = agent.node().to_owned();
    let dir = project();
    let token = agent.create_token(&rules(dir.path(), &["kicker", "--node", &node]));
    let client = client(&agent, &token);
    let board = ConsulBoard::new(client.clone(), "shop", "production");
    block_on(async {
        let wanted = Wanted {
            what: "role web".to_owned(),
            node: Some(node.clone()),
            ..Wanted::default()
        };
        let expected = hosts::expected(&client, &wanted).await.unwrap();
        assert_eq!(expected.names(), [node.as_str()]);
        let Attempt::Taken(mut grip) = board.try_lock(&holder()).await.unwrap() else {
            panic!("the lock is held");
        };
        board.renew(&mut grip).await.unwrap();
        let asked = Asked {
            kick: "20261121T134515Z-5e1f00aa".to_owned(),
            release: RELEASE.to_owned(),
        };
        let nodes = [node.clone()];
        let cursor = board.ask("web", &asked, &nodes).await.unwrap();
        client.fire(&event(EVENT, "file:///web.yml")).await.unwrap();
        let report = Report {
            kick: Some(asked.kick.clone()),
            state: Said::Succeeded,
            phase: None,
            time: 2,
            current: None,
            handler: None,
            message: None,
        };
        board
            .put_report("web", &node, RELEASE, &report, Some("done\n"))
            .await
            .unwrap();
        let (found, _) = board
            .reports("web", Some(cursor), Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(board.log("web", &node, None).await.unwrap().is_some());
        assert!(board.held().await.unwrap().is_some());
        // `lock --message` at the end of a rollback, then `unlock`.
        let manual = Holder {
            manual: true,
            ..holder()
        };
        assert!(board.lock_by_hand(&manual, Some(grip)).await.unwrap().is_none());
        let held = board.held().await.unwrap().unwrap();
        assert!(held.holder.manual);
        board.break_lock(&held).await.unwrap();
        // Another stage's are not its own.
        let other = ConsulBoard::new(client.clone(), "shop", "staging");
        assert!(other.try_lock(&holder()).await.is_err());
        assert!(other.ask("web", &asked, &nodes).await.is_err());
        let denied = client
            .fire(&event("deploy_shop_web_staging", "x"))
            .await
            .unwrap_err();
        assert!(matches!(denied, consul::Error::Denied { .. }), "{denied:?}");
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_pruner_forgets_reports_and_leaves_locks_alone() {
    let agent = ConsulAgent::with_acl();
    let dir = project();
    let token = agent.create_token(&rules(dir.path(), &["pruner"]));
    let board = ConsulBoard::new(client(&agent, &token), "shop", "production");
    agent.kv_put(
        &format!("shipit/reports/shop/production/web/n1/{RELEASE}"),
        br#"{"state":"succeeded","time":1}"#,
    );
    agent.kv_put(
        "shipit/asks/shop/production/web/n1",
        format!("20261121T134515Z-5e1f00aa {RELEASE}\n").as_bytes(),
    );
    block_on(async {
        assert!(board.held().await.unwrap().is_none());
        assert_eq!(board.forget(&[RELEASE.to_owned()]).await.unwrap(), 2);
        assert!(board.try_lock(&holder()).await.is_err());
    });
    assert!(agent.kv_keys("shipit/").is_empty());
}
