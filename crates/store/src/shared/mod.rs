//! Shared layers: a dependency layer that one builder made, kept in the store for the others under its layer key.
//!
//! A layer is there when its `layer.json` is; it names its frames and its index by their digests. What is offered is
//! create-only, what is fetched is checked against those digests, and what lies is refused. That the digests are those of
//! the right files is not known here: who can write to `layers/` decides what other builders pack (docs/store.md).

mod fetch;
mod offer;

use serde::{Deserialize, Serialize};
use shipit_artifact::{Compression, Digest, RecordLayer};

pub use fetch::{FetchLayer, FetchedLayer, fetch};
pub use offer::{KnownLayer, OfferLayers, Offered, offer};

/// No layer.json is larger.
pub(crate) const LARGEST_ABOUT: u64 = 64 << 10;

/// No index is larger.
pub(crate) const LARGEST_INDEX: u64 = 256 << 20;

/// The version of layer.json that is written, and the newest that is read.
const VERSION: u32 = 1;

/// `layers/<app>/<layer key>/layer.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedLayer {
    version: u32,
    /// The layer key, under which it lies.
    key: String,
    compression: Compression,
    /// SHA-256 of its frames.
    pub(crate) sha256: String,
    /// Bytes of its frames.
    pub(crate) size: u64,
    /// SHA-256 of its index, which lies where every index does.
    pub(crate) index_sha256: String,
    entries: u64,
    unpacked_size: u64,
    /// How many packages it holds, where the step could tell.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) packages: Option<u64>,
    /// When its step ran, in unix seconds.
    made: i64,
}

impl SharedLayer {
    fn of(layer: &RecordLayer, key: &str, compression: Compression, known: KnownLayer) -> Self {
        Self {
            version: VERSION,
            key: key.to_owned(),
            compression,
            sha256: layer.sha256.clone(),
            size: layer.size,
            index_sha256: layer.index_sha256.clone(),
            entries: layer.entries,
            unpacked_size: layer.unpacked_size,
            packages: known.packages,
            made: known.made,
        }
    }

    /// Whether it is the same layer, whatever is told of it beside its bytes.
    pub(crate) fn same_bytes(&self, other: &Self) -> bool {
        (&self.sha256, self.size, &self.index_sha256) == (&other.sha256, other.size, &other.index_sha256)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads what may come from anywhere.
    pub(crate) fn parse(bytes: &[u8], key: &str) -> Result<Self, String> {
        /// What is looked at first, for a newer version may have other fields.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let no_json = |error: serde_json::Error| format!("its layer.json cannot be read: {error}");
        let Versioned { version } = serde_json::from_slice(bytes).map_err(no_json)?;
        if version > VERSION {
            return Err(format!(
                "its layer.json has version {version}, and this shipit knows versions up to {VERSION}"
            ));
        }
        let layer: Self = serde_json::from_slice(bytes).map_err(no_json)?;
        if layer.key != key {
            return Err(format!("its layer.json is that of the layer {}", layer.key));
        }
        for digest in [&layer.sha256, &layer.index_sha256] {
            let parsed = digest.parse::<Digest>();
            parsed.map_err(|error| format!("a digest in its layer.json: {error}"))?;
        }
        Ok(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shipit_artifact::LayerKind;

    fn layer() -> SharedLayer {
        let row = RecordLayer {
            name: "npm".into(),
            kind: LayerKind::Dependencies,
            key: Some("k".into()),
            offset: 7,
            size: 5,
            sha256: "a".repeat(64),
            index_sha256: "b".repeat(64),
            entries: 3,
            unpacked_size: 512,
        };
        let known = KnownLayer {
            packages: Some(812),
            made: 1_700_000_000,
        };
        SharedLayer::of(&row, "k", Compression::Zstd, known)
    }

    #[test]
    fn written_and_read_back() {
        assert_eq!(SharedLayer::parse(&layer().to_bytes(), "k").unwrap(), layer());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong = |change: &dyn Fn(&mut SharedLayer), why: &str| {
            let mut layer = layer();
            change(&mut layer);
            let error = SharedLayer::parse(&layer.to_bytes(), "k").unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        wrong(&|layer| layer.version = 2, "version 2");
        wrong(&|layer| layer.key = "other".into(), "layer other");
        wrong(&|layer| layer.sha256 = "../../x".into(), "digest");
        wrong(&|layer| layer.index_sha256 = "A".repeat(64), "digest");
        assert!(SharedLayer::parse(b"{}", "k").is_err());
        assert!(SharedLayer::parse(b"", "k").is_err());
    }
}
