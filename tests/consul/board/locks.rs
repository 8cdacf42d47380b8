//! The lock.

use std::time::{Duration, Instant};

use shipit_fleet::board::{Attempt, Board, Error, ErrorKind};

use super::{Place, by_hand, holder, refused, take};
use crate::agents::on_threads;

/// By then a lock that nobody renews is gone.
fn outlived(board: &dyn Board) -> Duration {
    2 * board.ttl() + Duration::from_secs(1)
}

pub fn one_holder_at_a_time(place: &dyn Place) {
    on_threads(async {
        let (one, other) = (place.board(), place.board());
        assert_eq!(other.held().await.unwrap(), None);
        let mut grip = take(&*one, "one").await;
        assert_eq!(*grip.holder(), holder("one"));
        assert_eq!(refused(&*other, "other").await.holder, holder("one"));
        assert_eq!(other.held().await.unwrap().unwrap().holder, holder("one"));
        one.renew(&mut grip).await.unwrap();
        assert_eq!(refused(&*other, "other").await.holder, holder("one"));
        one.release(grip).await.unwrap();
        assert_eq!(one.held().await.unwrap(), None);
        // It is free at once, for the same and for others.
        let grip = take(&*other, "other").await;
        other.release(grip).await.unwrap();
        let grip = take(&*one, "one").await;
        one.release(grip).await.unwrap();
    });
}

pub fn of_many_at_once_one_gets_it(place: &dyn Place) {
    on_threads(async {
        for round in 0..5 {
            let tasks: Vec<_> = (0..8)
                .map(|number| {
                    let board = place.board();
                    let holder = holder(&format!("{round}-{number}"));
                    tokio::spawn(async move {
                        let attempt = board.try_lock(&holder).await.unwrap();
                        (holder, attempt)
                    })
                })
                .collect();
            let (mut taken, mut seen) = (Vec::new(), Vec::new());
            for task in tasks {
                match task.await.unwrap() {
                    (holder, Attempt::Taken(grip)) => taken.push((holder, grip)),
                    (_, Attempt::Held(held)) => seen.push(held.holder),
                }
            }
            let (holder, grip) = taken.pop().unwrap();
            assert!(taken.is_empty(), "two have it: {holder:?}, {taken:?}");
            assert!(seen.iter().all(|seen| *seen == holder), "{seen:?}");
            place.board().release(grip).await.unwrap();
        }
    });
}

pub fn a_renewed_lock_stands(place: &dyn Place) {
    on_threads(async {
        let (one, other) = (place.board(), place.board());
        let mut grip = take(&*one, "one").await;
        let end = Instant::now() + outlived(&*one);
        while Instant::now() < end {
            tokio::time::sleep(one.ttl() / 3).await;
            one.renew(&mut grip).await.unwrap();
            assert_eq!(refused(&*other, "other").await.holder.id, "one");
        }
        one.release(grip).await.unwrap();
    });
}

pub fn a_crashed_holder_frees_itself(place: &dyn Place) {
    on_threads(async {
        let (one, other) = (place.board(), place.board());
        let most = 2 * one.ttl() + Duration::from_secs(5);
        for tries in 1.. {
            let freed = freed(&*one, &*other).await;
            assert!(freed + Duration::from_secs(1) >= one.ttl(), "too soon");
            // A machine that has much to do may be late now and then.
            if freed <= most {
                return;
            }
            assert!(tries < 5, "held for {freed:?}");
        }
    });
}

/// How long a lock stands whose holder does nothing any more.
async fn freed(one: &dyn Board, other: &dyn Board) -> Duration {
    let mut grip = take(one, "one").await;
    let begin = Instant::now();
    let taken = loop {
        match other.try_lock(&holder("other")).await.unwrap() {
            Attempt::Taken(grip) => break grip,
            Attempt::Held(_) => assert!(begin.elapsed() < Duration::from_secs(120), "it stays"),
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let freed = begin.elapsed();
    // The one that slept learns of it, and does no harm.
    let error = one.renew(&mut grip).await.unwrap_err();
    assert!(
        matches!(&error, Error::Lost { now: Some(now), .. } if now.id == "other"),
        "{error:?}"
    );
    one.release(grip).await.unwrap();
    assert_eq!(one.held().await.unwrap().unwrap().holder.id, "other");
    other.release(taken).await.unwrap();
    freed
}

pub fn a_manual_lock_stands_until_it_is_ended(place: &dyn Place) {
    on_threads(async {
        let (one, other) = (place.board(), place.board());
        assert_eq!(one.lock_by_hand(&by_hand("one"), None).await.unwrap(), None);
        let begin = Instant::now();
        while begin.elapsed() < outlived(&*one) {
            assert_eq!(refused(&*other, "other").await.holder, by_hand("one"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let held = other
            .lock_by_hand(&by_hand("other"), None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(held.holder, by_hand("one"));
        other.break_lock(&held).await.unwrap();
        assert_eq!(one.held().await.unwrap(), None);
        let grip = take(&*other, "other").await;
        let held = one.lock_by_hand(&by_hand("one"), None).await.unwrap().unwrap();
        assert_eq!(held.holder, holder("other"));
        other.release(grip).await.unwrap();
    });
}

pub fn a_grip_turns_into_a_manual_lock(place: &dyn Place) {
    on_threads(async {
        let (one, other) = (place.board(), place.board());
        let mut grip = take(&*one, "one").await;
        one.renew(&mut grip).await.unwrap();
        let turned = one.lock_by_hand(&by_hand("one"), Some(grip)).await.unwrap();
        assert_eq!(turned, None);
        // What held it before is gone, and takes nothing with it.
        let begin = Instant::now();
        while begin.elapsed() < outlived(&*one) {
            assert_eq!(refused(&*other, "other").await.holder, by_hand("one"));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let held = other.held().await.unwrap().unwrap();
        other.break_lock(&held).await.unwrap();
        // A grip that was lost to another one ends nothing.
        let lost = take(&*one, "one").await;
        let held = other.held().await.unwrap().unwrap();
        other.break_lock(&held).await.unwrap();
        let others = take(&*other, "other").await;
        let held = one
            .lock_by_hand(&by_hand("one"), Some(lost))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(held.holder, holder("other"));
        other.release(others).await.unwrap();
    });
}

pub fn a_lock_that_was_ended_is_lost(place: &dyn Place) {
    on_threads(async {
        let (one, other) = (place.board(), place.board());
        let mut grip = take(&*one, "one").await;
        let held = other.held().await.unwrap().unwrap();
        // What a holder renews is still what was looked at.
        one.renew(&mut grip).await.unwrap();
        other.break_lock(&held).await.unwrap();
        let error = one.renew(&mut grip).await.unwrap_err();
        assert!(matches!(&error, Error::Lost { now: None, .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Locked);
        assert!(error.to_string().contains("shop in production"), "{error}");
        let others = take(&*other, "other").await;
        let error = one.renew(&mut grip).await.unwrap_err();
        assert!(
            matches!(&error, Error::Lost { now: Some(now), .. } if now.id == "other"),
            "{error:?}"
        );
        // What stands there now is not what was looked at.
        let error = other.break_lock(&held).await.unwrap_err();
        assert!(matches!(&error, Error::Changed { .. }), "{error:?}");
        one.release(grip).await.unwrap();
        assert_eq!(one.held().await.unwrap().unwrap().holder.id, "other");
        other.release(others).await.unwrap();
    });
}
