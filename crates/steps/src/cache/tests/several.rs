//! Several builders at once: each thread here opens the cache for itself, as a process would, and flock does not tell
//! threads from processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use super::{Bench, MADE, key, meta, noise, place, seal};
use crate::cache::{Bounds, CacheErrorKind, CachedLayer, Found, LayerCache, MaxAge, Taken};
use crate::event::Event;

/// What a build does: a hit, or its turn.
fn find_or_build(dir: &Path, name: &str, built: &AtomicUsize) -> CachedLayer {
    let cache = LayerCache::open(dir).unwrap();
    let find = || match cache.find(&key(name), MaxAge::ANY).unwrap() {
        Found::Hit(layer) => Some(*layer),
        _ => None,
    };
    if let Some(layer) = find() {
        return layer;
    }
    let turn = cache.turn(&key(name), &AtomicBool::new(false), &|_| {}).unwrap();
    if let Some(layer) = find() {
        return layer;
    }
    built.fetch_add(1, Ordering::Relaxed);
    let sealed = seal(turn.dir(), &noise(50_000));
    turn.keep(meta(name, sealed)).unwrap()
}

#[test]
fn one_builds_and_the_others_get_a_hit() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("layers");
    let built = AtomicUsize::new(0);
    let start = Barrier::new(6);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                start.wait();
                let layer = find_or_build(&dir, "one", &built);
                assert!(layer.meta.sealed.frames.exists());
            });
        }
    });
    assert_eq!(built.into_inner(), 1);
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn who_waits_is_told_and_can_be_cancelled() {
    let bench = Bench::new();
    let turn = bench.turn(&key("one"));
    let events = Mutex::new(Vec::new());
    let note = |event| events.lock().unwrap().push(event);
    let cancel = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bench.cache.turn(&key("one"), &cancel, &note));
        while events.lock().unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Another key's turn is free meanwhile.
        drop(bench.turn(&key("two")));
        let asked = Instant::now();
        cancel.store(true, Ordering::Relaxed);
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), CacheErrorKind::Cancelled);
        assert!(asked.elapsed() < Duration::from_secs(60));
    });
    let events = events.into_inner().unwrap();
    assert!(matches!(&events[..], [Event::LayerAwaited { key: told }] if *told == key("one").key));
    assert!(!turn.waited());
    drop(turn);
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn when_the_builder_fails_the_next_one_has_the_turn() {
    let bench = Bench::new();
    let turn = bench.turn(&key("one"));
    let waits = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let told = |event| {
                if let Event::LayerAwaited { .. } = event {
                    waits.store(true, Ordering::Relaxed);
                }
            };
            bench
                .cache
                .turn(&key("one"), &AtomicBool::new(false), &told)
                .unwrap()
        });
        while !waits.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(turn);
        assert!(next.join().unwrap().waited());
    });
    bench.miss("one");
}

#[test]
fn a_layer_built_anew_replaces_the_old_one_unless_that_is_in_use() {
    let bench = Bench::new();
    drop(bench.build("one", b"old"));
    drop(bench.build("one", b"new"));
    let read = |layer: &CachedLayer, name: &str| {
        let dest = bench.workspace(name);
        place(layer, &dest).unwrap();
        fs::read(dest.join("node_modules/file.js")).unwrap()
    };
    let held = bench.hit("one");
    assert_eq!(read(&held, "1"), b"new");
    let other = bench.build("one", b"other");
    let aside = other.dir().to_path_buf();
    assert_eq!(
        (read(&held, "2"), read(&other, "3")),
        (b"new".to_vec(), b"other".to_vec())
    );
    drop(bench.build("two", b"sweeps"));
    assert!(aside.exists());
    drop(other);
    assert!(!aside.exists());
    assert_eq!(read(&bench.hit("one"), "4"), b"new");
    drop(held);
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn nothing_is_taken_from_a_build_that_holds_it() {
    let bench = Bench::new();
    let dir = bench.dir.path().join("layers");
    let (built, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let everything = Bounds {
        max_size: Some(0),
        max_age: None,
    };
    std::thread::scope(|scope| {
        for name in ["one", "two", "one"] {
            let (dir, built, over) = (&dir, &built, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let layer = find_or_build(dir, name, built);
                    for _ in 0..3 {
                        let size = fs::metadata(&layer.meta.sealed.frames).unwrap().len();
                        assert_eq!(size, layer.meta.sealed.size);
                        std::thread::yield_now();
                    }
                    layer.index().unwrap();
                }
            });
        }
        let pruner = LayerCache::open(&dir).unwrap();
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(180));
        let (begun, mut removed) = (Instant::now(), 0);
        let enough = |removed| removed > 0 && built.load(Ordering::Relaxed) > 2;
        while begun.elapsed() < soon || !enough(removed) && begun.elapsed() < late {
            removed += pruner.prune(everything, MADE).unwrap().removed.len();
        }
        over.store(true, Ordering::Relaxed);
        assert!(enough(removed), "{removed} of {built:?}");
    });
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

/// Whether somebody waits for the lock on a file, as the kernel says.
fn is_waited_for(file: &fs::File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let inode = format!(":{} ", file.metadata().unwrap().ino());
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .any(|line| line.contains("-> FLOCK") && line.contains(&inode))
}

#[test]
fn who_opens_an_entry_while_it_is_taken_away_holds_what_is_there_afterwards() {
    for replaced in [false, true] {
        let bench = Bench::new();
        let dir = bench.entry("one");
        let (old, new) = (bench.workspace("old"), bench.workspace("new"));
        drop(bench.build("one", b"content"));
        fs::rename(&dir, new.join("entry")).unwrap();
        drop(bench.build("one", b"content"));
        // As whoever removes it: alone, renamed, let go.
        let handle = fs::File::open(&dir).unwrap();
        handle.lock().unwrap();
        std::thread::scope(|scope| {
            let opening = scope.spawn(|| bench.find("one"));
            let begun = Instant::now();
            while !is_waited_for(&handle) {
                assert!(begun.elapsed() < Duration::from_secs(60));
                std::thread::yield_now();
            }
            fs::rename(&dir, old.join("entry")).unwrap();
            if replaced {
                fs::rename(new.join("entry"), &dir).unwrap();
            }
            handle.unlock().unwrap();
            let found = opening.join().unwrap();
            if replaced {
                assert!(matches!(found, Found::Hit(_)), "{found:?}");
                assert!(bench.cache.list().unwrap()[0].in_use);
            } else {
                assert!(matches!(found, Found::Miss), "{found:?}");
            }
        });
    }
}

#[test]
fn what_was_judged_is_removed_and_not_what_replaced_it() {
    let bench = Bench::new();
    drop(bench.build("one", b"old"));
    let dir = bench.entry("one");
    let judged = fs::File::open(&dir).unwrap();
    drop(bench.build("one", b"new"));
    assert_eq!(bench.cache.take_away(&dir, &judged).unwrap(), Taken::Gone);
    let now = fs::File::open(&dir).unwrap();
    drop(bench.hit("one"));
    assert_eq!(bench.cache.take_away(&dir, &now).unwrap(), Taken::Away);
    bench.miss("one");
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn a_build_killed_before_the_rename_leaves_a_miss_and_is_cleared_away() {
    let bench = Bench::new();
    // As it stands then: all is written, and the lock went with the process.
    let killed = bench.cache.asides().join("killed");
    drop(bench.build("one", b"content"));
    fs::create_dir(&killed).unwrap();
    fs::rename(bench.entry("one"), killed.join("entry")).unwrap();
    fs::write(bench.cache.turns().join(key("one").key), "").unwrap();
    bench.miss("one");
    let turn = bench.turn(&key("one"));
    assert!(!turn.waited() && !killed.exists());
    drop(turn);
    drop(bench.build("one", b"content"));
    drop(bench.hit("one"));
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}
