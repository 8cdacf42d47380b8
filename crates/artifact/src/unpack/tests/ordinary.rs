//! What every tarball may hold, in every compression.

use super::*;

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
    let records = [
        pax("path", &format!("dir/{long}")),
        pax("mtime", "1000000.25000"),
        pax("x", "a\nb"),
    ]
    .concat();
    let tar = Maker::default()
        .raw(
            b'g',
            b"pax_global_header",
            b"",
            &pax("comment", "of the archive"),
            0o644,
        )
        .raw(b'x', b"h", b"", &records, 0o644)
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
    let told = TOLD.with(|told| told.borrow().clone());
    assert!(matches!(
        told[..],
        [Event::UnpackProgress { entries: 1, bytes: 1 }]
    ));
}
