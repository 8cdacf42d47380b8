//! What a store can do, as one small trait with two implementations: S3 and a directory.
//!
//! Keys are those of [`crate::layout`]. What they mean, and in which order they are written, is not known here.

use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Download, Error, Held};

/// What is to be written.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Body {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A local file, read in pieces; it must not change meanwhile.
    File(PathBuf),
    /// Some bytes of a local file, likewise.
    Part {
        /// The file.
        path: PathBuf,
        /// The bytes; they lie within it.
        range: Range<u64>,
    },
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// How an object is written.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// The media type that a browser is told; S3 alone keeps it.
    pub content_type: Option<String>,
    /// SHA-256 in lower-case hexadecimal digits that the body must have; nothing is stored when it has not.
    pub sha256: Option<String>,
}

/// What became of a put of an immutable object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// It was written.
    Created,
    /// It was there already, with equal content.
    AlreadyEqual,
}

/// What a put of an immutable object came to, where some of its bytes may have been in the store already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// What became of it.
    pub outcome: PutOutcome,
    /// Bytes that were sent.
    pub sent: u64,
    /// Bytes that were copied within the store.
    pub copied: u64,
}

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Changes with its content; only for [`Objects::put_if_match`] and [`Objects::delete_if_match`].
    pub etag: String,
    /// Unix seconds of its last change.
    pub modified: i64,
}

/// An object's content.
#[derive(Clone, Debug)]
pub struct Content {
    /// All of its bytes.
    pub bytes: Bytes,
    /// The etag of exactly these bytes.
    pub etag: String,
}

/// A store's objects. Every error names the object's URL; passing failures are retried before they are returned.
///
/// Dropping a future cancels it: an object is then either there in full or not at all. What is left of the attempt is
/// removed in the background, which [`Objects::settle`] waits for, or else by a later [`Objects::sweep`].
#[async_trait]
pub trait Objects: Send + Sync {
    /// Writes an immutable object. One that is there with equal content is success; with other content it is
    /// [`Error::Different`].
    async fn put_if_absent(&self, key: &str, body: Body, options: &PutOptions) -> Result<PutOutcome, Error>;

    /// Like [`Objects::put_if_absent`], for a body of which other objects hold some bytes: those are copied within the store, and
    /// the rest is sent. The object has the body's bytes or is not there, whatever `held` claims; where copying does not
    /// work, an event says why, and all is sent.
    async fn put_by_difference(
        &self,
        key: &str,
        body: Body,
        held: &[Held],
        options: &PutOptions,
    ) -> Result<Put, Error>;

    /// Reads an object, or the bytes of it that the range names (its end may lie beyond the object's).
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Download, Error>;

    /// What is known of an object; nothing when it is not there.
    async fn head(&self, key: &str) -> Result<Option<Meta>, Error>;

    /// Every object whose key starts with `prefix` (empty, or ending with a slash), sorted by key.
    async fn list(&self, prefix: &str) -> Result<Vec<Meta>, Error>;

    /// The names directly under `prefix` that have objects below them, sorted: for `a/` and `a/b/c` it is `b`.
    async fn list_children(&self, prefix: &str) -> Result<Vec<String>, Error>;

    /// Copies an object within the store, without its bytes coming here; like [`Objects::put_if_absent`] otherwise.
    async fn copy(&self, from: &str, to: &str) -> Result<PutOutcome, Error>;

    /// Writes a mutable object if it still has that etag, or, without one, if it is not there. Returns the new
    /// etag; [`Error::Changed`] when it was otherwise.
    async fn put_if_match(&self, key: &str, bytes: Bytes, etag: Option<&str>) -> Result<String, Error>;

    /// Deletes an object; one that is not there is success.
    async fn delete(&self, key: &str) -> Result<(), Error>;

    /// Deletes an object if it still has that etag; [`Error::Changed`] when it has another or is gone.
    async fn delete_if_match(&self, key: &str, etag: &str) -> Result<(), Error>;

    /// Removes what killed runs left a day or longer before `now` (unix seconds): temporary files, multipart
    /// uploads. What is removed, and that looking for it is not permitted, is said by events.
    async fn sweep(&self, now: i64) -> Result<(), Error>;

    /// Waits, some seconds at most, until what dropped futures had begun on the server is ended there. To be called before
    /// the runtime is left.
    async fn settle(&self) {}

    /// The object's URL as hosts read it; the store's own for an empty key.
    fn url_of(&self, key: &str) -> String;

    /// A small object's content; an object larger than `limit` bytes is [`Error::Corrupt`].
    async fn get_bytes(&self, key: &str, limit: u64) -> Result<Content, Error> {
        let download = self.get(key, None).await?;
        let etag = download.etag().unwrap_or_default().to_owned();
        Ok(Content {
            bytes: download.into_bytes(limit).await?,
            etag,
        })
    }
}
