//! Writing small objects, and telling whether what is stored is what would be written.

use aws_sdk_s3::types::ServerSideEncryption;
use bytes::Bytes;

use super::body::{Meter, Piece};
use super::checksum::{Sums, encode, in_memory, size_of};
use super::failure::Failure;
use super::{S3, Sse};
use crate::directory::check_sha256;
use crate::{Body, Error, ErrorKind, Event, Objects, PutOptions, PutOutcome};

/// Below this, sending is cheaper than asking first, and a stored object is compared byte by byte.
const SMALL: u64 = 256 * 1024;

/// How often a put is begun anew when the object vanishes between the server's refusal and our look.
const ROUNDS: u32 = 3;

/// The condition of a write.
#[derive(Clone, Copy)]
pub(super) enum Condition<'a> {
    Absent,
    Etag(&'a str),
}

impl S3 {
    /// The encryption that is asked for with a write.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>) {
        match &self.inner.options.sse {
            None => (None, None),
            Some(Sse::Aes256) => (Some(ServerSideEncryption::Aes256), None),
            Some(Sse::Kms { key_id }) => (Some(ServerSideEncryption::AwsKms), key_id.clone()),
        }
    }

    pub(super) async fn put_new(
        &self,
        key: &str,
        body: &Body,
        options: &PutOptions,
    ) -> Result<PutOutcome, Error> {
        let size = size_of(body).await?;
        let large = size > self.inner.options.part_size;
        // A server that overwrites, or may, is asked first; and so it is when sending costs more than asking.
        let mut look = size > SMALL || !self.inner.conditions.honoured();
        for _ in 0..ROUNDS {
            if look && let Some(outcome) = self.compare(key, body, options).await? {
                return Ok(outcome);
            }
            let created = match (body, large) {
                (Body::File(path), true) => self.put_parts(key, path, 0..size, options).await?,
                (Body::Part { path, range }, true) => {
                    self.put_parts(key, path, range.clone(), options).await?
                }
                _ => self.put_whole(key, body, options).await?,
            };
            if created {
                self.emit(Event::Stored {
                    key: key.to_owned(),
                    bytes: size,
                });
                return Ok(PutOutcome::Created);
            }
            look = true;
        }
        Err(Error::Changed {
            url: self.url_of(key),
        })
    }

    /// False when something is there already.
    async fn put_whole(&self, key: &str, body: &Body, options: &PutOptions) -> Result<bool, Error> {
        let bytes = in_memory(body).await?;
        let sums = Sums::of_bytes(&bytes);
        check_sha256(&body_name(body), options, &sums.sha256)?;
        match self
            .put_once(key, &bytes, &sums, options, Condition::Absent)
            .await
            .0
        {
            Ok(_) => {}
            Err(failure) if failure.is(412) => return Ok(false),
            Err(failure) => return Err(failure.into()),
        }
        if self.inner.conditions.unknown() && sums.size <= SMALL {
            self.probe(key, &bytes, &sums, options).await;
        }
        Ok(true)
    }

    /// One conditional write. Returns the new etag, and whether an attempt that failed may have been done.
    pub(super) async fn put_once(
        &self,
        key: &str,
        bytes: &Bytes,
        sums: &Sums,
        options: &PutOptions,
        condition: Condition<'_>,
    ) -> (Result<String, Failure>, bool) {
        let full = match self.full_key(key) {
            Ok(full) => full,
            Err(error) => return (Err(Failure::lasting(error)), false),
        };
        let doing = self.doing("s3:PutObject", "uploading", key);
        let meter = Meter::new(key, sums.size, self.inner.on_event.clone());
        let piece = Piece::new(bytes.clone(), meter);
        let (sse, kms_key) = self.encryption();
        let client = &self.inner.client;
        let called = self
            .send(&doing, Some(&piece), || {
                let request = client
                    .put_object()
                    .bucket(&self.inner.bucket)
                    .key(&full)
                    .body(piece.attempt())
                    .checksum_crc64_nvme(encode(sums.crc))
                    .set_content_type(options.content_type.clone())
                    .set_server_side_encryption(sse.clone())
                    .set_ssekms_key_id(kms_key.clone());
                match condition {
                    Condition::Absent => request.if_none_match("*").send(),
                    Condition::Etag(etag) => request.if_match(etag).send(),
                }
            })
            .await;
        let result = match called.result {
            Ok(done) => match done.checksum_crc64_nvme() {
                Some(crc) if crc != encode(sums.crc) => Err(self.stored_other(key)),
                told => {
                    if told.is_none() {
                        self.say_unverified(key);
                    }
                    Ok(done.e_tag().unwrap_or_default().to_owned())
                }
            },
            Err(failure) => Err(failure),
        };
        (result, called.unclear)
    }

    pub(super) fn stored_other(&self, key: &str) -> Failure {
        let why = "the server says that it stored other bytes than were sent".to_owned();
        Failure {
            error: Error::Corrupt {
                url: self.url_of(key),
                why,
            },
            status: 200,
            code: String::new(),
            again: false,
            unclear: false,
        }
    }

    /// Repeats a put that has just succeeded: the server has to refuse it. The bytes are the same, so it does no harm.
    async fn probe(&self, key: &str, bytes: &Bytes, sums: &Sums, options: &PutOptions) {
        match self
            .put_once(key, bytes, sums, options, Condition::Absent)
            .await
            .0
        {
            Ok(_) => {
                if self.inner.conditions.found(false) {
                    self.emit(Event::IfNoneMatchIgnored {
                        store: self.url_of(""),
                    });
                }
            }
            Err(failure) if failure.is(412) => {
                self.inner.conditions.found(true);
            }
            // It tells nothing; the next small object is tried.
            Err(_) => {}
        }
    }

    /// Whether the object is there with the content that would be written: nothing when it is not there at all.
    pub(super) async fn compare(
        &self,
        key: &str,
        body: &Body,
        options: &PutOptions,
    ) -> Result<Option<PutOutcome>, Error> {
        let Some(stat) = self.stat(key).await? else {
            return Ok(None);
        };
        let url = self.url_of(key);
        let size = size_of(body).await?;
        if stat.size != size {
            let detail = format!("{} bytes there, {size} here", stat.size);
            return Err(Error::Different { url, detail });
        }
        let here = Sums::of_body(body).await?;
        check_sha256(&body_name(body), options, &here.sha256)?;
        let equal = match &stat.crc {
            // A CRC tells accidents apart, not forgeries: what is small is read.
            Some(crc) if size > SMALL => *crc == encode(here.crc),
            _ => self.read_whole(key, Sums::of_download).await? == here,
        };
        if !equal {
            return Err(Error::Different {
                url,
                detail: format!("of the same size, {size} bytes"),
            });
        }
        self.emit(Event::Present {
            key: key.to_owned(),
            bytes: size,
        });
        Ok(Some(PutOutcome::AlreadyEqual))
    }

    pub(super) async fn put_matching(
        &self,
        key: &str,
        bytes: Bytes,
        etag: Option<&str>,
    ) -> Result<String, Error> {
        // Servers that ignore conditions are common; looking first leaves them a small gap only.
        let found = self.stat(key).await?;
        if found.as_ref().map(|stat| stat.etag.as_str()) != etag {
            return Err(Error::Changed {
                url: self.url_of(key),
            });
        }
        let sums = Sums::of_bytes(&bytes);
        let condition = etag.map_or(Condition::Absent, Condition::Etag);
        let (put, unclear) = self
            .put_once(key, &bytes, &sums, &PutOptions::default(), condition)
            .await;
        let failure = match put {
            Ok(etag) => return Ok(etag),
            Err(failure) => failure,
        };
        // The object was deleted in between.
        let gone = failure.error.kind() == ErrorKind::NotFound && etag.is_some();
        if !failure.is(412) && !gone {
            return Err(failure.into());
        }
        if unclear {
            // An attempt that seemed to fail may have been done: then the bytes there are ours.
            let stored = self.get_bytes(key, sums.size).await;
            if let Ok(stored) = stored
                && stored.bytes == bytes
            {
                return Ok(stored.etag);
            }
        }
        Err(Error::Changed {
            url: self.url_of(key),
        })
    }
}

pub(super) fn body_name(body: &Body) -> String {
    match body {
        Body::Bytes(_) => "(memory)".to_owned(),
        Body::File(path) | Body::Part { path, .. } => path.display().to_string(),
    }
}
