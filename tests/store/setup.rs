//! What the store's tests need: a bucket on a real server, a proxy in front of it, artifacts, and the events told.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, SharedCredentialsProvider};
use shipit_artifact::{
    Artifact, Compression, DirTree, LayerKind, LayerPlan, Mtime, PackOptions, RecordDraft, RecordStep, Tool,
    assemble, seal_layer,
};
use shipit_store::{Event, OnEvent, RetryPolicy, S3Options, Store, StoreOptions, StoreUrl};
use shipit_testbed::{FaultProxy, S3Server};

pub const BUCKET: &str = "shop-deploy";

/// The events that a store told, but for progress.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<Event>>>);

impl Events {
    pub fn sink(&self) -> OnEvent {
        let events = self.0.clone();
        OnEvent::new(move |event| {
            if !matches!(event, Event::Progress { .. }) {
                events.lock().unwrap().push(event);
            }
        })
    }

    pub fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.all().iter().filter(|event| which(event)).count()
    }

    pub fn retries(&self) -> usize {
        self.count(|event| matches!(event, Event::Retry { .. }))
    }
}

/// A server with one bucket, and a proxy in front of it.
pub struct Bench {
    pub server: S3Server,
    pub proxy: FaultProxy,
}

impl Bench {
    pub fn start() -> Self {
        let server = S3Server::start();
        server.create_bucket(BUCKET);
        let proxy = FaultProxy::start(server.addr());
        Self { server, proxy }
    }

    pub fn sdk_config(&self) -> SdkConfig {
        sdk_config(self.server.access_key(), self.server.secret_key())
    }

    /// Through the proxy, impatient.
    pub fn options(&self) -> S3Options {
        let mut options = S3Options::new(self.sdk_config());
        options.endpoint = Some(self.proxy.url());
        options.region = Some(self.server.region().to_owned());
        options.part_size = 5 << 20;
        options.retry = RetryPolicy {
            attempts: 4,
            first_wait: Duration::from_millis(10),
            longest_wait: Duration::from_millis(50),
        };
        options
    }

    pub fn store(&self) -> (Store, Events) {
        self.store_with(self.options())
    }

    pub fn store_with(&self, s3: S3Options) -> (Store, Events) {
        let events = Events::default();
        let options = StoreOptions {
            s3: Some(s3),
            on_event: events.sink(),
            ..StoreOptions::default()
        };
        let url = StoreUrl::parse(&format!("s3://{BUCKET}/team/a b")).unwrap();
        (Store::open(&url, options).unwrap(), events)
    }

    /// The keys in the bucket, without the store's prefix.
    pub fn keys(&self) -> Vec<String> {
        let keys = self.server.keys(BUCKET);
        keys.iter()
            .map(|key| key.strip_prefix("team/a b/").unwrap().to_owned())
            .collect()
    }

    pub fn object_path(&self, key: &str) -> std::path::PathBuf {
        self.server.object_path(BUCKET, &format!("team/a b/{key}"))
    }
}

pub fn sdk_config(access: &str, secret: &str) -> SdkConfig {
    let credentials = Credentials::new(access, secret, None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// A store in a directory.
pub fn directory(root: &Path) -> (Store, Events) {
    let events = Events::default();
    let url = StoreUrl::parse(&format!("file://{}", root.display())).unwrap();
    let options = StoreOptions {
        on_event: events.sink(),
        ..StoreOptions::default()
    };
    (Store::open(&url, options).unwrap(), events)
}

/// A real artifact of the app `shop` with one dependency layer, made below `dir`. `code` is a file's content; `tool` is a
/// tool's version, which the record holds and the bytes do not.
pub fn artifact(dir: &Path, code: &[u8], tool: &str) -> Artifact {
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("vendor")).unwrap();
    std::fs::write(tree.join("app"), code).unwrap();
    std::fs::write(tree.join("vendor/lib"), b"a library").unwrap();
    let cancel = AtomicBool::new(false);
    let options = PackOptions {
        compression: Compression::Zstd,
        jobs: NonZeroUsize::new(2).unwrap(),
        cancel: &cancel,
        on_event: &|_| {},
    };
    let vendored = shipit_artifact::EntryPath::new("vendor").unwrap();
    let dependencies = DirTree::new(&tree).unwrap().only(vec![vendored.clone()]);
    let rest = DirTree::new(&tree).unwrap().without(vec![vendored]);
    let plan = |name: &str, kind, tree| LayerPlan {
        name: name.to_owned(),
        kind,
        key: None,
        tree,
        mtime: Mtime::Fixed(1_700_000_000),
        level: 3,
    };
    let layers = dir.join("layers");
    std::fs::create_dir_all(&layers).unwrap();
    let sealed = seal_layer(
        &plan("npm", LayerKind::Dependencies, &dependencies),
        &layers,
        &options,
    )
    .unwrap();
    let draft = RecordDraft {
        app: "shop".into(),
        revision: "3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d".into(),
        steps: vec![RecordStep {
            name: "npm".into(),
            tool: "npm".into(),
            dir: String::new(),
            command: None,
        }],
        tools: vec![Tool {
            name: "npm".into(),
            version: tool.into(),
        }],
    };
    assemble(
        &[sealed],
        &plan("code", LayerKind::Code, &rest),
        draft,
        &dir.join("artifacts"),
        &options,
    )
    .unwrap()
}
