//! Locks whose holder cannot renew them, sleeps, is stopped, or may not delete them.

use std::future::{pending, ready};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shipit_store::lock::{LockEvent, OnLockEvent, PublishLock};
use shipit_store::{Error, ErrorKind, Event, OnEvent, Store, StoreOptions, StoreUrl, releases};
use shipit_testbed::{Fault, Tmp};

use super::kills::open;
use super::locks::{TTL, holder, key, place, silent, taken};
use super::publishing::{NOW, go_under};
use super::setup::{Bench, artifact};

const CHILD: &str = "SHIPIT_TEST_SLEEPING_HOLDER_OF";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_renewal_may_fail_until_the_time_is_over() {
    let bench = Bench::start();
    let (store, _) = bench.store();
    let told = Arc::new(Mutex::new(0));
    let sink: OnLockEvent = Arc::new({
        let told = told.clone();
        move |event| {
            if let LockEvent::NotRenewed { left, .. } = event {
                assert!(left < TTL);
                *told.lock().unwrap() += 1;
            }
        }
    });
    let own = holder("own");
    let take = PublishLock::take_at(place(&store), &own, Duration::ZERO, sink, pending());
    let lock = take.await.unwrap().unwrap();
    let refuse = || Fault::status(503).method("PUT").path("locks/").always();
    bench.proxy.inject(refuse());
    let begin = Instant::now();
    while *told.lock().unwrap() == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing was said");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    lock.during(async { Ok(()) }).await.unwrap();
    bench.proxy.heal();
    tokio::time::sleep(2 * TTL).await;
    lock.during(async { Ok(()) }).await.unwrap();

    bench.proxy.inject(refuse());
    let begin = Instant::now();
    let lost = lock.during(pending::<Result<(), Error>>()).await.unwrap_err();
    let took = begin.elapsed();
    // Not before the time is over since the last renewal; the bound above is for a machine that is busy.
    assert!(took > TTL / 2 && took < Duration::from_secs(60), "{took:?}");
    assert_eq!(lost.kind(), ErrorKind::Locked);
    assert!(
        lost.to_string().contains("could not be renewed for 3 s"),
        "{lost}"
    );
    // That is for good, also when the server is back; and it is given back, for nobody else has it.
    bench.proxy.heal();
    tokio::time::sleep(TTL).await;
    lock.during(async { Ok(()) }).await.unwrap_err();
    lock.release().await.unwrap();
    assert!(store.head(&key()).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_lock_that_may_not_be_deleted_says_that_it_was_given_back() {
    let bench = Bench::start();
    let (store, events) = bench.store();
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    bench
        .proxy
        .inject(Fault::status(403).body(denied).method("DELETE").always());
    for _ in 0..2 {
        let own = holder("publisher");
        let take = PublishLock::take_at(place(&store), &own, Duration::ZERO, silent(), pending());
        take.await.unwrap().unwrap().release().await.unwrap();
        assert_eq!(place(&store).held().await.unwrap(), None);
    }
    assert!(store.head(&key()).await.unwrap().is_some());
    assert_eq!(
        events.count(|event| matches!(event, Event::LockTakenOver { .. })),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn who_is_stopped_while_it_takes_the_lock_holds_nothing() {
    let bench = Bench::start();
    let (store, _) = bench.store();
    let slow = Fault::delay(Duration::from_millis(100))
        .method("PUT")
        .path("locks/");
    bench.proxy.inject(slow.always());
    let own = holder("stopped");
    let took = PublishLock::take_at(place(&store), &own, Duration::ZERO, silent(), ready(()));
    assert!(took.await.unwrap().is_none());
    assert!(bench.proxy.count("PUT").requests > 0);
    assert!(store.head(&key()).await.unwrap().is_none());
    // And while it waits for somebody.
    bench.proxy.heal();
    let grip = taken(&place(&store), &holder("first")).await;
    let stop = tokio::time::sleep(Duration::from_millis(300));
    // It would wait for an hour.
    let wait = Duration::from_secs(3600);
    let took = PublishLock::take_at(place(&store), &own, wait, silent(), stop).await;
    assert!(took.unwrap().is_none());
    place(&store).release(grip).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_publish_asks_for_its_lock_before_it_makes_a_release() {
    let scratch = Tmp::new("store");
    let root = scratch.join("store");
    // A pruner that took the lock over, long before the next renewal is due, and is done: the lock is gone.
    let (lock_file, wrong) = (root.join(key()), Arc::new(AtomicBool::new(true)));
    let on_event = OnEvent::new({
        let (lock_file, wrong) = (lock_file.clone(), wrong.clone());
        move |event| {
            let manifest = matches!(&event, Event::Stored { key, .. } if key.ends_with("web.yml"));
            if manifest && wrong.load(Ordering::Relaxed) {
                std::fs::remove_file(&lock_file).unwrap();
            }
        }
    });
    let url = StoreUrl::parse(&format!("file://{}", root.display())).unwrap();
    let options = StoreOptions {
        on_event,
        ..StoreOptions::default()
    };
    let store = Store::open(&url, options).unwrap();
    let packed = artifact(scratch.path(), b"code", "1");
    let take = async || {
        let own = holder("publisher");
        let taken = PublishLock::take(&store, "shop", &own, Duration::ZERO, silent(), pending()).await;
        taken.unwrap().unwrap()
    };
    let lock = take().await;
    let error = go_under(&store, &packed, NOW, Some(&lock)).await.unwrap_err();
    assert!(matches!(&error, Error::LockLost { .. }), "{error}");
    lock.release().await.unwrap();
    let all = async || releases(&store, "shop", "production", None).await.unwrap();
    assert_eq!(all().await, []);

    wrong.store(false, Ordering::Relaxed);
    let lock = take().await;
    go_under(&store, &packed, NOW + 1, Some(&lock)).await.unwrap();
    lock.during(async { Ok(()) }).await.unwrap();
    lock.release().await.unwrap();
    assert_eq!(all().await.len(), 1);
    assert!(!lock_file.exists());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_holder_that_sleeps_finds_out_when_it_wakes() {
    if let Ok(told) = std::env::var(CHILD) {
        let [url, endpoint, access, secret] = told.split('\n').collect::<Vec<_>>().try_into().unwrap();
        let store = open(url, endpoint, access, secret);
        let sleeper = holder("sleeper");
        let take = PublishLock::take_at(place(&store), &sleeper, Duration::ZERO, silent(), pending());
        let lock = take.await.unwrap().unwrap();
        println!("ready");
        let lost = lock.during(pending::<Result<(), Error>>()).await.unwrap_err();
        lock.during(async { Ok(()) }).await.unwrap_err();
        lock.release().await.unwrap();
        assert_eq!(lost.kind(), ErrorKind::Locked);
        return;
    }
    let (bench, scratch) = (Bench::start(), Tmp::in_memory("store"));
    bench.server.create_bucket("sleeping");
    let endpoint = bench.server.endpoint();
    let (access, secret) = (bench.server.access_key(), bench.server.secret_key());
    let dir = format!("file://{}/sleeping", scratch.path().display());
    for url in ["s3://sleeping", &dir] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "lost_locks::a_holder_that_sleeps_finds_out_when_it_wakes",
            ])
            .args(["--include-ignored", "--nocapture"])
            .env(CHILD, [url, &endpoint, access, secret].join("\n"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Kept open: what it prints at its end must go somewhere.
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(out.any(|line| line.unwrap().contains("ready")));
        let signal = |name: &str| {
            let pid = child.id().to_string();
            let done = Command::new("kill").args([name, &pid]).status();
            assert!(done.unwrap().success());
        };
        signal("-STOP");
        let store = open(url, &endpoint, access, secret);
        let own = holder("own");
        let wait = 20 * TTL;
        let lock = PublishLock::take_at(place(&store), &own, wait, silent(), pending()).await;
        let lock = lock.unwrap().unwrap();
        signal("-CONT");
        // That it is lost is told when it wakes: its process ends.
        assert!(child.wait().unwrap().success());
        drop(out);
        // It gave back nothing that was not its own.
        assert_eq!(place(&store).held().await.unwrap().unwrap().holder, own);
        lock.during(async { Ok(()) }).await.unwrap();
        lock.release().await.unwrap();
    }
}
