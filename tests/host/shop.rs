//! A store with releases of an app: two dependency layers and code, packed as a build packs them, and manifests that bind
//! their records.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use shipit_artifact::{
    Artifact, Compression, DirTree, LayerKind, LayerPlan, Mtime, PackOptions, RecordDraft, assemble,
    seal_layer,
};
use shipit_manifest::{Hooks, Layout, Link, RenderInput, render};
use shipit_testbed::Tmp;

use crate::support::{Seen, holds};

/// One entry of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    File(Vec<u8>, bool),
    Link(String),
    Dir,
}

/// A tree by path; directories on the way need not be named.
pub type Model = BTreeMap<String, Node>;

pub fn file(content: impl AsRef<[u8]>) -> Node {
    Node::File(content.as_ref().to_vec(), false)
}

/// Bytes that do not compress, the same for one seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}

/// What a release is made of.
#[derive(Clone, Debug)]
pub struct App {
    /// Below `node_modules`.
    pub npm: Model,
    /// Below `vendor/bundle`.
    pub bundle: Model,
    pub code: Model,
    pub time: i64,
    pub compression: Compression,
}

/// A small app with all kinds of entries.
pub fn app() -> App {
    let mut npm = Model::new();
    for n in 0..150_u64 {
        let content = noise(n, 200 + (n as usize * 977) % 60_000);
        npm.insert(
            format!("pkg-{:02}/lib/file-{n}.js", n % 23),
            Node::File(content, n % 40 == 0),
        );
    }
    npm.insert(".bin/tool".into(), Node::Link("../pkg-03/lib/file-3.js".into()));
    npm.insert("pkg-01/empty".into(), Node::Dir);
    npm.insert("pkg-02/nothing".into(), file(""));
    npm.insert("pkg-05/large.node".into(), file(noise(999, 3_000_000)));
    let bundle = (0..30_u64)
        .map(|n| (format!("ruby/gem-{n}/code.rb"), file(noise(1000 + n, 9000))))
        .collect();
    let mut code: Model = (0..60_u64)
        .map(|n| {
            let text = format!("line {n}\n").repeat(300 + n as usize);
            (format!("app/part-{}/source-{n}.rb", n % 7), file(text))
        })
        .collect();
    code.insert("REVISION".into(), file("first\n"));
    code.insert("bin/app".into(), Node::File(b"#!/bin/sh\n".to_vec(), true));
    code.insert("log/.keep".into(), file(""));
    code.insert("public/current".into(), Node::Link("../app".into()));
    App {
        npm,
        bundle,
        code,
        time: 1_600_000_000,
        compression: Compression::Zstd,
    }
}

/// A release as published.
pub struct Published {
    pub artifact: Artifact,
    /// The artifact in the store.
    pub stored: PathBuf,
    pub input: RenderInput,
}

/// A store in a directory.
pub struct Shop {
    pub tmp: Tmp,
}

impl Shop {
    pub fn new() -> Self {
        Self {
            tmp: Tmp::new("shop"),
        }
    }

    pub fn store(&self) -> PathBuf {
        self.tmp.join("store")
    }

    /// Packs and stores; `dest` is the role's on the host.
    pub fn publish(&self, app: &App, release: &str, dest: &Path) -> Published {
        let work = Tmp::new("build");
        write(&work.join("npm/node_modules"), &app.npm);
        write(&work.join("bundle/vendor/bundle"), &app.bundle);
        write(&work.join("code"), &app.code);
        let cancel = AtomicBool::new(false);
        let options = PackOptions {
            compression: app.compression,
            jobs: NonZeroUsize::new(2).unwrap(),
            cancel: &cancel,
            on_event: &|_| {},
        };
        let trees = ["npm", "bundle", "code"].map(|name| DirTree::new(work.join(name)).unwrap());
        let plan = |name: &str, tree, kind, mtime| LayerPlan {
            name: name.to_owned(),
            kind,
            key: None,
            tree,
            mtime,
            level: 3,
        };
        let sealed: Vec<_> = [("npm", &trees[0]), ("bundle", &trees[1])]
            .into_iter()
            .map(|(name, tree)| {
                let plan = plan(name, tree, LayerKind::Dependencies, Mtime::FromContent);
                seal_layer(&plan, &work.join("sealed"), &options).unwrap()
            })
            .collect();
        let code = plan("code", &trees[2], LayerKind::Code, Mtime::Fixed(app.time));
        let draft = RecordDraft {
            app: "shop".into(),
            revision: "a".repeat(40),
            steps: Vec::new(),
            tools: Vec::new(),
        };
        let artifact = assemble(&sealed, &code, draft, &self.tmp.join("out"), &options).unwrap();
        let stored = self.put(&artifact);
        let input = RenderInput {
            src: Some(format!("file://{}", stored.display())),
            checksum: Some(artifact.record.sha256.clone()),
            record_sha256: Some(artifact.record_sha256.clone()),
            app: "shop".into(),
            stage: "test".into(),
            role: "web".into(),
            release: release.into(),
            revision: "a".repeat(40),
            dest: Some(dest.display().to_string()),
            layout: Layout::Releases,
            link: Link::Auto,
            hooks: Hooks::default(),
            keep_releases: 2,
            ..RenderInput::default()
        };
        Published {
            artifact,
            stored,
            input,
        }
    }

    /// As publish lays it out.
    fn put(&self, artifact: &Artifact) -> PathBuf {
        let dir = self.store().join("artifacts/shop");
        let indexes = self.store().join("indexes/shop");
        fs::create_dir_all(&dir).unwrap();
        fs::create_dir_all(&indexes).unwrap();
        let stored = dir.join(artifact.path.file_name().unwrap());
        fs::copy(&artifact.path, &stored).unwrap();
        fs::copy(
            &artifact.record_path,
            dir.join(artifact.record_path.file_name().unwrap()),
        )
        .unwrap();
        for index in &artifact.indexes {
            fs::copy(index, indexes.join(index.file_name().unwrap())).unwrap();
        }
        stored
    }
}

impl Published {
    pub fn manifest(&self) -> String {
        render(&self.input, None).unwrap()
    }

    pub fn index(&self, store: &Shop, layer: usize) -> PathBuf {
        let name = &self.artifact.record.layers[layer].index_sha256;
        store.store().join("indexes/shop").join(name)
    }

    pub fn record(&self, store: &Shop) -> PathBuf {
        let name = format!("artifacts/shop/{}.json", self.artifact.record.sha256);
        store.store().join(name)
    }

    /// What unpacking the whole artifact gives.
    pub fn unpacked(&self) -> BTreeMap<PathBuf, Seen> {
        let tmp = Tmp::new("whole");
        let dest = tmp.mkdir("tree");
        let cancel = AtomicBool::new(false);
        let options = shipit_artifact::UnpackOptions::new(&cancel, &|_| {});
        let reader = fs::File::open(&self.stored).unwrap();
        shipit_artifact::unpack(reader, &dest, &options).unwrap();
        seen(&dest)
    }
}

/// What a tree holds, less what says nothing of it: its own entry, how many names a file has, who owns it.
pub fn seen(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = holds(root);
    all.remove(Path::new(""));
    for seen in all.values_mut() {
        (seen.links, seen.uid, seen.gid) = (0, 0, 0);
    }
    all
}

fn write(root: &Path, model: &Model) {
    fs::create_dir_all(root).unwrap();
    for (path, node) in model {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::File(content, executable) => {
                fs::write(&path, content).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            Node::Link(target) => symlink(target, &path).unwrap(),
            Node::Dir => fs::create_dir_all(&path).unwrap(),
        }
    }
}
