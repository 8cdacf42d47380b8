//! Artifacts with dependency layers that are large enough for parts to be copied, and publishes of them one after the other.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{
    Artifact, Compression, DirTree, EntryPath, LayerKind, LayerPlan, Mtime, PackOptions, RecordDraft,
    SealedLayer, assemble, seal_layer,
};
use shipit_store::{PutOptions, Store};

use super::conformance::bytes;

/// Bytes of a package; they do not compress.
pub const PACKAGE: usize = 2 << 20;

/// How many packages the dependencies have.
pub const PACKAGES: usize = 12;

/// What an artifact is made of.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The seed of each package's bytes.
    pub packages: Vec<u64>,
    /// The layer key of the dependencies.
    pub key: String,
    /// The code's bytes.
    pub code: Vec<u8>,
    /// The time of the commit.
    pub time: i64,
}

impl Parts {
    pub fn first() -> Self {
        Self {
            packages: (1..=PACKAGES as u64).collect(),
            key: "a".repeat(64),
            code: bytes(400_000, 77),
            time: 1_700_000_000,
        }
    }

    /// The next commit: one line of the code is another.
    pub fn changed_line(&self) -> Self {
        let mut next = self.clone();
        next.code[1000] ^= 1;
        next.time += 60;
        next
    }

    /// The next commit: the lockfile names another version of one package.
    pub fn bumped(&self) -> Self {
        let mut next = self.changed_line();
        next.packages[PACKAGES / 2] += 1000;
        next.key = "b".repeat(64);
        next
    }

    /// Builds it below `dir`, in a directory of its own.
    pub fn build(&self, dir: &Path) -> Artifact {
        let cancel = AtomicBool::new(false);
        let options = PackOptions {
            compression: Compression::Zstd,
            jobs: NonZeroUsize::new(2).unwrap(),
            cancel: &cancel,
            on_event: &|_| {},
        };
        let tree = dir.join("tree");
        std::fs::create_dir_all(tree.join("node_modules")).unwrap();
        for (number, seed) in self.packages.iter().enumerate() {
            let path = tree.join(format!("node_modules/package{number:02}.js"));
            std::fs::write(path, bytes(PACKAGE, *seed)).unwrap();
        }
        std::fs::write(tree.join("app.js"), &self.code).unwrap();
        let vendored = EntryPath::new("node_modules").unwrap();
        let dependencies = DirTree::new(&tree).unwrap().only(vec![vendored.clone()]);
        let rest = DirTree::new(&tree).unwrap().without(vec![vendored]);
        let sealed = seal_layer(
            &LayerPlan {
                name: "npm".into(),
                kind: LayerKind::Dependencies,
                key: Some(self.key.clone()),
                tree: &dependencies,
                mtime: Mtime::FromContent,
                level: 3,
            },
            &dir.join("layers"),
            &options,
        )
        .unwrap();
        let code = LayerPlan {
            name: "code".into(),
            kind: LayerKind::Code,
            key: None,
            tree: &rest,
            mtime: Mtime::Fixed(self.time),
            level: 3,
        };
        let draft = RecordDraft {
            app: "shop".into(),
            revision: "3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d".into(),
            steps: Vec::new(),
            tools: Vec::new(),
        };
        assemble(&[sealed], &code, draft, &dir.join("artifacts"), &options).unwrap()
    }
}

/// What `shared::fetch` has to give for the artifact's dependencies, but for where the files lie.
pub fn sealed_row(sealed: &SealedLayer) -> (String, u64, String, u64, u64) {
    (
        sealed.sha256.clone(),
        sealed.size,
        sealed.index_sha256.clone(),
        sealed.entries,
        sealed.unpacked_size,
    )
}

/// The size of the code layer.
pub fn code_size(artifact: &Artifact) -> u64 {
    artifact.record.layers.last().unwrap().size
}

/// The stored artifact has the local file's bytes.
pub async fn check_bytes(store: &Store, artifact: &Artifact) {
    let key = format!("artifacts/shop/{}.tar.zst", artifact.record.sha256);
    let stored = store.get_bytes(&key, 1 << 30).await.unwrap().bytes;
    assert!(stored == std::fs::read(&artifact.path).unwrap(), "{key}");
}

/// Writes an object whatever is there.
pub async fn overwrite(store: &Store, key: &str, content: Vec<u8>) {
    store.delete(key).await.unwrap();
    store
        .put_if_absent(key, content.into(), &PutOptions::default())
        .await
        .unwrap();
}
