//! The lock of publishing and pruning, held: what a publish found in the store stays there until it is done.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Holder, Keeper, LockAttempt, LockGrip, LockPlace, Moment, OnLockEvent, Renew, Trouble, Waited, wait_for,
};
use crate::{Error, Store, retry};

/// `locks/<app>/publish`, held and renewed. Who is done gives it back by [`PublishLock::release`]; dropped without that, it frees itself within
/// twice its TTL.
#[derive(Debug)]
pub struct PublishLock {
    keeper: Keeper<Renewing>,
    what: String,
}

#[derive(Debug)]
struct Renewing {
    place: LockPlace,
    grip: LockGrip,
}

#[async_trait]
impl Renew for Renewing {
    async fn renew(&mut self) -> Result<(), Trouble> {
        match self.place.renew(&mut self.grip).await {
            Ok(()) => Ok(()),
            Err(Error::LockLost { why, .. }) => Err(Trouble::Lost(why)),
            Err(error) => Err(Trouble::Passing(retry::reason(&error))),
        }
    }
}

impl PublishLock {
    /// Takes the lock, and waits for it as long as `wait` says when somebody has it. Nothing when `stop` ended first: then
    /// nothing is held.
    ///
    /// # Errors
    /// [`Error::Locked`] when it was held all the time; else the store's.
    pub async fn take(
        store: &Store,
        app: &str,
        holder: &Holder,
        wait: Duration,
        on_event: OnLockEvent,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, Error> {
        Self::take_at(LockPlace::publish(store, app)?, holder, wait, on_event, stop).await
    }

    /// As [`PublishLock::take`], where the place is given.
    ///
    /// # Errors
    /// As [`PublishLock::take`].
    pub async fn take_at(
        place: LockPlace,
        holder: &Holder,
        wait: Duration,
        on_event: OnLockEvent,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, Error> {
        let attempt = async || {
            let began = Moment::now();
            Ok::<_, Error>(match place.attempt(holder).await? {
                LockAttempt::Taken(grip) => Ok((grip, began)),
                LockAttempt::Held(held) => Err(held),
            })
        };
        let (grip, began) = match wait_for(wait, stop, &on_event, |held| &held.holder, attempt).await? {
            Waited::Taken(taken) => taken,
            Waited::Held(held) => {
                return Err(Error::Locked {
                    what: place.what().to_owned(),
                    holder: Box::new(held.holder),
                });
            }
            Waited::Stopped(taken) => {
                if let Some((grip, _)) = taken {
                    place.release(grip).await?;
                }
                return Ok(None);
            }
        };
        let (ttl, what) = (place.ttl(), place.what().to_owned());
        let keeper = Keeper::start(Renewing { place, grip }, ttl, began, on_event);
        Ok(Some(Self { keeper, what }))
    }

    /// Asks the store whether it is still held, by renewing it: for as long as a renewal keeps others away, it is.
    ///
    /// # Errors
    /// [`Error::LockLost`] when it is not.
    pub async fn confirm(&self) -> Result<(), Error> {
        self.keeper.confirm().await.map_err(|why| self.lost(why))
    }

    /// Does some work under the lock: it is dropped when the lock is lost.
    ///
    /// # Errors
    /// The work's, or [`Error::LockLost`].
    pub async fn during<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            why = self.keeper.wait_lost() => Err(self.lost(why)),
            done = work => done,
        }
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The store's: then it frees itself.
    pub async fn release(self) -> Result<(), Error> {
        match self.keeper.stop().await {
            Some(Renewing { place, grip }) => place.release(grip).await,
            None => Ok(()),
        }
    }

    fn lost(&self, why: String) -> Error {
        Error::LockLost {
            what: self.what.clone(),
            why,
            now: None,
        }
    }
}
