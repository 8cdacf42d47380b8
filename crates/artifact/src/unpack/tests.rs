//! Hostile and ordinary tarballs, made header by header.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::*;
use crate::error::ErrorKind;

/// A tar stream under construction.
#[derive(Default, Clone)]
struct Maker(Vec<u8>);

impl Maker {
    fn raw(mut self, flag: u8, name: &[u8], link: &[u8], content: &[u8], mode: u32) -> Self {
        let mut header = tar::Header::new_gnu();
        {
            let fields = header.as_gnu_mut().unwrap();
            fields.name[..name.len()].copy_from_slice(name);
            fields.linkname[..link.len()].copy_from_slice(link);
            fields.typeflag = [flag];
        }
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(b'0', name.as_bytes(), b"", content, 0o644)
    }

    fn link(self, flag: u8, name: &str, target: &str) -> Self {
        self.raw(flag, name.as_bytes(), target.as_bytes(), b"", 0o777)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// A directory `d` to unpack into, with something beside it that must stay as it is.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.dest()).unwrap();
        fs::create_dir(place.0.path().join("outside")).unwrap();
        fs::write(place.0.path().join("outside/file"), "untouched").unwrap();
        place
    }

    fn dest(&self) -> PathBuf {
        self.0.path().join("d")
    }

    fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, Error> {
        self.unpack_with(bytes, |_| {})
    }

    fn unpack_with(&self, bytes: &[u8], change: impl Fn(&mut UnpackOptions<'_>)) -> Result<Unpacked, Error> {
        let cancel = AtomicBool::new(false);
        let mut options = UnpackOptions::new(&cancel, &|_| {});
        change(&mut options);
        let result = unpack(bytes, &self.dest(), &options);
        let outside: Vec<_> = fs::read_dir(self.0.path().join("outside")).unwrap().collect();
        assert_eq!(outside.len(), 1);
        assert_eq!(
            fs::read(self.0.path().join("outside/file")).unwrap(),
            b"untouched"
        );
        assert_eq!(
            fs::metadata(self.0.path().join("outside/file")).unwrap().nlink(),
            1
        );
        assert_eq!(fs::read_dir(self.0.path()).unwrap().count(), 2);
        result
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dest().join(name)).unwrap()
    }
}

fn fails(bytes: &[u8]) -> Error {
    Place::new().unpack(bytes).unwrap_err()
}

#[test]
fn ordinary_entries() {
    let tar = Maker::default()
        .raw(b'5', b"./", b"", b"", 0o750)
        .raw(b'5', b"./ro/", b"", b"", 0o555)
        .file("./ro/file", b"content")
        .raw(b'0', b"setuid", b"", b"x", 0o4777)
        .file("deep/in/the/tree", b"deep")
        .link(b'2', "link", "/etc/passwd")
        .link(b'1', "hard", "ro/file")
        .file("twice", b"first")
        .file("twice", b"second")
        .raw(b'5', b"late/", b"", b"", 0o700)
        .end();
    let place = Place::new();
    let unpacked = place.unpack(&tar).unwrap();
    assert_eq!(
        unpacked,
        Unpacked {
            entries: 10,
            bytes: 7 + 1 + 4 + 5 + 6
        }
    );
    let meta = |name: &str| fs::symlink_metadata(place.dest().join(name)).unwrap();
    assert_eq!(
        (place.read("ro/file").as_str(), place.read("twice").as_str()),
        ("content", "second")
    );
    assert_eq!(meta("ro").permissions().mode() & 0o7777, 0o555);
    assert_eq!(meta("").permissions().mode() & 0o7777, 0o750);
    assert_eq!(meta("setuid").permissions().mode() & 0o7777, 0o777);
    assert_eq!(
        fs::read_link(place.dest().join("link")).unwrap(),
        PathBuf::from("/etc/passwd")
    );
    assert_eq!(meta("hard").ino(), meta("ro/file").ino());
    for name in ["ro", "ro/file", "link", "late", "", "setuid"] {
        assert_eq!(meta(name).mtime(), 1_000_000_000, "{name}");
    }
    fs::set_permissions(place.dest().join("ro"), fs::Permissions::from_mode(0o755)).unwrap();
    let place = Place::new();
    place
        .unpack_with(&tar, |options| options.keep_setid = true)
        .unwrap();
    let mode = fs::metadata(place.dest().join("setuid"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o4777);
    fs::set_permissions(place.dest().join("ro"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn compressed_in_pieces() {
    let tar = Maker::default().file("a", &[b'a'; 5000]).file("b", b"b").end();
    let (first, second) = tar.split_at(1000);
    let zstd: Vec<u8> = [&b"\x50\x2a\x4d\x18\x03\0\0\0abc"[..]]
        .iter()
        .map(|skippable| skippable.to_vec())
        .chain([first, second].map(|part| crate::compress::zstd_frame(part, 3).unwrap()))
        .flatten()
        .collect();
    let member = |part: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = [member(first), member(second)].concat();
    for bytes in [tar.clone(), zstd.clone(), gzip.clone()] {
        let place = Place::new();
        assert_eq!(
            place.unpack(&bytes).unwrap(),
            Unpacked {
                entries: 2,
                bytes: 5001
            }
        );
        assert_eq!(place.read("b"), "b");
    }
    // Cut anywhere, it is an error that says so.
    for bytes in [tar, zstd, gzip] {
        for cut in [1, 20, 100, bytes.len() / 2] {
            let error = fails(&bytes[..cut.min(bytes.len() - 1)]);
            assert!(matches!(error, Error::Truncated { .. }), "{cut}: {error:?}");
        }
    }
    assert!(matches!(fails(b""), Error::Truncated { .. }));
}

#[test]
fn extensions() {
    let long = "n".repeat(200);
    let records = format!("{} path=dir/{long}\n21 mtime=1000000.25000\n", 14 + long.len());
    let tar = Maker::default()
        .raw(
            b'g',
            b"pax_global_header",
            b"",
            b"52 comment=0123456789012345678901234567890123456789\n",
            0o644,
        )
        .raw(b'x', b"h", b"", records.as_bytes(), 0o644)
        .file("short", b"pax")
        .raw(
            b'L',
            b"././@LongLink",
            b"",
            &[b"g\xff\xe9".repeat(50).as_slice(), b"\0"].concat(),
            0o644,
        )
        .file("short", b"gnu")
        .raw(b'K', b"././@LongLink", b"", &[b'k'; 150], 0o644)
        .link(b'2', "link", "short")
        .end();
    let place = Place::new();
    assert_eq!(place.unpack(&tar).unwrap().entries, 3);
    assert_eq!(place.read(&format!("dir/{long}")), "pax");
    let meta = fs::metadata(place.dest().join(format!("dir/{long}"))).unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000, 250_000_000));
    use std::os::unix::ffi::OsStrExt;
    let name = b"g\xff\xe9".repeat(50);
    assert_eq!(
        fs::read(place.dest().join(std::ffi::OsStr::from_bytes(&name))).unwrap(),
        b"gnu"
    );
    assert_eq!(
        fs::read_link(place.dest().join("link"))
            .unwrap()
            .as_os_str()
            .len(),
        150
    );
}

#[test]
fn nothing_leaves_the_destination() {
    let escapes = |tar: Maker| {
        let error = fails(&tar.end());
        assert!(matches!(error, Error::Escapes { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Refused);
    };
    escapes(Maker::default().file("../outside/new", b"x"));
    escapes(Maker::default().file("a/../../outside/new", b"x"));
    escapes(Maker::default().file("/tmp/new", b"x"));
    escapes(Maker::default().raw(b'5', b"..", b"", b"", 0o755));
    escapes(Maker::default().link(b'1', "hard", "../outside/file"));
    escapes(Maker::default().link(b'1', "hard", "/etc/passwd"));
    escapes(
        Maker::default()
            .raw(b'x', b"h", b"", b"18 path=../outside\n", 0o644)
            .file("a", b"x"),
    );

    let through = |tar: Maker| {
        let error = fails(&tar.end());
        assert!(matches!(error, Error::ThroughSymlink { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Refused);
    };
    let link = || Maker::default().link(b'2', "out", "../outside");
    through(link().file("out/new", b"x"));
    through(link().file("out/deeper/new", b"x"));
    through(link().link(b'2', "out/new", "x"));
    through(link().link(b'1', "hard", "out/file"));
    through(link().link(b'2', "chain", "out").file("chain/new", b"x"));
    through(link().raw(b'5', b"out/dir", b"", b"", 0o755));
    // Even one that stays inside.
    through(
        Maker::default()
            .file("in/a", b"x")
            .link(b'2', "l", "in")
            .file("l/b", b"x"),
    );
}

#[test]
fn what_replaces_a_symlink_is_not_written_through_it() {
    let tar = Maker::default()
        .link(b'2', "a", "../outside/file")
        .file("a", b"new")
        .link(b'2', "b", "../outside")
        .raw(b'5', b"b/", b"", b"", 0o777)
        .file("b/new", b"inside")
        .link(b'2', "c", "../outside/file")
        .link(b'1', "d", "c")
        .file("d", b"own")
        .end();
    let place = Place::new();
    place.unpack(&tar).unwrap();
    assert_eq!(
        (place.read("a").as_str(), place.read("b/new").as_str()),
        ("new", "inside")
    );
    assert_eq!(place.read("d"), "own");
}

#[test]
fn devices_and_unknown_kinds_are_refused_by_name() {
    for (flag, what) in [
        (b'3', "character device"),
        (b'4', "block device"),
        (b'6', "fifo"),
        (b'Z', "kind"),
    ] {
        let error = fails(&Maker::default().raw(flag, b"dev/x", b"", b"", 0o644).end());
        assert!(matches!(error, Error::RefusedKind { .. }), "{error:?}");
        assert!(
            error.to_string().contains(what) && error.to_string().contains("dev/x"),
            "{error}"
        );
    }
    let sparse = Maker::default()
        .raw(b'x', b"h", b"", b"22 GNU.sparse.major=1\n", 0o644)
        .file("a", b"x");
    assert!(matches!(fails(&sparse.end()), Error::RefusedKind { .. }));
}

#[test]
fn broken_entries_are_named() {
    let broken = |tar: Vec<u8>, word: &str| {
        let error = fails(&tar);
        assert!(matches!(error, Error::Broken { .. }), "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    };
    broken(
        Maker::default().link(b'1', "hard", "missing").end(),
        "not unpacked before",
    );
    broken(
        Maker::default().link(b'1', "hard", "no/such").end(),
        "not unpacked before",
    );
    broken(
        Maker::default().file("a", b"").link(b'1', "a", "a").end(),
        "itself",
    );
    broken(
        Maker::default()
            .raw(b'5', b"d", b"", b"", 0o755)
            .link(b'1', "l", "d")
            .end(),
        "directory",
    );
    broken(Maker::default().file("", b"x").end(), "empty name");
    broken(Maker::default().link(b'2', "l", "").end(), "link target");
    let mut lone = Maker::default().file("a", b"x");
    lone.0.extend_from_slice(&[0; 512]);
    broken(lone.file("b", b"x").end(), "lone zero block");
    let mut garbled = Maker::default().file("first", b"x").file("second", b"y");
    garbled.0[1024 + 5] ^= 1;
    broken(garbled.end(), "first");
    let mut large = Maker::default().raw(b'L', b"././@LongLink", b"", b"", 0o644);
    large.0[124..136].copy_from_slice(b"77777777777\0");
    large.0[148..156].fill(b' ');
    let sum: u32 = large.0[..512].iter().map(|byte| u32::from(*byte)).sum();
    large.0[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    broken(large.end(), "too large");
}

#[test]
fn bombs_are_refused() {
    let bomb = |bytes: &[u8], limits: Limits| {
        let error = Place::new()
            .unpack_with(bytes, |options| options.limits = limits)
            .unwrap_err();
        assert!(matches!(error, Error::Bomb { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("limit"));
    };
    let small = Limits {
        entries: 3,
        bytes: 100_000,
        ratio: 10,
        free_bytes: 50_000,
    };
    let many = (0..4)
        .fold(Maker::default(), |tar, n| tar.file(&format!("f{n}"), b"x"))
        .end();
    bomb(&many, small);
    bomb(&Maker::default().file("large", &[0; 200_000]).end(), small);
    let zeros = Maker::default().file("zeros", &[0; 80_000]).end();
    assert!(
        Place::new()
            .unpack_with(&zeros, |options| options.limits = small)
            .is_ok()
    );
    bomb(&crate::compress::zstd_frame(&zeros, 3).unwrap(), small);
    // Headers alone are one too.
    let headers = (0..2000).fold(Maker::default(), |tar, _| {
        tar.raw(b'x', b"h", b"", b"6 a=b\n", 0o644)
    });
    bomb(
        &headers.end(),
        Limits {
            bytes: 1_000_000,
            ..Limits::default()
        },
    );
}

#[test]
fn garbage_is_named() {
    let why = |bytes: &[u8]| match fails(bytes) {
        Error::NotATarball { why } => why,
        other => panic!("{other:?}"),
    };
    assert!(why(b"BZh91AY&SY").contains("bzip2"));
    assert!(why(b"\xfd7zXZ\0\0").contains("xz"));
    assert!(why(b"PK\x03\x04").contains("zip"));
    assert!(why(&[b'g'; 4096]).contains("tar header"));
    assert!(matches!(
        fails(b"<html>not found</html>"),
        Error::Truncated { .. }
    ));
    let mut garbled = crate::compress::zstd_frame(&Maker::default().file("a", &[7; 9000]).end(), 3).unwrap();
    let middle = garbled.len() - 3;
    garbled.truncate(middle);
    garbled.extend_from_slice(&[0xff; 40]);
    assert_eq!(fails(&garbled).kind(), ErrorKind::Content);
}

#[test]
fn full_destination_cancel_and_events() {
    let place = Place::new();
    fs::write(place.dest().join("there"), "x").unwrap();
    let tar = Maker::default().file("a", b"x").end();
    assert!(matches!(place.unpack(&tar).unwrap_err(), Error::NotEmpty { .. }));
    let place = Place::new();
    let cancel = AtomicBool::new(true);
    let error = unpack(
        tar.as_slice(),
        &place.dest(),
        &UnpackOptions::new(&cancel, &|_| {}),
    )
    .unwrap_err();
    assert!(matches!(error, Error::Cancelled));
    assert_eq!(fs::read_dir(place.dest()).unwrap().count(), 0);
    let missing = unpack(
        tar.as_slice(),
        &place.dest().join("no"),
        &UnpackOptions::new(&cancel, &|_| {}),
    );
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Disk);
    thread_local!(static TOLD: RefCell<Vec<Event>> = const { RefCell::new(Vec::new()) });
    let tell = |event: Event| TOLD.with(|told| told.borrow_mut().push(event));
    cancel.store(false, Ordering::Relaxed);
    unpack(tar.as_slice(), &place.dest(), &UnpackOptions::new(&cancel, &tell)).unwrap();
    TOLD.with(|told| {
        assert!(matches!(
            told.borrow()[..],
            [Event::UnpackProgress { entries: 1, bytes: 1 }]
        ))
    });
}
