//! What the releases that stay refer to: their artifacts' records are read for it, and the shared layers' documents.

use std::collections::{BTreeMap, BTreeSet};

use shipit_artifact::Record;

use super::PruneInput;
use super::look::Seen;
use super::plan::{KeptReleases, layer_of, young};
use crate::publish::LARGEST_RECORD;
use crate::shared::{LARGEST_ABOUT, SharedLayer};
use crate::{Error, ErrorKind, layout, retry};

/// What was read, so that it is read once.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// By the artifact's SHA-256: what its record names, or why that is not known.
    pub artifacts: BTreeMap<String, Result<Named, String>>,
    /// By layer key: the index of a shared layer, or why that is not known.
    pub layers: BTreeMap<String, Result<String, String>>,
}

/// What a record names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// SHA-256 of the layers' indexes.
    pub indexes: BTreeSet<String>,
    /// The keys of the dependency layers.
    pub layers: BTreeSet<String>,
}

impl Records {
    /// Reads what is not known yet of the releases that stay.
    pub(super) async fn read(
        &mut self,
        input: &PruneInput<'_>,
        seen: &Seen,
        kept: &KeptReleases<'_>,
    ) -> Result<(), Error> {
        for sha256 in kept.artifacts() {
            if !self.artifacts.contains_key(sha256) {
                let named = record(input, sha256).await?;
                self.artifacts.insert(sha256.to_owned(), named);
            }
        }
        let referred: BTreeSet<&str> = self.layers_named().collect();
        let mut there = BTreeMap::<&str, bool>::new();
        for meta in &seen.layers {
            if let Some(key) = layer_of(&meta.key, input.app) {
                let stays = referred.contains(key) || young(meta, input.now);
                *there.entry(key).or_default() |= stays;
            }
        }
        let wanted: Vec<String> = there
            .into_iter()
            .filter(|(key, stays)| *stays && !self.layers.contains_key(*key))
            .map(|(key, _)| key.to_owned())
            .collect();
        for key in wanted {
            if let Some(index) = shared(input, &key).await? {
                self.layers.insert(key, index);
            }
        }
        Ok(())
    }

    /// The layer keys that the records read so far name.
    pub(super) fn layers_named(&self) -> impl Iterator<Item = &str> {
        let named = self.artifacts.values().flatten();
        named.flat_map(|named| named.layers.iter().map(String::as_str))
    }
}

/// What the record of an artifact names.
async fn record(input: &PruneInput<'_>, sha256: &str) -> Result<Result<Named, String>, Error> {
    let key = layout::record_key(input.app, sha256)?;
    let bytes = match input.store.get_bytes(&key, LARGEST_RECORD).await {
        Ok(content) => content.bytes,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
            return Ok(Err(retry::reason(&error)));
        }
        Err(error) => return Err(error),
    };
    let record = match Record::parse(&bytes) {
        Ok(record) => record,
        Err(error) => return Ok(Err(format!("{}: {error}", input.store.url_of(&key)))),
    };
    let mut named = Named::default();
    for layer in record.layers {
        named.indexes.insert(layer.index_sha256);
        named.layers.extend(layer.key);
    }
    Ok(Ok(named))
}

/// The index of a shared layer; nothing when there is no such layer.
async fn shared(input: &PruneInput<'_>, key: &str) -> Result<Option<Result<String, String>>, Error> {
    let about = layout::shared_layer_key(input.app, key)?;
    match input.store.get_bytes(&about, LARGEST_ABOUT).await {
        Ok(content) => {
            let parsed = SharedLayer::parse(&content.bytes, key);
            let url = || input.store.url_of(&about);
            Ok(Some(
                parsed
                    .map(|layer| layer.index_sha256)
                    .map_err(|why| format!("{}: {why}", url())),
            ))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(Some(Err(retry::reason(&error)))),
        Err(error) => Err(error),
    }
}
