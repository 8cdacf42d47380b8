//! The binary under the lock of publishing: it waits for who prunes, stops when it loses it, and leaves none behind.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shipit_store::lock::{Holder, LockPlace, PublishLock};
use shipit_store::{Store, layout};
use shipit_testbed::{Fault, Process, Tmp, until};

use super::interrupts::{LONG, project, shipit};
use super::kills::open;
use super::setup::{BUCKET, Bench};

const PUBLISH: [&str; 3] = ["publish", "--stage", "test"];

/// Past the proxy: what delays the binary does not delay the test.
fn store(bench: &Bench) -> Store {
    let url = format!("s3://{BUCKET}/shipit");
    let (access, secret) = (bench.server.access_key(), bench.server.secret_key());
    open(&url, &bench.server.endpoint(), access, secret)
}

fn pruner() -> Holder {
    Holder {
        id: Holder::new_id(),
        who: "ops@admin1".into(),
        build: Some("https://ci.example.com/job/prune/7/".into()),
        pid: None,
        doing: "prune".into(),
        revision: None,
        reason: None,
        time: 1_795_268_715,
        manual: false,
    }
}

/// A publish that is in the middle of its upload.
fn uploading(bench: &Bench, tmp: &Tmp, name: &str) -> Process {
    bench
        .proxy
        .inject(Fault::delay(LONG).path("partNumber=3").always());
    bench.proxy.forget();
    let running = shipit(bench, tmp, &PUBLISH).start("publish", tmp.join(name));
    until("the third part", Duration::from_secs(30), || {
        let seen = bench.proxy.seen();
        seen.iter().any(|seen| seen.target.contains("partNumber=3"))
    });
    running
}

fn keys(bench: &Bench, part: &str) -> usize {
    let keys = bench.server.keys(BUCKET);
    keys.iter().filter(|key| key.contains(part)).count()
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_publish_waits_for_a_prune_and_says_for_whom() {
    let (bench, tmp) = (Bench::start(), Tmp::new("store"));
    let _repo = project(&bench, &tmp);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (store, pruner) = (store(&bench), pruner());
    let take = PublishLock::take(
        &store,
        "shop",
        &pruner,
        Duration::ZERO,
        Arc::new(|_| {}),
        pending(),
    );
    let lock = runtime.block_on(take).unwrap().unwrap();

    let refused = shipit(&bench, &tmp, &PUBLISH)
        .args(["--lock-wait", "0s"])
        .run()
        .exits(8);
    let said = "publishing shop is locked by ops@admin1 since 2026-11-21 13:45:15Z: prune \
                (https://ci.example.com/job/prune/7/)";
    assert!(refused.err().contains(said), "{refused}");
    assert!(refused.err().contains("--lock-wait"), "{refused}");

    let mut running = shipit(&bench, &tmp, &PUBLISH).start("publish", tmp.join("waits.log"));
    running.wait_log(
        Duration::from_secs(20),
        "waiting up to 10m for the lock of publishing shop: ops@admin1",
    );
    std::thread::sleep(Duration::from_secs(2));
    assert!(running.running(), "{}", running.log());
    assert_eq!(keys(&bench, "/artifacts/"), 0, "{:?}", bench.server.keys(BUCKET));
    runtime.block_on(lock.release()).unwrap();
    let status = running.wait(Duration::from_secs(60)).unwrap();
    assert!(status.success(), "{}", running.log());
    assert_eq!(
        running.log().matches("waiting up to").count(),
        1,
        "{}",
        running.log()
    );
    assert_eq!(keys(&bench, "release.json"), 1);
    assert_eq!(keys(&bench, "/locks/"), 0, "it was given back");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_publish_that_loses_its_lock_makes_no_release() {
    let (bench, tmp) = (Bench::start(), Tmp::new("store"));
    let _repo = project(&bench, &tmp);
    let mut running = uploading(&bench, &tmp, "loses.log");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = store(&bench);
    let place = LockPlace::publish(&store, "shop").unwrap();
    let thief = pruner();
    runtime.block_on(async {
        let held = place.held().await.unwrap().unwrap();
        assert!(held.holder.doing.contains("publish to test"), "{held:?}");
        assert!(place.end(&held).await.unwrap());
        assert_eq!(place.set_manual(&thief, None).await.unwrap(), None);
    });
    // At its next renewal it finds out, and does not wait for the upload.
    let status = running.wait(Duration::from_secs(60)).unwrap();
    assert_eq!(status.code(), Some(8), "{}", running.log());
    assert!(
        running.log().contains("ops@admin1 has it now (prune)"),
        "{}",
        running.log()
    );
    assert_eq!(keys(&bench, "/releases/"), 0);
    assert_eq!(bench.server.open_uploads(BUCKET), 0, "{}", running.log());
    let held = runtime.block_on(place.held()).unwrap().unwrap();
    assert_eq!(held.holder, thief, "what is not its own is left alone");
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_publish_that_failed_leaves_no_lock_and_a_killed_one_a_lock_that_frees_itself() {
    let (bench, tmp) = (Bench::start(), Tmp::new("store"));
    let repo = project(&bench, &tmp);
    let denied = "<Error><Code>AccessDenied</Code><Message>no</Message></Error>";
    bench
        .proxy
        .inject(Fault::status(403).body(denied).path("/artifacts/").always());
    let failed = shipit(&bench, &tmp, &PUBLISH).run().exits(5);
    assert!(failed.err().contains("denied"), "{failed}");
    assert_eq!(keys(&bench, "/locks/"), 0, "{failed}");
    bench.proxy.heal();

    let key = layout::publish_lock_key("shop").unwrap();
    let took_over = "took over the lock of publishing shop";
    // On its own machine there is a sign that it was killed; elsewhere (no such sign: another directory) the lock has to run out.
    for (name, limit) in [("here", 100), ("elsewhere", 200)] {
        let mut running = uploading(&bench, &tmp, name);
        let signs = || {
            let names = tmp.path().join("tmp").read_dir().unwrap();
            let is_sign = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("shipit-lock-");
            names
                .filter(|entry| is_sign(&entry.as_ref().unwrap().file_name()))
                .count()
        };
        assert_eq!(signs(), 1);
        running.kill9();
        bench.proxy.heal();
        assert_eq!(keys(&bench, &key), 1);
        let begin = Instant::now();
        let again = shipit(&bench, &tmp, &PUBLISH).timeout(Duration::from_secs(300));
        let again = match name {
            "here" => again.run(),
            _ => again.env("TMPDIR", tmp.mkdir("other")).run(),
        };
        let again = again.ok();
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(limit), "{name}: {took:?}");
        assert!(again.err().contains(took_over), "{again}");
        assert_eq!(
            again.err().contains("waiting up to"),
            name == "elsewhere",
            "{again}"
        );
        assert_eq!(keys(&bench, &key), 0);
        assert_eq!(signs(), usize::from(name == "elsewhere"));
        // Something new to send, for the next one to be killed at.
        repo.write("app", name);
        repo.commit(name);
        let _ = shipit(&bench, &tmp, &["build"]).run().ok();
    }
    assert_eq!(keys(&bench, "release.json"), 2);
}
