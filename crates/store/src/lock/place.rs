//! One lock's object: taking it, renewing it, giving it back, all by conditional writes.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::document::{Document, LockAttempt, LockGrip, LockHeld};
use super::watch::{Verdict, Watch};
use super::witness::{self, Witness};
use super::{Holder, LOCK_TTL};
use crate::{Error, ErrorKind, Event, Store, layout};

/// No lock's object is larger.
const LARGEST: u64 = 64 << 10;

/// How often an attempt begins anew when the object changes between the look and the write.
const ROUNDS: u32 = 5;

/// How often an expired lock is looked at while it is watched.
const LOOK: Duration = Duration::from_millis(500);

/// What stands in a lock's place.
enum Standing {
    Nothing,
    /// It was given back, or is our own.
    Free {
        etag: String,
    },
    /// Its holder is gone.
    Left {
        holder: Holder,
        etag: String,
    },
    Held(LockHeld),
}

/// Where one lock lies. It remembers for how long it has seen the lock unchanged: who waits uses one place.
#[derive(Debug)]
pub struct LockPlace {
    store: Store,
    key: String,
    /// What is locked, for people: `publishing shop`, `shop in production`.
    what: String,
    ttl: Duration,
    watch: Watch,
    /// Where witnesses are, and the one of the lock that is held here.
    witnesses: Option<PathBuf>,
    witness: Mutex<Option<Witness>>,
}

impl LockPlace {
    /// The lock of publishing and pruning: `locks/<app>/publish`.
    ///
    /// # Errors
    /// The app's name is none.
    pub fn publish(store: &Store, app: &str) -> Result<Self, Error> {
        let key = layout::publish_lock_key(app)?;
        Ok(Self::new(store, key, format!("publishing {app}")))
    }

    /// A stage's lock where there is no Consul: `locks/<app>/<stage>`.
    ///
    /// # Errors
    /// A name is none, or the stage is called `publish`.
    pub fn stage(store: &Store, app: &str, stage: &str) -> Result<Self, Error> {
        let key = layout::stage_lock_key(app, stage)?;
        Ok(Self::new(store, key, format!("{app} in {stage}")))
    }

    fn new(store: &Store, key: String, what: String) -> Self {
        Self {
            store: store.clone(),
            key,
            what,
            ttl: LOCK_TTL,
            watch: Watch::default(),
            witnesses: None,
            witness: Mutex::new(None),
        }
    }

    /// With another TTL, of whole seconds.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// With a directory of this machine in which a holder that is killed leaves a sign: who wants its lock here has it at once.
    #[must_use]
    pub fn with_witnesses(mut self, dir: &Path) -> Self {
        self.witnesses = Some(dir.to_owned());
        self
    }

    /// How long it stands that its holder does not renew it.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// What is locked, for people.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Tries once to take the lock for a holder that renews it. A lock that expired is watched first for as long as a renewal
    /// may take to come, some seconds; dropping the future in that time leaves nothing behind.
    ///
    /// # Errors
    /// The store's, or what lies there is no lock.
    pub async fn attempt(&self, holder: &Holder) -> Result<LockAttempt, Error> {
        let attempt = self.write_when_free(holder, Some(self.ttl)).await?;
        if matches!(attempt, LockAttempt::Held(_)) {
            self.unwitness(&holder.id);
        }
        Ok(attempt)
    }

    /// Sets a lock that does not expire: where there is none, or in place of the one that is held. Yields who has it
    /// when that is somebody else.
    ///
    /// # Errors
    /// As [`LockPlace::attempt`].
    pub async fn set_manual(
        &self,
        holder: &Holder,
        instead_of: Option<LockGrip>,
    ) -> Result<Option<LockHeld>, Error> {
        if let Some(mut grip) = instead_of {
            for _ in 0..ROUNDS {
                let document = Document::new(holder, None, 0);
                match self.put(&document, Some(&grip.etag)).await {
                    Ok(_) => {
                        self.unwitness(&grip.holder.id);
                        return Ok(None);
                    }
                    Err(error) if error.kind() != ErrorKind::Changed => return Err(error),
                    Err(_) => {}
                }
                match self.read().await? {
                    // A renewal that nobody waited for any more.
                    Some((found, etag)) if found.holder.id == grip.holder.id => grip.etag = etag,
                    _ => break,
                }
            }
        }
        match self.write_when_free(holder, None).await? {
            LockAttempt::Taken(_) => Ok(None),
            LockAttempt::Held(held) => Ok(Some(*held)),
        }
    }

    /// Renews the lock.
    ///
    /// # Errors
    /// [`Error::LockLost`] when it is not ours any more; else the store's, after which it may still be.
    pub async fn renew(&self, grip: &mut LockGrip) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            grip.renewals += 1;
            let document = Document::new(&grip.holder, Some(self.ttl), grip.renewals);
            match self.put(&document, Some(&grip.etag)).await {
                Ok(etag) => {
                    grip.etag = etag;
                    return Ok(());
                }
                Err(error) if error.kind() != ErrorKind::Changed => return Err(error),
                Err(_) => {}
            }
            match self.read().await? {
                // A renewal was done that nobody waited for any more.
                Some((found, etag)) if found.holder.id == grip.holder.id => {
                    grip.etag = etag;
                    grip.renewals = grip.renewals.max(found.renewals);
                }
                found => return Err(self.lost(found.map(|(document, _)| document.holder))),
            }
        }
        Err(self.changing())
    }

    /// Gives the lock back. One that is not ours any more is left alone.
    ///
    /// # Errors
    /// The store's: then it frees itself.
    pub async fn release(&self, mut grip: LockGrip) -> Result<(), Error> {
        for _ in 0..ROUNDS {
            match self.remove(&grip.holder, &grip.etag).await {
                Ok(()) => {
                    self.unwitness(&grip.holder.id);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Changed => {}
                Err(error) => return Err(error),
            }
            match self.read().await? {
                Some((found, etag)) if found.holder.id == grip.holder.id => grip.etag = etag,
                _ => {
                    self.unwitness(&grip.holder.id);
                    return Ok(());
                }
            }
        }
        Err(self.changing())
    }

    /// Ends a lock that was looked at before, whoever holds it; false when another holder has it now.
    ///
    /// # Errors
    /// The store's.
    pub async fn end(&self, held: &LockHeld) -> Result<bool, Error> {
        let mut etag = held.etag.clone();
        for _ in 0..ROUNDS {
            match self.remove(&held.holder, &etag).await {
                Err(error) if error.kind() == ErrorKind::Changed => {}
                done => return done.map(|()| true),
            }
            match self.read().await? {
                // It was renewed since.
                Some((found, now)) if found.holder.id == held.holder.id => etag = now,
                _ => return Ok(false),
            }
        }
        Err(self.changing())
    }

    /// Who holds the lock. One that expired by our clock is watched first, as in [`LockPlace::attempt`]: it is free where that one
    /// would take it.
    ///
    /// # Errors
    /// As [`LockPlace::attempt`].
    pub async fn held(&self) -> Result<Option<LockHeld>, Error> {
        match self.standing(None, &mut None).await? {
            Standing::Held(held) => Ok(Some(held)),
            Standing::Nothing | Standing::Free { .. } | Standing::Left { .. } => Ok(None),
        }
    }

    async fn write_when_free(
        &self,
        holder: &Holder,
        expires: Option<Duration>,
    ) -> Result<LockAttempt, Error> {
        let mut rounds = 0;
        let mut watched = None;
        loop {
            let (etag, left) = match self.standing(Some(holder), &mut watched).await? {
                Standing::Nothing => (None, None),
                Standing::Free { etag } => (Some(etag), None),
                Standing::Left { holder, etag } => (Some(etag), Some(holder)),
                Standing::Held(held) => return Ok(LockAttempt::Held(Box::new(held))),
            };
            if expires.is_some() {
                self.make_witness(&holder.id);
            }
            match self
                .put(&Document::new(holder, expires, 0), etag.as_deref())
                .await
            {
                Ok(etag) => {
                    if let Some(left) = left {
                        self.taken_over(left);
                    }
                    return Ok(LockAttempt::Taken(LockGrip {
                        holder: holder.clone(),
                        etag,
                        renewals: 0,
                    }));
                }
                Err(error) if error.kind() == ErrorKind::Changed && rounds < ROUNDS => rounds += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// What stands there for whoever wants the lock. One that expired is watched, once for all looks that share `watched`: its
    /// etag then. `own` is who has it already where an attempt only seemed to have failed.
    async fn standing(&self, own: Option<&Holder>, watched: &mut Option<String>) -> Result<Standing, Error> {
        loop {
            let Some((document, etag)) = self.read().await? else {
                return Ok(Standing::Nothing);
            };
            let holder = document.holder.clone();
            if own.is_some_and(|own| own.id == holder.id) {
                return Ok(Standing::Free { etag });
            }
            match self.watch.judge(&document, &etag, self.witnesses.as_deref()) {
                Verdict::Free => return Ok(Standing::Free { etag }),
                Verdict::Left => return Ok(Standing::Left { holder, etag }),
                Verdict::Watch(rest) if watched.as_ref().is_none_or(|watched| *watched == etag) => {
                    if watched.is_none() {
                        self.store.on_event().emit(Event::LockExpired {
                            lock: self.what.clone(),
                            who: holder.who,
                            watch_seconds: rest.as_secs_f64().ceil() as u64,
                        });
                        *watched = Some(etag);
                    }
                    tokio::time::sleep(LOOK.min(rest)).await;
                }
                // A renewal came: the clocks differ.
                Verdict::Watch(_) | Verdict::Held => return Ok(Standing::Held(LockHeld { holder, etag })),
            }
        }
    }

    fn taken_over(&self, left: Holder) {
        if let Some(dir) = &self.witnesses {
            witness::clear(dir, &left.id);
        }
        self.store.on_event().emit(Event::LockTakenOver {
            lock: self.what.clone(),
            who: left.who,
            doing: left.doing,
        });
    }

    /// Before the lock is written: who reads it finds the witness.
    fn make_witness(&self, id: &str) {
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dir) = &self.witnesses
            && !witness.as_ref().is_some_and(|witness| witness.is_of(id))
        {
            *witness = Witness::make(dir, id);
        }
    }

    fn unwitness(&self, id: &str) {
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = witness.take_if(|witness| witness.is_of(id)) {
            own.remove();
        }
    }

    /// Deletes the object. Who publishes need not be permitted to: then it says that it was given back.
    async fn remove(&self, holder: &Holder, etag: &str) -> Result<(), Error> {
        match self.store.delete_if_match(&self.key, etag).await {
            Err(error) if error.kind() == ErrorKind::Denied => {
                self.put(&Document::released(holder), Some(etag)).await.map(drop)
            }
            done => done,
        }
    }

    async fn put(&self, document: &Document, etag: Option<&str>) -> Result<String, Error> {
        let mut bytes =
            serde_json::to_vec_pretty(document).map_err(|error| self.corrupt(&error.to_string()))?;
        bytes.push(b'\n');
        self.store.put_if_match(&self.key, Bytes::from(bytes), etag).await
    }

    async fn read(&self) -> Result<Option<(Document, String)>, Error> {
        let content = match self.store.get_bytes(&self.key, LARGEST).await {
            Ok(content) => content,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let document = serde_json::from_slice(&content.bytes)
            .map_err(|error| self.corrupt(&format!("it is no lock: {error}")))?;
        Ok(Some((document, content.etag)))
    }

    pub(super) fn lost(&self, now: Option<Holder>) -> Error {
        let why = match &now {
            Some(holder) => format!("{} has it now ({})", holder.who, holder.doing),
            None => "it was ended by hand".to_owned(),
        };
        Error::LockLost {
            what: self.what.clone(),
            why,
            now: now.map(Box::new),
        }
    }

    fn corrupt(&self, why: &str) -> Error {
        Error::Corrupt {
            url: self.store.url_of(&self.key),
            why: why.to_owned(),
        }
    }

    fn changing(&self) -> Error {
        Error::Changed {
            url: self.store.url_of(&self.key),
        }
    }
}
