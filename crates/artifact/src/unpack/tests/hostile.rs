//! Tarballs that want out, or want too much, or are none.

use super::*;

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
            .raw(b'x', b"h", b"", &pax("path", "../outside"), 0o644)
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
        .raw(b'x', b"h", b"", &pax("GNU.sparse.major", "1"), 0o644)
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
        tar.raw(b'x', b"h", b"", &pax("a", "b"), 0o644)
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
