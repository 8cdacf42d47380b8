//! The lock: taken, renewed and turned into a manual one by transactions, so that nobody's lock is overrun.

use std::sync::atomic::Ordering;
use std::time::Duration;

use shipit_store::lock::Moment;

use super::{ConsulBoard, TTL};
use crate::board::{Attempt, Error, Grip, Held, Holder};
use crate::consul::{self, KvEntry, Op, Read, Txn};
use crate::report::lock_key;

/// How often it is tried anew when the lock that stood in the way was gone a moment later.
const TRIES: u32 = 10;
/// How long a renewal may take: the next one is due then.
const RENEWAL: Duration = Duration::from_secs(3);
/// How long giving back may take: it stands at the end of each kick, and a session ends without it, too.
const GIVING_BACK: Duration = Duration::from_secs(5);

impl ConsulBoard {
    fn lock(&self) -> String {
        lock_key(&self.app, &self.stage)
    }

    /// The lock, and the session that holds it.
    pub(super) async fn look(&self) -> Result<Option<(Held, Option<String>)>, Error> {
        let entry = self.client.kv_get(&self.lock(), Read::Consistent).await?;
        entry.map(|entry| self.parse(entry)).transpose()
    }

    fn parse(&self, entry: KvEntry) -> Result<(Held, Option<String>), Error> {
        let holder = serde_json::from_slice(&entry.value).map_err(|error| Error::Corrupt {
            what: format!("the key {} in Consul", entry.key),
            why: format!("it does not say who holds the lock ({error})"),
        })?;
        let held = Held {
            holder,
            version: entry.modify_index.to_string(),
        };
        Ok((held, entry.session))
    }

    fn value(&self, holder: &Holder) -> Result<Vec<u8>, Error> {
        serde_json::to_vec(holder).map_err(|error| Error::Corrupt {
            what: format!("the lock of {}", self.what()),
            why: error.to_string(),
        })
    }

    pub(super) async fn try_to_lock(&self, holder: &Holder) -> Result<Attempt, Error> {
        for _ in 0..TRIES {
            // Whoever waits asks often: a session is made only when it looks as if the lock were free. Most often nobody has it
            // and nobody waits, and then it is not looked at first.
            if self.contended.load(Ordering::Relaxed)
                && let Some((held, _)) = self.look().await?
            {
                return Ok(Attempt::Held(Box::new(held)));
            }
            let name = format!("shipit {} {}", self.app, self.stage);
            let begin = Moment::now();
            let session = match self.client.session_create(&name, TTL).await {
                Ok(session) => session,
                Err(denied @ consul::Error::Denied { .. }) => return self.kept_out(denied).await,
                Err(error) => return Err(error.into()),
            };
            let attempt = self.take(holder, &session, begin).await;
            // Its holder counts its time from when it asked: a lock that took the length of an election is taken anew.
            let late = begin.elapsed() > TTL / 2;
            match attempt {
                Ok(Attempt::Taken(grip)) if !late => return Ok(Attempt::Taken(grip)),
                Ok(Attempt::Taken(grip)) => self.end_session(&grip.token).await?,
                // It holds nothing, and ends by itself when this fails.
                other => {
                    self.contended.store(true, Ordering::Relaxed);
                    let _ = self.end_session(&session).await;
                    return other;
                }
            }
        }
        Err(Error::Changed { what: self.what() })
    }

    /// For who may make no session: a lock that somebody has is the better answer, as it would be with a session.
    async fn kept_out(&self, denied: consul::Error) -> Result<Attempt, Error> {
        match self.look().await {
            Ok(Some((held, _))) => Ok(Attempt::Held(Box::new(held))),
            _ => Err(denied.into()),
        }
    }

    /// Takes the lock for a session, in one transaction that fails when the key is there: a manual lock has no session, and
    /// Consul would give it to the first one that asks.
    async fn take(&self, holder: &Holder, session: &str, begin: Moment) -> Result<Attempt, Error> {
        let ops = [
            Op::CheckAbsent { key: self.lock() },
            Op::Lock {
                key: self.lock(),
                value: self.value(holder)?,
                session: session.to_owned(),
            },
        ];
        let doing = format!("locking {}", self.what());
        for _ in 0..TRIES {
            let failed = match self.client.txn(&doing, &ops).await? {
                Txn::Done(_) => None,
                Txn::Failed(reason) => Some(reason),
            };
            // When an answer was lost, it was sent again, and the lock in the way may be its own.
            let held = match failed {
                None => return Ok(taken(holder, session, begin)),
                Some(_) => self.look().await?,
            };
            match held {
                Some((_, Some(by))) if by == session => return Ok(taken(holder, session, begin)),
                Some((held, _)) => return Ok(Attempt::Held(Box::new(held))),
                None => {}
            }
            if !self.client.session_renew(session).await? {
                return Err(self.lost("Consul ended the session before it had the lock", None));
            }
        }
        Err(Error::Changed { what: self.what() })
    }

    pub(super) async fn renew_session(&self, grip: &Grip) -> Result<(), Error> {
        let client = self.client.within(RENEWAL);
        let stands = client.session_renew(&grip.token).await?;
        // Also a session that stands may have lost its key: to `shipit unlock`.
        let entry = client.kv_get(&self.lock(), Read::Consistent).await?;
        let ours = entry
            .as_ref()
            .is_some_and(|entry| entry.session.as_deref() == Some(&grip.token));
        if stands && ours {
            return Ok(());
        }
        let now = entry.and_then(|entry| self.parse(entry).ok());
        let why = if stands {
            "somebody ended it"
        } else {
            "it was not renewed in time, or somebody ended its session"
        };
        Err(self.lost(why, now.filter(|_| !ours).map(|(held, _)| held.holder)))
    }

    pub(super) async fn end_session(&self, session: &str) -> Result<(), Error> {
        // The key goes with it if it still has it; if not, the key is another one's, and stays.
        let client = self.client.within(GIVING_BACK);
        Ok(client.session_destroy(session).await?)
    }

    pub(super) async fn put_manual(&self, holder: &Holder) -> Result<Option<Held>, Error> {
        let value = self.value(holder)?;
        for _ in 0..TRIES {
            if self.client.kv_put(&self.lock(), &value, Some(0)).await? {
                return Ok(None);
            }
            match self.look().await? {
                Some((held, None)) if held.holder.id == holder.id => return Ok(None),
                Some((held, _)) => return Ok(Some(held)),
                None => {}
            }
        }
        Err(Error::Changed { what: self.what() })
    }

    pub(super) async fn turn_manual(&self, holder: &Holder, grip: &Grip) -> Result<Option<Held>, Error> {
        let op = Op::Unlock {
            key: self.lock(),
            value: self.value(holder)?,
            session: grip.token.clone(),
        };
        let doing = format!("turning the lock of {} into a manual one", self.what());
        let turned = self.client.txn(&doing, &[op]).await?;
        // The session holds nothing any more, and ends by itself when this fails.
        let _ = self.end_session(&grip.token).await;
        match turned {
            Txn::Done(_) => Ok(None),
            // It was lost, or the answer was; either way a manual lock is to stand here, if nobody else's does.
            Txn::Failed(_) => self.put_manual(holder).await,
        }
    }

    pub(super) async fn delete_lock(&self, held: &Held) -> Result<(), Error> {
        let changed = || Error::Changed { what: self.what() };
        let index: u64 = held.version.parse().map_err(|_| changed())?;
        // With an index of 0 Consul would delete nothing and say that it did.
        if index > 0 && self.client.kv_delete(&self.lock(), Some(index)).await? {
            return Ok(());
        }
        // It was released meanwhile, which is all that was wanted.
        match self.look().await? {
            None => Ok(()),
            Some(_) => Err(changed()),
        }
    }

    fn lost(&self, why: &str, now: Option<Holder>) -> Error {
        Error::Lost {
            what: self.what(),
            why: why.to_owned(),
            now: now.map(Box::new),
        }
    }
}

fn taken(holder: &Holder, session: &str, begin: Moment) -> Attempt {
    Attempt::Taken(Grip {
        token: session.to_owned(),
        holder: holder.clone(),
        taken: begin,
    })
}
