//! Archives made to do harm, with the right checksum: nothing outside of dest may change, nothing in it either.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use shipit_host::{ErrorKind, Limits};
use shipit_testbed::Cmd;

use crate::support::{Sandbox, holds, shown, sum};

/// One header block of a tar, with its content.
fn entry(name: &str, kind: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0u8; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"07346545000\0");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, link.as_bytes());
    put(257, b"ustar\x0000");
    if kind == b'3' || kind == b'4' {
        put(329, b"0000001\0");
        put(337, b"0000003\0");
    }
    let total: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{total:06o}\0 ").as_bytes());
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut all = entries.concat();
    all.resize(all.len() + 1024, 0);
    all
}

fn manifest(sandbox: &Sandbox, archive: &Path) -> String {
    format!(
        "src: 'file://{}'\nchecksum: '{}'\ndest: '{}'\ncommands:\n  post: ['touch never']\n  failure: ['touch failure']\n",
        archive.display(),
        sum("sha256sum", archive),
        sandbox.join("dest").display()
    )
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn no_archive_gets_out_of_dest() {
    let outside = "@OUT";
    let cases: &[(&str, Vec<Vec<u8>>)] = &[
        ("parent", vec![entry("../evil", b'0', "", b"x")]),
        ("parent inside", vec![entry("a/../../evil", b'0', "", b"x")]),
        ("absolute", vec![entry("@OUT/evil", b'0', "", b"x")]),
        (
            "through a link",
            vec![entry("l", b'2', outside, b""), entry("l/evil", b'0', "", b"x")],
        ),
        (
            "over a link",
            vec![
                entry("l", b'2', "@OUT/victim", b""),
                entry("l", b'0', "", b"x"),
                entry("../x", b'0', "", b""),
            ],
        ),
        (
            "directory through a link",
            vec![entry("l", b'2', outside, b""), entry("l/evil/", b'5', "", b"")],
        ),
        ("hard link out", vec![entry("h", b'1', "../../../victim", b"")]),
        ("hard link absolute", vec![entry("h", b'1', "@OUT/victim", b"")]),
        (
            "hard link through a link",
            vec![entry("l", b'2', outside, b""), entry("h", b'1', "l/victim", b"")],
        ),
        ("character device", vec![entry("null", b'3', "", b"")]),
        ("block device", vec![entry("disk", b'4', "", b"")]),
        ("fifo", vec![entry("pipe", b'6', "", b"")]),
    ];
    for (name, entries) in cases {
        let sandbox = Sandbox::new("hostile");
        sandbox.write("outside/victim", "untouched");
        sandbox.write("dest/mine", "untouched");
        let out = sandbox.join("outside").display().to_string();
        assert!(out.len() < 80, "the header's fields hold 100 bytes");
        let bytes = tar(entries);
        let mut filled = Vec::new();
        // The placeholder stands at the start of a field of fixed width; checksums are made anew.
        for block in bytes.chunks(512) {
            filled.extend(fill(block, &out));
        }
        let archive = sandbox.write("evil.tar", filled);
        let before = (holds(&sandbox.join("outside")), holds(&sandbox.join("dest")));
        let outcome = sandbox.apply(&manifest(&sandbox, &archive));
        assert_eq!(
            outcome.error().kind(),
            ErrorKind::Archive,
            "{name}: {}",
            shown(outcome.error())
        );
        assert_eq!(
            (holds(&sandbox.join("outside")), holds(&sandbox.join("dest"))),
            before,
            "{name}"
        );
        assert!(
            sandbox.join("cwd/failure").exists() && !sandbox.join("cwd/never").exists(),
            "{name}"
        );
        sandbox.assert_clean();
    }
}

/// Puts the real path where a header says `@OUT`.
fn fill(block: &[u8], out: &str) -> Vec<u8> {
    let mut block = block.to_vec();
    if block.len() < 512 || &block[257..262] != b"ustar" {
        return block;
    }
    for at in [0, 157] {
        let field: Vec<u8> = block[at..at + 100]
            .iter()
            .copied()
            .take_while(|byte| *byte != 0)
            .collect();
        let text = String::from_utf8(field).unwrap().replace("@OUT", out);
        block[at..at + 100].fill(0);
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    block[148..156].fill(b' ');
    let total: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{total:06o}\0 ").as_bytes());
    block
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_bomb_is_refused_before_it_fills_the_disk() {
    let sandbox = Sandbox::new("bomb");
    let zeros = sandbox.join("zeros");
    fs::File::create(&zeros).unwrap().set_len(64 << 20).unwrap();
    let archive = sandbox.join("bomb.tar.gz");
    Cmd::new("tar")
        .arg("-czf")
        .arg(&archive)
        .arg("-C")
        .arg(sandbox.path())
        .arg("zeros")
        .run()
        .ok();
    for limits in [
        Limits {
            bytes: 10 << 20,
            ..Limits::default()
        },
        Limits {
            free_bytes: 1 << 20,
            ratio: 100,
            ..Limits::default()
        },
        Limits {
            entries: 0,
            ..Limits::default()
        },
    ] {
        let mut request = sandbox.request(&manifest(&sandbox, &archive));
        request.limits = limits;
        let outcome = sandbox.apply_request(request);
        assert_eq!(
            outcome.error().kind(),
            ErrorKind::Archive,
            "{}",
            shown(outcome.error())
        );
        assert!(!sandbox.join("dest").exists());
        sandbox.assert_clean();
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn links_in_dest_are_not_followed_and_links_in_the_archive_are_kept() {
    let sandbox = Sandbox::new("links");
    sandbox.write("outside/victim", "untouched");
    fs::create_dir(sandbox.join("dest")).unwrap();
    symlink(sandbox.join("outside"), sandbox.join("dest/dir")).unwrap();
    symlink(sandbox.join("outside/victim"), sandbox.join("dest/file")).unwrap();
    let entries = [
        entry("dir/victim", b'0', "", b"new"),
        entry("file", b'0', "", b"new"),
        entry("link", b'2', "/etc/passwd", b""),
    ];
    let archive = sandbox.write("a.tar", tar(&entries));
    let _ = sandbox.apply(&manifest(&sandbox, &archive)).ok();
    assert_eq!(
        fs::read_to_string(sandbox.join("outside/victim")).unwrap(),
        "untouched"
    );
    assert_eq!(
        fs::read_to_string(sandbox.join("dest/dir/victim")).unwrap(),
        "new"
    );
    assert_eq!(
        fs::read_link(sandbox.join("dest/link")).unwrap(),
        Path::new("/etc/passwd")
    );
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn an_archive_that_is_cut_short_changes_nothing() {
    let sandbox = Sandbox::new("cut");
    sandbox.write("dest/mine", "untouched");
    let whole = tar(&[
        entry("a", b'0', "", &[b'x'; 5000]),
        entry("b", b'0', "", &[b'y'; 5000]),
    ]);
    for length in [100, 700, 3000, 6000] {
        let archive = sandbox.write("cut.tar", &whole[..length]);
        let outcome = sandbox.apply(&manifest(&sandbox, &archive));
        assert_eq!(
            outcome.error().kind(),
            ErrorKind::Archive,
            "{length}: {}",
            shown(outcome.error())
        );
        assert_eq!(holds(&sandbox.join("dest")).len(), 2);
        sandbox.assert_clean();
    }
}
