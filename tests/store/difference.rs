//! Publishing by difference: what is sent, what is copied inside the store, and what happens when the copying cannot be done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use shipit_artifact::Artifact;
use shipit_store::shared::{KnownLayer, OfferLayers, Offered, offer};
use shipit_store::{Event, Published, Store};
use shipit_testbed::{Fault, Tmp};
use tokio::task::JoinSet;

use super::layered::{PACKAGE, Parts, check_bytes, code_size, overwrite};
use super::publishing::{NOW, check_all, go};
use super::setup::{BUCKET, Bench, Events, directory};

/// What a publish sends beside the artifact: indexes, record, manifests, release.json.
const DOCUMENTS: u64 = 100_000;

/// When the layers were made.
pub const MADE: i64 = 1_700_000_000;

pub async fn offered(store: &Store, artifact: &Artifact) -> Offered {
    let known = KnownLayer {
        packages: Some(12),
        made: MADE,
    };
    let known = BTreeMap::from([("a".repeat(64), known)]);
    let request = OfferLayers {
        store,
        app: "shop",
        artifact,
        known: &known,
        now: MADE,
    };
    offer(request).await.unwrap()
}

fn not_copied(events: &Events) -> Vec<String> {
    let why = |event| match event {
        Event::NotCopied { why, .. } => Some(why),
        _ => None,
    };
    events.all().into_iter().filter_map(why).collect()
}

/// Bytes of the requests' bodies that came by.
fn sent(bench: &Bench) -> u64 {
    let counts = bench.proxy.counts();
    counts.values().map(|count| count.body_bytes).sum()
}

fn copied_parts(bench: &Bench) -> usize {
    let header =
        |seen: &shipit_testbed::Seen| seen.headers.iter().any(|(name, _)| name == "x-amz-copy-source");
    bench.proxy.seen().iter().filter(|seen| header(seen)).count()
}

struct Two {
    bench: Bench,
    _scratch: Tmp,
    first: Artifact,
    second: Artifact,
}

impl Two {
    /// One that is published, and one that is to be.
    async fn start(change: fn(&Parts) -> Parts) -> Self {
        let (bench, scratch) = (Bench::start(), Tmp::new("store"));
        let first = Parts::first().build(&scratch.mkdir("first"));
        let second = change(&Parts::first()).build(&scratch.mkdir("second"));
        let (store, events) = bench.store();
        go(&store, &first, NOW).await.unwrap();
        assert_eq!(not_copied(&events), <[String; 0]>::default());
        bench.proxy.forget();
        Self {
            bench,
            _scratch: scratch,
            first,
            second,
        }
    }

    fn first_key(&self) -> String {
        format!("artifacts/shop/{}.tar.zst", self.first.record.sha256)
    }

    /// Publishes the second one, and compares what is stored then.
    async fn go(&self) -> (Published, Events) {
        let (store, events) = self.bench.store();
        let published = go(&store, &self.second, NOW + 60).await.unwrap();
        check_bytes(&store, &self.second).await;
        assert_eq!(check_all(&store).await, 2);
        assert_eq!(self.bench.server.open_uploads(BUCKET), 0);
        (published, events)
    }

    /// Publishes the second one when copying cannot be done: all of it is sent, and why is said.
    async fn go_plain(&self, why: &str) {
        let (published, events) = self.go().await;
        assert!(published.sent > self.second.record.size, "{published:?}");
        assert_eq!(published.copied, 0);
        let said = not_copied(&events);
        assert!(said.len() == 1 && said[0].contains(why), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn of_one_changed_line_the_code_is_sent() {
    let two = Two::start(Parts::changed_line).await;
    let (published, events) = two.go().await;
    let most = code_size(&two.second) + DOCUMENTS;
    assert!(published.sent <= most, "{published:?} {most}");
    assert!(published.copied > 24 << 20, "{published:?}");
    assert_eq!(not_copied(&events), <[String; 0]>::default());
    assert!(sent(&two.bench) <= most, "{}", sent(&two.bench));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn of_one_bumped_dependency_its_frames_are_sent() {
    let two = Two::start(Parts::bumped).await;
    let (published, events) = two.go().await;
    // A package in the middle: its own bytes, the rest of frames around it, and what a part lacks to 5 MiB.
    let most = code_size(&two.second) + PACKAGE as u64 + (6 << 20) + DOCUMENTS;
    assert!(published.sent <= most, "{published:?} {most}");
    assert!(published.copied > 12 << 20, "{published:?}");
    assert_eq!(not_copied(&events), <[String; 0]>::default());
    assert!(sent(&two.bench) <= most, "{}", sent(&two.bench));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn layers_are_offered_without_being_sent_and_copied_from_when_no_release_is_left() {
    let two = Two::start(Parts::changed_line).await;
    let (store, events) = two.bench.store();
    let done = offered(&store, &two.first).await;
    assert_eq!(done.layers, 1, "{:?}", events.all());
    assert!(done.sent < 2000 && done.copied > 24 << 20, "{done:?}");
    assert!(sent(&two.bench) < 10_000, "{}", sent(&two.bench));
    assert_eq!(offered(&store, &two.first).await, Offered::default());
    for key in two.bench.keys() {
        if key.starts_with("releases/") || key.starts_with("artifacts/") {
            store.delete(&key).await.unwrap();
        }
    }
    two.bench.proxy.forget();
    let (store, events) = two.bench.store();
    let published = go(&store, &two.second, NOW + 60).await.unwrap();
    check_bytes(&store, &two.second).await;
    assert!(
        published.sent <= code_size(&two.second) + DOCUMENTS,
        "{published:?} {:?}",
        events.all()
    );
    // In two parts, for the checksum of a whole object may be one that the server keeps; and once more, compared by etags.
    assert!(copied_parts(&two.bench) <= 4, "{}", copied_parts(&two.bench));
    assert_eq!(not_copied(&events), <[String; 0]>::default());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_layer_that_lies_about_its_digest_is_refused_and_everything_sent() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let first = Parts::first().build(&scratch.mkdir("first"));
    let second = Parts::first().changed_line().build(&scratch.mkdir("second"));
    let (s3, s3_events) = bench.store();
    let (files, file_events) = directory(&scratch.path().join("store"));
    for (store, events) in [(s3, s3_events), (files, file_events)] {
        go(&store, &first, NOW).await.unwrap();
        offered(&store, &first).await;
        let row = &first.record.layers[0];
        let key = format!("layers/shop/{}/{}.frames", "a".repeat(64), row.sha256);
        let mut content = store.get_bytes(&key, 1 << 30).await.unwrap().bytes.to_vec();
        content[1 << 20] ^= 1;
        overwrite(&store, &key, content).await;
        for found in store.list("releases/shop/").await.unwrap() {
            store.delete(&found.key).await.unwrap();
        }
        let published = go(&store, &second, NOW + 60).await.unwrap();
        check_bytes(&store, &second).await;
        assert_eq!(published.copied, 0);
        let said = not_copied(&events);
        assert!(
            said.len() == 1 && said[0].contains("does not hold the bytes"),
            "{said:?}"
        );
        assert_eq!(check_all(&store).await, 1);
    }
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_layer_that_was_damaged_where_it_lies_is_not_copied_from() {
    let two = Two::start(Parts::changed_line).await;
    let (store, _) = two.bench.store();
    offered(&store, &two.first).await;
    for found in store.list("releases/shop/").await.unwrap() {
        store.delete(&found.key).await.unwrap();
    }
    // In the server's own directory: it gives the checksums of what was there before.
    let row = &two.first.record.layers[0];
    let key = format!("layers/shop/{}/{}.frames", "a".repeat(64), row.sha256);
    let path = two.bench.server.object_path(BUCKET, &format!("team/a b/{key}"));
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 3 << 20).unwrap();
    let (store, events) = two.bench.store();
    go(&store, &two.second, NOW + 60).await.unwrap();
    check_bytes(&store, &two.second).await;
    let said = not_copied(&events);
    assert!(
        said.len() == 1 && said[0].contains("does not hold the bytes"),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn other_bytes_under_the_same_key_are_said_and_not_copied_from() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let mut other = Parts::first();
    other.packages[3] += 1;
    let theirs = other.build(&scratch.mkdir("theirs"));
    let ours = Parts::first().build(&scratch.mkdir("ours"));
    let (store, events) = bench.store();
    go(&store, &theirs, NOW).await.unwrap();
    assert_eq!(offered(&store, &theirs).await.layers, 1);
    go(&store, &ours, NOW + 60).await.unwrap();
    check_bytes(&store, &ours).await;
    assert_eq!(offered(&store, &ours).await, Offered::default());
    let differs = |event: &Event| matches!(event, Event::LayerDiffers { layer, .. } if layer == "npm");
    assert_eq!(events.count(differs), 2, "{:?}", events.all());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_server_that_knows_no_copies_of_parts_gets_everything() {
    let two = Two::start(Parts::changed_line).await;
    two.bench
        .proxy
        .inject(Fault::status(501).method("PUT").path("partNumber=1").times(1));
    two.go_plain("501").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_publisher_that_may_not_read_the_source_sends_everything() {
    let two = Two::start(Parts::changed_line).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    two.bench.proxy.inject(
        Fault::status(403)
            .body(denied)
            .method("PUT")
            .path("partNumber=1")
            .times(1),
    );
    two.go_plain("denied").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_source_that_vanishes_or_changes_in_between_is_not_copied_from() {
    for (replaced, why) in [(false, "does not exist"), (true, "changed by somebody else")] {
        let two = Two::start(Parts::changed_line).await;
        let key = two.first_key();
        // While the upload is begun, the source has been looked at and nothing was copied yet.
        let swapped = Arc::new(AtomicBool::new(false));
        let held = Fault::until(&swapped).method("POST").path("?uploads");
        two.bench.proxy.inject(held);
        let swap = async {
            let begun = || {
                let seen = two.bench.proxy.seen();
                seen.iter()
                    .any(|seen| seen.method == "POST" && seen.target.contains("?uploads"))
            };
            while !begun() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let (store, _) = two.bench.store();
            if replaced {
                let mut content = store.get_bytes(&key, 1 << 30).await.unwrap().bytes.to_vec();
                content[0] ^= 1;
                overwrite(&store, &key, content).await;
            } else {
                store.delete(&key).await.unwrap();
            }
            swapped.store(true, Ordering::SeqCst);
        };
        let (store, events) = two.bench.store();
        let (published, ()) = tokio::join!(go(&store, &two.second, NOW + 60), swap);
        let published = published.unwrap();
        check_bytes(&store, &two.second).await;
        assert_eq!(published.copied, 0);
        let said = not_copied(&events);
        assert!(
            said.len() == 1 && said[0].contains(why),
            "{said:?} {:?}",
            events.all()
        );
        assert_eq!(two.bench.server.open_uploads(BUCKET), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn publishers_at_once_copy_the_same_artifact_once() {
    let two = Two::start(Parts::changed_line).await;
    let mut running = JoinSet::new();
    let second = Arc::new(two.second.clone());
    for _ in 0..4 {
        let ((store, _), second) = (two.bench.store(), second.clone());
        running.spawn(async move { go(&store, &second, NOW + 60).await.unwrap() });
    }
    let all = running.join_all().await;
    let ids: std::collections::BTreeSet<_> = all.iter().map(|done| done.release.id.to_string()).collect();
    assert_eq!(ids.len(), 4);
    let (store, _) = two.bench.store();
    check_bytes(&store, &two.second).await;
    assert_eq!(check_all(&store).await, 5);
    assert_eq!(two.bench.server.open_uploads(BUCKET), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_directory_store_copies_within_itself() {
    let scratch = Tmp::new("store");
    let (store, events) = directory(&scratch.path().join("store"));
    let parts = Parts::first();
    let first = parts.build(&scratch.mkdir("first"));
    go(&store, &first, NOW).await.unwrap();
    let mut wanted = code_size(&first);
    for (number, next) in [parts.changed_line(), parts.bumped()].into_iter().enumerate() {
        let artifact = next.build(&scratch.mkdir(format!("next{number}")));
        let done = go(&store, &artifact, NOW + 60).await.unwrap();
        check_bytes(&store, &artifact).await;
        assert!(done.sent <= wanted + DOCUMENTS, "{done:?}");
        assert!(done.copied > 18 << 20, "{done:?}");
        wanted += 6 << 20;
    }
    assert_eq!(check_all(&store).await, 3);
    assert_eq!(not_copied(&events), <[String; 0]>::default());
    let left = std::fs::read_dir(scratch.join("store/.shipit-store.tmp"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_new_stage_copies_from_another_one() {
    let two = Two::start(Parts::changed_line).await;
    let (store, events) = two.bench.store();
    let production = format!("releases/shop/production/{}/", "20261121T134515Z-3074f46");
    for found in store.list(&production).await.unwrap() {
        let bytes = store.get_bytes(&found.key, 1 << 20).await.unwrap().bytes;
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let key = found.key.replace("production", "pr-7");
        overwrite(&store, &key, text.replace("production", "pr-7").into_bytes()).await;
        store.delete(&found.key).await.unwrap();
    }
    let published = go(&store, &two.second, NOW + 60).await.unwrap();
    check_bytes(&store, &two.second).await;
    assert!(published.copied > 24 << 20, "{published:?} {:?}", events.all());
}
