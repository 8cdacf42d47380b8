//! How an apply is given up: by its flag, or by being dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;

/// Sets the flag when an apply is dropped before its end.
pub(super) struct CancelOnDrop {
    cancel: Arc<AtomicBool>,
    armed: bool,
}

impl CancelOnDrop {
    pub(super) fn new(cancel: Arc<AtomicBool>) -> Self {
        Self { cancel, armed: true }
    }

    pub(super) fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.armed {
            self.cancel.store(true, Ordering::Relaxed);
        }
    }
}

/// Does the work, or gives it up when the flag is set.
pub(crate) async fn or_cancelled<T>(
    cancel: &AtomicBool,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let cancelled = async {
        while !cancel.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        biased;
        () = cancelled => Err(Error::Cancelled),
        done = work => done,
    }
}

/// Waits for a random time below this.
pub(super) async fn delay(below: Duration, cancel: &AtomicBool, recorder: &Recorder) -> Result<(), Error> {
    if below.is_zero() {
        return Ok(());
    }
    let wait = below.mul_f64(fastrand::f64());
    recorder.say(Event::Delayed {
        seconds: wait.as_secs_f64(),
    });
    or_cancelled(cancel, async {
        tokio::time::sleep(wait).await;
        Ok(())
    })
    .await
}
