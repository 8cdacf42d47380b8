//! A body that is being read: from a file, an S3 object or an HTTP response, in pieces, with its length checked
//! and a limit on how long nothing may arrive.

use std::fmt;
use std::io;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::Error;
use crate::fetch::Resume;

/// The piece in which files are read.
const PIECE: usize = 256 * 1024;

/// Where the bytes come from.
pub(crate) enum Source {
    File(tokio::fs::File),
    S3(Box<ByteStream>),
    Http(Box<reqwest::Response>),
}

/// What is known of a body when it starts.
pub(crate) struct Head {
    /// For messages, without secrets.
    pub(crate) url: String,
    /// Bytes of this body.
    pub(crate) len: Option<u64>,
    /// Bytes of the whole object.
    pub(crate) total: Option<u64>,
    pub(crate) etag: Option<String>,
    /// How long nothing may arrive.
    pub(crate) stall: Duration,
}

/// A body that is being read.
pub struct Download {
    head: Head,
    source: Source,
    received: u64,
    resume: Option<Box<Resume>>,
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download")
            .field("url", &self.head.url)
            .field("len", &self.head.len)
            .finish_non_exhaustive()
    }
}

impl Download {
    pub(crate) fn new(head: Head, source: Source) -> Self {
        Self {
            head,
            source,
            received: 0,
            resume: None,
        }
    }

    pub(crate) fn resuming(mut self, resume: Resume) -> Self {
        self.resume = Some(Box::new(resume));
        self
    }

    /// Bytes of this body, when the server told.
    pub fn len(&self) -> Option<u64> {
        self.head.len
    }

    /// Whether this body is known to have no bytes.
    pub fn is_empty(&self) -> bool {
        self.head.len == Some(0)
    }

    /// Bytes of the whole object, when the server told; more than [`Download::len`] for a range.
    pub fn total(&self) -> Option<u64> {
        self.head.total
    }

    /// The object's etag, when the server told.
    pub fn etag(&self) -> Option<&str> {
        self.head.etag.as_deref()
    }

    /// Where it is read from, without secrets.
    pub fn url(&self) -> &str {
        &self.head.url
    }

    /// The next bytes; nothing at the end. A body that ends early is an error.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let error = match self.next().await {
                Ok(Some(bytes)) => {
                    self.received += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) => return Ok(None),
                Err(error) => error,
            };
            let Some(resume) = self.resume.as_mut().filter(|_| error.is_passing()) else {
                return Err(error);
            };
            let next = resume.again(self.received, error).await?;
            same_object(&self.head, &next.head)?;
            self.source = next.source;
        }
    }

    /// All bytes; more than `limit` is an error.
    pub async fn into_bytes(mut self, limit: u64) -> Result<Bytes, Error> {
        let too_large = |url: &str| Error::Corrupt {
            url: url.to_owned(),
            why: format!("it is larger than the {limit} bytes that such a thing may have"),
        };
        if self.head.len.is_some_and(|len| len > limit) {
            return Err(too_large(&self.head.url));
        }
        let mut all = BytesMut::new();
        while let Some(bytes) = self.chunk().await? {
            if (all.len() + bytes.len()) as u64 > limit {
                return Err(too_large(&self.head.url));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all.freeze())
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let left = self.head.len.map(|len| len.saturating_sub(self.received));
        let read = read(&mut self.source, left);
        let bytes = match tokio::time::timeout(self.head.stall, read).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(cause)) => return Err(self.cut(cause)),
            Err(_) => {
                return Err(Error::Stalled {
                    doing: format!("reading {}", self.head.url),
                    after: self.head.stall,
                });
            }
        };
        match (bytes, left) {
            (Some(bytes), Some(left)) if bytes.len() as u64 > left => Err(Error::Corrupt {
                url: self.head.url.clone(),
                why: "more bytes came than were announced".into(),
            }),
            (None, Some(left)) if left > 0 => {
                let text = format!(
                    "it ended after {} of {} bytes",
                    self.received,
                    self.received + left
                );
                Err(self.cut(io::Error::new(io::ErrorKind::UnexpectedEof, text).into()))
            }
            (bytes, _) => Ok(bytes),
        }
    }

    fn cut(&self, source: crate::error::BoxError) -> Error {
        if let Source::File(_) = self.source {
            return Error::Corrupt {
                url: self.head.url.clone(),
                why: source.to_string(),
            };
        }
        if crate::s3::is_checksum_mismatch(source.as_ref()) {
            return Error::Corrupt {
                url: self.head.url.clone(),
                why: "its bytes do not have its checksum".into(),
            };
        }
        Error::Unreachable {
            doing: format!("reading {}", self.head.url),
            attempts: 1,
            source,
        }
    }
}

async fn read(source: &mut Source, left: Option<u64>) -> Result<Option<Bytes>, crate::error::BoxError> {
    match source {
        Source::File(file) => {
            let most = left.map_or(PIECE, |left| usize::try_from(left).unwrap_or(PIECE).min(PIECE));
            if most == 0 {
                return Ok(None);
            }
            let mut piece = BytesMut::with_capacity(most);
            // read_buf may fill the capacity that the allocator rounded up to.
            let count = (&mut *file).take(most as u64).read_buf(&mut piece).await?;
            Ok((count > 0).then(|| piece.freeze()))
        }
        Source::S3(stream) => Ok(stream.try_next().await?),
        // The URL of the error may hold a signature.
        Source::Http(response) => Ok(response.chunk().await.map_err(reqwest::Error::without_url)?),
    }
}

fn same_object(first: &Head, now: &Head) -> Result<(), Error> {
    let other_etag = matches!((&first.etag, &now.etag), (Some(a), Some(b)) if a != b);
    let other_size = matches!((first.total, now.total), (Some(a), Some(b)) if a != b);
    if other_etag || other_size {
        return Err(Error::Corrupt {
            url: first.url.clone(),
            why: "it changed while it was read".into(),
        });
    }
    Ok(())
}
