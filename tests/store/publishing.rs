//! Publishing to both kinds of store: what is there after it, after it was cut, and after two did it at once.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use shipit_artifact::Artifact;
use shipit_manifest::{Layout, RenderInput, render, render_once};
use shipit_store::lock::PublishLock;
use shipit_store::{
    BoxError, Error, ErrorKind, Event, OnEvent, PublishInput, Published, PutOptions, ReleaseId, ReleaseRef,
    RenderContext, RolePlan, Store, StoreOptions, StoreUrl, layout, publish, release, releases,
};
use shipit_testbed::{Fault, Tmp};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::setup::{BUCKET, Bench, artifact, directory};

pub const NOW: i64 = 1_795_268_715;
const REVISION: &str = "3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d";

pub fn manifest(role: &str, context: &RenderContext<'_>) -> Result<String, BoxError> {
    Ok(render(&input(role, context), None)?)
}

fn input(role: &str, context: &RenderContext<'_>) -> RenderInput {
    RenderInput {
        src: Some(context.src.to_owned()),
        checksum: Some(context.checksum.to_owned()),
        record_sha256: Some(context.record_sha256.to_owned()),
        app: "shop".into(),
        stage: "production".into(),
        role: role.to_owned(),
        release: context.release.to_string(),
        revision: REVISION.into(),
        dest: Some("/srv/shop".into()),
        layout: Layout::Releases,
        keep_releases: 5,
        once: vec!["bin/migrate".into()],
        ..RenderInput::default()
    }
}

pub async fn go(store: &Store, artifact: &Artifact, time: i64) -> Result<Published, Error> {
    go_under(store, artifact, time, None).await
}

/// As `go`, under a lock.
pub async fn go_under(
    store: &Store,
    artifact: &Artifact,
    time: i64,
    lock: Option<&PublishLock>,
) -> Result<Published, Error> {
    let web = |context: &RenderContext<'_>| manifest("web", context);
    let batch = |context: &RenderContext<'_>| manifest("batch", context);
    let once = |context: &RenderContext<'_>| Ok(render_once(&input("batch", context))?);
    let roles = vec![
        RolePlan {
            role: "web".into(),
            render: &web,
            once: None,
        },
        RolePlan {
            role: "batch".into(),
            render: &batch,
            once: Some(&once),
        },
    ];
    publish(PublishInput {
        store,
        app: "shop",
        stage: "production",
        artifact,
        time,
        who: "jenkins",
        roles,
        shared: true,
        origin: shipit_store::Origin::default(),
        lock,
    })
    .await
}

/// Whatever a reader finds is complete and true.
pub async fn check_all(store: &Store) -> usize {
    let all = releases(store, "shop", "production", None).await.unwrap();
    for found in &all {
        assert_eq!(found.revision, REVISION);
        let artifact = store.get_bytes(&found.artifact.key, 1 << 30).await.unwrap().bytes;
        assert_eq!(
            shipit_artifact::sha256(&artifact).to_string(),
            found.artifact.sha256
        );
        assert_eq!(artifact.len() as u64, found.artifact.size);
        let record = layout::record_key("shop", &found.artifact.sha256).unwrap();
        let record = store.get_bytes(&record, 1 << 20).await.unwrap().bytes;
        assert_eq!(
            shipit_artifact::sha256(&record).to_string(),
            found.artifact.record_sha256
        );
        for layer in shipit_artifact::Record::parse(&record).unwrap().layers {
            let index = store
                .get_bytes(&layout::index_key("shop", &layer.index_sha256).unwrap(), 1 << 20)
                .await;
            assert_eq!(
                shipit_artifact::sha256(&index.unwrap().bytes).to_string(),
                layer.index_sha256
            );
        }
        for role in found.roles.keys() {
            let text = found.manifest(store, role).await.unwrap().unwrap();
            let parsed =
                shipit_manifest::parse(&shipit_manifest::host_template(&text, &|_| None).unwrap()).unwrap();
            assert_eq!(parsed.src, Some(store.host_url_of(&found.artifact.key)));
            assert_eq!(parsed.checksum.as_ref(), Some(&found.artifact.sha256));
            let binding = parsed.shipit.unwrap();
            assert_eq!(
                binding.record_sha256.as_ref(),
                Some(&found.artifact.record_sha256)
            );
            assert_eq!(
                (binding.release.as_str(), &binding.role),
                (found.id.as_str(), role)
            );
        }
        assert!(found.roles["web"].once.is_none());
        let once = found.roles["batch"].once.as_ref().unwrap();
        let text = store.get_bytes(&once.manifest, 1 << 20).await.unwrap().bytes;
        assert_eq!(shipit_artifact::sha256(&text).to_string(), once.sha256);
        let text = std::str::from_utf8(&text).unwrap();
        let binding = shipit_manifest::parse(text).unwrap().shipit.unwrap();
        assert_eq!(
            (binding.role.as_str(), binding.release.as_str()),
            ("batch.once", found.id.as_str())
        );
        let url = found.once_url(store, "batch").unwrap();
        assert!(url.ends_with(&format!("{}/batch.once.yml", found.id)), "{url}");
    }
    all.len()
}

async fn published_twice(store: &Store, scratch: &Path) {
    let artifact = artifact(scratch, &super::conformance::bytes(6 << 20, 4), "9");
    assert_eq!(releases(store, "shop", "production", None).await.unwrap(), []);
    let none = release(store, "shop", "production", &ReleaseRef::Latest)
        .await
        .unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound, "{none:?}");

    let first = go(store, &artifact, NOW).await.unwrap();
    assert_eq!(first.release.id.as_str(), "20261121T134515Z-3074f46");
    assert!(
        first.sent > artifact.record.size && first.skipped == 0,
        "{first:?}"
    );
    let roles: Vec<_> = first.roles.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["batch", "web"]);
    for (role, url) in &first.roles {
        assert!(
            url.ends_with(&format!(
                "releases/shop/production/20261121T134515Z-3074f46/{role}.yml"
            )),
            "{url}"
        );
        assert_eq!(first.release.manifest_url(store, role).as_ref(), Some(url));
    }
    let second = go(store, &artifact, NOW + 60).await.unwrap();
    assert!(
        second.skipped > artifact.record.size && second.sent < 100_000,
        "{second:?}"
    );
    assert_ne!(first.release.id, second.release.id);
    let third = go(store, &artifact, NOW + 60).await.unwrap();
    assert_eq!(third.release.id, second.release.id.next_second().unwrap());
    assert_eq!(check_all(store).await, 3);

    let newest = releases(store, "shop", "production", Some(2)).await.unwrap();
    assert_eq!(newest, [third.release.clone(), second.release]);
    assert_eq!(
        release(store, "shop", "production", &ReleaseRef::Latest)
            .await
            .unwrap(),
        third.release
    );
    let by_id = ReleaseRef::Id(first.release.id.clone());
    assert_eq!(
        release(store, "shop", "production", &by_id).await.unwrap(),
        first.release
    );
    assert!(matches!(
        release(store, "shop", "staging", &by_id).await,
        Err(Error::NoRelease { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn publishing_again_sends_nothing_twice() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (store, events) = bench.store();
    published_twice(&store, &scratch.mkdir("s3")).await;
    assert_eq!(events.retries(), 0);
    let (store, events) = directory(&scratch.path().join("store"));
    published_twice(&store, &scratch.mkdir("directory")).await;
    let newer = |event: &Event| matches!(event, Event::NewerRelease { .. });
    assert_eq!(events.count(newer), 0);
    go(
        &store,
        &artifact(&scratch.mkdir("directory"), b"other", "9"),
        NOW - 60,
    )
    .await
    .unwrap();
    assert_eq!(events.count(newer), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn releases_of_one_second_follow_one_another_without_a_warning() {
    let scratch = Tmp::new("store");
    let artifact = artifact(scratch.path(), b"code", "9");
    let (store, events) = directory(&scratch.path().join("store"));
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(go(&store, &artifact, NOW).await.unwrap().release.id);
    }
    // Another revision's, by a clock that is a little ahead: `latest` is what was published last all the same.
    let other = ReleaseId::new(NOW + 9, &"f".repeat(40)).unwrap();
    let key = format!("releases/shop/production/{other}/web.yml");
    store
        .put_if_absent(&key, "x".to_owned().into(), &PutOptions::default())
        .await
        .unwrap();
    ids.push(go(&store, &artifact, NOW).await.unwrap().release.id);
    let seconds: Vec<_> = ids.iter().map(|id| id.time() - NOW).collect();
    assert_eq!(seconds, [0, 1, 2, 10]);
    let newer = |event: &Event| matches!(event, Event::NewerRelease { .. });
    assert_eq!(events.count(newer), 0, "{:?}", events.all());
    // A release that is not there: those that are, are named.
    let wanted = ReleaseRef::Id(ids[0].next_second().unwrap());
    assert_eq!(
        release(&store, "shop", "production", &wanted).await.unwrap().id,
        ids[1]
    );
    let missing = ReleaseRef::Id(ReleaseId::new(NOW, &"e".repeat(40)).unwrap());
    let error = release(&store, "shop", "production", &missing).await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(
        hint.contains(ids[3].as_str()) && !hint.contains(other.as_str()),
        "{hint}"
    );
    let error = release(&store, "shop", "nowhere", &missing).await.unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("publish one first"));
}

/// An event sink that calls `cut` when so many objects are in the store, before the next one is begun.
fn after(objects: usize, cut: impl Fn() + Send + Sync + 'static) -> OnEvent {
    let seen = AtomicUsize::new(0);
    OnEvent::new(move |event| {
        if matches!(event, Event::Stored { .. }) && seen.fetch_add(1, Ordering::SeqCst) + 1 == objects {
            cut();
        }
    })
}

async fn check_cut(store: &Store, artifact: &Artifact, what: &str) {
    assert_eq!(check_all(store).await, 0, "{what}");
    let again = go(store, artifact, NOW + 1).await.unwrap();
    assert!(
        again.sent < artifact.record.size && again.skipped >= artifact.record.size,
        "{again:?}"
    );
    assert_eq!(check_all(store).await, 1, "{what}");
}

// The artifact, two indexes, the record, two manifests: then comes release.json.
const BEFORE_THE_RELEASE: std::ops::RangeInclusive<usize> = 1..=6;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_publish_whose_server_goes_away_anywhere_leaves_no_release_and_can_be_run_again() {
    let scratch = Tmp::new("store");
    let artifact = artifact(scratch.path(), &super::conformance::bytes(6 << 20, 4), "9");
    for objects in BEFORE_THE_RELEASE {
        let bench = Arc::new(Bench::start());
        let proxy = bench.clone();
        let on_event = after(objects, move || {
            proxy.proxy.inject(Fault::drop_connection().always());
        });
        let url = StoreUrl::parse(&format!("s3://{BUCKET}/team/a b")).unwrap();
        let options = StoreOptions {
            s3: Some(bench.options()),
            on_event,
            ..StoreOptions::default()
        };
        let error = go(&Store::open(&url, options).unwrap(), &artifact, NOW)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
        bench.proxy.heal();
        check_cut(&bench.store().0, &artifact, &format!("{objects} in S3")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_publish_that_is_dropped_anywhere_leaves_no_release_and_can_be_run_again() {
    let scratch = Tmp::new("store");
    let artifact = artifact(scratch.path(), &super::conformance::bytes(1 << 20, 4), "9");
    for objects in BEFORE_THE_RELEASE {
        let (cut, (let_go, held)) = (Arc::new(Notify::new()), mpsc::channel::<()>());
        let (notify, held) = (cut.clone(), Mutex::new(held));
        // The put does not return before the publish is dropped.
        let on_event = after(objects, move || {
            notify.notify_one();
            let _: Result<(), _> = held.lock().unwrap().recv();
        });
        let root = scratch.path().join(format!("store{objects}"));
        let url = StoreUrl::parse(&format!("file://{}", root.display())).unwrap();
        let store = Store::open(
            &url,
            StoreOptions {
                on_event,
                ..StoreOptions::default()
            },
        )
        .unwrap();
        tokio::select! {
            () = cut.notified() => {}
            done = go(&store, &artifact, NOW) => panic!("{done:?}"),
        }
        drop(let_go);
        check_cut(
            &directory(&root).0,
            &artifact,
            &format!("{objects} in a directory"),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn an_upload_that_is_cut_is_run_again() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let artifact = artifact(scratch.path(), &super::conformance::bytes(12 << 20, 4), "9");
    let (store, _) = bench.store();
    bench
        .proxy
        .inject(Fault::cut_request(1_000_000).path("partNumber=2").always());
    let error = go(&store, &artifact, NOW).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(bench.keys().is_empty(), "{:?}", bench.keys());
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
    bench.proxy.heal();
    go(&store, &artifact, NOW).await.unwrap();
    assert_eq!(check_all(&store).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn publishers_at_once_get_ids_of_their_own() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    // Equal artifacts and manifests, and ones that differ: all in one second.
    let same = Arc::new(artifact(&scratch.mkdir("same"), b"code", "9"));
    let other = Arc::new(artifact(&scratch.mkdir("other"), b"other code", "9"));
    for (store, events) in [bench.store(), directory(&scratch.path().join("store"))] {
        let mut running = JoinSet::new();
        for number in 0..6 {
            let (store, artifact) = (
                store.clone(),
                if number % 2 == 0 {
                    same.clone()
                } else {
                    other.clone()
                },
            );
            running.spawn(async move { go(&store, &artifact, NOW).await.unwrap().release.id });
        }
        let ids: BTreeSet<_> = running.join_all().await.into_iter().collect();
        assert_eq!(ids.len(), 6, "{ids:?}");
        assert_eq!(check_all(&store).await, 6);
        assert!(events.count(|event| matches!(event, Event::ReleaseIdTaken { .. })) >= 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn hosts_without_credentials_read_from_the_public_url() {
    let scratch = Tmp::new("store");
    let artifact = artifact(scratch.path(), b"code", "9");
    let url = StoreUrl::parse(&format!("file://{}/store", scratch.path().display())).unwrap();
    let options = StoreOptions {
        public_url: Some("https://cdn.example.com/x/".into()),
        ..StoreOptions::default()
    };
    let store = Store::open(&url, options).unwrap();
    let published = go(&store, &artifact, NOW).await.unwrap();
    assert!(
        published
            .artifact_url
            .starts_with("https://cdn.example.com/x/artifacts/shop/"),
        "{published:?}"
    );
    assert!(
        published.roles[0]
            .1
            .starts_with("https://cdn.example.com/x/releases/shop/"),
        "{published:?}"
    );
    assert_eq!(check_all(&store).await, 1);
}
