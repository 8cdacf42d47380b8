//! Trees in memory, and artifacts made of them.

mod bytes;
mod faults;
mod reuse;
mod selection;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::tree::{Kind, Tree, TreeEntry, TreeError};
use crate::{
    Artifact, Compression, DirTree, EntryPath, Error, ErrorKind, Event, LayerKind, LayerPlan, Mtime,
    PackOptions, RecordDraft, assemble, seal_layer, sha256,
};

fn path(bytes: impl AsRef<[u8]>) -> EntryPath {
    EntryPath::new(bytes.as_ref()).unwrap()
}

/// A tree in memory, so that entries can be odd and contents change.
#[derive(Default)]
struct MemoryTree(BTreeMap<EntryPath, (Kind, Vec<u8>)>);

impl MemoryTree {
    fn file(mut self, name: impl AsRef<[u8]>, content: Vec<u8>) -> Self {
        self.0.insert(
            path(name),
            (
                Kind::File {
                    executable: content.len() % 2 == 1,
                },
                content,
            ),
        );
        self
    }

    fn other(mut self, name: impl AsRef<[u8]>, kind: Kind) -> Self {
        self.0.insert(path(name), (kind, Vec::new()));
        self
    }
}

impl Tree for MemoryTree {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        let entry = |(path, (kind, content)): (&EntryPath, &(Kind, Vec<u8>))| TreeEntry {
            path: path.clone(),
            kind: kind.clone(),
            size: content.len() as u64,
        };
        Ok(self.0.iter().map(entry).collect())
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        Ok(Box::new(self.0[path].1.as_slice()))
    }
}

/// Bytes that compress somewhat and follow from the seed alone.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state % 23) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn dependencies() -> MemoryTree {
    let tree = MemoryTree::default()
        .other("vendor/bundle", Kind::Directory)
        .other("vendor/bundle/empty", Kind::Directory)
        .other(
            "vendor/bundle/link",
            Kind::Symlink {
                target: b"gem/0001".to_vec(),
            },
        )
        .other(
            "vendor/bundle/long-link",
            Kind::Symlink {
                target: [b't'; 300].to_vec(),
            },
        )
        .file("vendor/bundle/large", noise(99, 5_000_001));
    (0..200).fold(tree, |tree, n| {
        tree.file(
            format!("vendor/bundle/gem/{n:04}"),
            noise(n, (n * n * 7 % 60_000) as usize),
        )
    })
}

fn code() -> MemoryTree {
    let long = "very/".repeat(40) + "long";
    MemoryTree::default()
        .file("REVISION", b"0123456789abcdef\n".to_vec())
        .file("bin/start", b"#!/bin/sh\n ".to_vec())
        .file(b"non\xff\xfeutf8", b"bytes".to_vec())
        .file("empty", Vec::new())
        .file(&long, b"long".to_vec())
        .file("large", noise(7, 4_500_000))
        .file("tmp/app.pid", b"4711".to_vec())
        .other(
            "to",
            Kind::Symlink {
                target: b"bin/start".to_vec(),
            },
        )
}

fn build(out: &Path, compression: Compression, jobs: usize) -> Result<Artifact, Error> {
    build_of(&dependencies(), &code(), out, compression, jobs, &|_| {})
}

fn build_of(
    dependencies: &dyn Tree,
    code: &dyn Tree,
    out: &Path,
    compression: Compression,
    jobs: usize,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Artifact, Error> {
    let cancel = AtomicBool::new(false);
    let jobs = NonZeroUsize::new(jobs).unwrap();
    let options = PackOptions {
        compression,
        jobs,
        cancel: &cancel,
        on_event,
    };
    let plan = |name: &str, kind, tree, mtime, level| LayerPlan {
        name: name.to_owned(),
        kind,
        key: None,
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
    let sealed = seal_layer(&bundle, &out.join("sealed"), &options)?;
    let code = plan("code", LayerKind::Code, code, Mtime::Fixed(1_700_000_000), 3);
    let draft = RecordDraft {
        app: "shop".into(),
        revision: "0".repeat(40),
        steps: vec![],
        tools: vec![],
    };
    assemble(&[sealed], &code, draft, &out.join("artifacts"), &options)
}
