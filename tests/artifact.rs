//! Artifacts, read by other programs than the one that wrote them: GNU tar, bsdtar, zstd and gzip, and a reader of the
//! index that was written for this test alone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "this is test code"
)]

#[path = "artifact/disk.rs"]
mod disk;
#[path = "artifact/others.rs"]
mod others;
#[path = "artifact/reader.rs"]
mod reader;
#[path = "artifact/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use reader::{Table, sha256, through};
use shipit_artifact::{
    Artifact, Compression, EntryPath, Kind, Tree, TreeEntry, TreeError, UnpackOptions, unpack,
};
use support::{TIME, build, found, noise, normal, pack, workspace};

const BOTH: [Compression; 2] = [Compression::Zstd, Compression::Gzip];

/// A scratch directory with a workspace in it.
fn scratch() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("workspace");
    workspace(&root);
    (dir, root)
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complaints.is_empty(),
        "{command:?}: {} {complaints}",
        output.status
    );
}

/// `artifact` unpacked by a shell command, which finds it in `$1`, in a directory of its own.
fn unpacked_by(
    script: &str,
    artifact: &Artifact,
    into: &Path,
    locale: &str,
) -> BTreeMap<Vec<u8>, support::Found> {
    fs::create_dir(into).unwrap();
    run(Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(&artifact.path)
        .current_dir(into)
        .env("LC_ALL", locale));
    found(into)
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn the_index_leads_to_every_file() {
    for compression in BOTH {
        let (dir, root) = scratch();
        let artifact = build(&root, dir.path(), compression, 2);
        let mut source = found(&root);
        assert_eq!(sha256(&fs::read(&artifact.path).unwrap()), artifact.record.sha256);
        for (row, index) in artifact.record.layers.iter().zip(&artifact.indexes) {
            let table = Table::read(index);
            assert_eq!(table.code, row.name == "code");
            assert_eq!(
                usize::from(table.compression),
                BOTH.iter().position(|c| *c == compression).unwrap()
            );
            let last = table.frames.last().unwrap();
            assert_eq!(last.offset + u64::from(last.size), row.size);
            assert_eq!(
                last.unpacked_offset + u64::from(last.unpacked_size),
                row.unpacked_size
            );
            assert_eq!(table.entries.len() as u64, row.entries);
            for entry in &table.entries {
                let on_disk = source
                    .remove(&entry.path)
                    .expect("no entry is there twice or made up");
                assert_eq!(entry.kind, on_disk.kind);
                match entry.kind {
                    b'f' => {
                        assert_eq!(entry.size, on_disk.content.len() as u64);
                        let content = table.content(&artifact.path, row.offset, entry);
                        assert!(
                            content == on_disk.content,
                            "{:?}",
                            String::from_utf8_lossy(&entry.path)
                        );
                        assert_eq!(entry.digest, sha256(&content));
                        assert_eq!(entry.mode, if on_disk.mode & 0o100 != 0 { 0o755 } else { 0o644 });
                    }
                    b'l' => assert_eq!((entry.mode, &entry.target), (0o777, &on_disk.content)),
                    _ => assert_eq!((entry.mode, entry.size), (0o755, 0)),
                }
                if table.code {
                    assert_eq!(entry.mtime, TIME);
                }
            }
        }
        assert_eq!(
            source
                .keys()
                .map(|path| String::from_utf8_lossy(path))
                .collect::<Vec<_>>(),
            [""; 0]
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn every_tar_unpacks_the_same_tree_byte_for_byte() {
    for (compression, pipe) in [(Compression::Zstd, "zstd -dc"), (Compression::Gzip, "gzip -dc")] {
        let (dir, root) = scratch();
        let artifact = build(&root, dir.path(), compression, 2);
        let source = normal(found(&root));
        let mut times: Option<BTreeMap<Vec<u8>, support::Found>> = None;
        let pipe = format!("{pipe} \"$1\" | tar xpf -");
        for (number, (script, locale)) in [
            ("tar xpf \"$1\"", "C"),
            ("tar xpf \"$1\"", "C.UTF-8"),
            ("bsdtar xpf \"$1\"", "C"),
            ("bsdtar xpf \"$1\"", "C.UTF-8"),
            (pipe.as_str(), "C.UTF-8"),
        ]
        .into_iter()
        .enumerate()
        {
            let into = dir.path().join(format!("unpacked-{number}"));
            let unpacked = unpacked_by(script, &artifact, &into, locale);
            match &times {
                None => times = Some(unpacked),
                Some(times) => assert!(*times == unpacked, "{script} {locale}"),
            }
            assert!(normal(found(&into)) == source, "{script} {locale}");
        }
        // The same by shipit itself, times and modes included.
        let into = dir.path().join("unpacked");
        fs::create_dir(&into).unwrap();
        unpack_into(&artifact, &into);
        assert!(found(&into) == times.unwrap());
    }
}

fn unpack_into(artifact: &Artifact, into: &Path) {
    let cancel = AtomicBool::new(false);
    let file = fs::File::open(&artifact.path).unwrap();
    unpack(file, into, &UnpackOptions::new(&cancel, &|_| {})).unwrap();
}

#[test]
fn the_same_files_give_the_same_bytes_under_any_surroundings() {
    let (dir, root) = scratch();
    let elsewhere = tempfile::tempdir().unwrap();
    let other = elsewhere.path().join("another/place");
    workspace(&other);
    // As another umask, another clock and another user would have left it.
    for (number, path) in found(&other).keys().enumerate() {
        use std::os::unix::ffi::OsStrExt;
        let path = other.join(std::ffi::OsStr::from_bytes(path));
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_symlink() {
            continue;
        }
        let executable = meta.is_dir() || meta.permissions().mode() & 0o100 != 0;
        let mode = if executable { 0o700 } else { 0o660 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        if meta.is_file() {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 * number as u64);
            fs::File::options()
                .append(true)
                .open(&path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        }
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            std::os::unix::fs::chown(&path, Some(4711), Some(4711)).unwrap();
        }
    }
    for compression in BOTH {
        let first = build(&root, dir.path(), compression, 1);
        let second = build(&other, elsewhere.path(), compression, 5);
        assert_eq!(first.record.sha256, second.record.sha256);
        assert!(fs::read(&first.path).unwrap() == fs::read(&second.path).unwrap());
        assert!(fs::read(&first.record_path).unwrap() == fs::read(&second.record_path).unwrap());
        let names = |artifact: &Artifact| {
            artifact
                .indexes
                .iter()
                .map(|path| path.file_name().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&first), names(&second));
        let record = fs::read_to_string(&first.record_path).unwrap();
        for word in [dir.path().to_str().unwrap(), "root", "4711"] {
            assert!(!record.contains(word), "{word} stands in {record}");
        }
    }
}

#[test]
fn vendored_times_follow_the_content_alone() {
    let (dir, root) = scratch();
    let before = build(&root, &dir.path().join("a"), Compression::Zstd, 2);
    fs::write(root.join("vendor/bundle/gem-0/lib/007.rb"), "changed").unwrap();
    let after = build(&root, &dir.path().join("b"), Compression::Zstd, 2);
    let times = |artifact: &Artifact| -> BTreeMap<String, i64> {
        let index = artifact.index(0).unwrap();
        index
            .entries()
            .iter()
            .map(|entry| (entry.path.to_string(), entry.mtime))
            .collect()
    };
    let (before, after) = (times(&before), times(&after));
    let changed: Vec<_> = before
        .iter()
        .filter(|(path, time)| after[*path] != **time)
        .map(|(path, _)| path)
        .collect();
    assert_eq!(changed, ["vendor/bundle/gem-0/lib/007.rb"]);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    assert!(before.values().all(|time| (946_684_800..now).contains(time)));
}

/// A hundred thousand small files.
struct Many;

impl Tree for Many {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        let directory = |number| TreeEntry {
            path: EntryPath::new(format!("many/{number:03}")).unwrap(),
            kind: Kind::Directory,
            size: 0,
        };
        let file = |number: u32| TreeEntry {
            path: EntryPath::new(format!("many/{:03}/file-{number:06}", number / 1000)).unwrap(),
            kind: Kind::File { executable: false },
            size: 6,
        };
        let mut entries: Vec<_> = (0..100).map(directory).chain((0..99_900).map(file)).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(entries)
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        let name = path.as_bytes();
        Ok(Box::new(std::io::Cursor::new(name[name.len() - 6..].to_vec())))
    }
}

/// No files at all.
struct Nothing;

impl Tree for Nothing {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        Ok(Vec::new())
    }

    fn open(&self, _: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        Ok(Box::new(std::io::empty()))
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_hundred_thousand_entries() {
    let dir = tempfile::tempdir().unwrap();
    let artifact = pack(&Many, &Nothing, dir.path(), Compression::Zstd, 2);
    artifact.verify(&AtomicBool::new(false)).unwrap();
    assert_eq!(artifact.record.layers[0].entries, 100_000);
    let table = Table::read(&artifact.indexes[0]);
    assert_eq!(table.entries.len(), 100_000);
    let entry = table
        .entries
        .iter()
        .find(|entry| entry.path == b"many/054/file-054321")
        .unwrap();
    assert_eq!(table.content(&artifact.path, 0, entry), b"054321");
    let list = Command::new("tar")
        .arg("tf")
        .arg(&artifact.path)
        .output()
        .unwrap();
    assert!(list.status.success());
    // The directory above them is the code's, so that it has an entry too.
    assert_eq!(
        list.stdout
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .count(),
        100_001
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn frames_are_whole_frames_to_the_programs() {
    let (dir, root) = scratch();
    let artifact = build(&root, dir.path(), Compression::Zstd, 2);
    let frames: usize = artifact
        .indexes
        .iter()
        .map(|path| Table::read(path).frames.len())
        .sum();
    let list = Command::new("zstd")
        .args(["-l", "-v"])
        .arg(&artifact.path)
        .output()
        .unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let counted = list
        .lines()
        .find(|line| line.contains("Zstandard Frames"))
        .unwrap();
    assert_eq!(counted.rsplit(' ').next().unwrap(), frames.to_string(), "{list}");
    let gzip = build(&root, dir.path(), Compression::Gzip, 2);
    run(Command::new("gzip").arg("-t").arg(&gzip.path));
    // One layer alone is a tar stream of its own but for its end.
    let row = &artifact.record.layers[0];
    let layer = &fs::read(&artifact.path).unwrap()[..row.size as usize];
    assert_eq!(sha256(layer), row.sha256);
    let stream = through("zstd", &["-dc"], layer);
    assert_eq!(stream.len() as u64, row.unpacked_size);
    let listed = through("tar", &["tf", "-"], &stream);
    assert_eq!(
        listed
            .split(|byte| *byte == b'\n')
            .filter(|l| !l.is_empty())
            .count() as u64,
        row.entries
    );
    assert!(noise(1, 10) != noise(2, 10));
}
