//! The board while its cluster has troubles: answers are lost, sessions end, agents and leaders go and come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shipit_fleet::board::{Attempt, Board, ConsulBoard, Cursor, Error};
use shipit_fleet::consul::{Client, ConsulConfig};
use shipit_fleet::report::{Asked, Report, Said};
use shipit_testbed::{ConsulAgent, ConsulCluster, Fault, FaultProxy, until};

use crate::agents::{READY, client, config, on_threads};
use crate::board::{APP, STAGE, by_hand, holder, refused, take};

const LOCK: &str = "shipit/locks/shop/production";
const RELEASE: &str = "20261121T134515Z-3074f46";

fn board(url: &str) -> ConsulBoard {
    ConsulBoard::new(client(url), APP, STAGE)
}

fn report(state: Said) -> Report {
    serde_json::from_value(serde_json::json!({ "state": state, "time": 1 })).unwrap()
}

fn nodes(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn asked() -> Asked {
    Asked {
        kick: "20261121T134515Z-5e1f00aa".to_owned(),
        release: RELEASE.to_owned(),
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_keys_are_those_that_hosts_read_and_write() {
    let agent = ConsulAgent::dev();
    let board = board(&agent.url());
    on_threads(async {
        let cursor = board.ask("web", &asked(), &nodes(&["web1"])).await.unwrap();
        let ask = agent.kv_get("shipit/asks/shop/production/web/web1").unwrap();
        assert_eq!(ask, format!("20261121T134515Z-5e1f00aa {RELEASE}\n").into_bytes());
        // As a host's curl writes them; garbage beside them is nobody's report.
        let key = |area: &str, node: &str| format!("shipit/{area}/shop/production/web/{node}/{RELEASE}");
        agent.kv_put(
            &key("reports", "web1"),
            br#"{"state":"failed","time":7,"new":"field"}"#,
        );
        agent.kv_put(&key("reports", "web2"), b"garbage");
        agent.kv_put("shipit/reports/shop/production/web/web3", b"{}");
        agent.kv_put(&key("logs", "web1"), b"rsync\n\xff\n");
        agent.kv_put("shipit/asks/shop/production/web/web4", b"garbage");
        let (found, _) = board
            .reports("web", Some(cursor), Duration::from_secs(5))
            .await
            .unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].node.as_str(), found[0].release.as_str()),
            ("web1", RELEASE)
        );
        assert!(found[0].index > cursor.0);
        assert_eq!(found[0].report.state, Said::Failed);
        let log = board.log("web", "web1", None).await.unwrap().unwrap();
        assert_eq!(log.text, "rsync\n\u{fffd}\n");
        assert_eq!(board.asked("web").await.unwrap().len(), 1);
        // With no names to ask, the cursor is still before what comes.
        let before = board.ask("web", &asked(), &[]).await.unwrap();
        agent.kv_put(&key("reports", "web1"), br#"{"state":"succeeded","time":8}"#);
        let (found, _) = board
            .reports("web", Some(before), Duration::from_secs(5))
            .await
            .unwrap();
        assert!(found[0].index > before.0 && found[0].report.state == Said::Succeeded);
        // Releases that are no more go with their reports and logs; that ask went when nobody was asked by name.
        assert_eq!(board.forget(&[RELEASE.to_owned()]).await.unwrap(), 3);
        assert_eq!(
            agent.kv_keys("shipit/reports/"),
            ["shipit/reports/shop/production/web/web3"]
        );
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_session_that_was_ended_is_a_lost_lock() {
    let agent = ConsulAgent::dev();
    let board = board(&agent.url());
    on_threads(async {
        let mut grip = take(&board, "one").await;
        let entry: serde_json::Value =
            serde_json::from_str(&agent.api("GET", &format!("/v1/kv/{LOCK}"), b"").text()).unwrap();
        let session = entry[0]["Session"].as_str().unwrap();
        let done = agent.api("PUT", &format!("/v1/session/destroy/{session}"), b"");
        assert_eq!(done.status, 200);
        assert_eq!(agent.kv_get(LOCK), None);
        let error = board.renew(&mut grip).await.unwrap_err();
        assert!(matches!(&error, Error::Lost { now: None, .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("lock --status"));
        board.release(grip).await.unwrap();
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_lock_that_cannot_be_understood_is_nobodys_to_take() {
    let agent = ConsulAgent::dev();
    let board = board(&agent.url());
    agent.kv_put(LOCK, b"mine");
    on_threads(async {
        let errors = [
            board.try_lock(&holder("one")).await.unwrap_err(),
            board.held().await.unwrap_err(),
            board.lock_by_hand(&by_hand("one"), None).await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(&error, Error::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains(LOCK), "{error}");
        }
    });
    assert_eq!(agent.kv_get(LOCK).unwrap(), b"mine");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_answer_that_is_lost_loses_no_lock_and_takes_none_twice() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let board = board(&proxy.url());
    on_threads(async {
        // The first request makes sure that the agent is known to be there.
        assert_eq!(board.held().await.unwrap(), None);
        proxy.inject(Fault::cut_response(0).path("/v1/txn"));
        let grip = take(&board, "one").await;
        proxy.inject(Fault::cut_response(0).path("/v1/txn"));
        assert_eq!(
            board.lock_by_hand(&by_hand("one"), Some(grip)).await.unwrap(),
            None
        );
        let held = board.held().await.unwrap().unwrap();
        assert_eq!(held.holder, by_hand("one"));
        proxy.inject(Fault::cut_response(0).method("DELETE"));
        board.break_lock(&held).await.unwrap();
        proxy.inject(Fault::cut_response(0).path("cas=0"));
        assert_eq!(board.lock_by_hand(&by_hand("two"), None).await.unwrap(), None);
        let held = board.held().await.unwrap().unwrap();
        board.break_lock(&held).await.unwrap();
        // Sessions that hold nothing any more are not left behind; one is, whose making was not heard of.
        proxy.inject(Fault::cut_response(0).path("/v1/session/create"));
        let mut grip = take(&board, "three").await;
        proxy.fail_next(2, 500);
        board.renew(&mut grip).await.unwrap();
        board.release(grip).await.unwrap();
        let sessions = agent.api("GET", "/v1/session/list", b"").text();
        assert!(sessions.matches("\"ID\"").count() <= 1, "{sessions}");
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn waiting_for_a_lock_leaves_no_sessions() {
    let agent = ConsulAgent::dev();
    let board = board(&agent.url());
    on_threads(async {
        let grip = take(&board, "one").await;
        for _ in 0..20 {
            refused(&board, "other").await;
        }
        let sessions = agent.api("GET", "/v1/session/list", b"").text();
        assert_eq!(sessions.matches("\"ID\"").count(), 1, "{sessions}");
        board.release(grip).await.unwrap();
        let sessions = agent.api("GET", "/v1/session/list", b"").text();
        assert_eq!(sessions.matches("\"ID\"").count(), 0, "{sessions}");
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_wait_outlives_its_agent_and_an_index_that_goes_back() {
    // A development agent forgets all that it knew.
    let agent = Arc::new(ConsulAgent::dev());
    let board = board(&agent.url());
    on_threads(async {
        for _ in 0..50 {
            agent.kv_put("noise", b"x");
        }
        let cursor = board.ask("web", &asked(), &nodes(&["web1"])).await.unwrap();
        let begin = Instant::now();
        let restarted = Arc::clone(&agent);
        let restart = tokio::task::spawn_blocking(move || {
            std::thread::sleep(Duration::from_secs(1));
            restarted.restart();
            let key = format!("shipit/reports/shop/production/web/web1/{RELEASE}");
            restarted.kv_put(&key, br#"{"state":"succeeded","time":8}"#);
        });
        let mut seen = cursor;
        let found = loop {
            let (found, now) = board
                .reports("web", Some(seen), Duration::from_secs(20))
                .await
                .unwrap();
            seen = now;
            if !found.is_empty() {
                break found;
            }
            assert!(begin.elapsed() < READY, "nothing came");
        };
        restart.await.unwrap();
        assert_eq!(found[0].report.state, Said::Succeeded);
        assert!(
            seen.0 < cursor.0,
            "the index went back: {seen:?} after {cursor:?}"
        );
        // From there on it goes as before.
        let begin = Instant::now();
        let (found, _) = board
            .reports("web", Some(seen), Duration::from_secs(2))
            .await
            .unwrap();
        assert!(begin.elapsed() > Duration::from_secs(1), "{found:?}");
        let all = board
            .reports("web", Some(Cursor(0)), Duration::from_secs(9))
            .await
            .unwrap();
        assert_eq!(all.0.len(), 1);
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_agent_that_stays_away_is_an_error_after_a_bounded_time() {
    let agent = ConsulAgent::dev();
    let impatient = ConsulConfig {
        timeout: Duration::from_secs(4),
        ..config(&agent.url())
    };
    let board = ConsulBoard::new(Client::new(&impatient).unwrap(), APP, STAGE);
    on_threads(async {
        let cursor = board.ask("web", &asked(), &nodes(&["web1"])).await.unwrap();
        agent.kill9();
        let begin = Instant::now();
        let error = board
            .reports("web", Some(cursor), Duration::from_secs(60))
            .await
            .unwrap_err();
        let took = begin.elapsed();
        assert!((2..50).contains(&took.as_secs()), "{took:?}");
        assert!(
            error.to_string().contains("shipit/reports/shop/production/web/"),
            "{error}"
        );
        assert!(error.to_string().contains(&agent.url()), "{error}");
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_election_is_waited_for() {
    let cluster = ConsulCluster::with_servers(3, &["web1", "kicker"]);
    let web1 = cluster.client("web1");
    let url = cluster.client("kicker").url();
    let (waiting, locking) = (board(&url), board(&url));
    let leader = cluster.leader(web1);
    on_threads(async {
        let mut grip = take(&locking, "one").await;
        let cursor = waiting.ask("web", &asked(), &nodes(&["web1"])).await.unwrap();
        let wait = tokio::spawn(async move {
            loop {
                let (found, _) = waiting
                    .reports("web", Some(cursor), Duration::from_secs(30))
                    .await?;
                if !found.is_empty() {
                    return Ok::<_, Error>(found);
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        leader.kill9();
        // Straight after the kill nothing leads: all of this waits for it.
        let held = locking.held().await.unwrap().unwrap();
        assert_eq!(held.holder.id, "one");
        locking.renew(&mut grip).await.unwrap();
        locking
            .put_report("web", "web1", RELEASE, &report(Said::Succeeded), None)
            .await
            .unwrap();
        let found = wait.await.unwrap().unwrap();
        assert_eq!(found[0].report.state, Said::Succeeded);
        assert!(found[0].index > cursor.0);
        assert_eq!(refused(&locking, "other").await.holder.id, "one");
        locking.release(grip).await.unwrap();
        let grip = take(&locking, "other").await;
        locking.release(grip).await.unwrap();
    });
    assert_ne!(cluster.leader(web1).node(), leader.node());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_cluster_without_a_leader_is_an_error_that_says_so() {
    let cluster = ConsulCluster::with_servers(3, &[]);
    let leader = cluster.leader(cluster.server());
    let rest: Vec<_> = cluster
        .servers()
        .iter()
        .filter(|server| server.node() != leader.node())
        .collect();
    let impatient = ConsulConfig {
        // A server holds a request back for seven seconds before it says so, a newer one for up to fourteen.
        timeout: Duration::from_secs(30),
        ..config(&rest[0].url())
    };
    let board = ConsulBoard::new(Client::new(&impatient).unwrap(), APP, STAGE);
    on_threads(async { board.held().await }).unwrap();
    leader.kill9();
    rest[1].kill9();
    until("the last server to see that nobody leads", READY, || {
        rest[0].api("GET", "/v1/status/leader", b"").text().trim() == "\"\""
    });
    let begin = Instant::now();
    let attempt = on_threads(async { board.try_lock(&holder("one")).await });
    assert!(!matches!(attempt, Ok(Attempt::Taken(_))));
    let error = attempt.unwrap_err();
    assert!(
        (6..60).contains(&begin.elapsed().as_secs()),
        "{:?}",
        begin.elapsed()
    );
    assert!(error.to_string().contains("No cluster leader"), "{error}");
}
