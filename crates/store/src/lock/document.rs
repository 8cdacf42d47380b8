//! What a lock's object says, and what is known of one: `{holder, expires, ttl_seconds, renewals}`. A manual lock does not expire.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::clock::unix_now;
use super::{Holder, LOCK_TTL};

/// No holder is believed to have a longer TTL.
const LONGEST_TTL: u64 = 3600;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) holder: Holder,
    /// In unix seconds of the holder's clock; none of a manual lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<i64>,
    /// How long it stands after a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<u64>,
    /// No two renewals are the same bytes, not even in one second: etags are made of bytes.
    #[serde(default)]
    pub(super) renewals: u64,
    /// It was given back by who may not delete it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) released: bool,
}

impl Document {
    /// What stands from now on for a holder; for good without a TTL.
    pub(super) fn new(holder: &Holder, ttl: Option<Duration>, renewals: u64) -> Self {
        let seconds = ttl.map(|ttl| ttl.as_secs());
        Self {
            holder: holder.clone(),
            expires: seconds.map(|seconds| unix_now().saturating_add_unsigned(seconds)),
            ttl_seconds: seconds,
            renewals,
            released: false,
        }
    }

    /// What stands in a lock's place when it was given back and could not be deleted.
    pub(super) fn released(holder: &Holder) -> Self {
        Self {
            holder: holder.clone(),
            expires: Some(unix_now()),
            ttl_seconds: None,
            renewals: 0,
            released: true,
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        let seconds = self.ttl_seconds.unwrap_or(LOCK_TTL.as_secs());
        Duration::from_secs(seconds.clamp(1, LONGEST_TTL))
    }

    /// Whether, by our clock, its holder cannot believe in it any more, with half a TTL for clocks that differ.
    pub(super) fn stale(&self, now: i64) -> bool {
        let half = i64::try_from(self.ttl().as_secs() / 2).unwrap_or_default();
        self.expires
            .is_some_and(|expires| expires.saturating_add(half) <= now)
    }
}

/// A lock that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockHeld {
    /// Who, and what for.
    pub holder: Holder,
    /// The object's etag when it was looked at.
    pub etag: String,
}

/// The right to renew and to give back a lock that was taken.
#[derive(Debug)]
pub struct LockGrip {
    /// Who holds it.
    pub holder: Holder,
    /// The object's etag as it was last written.
    pub etag: String,
    /// How often it was renewed.
    pub renewals: u64,
}

/// What came of one attempt to take a lock.
#[derive(Debug)]
pub enum LockAttempt {
    /// It is ours.
    Taken(LockGrip),
    /// Somebody has it.
    Held(Box<LockHeld>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(expires: Option<i64>, ttl_seconds: Option<u64>) -> Document {
        let holder = r#"{"id":"1","who":"a@b","doing":"kick web","time":1,"manual":false}"#;
        Document {
            holder: serde_json::from_str(holder).unwrap(),
            expires,
            ttl_seconds,
            renewals: 0,
            released: false,
        }
    }

    #[test]
    fn a_lock_is_stale_half_a_ttl_after_it_expired_and_a_manual_one_never() {
        let kept = document(Some(1000), Some(30));
        assert!(!kept.stale(1014) && kept.stale(1015));
        assert!(!document(None, None).stale(i64::MAX));
        // What a holder says of itself is believed within bounds.
        assert_eq!(
            document(Some(1), Some(u64::MAX)).ttl(),
            Duration::from_secs(LONGEST_TTL)
        );
        assert_eq!(document(Some(1), None).ttl(), LOCK_TTL);
        assert!(document(Some(i64::MAX), Some(30)).stale(i64::MAX));
    }
}
