//! The store against a real S3 server: what every store does, what goes wrong on the way, publishing, reading by URL.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: helpers outside of the test functions, too; one test runs itself again to measure its memory"
)]

#[path = "store/across.rs"]
mod across;
#[path = "store/binary.rs"]
mod binary;
#[path = "store/board.rs"]
mod board;
#[path = "store/claims.rs"]
mod claims;
#[path = "store/conformance.rs"]
mod conformance;
#[path = "store/difference.rs"]
mod difference;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/fetching.rs"]
mod fetching;
#[path = "store/history.rs"]
mod history;
#[path = "store/inputs.rs"]
mod inputs;
#[path = "store/interrupts.rs"]
mod interrupts;
#[path = "store/killed_difference.rs"]
mod killed_difference;
#[path = "store/kills.rs"]
mod kills;
#[path = "store/layered.rs"]
mod layered;
#[path = "store/locks.rs"]
mod locks;
#[path = "store/lost_locks.rs"]
mod lost_locks;
#[path = "store/memory.rs"]
mod memory;
#[path = "store/publish_lock.rs"]
mod publish_lock;
#[path = "store/publishing.rs"]
mod publishing;
#[path = "store/refusals.rs"]
mod refusals;
#[path = "store/setup.rs"]
mod setup;
#[path = "store/sharing.rs"]
mod sharing;
#[path = "store/stretched.rs"]
mod stretched;

use std::num::NonZeroUsize;

use setup::{BUCKET, Bench};
use shipit_store::{Body, PutOptions, Sse, StoreOptions, StoreUrl};
use shipit_testbed::Tmp;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn s3_does_what_every_store_does() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (store, events) = bench.store();
    conformance::run(&store, scratch.path()).await;
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
    assert_eq!(events.retries(), 0, "{:?}", events.all());
    assert_eq!(
        events.count(|event| matches!(event, shipit_store::Event::ChecksumNotVerified { .. })),
        0
    );
    assert_eq!(
        events.count(|event| matches!(event, shipit_store::Event::IfNoneMatchIgnored { .. })),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn the_whole_bucket_one_part_at_a_time_and_copies_in_parts() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let mut options = bench.options();
    options.parallel = NonZeroUsize::MIN;
    options.largest_copy = 6 << 20;
    let options = StoreOptions {
        s3: Some(options),
        ..StoreOptions::default()
    };
    let url = StoreUrl::parse(&format!("s3://{BUCKET}")).unwrap();
    let store = shipit_store::Store::open(&url, options).unwrap();
    conformance::run(&store, scratch.path()).await;
    let copied = bench
        .proxy
        .seen()
        .iter()
        .filter(|seen| {
            seen.method == "PUT"
                && seen
                    .headers
                    .iter()
                    .any(|(name, _)| name == "x-amz-copy-source-range")
        })
        .count();
    assert!(copied >= 4, "{copied}");
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn what_is_sent_carries_checksums_conditions_and_encryption() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    for (sse, wanted) in [
        (Sse::Aes256, vec![("x-amz-server-side-encryption", "AES256")]),
        (
            Sse::Kms {
                key_id: Some("key-1".into()),
            },
            vec![
                ("x-amz-server-side-encryption", "aws:kms"),
                ("x-amz-server-side-encryption-aws-kms-key-id", "key-1"),
            ],
        ),
    ] {
        let mut options = bench.options();
        options.sse = Some(sse);
        let (store, _) = bench.store_with(options);
        bench.proxy.forget();
        // Whether the server encrypts is its own affair; it has to be asked for with each write.
        let (options, number) = (PutOptions::default(), wanted.len());
        drop(
            store
                .put_if_absent(&format!("small{number}"), "x".to_owned().into(), &options)
                .await,
        );
        let path = scratch.write("large", conformance::bytes(6 << 20, number as u64));
        drop(
            store
                .put_if_absent(&format!("large{number}"), Body::File(path), &options)
                .await,
        );
        let seen = bench.proxy.seen();
        let header = |seen: &shipit_testbed::Seen, name: &str| {
            seen.headers
                .iter()
                .find(|(found, _)| found == name)
                .map(|(_, value)| value.clone())
        };
        let begins = |seen: &&shipit_testbed::Seen| {
            (seen.method == "PUT" && !seen.target.contains("partNumber")) || seen.target.contains("uploads")
        };
        let writes: Vec<_> = seen.iter().filter(begins).collect();
        assert!(writes.len() >= 2, "{seen:?}");
        for write in writes {
            for (name, value) in &wanted {
                assert_eq!(header(write, name).as_deref(), Some(*value), "{}", write.target);
            }
        }
        for put in seen.iter().filter(|seen| seen.method == "PUT") {
            let crc = header(put, "x-amz-checksum-crc64nvme");
            assert_eq!(crc.map(|crc| crc.len()), Some(12), "{}", put.target);
            let conditional = header(put, "if-none-match").as_deref() == Some("*");
            assert_eq!(conditional, !put.target.contains("partNumber"), "{}", put.target);
            // Nothing is announced that would come behind the body.
            assert_eq!(header(put, "x-amz-trailer"), None, "{}", put.target);
        }
    }
}
