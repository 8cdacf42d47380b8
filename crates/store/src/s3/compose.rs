//! Making an object of parts that are copied from others in the bucket and parts that are sent.
//!
//! What is copied is compared before the object is completed: by the checksum that the server gives for each copied part and
//! for the whole, or, where a server gives that of another object, by the parts' etags. Copied parts come first: when one
//! cannot be had, nothing was sent yet, and all is sent as it would be without.

mod parts;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::S3;
use super::checksum::size_of;
use super::multipart::Completed;
use super::read::Stat;
use crate::copy_plan::{self, Limits, Plan};
use crate::{Body, Error, ErrorKind, Event, Held, Put, PutOptions, PutOutcome, retry};

/// How often it is begun anew when the object vanishes between the server's refusal and our look.
const ROUNDS: u32 = 3;

/// One object that is made.
struct Job<'a> {
    key: &'a str,
    /// The local file, and where in it the object begins.
    path: &'a Path,
    base: u64,
    size: u64,
    plan: Plan,
    /// What is known of the objects that are copied from.
    sources: BTreeMap<String, Stat>,
    options: &'a PutOptions,
    /// Bytes that were sent, in all attempts.
    sent: AtomicU64,
}

/// Why an object was not made.
enum Trouble {
    /// It would not be made without copying either.
    Fatal(Error),
    /// Sending all of it may do.
    NotCopied(String),
    /// The server gives no checksum of copied parts, or that of the whole source for a part of it.
    NoPartSums,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let fatal = match error.kind() {
            ErrorKind::Local
            | ErrorKind::Usage
            | ErrorKind::Credentials
            | ErrorKind::NoBucket
            | ErrorKind::Setup => true,
            _ => matches!(error, Error::Unreachable { .. } | Error::DamagedFile { .. }),
        };
        if fatal {
            Self::Fatal(error)
        } else {
            Self::NotCopied(retry::reason(&error))
        }
    }
}

impl S3 {
    pub(super) async fn put_difference(
        &self,
        key: &str,
        body: &Body,
        held: &[Held],
        options: &PutOptions,
    ) -> Result<Put, Error> {
        let size = size_of(body).await?;
        let (path, base): (&Path, u64) = match body {
            Body::File(path) => (path, 0),
            Body::Part { path, range } => (path, range.start),
            Body::Bytes(_) => return self.put_all(key, body, size, options, 0).await,
        };
        // Cheap, and what is there needs no plan.
        if held.is_empty() || self.stat(key).await?.is_some() {
            return self.put_all(key, body, size, options, 0).await;
        }
        let (trouble, sent) = match self.planned(size, held).await {
            Ok(None) => (None, 0),
            Ok(Some((plan, sources))) => {
                let job = Job {
                    key,
                    path,
                    base,
                    size,
                    plan,
                    sources,
                    options,
                    sent: AtomicU64::new(0),
                };
                match self.compose_new(&job, body).await {
                    Ok(Some(put)) => return Ok(put),
                    Ok(None) => (None, job.sent.into_inner()),
                    Err(trouble) => (Some(trouble), job.sent.into_inner()),
                }
            }
            Err(trouble) => (Some(trouble), 0),
        };
        match trouble {
            Some(Trouble::Fatal(error)) => return Err(error),
            Some(Trouble::NotCopied(why)) => self.emit(Event::NotCopied {
                key: key.to_owned(),
                why,
            }),
            Some(Trouble::NoPartSums) | None => {}
        }
        self.put_all(key, body, size, options, sent).await
    }

    /// Sends all of it; `before` bytes were sent already, for nothing.
    async fn put_all(
        &self,
        key: &str,
        body: &Body,
        size: u64,
        options: &PutOptions,
        before: u64,
    ) -> Result<Put, Error> {
        let outcome = self.put_new(key, body, options).await?;
        let sent = if outcome == PutOutcome::Created { size } else { 0 };
        Ok(Put {
            outcome,
            sent: before + sent,
            copied: 0,
        })
    }

    /// The plan, with what is known of each object that is copied from. What is gone, or too short, is not copied from.
    async fn planned(
        &self,
        size: u64,
        held: &[Held],
    ) -> Result<Option<(Plan, BTreeMap<String, Stat>)>, Trouble> {
        let mut sources = BTreeMap::new();
        for run in held {
            if !sources.contains_key(&run.key)
                && let Some(stat) = self.stat(&run.key).await?
            {
                sources.insert(run.key.clone(), stat);
            }
        }
        let there = |run: &&Held| {
            let end = run.from.saturating_add(run.at.end.saturating_sub(run.at.start));
            sources.get(&run.key).is_some_and(|stat| end <= stat.size)
        };
        let held: Vec<Held> = held.iter().filter(there).cloned().collect();
        let limits = Limits {
            own_part: self.inner.options.part_size,
            largest_copy: self.inner.options.largest_copy,
        };
        let mut plan = copy_plan::plan(size, &held, limits);
        if let Some(plan) = &mut plan {
            // Of all of an object the server may give the checksum that it keeps instead of one of the bytes that are there.
            let size_of = |held: &Held| sources.get(&held.key).map(|stat| stat.size);
            plan.halve(|held| size_of(held) == Some(held.at.end - held.at.start));
        }
        Ok(plan.map(|plan| (plan, sources)))
    }

    /// Nothing when it has to be begun anew too often.
    async fn compose_new(&self, job: &Job<'_>, body: &Body) -> Result<Option<Put>, Trouble> {
        for _ in 0..ROUNDS {
            let summed = !self.inner.no_part_sums.load(Ordering::Relaxed);
            let created = match self.compose(job, summed).await {
                Err(Trouble::NoPartSums) if summed => {
                    self.inner.no_part_sums.store(true, Ordering::Relaxed);
                    self.compose(job, false).await?
                }
                other => other?,
            };
            if created {
                self.emit(Event::Stored {
                    key: job.key.to_owned(),
                    bytes: job.size,
                });
                return Ok(Some(Put {
                    outcome: PutOutcome::Created,
                    sent: job.sent.load(Ordering::Relaxed),
                    copied: job.plan.copied(),
                }));
            }
            // Different content there is an error whichever way it was to be written.
            let there = self.compare(job.key, body, job.options).await;
            if let Some(outcome) = there.map_err(Trouble::Fatal)? {
                return Ok(Some(Put {
                    outcome,
                    sent: job.sent.load(Ordering::Relaxed),
                    copied: 0,
                }));
            }
        }
        Ok(None)
    }

    /// False when something is there already, or the upload was lost. With `summed` the server checks each part and the whole.
    async fn compose(&self, job: &Job<'_>, summed: bool) -> Result<bool, Trouble> {
        let content_type = job.options.content_type.as_deref();
        let mut upload = self.begin(job.key, content_type, summed).await?;
        let done = match self.fill(job, &upload, summed).await {
            Ok((parts, whole)) => self
                .complete(&mut upload, parts, &whole)
                .await
                .map_err(Trouble::from),
            Err(trouble) => Err(trouble),
        };
        match done {
            Ok(Completed::Created) => Ok(true),
            Ok(Completed::Lost) => Ok(false),
            Ok(Completed::Exists) => {
                self.abort(&mut upload).await;
                Ok(false)
            }
            Err(trouble) => {
                self.abort(&mut upload).await;
                Err(trouble)
            }
        }
    }
}
