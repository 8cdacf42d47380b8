//! A lock that is held in Consul for the length of a deploy, and what becomes of it when something goes wrong meanwhile.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use shipit_fleet::board::{Attempt, Board, ConsulBoard, Grip};
use shipit_fleet::lock::{Lock, TakeError};
use shipit_testbed::{ConsulAgent, ConsulCluster, Fault, FaultProxy};

use crate::agents::{client, on_threads};
use crate::board::{APP, STAGE, by_hand, holder};

/// How long a session stands that nobody renews.
const TTL: Duration = Duration::from_secs(10);
const LOCK: &str = "shipit/locks/shop/production";

fn board(agent: &ConsulAgent) -> Arc<ConsulBoard> {
    Arc::new(ConsulBoard::new(client(&agent.url()), APP, STAGE))
}

async fn take(board: &Arc<ConsulBoard>, id: &str, wait: u64) -> Result<Lock, TakeError> {
    let wait = Duration::from_secs(wait);
    Lock::take(board.clone(), holder(id), wait, Arc::new(|_| {}), pending()).await
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn it_stands_for_as_long_as_it_is_held_and_the_next_one_waits() {
    let agent = ConsulAgent::dev();
    let (one, other) = (board(&agent), board(&agent));
    on_threads(async {
        let lock = take(&one, "one", 0).await.unwrap();
        let error = take(&other, "other", 0).await.unwrap_err();
        assert!(
            matches!(&error, TakeError::Held(held) if held.holder.id == "one"),
            "{error:?}"
        );
        // Longer than a session that nobody renews stands.
        let held = async {
            tokio::time::sleep(Duration::from_secs(23)).await;
            assert_eq!(lock.lost(), None);
            assert_eq!(one.held().await.unwrap().unwrap().holder.id, "one");
            lock.release().await.unwrap();
            Instant::now()
        };
        let (next, begin) = tokio::join!(take(&other, "other", 120), held);
        let next = next.unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
        assert_eq!(one.held().await.unwrap().unwrap().holder.id, "other");
        let turned = next.turn_manual(&by_hand("other")).await.unwrap();
        assert_eq!(turned, None);
        assert_eq!(one.held().await.unwrap().unwrap().holder, by_hand("other"));
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn one_that_was_taken_at_the_second_go_is_as_new() {
    let agent = ConsulAgent::dev();
    let proxy = FaultProxy::start(agent.addr());
    let board = Arc::new(ConsulBoard::new(client(&proxy.url()), APP, STAGE));
    on_threads(async {
        // As long as an election takes: that lock would be late, and is given back.
        proxy.inject(Fault::delay(Duration::from_secs(8)).path("/v1/txn"));
        let begin = Instant::now();
        let lock = take(&board, "one", 0).await.unwrap();
        assert!(begin.elapsed() >= Duration::from_secs(8), "nothing was late");
        // Its first renewal comes later than the time of the late one was over.
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            assert_eq!(lock.lost(), None);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        lock.release().await.unwrap();
        assert_eq!(board.held().await.unwrap(), None);
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn its_holder_learns_soon_that_it_was_ended() {
    let agent = ConsulAgent::dev();
    let board = board(&agent);
    on_threads(async {
        let lock = take(&board, "one", 0).await.unwrap();
        let held = board.held().await.unwrap().unwrap();
        board.break_lock(&held).await.unwrap();
        let why = tokio::time::timeout(Duration::from_secs(60), lock.wait_lost())
            .await
            .unwrap();
        assert!(why.contains("somebody ended it"), "{why}");
        lock.release().await.unwrap();
    });
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn nothing_but_ten_seconds_without_a_renewal_ends_it() {
    // Consul ends such a session after twenty seconds at the latest, and what it held is free at once.
    let agent = ConsulAgent::dev();
    let board = board(&agent);
    assert_eq!(board.ttl(), TTL);
    on_threads(async {
        let lock = take(&board, "one", 0).await.unwrap();
        let json = |target: &str| -> Value {
            let answer = agent.api("GET", target, b"");
            serde_json::from_str(&answer.text()).unwrap()
        };
        let key = json(&format!("/v1/kv/{LOCK}"));
        let session = json(&format!(
            "/v1/session/info/{}",
            key[0]["Session"].as_str().unwrap()
        ));
        assert_eq!(
            (
                &session[0]["TTL"],
                &session[0]["LockDelay"],
                &session[0]["Behavior"]
            ),
            (&"10s".into(), &0.into(), &"delete".into())
        );
        for checks in ["Checks", "NodeChecks", "ServiceChecks"] {
            let checks = &session[0][checks];
            assert!(checks.as_array().is_none_or(Vec::is_empty), "{session}");
        }
        lock.release().await.unwrap();
    });
}

/// Waits for the next renewal that is answered; a moment before that.
async fn next_renewal(proxy: &FaultProxy) -> Instant {
    // A renewal ends with a look at the key.
    let renewals = || {
        let seen = proxy.seen();
        let looks = seen
            .iter()
            .filter(|seen| seen.method == "GET" && seen.target.contains(LOCK));
        looks.filter(|seen| seen.status == Some(200)).count()
    };
    let (known, limit) = (renewals(), Instant::now() + Duration::from_secs(60));
    loop {
        let before = Instant::now();
        assert!(before < limit, "nothing is renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
        if renewals() > known {
            return before;
        }
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn it_is_lost_when_consul_stays_away_and_not_before() {
    let agent = ConsulAgent::server();
    let proxy = FaultProxy::start(agent.addr());
    let board = Arc::new(ConsulBoard::new(client(&proxy.url()), APP, STAGE));
    on_threads(async {
        for tries in 1.. {
            let lock = take(&board, "one", 0).await.unwrap();
            let away = Instant::now();
            agent.kill9();
            tokio::time::sleep(Duration::from_secs(1)).await;
            agent.restart();
            // Longer than the time for which it was renewed, as on a busy machine, is another matter.
            let in_time = away.elapsed() < TTL / 2;
            if in_time {
                tokio::time::sleep(Duration::from_secs(6)).await;
                assert_eq!(lock.lost(), None);
                assert_eq!(board.held().await.unwrap().unwrap().holder.id, "one");
            }
            if in_time && is_lost_in_time(&lock, &agent, &proxy).await {
                return;
            }
            assert!(
                tries < 10,
                "neither agents start in time, nor is the loss seen in time"
            );
            agent.restart();
            lock.release().await.unwrap();
        }
    });
}

/// Whether the loss of a lock, whose agent goes away for good, is seen before Consul could give it to another one: not
/// longer after the last renewal than its session stands, but for what a machine takes.
async fn is_lost_in_time(lock: &Lock, agent: &ConsulAgent, proxy: &FaultProxy) -> bool {
    let renewed = next_renewal(proxy).await;
    agent.kill9();
    let away = Instant::now();
    let why = tokio::time::timeout(Duration::from_secs(60), lock.wait_lost())
        .await
        .unwrap();
    assert!(away.elapsed() > TTL / 2, "{:?}: {why}", away.elapsed());
    renewed.elapsed() < TTL + Duration::from_secs(1)
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_election_does_not_lose_it() {
    let cluster = ConsulCluster::with_servers(3, &["kicker"]);
    let kicker = cluster.client("kicker");
    let board = board(kicker);
    on_threads(async {
        let lock = take(&board, "one", 0).await.unwrap();
        cluster.leader(kicker).kill9();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(25) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(lock.lost(), None, "after {:?}", begin.elapsed());
        }
        assert_eq!(board.held().await.unwrap().unwrap().holder.id, "one");
        lock.release().await.unwrap();
        assert_eq!(board.held().await.unwrap(), None);
    });
}

/// One process that wants the lock at a given moment: whether it got it, and what to give back.
async fn grab(board: ConsulBoard, id: String, at: Instant) -> Option<(ConsulBoard, Grip)> {
    tokio::time::sleep(at.saturating_duration_since(Instant::now())).await;
    match board.try_lock(&holder(&id)).await {
        Ok(Attempt::Taken(grip)) => Some((board, grip)),
        Ok(Attempt::Held(_)) => None,
        // Only while nothing leads, and then nobody has it.
        Err(error) => panic!("{id}: {error}"),
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn soak_at_the_same_moment_one_gets_it_while_leaders_die() {
    let cluster = ConsulCluster::with_servers(3, &["one", "two"]);
    let boards = |id: &str| ConsulBoard::new(client(&cluster.client(id).url()), APP, STAGE);
    let mut dead: Option<&ConsulAgent> = None;
    for round in 0..100 {
        if round % 10 == 5 {
            if let Some(dead) = dead.take() {
                dead.restart();
                cluster.wait_joined();
            }
            let leader = cluster.leader(cluster.client("one"));
            leader.kill9();
            dead = Some(leader);
        }
        on_threads(async {
            let at = Instant::now() + Duration::from_millis(50);
            let wants = |id: &str| tokio::spawn(grab(boards(id), format!("{id}-{round}"), at));
            let tasks = [wants("one"), wants("two"), wants("one"), wants("two")];
            let mut taken = Vec::new();
            for task in tasks {
                taken.extend(task.await.unwrap());
            }
            assert_eq!(taken.len(), 1, "in round {round}");
            let (board, grip) = taken.remove(0);
            let held = board.held().await.unwrap().unwrap();
            assert_eq!(held.holder, *grip.holder());
            board.release(grip).await.unwrap();
            assert_eq!(board.held().await.unwrap(), None);
        });
    }
}
