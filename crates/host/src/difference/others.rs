//! Finds and reads the indexes of the layers beside the code: those that the host kept, else the store's.

use shipit_artifact::RecordLayer;
use shipit_store::{ArtifactUrl, FetchRetry, Fetcher};

use super::bound::{Layer, Rows, StoredLayer};
use super::find::{fetch, kept_of};
use super::lack::Lack;
use super::layer::files_in_place;
use super::places::Places;
use shipit_artifact::Compression;

/// How the indexes are read.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) places: Places,
    /// Layers may be linked as a whole: the index of one that stands in its place stays stored.
    pub(crate) linked: bool,
    /// So many entries at most have the tables of such layers that are unpacked before they are needed.
    pub(crate) ahead: u64,
}

/// A layer whose index was looked for on the host.
enum Looked {
    Kept(Layer),
    Missing(RecordLayer),
}

/// Finds and reads them; hands back too how many bytes were fetched.
pub(crate) async fn others(
    rows: Rows,
    reading: Reading,
    (url, retry, fetcher): (&ArtifactUrl, FetchRetry, &Fetcher),
) -> Result<(Vec<Layer>, u64), Lack> {
    if rows.rows.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let compression = rows.compression;
    let kept = reading.clone();
    let looked = blocking(move || kept.look(rows)).await?;
    let (mut layers, mut fetched) = (Vec::with_capacity(looked.len()), 0);
    for looked in looked {
        layers.push(match looked {
            Looked::Kept(layer) => layer,
            Looked::Missing(row) => {
                let layer = fetch(&row, url, retry, fetcher).await?;
                fetched += layer.index_bytes.len() as u64;
                let mut reading = reading.clone();
                blocking(move || reading.read(layer, compression)).await?
            }
        });
    }
    Ok((layers, fetched))
}

impl Reading {
    fn look(mut self, rows: Rows) -> Result<Vec<Looked>, Lack> {
        let compression = rows.compression;
        let look = |row: RecordLayer| match kept_of(&self.places, &row) {
            Some(layer) => self.read(layer, compression).map(Looked::Kept),
            None => Ok(Looked::Missing(row)),
        };
        rows.rows.into_iter().map(look).collect()
    }

    fn read(&mut self, layer: StoredLayer, compression: Compression) -> Result<Layer, Lack> {
        if !self.linked || files_in_place(&layer, &self.places).is_none() {
            return layer.read(compression).map(Layer::Read);
        }
        let rest = self.ahead.checked_sub(layer.row.entries);
        self.ahead = rest.unwrap_or(self.ahead);
        let table = rest.map(|_| layer.unpack(compression)).transpose()?;
        Ok(Layer::Stored(layer, table))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Lack> + Send + 'static,
) -> Result<T, Lack> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Lack::whole("the thread that read the indexes ended"))?
}
