//! Shared layers: what one builder offers and another fetches, and what is refused.

use std::num::NonZeroUsize;
use std::path::Path;

use shipit_artifact::{Artifact, Compression, EntryPath, Index};
use shipit_store::shared::{FetchLayer, FetchedLayer, fetch};
use shipit_store::{ErrorKind, Event, Store};
use shipit_testbed::{Fault, Tmp};

use super::difference::{MADE, offered};
use super::layered::{Parts, overwrite, sealed_row};
use super::publishing::{NOW, go};
use super::setup::{Bench, Events, directory};

async fn fetched(store: &Store, dir: &Path, paths: &[&str]) -> Result<Option<FetchedLayer>, ErrorKind> {
    fetched_since(store, dir, paths, MADE).await
}

async fn fetched_since(
    store: &Store,
    dir: &Path,
    paths: &[&str],
    made_since: i64,
) -> Result<Option<FetchedLayer>, ErrorKind> {
    let paths: Vec<_> = paths.iter().map(|path| EntryPath::new(*path).unwrap()).collect();
    let request = FetchLayer {
        store,
        app: "shop",
        key: &"a".repeat(64),
        name: "npm",
        compression: Compression::Zstd,
        level: 3,
        paths: &paths,
        made_since,
        dir,
        jobs: NonZeroUsize::new(3).unwrap(),
    };
    fetch(request).await.map_err(|error| error.kind())
}

fn refused(events: &Events) -> Vec<String> {
    let why = |event| match event {
        Event::LayerRefused { why, .. } => Some(why),
        _ => None,
    };
    events.all().into_iter().filter_map(why).collect()
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

struct Shared {
    store: Store,
    events: Events,
    artifact: Artifact,
}

impl Shared {
    async fn new((store, events): (Store, Events), scratch: &Path) -> Self {
        let artifact = Parts::first().build(scratch);
        go(&store, &artifact, NOW).await.unwrap();
        offered(&store, &artifact).await;
        Self {
            store,
            events,
            artifact,
        }
    }

    fn about(&self) -> String {
        format!("layers/shop/{}/layer.json", "a".repeat(64))
    }

    fn frames(&self) -> String {
        let row = &self.artifact.record.layers[0];
        format!("layers/shop/{}/{}.frames", "a".repeat(64), row.sha256)
    }

    fn index(&self) -> String {
        format!("indexes/shop/{}", self.artifact.record.layers[0].index_sha256)
    }

    async fn read(&self, key: &str) -> Vec<u8> {
        self.store.get_bytes(key, 1 << 30).await.unwrap().bytes.to_vec()
    }

    /// With another content of this object the layer is refused, for this reason, and with its own it is there again.
    async fn refuses(&self, dir: &Path, key: &str, other: Vec<u8>, why: &str) {
        let own = self.read(key).await;
        overwrite(&self.store, key, other).await;
        let before = refused(&self.events).len();
        assert_eq!(
            fetched(&self.store, dir, &["node_modules"]).await,
            Ok(None),
            "{why}"
        );
        let said = refused(&self.events);
        assert!(
            said.len() == before + 1 && said[before].contains(why),
            "{why}: {said:?}"
        );
        assert_eq!(files(dir), 0, "{why}");
        overwrite(&self.store, key, own).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn what_is_offered_is_fetched_as_it_was_sealed() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    for (name, opened) in [
        ("s3", bench.store()),
        ("files", directory(&scratch.join("store"))),
    ] {
        let dir = scratch.mkdir(format!("{name}/fetched"));
        assert_eq!(fetched(&opened.0, &dir, &["node_modules"]).await, Ok(None));
        let shared = Shared::new(opened, &scratch.mkdir(name)).await;
        let got = fetched(&shared.store, &dir, &["node_modules"])
            .await
            .unwrap()
            .unwrap();
        let row = &shared.artifact.record.layers[0];
        let wanted = (
            row.sha256.clone(),
            row.size,
            row.index_sha256.clone(),
            row.entries,
            row.unpacked_size,
        );
        assert_eq!(sealed_row(&got.sealed), wanted);
        assert_eq!(
            got.sealed.paths_claimed,
            [EntryPath::new("node_modules").unwrap()]
        );
        assert_eq!(
            (got.sealed.name.as_str(), got.packages, got.made),
            ("npm", Some(12), MADE)
        );
        let dir = scratch.mkdir(format!("{name}/too-old"));
        let since = MADE + 1;
        assert_eq!(
            fetched_since(&shared.store, &dir, &["node_modules"], since).await,
            Ok(None)
        );
        assert_eq!(files(&dir), 0);
        let is_old = |event: &Event| matches!(event, Event::LayerTooOld { made: MADE, .. });
        assert!(shared.events.all().iter().any(is_old));
        let dir = got.sealed.frames.parent().unwrap().to_owned();
        assert_eq!((&got.sealed.key, got.sealed.level), (&row.key, Some(3)));
        let frames = std::fs::read(&got.sealed.frames).unwrap();
        let all = std::fs::read(&shared.artifact.path).unwrap();
        assert!(frames == all[..row.size as usize], "{name}");
        let index = std::fs::read(&got.sealed.index).unwrap();
        assert_eq!(Index::parse(&index).unwrap().entries().len() as u64, row.entries);
        assert!(got.received >= row.size);
        assert_eq!(files(&dir), 2, "{name}");
        assert_eq!(refused(&shared.events), <[String; 0]>::default());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn layers_that_lie_are_refused_and_said() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    for (name, opened) in [
        ("s3", bench.store()),
        ("files", directory(&scratch.join("store"))),
    ] {
        let shared = Shared::new(opened, &scratch.mkdir(name)).await;
        let dir = scratch.mkdir(format!("{name}/fetched"));
        let (about, frames, index) = (shared.about(), shared.frames(), shared.index());

        let mut other = shared.read(&frames).await;
        other[5 << 20] ^= 1;
        shared
            .refuses(&dir, &frames, other, "does not have the digest")
            .await;
        let mut other = shared.read(&frames).await;
        other.truncate(1 << 20);
        shared.refuses(&dir, &frames, other, "its layer.json says").await;
        let mut other = shared.read(&index).await;
        other[40] ^= 1;
        shared.refuses(&dir, &index, other, "digest").await;

        let text = String::from_utf8(shared.read(&about).await).unwrap();
        let row = &shared.artifact.record.layers[0];
        for (from, to, why) in [
            (row.index_sha256.as_str(), "0".repeat(64), "its index is missing"),
            (row.sha256.as_str(), "0".repeat(64), "its frames are missing"),
            (row.sha256.as_str(), "../../x".to_owned(), "digest"),
            ("\"version\": 1", "\"version\": 9".to_owned(), "version 9"),
            ("\"zstd\"", "\"gzip\"".to_owned(), "another layer"),
            (
                &format!("\"entries\": {}", row.entries),
                "\"entries\": 1".to_owned(),
                "another layer",
            ),
            (&"a".repeat(64), "f".repeat(64), "the layer ffff"),
        ] {
            let other = text.replacen(from, &to, 1);
            assert_ne!(other, text, "{from}");
            shared.refuses(&dir, &about, other.into_bytes(), why).await;
        }
        shared
            .refuses(&dir, &about, b"no json".to_vec(), "cannot be read")
            .await;
        shared.refuses(&dir, &about, vec![b' '; 1 << 20], "larger").await;

        // What the step does not vendor is not taken from anybody.
        let before = refused(&shared.events).len();
        assert_eq!(
            fetched(&shared.store, &dir, &["vendor", "node_modules/package01.js"]).await,
            Ok(None)
        );
        let said = refused(&shared.events);
        assert!(said[before].contains("does not vendor"), "{said:?}");
        assert_eq!(files(&dir), 0);
        assert!(
            fetched(&shared.store, &dir, &["node_modules"])
                .await
                .unwrap()
                .is_some()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_cut_is_read_on_and_a_store_that_fails_is_an_error() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let shared = Shared::new(bench.store(), scratch.path()).await;
    let dir = scratch.mkdir("fetched");
    for _ in 0..2 {
        bench
            .proxy
            .inject(Fault::cut_response(3 << 20).method("GET").path(".frames"));
    }
    assert!(
        fetched(&shared.store, &dir, &["node_modules"])
            .await
            .unwrap()
            .is_some()
    );
    assert!(shared.events.retries() >= 2, "{:?}", shared.events.all());

    let dir = scratch.mkdir("again");
    bench
        .proxy
        .inject(Fault::status(503).method("GET").path("layer.json").always());
    let error = fetched(&shared.store, &dir, &["node_modules"]).await.unwrap_err();
    assert_eq!(error, ErrorKind::Unreachable);
    assert_eq!(files(&dir), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn frames_that_were_removed_are_offered_again() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let shared = Shared::new(bench.store(), scratch.path()).await;
    shared.store.delete(&shared.frames()).await.unwrap();
    let again = offered(&shared.store, &shared.artifact).await;
    assert!(again.copied > 0, "{again:?}");
    let dir = scratch.mkdir("fetched");
    assert!(
        fetched(&shared.store, &dir, &["node_modules"])
            .await
            .unwrap()
            .is_some()
    );
    // Frames that another builder has put there, whole or not, without ever saying so in a layer.json.
    let mut other = shared.read(&shared.frames()).await;
    other[0] ^= 1;
    overwrite(&shared.store, &shared.frames(), other).await;
    shared.store.delete(&shared.about()).await.unwrap();
    let again = offered(&shared.store, &shared.artifact).await;
    assert_eq!(again.layers, 0);
    let differs = |event: &Event| matches!(event, Event::LayerDiffers { .. });
    assert_eq!(shared.events.count(differs), 1, "{:?}", shared.events.all());
}
