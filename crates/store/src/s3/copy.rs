//! Copying on the server's side, within the bucket or from another one of the same server: in one request, or in parts what is
//! too large for that.

use std::ops::Range;

use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedPart};
use tokio::task::JoinSet;

use super::S3;
use super::checksum::Sums;
use super::failure::{Doing, Failure};
use super::multipart::{Completed, Whole, joined, part_size};
use super::read::{Stat, range_header};
use crate::{Error, Event, Objects, PutOutcome, key};

/// The size of a copied part: nothing passes through here, so it is large.
const PART: u64 = 512 << 20;

/// How often it is begun anew when the target vanishes or an upload is lost.
const ROUNDS: u32 = 3;

impl S3 {
    pub(super) async fn copy_new(&self, from: &str, to: &str) -> Result<PutOutcome, Error> {
        self.copy_from(self, from, None, to).await
    }

    /// Whether an object of the other bucket can be named to this one's server.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.inner.options.endpoint() == other.inner.options.endpoint()
    }

    /// Copies an object of another bucket of the same server, if it has that etag still, where one is given.
    pub(crate) async fn copy_from(
        &self,
        other: &Self,
        from: &str,
        etag: Option<&str>,
        to: &str,
    ) -> Result<PutOutcome, Error> {
        let source = other.source(from).await?;
        if etag.is_some_and(|etag| etag != source.stat.etag) {
            return Err(Error::Changed { url: source.url });
        }
        for _ in 0..ROUNDS {
            if let Some(target) = self.stat(to).await? {
                return self.compare_objects(other, &source, to, &target).await;
            }
            let created = if source.stat.size <= self.inner.options.largest_copy {
                self.copy_whole(&source, to).await?
            } else {
                self.copy_parts(&source, to).await?
            };
            if created {
                self.check_copy(&source.stat, to).await?;
                self.emit(Event::Stored {
                    key: to.to_owned(),
                    bytes: source.stat.size,
                });
                return Ok(PutOutcome::Created);
            }
        }
        Err(Error::Changed { url: self.url_of(to) })
    }

    /// An object of this bucket, to be copied from.
    async fn source(&self, key: &str) -> Result<Source, Error> {
        let url = self.url_of(key);
        let stat = self.stat(key).await?;
        Ok(Source {
            key: key.to_owned(),
            header: self.copy_source(key)?,
            stat: stat.ok_or_else(|| Error::NotFound { url: url.clone() })?,
            url,
        })
    }

    /// As the header wants it: the bucket and the key, escaped.
    pub(super) fn copy_source(&self, from: &str) -> Result<String, Error> {
        Ok(format!(
            "{}/{}",
            self.inner.bucket,
            key::escape(&self.full_key(from)?)
        ))
    }

    async fn copy_whole(&self, source: &Source, to: &str) -> Result<bool, Error> {
        let full = self.full_key(to)?;
        let doing = self.doing("s3:PutObject", "copying to", to);
        let (sse, kms_key) = self.encryption();
        let client = &self.inner.client;
        let copied = self.call(&doing, || {
            client
                .copy_object()
                .bucket(&self.inner.bucket)
                .key(&full)
                .copy_source(&source.header)
                .copy_source_if_match(&source.stat.etag)
                .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
                .set_server_side_encryption(sse.clone())
                .set_ssekms_key_id(kms_key.clone())
                .if_none_match("*")
                .send()
        });
        match copied.await {
            Ok(_) => Ok(true),
            // The target is there by now, or the source is another one: the next round tells.
            Err(failure) if failure.is(412) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }

    async fn copy_parts(&self, source: &Source, to: &str) -> Result<bool, Error> {
        // No checksum is asked for: versitygw takes the whole source's for each part's, and refuses the sum. Both sides'
        // own checksums are compared at the end.
        let mut upload = self.begin(to, None, false).await?;
        let done = match self.copy_all(source, &upload.full, &upload.id).await {
            Ok(parts) => {
                let whole = Whole {
                    size: source.stat.size,
                    crc: None,
                    summed: false,
                };
                self.complete(&mut upload, parts, &whole).await
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(Completed::Created) => Ok(true),
            Ok(Completed::Lost) => Ok(false),
            Ok(Completed::Exists) => {
                self.abort(&mut upload).await;
                Ok(false)
            }
            Err(error) => {
                self.abort(&mut upload).await;
                Err(error)
            }
        }
    }

    async fn copy_all(&self, source: &Source, full: &str, id: &str) -> Result<Vec<CompletedPart>, Error> {
        let whole = source.stat.size;
        let size = part_size(whole, PART.min(self.inner.options.largest_copy));
        let mut running = JoinSet::new();
        let mut parts = Vec::new();
        let mut start = 0;
        let mut number = 0;
        while start < whole {
            while running.len() >= self.inner.options.parallel.get() {
                parts.extend(joined(running.join_next().await)?);
            }
            let end = whole.min(start + size);
            number += 1;
            let part = Part {
                source: source.header.clone(),
                url: source.url.clone(),
                etag: source.stat.etag.clone(),
                full: full.to_owned(),
                id: id.to_owned(),
                number,
                range: start..end,
            };
            let s3 = self.clone();
            running.spawn(async move { Ok(s3.copy_part(part).await?.completed(None)) });
            start = end;
        }
        while let Some(done) = running.join_next().await {
            parts.extend(joined(Some(done))?);
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok(parts)
    }

    /// Copies some bytes of an object into a part, if the object is still the one that was looked at.
    pub(super) async fn copy_part(&self, part: Part) -> Result<CopiedPart, Failure> {
        let doing = Doing {
            action: "s3:GetObject",
            verb: "copying a part of",
            url: part.url,
        };
        let client = &self.inner.client;
        let copied = self
            .call(&doing, || {
                client
                    .upload_part_copy()
                    .bucket(&self.inner.bucket)
                    .key(&part.full)
                    .upload_id(&part.id)
                    .part_number(part.number)
                    .copy_source(&part.source)
                    .copy_source_if_match(&part.etag)
                    .copy_source_range(range_header(&part.range))
                    .send()
            })
            .await?;
        let result = copied.copy_part_result();
        Ok(CopiedPart {
            number: part.number,
            etag: result.and_then(|result| result.e_tag()).map(str::to_owned),
            crc: result
                .and_then(|result| result.checksum_crc64_nvme())
                .map(str::to_owned),
        })
    }

    async fn check_copy(&self, source: &Stat, to: &str) -> Result<(), Error> {
        let url = self.url_of(to);
        let target = self
            .stat(to)
            .await?
            .ok_or_else(|| Error::NotFound { url: url.clone() })?;
        let crc_differs = matches!((&source.crc, &target.crc), (Some(a), Some(b)) if a != b);
        if target.size != source.size || crc_differs {
            return Err(Error::Corrupt {
                url,
                why: "the copy is not what was copied".into(),
            });
        }
        Ok(())
    }

    async fn compare_objects(
        &self,
        other: &Self,
        source: &Source,
        to: &str,
        target: &Stat,
    ) -> Result<PutOutcome, Error> {
        let equal = source.stat.size == target.size
            && match (&source.stat.crc, &target.crc) {
                (Some(a), Some(b)) => a == b,
                _ => {
                    let from = other.read_whole(&source.key, Sums::of_download).await?;
                    from == self.read_whole(to, Sums::of_download).await?
                }
            };
        if !equal {
            let detail = format!("{} bytes there, {} to copy", target.size, source.stat.size);
            return Err(Error::Different {
                url: self.url_of(to),
                detail,
            });
        }
        self.emit(Event::Present {
            key: to.to_owned(),
            bytes: target.size,
        });
        Ok(PutOutcome::AlreadyEqual)
    }
}

/// An object that is copied.
struct Source {
    key: String,
    /// As the header of a copy names it.
    header: String,
    url: String,
    stat: Stat,
}

/// A part that is to be copied.
pub(super) struct Part {
    /// The object that it is copied from, as the header wants it.
    pub(super) source: String,
    /// That object's URL.
    pub(super) url: String,
    /// The etag that it has to have still.
    pub(super) etag: String,
    /// The new object's key in the bucket.
    pub(super) full: String,
    /// The upload's id.
    pub(super) id: String,
    pub(super) number: i32,
    /// Which bytes of `from` it is.
    pub(super) range: Range<u64>,
}

/// A part that was copied.
pub(super) struct CopiedPart {
    pub(super) number: i32,
    pub(super) etag: Option<String>,
    /// CRC64NVME of its bytes, as the server says.
    pub(super) crc: Option<String>,
}

impl CopiedPart {
    /// As the completion names it, with the checksum that it has to have.
    pub(super) fn completed(self, crc: Option<String>) -> CompletedPart {
        CompletedPart::builder()
            .part_number(self.number)
            .set_e_tag(self.etag)
            .set_checksum_crc64_nvme(crc)
            .build()
    }
}
