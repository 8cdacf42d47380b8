//! Uploads in parts that nobody waits for any more: none stays open on the server, where its parts would be kept and billed.

use std::time::Duration;

use shipit_store::{Body, PutOptions};
use shipit_testbed::{Cmd, Fault, Process, Repo, Signal, Tmp, until};

use super::conformance::bytes;
use super::setup::{BUCKET, Bench};

/// Longer than any test waits: what it delays is under way when the upload is cancelled.
pub const LONG: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn an_upload_that_is_dropped_is_ended_on_the_server() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let file = scratch.write("large", bytes(12 << 20, 5));
    // While the server begins it, while a part is sent, and while it is completed (which may go through).
    let moments = [
        ("POST", "?uploads", Duration::from_millis(300)),
        ("PUT", "partNumber=2", LONG),
        ("POST", "uploadId=", Duration::from_millis(300)),
    ];
    for (number, (method, path, delay)) in moments.into_iter().enumerate() {
        let (store, events) = bench.store();
        bench
            .proxy
            .inject(Fault::delay(delay).method(method).path(path).always());
        bench.proxy.forget();
        let key = format!("large{number}");
        let options = PutOptions::default();
        tokio::select! {
            put = store.put_if_absent(&key, Body::File(file.clone()), &options) => panic!("{put:?}"),
            () = reached(&bench, method, path) => {}
        }
        store.settle().await;
        assert_eq!(bench.server.open_uploads(BUCKET), 0, "{method} {path}");
        assert_eq!(events.retries(), 0, "{:?}", events.all());
        bench.proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn what_cannot_be_ended_is_said_in_time() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let file = scratch.write("large", bytes(12 << 20, 5));
    let (store, events) = bench.store();
    bench
        .proxy
        .inject(Fault::delay(LONG).path("partNumber=2").always());
    bench.proxy.inject(Fault::delay(LONG).method("DELETE").always());
    let options = PutOptions::default();
    tokio::select! {
        put = store.put_if_absent("large", Body::File(file), &options) => panic!("{put:?}"),
        () = reached(&bench, "PUT", "partNumber=2") => {}
    }
    let begin = std::time::Instant::now();
    store.settle().await;
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    // That it is waited for may be said before.
    let mut said = events.all();
    said.retain(|event| !matches!(event, shipit_store::Event::Waiting { .. }));
    assert_eq!(
        said,
        [shipit_store::Event::UploadLeft { uploads: 1 }],
        "an upload that stays is said once"
    );
}

/// Returns when such a request has come to the proxy.
async fn reached(bench: &Bench, method: &str, path: &str) {
    let there = || {
        let seen = bench.proxy.seen();
        seen.iter()
            .any(|seen| seen.method == method && seen.target.contains(path))
    };
    while !there() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A built project whose store is the bench's bucket, seen through its proxy.
pub fn project(bench: &Bench, tmp: &Tmp) -> Repo {
    let repo = Repo::init_at(&tmp.join("shop"));
    repo.write(
        "shipit.toml",
        format!(
            "app = \"shop\"\n[build]\n[[build.step]]\nname = \"make\"\nrun = \"head -c 40000000 /dev/urandom >big\"\n\
             [store]\nurl = \"s3://{BUCKET}/shipit\"\nendpoint = \"{}\"\n[role.web]\ndest = \"/srv/shop\"\n[stage.test]\n",
            bench.proxy.url()
        ),
    );
    repo.commit("one");
    let _ = shipit(bench, tmp, &["build"]).run().ok();
    repo
}

pub fn shipit(bench: &Bench, tmp: &Tmp, args: &[&str]) -> Cmd {
    Cmd::new(env!("CARGO_BIN_EXE_shipit"))
        .args(args)
        .cwd(tmp.join("shop"))
        .env("HOME", tmp.path())
        .env("SHIPIT_CACHE_DIR", tmp.join("cache"))
        .env("TMPDIR", tmp.mkdir("tmp"))
        .envs(bench.server.env())
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_publish_that_is_interrupted_leaves_no_upload_open() {
    let (bench, tmp) = (Bench::start(), Tmp::new("store"));
    let _repo = project(&bench, &tmp);
    let publish = ["publish", "--stage", "test"];
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        bench
            .proxy
            .inject(Fault::delay(LONG).path("partNumber=3").always());
        bench.proxy.forget();
        let mut running: Process =
            shipit(&bench, &tmp, &publish).start("publish", tmp.join(format!("{code}.log")));
        until("the third part", Duration::from_secs(30), || {
            let seen = bench.proxy.seen();
            seen.iter().any(|seen| seen.target.contains("partNumber=3"))
        });
        assert_eq!(bench.server.open_uploads(BUCKET), 1);
        running.signal(signal);
        let status = running.wait(Duration::from_secs(60)).unwrap();
        assert_eq!(status.code(), Some(code), "{}", running.log());
        assert_eq!(bench.server.open_uploads(BUCKET), 0, "{}", running.log());
        // The lock of publishing was given back.
        let locks = |key: &String| key.contains("/locks/");
        assert!(!bench.server.keys(BUCKET).iter().any(locks), "{}", running.log());
        bench.proxy.heal();
    }
    let _ = shipit(&bench, &tmp, &publish).run().ok();
}
