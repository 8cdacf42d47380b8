//! Publishes by difference that are killed with KILL: nothing is left that a reader takes for an artifact and that is none.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use shipit_artifact::Artifact;
use shipit_store::Store;
use shipit_testbed::Tmp;

use super::kills::{open, wait_ready};
use super::layered::{Parts, check_bytes};
use super::publishing::{NOW, check_all, go};
use super::setup::Bench;

const CHILD: &str = "SHIPIT_TEST_KILLED_DIFFERENCE_OF";
const NAME: &str = "killed_difference::a_publish_by_difference_that_is_killed_leaves_whole_objects_alone";

/// An artifact that is there has the right bytes.
async fn check_there(store: &Store, artifact: &Artifact) {
    let key = format!("artifacts/shop/{}.tar.zst", artifact.record.sha256);
    if store.head(&key).await.unwrap().is_some() {
        check_bytes(store, artifact).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_publish_by_difference_that_is_killed_leaves_whole_objects_alone() {
    if let Ok(told) = std::env::var(CHILD) {
        let [url, endpoint, access, secret, dir, sha256] =
            told.split('\n').collect::<Vec<_>>().try_into().unwrap();
        let artifact = Artifact::open(&Path::new(dir).join("artifacts"), sha256).unwrap();
        println!("ready");
        go(&open(url, endpoint, access, secret), &artifact, NOW + 60)
            .await
            .unwrap();
        return;
    }
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let endpoint = bench.server.endpoint();
    let (access, secret) = (bench.server.access_key(), bench.server.secret_key());
    let first = Parts::first().build(&scratch.mkdir("first"));
    let second = Parts::first().bumped().build(&scratch.mkdir("second"));
    let dir = scratch.join("second").display().to_string();
    for (number, wait) in [0, 20, 50, 90, 140, 200, 300].into_iter().enumerate() {
        for kind in ["s3", "directory"] {
            let name = format!("kill{number}");
            let url = match kind {
                "s3" => {
                    bench.server.create_bucket(&name);
                    format!("s3://{name}")
                }
                _ => format!("file://{}/{name}", scratch.path().display()),
            };
            let store = open(&url, &endpoint, access, secret);
            go(&store, &first, NOW).await.unwrap();
            let told = [&url, &endpoint, access, secret, &dir, &second.record.sha256].join("\n");
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", NAME, "--include-ignored", "--nocapture"])
                .env(CHILD, told)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            wait_ready(&mut child);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            check_there(&store, &second).await;
            let before = check_all(&store).await;
            assert!((1..=2).contains(&before), "{url}: {before}");
            go(&store, &second, NOW + 120).await.unwrap();
            check_bytes(&store, &second).await;
            let after = check_all(&store).await;
            assert!(after > before && after <= 3, "{url}: {before} {after}");
        }
    }
}
