//! Tarballs that other programs made, unpacked by shipit: the same tree, names, modes and times included.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{UnpackOptions, unpack};

use crate::reader::through;
use crate::support::{Found, found, workspace};

fn unpacked(bytes: &[u8], into: &Path) -> BTreeMap<Vec<u8>, Found> {
    fs::create_dir(into).unwrap();
    let cancel = AtomicBool::new(false);
    unpack(bytes, into, &UnpackOptions::new(&cancel, &|_| {})).unwrap();
    found(into)
}

/// What a program writes when it packs `root`.
fn packed(program: &str, arguments: &[&str], root: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(arguments)
        .args(["-cf", "-", "."])
        .current_dir(root)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {complaints}");
    output.stdout
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn tarballs_of_other_programs_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("workspace");
    workspace(&root);
    let source = found(&root);
    let forms = [
        ("tar", "--format=gnu"),
        ("tar", "--format=oldgnu"),
        ("tar", "--format=pax"),
        ("bsdtar", "--format=pax"),
        ("bsdtar", "--format=gnutar"),
    ];
    for (number, (program, format)) in forms.into_iter().enumerate() {
        let tar = packed(program, &[format], &root);
        let into = |kind: &str| dir.path().join(format!("{kind}-{number}"));
        assert!(unpacked(&tar, &into("plain")) == source, "{program} {format}");
        let zstd = through("zstd", &["-c"], &tar);
        assert!(
            unpacked(&zstd, &into("zstd")) == source,
            "{program} {format} zstd"
        );
        let gzip = through("gzip", &["-c"], &tar);
        assert!(
            unpacked(&gzip, &into("gzip")) == source,
            "{program} {format} gzip"
        );
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn old_forms_within_their_limits() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("simple");
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir_all(root.join("ü".repeat(40) + "/" + &"d".repeat(60))).unwrap();
    fs::write(root.join("a/b/file"), "content").unwrap();
    std::os::unix::fs::symlink("b/file", root.join("a/link")).unwrap();
    fs::hard_link(root.join("a/b/file"), root.join("a/hard")).unwrap();
    let ustar = packed("tar", &["--format=ustar"], &root);
    assert!(unpacked(&ustar, &dir.path().join("ustar")) == found(&root));
    let ustar = packed("bsdtar", &["--format=ustar"], &root);
    assert!(unpacked(&ustar, &dir.path().join("bsd-ustar")) == found(&root));
    fs::remove_dir_all(root.join("ü".repeat(40))).unwrap();
    let v7 = packed("tar", &["--format=v7"], &root);
    assert!(unpacked(&v7, &dir.path().join("v7")) == found(&root));
}

/// Extended attributes come as binary pax records; they are passed over, and nothing else is lost.
#[test]
#[ignore = "needs the testbed; run make test"]
fn pax_records_that_are_not_known_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("simple");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("file"), "content").unwrap();
    let tar = packed(
        "tar",
        &["--format=pax", "--pax-option=SHIPIT.odd:=a\nb=c\nd"],
        &root,
    );
    assert!(unpacked(&tar, &dir.path().join("unpacked")) == found(&root));
}
