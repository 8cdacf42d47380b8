//! Saying that an answer is long in coming: who waits is to know for what.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After how long an answer is long in coming.
const LONG: Duration = Duration::from_secs(5);

/// An answer that has not come for some seconds.
#[derive(Debug, Clone, Copy)]
pub struct Waiting<'a> {
    /// What is being done.
    pub doing: &'a str,
    /// The agent.
    pub address: &'a str,
    /// For how much longer it is waited at most.
    pub left: Duration,
}

type Tell = dyn Fn(&Waiting<'_>) + Send + Sync;

/// Is told of an answer that is long in coming: once, and again after an answer has come. Tells nobody by default.
#[derive(Clone)]
pub struct OnWait {
    tell: Option<Arc<Tell>>,
    told: Arc<AtomicBool>,
    after: Duration,
}

impl Default for OnWait {
    fn default() -> Self {
        OnWait {
            tell: None,
            told: Arc::default(),
            after: LONG,
        }
    }
}

impl OnWait {
    /// Tells this one.
    pub fn new(tell: impl Fn(&Waiting<'_>) + Send + Sync + 'static) -> Self {
        OnWait {
            tell: Some(Arc::new(tell)),
            ..OnWait::default()
        }
    }

    /// Does the work, which takes no longer than `patience`, not counted the time that the answer is `held` back on purpose.
    pub(super) async fn during<T, E>(
        &self,
        doing: &str,
        address: &str,
        patience: Duration,
        held: Duration,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(tell) = &self.tell else {
            return work.await;
        };
        let mut work = pin!(work);
        let done = tokio::select! {
            biased;
            done = &mut work => done,
            () = tokio::time::sleep(held + self.after) => {
                let left = patience.saturating_sub(self.after);
                if !self.told.swap(true, Ordering::Relaxed) {
                    tell(&Waiting { doing, address, left });
                }
                work.await
            }
        };
        if done.is_ok() {
            self.told.store(false, Ordering::Relaxed);
        }
        done
    }
}

impl fmt::Debug for OnWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnWait").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    type Told = Arc<Mutex<Vec<String>>>;
    type Work = futures_util::future::BoxFuture<'static, Result<(), ()>>;

    #[tokio::test]
    async fn what_is_waited_for_is_told_once_until_an_answer_came() {
        let told = Told::default();
        let mut on_wait = OnWait::new({
            let told = Arc::clone(&told);
            move |Waiting { doing, address, left }| {
                let line = format!("{doing} {address} {}", left.as_secs());
                told.lock().unwrap().push(line);
            }
        });
        on_wait.after = Duration::from_millis(5);
        let (patience, hour) = (Duration::from_secs(30), Duration::from_secs(3600));
        let some_time = || tokio::time::sleep(Duration::from_millis(50));
        let at = |doing, held, work: Work| on_wait.during::<(), ()>(doing, "here", patience, held, work);
        let takes = |good: bool| -> Work {
            Box::pin(async move {
                some_time().await;
                if good { Ok(()) } else { Err(()) }
            })
        };
        at("at once", Duration::ZERO, Box::pin(async { Ok(()) }))
            .await
            .unwrap();
        at("held", hour, takes(true)).await.unwrap();
        at("slow", Duration::ZERO, takes(false)).await.unwrap_err();
        at("again", Duration::ZERO, takes(true)).await.unwrap();
        at("later", Duration::ZERO, takes(true)).await.unwrap();
        assert_eq!(*told.lock().unwrap(), ["slow here 29", "later here 29"]);
    }
}
