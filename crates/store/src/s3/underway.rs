//! Requests that go on when the future that they belong to is dropped: what a cancelled upload needs to be ended.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Those that go on. Each says whether it did what it was for.
#[derive(Default)]
pub(super) struct Underway(Mutex<JoinSet<bool>>);

impl Underway {
    /// Starts one; the caller is within a runtime.
    pub(super) fn spawn(&self, work: impl Future<Output = bool> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(work);
    }

    /// Waits until all are over, those too that one of them has started. Gives how many failed or took too long.
    pub(super) async fn settle(&self, longest: Duration) -> usize {
        let deadline = Instant::now() + longest;
        let mut failed = 0;
        loop {
            let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            if tasks.is_empty() {
                return failed;
            }
            loop {
                match timeout_at(deadline, tasks.join_next()).await {
                    Ok(Some(done)) => failed += usize::from(!done.unwrap_or(false)),
                    Ok(None) => break,
                    Err(_) => return failed + tasks.len(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn all_are_waited_for_and_no_longer_than_the_deadline() {
        let underway = Arc::new(Underway::default());
        let (long, short) = (Duration::from_secs(20), Duration::from_millis(50));
        assert_eq!(underway.settle(long).await, 0);
        let inner = Arc::clone(&underway);
        underway.spawn(async move {
            tokio::time::sleep(short).await;
            inner.spawn(async move {
                tokio::time::sleep(short).await;
                false
            });
            true
        });
        assert_eq!(underway.settle(long).await, 1);
        underway.spawn(std::future::pending());
        assert_eq!(underway.settle(short).await, 1);
    }
}
