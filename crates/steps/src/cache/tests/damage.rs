//! Entries that are not what they were: each kind of file, flipped, cut short and gone.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use super::{Bench, TWO, noise, place};
use crate::cache::{CacheErrorKind, Verified};

const FILES: [&str; 3] = ["frames", "index", "meta.json"];

fn verify(bench: &Bench) -> Verified {
    bench.cache.verify(TWO, &AtomicBool::new(false), &|_| {}).unwrap()
}

/// Flips one bit in the middle of a file of the entry `one`.
fn flip(bench: &Bench, file: &str) {
    let path = bench.entry("one").join(file);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&path, bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_the_index_or_the_meta_data_is_seen_at_each_use() {
    for file in ["index", "meta.json", "about.json"] {
        let bench = Bench::new();
        drop(bench.build("one", b"content"));
        flip(&bench, file);
        let why = bench.removed("one");
        assert!(why.starts_with("it is damaged: ") && why.contains(file), "{why}");
        bench.miss("one");
        drop(bench.build("one", b"content"));
        drop(bench.hit("one"));
        assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
    }
}

#[test]
fn a_flipped_bit_in_the_frames_is_seen_when_they_are_placed() {
    let bench = Bench::new();
    drop(bench.build("one", &noise(100_000)));
    flip(&bench, "frames");
    let layer = bench.hit("one");
    let dest = bench.workspace("tree");
    let error = place(&layer, &dest).unwrap_err();
    assert_eq!(error.kind(), CacheErrorKind::Damaged, "{error:?}");
    assert!(!dest.join("node_modules/file.js").exists());
    layer.discard().unwrap();
    bench.miss("one");
}

#[test]
fn verify_finds_a_flipped_bit_in_every_file_names_and_removes_it() {
    for file in FILES {
        let bench = Bench::new();
        drop(bench.build("one", &noise(100_000)));
        let whole = bench.build("two", b"content");
        assert_eq!(verify(&bench).damaged, []);
        flip(&bench, file);
        let verified = verify(&bench);
        assert_eq!(verified.checked, 2);
        let [damaged] = verified.damaged.as_slice() else {
            panic!("{verified:?}");
        };
        assert_eq!(damaged.key, super::key("one").key);
        assert!(
            damaged.removed && damaged.why.contains("digest") || file == "meta.json",
            "{damaged:?}"
        );
        assert_eq!(damaged.step.is_some(), file != "meta.json");
        bench.miss("one");
        assert_eq!(verify(&bench).damaged, []);
        drop(whole);
        drop(bench.hit("two"));
    }
}

#[test]
fn what_is_missing_or_cut_short_is_seen_at_each_use() {
    for file in FILES {
        for cut in [true, false] {
            let bench = Bench::new();
            drop(bench.build("one", b"content"));
            let path = bench.entry("one").join(file);
            if cut {
                let options = fs::File::options().write(true).open(&path).unwrap();
                options.set_len(fs::metadata(&path).unwrap().len() - 1).unwrap();
                // The newline at meta.json's end says nothing.
                options.set_len(fs::metadata(&path).unwrap().len() - 1).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            let why = bench.removed("one");
            assert!(why.contains(file), "{why}");
            bench.miss("one");
        }
    }
}

#[test]
fn another_keys_entry_and_a_directory_in_a_files_place_are_damage() {
    let bench = Bench::new();
    drop(bench.build("one", b"content"));
    let other = bench.entry("two");
    fs::create_dir_all(other.parent().unwrap()).unwrap();
    fs::rename(bench.entry("one"), &other).unwrap();
    assert!(bench.removed("two").contains("is of the key"));
    for file in FILES {
        drop(bench.build("one", b"content"));
        let path = bench.entry("one").join(file);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(bench.removed("one").contains(file));
    }
}

#[test]
fn a_later_version_of_the_meta_data_is_no_hit() {
    let bench = Bench::new();
    drop(bench.build("one", b"content"));
    let path = bench.entry("one").join("meta.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert!(bench.removed("one").contains("has version 2"));
}

#[test]
fn what_is_asked_of_all_entries_does_not_take_the_whole_meta_data() {
    let bench = Bench::new();
    drop(bench.build("one", b"content"));
    let (meta, about) = (
        bench.entry("one").join("meta.json"),
        bench.entry("one").join("about.json"),
    );
    let listed = || bench.cache.list().unwrap().remove(0);
    let whole = listed();
    assert_eq!(bench.cache.about(&super::key("one").key), whole.layer);
    // Of the length that it had: it is not read.
    let bytes = fs::read(&meta).unwrap();
    fs::write(&meta, vec![b' '; bytes.len()]).unwrap();
    assert!(whole.layer.is_some() && listed().layer == whole.layer);
    fs::write(&meta, &bytes[1..]).unwrap();
    assert!(listed().layer.is_none() && listed().damage.is_some());
    fs::write(&meta, bytes).unwrap();
    // As an older version kept it, and as a newer one may.
    let text = fs::read_to_string(&about).unwrap();
    fs::write(&about, text.replace("\"version\": 1", "\"version\": 2")).unwrap();
    assert_eq!(listed().layer, whole.layer);
    fs::remove_file(&about).unwrap();
    assert_eq!(listed().layer, whole.layer);
    drop(bench.hit("one"));
    assert_eq!(verify(&bench).damaged, []);
}

#[test]
fn what_is_in_use_is_reported_and_stays() {
    let bench = Bench::new();
    let held = bench.build("one", &noise(100_000));
    flip(&bench, "frames");
    let verified = verify(&bench);
    assert!(!verified.damaged[0].removed);
    assert!(bench.removed("one").contains("digest"));
    drop(held);
    assert!(verify(&bench).damaged[0].removed);
    assert_eq!(verify(&bench), Verified::default());
}

#[test]
fn damage_that_is_seen_while_it_is_held_is_no_hit_any_more_and_replaced() {
    let bench = Bench::new();
    drop(bench.build("one", &noise(100_000)));
    flip(&bench, "frames");
    // As a build does: held since it was found, and once more when it is placed.
    let (held, placed) = (bench.hit("one"), bench.hit("one"));
    assert!(place(&placed, &bench.workspace("tree")).is_err());
    placed.discard().unwrap();
    assert!(bench.entry("one").exists());
    assert!(bench.removed("one").contains("not what its index says"));
    assert!(bench.cache.list().unwrap()[0].damage.is_some());
    let made = bench.build("one", &noise(100_000));
    assert_eq!(made.dir(), bench.entry("one"));
    place(&bench.hit("one"), &bench.workspace("again")).unwrap();
    drop((held, made));
    assert_eq!(verify(&bench).damaged, []);
    assert_eq!(bench.left_over(), [] as [PathBuf; 0]);
}

#[test]
fn a_cancelled_check_ends_and_removes_nothing() {
    let bench = Bench::new();
    drop(bench.build("one", &noise(100_000)));
    let error = bench
        .cache
        .verify(TWO, &AtomicBool::new(true), &|_| {})
        .unwrap_err();
    assert_eq!(error.kind(), CacheErrorKind::Cancelled);
    drop(bench.hit("one"));
}
