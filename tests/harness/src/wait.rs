//! Waiting for something to come true, with a limit and a message.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The least that anything is waited for: a busy machine takes its time, and who waits in vain fails all the same.
pub(crate) const LEAST: Duration = Duration::from_secs(60);

/// Polls `probe` until it gives a value, and returns it.
///
/// # Panics
/// When `timeout`, and a minute, pass first; `what` says what did not come.
#[track_caller]
pub fn wait_for<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let (start, timeout) = (Instant::now(), timeout.max(LEAST));
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            start.elapsed() < timeout,
            "waited {timeout:?} for {what}, in vain"
        );
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Polls `probe` until it is true.
///
/// # Panics
/// When `timeout`, and a minute, pass first; `what` says what did not come.
#[track_caller]
pub fn until(what: &str, timeout: Duration, mut probe: impl FnMut() -> bool) {
    wait_for(what, timeout, || probe().then_some(()));
}
