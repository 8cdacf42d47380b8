//! A file of 3 GB is packed and unpacked within the memory that is promised. A test binary of its own, because the
//! kernel counts the highest memory of a process, not of a test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "this is test code"
)]

#[path = "artifact/support.rs"]
#[allow(dead_code, reason = "the other test binary uses the rest")]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{Compression, DirTree, EntryPath, UnpackOptions, unpack};

const SIZE: u64 = 3 << 30;

/// The most memory that this process ever held, in MiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn three_gigabytes_in_bounded_memory() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("workspace");
    fs::create_dir_all(root.join("vendor")).unwrap();
    let large = File::create(root.join("vendor/large")).unwrap();
    large.set_len(SIZE).unwrap();
    // Not zeros alone: frames differ, and the end is seen.
    for at in (0..SIZE).step_by(64 << 20) {
        large.write_at(&support::noise(at, 1 << 20), at).unwrap();
    }
    large.write_at(b"the end", SIZE - 7).unwrap();
    let vendored = vec![EntryPath::new("vendor").unwrap()];
    let dependencies = DirTree::new(&root).unwrap().only(vendored.clone());
    let code = DirTree::new(&root).unwrap().without(vendored);
    let artifact = support::pack(&dependencies, &code, dir.path(), Compression::Zstd, 8);
    assert!(peak() < 200, "packing took {} MiB", peak());
    let entries = artifact.index(0).unwrap();
    assert_eq!(
        entries
            .find(&EntryPath::new("vendor/large").unwrap())
            .unwrap()
            .size(),
        SIZE
    );

    let list = Command::new("tar")
        .arg("tvf")
        .arg(&artifact.path)
        .output()
        .unwrap();
    assert!(list.status.success());
    assert!(String::from_utf8_lossy(&list.stdout).contains(&format!(" {SIZE} ")));

    let into = dir.path().join("unpacked");
    fs::create_dir(&into).unwrap();
    let cancel = AtomicBool::new(false);
    let file = File::open(&artifact.path).unwrap();
    unpack(file, &into, &UnpackOptions::new(&cancel, &|_| {})).unwrap();
    assert!(peak() < 200, "unpacking took {} MiB", peak());
    let same = Command::new("cmp")
        .arg(root.join("vendor/large"))
        .arg(into.join("vendor/large"))
        .status();
    assert!(same.unwrap().success());
}
