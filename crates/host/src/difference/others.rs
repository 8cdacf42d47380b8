//! Finds the layers beside the code: each with the index that the host kept, else with the store's.

use shipit_artifact::{Compression, RecordLayer};

use super::bound::{Rows, StoredLayer};
use super::find::kept_of;
use super::lack::Lack;
use super::places::Places;
use crate::apply::blocking;

/// What became of the layers beside the code.
#[derive(Debug)]
pub(crate) struct Others<L> {
    pub(super) layers: Vec<L>,
    /// Bytes of their indexes, as stored.
    pub(super) index_bytes: u64,
    /// Bytes of indexes that were fetched.
    pub(super) fetched: u64,
}

/// Finds each layer, with what `fetch` gets where the host did not keep its index, and makes of it what `read` does, on a thread
/// that may block: it is waited for to its end.
pub(crate) async fn others<L: Send + 'static>(
    rows: Rows,
    places: &Places,
    fetch: impl AsyncFn(&RecordLayer) -> Result<StoredLayer, Lack>,
    read: impl Fn(StoredLayer, Compression) -> Result<L, Lack> + Clone + Send + 'static,
) -> Result<Others<L>, Lack> {
    let compression = rows.compression;
    let mut others = Others {
        layers: Vec::with_capacity(rows.rows.len()),
        index_bytes: 0,
        fetched: 0,
    };
    for row in rows.rows {
        let (places, kept) = (places.clone(), read.clone());
        let found = blocking(move || {
            Ok(match kept_of(&places, &row) {
                Some(layer) => {
                    let bytes = layer.index_bytes.len() as u64;
                    Ok((kept(layer, compression), bytes))
                }
                None => Err(row),
            })
        });
        let (layer, bytes) = match found.await? {
            Ok((layer, bytes)) => (layer?, bytes),
            Err(row) => {
                let layer = fetch(&row).await?;
                let bytes = layer.index_bytes.len() as u64;
                others.fetched += bytes;
                let read = read.clone();
                (blocking(move || Ok(read(layer, compression))).await??, bytes)
            }
        };
        others.layers.push(layer);
        others.index_bytes += bytes;
    }
    Ok(others)
}
