//! Locks between processes: flock(1) stands for a builder, which is killed.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use shipit_steps::{Bounds, Event, LayerCache};
use shipit_testbed::{Cmd, Process, Tmp};

use crate::setup::{MADE, build, key, names_in};

const SOON: Duration = Duration::from_secs(10);

/// Another process that has the lock of a path until it is killed.
fn locked(tmp: &Tmp, how: &str, path: &Path) -> Process {
    // One each: what is waited for is a word in it.
    let log = tmp.join(format!("flock-{}.log", shipit_testbed::random_hex(4)));
    let mut process = Cmd::new("flock")
        .args([how, "--no-fork"])
        .arg(path)
        .args(["sh", "-c", "echo locked; exec sleep 600"])
        .start("flock", log);
    process.wait_log(SOON, "locked");
    process
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_killed_builders_turn_and_files_are_the_next_ones() {
    let tmp = Tmp::new("cache");
    let dir = tmp.join("layers");
    let cache = LayerCache::open(&dir).unwrap();
    let aside = tmp.mkdir("layers/aside/killed");
    tmp.write("layers/aside/killed/x.frames", "half");
    let path = dir.join("turns").join(key("one").key);
    let mut turn = locked(&tmp, "--exclusive", &path);
    let mut writer = locked(&tmp, "--exclusive", &aside);
    // What it writes is not taken from it.
    assert_eq!(cache.prune(Bounds::default(), MADE).unwrap().leftovers, 0);
    drop(build(&cache, "two", 1_000));
    assert!(aside.exists());
    let (awaited, awaits) = mpsc::channel();
    let awaited = Mutex::new(awaited);
    let waited = std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            let on_event = |event: Event| {
                if matches!(event, Event::LayerAwaited { .. }) {
                    awaited.lock().unwrap().send(()).unwrap();
                }
            };
            cache
                .turn(&key("one"), &AtomicBool::new(false), &on_event)
                .unwrap()
                .waited()
        });
        awaits.recv_timeout(Duration::from_secs(60)).unwrap();
        assert!(!next.is_finished());
        let _ = writer.kill9();
        let _ = turn.kill9();
        next.join().unwrap()
    });
    assert!(waited);
    assert_eq!(
        (names_in(&dir.join("aside")), names_in(&dir.join("turns"))),
        (0, 0)
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_another_process_holds_is_not_pruned_until_that_is_gone() {
    let tmp = Tmp::new("cache");
    let cache = LayerCache::open(&tmp.join("layers")).unwrap();
    let layer = build(&cache, "one", 1_000);
    let entry = layer.dir().to_path_buf();
    drop(layer);
    let mut holder = locked(&tmp, "--shared", &entry);
    let everything = Bounds {
        max_size: Some(0),
        max_age: None,
    };
    let pruned = cache.prune(everything, MADE).unwrap();
    assert_eq!((pruned.in_use, pruned.layers), (1, 1));
    let _ = holder.kill9();
    let pruned = cache.prune(everything, MADE).unwrap();
    assert_eq!((pruned.removed.len(), pruned.layers), (1, 0));
    assert!(!entry.exists());
}
