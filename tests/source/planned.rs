//! What a tree is known by and what is written of it: an identity changes exactly when what is written does.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{EntryPath, Tree};
use shipit_source::{CommitTree, Error, Exported, Source, SourceOptions, TreeOptions, WriteOptions};
use shipit_testbed::{Repo, Tmp, random_hex};

use crate::support::{JOBS, options, snapshot, told};

const PLAIN: TreeOptions = TreeOptions { revision_file: false };

fn tree(options: &SourceOptions, revision: &str) -> CommitTree {
    told(|on_event| {
        let never = AtomicBool::new(false);
        let source = Source::open(options.clone())?;
        let commit = source.resolve(revision, &never, on_event)?;
        source.tree(&commit, PLAIN, &never, on_event)
    })
    .ok()
}

/// What tells the files of a tree apart, by path: mode and content as an export writes them, and the identity.
type Known = BTreeMap<Vec<u8>, ((u32, Vec<u8>), [u8; 32])>;

fn known(options: &SourceOptions, revision: &str, out: &Path) -> Known {
    let tree = tree(options, revision);
    let exported = told(|on_event| tree.export(out, JOBS, &AtomicBool::new(false), on_event));
    exported.ok();
    let written = snapshot(out);
    let planned = tree.planned();
    let listed: Vec<_> = planned.iter().map(|planned| planned.entry.clone()).collect();
    assert_eq!(listed, tree.entries().unwrap());
    planned
        .into_iter()
        .map(|planned| {
            let path = planned.entry.path.as_bytes().to_vec();
            let (mode, _, content) = written[&path].clone();
            (path, ((mode, content), planned.identity))
        })
        .collect()
}

/// The paths at which two revisions differ; at each, both what is written and the identity do, or neither.
#[track_caller]
fn differing(before: &Known, after: &Known) -> Vec<String> {
    let mut paths = Vec::new();
    for (path, (content, identity)) in after {
        let Some((old_content, old_identity)) = before.get(path) else {
            continue;
        };
        let name = String::from_utf8_lossy(path).into_owned();
        assert_eq!(content != old_content, identity != old_identity, "{name}");
        if identity != old_identity {
            paths.push(name);
        }
    }
    paths
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_identity_changes_with_what_is_written() {
    let tmp = Tmp::new("planned");
    let repo = Repo::new();
    let options = options(&tmp, &[repo.path().to_str().unwrap()]);
    repo.write(".gitattributes", "version export-subst\n*.other -text\n")
        .write("lines.txt", "a\nb\n")
        .write("lines.other", "a\nb\n")
        .write("no-lines.txt", "a")
        .write("id.c", "$Id$\n")
        .write("no-id.c", "nothing\n")
        .write("wide.txt16", "\u{e4}\n")
        .write("version", "$Format:%H$\n")
        .write("no-version", "$Format:%H$\n")
        .script("run", "#!/bin/sh\n")
        .write("turns", "x")
        .link("link", "run")
        .write("dir/file", "x")
        .commit("first");
    let mut at = 0;
    let mut look = || {
        at += 1;
        known(&options, "HEAD", &tmp.join(format!("out{at}")))
    };
    let mut before = look();
    let mut step = |change: &dyn Fn(&Repo), expected: &[&str]| {
        change(&repo);
        repo.commit("next");
        let after = look();
        assert_eq!(differing(&before, &after), expected);
        before = after;
    };
    // The commit alone: what has its id in it.
    step(
        &|repo| {
            repo.write("added", "x");
        },
        &["version"],
    );
    let attributes = |more: &str| format!("version export-subst\n*.other -text\n{more}");
    // What has no line end is written as before.
    step(
        &|repo| {
            repo.write(".gitattributes", attributes("*.txt eol=crlf\n"));
        },
        &[".gitattributes", "lines.txt", "version"],
    );
    step(
        &|repo| {
            repo.write(".gitattributes", attributes("*.txt eol=crlf\n*.c ident\n"));
        },
        &[".gitattributes", "id.c", "version"],
    );
    let last = attributes("*.txt eol=crlf\n*.c ident\n*.txt16 working-tree-encoding=UTF-16\n");
    step(
        &|repo| {
            // As git stores it; a commit would take the file for UTF-16.
            repo.write(".gitattributes", &last);
            repo.write("wide.txt16", [0xfe, 0xff, 0, 0xe4, 0, b'\n']);
        },
        &[".gitattributes", "version", "wide.txt16"],
    );
    step(
        &|repo| {
            repo.script("turns", "x");
        },
        &["turns", "version"],
    );
    step(
        &|repo| {
            repo.remove("link").link("link", "turns");
        },
        &["link", "version"],
    );
    step(
        &|repo| {
            repo.remove("turns").link("turns", "x");
        },
        &["turns", "version"],
    );
    step(
        &|repo| {
            repo.remove("dir").write("dir", "x");
        },
        &["dir", "version"],
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_lfs_file_is_known_by_its_content() {
    let tmp = Tmp::new("planned");
    let repo = Repo::new();
    repo.git(&["lfs", "install", "--local"]);
    repo.git(&["lfs", "track", "*.bin"]);
    repo.write("a.bin", vec![7; 3000])
        .write("b.bin", vec![7; 3000])
        .commit("first");
    let mut options = options(&tmp, &[repo.path().to_str().unwrap()]);
    options.lfs = true;
    let before = known(&options, "HEAD", &tmp.join("out1"));
    assert_eq!(before[&b"a.bin"[..]].1, before[&b"b.bin"[..]].1);
    repo.write("b.bin", vec![8; 3000]).commit("second");
    let after = known(&options, "HEAD", &tmp.join("out2"));
    assert_eq!(differing(&before, &after), ["b.bin"]);
}

fn write(tree: &CommitTree, dest: &Path, paths: &[&str], mtime: Option<i64>) -> Result<Exported, Error> {
    let paths: Vec<EntryPath> = paths.iter().map(|path| EntryPath::new(*path).unwrap()).collect();
    let options = WriteOptions { jobs: JOBS, mtime };
    told(|on_event| tree.write(dest, &paths, options, &AtomicBool::new(false), on_event)).result
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn exactly_the_named_entries_are_written() {
    let tmp = Tmp::new("planned");
    let repo = Repo::new();
    repo.write("a/b/file", "new\n")
        .script("a/run", "run\n")
        .write("other", "x")
        .link("link", "a/run")
        .commit("first");
    let tree = tree(&options(&tmp, &[repo.path().to_str().unwrap()]), "HEAD");
    let dest = tmp.join("dest");
    // Not in any order, and one of them twice.
    let written = write(&tree, &dest, &["link", "a/b/file", "a/run", "link"], Some(1_000)).unwrap();
    assert_eq!((written.files, written.bytes), (3, 8));
    let times: Vec<_> = snapshot(&dest)
        .into_iter()
        .map(|(path, (mode, time, _))| (path, mode, time))
        .collect();
    let expected = [
        (&b"a"[..], 0o40_755),
        (b"a/b", 0o40_755),
        (b"a/b/file", 0o100_644),
        (b"a/run", 0o100_755),
        (b"link", 0o120_777),
    ];
    assert_eq!(times, expected.map(|(path, mode)| (path.to_vec(), mode, 1_000)));
    let error = write(&tree, &dest, &["other", "none"], None).unwrap_err();
    assert!(error.to_string().contains("has no none"), "{error}");
    assert!(!dest.join("other").exists());
    // Without a time, what is written is of now; what is not named stays as it is.
    write(&tree, &dest, &["a/run"], None).unwrap();
    let mtime = |path: &str| std::fs::symlink_metadata(dest.join(path)).unwrap().mtime();
    assert!(mtime("a/run") > 1_700_000_000 && mtime("a") > 1_700_000_000);
    assert_eq!(mtime("a/b/file"), 1_000);
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn what_stands_there_is_replaced_and_never_written_through() {
    let tmp = Tmp::new("planned");
    let repo = Repo::new();
    repo.write("file", "new\n")
        .write("dir/file", "new\n")
        .commit("first");
    let tree = tree(&options(&tmp, &[repo.path().to_str().unwrap()]), "HEAD");
    let outside = tmp.mkdir("outside");
    std::fs::write(outside.join("file"), "kept").unwrap();
    let dest = tmp.mkdir("dest");
    // A hard link, and a symlink in the place of a directory.
    std::fs::hard_link(outside.join("file"), dest.join("file")).unwrap();
    std::os::unix::fs::symlink(&outside, dest.join("dir")).unwrap();
    write(&tree, &dest, &["dir/file", "file"], None).unwrap();
    assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"kept");
    for path in ["file", "dir/file"] {
        assert_eq!(std::fs::read(dest.join(path)).unwrap(), b"new\n");
    }
    assert!(dest.join("dir").symlink_metadata().unwrap().is_dir());
    // A symlink to a file, and a file in the place of a directory.
    std::fs::remove_file(dest.join("file")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), dest.join("file")).unwrap();
    std::fs::remove_dir_all(dest.join("dir")).unwrap();
    std::fs::write(dest.join("dir"), "x").unwrap();
    write(&tree, &dest, &["dir", "dir/file", "file"], None).unwrap();
    assert_eq!(std::fs::read(outside.join("file")).unwrap(), b"kept");
    assert_eq!(std::fs::read(dest.join("dir/file")).unwrap(), b"new\n");
    // A directory is not removed for a file: it may hold what nobody knows of.
    std::fs::remove_file(dest.join("file")).unwrap();
    std::fs::create_dir_all(dest.join("file/kept")).unwrap();
    let error = write(&tree, &dest, &["file"], None).unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if *path == dest.join("file")),
        "{error:?}"
    );
    assert!(dest.join("file/kept").exists());
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn any_number_of_threads_writes_the_same() {
    let tmp = Tmp::new("planned");
    let repo = Repo::new();
    repo.write(".gitattributes", "*.txt eol=crlf\n");
    for number in 0..300 {
        repo.write(
            format!("d{}/e{}/{number}.txt", number % 7, number % 3),
            format!("{number}\n"),
        );
        repo.write(format!("d{}/{number}", number % 5), random_hex(10 + number * 7));
    }
    repo.commit("first");
    let tree = tree(&options(&tmp, &[repo.path().to_str().unwrap()]), "HEAD");
    let out = |jobs: usize| {
        let out = tmp.join(format!("out{jobs}"));
        let jobs = NonZeroUsize::new(jobs).unwrap();
        told(|on_event| tree.export(&out, jobs, &AtomicBool::new(false), on_event)).ok();
        snapshot(&out)
    };
    let one = out(1);
    assert_eq!(one.len(), tree.entries().unwrap().len());
    assert!(one == out(2) && one == out(9));
}
