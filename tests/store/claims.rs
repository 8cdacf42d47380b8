//! Writing by difference, on both kinds of store: what is stored is the body, whatever is claimed to be in the store already.

use std::path::{Path, PathBuf};

use shipit_store::{Body, Error, ErrorKind, Event, Held, Put, PutOptions, PutOutcome, Store};
use shipit_testbed::Tmp;

use super::conformance::bytes;
use super::setup::{BUCKET, Bench, Events, directory};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 24 * MIB + 321;

struct Case<'a> {
    store: &'a Store,
    events: &'a Events,
    path: PathBuf,
    content: Vec<u8>,
}

fn held(key: &str, from: u64, at: std::ops::Range<u64>) -> Held {
    Held {
        key: key.to_owned(),
        from,
        at,
    }
}

impl Case<'_> {
    fn options(&self) -> PutOptions {
        PutOptions {
            sha256: Some(shipit_artifact::sha256(&self.content).to_string()),
            ..PutOptions::default()
        }
    }

    async fn put(&self, key: &str, held: &[Held]) -> Result<Put, Error> {
        let body = Body::File(self.path.clone());
        self.store
            .put_by_difference(key, body, held, &self.options())
            .await
    }

    /// Writes it, reads it back, and gives how many bytes were copied.
    async fn copied(&self, key: &str, held: &[Held]) -> u64 {
        let put = self.put(key, held).await.unwrap();
        assert_eq!(put.outcome, PutOutcome::Created, "{key}");
        assert!(put.sent + put.copied >= SIZE, "{key}: {put:?}");
        let stored = self.store.get_bytes(key, 1 << 30).await.unwrap().bytes;
        assert!(stored == self.content, "{key}");
        put.copied
    }

    fn not_copied(&self) -> usize {
        self.events
            .count(|event| matches!(event, Event::NotCopied { .. }))
    }

    async fn run(&self) {
        // The same bytes five bytes later in another object, and all of them in a third.
        let shifted = [b"five!".as_slice(), &self.content].concat();
        let options = PutOptions::default();
        for (key, content) in [("held/shifted", shifted), ("held/same", self.content.clone())] {
            self.store
                .put_if_absent(key, content.into(), &options)
                .await
                .unwrap();
        }
        let some = [held("held/shifted", 5, 0..20 * MIB)];
        assert_eq!(self.copied("new/some", &some).await, 20 * MIB);
        let all = [held("held/same", 0, 0..SIZE)];
        assert_eq!(self.copied("new/all", &all).await, SIZE);
        let two = [
            held("held/same", 12 * MIB, 12 * MIB..SIZE),
            held("held/shifted", 5, 0..12 * MIB),
            held("held/gone", 0, 0..SIZE),
        ];
        assert!(self.copied("new/two", &two).await >= 12 * MIB - 321);
        assert_eq!(self.copied("new/none", &[]).await, 0);
        self.lies().await;
        self.what_is_there(&all).await;
    }

    async fn lies(&self) {
        let before = self.not_copied();
        let shifted_too_far = [held("held/shifted", 6, 0..20 * MIB)];
        assert_eq!(self.copied("new/shifted", &shifted_too_far).await, 0);
        let partly = [
            held("held/same", 0, 0..10 * MIB),
            held("held/shifted", 0, 10 * MIB..20 * MIB),
        ];
        assert_eq!(self.copied("new/partly", &partly).await, 0);
        assert_eq!(self.not_copied(), before + 2, "{:?}", self.events.all());
        let beyond = [held("held/same", 5 * MIB, 0..22 * MIB)];
        assert_eq!(self.copied("new/beyond", &beyond).await, 0);
    }

    async fn what_is_there(&self, all: &[Held]) {
        let again = self.put("new/all", all).await.unwrap();
        let wanted = Put {
            outcome: PutOutcome::AlreadyEqual,
            sent: 0,
            copied: 0,
        };
        assert_eq!(again, wanted);
        let options = PutOptions::default();
        let other = bytes(SIZE as usize, 9);
        self.store
            .put_if_absent("new/other", other.into(), &options)
            .await
            .unwrap();
        let error = self.put("new/other", all).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Different, "{error:?}");
        // A local file that is not the one that its name says.
        let options = PutOptions {
            sha256: Some("0".repeat(64)),
            ..PutOptions::default()
        };
        let body = Body::File(self.path.clone());
        let damaged = self
            .store
            .put_by_difference("new/damaged", body, all, &options)
            .await;
        assert!(matches!(damaged, Err(Error::DamagedFile { .. })), "{damaged:?}");
        assert_eq!(self.store.head("new/damaged").await.unwrap(), None);
    }
}

async fn run((store, events): &(Store, Events), scratch: &Path) {
    let content = bytes(SIZE as usize, 3);
    let path = scratch.join("body");
    std::fs::write(&path, &content).unwrap();
    let case = Case {
        store,
        events,
        path,
        content,
    };
    case.run().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn what_is_claimed_never_gets_into_what_is_stored() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    run(&bench.store(), scratch.path()).await;
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
    run(&directory(&scratch.path().join("store")), scratch.path()).await;
}
