//! Finds the record that the manifest binds and the indexes that the record binds: on the host where it kept them, else in the
//! store; each is compared with its digest. What they say is not looked at here.

use std::fs;

use shipit_artifact::{Limits, Record, RecordLayer, sha256};
use shipit_store::{ArtifactUrl, FetchRetry, Fetcher};

use super::bound::{Found, StoredLayer, bound_by, has_digest};
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
    let layers = layers(&record, wanted, places, fetcher, &mut fetched).await?;
    Ok(Found {
        record,
        record_bytes,
        layers,
        limits: wanted.limits,
        fetched,
    })
}

/// The layers with their indexes. That of the code, the last, is mostly a new one: it is fetched while the others, which are larger,
/// are read and hashed.
async fn layers(
    record: &Record,
    wanted: &Wanted<'_>,
    places: &Places,
    fetcher: &Fetcher,
    fetched: &mut u64,
) -> Result<Vec<StoredLayer>, Lack> {
    let Some((code, others)) = record.layers.split_last() else {
        return Ok(Vec::new());
    };
    let (at, rows) = (places.clone(), others.to_vec());
    let kept = tokio::task::spawn_blocking(move || {
        let kept = rows.iter().map(|row| kept_of(&at, row));
        kept.collect::<Vec<_>>()
    });
    let code = stored(code, kept_of(places, code), wanted, fetcher, fetched).await?;
    let kept = kept
        .await
        .map_err(|_| Lack::whole("the thread that read the indexes ended"))?;
    let mut layers = Vec::with_capacity(record.layers.len());
    for (row, kept) in others.iter().zip(kept) {
        layers.push(stored(row, kept, wanted, fetcher, fetched).await?);
    }
    layers.push(code);
    Ok(layers)
}

/// The index that the layer's place on the host holds, if it is the layer's.
fn kept_of(places: &Places, row: &RecordLayer) -> Option<Vec<u8>> {
    let kept = fs::read(places.layer(&row.index_sha256).join("index")).ok();
    kept.filter(|bytes| has_digest(row, bytes))
}

/// The layer with its index: what was `kept`, else what the store has, whose bytes are added to `fetched`.
async fn stored(
    row: &RecordLayer,
    kept: Option<Vec<u8>>,
    wanted: &Wanted<'_>,
    fetcher: &Fetcher,
    fetched: &mut u64,
) -> Result<StoredLayer, Lack> {
    let index_kept = kept.is_some();
    let index_bytes = match kept {
        Some(bytes) => bytes,
        None => {
            let url = wanted.url.index(&row.index_sha256);
            let url =
                url.ok_or_else(|| Lack::whole(format!("the index of the layer {} has no URL", row.name)))?;
            let bytes = read(fetcher, &url, LARGEST_INDEX, wanted.retry).await?;
            *fetched += bytes.len() as u64;
            bound_by(row, bytes)?
        }
    };
    Ok(StoredLayer {
        row: row.clone(),
        index_bytes,
        index_kept,
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
