//! Publishes that are killed with KILL, and a disk that is full: in a process of its own, for nothing of it may clean up.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use shipit_store::{ErrorKind, Event, S3Options, Store, StoreOptions, StoreUrl};
use shipit_testbed::{Tmp, Tmpfs};

use super::publishing::{NOW, check_all, go};
use super::setup::{Bench, artifact, directory, sdk_config};

const CHILD: &str = "SHIPIT_TEST_KILLED_PUBLISH_OF";

/// A store in the bucket's root, or in a directory.
pub fn open(url: &str, endpoint: &str, access: &str, secret: &str) -> Store {
    let mut s3 = S3Options::new(sdk_config(access, secret));
    s3.endpoint = Some(endpoint.to_owned());
    s3.part_size = 5 << 20;
    let options = StoreOptions {
        s3: Some(s3),
        ..StoreOptions::default()
    };
    Store::open(&StoreUrl::parse(url).unwrap(), options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_publish_that_is_killed_at_any_point_leaves_no_half_release() {
    if let Ok(told) = std::env::var(CHILD) {
        let [url, endpoint, access, secret, dir] = told.split('\n').collect::<Vec<_>>().try_into().unwrap();
        let artifact = artifact(Path::new(dir), &super::conformance::bytes(12 << 20, 4), "9");
        println!("ready");
        go(&open(url, endpoint, access, secret), &artifact, NOW)
            .await
            .unwrap();
        return;
    }
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let endpoint = bench.server.endpoint();
    let (access, secret) = (bench.server.access_key(), bench.server.secret_key());
    let on_disk = artifact(scratch.path(), &super::conformance::bytes(12 << 20, 4), "9");
    for (number, wait) in [0, 15, 40, 70, 110, 160, 220].into_iter().enumerate() {
        for kind in ["s3", "directory"] {
            let name = format!("kill{number}");
            let url = match kind {
                "s3" => {
                    bench.server.create_bucket(&name);
                    format!("s3://{name}")
                }
                _ => format!("file://{}/{name}", scratch.path().display()),
            };
            let dir = scratch.path().display().to_string();
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "kills::a_publish_that_is_killed_at_any_point_leaves_no_half_release",
                ])
                .args(["--include-ignored", "--nocapture"])
                .env(CHILD, [&url, &endpoint, access, secret, &dir].join("\n"))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            wait_ready(&mut child);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            let store = open(&url, &endpoint, access, secret);
            let before = check_all(&store).await;
            let again = go(&store, &on_disk, NOW + 1).await.unwrap();
            assert!(before <= 1, "{url}: {before}");
            // The killed one's last request may be served after its end.
            let after = check_all(&store).await;
            assert!(after > before && after <= 2, "{url}: {before} {after} {again:?}");
        }
    }
}

/// The artifact is there by then: what is killed is the publish.
pub fn wait_ready(child: &mut std::process::Child) {
    use std::io::{BufRead, BufReader};
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("ready")));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let (disk, scratch) = (Tmpfs::mount(4 << 20), Tmp::new("store"));
    let artifact = artifact(scratch.path(), &super::conformance::bytes(3 << 20, 4), "9");
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 2 << 20]).unwrap();
    let root = disk.path().join("store");
    let (store, events) = directory(&root);
    let error = go(&store, &artifact, NOW).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Local, "{error:?}");
    assert!(error.to_string().contains("artifacts/shop"), "{error}");
    assert!(error.hint().unwrap().contains("make room"), "{error:?}");
    assert_eq!(events.count(|event| matches!(event, Event::Stored { .. })), 0);
    assert!(store.list("").await.unwrap().is_empty());
    assert_eq!(
        std::fs::read_dir(root.join(".shipit-store.tmp")).unwrap().count(),
        0
    );
    std::fs::remove_file(filler).unwrap();
    go(&store, &artifact, NOW).await.unwrap();
    assert_eq!(check_all(&store).await, 1);
}
