//! Locks in both kinds of store: one of many has it, it frees itself, and whoever lost it is told.

use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shipit_store::lock::{
    Holder, LockAttempt, LockEvent, LockGrip, LockHeld, LockPlace, OnLockEvent, PublishLock,
};
use shipit_store::{Error, ErrorKind, Event, Store, layout};
use shipit_testbed::Tmp;

use super::setup::{Bench, Events, directory};

pub const TTL: Duration = Duration::from_secs(3);

pub fn holder(who: &str) -> Holder {
    Holder {
        id: Holder::new_id(),
        who: who.to_owned(),
        build: None,
        pid: None,
        doing: "publish to production".to_owned(),
        revision: None,
        reason: None,
        time: 1_795_268_715,
        manual: false,
    }
}

pub fn place(store: &Store) -> LockPlace {
    LockPlace::publish(store, "shop").unwrap().with_ttl(TTL)
}

pub fn key() -> String {
    layout::publish_lock_key("shop").unwrap()
}

pub fn silent() -> OnLockEvent {
    Arc::new(|_| {})
}

/// An object as somebody else may have left it: when its TTL ends, and how long that is.
async fn left(
    store: &Store,
    who: &str,
    (expires, ttl): (i64, Duration),
    renewals: u64,
    etag: Option<&str>,
) -> String {
    let document = serde_json::json!({
        "holder": holder(who), "expires": expires, "ttl_seconds": ttl.as_secs(), "renewals": renewals,
    });
    let bytes = serde_json::to_vec(&document).unwrap();
    store.put_if_match(&key(), bytes.into(), etag).await.unwrap()
}

fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        .try_into()
        .unwrap()
}

pub async fn taken(place: &LockPlace, holder: &Holder) -> LockGrip {
    match place.attempt(holder).await.unwrap() {
        LockAttempt::Taken(grip) => grip,
        LockAttempt::Held(held) => panic!("{held:?}"),
    }
}

async fn held(place: &LockPlace, holder: &Holder) -> LockHeld {
    match place.attempt(holder).await.unwrap() {
        LockAttempt::Held(held) => *held,
        LockAttempt::Taken(grip) => panic!("{grip:?}"),
    }
}

/// Both kinds, each with the events that it told.
fn both(bench: &Bench, scratch: &Tmp) -> [(Store, Events); 2] {
    [bench.store(), directory(&scratch.join("store"))]
}

/// Several contenders at the same moment; who won.
async fn race(store: &Store, contenders: usize) -> Vec<LockGrip> {
    let mut racing = tokio::task::JoinSet::new();
    let start = Arc::new(tokio::sync::Barrier::new(contenders));
    for number in 0..contenders {
        let (place, start) = (place(store), start.clone());
        racing.spawn(async move {
            let own = holder(&format!("contender{number}"));
            start.wait().await;
            (place.attempt(&own).await.unwrap(), own)
        });
    }
    let (mut grips, mut others) = (Vec::new(), Vec::new());
    while let Some(done) = racing.join_next().await {
        match done.unwrap() {
            (LockAttempt::Taken(grip), own) => {
                assert_eq!(grip.holder, own);
                grips.push(grip);
            }
            (LockAttempt::Held(held), _) => others.push(held.holder.id),
        }
    }
    assert_eq!(grips.len(), 1, "{grips:?}");
    assert!(others.iter().all(|id| *id == grips[0].holder.id), "{others:?}");
    grips
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn of_contenders_at_the_same_moment_exactly_one_wins() {
    let (bench, scratch) = (Bench::start(), Tmp::in_memory("store"));
    for (store, _) in both(&bench, &scratch) {
        for round in 0..20 {
            let contenders = if round < 15 { 2 } else { 6 };
            let grip = race(&store, contenders).await.remove(0);
            place(&store).release(grip).await.unwrap();
            assert!(store.head(&key()).await.unwrap().is_none());
        }
        // And so it is when they take over what somebody left hours ago, and what nobody renewed while they watched.
        for _ in 0..4 {
            let etag = left(&store, "gone", (now() - 10_000, TTL), 0, None).await;
            let grip = race(&store, 3).await.remove(0);
            assert_ne!(grip.etag, etag);
            place(&store).release(grip).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_holder_that_renews_keeps_it_and_one_that_crashed_frees_it() {
    let (bench, scratch) = (Bench::start(), Tmp::in_memory("store"));
    for (store, events) in both(&bench, &scratch) {
        let first = holder("first@ci");
        let lock = PublishLock::take_at(place(&store), &first, Duration::ZERO, silent(), pending())
            .await
            .unwrap()
            .unwrap();
        let (second, other) = (holder("second@ci"), place(&store));
        let until = Instant::now() + 3 * TTL;
        while Instant::now() < until {
            assert_eq!(held(&other, &second).await.holder, first);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        lock.during(async { Ok(()) }).await.unwrap();
        lock.during(async { Ok(()) }).await.unwrap();
        lock.release().await.unwrap();
        assert_eq!(other.held().await.unwrap(), None);

        // As when its process is killed: nothing renews it and nothing gives it back.
        drop(
            PublishLock::take_at(place(&store), &first, Duration::ZERO, silent(), pending())
                .await
                .unwrap(),
        );
        let begin = Instant::now();
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink: OnLockEvent = Arc::new({
            let told = told.clone();
            move |event| told.lock().unwrap().push(event)
        });
        let wait = Duration::from_secs(60);
        let lock = PublishLock::take_at(place(&store), &second, wait, sink, pending()).await;
        let lock = lock.unwrap().unwrap();
        assert!(begin.elapsed() > TTL / 2, "{:?}", begin.elapsed());
        let told = told.lock().unwrap().clone();
        assert!(
            matches!(&told[..], [LockEvent::Waiting { holder, .. }] if **holder == first),
            "{told:?}"
        );
        let over = |event: &Event| matches!(event, Event::LockTakenOver { who, .. } if who == "first@ci");
        assert_eq!(events.count(over), 1, "{:?}", events.all());
        assert_eq!(other.held().await.unwrap().unwrap().holder, second);
        lock.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn who_does_not_wait_is_told_who_has_it_and_a_crashed_one_is_looked_through() {
    let (bench, scratch) = (Bench::start(), Tmp::in_memory("store"));
    for (store, events) in both(&bench, &scratch) {
        let (first, second) = (holder("first@ci"), holder("second@ci"));
        let grip = taken(&place(&store), &first).await;
        let take = |wait| PublishLock::take_at(place(&store), &second, wait, silent(), pending());
        match take(Duration::ZERO).await.unwrap_err() {
            Error::Locked { what, holder } => {
                assert_eq!((what.as_str(), *holder), ("publishing shop", first));
            }
            other => panic!("{other}"),
        }
        // Nobody renews it: a TTL and a half later, one attempt watches it for a moment and has it.
        tokio::time::sleep(TTL * 3 / 2 + Duration::from_millis(1500)).await;
        assert_eq!(place(&store).held().await.unwrap(), None);
        take(Duration::ZERO)
            .await
            .unwrap()
            .unwrap()
            .release()
            .await
            .unwrap();
        let watched = |event: &Event| matches!(event, Event::LockExpired { .. });
        assert_eq!(events.count(watched), 2, "by who looked too: {:?}", events.all());
        // What the crashed one still has is worth nothing, and does no harm.
        place(&store).release(grip).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn clocks_that_differ_take_no_lock_from_a_holder_that_renews() {
    let (bench, scratch) = (Bench::start(), Tmp::in_memory("store"));
    for (store, _) in both(&bench, &scratch) {
        let own = holder("ours");
        let place = place(&store);
        let mut etag: Option<String> = None;
        // The holder's clock is ten minutes behind ours, or hours: all its renewals seem to have expired. Each is waited
        // for as long as its TTL asks for, so that a slow disk makes none of them late.
        for behind in [600, 3 * 3600] {
            let expires = || (now() - behind, Duration::from_secs(120));
            let mut last = left(&store, "behind", expires(), 0, etag.as_deref()).await;
            let over = AtomicBool::new(false);
            let renewing = async {
                for renewals in 1.. {
                    tokio::time::sleep(TTL / 4).await;
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    last = left(&store, "behind", expires(), renewals, Some(&last)).await;
                }
            };
            let trying = async {
                for _ in 0..3 {
                    assert_eq!(held(&place, &own).await.holder.who, "behind");
                }
                // Nor is it said to be free to who only looks.
                let looked = LockPlace::publish(&store, "shop").unwrap().held().await.unwrap();
                assert_eq!(looked.unwrap().holder.who, "behind");
                over.store(true, Ordering::Relaxed);
            };
            tokio::join!(renewing, trying);
            etag = Some(last);
        }
        // And ahead of ours by an hour: who waits sees for itself that no renewal comes.
        left(&store, "ahead", (now() + 3600, TTL), 0, etag.as_deref()).await;
        let begin = Instant::now();
        let lock = PublishLock::take_at(place, &own, 20 * TTL, silent(), pending()).await;
        let lock = lock.unwrap().unwrap();
        assert!(begin.elapsed() > TTL, "{:?}", begin.elapsed());
        lock.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_manual_lock_stays_until_it_is_ended() {
    let (bench, scratch) = (Bench::start(), Tmp::in_memory("store"));
    for (store, _) in both(&bench, &scratch) {
        let place = place(&store);
        let (person, other) = (holder("person"), holder("other"));
        assert_eq!(place.set_manual(&person, None).await.unwrap(), None);
        let seen = held(&place, &other).await;
        assert_eq!(seen.holder, person);
        let again = place.set_manual(&other, None).await.unwrap();
        assert_eq!(again.unwrap().holder, person);
        let wait = TTL + TTL / 2;
        let refused = PublishLock::take_at(place, &other, wait, silent(), pending()).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Locked);

        let place = LockPlace::publish(&store, "shop").unwrap();
        assert!(place.end(&seen).await.unwrap());
        // In place of a lock that is held: it is never free in between.
        let grip = taken(&place, &other).await;
        assert!(!place.end(&seen).await.unwrap(), "that lock is another one's");
        assert_eq!(place.set_manual(&person, Some(grip)).await.unwrap(), None);
        assert_eq!(place.held().await.unwrap().unwrap().holder, person);
        let seen = place.held().await.unwrap().unwrap();
        assert!(place.end(&seen).await.unwrap());

        // One that is renewed meanwhile is ended all the same; its holder finds out.
        let mut grip = taken(&place, &other).await;
        let seen = place.held().await.unwrap().unwrap();
        place.renew(&mut grip).await.unwrap();
        assert!(place.end(&seen).await.unwrap());
        let lost = place.renew(&mut grip).await.unwrap_err();
        assert!(matches!(&lost, Error::LockLost { now: None, .. }), "{lost}");
        let mine = taken(&place, &person).await;
        let lost = place.renew(&mut grip).await.unwrap_err();
        assert!(
            matches!(&lost, Error::LockLost { now: Some(who), .. } if **who == person),
            "{lost}"
        );
        let refused = place.set_manual(&other, Some(grip)).await.unwrap();
        assert_eq!(refused.unwrap().holder, person);
        place.release(mine).await.unwrap();
    }
}
