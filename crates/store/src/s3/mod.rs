//! The store in an S3 bucket, of AWS or of a server that speaks its language.
//!
//! Retries are done here and not by the SDK, so that each is said and a conditional write that was repeated can be told
//! from somebody else's. The AWS configuration is handed in.

mod body;
mod call;
mod checksum;
mod compose;
mod copy;
mod failure;
mod multipart;
mod objects;
mod options;
mod part_sums;
mod put;
mod read;
mod sweep;
mod underway;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use aws_sdk_s3::Client;

use crate::{Error, Event, OnEvent, StoreUrl, key};

pub(crate) use failure::is_checksum_mismatch;
pub use options::{S3Options, Sse};
pub(crate) use read::{check_content_range, range_header};

/// A bucket, or a prefix in one, as a store. Cheap to clone.
#[derive(Clone)]
pub(crate) struct S3 {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    bucket: String,
    /// Empty, or with a slash at its end.
    prefix: String,
    url: StoreUrl,
    region: String,
    /// ` at <endpoint>` for messages, or nothing on AWS.
    at: String,
    options: S3Options,
    on_event: OnEvent,
    conditions: Conditions,
    unverified_said: AtomicBool,
    /// Whether it was said that an answer is long in coming.
    waiting_said: AtomicBool,
    /// Whether the server is known to give no checksum of copied parts, or that of the whole source.
    no_part_sums: AtomicBool,
    underway: underway::Underway,
}

/// What is known of the server's `If-None-Match`.
struct Conditions(AtomicU8);

impl Conditions {
    const UNKNOWN: u8 = 0;
    const HONOURED: u8 = 1;
    const IGNORED: u8 = 2;

    fn unknown(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::UNKNOWN
    }

    fn honoured(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::HONOURED
    }

    /// True for the first to find it out.
    fn found(&self, honoured: bool) -> bool {
        let now = if honoured { Self::HONOURED } else { Self::IGNORED };
        self.0
            .compare_exchange(Self::UNKNOWN, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl S3 {
    pub(crate) fn open(
        bucket: &str,
        prefix: &str,
        options: S3Options,
        on_event: OnEvent,
    ) -> Result<Self, Error> {
        let (client, region) = options.client()?;
        let at = options
            .endpoint()
            .map(|endpoint| format!(" at {}", crate::redacted(&endpoint)));
        let inner = Inner {
            client,
            bucket: bucket.to_owned(),
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                format!("{prefix}/")
            },
            url: StoreUrl::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            },
            region,
            at: at.unwrap_or_default(),
            options,
            on_event,
            conditions: Conditions(AtomicU8::new(Conditions::UNKNOWN)),
            unverified_said: AtomicBool::new(false),
            waiting_said: AtomicBool::new(false),
            no_part_sums: AtomicBool::new(false),
            underway: underway::Underway::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The key in the bucket.
    fn full_key(&self, key: &str) -> Result<String, Error> {
        let full = format!("{}{key}", self.inner.prefix);
        key::check(&full)?;
        Ok(full)
    }

    fn emit(&self, event: Event) {
        self.inner.on_event.emit(event);
    }

    /// Says once that the server gives no checksum back.
    fn say_unverified(&self, key: &str) {
        if !self.inner.unverified_said.swap(true, Ordering::Relaxed) {
            self.emit(Event::ChecksumNotVerified { key: key.to_owned() });
        }
    }
}
