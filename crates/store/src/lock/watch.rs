//! Whether a lock that somebody wrote is still held: by what its holder left, and by our own eyes. By clocks alone none is free: one
//! may be hours off, and a store that is a directory does not mind.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::clock::unix_now;
use super::document::Document;
use super::{Moment, witness};

/// Whether a lock that is there can be taken.
pub(super) enum Verdict {
    /// It was given back.
    Free,
    /// Somebody has it.
    Held,
    /// Its holder is gone.
    Left,
    /// It expired; whether renewals still come is to be seen for so much longer.
    Watch(Duration),
}

/// For how long a lock has been seen unchanged.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Option<Seen>>);

/// An etag, and since when it is there.
#[derive(Debug)]
struct Seen {
    etag: String,
    since: Moment,
}

impl Watch {
    /// What becomes of a lock that reads so. Its holder gives up a TTL after the last renewal that it began; we have seen
    /// that renewal's bytes later than that.
    pub(super) fn judge(&self, document: &Document, etag: &str, witnesses: Option<&Path>) -> Verdict {
        if document.released {
            return Verdict::Free;
        }
        let age = self.seen_for(etag);
        if document.expires.is_none() {
            return Verdict::Held;
        }
        if witnesses.is_some_and(|dir| witness::is_dead(dir, &document.holder.id)) {
            return Verdict::Left;
        }
        let (ttl, now) = (document.ttl(), unix_now());
        if age > ttl + ttl / 30 {
            return Verdict::Left;
        }
        if !document.stale(now) {
            return Verdict::Held;
        }
        // Renewals come every third of the TTL.
        match (ttl * 2 / 5).saturating_sub(age) {
            Duration::ZERO => Verdict::Left,
            rest => Verdict::Watch(rest),
        }
    }

    /// For how long this etag has been seen.
    fn seen_for(&self, etag: &str) -> Duration {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.as_ref() {
            Some(seen) if seen.etag == etag => seen.since.elapsed(),
            _ => {
                *seen = Some(Seen {
                    etag: etag.to_owned(),
                    since: Moment::now(),
                });
                Duration::ZERO
            }
        }
    }
}
