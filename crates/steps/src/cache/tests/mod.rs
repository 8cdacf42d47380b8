//! The cache as builds use it: real layers, sealed from real files.

mod bounds;
mod damage;
mod several;

use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use shipit_artifact::{
    Compression, DirTree, EntryPath, LayerKind, LayerPlan, Mtime, PackOptions, SealedLayer, seal_layer,
    sha256,
};
use tempfile::TempDir;

use super::{CachedLayer, Found, LayerCache, LayerMeta, LayerTree, MaxAge, Turn};
use crate::key::{KeyPart, LayerKey};

/// When the layers of these tests were made.
const MADE: i64 = 1_700_000_000;
const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

/// A cache in a directory of its own.
struct Bench {
    dir: TempDir,
    cache: LayerCache,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = LayerCache::open(&dir.path().join("layers")).unwrap();
        Self { dir, cache }
    }

    fn turn(&self, key: &LayerKey) -> Turn {
        self.cache.turn(key, &AtomicBool::new(false), &|_| {}).unwrap()
    }

    /// Builds a layer of one file and keeps it.
    fn build(&self, name: &str, content: &[u8]) -> CachedLayer {
        let turn = self.turn(&key(name));
        let sealed = seal(turn.dir(), content);
        turn.keep(meta(name, sealed)).unwrap()
    }

    fn find(&self, name: &str) -> Found {
        self.cache.find(&key(name), MaxAge::ANY).unwrap()
    }

    #[track_caller]
    fn hit(&self, name: &str) -> CachedLayer {
        match self.find(name) {
            Found::Hit(layer) => *layer,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn removed(&self, name: &str) -> String {
        match self.find(name) {
            Found::Removed { why, damaged } => {
                assert!(damaged);
                why
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn miss(&self, name: &str) {
        let found = self.find(name);
        assert!(matches!(found, Found::Miss), "{found:?}");
    }

    /// An entry's directory.
    fn entry(&self, name: &str) -> PathBuf {
        self.cache.entry(&key(name).key).unwrap()
    }

    fn workspace(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// What lies aside, or is locked for a turn.
    fn left_over(&self) -> Vec<PathBuf> {
        [self.cache.asides(), self.cache.turns()]
            .iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap())
            .map(|entry| entry.unwrap().path())
            .collect()
    }
}

fn key(name: &str) -> LayerKey {
    LayerKey {
        key: sha256(name.as_bytes()).to_string(),
        parts: vec![KeyPart {
            name: "lockfile package-lock.json".to_owned(),
            value: name.to_owned(),
        }],
    }
}

fn path(text: &str) -> EntryPath {
    EntryPath::new(text).unwrap()
}

fn seal(dir: &Path, content: &[u8]) -> SealedLayer {
    let source = tempfile::tempdir().unwrap();
    let modules = source.path().join("node_modules");
    fs::create_dir(&modules).unwrap();
    fs::write(modules.join("file.js"), content).unwrap();
    std::os::unix::fs::symlink("file.js", modules.join("link")).unwrap();
    let tree = DirTree::new(source.path()).unwrap();
    let plan = LayerPlan {
        name: "npm".to_owned(),
        kind: LayerKind::Dependencies,
        key: None,
        tree: &tree,
        mtime: Mtime::FromContent,
        level: 1,
    };
    let options = PackOptions {
        compression: Compression::Zstd,
        jobs: TWO,
        cancel: &AtomicBool::new(false),
        on_event: &|_| {},
    };
    seal_layer(&plan, dir, &options).unwrap()
}

fn meta(name: &str, sealed: SealedLayer) -> LayerMeta {
    LayerMeta {
        app: "shop".to_owned(),
        step: "npm".to_owned(),
        tree: LayerTree::Packed,
        sealed,
        key: key(name),
        paths: vec![path("node_modules")],
        owned: vec![path("node_modules"), path("caf\u{e9}")],
        packages: Some(2),
        made: MADE,
    }
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count + 32);
    let mut digest = sha256(b"noise");
    while bytes.len() < count {
        bytes.extend_from_slice(digest.as_bytes());
        digest = sha256(digest.as_bytes());
    }
    bytes.truncate(count);
    bytes
}

fn place(layer: &CachedLayer, dest: &Path) -> Result<(), super::CacheError> {
    layer
        .place(dest, TWO, &AtomicBool::new(false), &|_| {})
        .map(|_| ())
}

#[test]
fn what_is_kept_is_found_and_placed() {
    let bench = Bench::new();
    bench.miss("one");
    let kept = bench.build("one", b"content");
    let meta = kept.meta.clone();
    drop(kept);
    let found = bench.hit("one");
    assert_eq!(found.meta, meta);
    assert_eq!(found.meta.sealed.frames, bench.entry("one").join("frames"));
    assert_eq!(found.meta.sealed.key, Some(key("one").key));
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
    let dest = bench.workspace("tree");
    place(&found, &dest).unwrap();
    let file = dest.join("node_modules/file.js");
    assert_eq!(fs::read(&file).unwrap(), b"content");
    // A file of its own, that a step may write to.
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 1);
    assert_eq!(
        fs::read_link(dest.join("node_modules/link")).unwrap(),
        Path::new("file.js")
    );
}

#[test]
fn a_turn_without_a_layer_leaves_nothing() {
    let bench = Bench::new();
    let turn = bench.turn(&key("one"));
    seal(turn.dir(), b"content");
    drop(turn);
    bench.miss("one");
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn a_layer_that_is_not_the_turns_is_refused() {
    let bench = Bench::new();
    let turn = bench.turn(&key("one"));
    let sealed = seal(turn.dir(), b"content");
    let error = turn.keep(meta("other", sealed)).unwrap_err();
    assert_eq!(error.kind(), super::CacheErrorKind::Internal);
    bench.miss("other");
    let mut wrong = key("one");
    for text in ["", "../../x", "ABCDEF", "zz"] {
        wrong.key = text.to_owned();
        assert!(bench.cache.find(&wrong, MaxAge::ANY).is_err(), "{text}");
        assert!(
            bench
                .cache
                .turn(&wrong, &AtomicBool::new(false), &|_| {})
                .is_err()
        );
    }
}

#[test]
fn files_that_are_not_what_the_meta_data_say_are_not_kept() {
    let bench = Bench::new();
    let turn = bench.turn(&key("one"));
    let mut sealed = seal(turn.dir(), b"content");
    sealed.size += 1;
    let error = turn.keep(meta("one", sealed)).unwrap_err();
    assert_eq!(error.kind(), super::CacheErrorKind::Damaged);
    bench.miss("one");
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn a_layer_that_is_too_old_is_removed_and_said() {
    let bench = Bench::new();
    drop(bench.build("one", b"content"));
    let age = |seconds| MaxAge {
        limit: Some(Duration::from_secs(7 * 86_400)),
        now: MADE + seconds,
    };
    for fits in [-1_000, 0, 7 * 86_400] {
        let found = bench.cache.find(&key("one"), age(fits)).unwrap();
        assert!(matches!(found, Found::Hit(_)), "{found:?}");
    }
    match bench.cache.find(&key("one"), age(8 * 86_400)).unwrap() {
        Found::Removed { why, damaged: false } => {
            assert_eq!(why, "it was made 8 d ago, and may become 7 d old");
        }
        other => panic!("{other:?}"),
    }
    bench.miss("one");
}

#[test]
fn the_latest_is_the_one_used_last_and_whole() {
    let bench = Bench::new();
    let latest = |step| {
        let found = bench.cache.latest("shop", step, LayerTree::Packed).unwrap();
        found.map(|layer| layer.meta.key)
    };
    assert_eq!(latest("npm"), None);
    for (name, used) in [("one", 100), ("two", 300), ("three", 200)] {
        drop(bench.build(name, name.as_bytes()));
        set_used(&bench.entry(name), used);
    }
    assert_eq!(latest("npm"), Some(key("two")));
    assert_eq!(latest("bundle"), None);
    assert!(
        bench
            .cache
            .latest("shop", "npm", LayerTree::Full)
            .unwrap()
            .is_none()
    );
    // A hit is a use.
    drop(bench.hit("one"));
    assert_eq!(latest("npm"), Some(key("one")));
    fs::remove_file(bench.entry("one").join("frames")).unwrap();
    assert_eq!(latest("npm"), Some(key("two")));
}

/// Sets when an entry was used last, in unix seconds.
fn set_used(entry: &Path, seconds: u64) {
    let file = fs::File::options()
        .append(true)
        .open(entry.join("meta.json"))
        .unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
        .unwrap();
}
