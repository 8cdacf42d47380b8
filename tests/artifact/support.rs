//! Trees on disk, artifacts made of them, and what is found on disk again.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{
    Artifact, Compression, DirTree, EntryPath, Error, LayerKind, LayerPlan, Mtime, PackOptions, RecordDraft,
    RecordStep, Tool, Tree, assemble, seal_layer,
};

/// The commit's time in these tests.
pub const TIME: i64 = 1_700_000_000;

/// Bytes that follow from the seed and compress somewhat.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        b'a' + ((state >> 33) % 23) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// An application's workspace: code, and `vendor/bundle` as a step leaves it.
pub fn workspace(root: &Path) {
    let write = |name: &[u8], content: &[u8]| {
        let path = root.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().expect("beneath the root")).expect("directories");
        fs::write(path, content).expect("a file");
    };
    write(b"REVISION", b"0123456789abcdef\n");
    write(b"bin/start", b"#!/bin/sh\n");
    write("häuser/日本.txt".as_bytes(), b"utf-8");
    write(b"caf\xe9/\xff\xfe", b"latin-1 and worse");
    write(b"name with\nnewline and \\ and 'quotes'", b"odd");
    write(&[b"long/".repeat(45).as_slice(), b"name"].concat(), b"long");
    write(&[b'n'; 255], b"longest component");
    write(b"empty", b"");
    write(b"public/large.js", &noise(5, 5_000_000));
    for number in 0..300_u64 {
        let name = format!("vendor/bundle/gem-{}/lib/{number:03}.rb", number % 7);
        write(
            name.as_bytes(),
            &noise(number, (number * number % 40_000) as usize),
        );
    }
    write(b"vendor/bundle/large.so", &noise(6, 2_500_000));
    fs::create_dir_all(root.join("log")).expect("an empty directory");
    fs::create_dir_all(root.join("vendor/bundle/empty")).expect("an empty directory");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(root.join("bin/start"), executable).expect("a mode");
    symlink("bin/start", root.join("start")).expect("a symlink");
    symlink(OsStr::from_bytes(b"caf\xe9/\xff\xfe"), root.join("odd-link")).expect("a symlink");
    symlink("../".repeat(60) + "far", root.join("vendor/bundle/long-link")).expect("a symlink");
    fs::hard_link(root.join("REVISION"), root.join("hard")).expect("a hard link");
}

/// An artifact of a workspace, in `out`.
pub fn build(root: &Path, out: &Path, compression: Compression, jobs: usize) -> Artifact {
    let vendored = vec![EntryPath::new("vendor/bundle").expect("a path")];
    let dependencies = DirTree::new(root).expect("the workspace").only(vendored.clone());
    let code = DirTree::new(root).expect("the workspace").without(vendored);
    pack(&dependencies, &code, out, compression, jobs)
}

/// An artifact of two trees, in `out`.
pub fn pack(
    dependencies: &dyn Tree,
    code: &dyn Tree,
    out: &Path,
    compression: Compression,
    jobs: usize,
) -> Artifact {
    try_pack(
        dependencies,
        code,
        [&out.join("sealed"), &out.join("artifacts")],
        compression,
        jobs,
    )
    .expect("the artifact is packed")
}

/// An artifact of two trees, its dependency layer sealed in the first directory, assembled in the second.
pub fn try_pack(
    dependencies: &dyn Tree,
    code: &dyn Tree,
    [sealed_in, out]: [&Path; 2],
    compression: Compression,
    jobs: usize,
) -> Result<Artifact, Error> {
    let cancel = AtomicBool::new(false);
    let jobs = NonZeroUsize::new(jobs).expect("at least one");
    let options = PackOptions {
        compression,
        jobs,
        cancel: &cancel,
        on_event: &|_| {},
    };
    let plan = |name: &str, kind, tree, mtime, level| LayerPlan {
        name: name.to_owned(),
        kind,
        key: Some(format!("{name}-key")),
        tree,
        mtime,
        level,
    };
    let bundle = plan(
        "bundle",
        LayerKind::Dependencies,
        dependencies,
        Mtime::FromContent,
        9,
    );
    let sealed = seal_layer(&bundle, sealed_in, &options)?;
    let code = plan("code", LayerKind::Code, code, Mtime::Fixed(TIME), 3);
    let draft = RecordDraft {
        app: "shop".to_owned(),
        revision: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        steps: vec![RecordStep {
            name: "bundle".to_owned(),
            tool: "bundle".to_owned(),
            dir: String::new(),
            command: None,
        }],
        tools: vec![Tool {
            name: "bundler".to_owned(),
            version: "2.3.15".to_owned(),
        }],
    };
    assemble(&[sealed], &code, draft, out, &options)
}

/// What a path on disk is, as far as an artifact carries it.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: u8,
    pub mode: u32,
    pub mtime: i64,
    /// A file's content, a symlink's target.
    pub content: Vec<u8>,
}

/// Everything beneath a directory, by the bytes of its path.
pub fn found(root: &Path) -> BTreeMap<Vec<u8>, Found> {
    let mut all = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            let meta = fs::symlink_metadata(&path).expect("metadata");
            let (kind, content) = if meta.is_dir() {
                pending.push(path.clone());
                (b'd', Vec::new())
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).expect("a target");
                (b'l', target.as_os_str().as_bytes().to_vec())
            } else {
                (b'f', fs::read(&path).expect("a file"))
            };
            let name = path
                .strip_prefix(root)
                .expect("beneath the root")
                .as_os_str()
                .as_bytes()
                .to_vec();
            let mode = meta.permissions().mode() & 0o7777;
            all.insert(
                name,
                Found {
                    kind,
                    mode,
                    mtime: meta.mtime(),
                    content,
                },
            );
        }
    }
    all
}

/// What is the same in the workspace and in whatever was unpacked of it: no times, normal modes.
pub fn normal(mut all: BTreeMap<Vec<u8>, Found>) -> BTreeMap<Vec<u8>, Found> {
    for found in all.values_mut() {
        found.mtime = 0;
        found.mode = match found.kind {
            b'f' if found.mode & 0o100 == 0 => 0o644,
            b'l' => 0o777,
            _ => 0o755,
        };
    }
    all
}
