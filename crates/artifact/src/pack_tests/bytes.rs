//! The packed bytes: pinned, independent of threads, and where the index says.

use std::collections::HashSet;
use std::thread::{self, ThreadId};

use super::*;
use crate::format::MOST_FRAME;

/// A change of these digests is a new format version: every artifact that was ever built would get other bytes.
#[test]
fn golden() {
    let dir = tempfile::tempdir().unwrap();
    let zstd = build(dir.path(), Compression::Zstd, 2).unwrap();
    let gzip = build(dir.path(), Compression::Gzip, 2).unwrap();
    assert_eq!(
        zstd.record.sha256,
        "7884ef209dab12d68f60071e966e828c06e88e4c0467ef349f1076b35a7ccb90"
    );
    assert_eq!(
        gzip.record.sha256,
        "a2580ff3ea9aff6f8de614ca8331dfd2e59044a61b09f82b2278bafe0caf2c08"
    );
    assert_eq!(
        zstd.record_sha256,
        "e79596e95b725ca8634f56ffa6b22d0e0bee7b5055759b01b19edb2fbcd4d556"
    );
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let of = |jobs: usize| {
        let out = dir.path().join(jobs.to_string());
        let artifact = build(&out, Compression::Zstd, jobs).unwrap();
        (fs::read(&artifact.path).unwrap(), artifact.record_sha256)
    };
    let one = of(1);
    for jobs in [2, 3, 16] {
        assert!(of(jobs) == one, "{jobs} threads");
    }
}

/// Sizes at every edge: blocks, the most of a frame, pieces of a large file.
#[test]
fn odd_sizes_come_back_with_any_number_of_threads() {
    let most = MOST_FRAME as usize;
    let edges = [
        0,
        1,
        511,
        512,
        513,
        70_000,
        300_000,
        most - 1024,
        most - 513,
        most - 512,
        most - 511,
        most,
        3 * most,
    ];
    for (seed, compression) in [Compression::Zstd, Compression::Gzip, Compression::Zstd]
        .into_iter()
        .enumerate()
    {
        let tree = (0..30_u64).fold(MemoryTree::default(), |tree, n| {
            let pick = (n * n * 31 + n * 17 + seed as u64 * 7) as usize % edges.len();
            tree.file(
                format!("d/{}{n}", "long/".repeat(n as usize)),
                noise(n, edges[pick]),
            )
        });
        let dir = tempfile::tempdir().unwrap();
        let none = MemoryTree::default();
        let of = |jobs: usize| {
            let out = dir.path().join(jobs.to_string());
            build_of(&tree, &none, &out, compression, jobs, &|_| {}).unwrap()
        };
        let (one, four) = (of(1), of(4));
        assert!(fs::read(&one.path).unwrap() == fs::read(&four.path).unwrap());
        four.verify(&AtomicBool::new(false)).unwrap();
        let into = dir.path().join("unpacked");
        fs::create_dir(&into).unwrap();
        let cancel = AtomicBool::new(false);
        let file = fs::File::open(&one.path).unwrap();
        crate::unpack(file, &into, &crate::UnpackOptions::new(&cancel, &|_| {})).unwrap();
        for (path, (_, content)) in &tree.0 {
            assert!(fs::read(into.join(path.as_path())).unwrap() == *content, "{path}");
        }
    }
}

#[test]
fn every_file_is_where_its_index_says() {
    for compression in [Compression::Zstd, Compression::Gzip] {
        let dir = tempfile::tempdir().unwrap();
        let artifact = build(dir.path(), compression, 2).unwrap();
        let stored = fs::read(&artifact.path).unwrap();
        assert_eq!(sha256(&stored).to_string(), artifact.record.sha256);
        let trees = [dependencies(), code()];
        let mut seen = 0;
        for (number, row) in artifact.record.layers.iter().enumerate() {
            let index = artifact.index(number).unwrap();
            for entry in index.entries() {
                let Some(digest) = entry.content() else { continue };
                let location = index.location(entry);
                let mut unpacked = Vec::new();
                for frame in &index.frames()[location.frames.clone()] {
                    let begin = (row.offset + frame.offset) as usize;
                    unpacked.extend(unpack_frame(
                        compression,
                        &stored[begin..begin + frame.size as usize],
                    ));
                }
                let begin = location.offset as usize;
                let content = &unpacked[begin.min(unpacked.len())..][..location.size as usize];
                assert!(content == trees[number].0[&entry.path].1, "{}", entry.path);
                assert!(index.with_content(digest).any(|found| found == entry));
                assert_eq!(index.find(&entry.path), Some(entry));
                seen += 1;
            }
            let of_frames = (0..index.frames().len()).map(|frame| index.entries_of(frame).len());
            assert_eq!(of_frames.sum::<usize>(), index.entries().len());
        }
        assert_eq!(seen, 201 + 6);
    }
}

fn unpack_frame(compression: Compression, stored: &[u8]) -> Vec<u8> {
    match compression {
        Compression::Zstd => zstd::stream::decode_all(stored).unwrap(),
        Compression::Gzip => {
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(stored)
                .read_to_end(&mut unpacked)
                .unwrap();
            unpacked
        }
    }
}

#[test]
fn a_change_stays_in_its_frames() {
    let dir = tempfile::tempdir().unwrap();
    let changed = dependencies().file("vendor/bundle/gem/0100", b"changed".to_vec());
    let digests = |tree: &MemoryTree, name: &str| {
        let out = dir.path().join(name);
        let artifact = build_of(tree, &code(), &out, Compression::Zstd, 2, &|_| {}).unwrap();
        let index = artifact.index(0).unwrap();
        index
            .frames()
            .iter()
            .map(|frame| frame.sha256)
            .collect::<Vec<_>>()
    };
    let (before, after) = (digests(&dependencies(), "before"), digests(&changed, "after"));
    let new = after.iter().filter(|digest| !before.contains(digest)).count();
    assert!(
        after.len() >= 6 && (1..=2).contains(&new),
        "{new} of {}",
        after.len()
    );
}

#[test]
fn parents_are_there_and_run_state_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let events = Mutex::new(Vec::new());
    let tell = |event| events.lock().unwrap().push(event);
    let artifact = build_of(&dependencies(), &code(), dir.path(), Compression::Zstd, 2, &tell).unwrap();
    let index = artifact.index(1).unwrap();
    assert!(index.find(&path("vendor")).is_some() && index.find(&path("bin")).is_some());
    assert!(index.find(&path("tmp/app.pid")).is_none());
    let skipped = |event: &Event| matches!(event, Event::Skipped { layer, path, .. } if layer == "code" && path == "tmp/app.pid");
    assert!(events.lock().unwrap().iter().any(skipped));
}

#[test]
fn opened_verified_and_damage_found() {
    let dir = tempfile::tempdir().unwrap();
    let built = build(dir.path(), Compression::Zstd, 2).unwrap();
    let out = dir.path().join("artifacts");
    let no = AtomicBool::new(false);
    let open = || Artifact::open(&out, &built.record.sha256);
    let opened = open().unwrap();
    assert_eq!(
        (&opened.record, &opened.record_sha256),
        (&built.record, &built.record_sha256)
    );
    opened.verify(&no).unwrap();
    assert!(matches!(
        Artifact::open(&out, &"0".repeat(64)),
        Err(Error::NoArtifact { .. })
    ));
    assert!(matches!(
        Artifact::open(&out, "../x"),
        Err(Error::NoArtifact { .. })
    ));
    // Built again, it is found to be there.
    let events = Mutex::new(Vec::new());
    let tell = |event| events.lock().unwrap().push(event);
    build_of(&dependencies(), &code(), dir.path(), Compression::Zstd, 2, &tell).unwrap();
    let reused = |event: &Event| matches!(event, Event::ArtifactWritten { reused: true, .. });
    assert!(events.lock().unwrap().iter().any(reused));

    let whole = fs::read(&built.path).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&built.path, &damaged).unwrap();
    let error = open().unwrap().verify(&no).unwrap_err();
    assert!(
        matches!(error, Error::Differs { .. }) && error.to_string().contains("frame"),
        "{error}"
    );
    fs::write(&built.path, &whole[1..]).unwrap();
    assert_eq!(open().unwrap_err().kind(), ErrorKind::Content);
    fs::write(&built.path, &whole).unwrap();
    fs::write(&built.indexes[0], b"x").unwrap();
    assert_eq!(
        open().unwrap().verify(&no).unwrap_err().kind(),
        ErrorKind::Content
    );
    fs::remove_file(&built.indexes[0]).unwrap();
    assert_eq!(open().unwrap_err().kind(), ErrorKind::Disk);
}

/// A tree that notes which threads read its files.
struct Watched {
    tree: MemoryTree,
    threads: Mutex<HashSet<ThreadId>>,
}

impl Tree for Watched {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        self.tree.entries()
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        self.threads.lock().unwrap().insert(thread::current().id());
        self.tree.open(path)
    }
}

#[test]
fn one_job_is_one_thread() {
    let me = thread::current().id();
    for (jobs, alone) in [(1, true), (2, false)] {
        let watched = |tree| Watched {
            tree,
            threads: Mutex::default(),
        };
        let (dependencies, code) = (watched(dependencies()), watched(code()));
        let dir = tempfile::tempdir().unwrap();
        build_of(&dependencies, &code, dir.path(), Compression::Zstd, jobs, &|_| {}).unwrap();
        for tree in [dependencies, code] {
            let threads = tree.threads.into_inner().unwrap();
            assert_eq!(threads == HashSet::from([me]), alone, "{jobs}");
        }
    }
}
