//! The parts of an object that is made: copied ones, compared with the local bytes, and own ones, sent.

use std::sync::atomic::Ordering;

use aws_sdk_s3::types::CompletedPart;
use bytes::Bytes;
use md5::{Digest as _, Md5};
use shipit_artifact::hex;
use tokio::task::JoinSet;

use super::super::S3;
use super::super::body::{Meter, Piece};
use super::super::checksum::{crc, encode, read_part};
use super::super::copy::{self, CopiedPart};
use super::super::failure::Failure;
use super::super::multipart::{Whole, joined};
use super::super::part_sums::{PartSum, PartSums, Summing};
use super::super::upload::Upload;
use super::{Job, Trouble};
use crate::copy_plan::Part;
use crate::directory::check_sha256;
use crate::{Error, Event, Held, Objects};

impl S3 {
    /// Copies what is copied, compares it with the local bytes, and sends the rest.
    pub(super) async fn fill(
        &self,
        job: &Job<'_>,
        upload: &Upload,
        summed: bool,
    ) -> Result<(Vec<CompletedPart>, Whole), Trouble> {
        let ranges = job.plan.parts.iter().map(|part| part.at().clone()).collect();
        let summing = Summing::start(job.path.to_owned(), job.base, ranges, !summed);
        let copied = self.copy_planned(job, upload, summed).await?;
        let sums = summing.finish().await?;
        check_sha256(&job.path.display().to_string(), job.options, &sums.sha256)?;
        let mut parts = Vec::with_capacity(job.plan.parts.len());
        for part in copied {
            parts.push(self.compared(job, part, &sums, summed)?);
        }
        parts.extend(self.send_planned(job, upload, summed).await?);
        parts.sort_by_key(CompletedPart::part_number);
        let whole = Whole {
            size: job.size,
            crc: Some(encode(sums.crc)),
            summed,
        };
        Ok((parts, whole))
    }

    /// The copied parts, several at once.
    async fn copy_planned(
        &self,
        job: &Job<'_>,
        upload: &Upload,
        summed: bool,
    ) -> Result<Vec<CopiedPart>, Trouble> {
        let mut running = JoinSet::new();
        let copied = self.copy_into(job, upload, summed, &mut running).await;
        if copied.is_err() {
            // The server goes on with what it was asked for, whoever listens, and a part that it finishes after the abort would
            // stay.
            let rest = async { while running.join_next().await.is_some() {} };
            drop(tokio::time::timeout(self.inner.options.stall_timeout, rest).await);
        }
        copied
    }

    async fn copy_into(
        &self,
        job: &Job<'_>,
        upload: &Upload,
        summed: bool,
        running: &mut JoinSet<Result<(CopiedPart, u64), Failure>>,
    ) -> Result<Vec<CopiedPart>, Trouble> {
        let mut waiting = job.plan.parts.iter().enumerate();
        let (mut parts, mut copied, total) = (Vec::new(), 0, job.plan.copied());
        loop {
            while running.len() < self.inner.options.parallel.get()
                && let Some((place, part)) = waiting.next()
            {
                let Part::Copied(held) = part else { continue };
                let part = self.part(job, upload, place, held)?;
                let (s3, len) = (self.clone(), held.at.end - held.at.start);
                running.spawn(async move { s3.copy_part(part).await.map(|part| (part, len)) });
            }
            let Some(done) = running.join_next().await else {
                return Ok(parts);
            };
            let (part, len) = done
                .map_err(|source| Error::Task { source })?
                .map_err(Error::from)?;
            if summed && !job.has_own_sum(&part) {
                return Err(Trouble::NoPartSums);
            }
            copied += len;
            parts.push(part);
            self.emit(Event::Copying {
                key: job.key.to_owned(),
                copied,
                total,
            });
        }
    }

    fn part(&self, job: &Job<'_>, upload: &Upload, place: usize, held: &Held) -> Result<copy::Part, Error> {
        let source = job.sources.get(&held.key).ok_or_else(|| Error::NotFound {
            url: self.url_of(&held.key),
        })?;
        Ok(copy::Part {
            source: self.copy_source(&held.key)?,
            url: self.url_of(&held.key),
            etag: source.etag.clone(),
            full: upload.full.clone(),
            id: upload.id.clone(),
            number: number_of(place),
            range: held.from..held.from + (held.at.end - held.at.start),
        })
    }

    /// A copied part whose bytes are those of the local file, as far as the server tells.
    fn compared(
        &self,
        job: &Job<'_>,
        part: CopiedPart,
        sums: &PartSums,
        summed: bool,
    ) -> Result<CompletedPart, Trouble> {
        let place = place_of(part.number);
        let from = match &job.plan.parts[place] {
            Part::Copied(held) => self.url_of(&held.key),
            Part::Own(_) => self.url_of(job.key),
        };
        let sum = &sums.parts[place];
        let crc = encode(sum.crc);
        if summed && part.crc.as_ref() == Some(&crc) {
            return Ok(part.completed(Some(crc)));
        }
        if !summed && has_md5(part.etag.as_deref(), sum) {
            return Ok(part.completed(None));
        }
        // An etag that is no MD5 tells nothing of the bytes.
        Err(Trouble::NotCopied(if summed || is_md5(part.etag.as_deref()) {
            format!("{from} does not hold the bytes that it should hold")
        } else {
            format!("the server tells no checksum of what was copied from {from}")
        }))
    }

    /// The own parts, several at once, each read when it is its turn.
    async fn send_planned(
        &self,
        job: &Job<'_>,
        upload: &Upload,
        summed: bool,
    ) -> Result<Vec<CompletedPart>, Trouble> {
        let meter = Meter::new(job.key, job.plan.sent(), self.inner.on_event.clone());
        let mut running = JoinSet::new();
        let mut parts = Vec::new();
        for (place, part) in job.plan.parts.iter().enumerate() {
            let Part::Own(at) = part else { continue };
            while running.len() >= self.inner.options.parallel.get() {
                parts.extend(joined(running.join_next().await)?);
            }
            job.sent.fetch_add(at.end - at.start, Ordering::Relaxed);
            let bytes = read_part(job.path, job.base + at.start..job.base + at.end).await?;
            let own = OwnPart {
                full: upload.full.clone(),
                key: upload.key.clone(),
                id: upload.id.clone(),
                number: number_of(place),
                piece: Piece::new(bytes.clone(), meter.clone()),
                bytes,
            };
            running.spawn(self.clone().send_own(own, summed));
        }
        while let Some(done) = running.join_next().await {
            parts.extend(joined(Some(done))?);
        }
        Ok(parts)
    }

    async fn send_own(self, own: OwnPart, summed: bool) -> Result<CompletedPart, Error> {
        let crc = summed.then(|| encode(crc(&own.bytes)));
        let sent = self
            .clone()
            .send_part(own.full, own.key.clone(), own.id, own.number, own.piece, crc)
            .await?;
        let sum = PartSum {
            crc: 0,
            md5: Some(hex(&Md5::digest(&own.bytes))),
        };
        if !summed && !has_md5(sent.e_tag(), &sum) {
            return Err(self.stored_other(&own.key).into());
        }
        Ok(sent)
    }
}

struct OwnPart {
    full: String,
    key: String,
    id: String,
    number: i32,
    piece: Piece,
    bytes: Bytes,
}

impl Job<'_> {
    /// Whether the server made a checksum of the part's bytes: one that is that of all that it was copied from may be the one that
    /// it keeps, which says nothing of what lies there now.
    fn has_own_sum(&self, part: &CopiedPart) -> bool {
        let Some(Part::Copied(held)) = self.plan.parts.get(place_of(part.number)) else {
            return false;
        };
        let source = self.sources.get(&held.key);
        part.crc.is_some() && part.crc.as_ref() != source.and_then(|source| source.crc.as_ref())
    }
}

/// Parts are counted from 1; there are 10,000 at most.
fn number_of(place: usize) -> i32 {
    i32::try_from(place + 1).unwrap_or(i32::MAX)
}

fn place_of(number: i32) -> usize {
    usize::try_from(number - 1).unwrap_or(usize::MAX)
}

/// Whether an etag is the MD5 of the part.
fn has_md5(etag: Option<&str>, sum: &PartSum) -> bool {
    let told = etag.map(|etag| etag.trim_matches('"').to_ascii_lowercase());
    told.is_some() && told == sum.md5
}

/// Whether an etag looks like an MD5.
fn is_md5(etag: Option<&str>) -> bool {
    etag.map(|etag| etag.trim_matches('"'))
        .is_some_and(|etag| etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
