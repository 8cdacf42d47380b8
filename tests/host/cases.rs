//! Manifests, and the state of the host before them, that stretcher and `apply` are compared on.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::Sandbox;

const OLD: SystemTime = SystemTime::UNIX_EPOCH;

/// A manifest, with what is filled in: `@SRC`, `@SHA1` and so on of the archive, `@DEST`, `@DIR` (the sandbox).
pub struct Case {
    pub name: &'static str,
    pub archive: &'static str,
    pub before: fn(&Sandbox),
    pub manifest: &'static str,
    pub ok: bool,
}

pub const CASES: &[Case] = &[
    Case {
        name: "all phases in order, commands in the caller's directory with no input",
        archive: "tree.tar.gz",
        before: nothing,
        manifest: "src: '@SRC'\nchecksum: '@SHA256'\ndest: '@DEST'\ncommands:\n  pre:\n    - 'cat; pwd -P >>order; echo pre1 >>order'\n    - 'test ! -e @DEST && echo pre2 >>order'\n  post:\n    - 'test -e @DEST/file && echo post >>order'\n  success:\n    - 'grep -c \"invoking command[:]\" >>order; echo success >>order'\n    - 'cat >/dev/null; echo success2 >>order'\n  failure:\n    - 'echo failure >>order'\n",
        ok: true,
    },
    Case {
        name: "a failing pre runs failure and touches nothing",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\ncommands:\n  pre: ['echo why; exit 3', 'touch never']\n  post: ['touch never']\n  success: ['touch never']\n  failure: ['grep -q why && touch failure', 'touch failure2']\n",
        ok: false,
    },
    Case {
        name: "a failing post comes after the sync and runs failure",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\ncommands:\n  post: ['exit 1', 'touch never']\n  failure: ['touch failure', 'exit 1', 'touch never']\n",
        ok: false,
    },
    Case {
        name: "a failing success command ends success commands and nothing else",
        archive: "tree.tar",
        before: nothing,
        manifest: "src: '@SRC'\nchecksum: '@MD5'\ndest: '@DEST'\ncommands:\n  success: ['touch one', 'exit 1', 'touch never']\n  failure: ['touch never']\n",
        ok: true,
    },
    Case {
        name: "a wrong checksum runs failure and not pre",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '900150983cd24fb0d6963f7d28e17f72'\ndest: '@DEST'\ncommands:\n  pre: ['touch never']\n  failure: ['grep -q mismatch && touch failure']\n",
        ok: false,
    },
    Case {
        name: "no checksum is an error",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\ndest: '@DEST'\ncommands:\n  failure: ['touch failure']\n",
        ok: false,
    },
    Case {
        name: "a checksum may be in capitals",
        archive: "tree.tar",
        before: nothing,
        manifest: "src: '@SRC'\nchecksum: '@UPPER'\ndest: '@DEST'\n",
        ok: true,
    },
    Case {
        name: "sha512",
        archive: "tree.tar.zst",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA512'\ndest: '@DEST/'\n",
        ok: true,
    },
    Case {
        name: "a source that is not there runs failure",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: 'file://@DIR/none'\nchecksum: '@SHA1'\ndest: '@DEST'\ncommands:\n  pre: ['touch never']\n  failure: ['touch failure']\n",
        ok: false,
    },
    Case {
        name: "a manifest that is none runs nothing",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\ncommands:\n  pre: ['touch never']\n  failure: ['touch never']\n",
        ok: false,
    },
    Case {
        name: "must_env of nothing runs nothing",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '{{ must_env \"NOT_THERE\" }}'\ndest: '@DEST'\ncommands:\n  pre: ['touch never']\n  failure: ['touch never']\n",
        ok: false,
    },
    Case {
        name: "the environment reaches the template and the commands",
        archive: "tree.tar",
        before: nothing,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '{{ env \"NOT_THERE\" \"@DEST\" }}'\ncommands:\n  post: ['echo \"{{ must_env \"GREETING\" }} $GREETING\" >greeting']\n",
        ok: true,
    },
    Case {
        name: "commands alone",
        archive: "tree.tar",
        before: nothing,
        manifest: "commands:\n  pre: ['echo pre >>order']\n  post: ['echo post >>order']\n  success: ['grep -q \"invoking command[:] echo post\" && echo success >>order']\n",
        ok: true,
    },
    Case {
        name: "dest_mode is dest's",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\ndest_mode: 02711\n",
        ok: true,
    },
    Case {
        name: "excludes keep what they match",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\nexcludes: ['*.pid', '/sub/deep/', '+ sub/**']\n",
        ok: true,
    },
    Case {
        name: "exclude_from comes first and has comments",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\nexclude_from: rules\nexcludes: ['keep.pid', 'file']\n",
        ok: true,
    },
    Case {
        name: "exclude_from that is not in the archive",
        archive: "tree.tar",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\nexclude_from: none\ncommands:\n  failure: ['touch @DIR/cwd/failure']\n",
        ok: false,
    },
    Case {
        name: "dest's parent is not made",
        archive: "tree.tar",
        before: nothing,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST/a/b'\n",
        ok: false,
    },
    Case {
        name: "pre may make dest's parent",
        archive: "tree.tar",
        before: nothing,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST/a'\ncommands:\n  pre: ['mkdir @DEST']\n",
        ok: true,
    },
    Case {
        name: "dest is a link to a directory",
        archive: "tree.tar",
        before: link_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\n",
        ok: true,
    },
    Case {
        name: "mv to where nothing is",
        archive: "tree.tar",
        before: nothing,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\nsync_strategy: mv\ndest_mode: 0750\n",
        ok: true,
    },
    Case {
        name: "mv to an empty directory",
        archive: "tree.tar",
        before: empty_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\nsync_strategy: mv\n",
        ok: false,
    },
    Case {
        name: "what is no archive",
        archive: "noise",
        before: old_dest,
        manifest: "src: '@SRC'\nchecksum: '@SHA1'\ndest: '@DEST'\ncommands:\n  pre: ['touch pre']\n  post: ['touch never']\n",
        ok: false,
    },
];

pub fn nothing(_: &Sandbox) {}

fn empty_dest(sandbox: &Sandbox) {
    fs::create_dir(sandbox.join("dest")).unwrap();
}

fn link_dest(sandbox: &Sandbox) {
    fs::create_dir(sandbox.join("real")).unwrap();
    sandbox.write("real/stale", "x");
    symlink("real", sandbox.join("dest")).unwrap();
}

/// Something of everything: stale, equal, changed, of another kind, excluded somewhere.
fn old_dest(sandbox: &Sandbox) {
    for (path, text) in [
        ("file", "old content"),
        ("same", "same"),
        ("stale/deep/x", "x"),
        ("sub/deep/local", "kept by an exclude"),
        ("sub/keep.pid", "1"),
        ("keep.pid", "2"),
        ("link/was/a/directory", "x"),
        ("directory", "was a file"),
    ] {
        dated(&sandbox.write(&format!("dest/{path}"), text));
    }
    fs::set_permissions(sandbox.join("dest/same"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("/nowhere", sandbox.join("dest/run")).unwrap();
}

pub fn dated(path: &Path) {
    let time = OLD + Duration::from_secs(1_000_000_000);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}
