//! From one bucket to another by the server: in one request and in parts, and what is found out on the way.

use shipit_store::promote::{Brought, bring, documents};
use shipit_store::{Error, Release, S3Options, Store, StoreOptions, StoreUrl};
use shipit_testbed::{Fault, Tmp};

use super::conformance::bytes;
use super::publishing::{NOW, go};
use super::setup::{Bench, Events, artifact};

const OTHER: &str = "shop-other";

/// The store that is promoted to.
fn other(bench: &Bench, change: impl FnOnce(&mut S3Options)) -> (Store, Events) {
    bench.server.create_bucket(OTHER);
    let mut s3 = bench.options();
    change(&mut s3);
    let events = Events::default();
    let options = StoreOptions {
        s3: Some(s3),
        on_event: events.sink(),
        ..StoreOptions::default()
    };
    let url = StoreUrl::parse(&format!("s3://{OTHER}/x y")).unwrap();
    (Store::open(&url, options).unwrap(), events)
}

async fn promoted(from: &Store, to: &Store, release: &Release) -> Result<Brought, Error> {
    let dir = Tmp::new("across");
    let mut artifact = documents(from, release, dir.path()).await?;
    bring(from, to, release, &mut artifact).await
}

#[tokio::test]
#[ignore = "needs the testbed; run make test"]
async fn small_and_large_objects_are_copied_by_the_server() {
    let tmp = Tmp::new("across");
    for largest_copy in [5 << 30, 5 << 20] {
        let bench = Bench::start();
        let (from, _) = bench.store();
        let (to, events) = other(&bench, |s3| s3.largest_copy = largest_copy);
        let built = artifact(&tmp.mkdir(format!("{largest_copy}")), &bytes(12 << 20, 7), "9");
        let release = go(&from, &built, NOW).await.unwrap().release;
        bench.proxy.forget();
        assert_eq!(promoted(&from, &to, &release).await.unwrap(), Brought::Copied);
        assert!(bench.proxy.count("PUT").body_bytes < 100_000);
        let there = bench
            .server
            .object(OTHER, &format!("x y/{}", release.artifact.key))
            .unwrap();
        assert!(there == std::fs::read(&built.path).unwrap());
        assert_eq!((events.retries(), bench.server.open_uploads(OTHER)), (0, 0));
        assert_eq!(promoted(&from, &to, &release).await.unwrap(), Brought::There);
        assert_eq!(promoted(&from, &from, &release).await.unwrap(), Brought::There);
    }
}

#[tokio::test]
#[ignore = "needs the testbed; run make test"]
async fn other_bytes_under_the_key_are_neither_taken_nor_overwritten() {
    let (tmp, bench) = (Tmp::new("across"), Bench::start());
    let (from, _) = bench.store();
    let (to, _) = other(&bench, |_| {});
    let built = artifact(tmp.path(), &bytes(6 << 20, 8), "9");
    let release = go(&from, &built, NOW).await.unwrap().release;
    let other = bytes(usize::try_from(release.artifact.size).unwrap(), 9);
    let path = bench
        .server
        .object_path(OTHER, &format!("x y/{}", release.artifact.key));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &other).unwrap();
    let error = promoted(&from, &to, &release).await.unwrap_err();
    assert!(matches!(error, Error::Different { .. }), "{error:?}");
    assert!(std::fs::read(&path).unwrap() == other);
}

#[tokio::test]
#[ignore = "needs the testbed; run make test"]
async fn reading_goes_on_where_it_was_cut() {
    let (tmp, bench) = (Tmp::new("across"), Bench::start());
    let (from, events) = bench.store();
    let built = artifact(tmp.path(), &bytes(6 << 20, 8), "9");
    let release = go(&from, &built, NOW).await.unwrap().release;
    bench
        .proxy
        .inject(Fault::cut_response(2 << 20).method("GET").path(".tar.zst"));
    assert_eq!(promoted(&from, &from, &release).await.unwrap(), Brought::There);
    assert_eq!(events.retries(), 1);
    // An artifact of which somebody has made another one of the same size.
    let path = bench.object_path(&release.artifact.key);
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[5000] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let error = promoted(&from, &from, &release).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}
