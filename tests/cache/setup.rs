//! Layers made on the spot, and a cache that holds them.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, UNIX_EPOCH};

use shipit_artifact::{
    Compression, DirTree, EntryPath, Error, LayerKind, LayerPlan, Mtime, PackOptions, SealedLayer,
    seal_layer, sha256,
};
use shipit_steps::{CachedLayer, KeyPart, LayerCache, LayerKey, LayerMeta, LayerTree, Turn};
use shipit_testbed::Tmp;

/// When the layers were made.
pub const MADE: i64 = 1_700_000_000;

/// The key that belongs to a lockfile's text.
pub fn key(lockfile: &str) -> LayerKey {
    LayerKey {
        key: sha256(lockfile.as_bytes()).to_string(),
        parts: vec![KeyPart {
            name: "lockfile Gemfile.lock".to_owned(),
            value: lockfile.to_owned(),
        }],
    }
}

/// The turn of a key that nobody has.
pub fn turn(cache: &LayerCache, name: &str) -> Turn {
    cache.turn(&key(name), &AtomicBool::new(false), &|_| {}).unwrap()
}

/// Seals a layer of one file that does not compress.
pub fn seal(dir: &Path, bytes: usize) -> Result<SealedLayer, Error> {
    let source = Tmp::new("layer");
    source.write("vendor/bundle/gem.rb", noise(bytes));
    let tree = DirTree::new(source.path()).unwrap();
    let plan = LayerPlan {
        name: "bundle".to_owned(),
        kind: LayerKind::Dependencies,
        key: None,
        tree: &tree,
        mtime: Mtime::FromContent,
        level: 1,
    };
    let options = PackOptions {
        compression: Compression::Zstd,
        jobs: NonZeroUsize::MIN,
        cancel: &AtomicBool::new(false),
        on_event: &|_| {},
    };
    seal_layer(&plan, dir, &options)
}

/// What is known of a layer beside its bytes.
pub fn meta(name: &str, sealed: SealedLayer) -> LayerMeta {
    let vendor = EntryPath::new("vendor/bundle").unwrap();
    LayerMeta {
        app: "shop".to_owned(),
        step: name.to_owned(),
        tree: LayerTree::Packed,
        sealed,
        key: key(name),
        paths: vec![vendor.clone()],
        owned: vec![vendor],
        packages: Some(812),
        made: MADE,
    }
}

/// Builds a layer and keeps it.
pub fn build(cache: &LayerCache, name: &str, bytes: usize) -> CachedLayer {
    let turn = turn(cache, name);
    let sealed = seal(turn.dir(), bytes).unwrap();
    turn.keep(meta(name, sealed)).unwrap()
}

/// Sets when a layer was used last, in unix seconds.
pub fn set_used(layer: &CachedLayer, seconds: u64) {
    let path = layer.dir().join("meta.json");
    let file = fs::File::options().append(true).open(path).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}

/// Flips a bit in the middle of a file.
pub fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// How many names stand in a directory.
pub fn names_in(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

fn noise(count: usize) -> Vec<u8> {
    let mut digest = sha256(b"noise");
    let mut bytes = Vec::with_capacity(count + 32);
    while bytes.len() < count {
        bytes.extend_from_slice(digest.as_bytes());
        digest = sha256(digest.as_bytes());
    }
    bytes.truncate(count);
    bytes
}
