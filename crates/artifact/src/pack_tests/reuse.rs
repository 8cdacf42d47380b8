//! Frames of older layers taken over: always the bytes of packing from nothing, whatever the older files are.

use super::*;
use crate::format::MOST_FRAME;
use crate::{Index, SealedLayer, WholeCheck, seal_layer_reusing};

/// How a layer of these tests is packed.
#[derive(Clone, Copy)]
struct How {
    compression: Compression,
    level: i32,
    mtime: Mtime,
}

const USUAL: How = How {
    compression: Compression::Zstd,
    level: 3,
    mtime: Mtime::FromContent,
};

/// What was taken over: frames, and bytes as stored.
#[derive(Debug, PartialEq, Eq)]
struct TakenOver(u64, u64);

fn seal(tree: &MemoryTree, dir: &Path, how: How, older: &[&SealedLayer]) -> (SealedLayer, TakenOver) {
    let cancel = AtomicBool::new(false);
    let taken = Mutex::new(TakenOver(0, 0));
    let on_event = |event| {
        if let Event::FramesReused {
            frames,
            size,
            unpacked_size,
            ..
        } = event
        {
            assert!(frames > 0 && unpacked_size > 0);
            *taken.lock().unwrap() = TakenOver(frames, size);
        }
    };
    let options = PackOptions {
        compression: how.compression,
        jobs: NonZeroUsize::new(3).unwrap(),
        cancel: &cancel,
        on_event: &on_event,
    };
    let plan = LayerPlan {
        name: "bundle".to_owned(),
        kind: LayerKind::Dependencies,
        key: None,
        tree,
        mtime: how.mtime,
        level: how.level,
    };
    let sealed = seal_layer_reusing(&plan, dir, older, &options).unwrap();
    (sealed, taken.into_inner().unwrap())
}

/// Seals with the older layer and without it, compares, and gives what was taken over and how many frames there are.
fn seal_both_ways(tree: &MemoryTree, how: How, older: &SealedLayer) -> (TakenOver, u64) {
    let dir = tempfile::tempdir().unwrap();
    let (with, taken) = seal(tree, &dir.path().join("with"), how, &[older]);
    let (without, nothing) = seal(tree, &dir.path().join("without"), how, &[]);
    assert_eq!(nothing, TakenOver(0, 0));
    assert_eq!(
        fs::read(&with.frames).unwrap(),
        fs::read(&without.frames).unwrap()
    );
    assert_eq!(
        (&with.sha256, &with.index_sha256),
        (&without.sha256, &without.index_sha256)
    );
    let index = Index::parse(&fs::read(&with.index).unwrap()).unwrap();
    (taken, index.frames().len() as u64)
}

fn base() -> MemoryTree {
    // In memory whole, and read piece by piece.
    dependencies().file("vendor/bundle/larger", noise(5, 9_000_001))
}

fn sealed_base(how: How) -> (tempfile::TempDir, SealedLayer) {
    let dir = tempfile::tempdir().unwrap();
    let sealed = seal(&base(), dir.path(), how, &[]).0;
    (dir, sealed)
}

#[test]
fn nothing_changed_and_all_is_taken_over() {
    for how in [
        USUAL,
        How {
            compression: Compression::Gzip,
            level: 6,
            ..USUAL
        },
        How { level: 9, ..USUAL },
    ] {
        let (_dir, older) = sealed_base(how);
        let (taken, frames) = seal_both_ways(&base(), how, &older);
        assert_eq!(taken, TakenOver(frames, older.size));
    }
    // With one time for all, a very large file's content is known too late; all else is taken over.
    let fixed = How {
        mtime: Mtime::Fixed(7),
        ..USUAL
    };
    let (_dir, older) = sealed_base(fixed);
    let (taken, frames) = seal_both_ways(&base(), fixed, &older);
    assert_eq!(taken.0, frames - 9_000_512_u64.div_ceil(MOST_FRAME));
}

#[test]
fn what_changed_is_packed_anew() {
    let (_dir, older) = sealed_base(USUAL);
    let gem = |n: u64| format!("vendor/bundle/gem/{n:04}");
    let edits: [(&str, &dyn Fn(MemoryTree) -> MemoryTree); 8] = [
        ("content", &|tree| tree.file(gem(100), noise(1, 9_999))),
        ("content of equal size", &|mut tree| {
            tree.0.get_mut(&path(gem(100))).unwrap().1[7] ^= 1;
            tree
        }),
        ("added", &|tree| tree.file(gem(100) + "a", noise(1, 100))),
        ("removed", &|mut tree| {
            tree.0.remove(&path(gem(100))).unwrap();
            tree
        }),
        ("renamed", &|mut tree| {
            let moved = tree.0.remove(&path(gem(100))).unwrap();
            tree.0.insert(path(gem(100) + "-renamed"), moved);
            tree
        }),
        ("mode", &|mut tree| {
            let Kind::File { executable } = &mut tree.0.get_mut(&path(gem(100))).unwrap().0 else {
                panic!()
            };
            *executable = !*executable;
            tree
        }),
        ("a link's target", &|tree| {
            tree.other(
                "vendor/bundle/link",
                Kind::Symlink {
                    target: b"gem/0002".to_vec(),
                },
            )
        }),
        ("the end of a large file", &|mut tree| {
            *tree
                .0
                .get_mut(&path("vendor/bundle/large"))
                .unwrap()
                .1
                .last_mut()
                .unwrap() ^= 1;
            tree
        }),
    ];
    for (what, edit) in edits {
        let (TakenOver(taken, _), frames) = seal_both_ways(&edit(base()), USUAL, &older);
        // A large file's time follows from all of its content: all of its three frames are new.
        assert!(
            (frames - 3..frames).contains(&taken),
            "{what}: {taken} of {frames}"
        );
    }
}

#[test]
fn the_newest_of_several_and_what_only_one_has() {
    let (_first, older) = sealed_base(USUAL);
    let dir = tempfile::tempdir().unwrap();
    let changed = base().file("vendor/bundle/gem/0100", noise(1, 9_999));
    let newer = seal(&changed, dir.path(), USUAL, &[]).0;
    let out = tempfile::tempdir().unwrap();
    let (sealed, taken) = seal(&changed, out.path(), USUAL, &[&older, &newer]);
    assert_eq!((&sealed.sha256, taken.1), (&newer.sha256, newer.size));
}

#[test]
fn damaged_and_missing_files_cost_time_alone() {
    let (dir, older) = sealed_base(USUAL);
    let (frames, index) = (fs::read(&older.frames).unwrap(), fs::read(&older.index).unwrap());
    let table = Index::parse(&index).unwrap();
    let total = table.frames().len() as u64;
    for frame in table.frames().iter().step_by(7) {
        let mut damaged = frames.clone();
        damaged[frame.offset as usize + frame.size as usize / 2] ^= 0x10;
        fs::write(&older.frames, damaged).unwrap();
        let (taken, _) = seal_both_ways(&base(), USUAL, &older);
        assert_eq!(taken, TakenOver(total - 1, older.size - u64::from(frame.size)));
    }
    fs::write(&older.frames, &frames[..frames.len() / 2]).unwrap();
    let (taken, _) = seal_both_ways(&base(), USUAL, &older);
    assert!((1..total).contains(&taken.0), "{taken:?}");
    fs::remove_file(&older.frames).unwrap();
    assert_eq!(seal_both_ways(&base(), USUAL, &older).0, TakenOver(0, 0));
    fs::write(&older.frames, &frames).unwrap();
    for wrong in [&index[1..], b"", &[&index[..], b"x"].concat()] {
        fs::write(&older.index, wrong).unwrap();
        assert_eq!(seal_both_ways(&base(), USUAL, &older).0, TakenOver(0, 0));
    }
    fs::remove_file(&older.index).unwrap();
    assert_eq!(seal_both_ways(&base(), USUAL, &older).0, TakenOver(0, 0));
    drop(dir);
}

#[test]
fn layers_packed_otherwise_are_not_looked_at() {
    let (_dir, older) = sealed_base(USUAL);
    let none = |how: How, older: &SealedLayer| {
        assert_eq!(seal_both_ways(&base(), how, older).0, TakenOver(0, 0));
    };
    none(How { level: 4, ..USUAL }, &older);
    none(
        How {
            compression: Compression::Gzip,
            ..USUAL
        },
        &older,
    );
    none(
        USUAL,
        &SealedLayer {
            level: None,
            ..older.clone()
        },
    );
    // Other times are other headers.
    none(
        How {
            mtime: Mtime::Fixed(7),
            ..USUAL
        },
        &older,
    );
}

/// An index that says that older frames hold what is packed now, and they do not.
#[test]
fn an_index_that_lies_is_found_out() {
    let (dir, older) = sealed_base(USUAL);
    let mut other = base();
    for (_, content) in other.0.values_mut() {
        for byte in content {
            *byte ^= 1;
        }
    }
    let read = |layer: &SealedLayer| Index::parse(&fs::read(&layer.index).unwrap()).unwrap();
    let truth = seal(&other, &dir.path().join("other"), USUAL, &[]).0;
    let lie = Index {
        entries: read(&truth).entries,
        ..read(&older)
    };
    lie.check().unwrap();
    let stored = lie.to_bytes().unwrap();
    fs::write(&older.index, &stored).unwrap();
    let lying = SealedLayer {
        index_sha256: sha256(&stored).to_string(),
        ..older
    };
    let (taken, frames) = seal_both_ways(&other, USUAL, &lying);
    let holds_no_file = |frame: &usize| {
        let entries = lie.entries_of(*frame);
        !entries.is_empty() && entries.iter().all(|entry| entry.content().is_none())
    };
    let honest = (0..frames as usize).filter(holds_no_file).count() as u64;
    assert!(taken.0 == honest && honest * 10 < frames, "{taken:?} of {frames}");
}

#[test]
fn frames_that_came_from_elsewhere_are_known_by_their_level() {
    let gzip = How {
        compression: Compression::Gzip,
        ..USUAL
    };
    for how in [USUAL, How { level: 9, ..USUAL }, gzip] {
        let (_dir, sealed) = sealed_base(how);
        let index = Index::parse(&fs::read(&sealed.index).unwrap()).unwrap();
        let frames = fs::read(&sealed.frames).unwrap();
        let is_of = |level| {
            let mut check = WholeCheck::with_level(&index, level);
            for frame in index.frames() {
                let range = frame.offset as usize..(frame.offset + u64::from(frame.size)) as usize;
                check.frame(&frames[range]).unwrap();
            }
            let alike = check.is_of_level();
            check.finish().unwrap();
            alike
        };
        for level in [3, 6, 9] {
            assert_eq!(is_of(level), level == how.level, "{level}");
        }
        assert!(!WholeCheck::new(&index).is_of_level());
    }
}
