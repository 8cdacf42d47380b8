//! What a store says while it works; the caller shows it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// An upload goes on; it comes often.
    Progress {
        /// The object's key.
        key: String,
        /// Bytes handed to the network or disk so far; it goes back when a part is sent again.
        sent: u64,
        /// Bytes in all.
        total: u64,
    },
    /// An object was written.
    Stored {
        /// The object's key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// An object was there already, with equal content.
    Present {
        /// The object's key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// Bytes were copied within the store; it comes with every part.
    Copying {
        /// The new object's key.
        key: String,
        /// Bytes that have been copied.
        copied: u64,
        /// Bytes that are copied in all.
        total: u64,
    },
    /// Nothing was copied within the store, though it holds some of the bytes: all of them are sent.
    NotCopied {
        /// The new object's key.
        key: String,
        /// Why not.
        why: String,
    },
    /// A request has had no answer for some seconds. Said once, and again after an answer has come.
    Waiting {
        /// What is being done, to what.
        doing: String,
        /// For how much longer this attempt waits.
        left_seconds: u64,
    },
    /// A request failed in a way that may pass, and is tried again.
    Retry {
        /// What is being done, to what.
        doing: String,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How often it is tried in all.
        attempts: u32,
        /// Until the next attempt.
        wait_ms: u64,
        /// Why it failed.
        reason: String,
    },
    /// The server overwrote an object in spite of `If-None-Match: *`. Publishers must not run at once there.
    IfNoneMatchIgnored {
        /// The store.
        store: String,
    },
    /// The server gave no checksum back, so that only sizes could be compared.
    ChecksumNotVerified {
        /// The object's key.
        key: String,
    },
    /// What a killed run had left was removed.
    Swept {
        /// A key with its upload id, or a file.
        what: String,
    },
    /// An upload that was cancelled could not be ended: what was sent of it stays until a later sweep.
    UploadLeft {
        /// How many.
        uploads: usize,
    },
    /// What killed runs may have left could not be looked for.
    SweepFailed {
        /// Why.
        reason: String,
    },
    /// The artifact's stored record differs from this build's (other tools, say), and is the one that was bound.
    StoredRecordBound {
        /// SHA-256 of the stored record.
        record_sha256: String,
        /// The revision that it names.
        revision: String,
    },
    /// The id was taken, or another release of the same seconds would be the newer one: a later second is tried.
    ReleaseIdTaken {
        /// The id.
        release: String,
    },
    /// A release of a much later time exists: this machine's clock is behind, or the other's was ahead.
    NewerRelease {
        /// This one.
        release: String,
        /// The newer one.
        newest: String,
    },
    /// A download of a shared layer goes on; it comes often.
    Fetching {
        /// The object's key.
        key: String,
        /// Bytes that have arrived.
        received: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A shared layer was fetched, checked, and is there.
    LayerFetched {
        /// The step's name.
        layer: String,
        /// The layer key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// A shared layer was made too long ago. It is not used: as if it were not there.
    LayerTooOld {
        /// The step's name.
        layer: String,
        /// The layer key.
        key: String,
        /// When its step ran, in unix seconds.
        made: i64,
    },
    /// A shared layer is not what it should be. It is not used: as if it were not there.
    LayerRefused {
        /// The layer's URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A layer of this artifact was put into the store for other builders.
    LayerOffered {
        /// The step's name.
        layer: String,
        /// The layer key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// The store holds other bytes than ours under the same layer key. They are left there, and nothing is copied from them.
    LayerDiffers {
        /// The step's name.
        layer: String,
        /// The layer's URL.
        url: String,
    },
    /// A lock expired by our clock. It is watched for renewals before it counts as left by its holder.
    LockExpired {
        /// What is locked.
        lock: String,
        /// Who has it.
        who: String,
        /// For how long it is watched, in seconds.
        watch_seconds: u64,
    },
    /// A lock was taken over whose holder had not given it back: it was killed, or cut off.
    LockTakenOver {
        /// What is locked.
        lock: String,
        /// Who had it.
        who: String,
        /// What it was doing.
        doing: String,
    },
    /// A kick in the history cannot be read, and is left out.
    KickUnreadable {
        /// Its document.
        url: String,
        /// Why not.
        why: String,
    },
    /// An object was removed.
    Removed {
        /// Its key.
        key: String,
        /// Its size.
        bytes: u64,
    },
    /// A release that was to be removed was kicked, or became live, meanwhile: it stays.
    ReleaseKept {
        /// Its id.
        release: String,
    },
    /// The release is complete.
    Published {
        /// Its id.
        release: String,
    },
}

/// Where events go. Cheap to clone; called from any thread.
#[derive(Clone)]
pub struct OnEvent(Arc<dyn Fn(Event) + Send + Sync>);

impl OnEvent {
    /// Hands every event to `sink`.
    pub fn new(sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    /// Drops every event.
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.0)(event);
    }
}

impl fmt::Debug for OnEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnEvent")
    }
}
