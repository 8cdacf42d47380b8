//! Renewing a lock for as long as it is held.
//!
//! A renewal that fails in a way that may pass is tried again until the TTL is over since the last one that succeeded began; only then is the
//! lock said to be lost. Lost is for good: whoever works under it stops.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{LockEvent, Moment, OnLockEvent};

/// How often who waits for the loss looks at the clock, which may have jumped while the machine slept.
const LOOK: Duration = Duration::from_secs(1);

/// Why a renewal failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The lock is not ours any more.
    Lost(String),
    /// It may work the next time.
    Passing(String),
}

/// What can be renewed: a lock in the store, or one of Consul's.
#[async_trait]
pub trait Renew: Send + 'static {
    /// Renews it. The future may be dropped at any point.
    async fn renew(&mut self) -> Result<(), Trouble>;
}

/// Renews a lock in a task of its own. Dropped, it stops to: the lock then frees itself.
#[derive(Debug)]
pub struct Keeper<R> {
    state: Arc<State>,
    ask: mpsc::Sender<Answer>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<R>>,
}

/// Where it is told how a renewal went that somebody asked for.
type Answer = oneshot::Sender<Result<(), Trouble>>;

#[derive(Debug)]
struct State {
    ttl: Duration,
    renewed: Mutex<Moment>,
    lost: watch::Sender<Option<String>>,
}

impl State {
    /// Why it is lost, if it is. That the time is over counts even where the task could not run to notice it.
    fn lost(&self) -> Option<String> {
        if let Some(why) = self.lost.borrow().as_ref() {
            return Some(why.clone());
        }
        if self.left() > Duration::ZERO {
            return None;
        }
        let seconds = self.ttl.as_secs();
        self.lose(format!("it could not be renewed for {seconds} s"));
        self.lost.borrow().clone()
    }

    fn lose(&self, why: String) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert(why);
            first
        });
    }

    fn left(&self) -> Duration {
        self.renewed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .left(self.ttl)
    }

    fn renewed_at(&self, moment: Moment) {
        *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

impl<R: Renew> Keeper<R> {
    /// Starts to renew what was taken by a request that was begun at `taken` and that stands for `ttl` after.
    pub fn start(grip: R, ttl: Duration, taken: Moment, on_event: OnLockEvent) -> Self {
        let state = Arc::new(State {
            ttl,
            renewed: Mutex::new(taken),
            lost: watch::Sender::new(None),
        });
        let (stop, stopped) = oneshot::channel();
        let (ask, asked) = mpsc::channel(1);
        let task = tokio::spawn(run(grip, Arc::clone(&state), asked, stopped, on_event));
        Self {
            state,
            ask,
            stop: Some(stop),
            task: Some(task),
        }
    }

    /// Why the lock is lost, if it is.
    pub fn lost(&self) -> Option<String> {
        self.state.lost()
    }

    /// Renews it now. When that fails for a while, it is tried again until it succeeds or the lock is lost: then it says why.
    ///
    /// # Errors
    /// Why the lock is lost.
    pub async fn confirm(&self) -> Result<(), String> {
        loop {
            let (tell, told) = oneshot::channel();
            // Where the task has ended, nobody answers: then it is lost.
            let asked = self.ask.send(tell).await.is_ok();
            let answer = if asked { told.await.ok() } else { None };
            match (self.lost(), answer) {
                (Some(why), _) | (None, Some(Err(Trouble::Lost(why)))) => return Err(why),
                (None, Some(Ok(()))) => return Ok(()),
                (None, Some(Err(Trouble::Passing(_))) | None) => {
                    sleep((self.state.ttl / 12).min(self.state.left())).await;
                }
            }
        }
    }

    /// Waits until the lock is lost, and says why.
    pub async fn wait_lost(&self) -> String {
        let mut changes = self.state.lost.subscribe();
        loop {
            if let Some(why) = self.state.lost() {
                return why;
            }
            // The sender lives in the state: there is always one.
            let _ = timeout(LOOK.min(self.state.left()), changes.changed()).await;
        }
    }

    /// Stops to renew, and hands back what was renewed; nothing when the task ended in a way that it never should.
    pub async fn stop(mut self) -> Option<R> {
        drop(self.stop.take());
        match self.task.take() {
            Some(task) => task.await.ok(),
            None => None,
        }
    }
}

impl<R> Drop for Keeper<R> {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn run<R: Renew>(
    mut grip: R,
    state: Arc<State>,
    mut asked: mpsc::Receiver<Answer>,
    mut stopped: oneshot::Receiver<()>,
    on_event: OnLockEvent,
) -> R {
    let every = state.ttl / 3;
    let mut wait = every;
    loop {
        // The keeper lives as long as its task.
        let answer = tokio::select! {
            biased;
            _ = &mut stopped => return grip,
            Some(answer) = asked.recv() => Some(answer),
            () = sleep(wait) => None,
        };
        if state.lost().is_some() {
            break;
        }
        let began = Moment::now();
        let renewed = tokio::select! {
            biased;
            _ = &mut stopped => return grip,
            // A connection that hangs must not use up all the time: another one may work.
            renewed = timeout(state.left().min(every), grip.renew()) => {
                renewed.unwrap_or_else(|_| Err(Trouble::Passing("no answer came".to_owned())))
            }
        };
        match &renewed {
            Ok(()) => {
                state.renewed_at(began);
                wait = every.saturating_sub(began.elapsed());
            }
            Err(Trouble::Lost(why)) => {
                state.lose(why.clone());
                break;
            }
            Err(Trouble::Passing(why)) => {
                let why = why.clone();
                on_event(LockEvent::NotRenewed {
                    why,
                    left: state.left(),
                });
                wait = (every / 4).min(state.left());
            }
        }
        if let Some(answer) = answer {
            // Who asked may have stopped to wait.
            let _ = answer.send(renewed);
        }
    }
    // Nobody else is answered.
    drop(asked);
    if let Some(why) = state.lost() {
        on_event(LockEvent::Lost { why });
    }
    tokio::select! {
        _ = &mut stopped => {}
        () = pending() => {}
    }
    grip
}
