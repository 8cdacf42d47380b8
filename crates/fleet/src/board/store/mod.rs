//! [`Board`] in the store, where there is no Consul: the lock is an object of its own, and the reports lie beside the history,
//! in the kick that they answer, create-only. The kick writes them, from what each host's command came to.
//!
//! What was asked is what `started.json` says. Old kicks keep their reports; of releases that are no more the logs alone go.

mod files;
mod reading;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use shipit_store::kick::{self, KickId};
use shipit_store::lock::{LockAttempt, LockGrip, LockHeld, LockPlace, Moment};
use shipit_store::{PutOptions, Store, layout};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use self::files::{HostFile, Stored, What, role_and_once, tail};
use self::reading::{NEWEST, Place, Reading};
use super::{Attempt, Board, Cursor, Error, Grip, Held, Holder, HostLog};
use crate::report::{Asked, Found, LOG_LIMIT, Report};

/// How often is looked for new reports.
const EVERY: Duration = Duration::from_secs(1);

/// How many of a stage's kicks are looked at for a log.
const KICKS_FOR_A_LOG: usize = 500;

/// A stage's lock and reports in the store. It remembers what it has read.
#[derive(Debug)]
pub struct StoreBoard {
    store: Store,
    app: String,
    stage: String,
    lock: LockPlace,
    reading: Mutex<Reading>,
    index: AtomicU64,
}

impl StoreBoard {
    /// The board of a stage. Nothing is read or written yet.
    ///
    /// # Errors
    /// A name that cannot be part of a key.
    pub fn new(store: &Store, app: &str, stage: &str) -> Result<Self, Error> {
        Ok(Self {
            lock: LockPlace::stage(store, app, stage)?,
            store: store.clone(),
            app: app.to_owned(),
            stage: stage.to_owned(),
            reading: Mutex::default(),
            index: AtomicU64::new(0),
        })
    }

    /// With another TTL of its lock, of whole seconds.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.lock = self.lock.with_ttl(ttl);
        self
    }

    /// With a directory of this machine in which a holder that is killed leaves a sign, so that its lock is free here at once.
    #[must_use]
    pub fn with_witnesses(mut self, dir: &Path) -> Self {
        self.lock = self.lock.with_witnesses(dir);
        self
    }

    fn place(&self) -> Place<'_> {
        Place {
            store: &self.store,
            app: &self.app,
            stage: &self.stage,
        }
    }

    /// The index of the last report that was written here, and no less than what all of a kick's are greater than.
    fn last_index(&self, kick: &KickId) -> u64 {
        let base = first_index(kick);
        self.index.fetch_max(base, Ordering::SeqCst).max(base)
    }

    /// The index of a kick's next report.
    fn next_index(&self, kick: &KickId) -> u64 {
        self.last_index(kick);
        self.index.fetch_add(1, Ordering::SeqCst) + 1
    }

    async fn found(&self, role: &str) -> Result<(Vec<Found>, bool), Error> {
        let (kicked, once) = role_and_once(role);
        let mut reading = self.reading.lock().await;
        let seen = reading.look(&self.place(), kicked, once).await?;
        let mut newest: BTreeMap<(&str, &str), &Stored> = BTreeMap::new();
        for (_, known) in &seen.kicks {
            let reports = known.reports.iter().filter(|((_, of), _)| *of == once);
            for ((node, _), stored) in reports {
                let other = newest.entry((node, &stored.release)).or_insert(stored);
                if other.index < stored.index {
                    *other = stored;
                }
            }
        }
        let found = newest.into_iter().map(|((node, release), stored)| Found {
            node: node.to_owned(),
            release: release.to_owned(),
            index: stored.index,
            report: stored.report.clone(),
        });
        Ok((found.collect(), seen.fresh))
    }

    /// The kick that a report is about: the one that it names, else the newest of its release.
    async fn kick_of(&self, role: &str, release: &str, report: &Report) -> Result<KickId, Error> {
        if let Some(kick) = &report.kick {
            return Ok(KickId::parse(kick)?);
        }
        let kicks = kick::list(&self.store, &self.app, &self.stage, Some(role), None).await?;
        let found = kicks.into_iter().find(|kick| kick.started.release == release);
        let found = found.ok_or_else(|| shipit_store::Error::NotFound {
            url: format!(
                "a kick of {release} for {role} below {}",
                self.store.url_of("kicks")
            ),
        })?;
        Ok(found.started.kick)
    }

    async fn put(&self, key: &str, bytes: Vec<u8>, content_type: &str) -> Result<(), Error> {
        let options = PutOptions {
            content_type: Some(content_type.to_owned()),
            sha256: None,
        };
        self.store.put_if_absent(key, bytes.into(), &options).await?;
        Ok(())
    }

    /// An object that may not be there, as text.
    async fn text(&self, key: &str) -> Result<Option<String>, Error> {
        match self.store.get_bytes(key, LOG_LIMIT as u64).await {
            Ok(content) => Ok(Some(String::from_utf8_lossy(&content.bytes).into_owned())),
            Err(shipit_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Board for StoreBoard {
    fn ttl(&self) -> Duration {
        self.lock.ttl()
    }

    async fn try_lock(&self, holder: &Holder) -> Result<Attempt, Error> {
        let begin = Moment::now();
        Ok(match self.lock.attempt(holder).await? {
            LockAttempt::Taken(grip) => Attempt::Taken(from_store(grip, begin)),
            LockAttempt::Held(held) => Attempt::Held(Box::new(held_from_store(*held))),
        })
    }

    async fn renew(&self, grip: &mut Grip) -> Result<(), Error> {
        let mut own = to_store(grip);
        let renewed = self.lock.renew(&mut own).await;
        *grip = from_store(own, grip.taken);
        renewed.map_err(|error| match error {
            shipit_store::Error::LockLost { what, why, now } => Error::Lost { what, why, now },
            other => other.into(),
        })
    }

    async fn release(&self, grip: Grip) -> Result<(), Error> {
        Ok(self.lock.release(to_store(&grip)).await?)
    }

    async fn lock_by_hand(&self, holder: &Holder, instead_of: Option<Grip>) -> Result<Option<Held>, Error> {
        let grip = instead_of.as_ref().map(to_store);
        let held = self.lock.set_manual(holder, grip).await?;
        Ok(held.map(held_from_store))
    }

    async fn break_lock(&self, held: &Held) -> Result<(), Error> {
        let held = LockHeld {
            holder: held.holder.clone(),
            etag: held.version.clone(),
        };
        if self.lock.end(&held).await? {
            return Ok(());
        }
        Err(Error::Changed {
            what: self.lock.what().to_owned(),
        })
    }

    async fn held(&self) -> Result<Option<Held>, Error> {
        Ok(self.lock.held().await?.map(held_from_store))
    }

    async fn ask(&self, _role: &str, asked: &Asked, _nodes: &[String]) -> Result<Cursor, Error> {
        // Who is told what stands in started.json, and hosts read nothing here.
        Ok(Cursor(self.last_index(&KickId::parse(&asked.kick)?)))
    }

    async fn asked(&self, role: &str) -> Result<BTreeMap<String, Asked>, Error> {
        let mut asked = BTreeMap::new();
        let (kicked, once) = role_and_once(role);
        if once {
            return Ok(asked);
        }
        let mut ids = kick::ids(&self.store, &self.app, &self.stage).await?;
        ids.truncate(NEWEST);
        let mut reading = self.reading.lock().await;
        for some in ids.chunks(self.store.at_once()) {
            for started in reading.started(&self.place(), some).await? {
                if started.role != kicked {
                    continue;
                }
                for node in &started.hosts {
                    asked.entry(node.clone()).or_insert_with(|| Asked {
                        kick: started.kick.to_string(),
                        release: started.release.clone(),
                    });
                }
                if started.whole {
                    return Ok(asked);
                }
            }
        }
        Ok(asked)
    }

    async fn reports(
        &self,
        role: &str,
        seen: Option<Cursor>,
        wait: Duration,
    ) -> Result<(Vec<Found>, Cursor), Error> {
        let until = Instant::now() + wait;
        loop {
            let (found, fresh) = self.found(role).await?;
            let last = seen.map_or(0, |seen| seen.0);
            let newest = found.iter().map(|found| found.index).max().unwrap_or_default();
            let left = until.saturating_duration_since(Instant::now());
            if seen.is_none() || newest > last || fresh || left.is_zero() {
                return Ok((found, Cursor(newest.max(last))));
            }
            sleep(EVERY.min(left)).await;
        }
    }

    async fn put_report(
        &self,
        role: &str,
        node: &str,
        release: &str,
        report: &Report,
        log: Option<&str>,
    ) -> Result<(), Error> {
        let (kicked, once) = role_and_once(role);
        let kick = self.kick_of(kicked, release, report).await?;
        let prefix = self.place().prefix(&kick)?;
        let file = |what| {
            let node = node.to_owned();
            format!("{prefix}{}", HostFile { node, once, what }.name())
        };
        // First the log: who sees the report finds it.
        if let Some(log) = log {
            let key = file(What::Log);
            self.put(&key, tail(log).as_bytes().to_vec(), "text/plain; charset=utf-8")
                .await?;
        }
        let key = file(What::of(report.state));
        let stored = Stored {
            release: release.to_owned(),
            index: self.next_index(&kick),
            report: report.clone(),
        };
        let bytes = serde_json::to_vec(&stored).map_err(|error| Error::Corrupt {
            what: self.store.url_of(&key),
            why: error.to_string(),
        })?;
        self.put(&key, bytes, "application/json").await
    }

    async fn log(&self, role: &str, node: &str, release: Option<&str>) -> Result<Option<HostLog>, Error> {
        let (kicked, once) = role_and_once(role);
        let mut ids = kick::ids(&self.store, &self.app, &self.stage).await?;
        ids.truncate(KICKS_FOR_A_LOG);
        let mut reading = self.reading.lock().await;
        for some in ids.chunks(self.store.at_once()) {
            let started = reading.started(&self.place(), some).await?;
            let of_role = started.into_iter().filter(|started| {
                started.role == kicked && release.is_none_or(|release| started.release == release)
            });
            for started in of_role {
                let prefix = self.place().prefix(&started.kick)?;
                let file = |what| {
                    let node = node.to_owned();
                    format!("{prefix}{}", HostFile { node, once, what }.name())
                };
                if let Some(text) = self.text(&file(What::Log)).await? {
                    let release = started.release.clone();
                    return Ok(Some(HostLog { release, text }));
                }
                // What an older deploy printed is not what is asked for.
                if release.is_none() && self.store.head(&file(What::Ended)).await?.is_some() {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    async fn forget(&self, releases: &[String]) -> Result<u64, Error> {
        let prefix = layout::kicks_prefix(&self.app, &self.stage)?;
        let mut logs: BTreeMap<KickId, Vec<String>> = BTreeMap::new();
        for meta in self.store.list(&prefix).await? {
            let path = meta
                .key
                .strip_prefix(&prefix)
                .and_then(|path| path.split_once('/'));
            let Some((Ok(id), name)) = path.map(|(id, name)| (KickId::parse(id), name)) else {
                continue;
            };
            if HostFile::parse(name).is_some_and(|file| file.what == What::Log) {
                logs.entry(id).or_default().push(meta.key);
            }
        }
        let ids: Vec<KickId> = logs.keys().cloned().collect();
        let mut reading = self.reading.lock().await;
        let mut gone = 0;
        for started in reading.started(&self.place(), &ids).await? {
            if !releases.contains(&started.release) {
                continue;
            }
            for key in logs.remove(&started.kick).unwrap_or_default() {
                self.store.delete(&key).await?;
                gone += 1;
            }
        }
        Ok(gone)
    }
}

/// What the indexes of all of a kick's reports are greater than: they are numbered from its id's time on, in microseconds. Ids
/// ascend whatever the clocks of those who kick, and so do reports; no kick has a million of them.
fn first_index(kick: &KickId) -> u64 {
    u64::try_from(kick.time()).unwrap_or_default() * 1_000_000
}

/// Consul's grips have one token; the store's is how often it was renewed, and the etag.
fn from_store(grip: LockGrip, taken: Moment) -> Grip {
    Grip {
        token: format!("{} {}", grip.renewals, grip.etag),
        holder: grip.holder,
        taken,
    }
}

fn to_store(grip: &Grip) -> LockGrip {
    let (renewals, etag) = grip.token.split_once(' ').unwrap_or(("0", &grip.token));
    LockGrip {
        holder: grip.holder.clone(),
        etag: etag.to_owned(),
        renewals: renewals.parse().unwrap_or_default(),
    }
}

fn held_from_store(held: LockHeld) -> Held {
    Held {
        holder: held.holder,
        version: held.etag,
    }
}
