//! Finds the record that the manifest binds and the indexes that the record binds: on the host where it kept them, else in the
//! store; each is compared with its digest. The layers beside the code are many times as large mostly: theirs are found by
//! [`super::others`], while the code is worked on. What an index says is not looked at here.

use std::fs;

use shipit_artifact::{Limits, Record, RecordLayer, sha256};
use shipit_store::{ArtifactUrl, FetchRetry, Fetcher};

use super::bound::{Found, StoredLayer, bound_by, has_digest, no_code};
use super::lack::Lack;
use super::places::Places;

/// No record is larger.
const LARGEST_RECORD: u64 = 16 << 20;
/// No index is larger.
const LARGEST_INDEX: u64 = 256 << 20;

/// What is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) url: &'a ArtifactUrl,
    /// The artifact's checksum in the manifest.
    pub(crate) artifact_sha256: &'a str,
    pub(crate) record_sha256: &'a str,
    pub(crate) limits: Limits,
    pub(crate) retry: FetchRetry,
}

/// Finds the record and the code's index.
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
    let code = record.layers.last().ok_or_else(no_code)?;
    let code = match kept_of(places, code) {
        Some(code) => code,
        None => fetch(code, wanted.url, wanted.retry, fetcher).await?,
    };
    if !code.index_kept {
        fetched += code.index_bytes.len() as u64;
    }
    Ok(Found {
        record,
        record_bytes,
        code,
        limits: wanted.limits,
        fetched,
    })
}

/// The layer with the index that its place on the host holds, if that is the layer's.
pub(super) fn kept_of(places: &Places, row: &RecordLayer) -> Option<StoredLayer> {
    let index_bytes = fs::read(places.layer(&row.index_sha256).join("index")).ok()?;
    has_digest(row, &index_bytes).then(|| StoredLayer {
        row: row.clone(),
        index_bytes,
        index_kept: true,
    })
}

/// The layer with the index that the store has.
pub(super) async fn fetch(
    row: &RecordLayer,
    url: &ArtifactUrl,
    retry: FetchRetry,
    fetcher: &Fetcher,
) -> Result<StoredLayer, Lack> {
    let url = url.index(&row.index_sha256);
    let url = url.ok_or_else(|| Lack::whole(format!("the index of the layer {} has no URL", row.name)))?;
    let index_bytes = read(fetcher, &url, LARGEST_INDEX, retry).await?;
    Ok(StoredLayer {
        row: row.clone(),
        index_bytes: bound_by(row, index_bytes)?,
        index_kept: false,
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
