//! Disks that fill up under the cache, and such as cannot be written to.

use std::error::Error as _;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use shipit_artifact::Error;
use shipit_steps::{CacheErrorKind, Found, LayerCache, MaxAge};
use shipit_testbed::Tmpfs;

use crate::setup::{build, flip, key, meta, names_in, seal, turn};

/// Writes until the disk is full.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    for size in [64 << 10, 4 << 10, 1] {
        let piece = vec![1; size];
        let error = loop {
            if let Err(error) = file.write_all(&piece) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_layer_that_does_not_fit_leaves_nothing() {
    let small = Tmpfs::mount(2 << 20);
    let cache = LayerCache::open(small.path()).unwrap();
    let own = turn(&cache, "large");
    let error = seal(own.dir(), 4 << 20).unwrap_err();
    let Error::Io { source, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(source.kind(), ErrorKind::StorageFull);
    drop(own);
    assert_eq!(names_in(&small.path().join("aside")), 0);
    assert!(matches!(
        cache.find(&key("large"), MaxAge::ANY).unwrap(),
        Found::Miss
    ));
    // All of the room is there again.
    drop(build(&cache, "fits", 1 << 20));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_disk_that_is_full_when_the_layer_is_kept_leaves_nothing() {
    let small = Tmpfs::mount(2 << 20);
    let cache = LayerCache::open(small.path()).unwrap();
    let own = turn(&cache, "one");
    let sealed = seal(own.dir(), 100_000).unwrap();
    let filler = small.path().join("filler");
    fill(&filler);
    let error = own.keep(meta("one", sealed)).unwrap_err();
    assert_eq!(error.kind(), CacheErrorKind::Disk, "{error:?}");
    assert!(error.source().unwrap().to_string().contains("No space left"));
    assert!(error.hint().unwrap().contains("shipit cache prune"));
    assert_eq!(names_in(&small.path().join("aside")), 0);
    assert_eq!(names_in(&small.path().join("turns")), 0);
    fs::remove_file(filler).unwrap();
    assert!(matches!(
        cache.find(&key("one"), MaxAge::ANY).unwrap(),
        Found::Miss
    ));
    drop(build(&cache, "one", 100_000));
    assert!(matches!(
        cache.find(&key("one"), MaxAge::ANY).unwrap(),
        Found::Hit(_)
    ));
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_directory_without_write_permission_is_an_error_of_its_own_and_can_be_looked_at() {
    let small = Tmpfs::mount(2 << 20);
    let dir = small.path().join("layers");
    let cache = LayerCache::open(&dir).unwrap();
    drop(build(&cache, "one", 1_000));
    let frames = build(&cache, "two", 1_000).meta.sealed.frames;
    flip(&frames);
    small.read_only();
    let error = LayerCache::open(&dir).unwrap_err();
    assert_eq!(error.kind(), CacheErrorKind::Unusable, "{error:?}");
    assert!(error.hint().unwrap().contains("--cache-dir"));
    let error = LayerCache::open(&small.path().join("new")).unwrap_err();
    assert_eq!(error.kind(), CacheErrorKind::Unusable, "{error:?}");
    let error = cache
        .turn(&key("three"), &AtomicBool::new(false), &|_| {})
        .unwrap_err();
    assert_eq!(error.kind(), CacheErrorKind::Unusable, "{error:?}");
    let cache = LayerCache::existing(&dir).unwrap().unwrap();
    assert!(matches!(
        cache.find(&key("one"), MaxAge::ANY).unwrap(),
        Found::Hit(_)
    ));
    assert_eq!(cache.size().unwrap().layers, 2);
    let jobs = std::num::NonZeroUsize::MIN;
    let verified = cache.verify(jobs, &AtomicBool::new(false), &|_| {}).unwrap();
    assert_eq!((verified.checked, verified.damaged.len()), (2, 1));
    assert!(!verified.damaged[0].removed);
    let error = cache.prune(
        shipit_steps::Bounds {
            max_size: Some(0),
            max_age: None,
        },
        0,
    );
    assert_eq!(error.unwrap_err().kind(), CacheErrorKind::Unusable);
}

#[test]
fn a_file_in_the_directorys_place_is_the_same_error() {
    let tmp = shipit_testbed::Tmp::new("cache");
    let file = tmp.write("layers", "");
    for dir in [file.clone(), file.join("below")] {
        let kind = LayerCache::open(&dir).unwrap_err().kind();
        assert_eq!(kind, CacheErrorKind::Unusable, "{}", dir.display());
    }
    assert!(LayerCache::existing(&tmp.join("none")).unwrap().is_none());
}
