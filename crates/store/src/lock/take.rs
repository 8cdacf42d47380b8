//! Waiting for a lock that somebody has.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Holder, LockEvent, OnLockEvent};

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(1);

/// An attempt that is under way when it is asked to stop may have taken the lock: it is let finish for so long.
const FINISH: Duration = Duration::from_secs(2);

/// What came of waiting.
#[derive(Debug)]
pub enum Waited<T, H> {
    /// The lock is ours.
    Taken(T),
    /// Somebody had it all the time.
    Held(H),
    /// It was asked to stop. What was taken all the same is to be given back.
    Stopped(Option<T>),
}

/// Tries until the lock is taken, `wait` is over, or `stop` ends; at least once. An attempt yields who has it as `Err`.
pub async fn wait_for<T, H, E>(
    wait: Duration,
    stop: impl Future<Output = ()>,
    on_event: &OnLockEvent,
    holder: impl Fn(&H) -> &Holder,
    mut attempt: impl AsyncFnMut() -> Result<Result<T, H>, E>,
) -> Result<Waited<T, H>, E> {
    let mut stop = pin!(stop);
    let began = Instant::now();
    let mut told: Option<String> = None;
    loop {
        let tried = {
            let mut trying = pin!(attempt());
            tokio::select! {
                biased;
                tried = &mut trying => tried?,
                () = &mut stop => return match timeout(FINISH, trying).await {
                    Ok(tried) => Ok(Waited::Stopped(tried?.ok())),
                    Err(_) => Ok(Waited::Stopped(None)),
                },
            }
        };
        let held = match tried {
            Ok(taken) => return Ok(Waited::Taken(taken)),
            Err(held) => held,
        };
        let left = wait.saturating_sub(began.elapsed());
        if left.is_zero() {
            return Ok(Waited::Held(held));
        }
        let who = holder(&held);
        if told.as_ref() != Some(&who.id) {
            told = Some(who.id.clone());
            on_event(LockEvent::Waiting {
                holder: Box::new(who.clone()),
                left,
            });
        }
        tokio::select! {
            () = &mut stop => return Ok(Waited::Stopped(None)),
            () = sleep(EVERY.min(left)) => {}
        }
    }
}
