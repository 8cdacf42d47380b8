//! Writing a file in parts, several at once; each part is read once, summed, and kept until the server has it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use aws_sdk_s3::types::{ChecksumType, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use shipit_artifact::hex;
use tokio::task::JoinSet;

use super::S3;
use super::body::{Meter, Piece};
use super::checksum::{combine, crc, encode};
use super::upload::Upload;
use crate::copy_plan::MOST_PARTS;
use crate::directory::check_sha256;
use crate::{Error, Objects, PutOptions};

/// How often a whole upload is begun anew after a conflict that lost it.
const ROUNDS: u32 = 3;

/// How a completion ended.
pub(super) enum Completed {
    /// The object is there.
    Created,
    /// Something else is there already.
    Exists,
    /// The server knows the upload no more: a conflict, or an earlier attempt that went through after all.
    Lost,
}

/// What a completion is checked by.
pub(super) struct Whole {
    pub(super) size: u64,
    /// CRC64NVME of the whole object as S3 writes it, where it is known.
    pub(super) crc: Option<String>,
    /// Whether the upload was begun with a checksum, so that the server compares it.
    pub(super) summed: bool,
}

impl S3 {
    /// False when something is there already.
    pub(super) async fn put_parts(
        &self,
        key: &str,
        path: &Path,
        range: Range<u64>,
        options: &PutOptions,
    ) -> Result<bool, Error> {
        for _ in 0..ROUNDS {
            let mut upload = self.begin(key, options.content_type.as_deref(), true).await?;
            let sent = self.send_parts(&upload, path, range.clone(), options).await;
            let done = match sent {
                Ok((parts, whole)) => self.complete(&mut upload, parts, &whole).await,
                Err(error) => Err(error),
            };
            match done {
                Ok(Completed::Created) => return Ok(true),
                Ok(Completed::Exists) => {
                    self.abort(&mut upload).await;
                    return Ok(false);
                }
                // Whether it went through is seen by looking; otherwise from the start.
                Ok(Completed::Lost) if self.stat(key).await?.is_some() => return Ok(false),
                Ok(Completed::Lost) => {}
                Err(error) => {
                    self.abort(&mut upload).await;
                    return Err(error);
                }
            }
        }
        Err(Error::Changed {
            url: self.url_of(key),
        })
    }

    /// Reads the parts in order and keeps as many on their way as the options allow.
    async fn send_parts(
        &self,
        upload: &Upload,
        path: &Path,
        range: Range<u64>,
        options: &PutOptions,
    ) -> Result<(Vec<CompletedPart>, Whole), Error> {
        let size = range.end - range.start;
        let part_size = part_size(size, self.inner.options.part_size);
        let mut reader = Reader::open(path, range.start)?;
        let meter = Meter::new(&upload.key, size, self.inner.on_event.clone());
        let mut running = JoinSet::new();
        let mut parts = Vec::new();
        let mut number = 0;
        while reader.at < range.end {
            while running.len() >= self.inner.options.parallel.get() {
                parts.extend(joined(running.join_next().await)?);
            }
            let len = part_size.min(range.end - reader.at);
            let (next, bytes, crc) = reader.part(len, path).await?;
            reader = next;
            number += 1;
            let piece = Piece::new(bytes, meter.clone());
            running.spawn(self.clone().send_part(
                upload.full.clone(),
                upload.key.clone(),
                upload.id.clone(),
                number,
                piece,
                Some(crc),
            ));
        }
        while let Some(done) = running.join_next().await {
            parts.extend(joined(Some(done))?);
        }
        let sha256 = hex(&reader.sha256.finalize());
        check_sha256(&path.display().to_string(), options, &sha256)?;
        parts.sort_by_key(CompletedPart::part_number);
        let crc = Some(encode(reader.crc));
        Ok((
            parts,
            Whole {
                size,
                crc,
                summed: true,
            },
        ))
    }

    /// Sends a part, with its CRC where the upload was begun with one.
    pub(super) async fn send_part(
        self,
        full: String,
        key: String,
        id: String,
        number: i32,
        piece: Piece,
        crc: Option<String>,
    ) -> Result<CompletedPart, Error> {
        let doing = self.doing("s3:PutObject", "uploading a part of", &key);
        let client = &self.inner.client;
        let called = self
            .send(&doing, Some(&piece), || {
                client
                    .upload_part()
                    .bucket(&self.inner.bucket)
                    .key(&full)
                    .upload_id(&id)
                    .part_number(number)
                    .set_checksum_crc64_nvme(crc.clone())
                    .body(piece.attempt())
                    .send()
            })
            .await;
        let done = called.result?;
        match (done.checksum_crc64_nvme(), &crc) {
            (Some(stored), Some(sent)) if stored != sent => return Err(self.stored_other(&key).into()),
            (None, Some(_)) => self.say_unverified(&key),
            _ => {}
        }
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(done.e_tag().map(str::to_owned));
        Ok(part.set_checksum_crc64_nvme(crc).build())
    }

    /// Makes the object of its parts, if there is none yet.
    pub(super) async fn complete(
        &self,
        upload: &mut Upload,
        parts: Vec<CompletedPart>,
        whole: &Whole,
    ) -> Result<Completed, Error> {
        let doing = self.doing("s3:PutObject", "completing the upload of", &upload.key);
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let client = &self.inner.client;
        let completed = self
            .call(&doing, || {
                client
                    .complete_multipart_upload()
                    .bucket(&self.inner.bucket)
                    .key(&upload.full)
                    .upload_id(&upload.id)
                    .multipart_upload(list.clone())
                    .set_checksum_type(whole.summed.then_some(ChecksumType::FullObject))
                    .set_checksum_crc64_nvme(whole.crc.clone().filter(|_| whole.summed))
                    .mpu_object_size(i64::try_from(whole.size).unwrap_or(i64::MAX))
                    .if_none_match("*")
                    .send()
            })
            .await;
        let done = match completed {
            Ok(done) => done,
            Err(failure) if failure.is(412) => return Ok(Completed::Exists),
            Err(failure) if failure.code == "NoSuchUpload" => {
                upload.open = false;
                return Ok(Completed::Lost);
            }
            Err(failure) => return Err(failure.into()),
        };
        upload.open = false;
        self.check_completed(&upload.key, done.checksum_crc64_nvme(), whole)
            .await?;
        Ok(Completed::Created)
    }

    async fn check_completed(&self, key: &str, told: Option<&str>, whole: &Whole) -> Result<(), Error> {
        let other = || -> Error { self.stored_other(key).into() };
        let Some(stat) = self.stat(key).await? else {
            return Err(Error::NotFound {
                url: self.url_of(key),
            });
        };
        if stat.size != whole.size {
            return Err(other());
        }
        match (told.or(stat.crc.as_deref()), whole.crc.as_deref()) {
            (Some(stored), Some(sent)) if stored != sent => Err(other()),
            (None, Some(_)) => {
                self.say_unverified(key);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A file that is read part by part.
struct Reader {
    file: Arc<File>,
    sha256: Sha256,
    crc: u64,
    at: u64,
}

impl Reader {
    fn open(path: &Path, at: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
        Ok(Self {
            file: Arc::new(file),
            sha256: Sha256::new(),
            crc: 0,
            at,
        })
    }

    /// The next `len` bytes and their CRC.
    async fn part(self, len: u64, path: &Path) -> Result<(Self, Bytes, String), Error> {
        let path = path.to_owned();
        let read = tokio::task::spawn_blocking(move || {
            let mut this = self;
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            this.file
                .read_exact_at(&mut bytes, this.at)
                .map_err(|source| Error::io("read", path, source))?;
            this.sha256.update(&bytes);
            let own = crc(&bytes);
            this.crc = combine(this.crc, own, len);
            this.at += len;
            Ok((this, Bytes::from(bytes), encode(own)))
        });
        read.await.map_err(|source| Error::Task { source })?
    }
}

/// The size of the parts: the asked one, or whole MiB so that there are not too many.
pub(super) fn part_size(size: u64, asked: u64) -> u64 {
    let least = size.div_ceil(MOST_PARTS as u64);
    if least <= asked {
        asked
    } else {
        least.next_multiple_of(1 << 20)
    }
}

pub(super) fn joined(
    done: Option<Result<Result<CompletedPart, Error>, tokio::task::JoinError>>,
) -> Result<Option<CompletedPart>, Error> {
    match done {
        None => Ok(None),
        Some(done) => done.map_err(|source| Error::Task { source })?.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_grow_when_there_would_be_too_many() {
        assert_eq!(part_size(1, 8 << 20), 8 << 20);
        assert_eq!(part_size(80_000 << 20, 8 << 20), 8 << 20);
        let huge = 5 << 40;
        let part = part_size(huge, 8 << 20);
        assert!(
            huge.div_ceil(part) <= MOST_PARTS as u64 && part.is_multiple_of(1 << 20),
            "{part}"
        );
    }
}
