//! A stage's lock, held: taken on whichever board the stage has, renewed in a task, given back.
//!
//! Not here: what is done under it. Who does it looks at [`Lock::lost`] before each step that tells hosts something.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shipit_store::lock::{Keeper, Renew, Trouble, Waited, wait_for};

pub use shipit_store::lock::{LockEvent, OnLockEvent};

use crate::board::{Attempt, Board, Error, Grip, Held, Holder};

/// A stage's lock, held and renewed. Who is done gives it back by [`Lock::release`]; dropped without that, it frees itself.
#[derive(Debug)]
pub struct Lock {
    keeper: Keeper<Renewing>,
    holder: Holder,
}

struct Renewing {
    board: Arc<dyn Board>,
    grip: Grip,
}

impl std::fmt::Debug for Renewing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}

#[async_trait]
impl Renew for Renewing {
    async fn renew(&mut self) -> Result<(), Trouble> {
        match self.board.renew(&mut self.grip).await {
            Ok(()) => Ok(()),
            Err(Error::Lost { why, .. }) => Err(Trouble::Lost(why)),
            Err(error) => Err(Trouble::Passing(error.in_one_line())),
        }
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// Somebody had it all the time.
    #[error("it is locked by {}", .0.holder.who)]
    Held(Box<Held>),
    /// The wait was stopped. Nothing is held.
    #[error("stopped")]
    Stopped,
    /// The board did not do it.
    #[error(transparent)]
    Board(#[from] Error),
}

impl Lock {
    /// Takes the stage's lock, and waits for it as long as `wait` says when somebody has it, at most until `stop` ends.
    ///
    /// # Errors
    /// [`TakeError`]; nothing is held then.
    pub async fn take(
        board: Arc<dyn Board>,
        holder: Holder,
        wait: Duration,
        on_event: OnLockEvent,
        stop: impl Future<Output = ()>,
    ) -> Result<Self, TakeError> {
        let attempt = async || {
            Ok::<_, Error>(match board.try_lock(&holder).await? {
                Attempt::Taken(grip) => Ok(grip),
                Attempt::Held(held) => Err(held),
            })
        };
        let grip = match wait_for(wait, stop, &on_event, |held| &held.holder, attempt).await? {
            Waited::Taken(taken) => taken,
            Waited::Held(held) => return Err(TakeError::Held(held)),
            Waited::Stopped(taken) => {
                if let Some(grip) = taken {
                    board.release(grip).await?;
                }
                return Err(TakeError::Stopped);
            }
        };
        let (ttl, taken) = (board.ttl(), grip.taken());
        let keeper = Keeper::start(Renewing { board, grip }, ttl, taken, on_event);
        Ok(Self { keeper, holder })
    }

    /// Who holds it: as it was taken.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Why it is lost, if it is. That is for good, also when nobody else has it.
    pub fn lost(&self) -> Option<String> {
        self.keeper.lost()
    }

    /// Waits until it is lost, and says why.
    pub async fn wait_lost(&self) -> String {
        self.keeper.wait_lost().await
    }

    /// Gives it back; one that is not ours any more is left alone.
    ///
    /// # Errors
    /// The board's: then it frees itself.
    pub async fn release(self) -> Result<(), Error> {
        match self.keeper.stop().await {
            Some(Renewing { board, grip }) => board.release(grip).await,
            None => Ok(()),
        }
    }

    /// Turns it into a manual lock, without a moment in which it is free. Yields who has it when it was lost to
    /// somebody meanwhile.
    ///
    /// # Errors
    /// The board's: then it frees itself.
    pub async fn turn_manual(self, holder: &Holder) -> Result<Option<Held>, Error> {
        match self.keeper.stop().await {
            Some(Renewing { board, grip }) => board.lock_by_hand(holder, Some(grip)).await,
            // Whether it stands is not known, and no manual one does.
            None => Err(Error::Lost {
                what: "this deploy".to_owned(),
                why: "what renewed it came to no good end".to_owned(),
                now: None,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use shipit_store::{Store, StoreOptions, StoreUrl};
    use tokio::runtime::Runtime;

    use super::*;
    use crate::board::StoreBoard;

    fn holder(id: &str, manual: bool) -> Holder {
        Holder {
            id: id.to_owned(),
            who: "deploy@ci".to_owned(),
            build: None,
            pid: None,
            doing: "rollback web".to_owned(),
            revision: None,
            reason: None,
            time: 0,
            manual,
        }
    }

    /// The stage would be free, with everybody told that it is locked.
    #[test]
    fn what_is_not_renewed_any_more_is_not_turned_into_a_manual_lock() {
        let dir = tempfile::tempdir().unwrap();
        let url = StoreUrl::parse(&format!("file://{}/store", dir.path().display())).unwrap();
        let store = Store::open(&url, StoreOptions::default()).unwrap();
        let board: Arc<dyn Board> = Arc::new(StoreBoard::new(&store, "shop", "staging").unwrap());
        let (renews, own) = (Runtime::new().unwrap(), Runtime::new().unwrap());
        let silent: OnLockEvent = Arc::new(|_| {});
        let take = Lock::take(
            board,
            holder("a", false),
            Duration::ZERO,
            silent,
            std::future::pending(),
        );
        let lock = renews.block_on(take).unwrap();
        renews.shutdown_background();
        let turned = own.block_on(lock.turn_manual(&holder("b", true)));
        assert!(matches!(turned, Err(Error::Lost { .. })), "{turned:?}");
    }
}
