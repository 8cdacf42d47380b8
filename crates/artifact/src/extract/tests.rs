use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Mutex;

use super::*;
use crate::hash::Digest;
use crate::index::{Frame, IndexEntry, IndexKind};
use crate::path::EntryPath;
use crate::{
    Compression, DirTree, ErrorKind, LayerKind, LayerPlan, Mtime, PackOptions, SealedLayer, WholeCheck,
    seal_layer,
};

fn extract_to(
    index: &Index,
    frames: &dyn Frames,
    wanted: &[usize],
    dest: &Path,
    jobs: usize,
) -> Result<Extracted, Error> {
    let options = ExtractOptions {
        jobs: NonZeroUsize::new(jobs).unwrap(),
        cancel: &AtomicBool::new(false),
        on_event: &|_| {},
    };
    extract(index, frames, wanted, dest, &options)
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// A sealed layer of a tree with all that a tree can hold.
fn layer(root: &Path, compression: Compression) -> (SealedLayer, Index) {
    let tree = root.join("tree");
    for n in 0..120_u64 {
        let dir = tree.join(format!("vendor/gem-{}", n % 7));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("file-{n}")), noise(n, (n * n * 11) as usize)).unwrap();
    }
    fs::write(tree.join("vendor/large"), noise(99, 6_000_001)).unwrap();
    fs::create_dir(tree.join("vendor/empty-dir")).unwrap();
    symlink("gem-1/file-1", tree.join("vendor/link")).unwrap();
    fs::set_permissions(
        tree.join("vendor/gem-0/file-7"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let cancel = AtomicBool::new(false);
    let options = PackOptions {
        compression,
        jobs: NonZeroUsize::MIN,
        cancel: &cancel,
        on_event: &|_| {},
    };
    let plan = LayerPlan {
        name: "bundle".into(),
        kind: LayerKind::Dependencies,
        key: None,
        tree: &DirTree::new(&tree).unwrap(),
        mtime: Mtime::FromContent,
        level: 3,
    };
    let sealed = seal_layer(&plan, &root.join("sealed"), &options).unwrap();
    let index = Index::parse(&fs::read(&sealed.index).unwrap()).unwrap();
    (sealed, index)
}

type Seen = BTreeMap<PathBuf, (u32, i64, Vec<u8>)>;

/// Paths with mode, time and content or target; directories' times too, the root's not.
fn holds(root: &Path) -> Seen {
    fn look(root: &Path, at: &Path, all: &mut Seen) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_symlink() {
                fs::read_link(&path)
                    .unwrap()
                    .into_os_string()
                    .into_encoded_bytes()
            } else if meta.is_file() {
                fs::read(&path).unwrap()
            } else {
                look(root, &path, all);
                Vec::new()
            };
            let name = path.strip_prefix(root).unwrap().to_owned();
            all.insert(name, (meta.mode(), meta.mtime(), content));
        }
    }
    let mut all = Seen::new();
    look(root, root, &mut all);
    all
}

#[test]
fn everything_equals_what_unpacking_gives() {
    for compression in [Compression::Zstd, Compression::Gzip] {
        let dir = tempfile::tempdir().unwrap();
        let (sealed, index) = layer(dir.path(), compression);
        let frames = FileFrames::open(&sealed.frames, 0).unwrap();
        let all: Vec<_> = (0..index.entries().len()).collect();
        let unpacked = dir.path().join("unpacked");
        fs::create_dir(&unpacked).unwrap();
        let mut tar = fs::read(&sealed.frames).unwrap();
        let plain = crate::compress::zstd_frame(&[0; 1024], 3).unwrap();
        if compression == Compression::Zstd {
            tar.extend(plain);
        } else {
            let mut encoder = crate::compress::FrameCompressor::new(compression, 3).unwrap();
            tar.extend(encoder.frame(&[0; 1024]).unwrap());
        }
        let cancel = AtomicBool::new(false);
        let options = crate::UnpackOptions::new(&cancel, &|_| {});
        crate::unpack(tar.as_slice(), &unpacked, &options).unwrap();
        for jobs in [1, 3] {
            let dest = dir.path().join(format!("dest-{jobs}"));
            fs::create_dir(&dest).unwrap();
            let done = extract_to(&index, &frames, &all, &dest, jobs).unwrap();
            assert_eq!(done.files, all.len() as u64);
            assert!(holds(&dest) == holds(&unpacked), "{compression:?} {jobs}");
        }
    }
}

/// Remembers what was asked for.
struct Counting<'a>(&'a FileFrames, Mutex<Vec<usize>>);

impl Frames for Counting<'_> {
    fn stored(&self, number: usize, frame: &Frame) -> io::Result<Vec<u8>> {
        self.1.lock().unwrap().push(number);
        self.0.stored(number, frame)
    }
}

#[test]
fn only_the_frames_of_what_is_wanted_are_asked_for_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, index) = layer(dir.path(), Compression::Zstd);
    let frames = FileFrames::open(&sealed.frames, 0).unwrap();
    let counting = Counting(&frames, Mutex::default());
    let number = |path: &str| {
        let path = EntryPath::new(path).unwrap();
        index
            .entries()
            .iter()
            .position(|entry| entry.path == path)
            .unwrap()
    };
    let wanted = [
        number("vendor/large"),
        number("vendor/gem-3/file-3"),
        number("vendor/link"),
        1_000_000,
    ];
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    // What stands there already: the file is replaced and not written through, its other name keeps the old bytes.
    fs::create_dir_all(dest.join("vendor")).unwrap();
    fs::write(dest.join("vendor/large"), "old").unwrap();
    fs::hard_link(dest.join("vendor/large"), dest.join("other")).unwrap();
    symlink("elsewhere", dest.join("vendor/link")).unwrap();
    let done = extract_to(&index, &counting, &wanted, &dest, 2).unwrap();
    assert_eq!(done.files, 3);
    assert_eq!(fs::read(dest.join("other")).unwrap(), b"old");
    assert_eq!(
        fs::read_link(dest.join("vendor/link")).unwrap(),
        Path::new("gem-1/file-1")
    );
    assert!(fs::read(dest.join("vendor/large")).unwrap() == noise(99, 6_000_001));
    let mut asked = counting.1.into_inner().unwrap();
    asked.sort_unstable();
    assert_eq!(asked, frames_of(&index, &wanted));
    assert!(asked.len() >= 4 && asked.len() < index.frames().len());
    assert_eq!(
        fs::read_dir(dest.join("vendor")).unwrap().count(),
        3,
        "no temporary file is left"
    );
}

struct Lying<'a>(
    &'a FileFrames,
    &'a (dyn Fn(Vec<u8>) -> io::Result<Vec<u8>> + Sync),
);

impl Frames for Lying<'_> {
    fn stored(&self, number: usize, frame: &Frame) -> io::Result<Vec<u8>> {
        (self.1)(self.0.stored(number, frame)?)
    }
}

#[test]
fn a_frame_that_is_not_the_indexs_is_refused_before_anything_of_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, index) = layer(dir.path(), Compression::Zstd);
    let frames = FileFrames::open(&sealed.frames, 0).unwrap();
    let file = index
        .entries()
        .iter()
        .position(|entry| entry.size() > 1000)
        .unwrap();
    type Lie = dyn Fn(Vec<u8>) -> io::Result<Vec<u8>> + Sync;
    let lies: [&Lie; 3] = [
        &|mut bytes| {
            bytes[100] ^= 1;
            Ok(bytes)
        },
        &|bytes| Ok(bytes[..bytes.len() - 1].to_vec()),
        &|_| Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    ];
    for (number, lie) in lies.iter().enumerate() {
        let dest = dir.path().join(format!("dest-{number}"));
        fs::create_dir(&dest).unwrap();
        let error = extract_to(&index, &Lying(&frames, lie), &[file], &dest, 1).unwrap_err();
        assert!(matches!(error, Error::Frame { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Content);
        assert!(error.hint().is_some());
        assert!(holds(&dest).is_empty());
    }
}

fn whole(index: &Index, frames: &FileFrames) -> Result<(), Error> {
    let mut check = WholeCheck::new(index);
    for (number, frame) in index.frames().iter().enumerate() {
        check.frame(&frames.stored(number, frame).unwrap())?;
    }
    check.finish()
}

#[test]
fn a_layer_whose_frames_hold_something_else_than_its_index_says_is_not_whole() {
    for compression in [Compression::Zstd, Compression::Gzip] {
        let dir = tempfile::tempdir().unwrap();
        let (sealed, index) = layer(dir.path(), compression);
        let frames = FileFrames::open(&sealed.frames, 0).unwrap();
        whole(&index, &frames).unwrap();
        // Of each entry, directories and links included.
        let names = [
            "vendor",
            "vendor/empty-dir",
            "vendor/gem-0/file-0",
            "vendor/gem-3/file-3",
            "vendor/link",
        ];
        for name in names {
            let path = EntryPath::new(name).unwrap();
            let number = index
                .entries()
                .iter()
                .position(|entry| entry.path == path)
                .unwrap();
            let mut lying = index.clone();
            lying.entries[number].mtime += 1;
            let error = whole(&lying, &frames).unwrap_err();
            assert!(matches!(error, Error::EntryDiffers { .. }), "{error:?}");
        }
        let lie = |change: &dyn Fn(&mut Index)| {
            let mut lying = index.clone();
            change(&mut lying);
            assert_eq!(whole(&lying, &frames).unwrap_err().kind(), ErrorKind::Content);
        };
        let large = index
            .entries()
            .iter()
            .position(|entry| entry.size() > 6_000_000)
            .unwrap();
        lie(&|lying| {
            if let IndexKind::File { sha256, .. } = &mut lying.entries[large].kind {
                *sha256 = Digest([7; 32]);
            }
        });
        lie(&|lying| drop(lying.entries.pop()));
        lie(&|lying| drop(lying.entries.remove(3)));
        lie(&|lying| lying.entries.swap(3, 4));
        let mut check = WholeCheck::new(&index);
        check
            .frame(&frames.stored(0, &index.frames()[0]).unwrap())
            .unwrap();
        assert!(check.finish().is_err(), "frames are missing");
    }
}

#[test]
fn an_index_that_lies_about_a_file_or_a_frame_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, index) = layer(dir.path(), Compression::Zstd);
    let frames = FileFrames::open(&sealed.frames, 0).unwrap();
    let at = |path: &str| {
        let path = EntryPath::new(path).unwrap();
        index
            .entries()
            .iter()
            .position(|entry| entry.path == path)
            .unwrap()
    };
    let lie = |number: usize, change: &dyn Fn(&mut IndexEntry)| {
        let mut lying = index.clone();
        change(&mut lying.entries[number]);
        let dest = tempfile::tempdir().unwrap();
        let error = extract_to(&lying, &frames, &[number], dest.path(), 2).unwrap_err();
        let left = holds(dest.path())
            .into_values()
            .filter(|(_, _, content)| !content.is_empty());
        assert_eq!(left.count(), 0, "no byte of it stands there");
        assert!(matches!(error, Error::EntryDiffers { .. }), "{error:?}");
    };
    for path in ["vendor/gem-3/file-3", "vendor/large"] {
        lie(at(path), &|entry| {
            if let IndexKind::File { sha256, .. } = &mut entry.kind {
                *sha256 = Digest([7; 32]);
            }
        });
        lie(at(path), &|entry| entry.mtime += 1);
        lie(at(path), &|entry| {
            if let IndexKind::File { executable, .. } = &mut entry.kind {
                *executable = !*executable;
            }
        });
        lie(at(path), &|entry| {
            entry.path = EntryPath::new("vendor/other-name").unwrap();
        });
    }
    // A frame that says it is longer or shorter than it unpacks to.
    for change in [-512_i64, 512] {
        let mut lying = index.clone();
        let frame = &mut lying.frames[0];
        frame.unpacked_size = (i64::from(frame.unpacked_size) + change) as u32;
        let first = lying.entries.iter().position(|entry| entry.size() > 0).unwrap();
        let dest = tempfile::tempdir().unwrap();
        let error = extract_to(&lying, &frames, &[first], dest.path(), 1).unwrap_err();
        assert!(matches!(error, Error::Frame { number: 0, .. }), "{error:?}");
    }
}

#[test]
fn no_entry_leaves_the_destination() {
    // A path with `..` in it is no path for an index at all.
    let dir = tempfile::tempdir().unwrap();
    let (sealed, index) = layer(dir.path(), Compression::Zstd);
    let mut bytes = zstd::stream::decode_all(fs::read(&sealed.index).unwrap().as_slice()).unwrap();
    let name = b"vendor/gem-3/file-3";
    let at = bytes
        .windows(name.len())
        .position(|window| window == name)
        .unwrap();
    bytes[at..at + name.len()].copy_from_slice(b"../../../../file-99");
    let lying = zstd::stream::encode_all(bytes.as_slice(), 3).unwrap();
    assert!(matches!(
        Index::parse(&lying),
        Err(crate::IndexError::Path { .. })
    ));

    // Below a symlink of its own, or of somebody who got there before.
    let frames = FileFrames::open(&sealed.frames, 0).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let link = |path: &str| IndexEntry {
        path: EntryPath::new(path).unwrap(),
        kind: IndexKind::Symlink {
            target: outside.path().as_os_str().as_encoded_bytes().to_vec(),
        },
        mtime: 0,
        frame: 0,
        frame_offset: 0,
        header_size: 512,
    };
    let mut lying = index.clone();
    lying.entries[0] = link("escape");
    lying.entries[1] = link("escape/file");
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    symlink(outside.path(), dest.join("vendor")).unwrap();
    let file = index.entries().iter().position(|entry| entry.size() > 0).unwrap();
    for (of, wanted) in [(&lying, vec![0, 1]), (&index, vec![file])] {
        let error = extract_to(of, &frames, &wanted, &dest, 1).unwrap_err();
        assert!(
            matches!(error, Error::ThroughSymlink { .. } | Error::Unpack { .. }),
            "{error:?}"
        );
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
    // Where the layer has a directory, the symlink gives way to it.
    let all: Vec<_> = (0..index.entries().len()).collect();
    extract_to(&index, &frames, &all, &dest, 1).unwrap();
    assert!(dest.join("vendor").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn an_index_of_frames_of_nothing_and_a_set_flag() {
    let dir = tempfile::tempdir().unwrap();
    let (sealed, index) = layer(dir.path(), Compression::Zstd);
    let frames = FileFrames::open(&sealed.frames, 0).unwrap();
    let dest = dir.path().join("dest");
    fs::create_dir(&dest).unwrap();
    assert_eq!(
        extract_to(&index, &frames, &[], &dest, 2).unwrap(),
        Extracted::default()
    );
    let options = ExtractOptions {
        jobs: NonZeroUsize::MIN,
        cancel: &AtomicBool::new(true),
        on_event: &|_| {},
    };
    let all: Vec<_> = (0..index.entries().len()).collect();
    let error = extract(&index, &frames, &all, &dest, &options).unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert!(holds(&dest).is_empty());
}
