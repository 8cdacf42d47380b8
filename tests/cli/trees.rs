//! What lies in a directory, in a form that compares: kind, mode, time, content of every entry.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shipit_testbed::{Cmd, Tmp};

/// One entry; directories have no time, for what is put into them later changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    File { mode: u32, mtime: i64, content: Vec<u8> },
    Link(PathBuf),
    Directory { mode: u32 },
}

/// Every entry below `root`, by its path.
pub fn tree(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut found = BTreeMap::new();
    add(root, root, &mut found);
    found
}

fn add(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, Entry>) {
    for entry in fs::read_dir(dir).unwrap_or_else(|err| panic!("listing {}: {err}", dir.display())) {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let mode = meta.mode() & 0o7777;
        let entry = if meta.is_symlink() {
            Entry::Link(fs::read_link(&path).unwrap())
        } else if meta.is_dir() {
            add(root, &path, found);
            Entry::Directory { mode }
        } else {
            Entry::File {
                mode,
                mtime: meta.mtime(),
                content: fs::read(&path).unwrap(),
            }
        };
        found.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
    }
}

/// What the `tar` program makes of an artifact.
pub fn untar(artifact: &Path) -> BTreeMap<PathBuf, Entry> {
    let tmp = Tmp::new("untar");
    let _ = Cmd::new("tar")
        .arg("xf")
        .arg(artifact)
        .arg("-C")
        .arg(tmp.path())
        .run()
        .ok();
    tree(tmp.path())
}

/// The names of entries that are in one tree alone or differ: short to print when an assertion fails.
pub fn differences(a: &BTreeMap<PathBuf, Entry>, b: &BTreeMap<PathBuf, Entry>) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = a
        .keys()
        .chain(b.keys())
        .filter(|path| a.get(*path) != b.get(*path))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}
