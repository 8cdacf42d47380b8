//! Keeping the cache within bounds: what goes, in which order, and what never does.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::{Bench, MADE, key, noise, set_used};
use crate::cache::{Bounds, Pruned, Why};

/// Four layers of about 100 kB; the later ones were used later.
fn four() -> Bench {
    let bench = Bench::new();
    for (name, used) in [("a", 100), ("b", 200), ("c", 300), ("d", 400)] {
        drop(bench.build(name, &noise(100_000)));
        set_used(&bench.entry(name), used);
    }
    bench
}

fn removed(pruned: &Pruned) -> Vec<(String, Why)> {
    let all = pruned.removed.iter();
    all.map(|removed| (removed.entry.key.clone(), removed.why))
        .collect()
}

fn of_size(most: u64) -> Bounds {
    Bounds {
        max_size: Some(most),
        max_age: None,
    }
}

#[test]
fn what_was_not_used_for_longest_goes_until_the_rest_fits() {
    let bench = four();
    // A hit is a use: `a` is the last to go then.
    drop(bench.hit("a"));
    let whole = bench.cache.size().unwrap();
    assert_eq!((whole.layers, whole.leftovers), (4, 0));
    let one = whole.size / 4;
    let pruned = bench.cache.prune(of_size(2 * one + one / 2), MADE).unwrap();
    let sizes = [key("b").key, key("c").key].map(|key| (key, Why::Size));
    assert_eq!(removed(&pruned), sizes);
    assert_eq!(
        (pruned.layers, pruned.size),
        (2, bench.cache.size().unwrap().size)
    );
    assert_eq!(pruned.freed, whole.size - pruned.size);
    assert!(pruned.size <= 2 * one + one / 2);
    let pruned = bench.cache.prune(of_size(pruned.size), MADE).unwrap();
    assert_eq!((removed(&pruned), pruned.layers), (Vec::new(), 2));
    let pruned = bench.cache.prune(of_size(0), MADE).unwrap();
    assert_eq!((pruned.layers, pruned.size), (0, 0));
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn what_a_build_holds_stays_and_counts() {
    let bench = four();
    let held = bench.hit("a");
    set_used(&bench.entry("a"), 100);
    let pruned = bench.cache.prune(of_size(0), MADE).unwrap();
    assert_eq!((pruned.removed.len(), pruned.layers, pruned.in_use), (3, 1, 1));
    assert!(held.meta.sealed.frames.exists());
    assert!(bench.cache.list().unwrap()[0].in_use);
    drop(held);
    assert!(!bench.cache.list().unwrap()[0].in_use);
    assert_eq!(bench.cache.prune(of_size(0), MADE).unwrap().removed.len(), 1);
}

#[test]
fn what_was_made_too_long_ago_goes_however_it_is_used() {
    let bench = four();
    let bounds = Bounds {
        max_size: None,
        max_age: Some(Duration::from_secs(60)),
    };
    assert_eq!(bench.cache.prune(bounds, MADE + 60).unwrap().removed.len(), 0);
    let held = bench.hit("d");
    let pruned = bench.cache.prune(bounds, MADE + 61).unwrap();
    assert_eq!((pruned.removed.len(), pruned.layers, pruned.in_use), (3, 1, 1));
    assert!(pruned.removed.iter().all(|removed| removed.why == Why::Age));
    drop(held);
}

#[test]
fn what_cannot_be_used_and_what_killed_builds_left_go_without_bounds() {
    let bench = four();
    fs::write(bench.entry("b").join("meta.json"), "{").unwrap();
    let killed = bench.cache.asides().join("0123-killed");
    fs::create_dir(&killed).unwrap();
    fs::write(killed.join("x.frames"), noise(1_000)).unwrap();
    fs::write(bench.cache.turns().join("killed"), "").unwrap();
    let size = bench.cache.size().unwrap();
    assert_eq!((size.leftovers, size.leftovers_size), (1, 1_000));
    let turn = bench.turn(&key("e"));
    // A builder clears away before it begins; put it back.
    assert!(!killed.exists());
    fs::create_dir(&killed).unwrap();
    let pruned = bench.cache.prune(Bounds::default(), MADE).unwrap();
    assert_eq!(removed(&pruned), [(key("b").key, Why::Damaged)]);
    assert_eq!((pruned.leftovers, pruned.layers), (1, 3));
    assert!(turn.dir().exists());
    drop(turn);
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn the_list_says_what_is_there() {
    let bench = four();
    fs::remove_file(bench.entry("a").join("meta.json")).unwrap();
    let list = bench.cache.list().unwrap();
    let keys: Vec<_> = list.iter().map(|entry| entry.key.clone()).collect();
    assert_eq!(keys, ["d", "c", "b", "a"].map(|name| key(name).key));
    let first = list[0].layer.as_ref().unwrap();
    assert_eq!((first.app.as_str(), first.step.as_str()), ("shop", "npm"));
    assert_eq!((first.made, first.packages, first.entries), (MADE, Some(2), 3));
    assert_eq!(list[0].used, 400);
    assert!(list[0].size > 100_000);
    assert!(list[3].layer.is_none() && list[3].damage.as_ref().unwrap().contains("meta.json"));
}

#[test]
fn a_directory_that_somebody_removed_is_no_reason_to_fail() {
    let bench = four();
    fs::remove_dir_all(bench.dir.path().join("layers/aside")).unwrap();
    let pruned = bench.cache.prune(of_size(0), MADE).unwrap();
    assert_eq!((pruned.removed.len(), pruned.layers), (4, 0));
    fs::remove_dir_all(bench.dir.path().join("layers")).unwrap();
    assert_eq!(bench.cache.prune(of_size(0), MADE).unwrap().layers, 0);
    // Who makes the next one finds no directory, either.
    drop(bench.build("a", b"content"));
    drop(bench.hit("a"));
}
