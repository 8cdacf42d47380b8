//! The record that the manifest binds and the indexes that the record binds: from the host where it kept them, else from the
//! store; each compared with its digest.

use std::fs;
use std::num::NonZeroUsize;
use std::thread;

use shipit_artifact::{Digest, Index, LayerKind, Limits, Record, RecordLayer, sha256};
use shipit_store::{ArtifactUrl, FetchRetry, Fetcher};

use super::lack::Lack;
use super::places::Places;
use crate::error::Error;

/// No record is larger.
const LARGEST_RECORD: u64 = 16 << 20;
/// No index is larger.
const LARGEST_INDEX: u64 = 256 << 20;

/// An artifact as its record and indexes describe it.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) record: Record,
    pub(crate) record_bytes: Vec<u8>,
    pub(crate) layers: Vec<BoundLayer>,
    /// Bytes of records and indexes that were fetched.
    pub(crate) fetched: u64,
}

/// One layer.
#[derive(Debug)]
pub(crate) struct BoundLayer {
    pub(crate) row: RecordLayer,
    pub(crate) index: Index,
    /// The index as stored.
    pub(crate) index_bytes: Vec<u8>,
}

impl Bound {
    /// Bytes of all that describes and makes the artifact.
    pub(crate) fn total(&self) -> u64 {
        let documents = self.layers.iter().map(|layer| layer.index_bytes.len());
        let documents: usize = documents.chain([self.record_bytes.len()]).sum();
        self.record.size + documents as u64
    }
}

impl BoundLayer {
    pub(crate) fn is_code(&self) -> bool {
        self.row.kind == LayerKind::Code
    }
}

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a ArtifactUrl,
    /// The artifact's checksum in the manifest.
    pub(crate) artifact_sha256: &'a str,
    pub(crate) record_sha256: &'a str,
    pub(crate) limits: Limits,
    pub(crate) retry: FetchRetry,
}

/// The record and the indexes as stored: each has its digest, and the indexes are still to be read.
#[derive(Debug)]
pub(crate) struct Found {
    record: Record,
    record_bytes: Vec<u8>,
    layers: Vec<(RecordLayer, Vec<u8>)>,
    limits: Limits,
    fetched: u64,
}

/// Finds the record and all indexes.
pub(crate) async fn find(wanted: &Wanted<'_>, places: &Places, fetcher: &Fetcher) -> Result<Found, Lack> {
    let mut fetched = 0;
    let kept = fs::read(places.record(&places.release)).ok();
    let kept = kept.filter(|bytes| sha256(bytes).to_string() == wanted.record_sha256);
    let record_bytes = match kept {
        Some(bytes) => bytes,
        None => {
            let url = wanted.url.record();
            let bytes = read(fetcher, &url, LARGEST_RECORD, wanted.retry).await?;
            fetched += bytes.len() as u64;
            bytes
        }
    };
    let record = record(&record_bytes, wanted)?;
    let mut layers = Vec::with_capacity(record.layers.len());
    for row in &record.layers {
        let kept = fs::read(places.layer(&row.index_sha256).join("index")).ok();
        let index_bytes = match kept.filter(|bytes| has_digest(row, bytes)) {
            Some(bytes) => bytes,
            None => {
                let url = wanted.url.index(&row.index_sha256);
                let url = url
                    .ok_or_else(|| Lack::whole(format!("the index of the layer {} has no URL", row.name)))?;
                let bytes = read(fetcher, &url, LARGEST_INDEX, wanted.retry).await?;
                fetched += bytes.len() as u64;
                bound_by(row, bytes)?
            }
        };
        layers.push((row.clone(), index_bytes));
    }
    Ok(Found {
        record,
        record_bytes,
        layers,
        limits: wanted.limits,
        fetched,
    })
}

impl Found {
    /// Reads the indexes. As soon as that of the code is read, `work` gets it; with more than one job the others, which may be
    /// many times as large, are read meanwhile.
    pub(crate) fn read<T>(
        mut self,
        jobs: NonZeroUsize,
        work: impl FnOnce(&Record, &BoundLayer) -> Result<T, Lack>,
    ) -> Result<(Bound, T), Lack> {
        let code = self.layers.pop_if(|(row, _)| row.kind == LayerKind::Code);
        let code = code.ok_or_else(|| Lack::whole("the record names no code"))?;
        let (record, limits) = (&self.record, self.limits);
        let others = self.layers;
        let read = |layers: Vec<_>| -> Result<Vec<_>, Lack> {
            layers.into_iter().map(|layer| index(layer, record)).collect()
        };
        let (others, code, done) = thread::scope(|scope| {
            let beside = if jobs.get() > 1 && !others.is_empty() {
                Ok(scope.spawn(move || read(others)))
            } else {
                Err(others)
            };
            let code = index(code, record)?;
            within_limits(&[&code], limits)?;
            let done = work(record, &code)?;
            let others = match beside {
                Ok(reading) => reading
                    .join()
                    .map_err(|_| Lack::whole("the thread that read the indexes ended"))?,
                Err(others) => read(others),
            };
            Ok::<_, Lack>((others?, code, done))
        })?;
        let mut layers = others;
        layers.push(code);
        within_limits(&layers.iter().collect::<Vec<_>>(), limits)?;
        let bound = Bound {
            layers,
            record: self.record,
            record_bytes: self.record_bytes,
            fetched: self.fetched,
        };
        Ok((bound, done))
    }
}

/// The indexes that the host kept of a record that it kept.
pub(crate) fn kept(places: &Places, record: Record, record_bytes: Vec<u8>) -> Result<Bound, Lack> {
    let mut layers = Vec::with_capacity(record.layers.len());
    for row in &record.layers {
        let path = places.layer(&row.index_sha256).join("index");
        let index_bytes = fs::read(&path).map_err(|error| Error::disk("reading", &path, error))?;
        layers.push(index((row.clone(), bound_by(row, index_bytes)?), &record)?);
    }
    Ok(Bound {
        record,
        record_bytes,
        layers,
        fetched: 0,
    })
}

async fn read(fetcher: &Fetcher, url: &str, most: u64, retry: FetchRetry) -> Result<Vec<u8>, Lack> {
    let body = fetcher.open_with_retry(url, None, retry).await?;
    Ok(body.into_bytes(most).await?.to_vec())
}

fn record(bytes: &[u8], wanted: &Wanted<'_>) -> Result<Record, Lack> {
    if sha256(bytes).to_string() != wanted.record_sha256 {
        return Err(Lack::whole("the record is not the one that the manifest binds"));
    }
    let record = Record::parse(bytes).map_err(|error| Lack::whole(format!("the record: {error}")))?;
    if record.sha256 == wanted.artifact_sha256 {
        Ok(record)
    } else {
        Err(Lack::whole("the record is that of another artifact"))
    }
}

fn has_digest(row: &RecordLayer, bytes: &[u8]) -> bool {
    let named: Option<Digest> = row.index_sha256.parse().ok();
    named == Some(sha256(bytes))
}

/// The stored index, when it has the digest that the record's row names.
fn bound_by(row: &RecordLayer, bytes: Vec<u8>) -> Result<Vec<u8>, Lack> {
    if has_digest(row, &bytes) {
        Ok(bytes)
    } else {
        Err(wrong(row, "its digest is not the one that the record binds"))
    }
}

fn wrong(row: &RecordLayer, why: impl std::fmt::Display) -> Lack {
    Lack::whole(format!("the index of the layer {}: {why}", row.name))
}

/// Reads a layer's index, and holds it against the record's row, which names its digest.
fn index((row, index_bytes): (RecordLayer, Vec<u8>), record: &Record) -> Result<BoundLayer, Lack> {
    let index = Index::parse(&index_bytes).map_err(|error| wrong(&row, error))?;
    let says = (
        index.compression(),
        index.kind(),
        index.size(),
        index.unpacked_size(),
    );
    let bound = (record.compression, row.kind, row.size, row.unpacked_size);
    if says == bound && index.entries().len() as u64 == row.entries {
        Ok(BoundLayer {
            row,
            index,
            index_bytes,
        })
    } else {
        Err(wrong(
            &row,
            "it is not that of the layer that the record binds to it",
        ))
    }
}

fn within_limits(layers: &[&BoundLayer], limits: Limits) -> Result<(), Lack> {
    let entries: u64 = layers
        .iter()
        .map(|layer| layer.index.entries().len() as u64)
        .sum();
    let bytes = layers
        .iter()
        .flat_map(|layer| layer.index.entries())
        .try_fold(0_u64, |sum, entry| sum.checked_add(entry.size()));
    match bytes {
        Some(bytes) if bytes <= limits.bytes && entries <= limits.entries => Ok(()),
        _ => Err(Lack::whole(format!(
            "it holds {entries} entries, or more bytes than an archive may"
        ))),
    }
}
