//! An entry's meta.json: what the layer is, and the digests that its files must have. And its about.json: what of it is asked
//! for of all entries at once, since a key's parts may be those of a whole repository's files. Both carry a digest of
//! themselves: a bit that flips in one must not give another layer's answer.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shipit_artifact::{Compression, EntryPath, LayerKind, SealedLayer, sha256};

use crate::key::LayerKey;

use super::prune::CacheEntryLayer;

/// The version of both files.
const VERSION: u32 = 1;

/// An entry's files.
pub(super) const FRAMES: &str = "frames";
pub(super) const INDEX: &str = "index";
pub(super) const META: &str = "meta.json";
pub(super) const ABOUT: &str = "about.json";

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

/// about.json: the few things that are asked for of every entry. Entries of older versions have none.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub key: String,
    /// The length of meta.json, which is not read for this.
    pub meta_size: u64,
    pub layer: CacheEntryLayer,
}

/// A file: the digest is of `meta` as [`serde_json`] writes it without spaces.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<M> {
    version: u32,
    sha256: String,
    meta: M,
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
    stored(StoredMeta::of(meta))
}

/// Reads the bytes of meta.json of the entry in `dir`; what is wrong with them otherwise, in words.
pub(super) fn parse(bytes: &[u8], dir: &Path) -> Result<LayerMeta, String> {
    let version = version(bytes, META)?;
    if version != VERSION {
        return Err(format!(
            "{META} has version {version}, and this shipit knows version {VERSION}"
        ));
    }
    let meta: StoredMeta = read(bytes, META)?;
    Ok(meta.into_meta(dir))
}

impl About {
    /// The bytes of about.json.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        stored(self)
    }

    /// That of an entry with a meta.json of this length.
    pub(super) fn of(meta: &LayerMeta, meta_size: u64) -> Self {
        Self {
            key: meta.key.key.clone(),
            meta_size,
            layer: CacheEntryLayer::of(meta),
        }
    }

    /// Reads the bytes of about.json; what is wrong with them otherwise, in words. `None` when they are of another version:
    /// meta.json says the same.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, String> {
        match version(bytes, ABOUT)? {
            VERSION => read(bytes, ABOUT).map(Some),
            _ => Ok(None),
        }
    }
}

fn stored(meta: impl Serialize) -> serde_json::Result<Vec<u8>> {
    let stored = Stored {
        version: VERSION,
        sha256: sha256(&serde_json::to_vec(&meta)?).to_string(),
        meta,
    };
    let mut bytes = serde_json::to_vec_pretty(&stored)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn version(bytes: &[u8], name: &str) -> Result<u32, String> {
    let versioned: serde_json::Result<Versioned> = serde_json::from_slice(bytes);
    let version = versioned.map(|Versioned { version }| version);
    version.map_err(|error| format!("{name} cannot be read: {error}"))
}

fn read<M: Serialize + DeserializeOwned>(bytes: &[u8], name: &str) -> Result<M, String> {
    let broken = |error: serde_json::Error| format!("{name} cannot be read: {error}");
    let stored: Stored<M> = serde_json::from_slice(bytes).map_err(broken)?;
    let digest = sha256(&serde_json::to_vec(&stored.meta).map_err(broken)?);
    if digest.to_string() != stored.sha256 {
        return Err(format!("{name} does not have the digest that it carries"));
    }
    Ok(stored.meta)
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
        // One escape of a byte can be written in two ways.
        let meta = meta();
        let about = About::of(&meta, 7_000_000);
        each_bit(&to_bytes(&meta).unwrap(), |bytes| {
            let read = parse(bytes, Path::new("/cache/ab12"));
            read.is_err() || read == Ok(meta.clone())
        });
        let bytes = about.to_bytes().unwrap();
        assert_eq!(About::parse(&bytes).unwrap().as_ref(), Some(&about));
        each_bit(&bytes, |bytes| {
            let read = About::parse(bytes);
            read.is_err() || read.is_ok_and(|read| read.is_none_or(|read| read == about))
        });
    }

    fn each_bit(bytes: &[u8], is_seen: impl Fn(&[u8]) -> bool) {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(is_seen(&flipped), "bit {bit}");
        }
    }
}
