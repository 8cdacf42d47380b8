//! What a token may not do is said with the rule that it lacks; with the rules named here, all of it works.

use std::time::Duration;

use shipit_fleet::Secret;
use shipit_fleet::board::{Board, ConsulBoard, Error as BoardError};
use shipit_fleet::consul::{Client, ConsulConfig, Error};
use shipit_fleet::hosts::{self, Wanted};
use shipit_fleet::report::{Asked, Report};
use shipit_testbed::{ConsulAgent, ConsulCluster};

use crate::agents::{config, on_threads};
use crate::board::{APP, STAGE, by_hand, holder, refused, take};

const RELEASE: &str = "20261121T134515Z-3074f46";
const LOCKS: &str = r#"key "shipit/locks/shop/production" { policy = "write" }"#;
const SESSIONS: &str = r#"session_prefix "" { policy = "write" }"#;
const ASKS: &str = r#"key_prefix "shipit/asks/shop/production/" { policy = "write" }"#;
const REPORTS: &str = r#"key_prefix "shipit/reports/shop/production/" { policy = "write" }"#;
const LOGS: &str = r#"key_prefix "shipit/logs/shop/production/" { policy = "write" }"#;
const NODES: &str = r#"node_prefix "" { policy = "read" }"#;
const SERVICES: &str = r#"service_prefix "" { policy = "read" }"#;
const AGENTS: &str = r#"agent_prefix "" { policy = "read" }"#;

fn client(agent: &ConsulAgent, rules: &[&str]) -> Client {
    let token = agent.create_token(&rules.join("\n"));
    Client::new(&ConsulConfig {
        token: Some(Secret::new(token)),
        ..config(&agent.url())
    })
    .unwrap()
}

fn board(agent: &ConsulAgent, rules: &[&str]) -> ConsulBoard {
    ConsulBoard::new(client(agent, rules), APP, STAGE)
}

fn asked() -> Asked {
    Asked {
        kick: "20261121T134515Z-5e1f00aa".to_owned(),
        release: RELEASE.to_owned(),
    }
}

fn report() -> Report {
    serde_json::from_str(r#"{"state":"succeeded","time":1}"#).unwrap()
}

#[track_caller]
fn lacks(error: &Error, rule: &str) {
    assert!(matches!(error, Error::Denied { token: true, .. }), "{error:?}");
    let hint = error.hint().unwrap();
    assert!(hint.contains(rule), "{hint}\ndoes not name\n{rule}");
}

#[track_caller]
fn board_lacks(error: &BoardError, rule: &str) {
    match error {
        BoardError::Consul(error) => lacks(error, rule),
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn each_denial_names_the_rule_that_is_missing() {
    let agent = ConsulAgent::with_acl();
    let nothing = board(&agent, &[r#"key_prefix "elsewhere/" { policy = "read" }"#]);
    let reader = board(&agent, &[&LOCKS.replace("write", "read")]);
    let nodes = ["web1".to_owned()];
    on_threads(async {
        let error = nothing.held().await.unwrap_err();
        board_lacks(&error, &LOCKS.replace("write", "read"));
        for board in [&nothing, &reader] {
            let error = board.try_lock(&holder("one")).await.unwrap_err();
            board_lacks(&error, SESSIONS);
        }
        // Who may see the lock is told who has it, if somebody does.
        let kicker = board(&agent, &[LOCKS, SESSIONS]);
        let grip = take(&kicker, "one").await;
        assert_eq!(refused(&reader, "two").await.holder, holder("one"));
        let error = nothing.try_lock(&holder("two")).await.unwrap_err();
        board_lacks(&error, SESSIONS);
        kicker.release(grip).await.unwrap();
        let error = reader.lock_by_hand(&by_hand("one"), None).await.unwrap_err();
        board_lacks(&error, LOCKS);
        let error = board(&agent, &[&LOCKS.replace("write", "read"), SESSIONS])
            .try_lock(&holder("one"))
            .await
            .unwrap_err();
        board_lacks(&error, LOCKS);
        let error = nothing.ask("web", &asked(), &nodes).await.unwrap_err();
        board_lacks(&error, ASKS);
        // Consul says of none of these lists that it left anything out.
        let error = nothing.asked("web").await.unwrap_err();
        board_lacks(
            &error,
            r#"key_prefix "shipit/asks/shop/production/web/" { policy = "read" }"#,
        );
        let error = nothing.reports("web", None, Duration::ZERO).await.unwrap_err();
        board_lacks(
            &error,
            r#"key_prefix "shipit/reports/shop/production/web/" { policy = "read" }"#,
        );
        let error = nothing.forget(&[RELEASE.to_owned()]).await.unwrap_err();
        board_lacks(
            &error,
            r#"key_prefix "shipit/reports/shop/production/" { policy = "read" }"#,
        );
        let error = nothing
            .put_report("web", "web1", RELEASE, &report(), Some("log"))
            .await
            .unwrap_err();
        board_lacks(&error, REPORTS);
        board_lacks(&error, LOGS);
        let error = nothing.log("web", "web1", Some(RELEASE)).await.unwrap_err();
        board_lacks(&error, "shipit/logs/shop/production/web/web1/");
        let client = client(&agent, &[]);
        lacks(&client.nodes().await.unwrap_err(), NODES);
        lacks(&client.agent_self().await.unwrap_err(), AGENTS);
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_rules_of_a_kicker_are_enough() {
    let cluster = ConsulCluster::with_acl(1, &["web1"]);
    cluster.client("web1").register_service("shop", &["blue"]);
    let agent = cluster.server();
    let rules = [LOCKS, SESSIONS, ASKS, REPORTS, LOGS, NODES, SERVICES, AGENTS];
    let board = board(agent, &rules);
    let client = client(agent, &rules);
    on_threads(async {
        let mut grip = take(&board, "one").await;
        board.renew(&mut grip).await.unwrap();
        assert_eq!(
            board.lock_by_hand(&by_hand("one"), Some(grip)).await.unwrap(),
            None
        );
        let held = board.held().await.unwrap().unwrap();
        board.break_lock(&held).await.unwrap();
        assert_eq!(board.reports("web", None, Duration::ZERO).await.unwrap().0, []);
        let cursor = board.ask("web", &asked(), &["web1".to_owned()]).await.unwrap();
        board
            .put_report("web", "web1", RELEASE, &report(), Some("log"))
            .await
            .unwrap();
        let (found, _) = board
            .reports("web", Some(cursor), Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(board.log("web", "web1", None).await.unwrap().unwrap().text, "log");
        assert_eq!(board.asked("web").await.unwrap().len(), 1);
        assert_eq!(board.forget(&[RELEASE.to_owned()]).await.unwrap(), 3);
        assert_eq!(client.agent_self().await.unwrap().node, "server1");
    });
    let wanted = Wanted {
        what: "role web".to_owned(),
        service: Some("shop".to_owned()),
        ..Wanted::default()
    };
    let expected = || on_threads(hosts::expected(&client, &wanted));
    shipit_testbed::until("the service in the catalog", crate::agents::READY, || {
        expected().is_ok_and(|expected| expected.alive() == ["web1"])
    });
}
