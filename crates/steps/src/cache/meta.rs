//! An entry's meta.json: what the layer is, and the digests that its files must have. The file carries a digest of itself:
//! a bit that flips in it must not give another layer's answer.

use std::path::Path;

use serde::{Deserialize, Serialize};
use shipit_artifact::{Compression, EntryPath, LayerKind, SealedLayer, sha256};

use crate::key::LayerKey;

/// The version of meta.json.
const VERSION: u32 = 1;

/// An entry's files.
pub(super) const FRAMES: &str = "frames";
pub(super) const INDEX: &str = "index";
pub(super) const META: &str = "meta.json";

/// A file that says in words why the entry must not be used: damage that was seen while somebody else held it.
pub(super) const DAMAGED: &str = "damaged";

/// Which of a step's trees a layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerTree {
    /// The one that goes into the artifact; for most steps it is the one that later steps see too.
    Packed,
    /// The one that later steps see, where it is another: npm with its development dependencies.
    Full,
}

/// What is known of a layer beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerMeta {
    /// The app that it was built for. Another app's build with the same key takes it all the same.
    pub app: String,
    /// The step that vendored it.
    pub step: String,
    /// Which of the step's trees it holds.
    pub tree: LayerTree,
    /// Its frames and index.
    pub sealed: SealedLayer,
    /// What it follows from.
    pub key: LayerKey,
    /// The vendored paths that it holds.
    pub paths: Vec<EntryPath>,
    /// The paths that are the layer's alone in a workspace.
    pub owned: Vec<EntryPath>,
    /// How many packages it holds, where that is known.
    pub packages: Option<u64>,
    /// When its step ran, in unix seconds.
    pub made: i64,
}

/// The file: the digest is of `meta` as [`serde_json`] writes it without spaces.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    sha256: String,
    meta: StoredMeta,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredMeta {
    app: String,
    step: String,
    tree: LayerTree,
    made: i64,
    packages: Option<u64>,
    key: LayerKey,
    paths: Vec<EntryPath>,
    owned: Vec<EntryPath>,
    layer: StoredLayer,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredLayer {
    name: String,
    kind: LayerKind,
    compression: Compression,
    level: Option<i32>,
    size: u64,
    sha256: String,
    index_sha256: String,
    entries: u64,
    unpacked_size: u64,
    paths_claimed: Vec<EntryPath>,
}

/// The version alone, which every version's file has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The bytes of meta.json.
pub(super) fn to_bytes(meta: &LayerMeta) -> serde_json::Result<Vec<u8>> {
    let meta = StoredMeta::of(meta);
    let stored = Stored {
        version: VERSION,
        sha256: sha256(&serde_json::to_vec(&meta)?).to_string(),
        meta,
    };
    let mut bytes = serde_json::to_vec_pretty(&stored)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads the bytes of meta.json of the entry in `dir`; what is wrong with them otherwise, in words.
pub(super) fn parse(bytes: &[u8], dir: &Path) -> Result<LayerMeta, String> {
    let broken = |error: serde_json::Error| format!("{META} cannot be read: {error}");
    let Versioned { version } = serde_json::from_slice(bytes).map_err(broken)?;
    if version != VERSION {
        return Err(format!(
            "{META} has version {version}, and this shipit knows version {VERSION}"
        ));
    }
    let stored: Stored = serde_json::from_slice(bytes).map_err(broken)?;
    let digest = sha256(&serde_json::to_vec(&stored.meta).map_err(broken)?);
    if digest.to_string() != stored.sha256 {
        return Err(format!("{META} does not have the digest that it carries"));
    }
    Ok(stored.meta.into_meta(dir))
}

impl StoredMeta {
    fn of(meta: &LayerMeta) -> Self {
        let LayerMeta { sealed, .. } = meta;
        Self {
            app: meta.app.clone(),
            step: meta.step.clone(),
            tree: meta.tree,
            made: meta.made,
            packages: meta.packages,
            key: meta.key.clone(),
            paths: meta.paths.clone(),
            owned: meta.owned.clone(),
            layer: StoredLayer {
                name: sealed.name.clone(),
                kind: sealed.kind,
                compression: sealed.compression,
                level: sealed.level,
                size: sealed.size,
                sha256: sealed.sha256.clone(),
                index_sha256: sealed.index_sha256.clone(),
                entries: sealed.entries,
                unpacked_size: sealed.unpacked_size,
                paths_claimed: sealed.paths_claimed.clone(),
            },
        }
    }

    fn into_meta(self, dir: &Path) -> LayerMeta {
        let Self { layer, .. } = self;
        LayerMeta {
            app: self.app,
            step: self.step,
            tree: self.tree,
            sealed: SealedLayer {
                name: layer.name,
                kind: layer.kind,
                key: Some(self.key.key.clone()),
                compression: layer.compression,
                level: layer.level,
                frames: dir.join(FRAMES),
                index: dir.join(INDEX),
                index_sha256: layer.index_sha256,
                sha256: layer.sha256,
                size: layer.size,
                entries: layer.entries,
                unpacked_size: layer.unpacked_size,
                paths_claimed: layer.paths_claimed,
            },
            key: self.key,
            paths: self.paths,
            owned: self.owned,
            packages: self.packages,
            made: self.made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyPart;

    fn meta() -> LayerMeta {
        let path = |bytes: &[u8]| EntryPath::new(bytes).unwrap();
        LayerMeta {
            app: "shop".to_owned(),
            step: "web".to_owned(),
            tree: LayerTree::Full,
            sealed: SealedLayer {
                name: "web".to_owned(),
                kind: LayerKind::Dependencies,
                key: Some("ab12".to_owned()),
                compression: Compression::Gzip,
                level: Some(9),
                frames: "/cache/ab12/frames".into(),
                index: "/cache/ab12/index".into(),
                index_sha256: "cd".repeat(32),
                sha256: "ef".repeat(32),
                size: 12,
                entries: 3,
                unpacked_size: 99,
                paths_claimed: vec![path(b"vendor \xff"), path(b"a\\b")],
            },
            key: LayerKey {
                key: "ab12".to_owned(),
                parts: vec![KeyPart {
                    name: "env NODE_ENV".to_owned(),
                    value: "\u{e9} \"quoted\"\n".to_owned(),
                }],
            },
            paths: vec![path(b"vendor \xff")],
            owned: Vec::new(),
            packages: None,
            made: -3,
        }
    }

    #[test]
    fn it_reads_back_as_it_was_written() {
        let bytes = to_bytes(&meta()).unwrap();
        assert_eq!(parse(&bytes, Path::new("/cache/ab12")), Ok(meta()));
    }

    #[test]
    fn no_bit_can_flip_unseen() {
        let bytes = to_bytes(&meta()).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = parse(&flipped, Path::new("/cache/ab12"));
            // One escape of a byte can be written in two ways.
            assert!(read.is_err() || read == Ok(meta()), "bit {bit}: {read:?}");
        }
    }
}
