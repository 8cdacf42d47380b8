//! The record that the manifest binds and the indexes that the record binds: from the host where it kept them, else from the
//! store; each compared with its digest.

use std::fs;

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

/// Finds the record and all indexes.
pub(crate) async fn find(wanted: &Wanted<'_>, places: &Places, fetcher: &Fetcher) -> Result<Bound, Lack> {
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
        let kept = kept.filter(|bytes| sha256(bytes).to_string() == row.index_sha256);
        let index_bytes = match kept {
            Some(bytes) => bytes,
            None => {
                let url = wanted.url.index(&row.index_sha256);
                let url = url
                    .ok_or_else(|| Lack::whole(format!("the index of the layer {} has no URL", row.name)))?;
                let bytes = read(fetcher, &url, LARGEST_INDEX, wanted.retry).await?;
                fetched += bytes.len() as u64;
                bytes
            }
        };
        let index = index(row, &record, &index_bytes)?;
        layers.push(BoundLayer {
            row: row.clone(),
            index,
            index_bytes,
        });
    }
    within_limits(&layers, wanted.limits)?;
    Ok(Bound {
        record,
        record_bytes,
        layers,
        fetched,
    })
}

/// The indexes that the host kept of a record that it kept.
pub(crate) fn kept(places: &Places, record: Record, record_bytes: Vec<u8>) -> Result<Bound, Lack> {
    let mut layers = Vec::with_capacity(record.layers.len());
    for row in &record.layers {
        let path = places.layer(&row.index_sha256).join("index");
        let index_bytes = fs::read(&path).map_err(|error| Error::disk("reading", &path, error))?;
        let index = index(row, &record, &index_bytes)?;
        layers.push(BoundLayer {
            row: row.clone(),
            index,
            index_bytes,
        });
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

/// A layer's index, held against the record's row.
fn index(row: &RecordLayer, record: &Record, bytes: &[u8]) -> Result<Index, Lack> {
    let wrong = |why: String| Lack::whole(format!("the index of the layer {}: {why}", row.name));
    let named: Option<Digest> = row.index_sha256.parse().ok();
    if named != Some(sha256(bytes)) {
        return Err(wrong(
            "its digest is not the one that the record binds".to_owned(),
        ));
    }
    let index = Index::parse(bytes).map_err(|error| wrong(error.to_string()))?;
    let says = (
        index.compression(),
        index.kind(),
        index.size(),
        index.unpacked_size(),
    );
    let bound = (record.compression, row.kind, row.size, row.unpacked_size);
    if says == bound && index.entries().len() as u64 == row.entries {
        Ok(index)
    } else {
        Err(wrong(
            "it is not that of the layer that the record binds to it".to_owned(),
        ))
    }
}

fn within_limits(layers: &[BoundLayer], limits: Limits) -> Result<(), Lack> {
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
