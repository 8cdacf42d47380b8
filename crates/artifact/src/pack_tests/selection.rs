//! Code packed from one tree equals code packed from that tree written to disk, whatever part is chosen.

use super::*;
use crate::Selection;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

/// A commit as a tree: directories listed, everything that the rules know something of.
fn commit() -> MemoryTree {
    let files: [&[u8]; 16] = [
        b"REVISION",
        b"app/.git",
        b"app/main.rb",
        b"app/tmp/x.pid",
        b"app.rb",
        b"app-b/x",
        b"docs/a.md",
        b"docs/deep/b.md",
        b"docs/deep/tmp/c",
        b"empty.socket",
        b"non\xff/utf\xfe8.log",
        b"spec/spec/s.rb",
        b"vendor/bundle/gem/x",
        b"vendor/bundle/y.log",
        b"vendor/kept",
        b"web/build/index.html",
    ];
    let mut tree = MemoryTree::default()
        .other(
            "spec/link",
            Kind::Symlink {
                target: b"../app".to_vec(),
            },
        )
        .other(
            "web/to",
            Kind::Symlink {
                target: b"build".to_vec(),
            },
        )
        .file("web/build/large.js", noise(3, 2_300_000));
    for (seed, name) in files.into_iter().enumerate() {
        tree = tree.file(name, noise(seed as u64, 100 * seed + seed % 3));
    }
    let names: Vec<EntryPath> = tree.0.keys().cloned().collect();
    for name in names {
        let mut above = name.parent();
        while let Some(directory) = above {
            above = directory.parent();
            tree = tree.other(directory.as_bytes(), Kind::Directory);
        }
    }
    tree
}

fn export(tree: &MemoryTree, top: &Path) {
    fs::create_dir(top).unwrap();
    for (name, (kind, content)) in &tree.0 {
        let at = top.join(name.as_path());
        match kind {
            Kind::Directory => fs::create_dir_all(at).unwrap(),
            Kind::Symlink { target } => symlink(std::ffi::OsStr::from_bytes(target), at).unwrap(),
            Kind::File { executable } => {
                fs::write(&at, content).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
            }
        }
    }
}

/// One choice of a part, as both kinds of trees take it.
#[derive(Debug, Default, Clone, Copy)]
struct Part {
    base: Option<&'static str>,
    only: Option<&'static [&'static str]>,
    without: &'static [&'static str],
    exclude: &'static [&'static str],
}

const PARTS: &[Part] = &[
    Part {
        base: None,
        only: None,
        without: &[],
        exclude: &[],
    },
    Part {
        base: None,
        only: None,
        without: &["vendor/bundle", "app.rb", "no/such"],
        exclude: &[".git", "spec"],
    },
    Part {
        base: None,
        only: None,
        without: &[],
        exclude: &["*.log", "/docs/deep/", "tmp/", "app/*.rb"],
    },
    Part {
        base: None,
        only: Some(&["vendor/bundle", "app", "app.rb", "none"]),
        without: &[],
        exclude: &[],
    },
    // Listing begins beneath what is left out: it is left out where listing comes to it, not above.
    Part {
        base: None,
        only: Some(&["docs/deep", "docs"]),
        without: &["docs/deep/tmp"],
        exclude: &["a.md"],
    },
    Part {
        base: None,
        only: Some(&["vendor/bundle"]),
        without: &["vendor"],
        exclude: &[],
    },
    Part {
        base: Some("docs"),
        only: None,
        without: &["docs/deep/tmp", "deep"],
        exclude: &["/a.md"],
    },
    Part {
        base: Some("vendor/bundle"),
        only: Some(&["vendor"]),
        without: &["vendor"],
        exclude: &[],
    },
    Part {
        base: Some("vendor"),
        only: Some(&["vendor/bundle/gem", "app"]),
        without: &[],
        exclude: &[],
    },
    Part {
        base: Some("web"),
        only: None,
        without: &[],
        exclude: &["build/*.html"],
    },
];

fn paths(list: &[&str]) -> Vec<EntryPath> {
    list.iter().map(path).collect()
}

impl Part {
    fn of_directory(self, top: &Path) -> DirTree {
        let mut tree = DirTree::new(top)
            .unwrap()
            .without(paths(self.without))
            .exclude(self.exclude)
            .unwrap();
        if let Some(only) = self.only {
            tree = tree.only(paths(only));
        }
        match self.base {
            Some(base) => tree.rooted(path(base)).unwrap(),
            None => tree,
        }
    }

    fn of_tree(self, tree: &dyn Tree) -> Selection<'_> {
        let mut part = Selection::of(tree)
            .without(paths(self.without))
            .exclude(self.exclude)
            .unwrap();
        if let Some(only) = self.only {
            part = part.only(paths(only));
        }
        match self.base {
            Some(base) => part.rooted(path(base)).unwrap(),
            None => part,
        }
    }
}

#[test]
fn a_part_of_a_tree_packs_to_the_bytes_of_its_export() {
    let dir = tempfile::tempdir().unwrap();
    let commit = commit();
    let top = dir.path().join("export");
    export(&commit, &top);
    let none = MemoryTree::default();
    let mut different = std::collections::HashSet::new();
    for (number, part) in PARTS.iter().enumerate() {
        let (exported, selected) = (part.of_directory(&top), part.of_tree(&commit));
        let entries = selected.entries().unwrap();
        assert_eq!(entries, exported.entries().unwrap(), "{part:?}");
        assert!(!entries.is_empty(), "{part:?}");
        let digest = |code: &dyn Tree, name: &str| {
            let out = dir.path().join(format!("{number}-{name}"));
            build_of(&none, code, &out, Compression::Zstd, 2, &|_| {})
                .unwrap()
                .record
                .sha256
        };
        let of_selected = digest(&selected, "selected");
        assert_eq!(of_selected, digest(&exported, "exported"), "{part:?}");
        different.insert(of_selected);
    }
    assert_eq!(different.len(), PARTS.len(), "each part is another one");
}

#[test]
fn a_file_laid_over_is_as_if_it_stood_there() {
    let dir = tempfile::tempdir().unwrap();
    let commit = commit();
    let top = dir.path().join("export");
    export(&commit, &top);
    fs::write(top.join("web/REVISION"), "abc\n").unwrap();
    fs::create_dir(top.join("web/new")).unwrap();
    fs::write(top.join("web/new/file"), "new").unwrap();
    fs::write(top.join("web/build/index.html"), "other").unwrap();
    fs::set_permissions(
        top.join("web/build/index.html"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    fs::write(top.join("web/left.out"), "x").unwrap();
    let exclude = ["*.out"];
    let exported = DirTree::new(&top)
        .unwrap()
        .exclude(&exclude)
        .unwrap()
        .rooted(path("web"))
        .unwrap();
    let selected = Selection::of(&commit)
        .exclude(&exclude)
        .unwrap()
        .rooted(path("web"))
        .unwrap()
        .with_file(path("REVISION"), b"abc\n".to_vec())
        .with_file(path("new/file"), b"new".to_vec())
        .with_file(path("build/index.html"), b"other".to_vec())
        .with_file(path("left.out"), b"x".to_vec());
    let none = MemoryTree::default();
    let digest = |code: &dyn Tree, name: &str| {
        build_of(&none, code, &dir.path().join(name), Compression::Zstd, 2, &|_| {})
            .unwrap()
            .record
            .sha256
    };
    assert_eq!(selected.entries().unwrap(), exported.entries().unwrap());
    assert_eq!(digest(&selected, "selected"), digest(&exported, "exported"));
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let commit = commit();
    let refused = |name: &str| Selection::of(&commit).rooted(path(name)).unwrap_err();
    for (name, kind) in [
        ("no/such", std::io::ErrorKind::NotFound),
        ("app.rb", std::io::ErrorKind::NotADirectory),
    ] {
        let error = refused(name);
        assert_eq!(error.to_string(), format!("cannot open {name}"));
        assert!(matches!(error, TreeError::Io { source, .. } if source.kind() == kind));
    }
    for (name, what) in [("app.rb/x", "what is no directory"), ("app", "a directory")] {
        let error = Selection::of(&commit)
            .with_file(path(name), vec![])
            .entries()
            .unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            error.to_string().ends_with(name) && cause.starts_with(what),
            "{error}: {cause}"
        );
    }
}

/// What a tree reports as skipped is told from the packed root, and only where it would have been packed.
#[test]
fn what_the_tree_skipped_is_told() {
    struct Skipping(MemoryTree);
    impl Tree for Skipping {
        fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
            self.0.entries()
        }
        fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
            self.0.open(path)
        }
        fn skipped(&self) -> Vec<EntryPath> {
            ["app/sock", "docs/deep/fifo", "docs/sock"].map(path).to_vec()
        }
    }
    let tree = Skipping(commit());
    let part = Selection::of(&tree)
        .rooted(path("docs"))
        .unwrap()
        .without(vec![path("docs/deep")]);
    assert_eq!(part.skipped(), [path("sock")]);
}

/// Waits in each reading until two are under way.
struct Together {
    tree: MemoryTree,
    reading: Mutex<usize>,
    changed: std::sync::Condvar,
}

impl Tree for Together {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        self.tree.entries()
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        let mut reading = self.reading.lock().unwrap();
        *reading += 1;
        self.changed.notify_all();
        let enough = std::time::Duration::from_secs(20);
        let waited = self
            .changed
            .wait_timeout_while(reading, enough, |reading| *reading < 2)
            .unwrap();
        assert!(!waited.1.timed_out(), "nobody reads {path} beside another file");
        self.tree.open(path)
    }
}

#[test]
fn two_workers_read_two_files_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // Two frames of one file each.
    let tree = MemoryTree::default()
        .file("a", noise(1, 1_500_000))
        .file("b", noise(2, 1_500_000));
    let tree = Together {
        tree,
        reading: Mutex::new(0),
        changed: std::sync::Condvar::new(),
    };
    let none = MemoryTree::default();
    let whole = Selection::of(&tree);
    build_of(&none, &whole, dir.path(), Compression::Zstd, 2, &|_| {}).unwrap();
    assert_eq!(*tree.reading.lock().unwrap(), 2);
}
