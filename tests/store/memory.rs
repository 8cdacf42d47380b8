//! A large upload's memory: measured in a process of its own, for the tests share one.

use std::process::Command;

use shipit_store::{Body, PutOptions, PutOutcome, Store, StoreOptions, StoreUrl};
use shipit_testbed::Tmp;

use super::setup::{BUCKET, Bench, sdk_config};

const SIZE: u64 = 300 << 20;

/// Parts at once times their size is 32 MiB; the rest is the program, its threads and buffers.
const MOST_KIB: u64 = 120 * 1024;

const CHILD: &str = "SHIPIT_TEST_MEMORY_OF";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_large_upload_takes_little_memory() {
    if let Ok(told) = std::env::var(CHILD) {
        return upload(&told).await;
    }
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let path = scratch.path().join("large");
    std::fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    let told = [
        bench.server.endpoint(),
        path.display().to_string(),
        bench.server.access_key().to_owned(),
        bench.server.secret_key().to_owned(),
    ];
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "memory::a_large_upload_takes_little_memory",
            "--include-ignored",
            "--nocapture",
        ])
        .env(CHILD, told.join("\n"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(
        child.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&child.stderr)
    );
    let peak: u64 = text
        .lines()
        .find_map(|line| line.strip_prefix("peak KiB "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(peak < MOST_KIB, "{peak} KiB");
    assert_eq!(
        std::fs::metadata(bench.server.object_path(BUCKET, "large"))
            .unwrap()
            .len(),
        SIZE
    );
}

async fn upload(told: &str) {
    let [endpoint, path, access, secret] = told.split('\n').collect::<Vec<_>>().try_into().unwrap();
    let mut s3 = shipit_store::S3Options::new(sdk_config(access, secret));
    s3.endpoint = Some(endpoint.to_owned());
    let url = StoreUrl::parse(&format!("s3://{BUCKET}")).unwrap();
    let store = Store::open(
        &url,
        StoreOptions {
            s3: Some(s3),
            ..StoreOptions::default()
        },
    )
    .unwrap();
    let put = store
        .put_if_absent("large", Body::File(path.into()), &PutOptions::default())
        .await;
    assert_eq!(put.unwrap(), PutOutcome::Created);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    println!("\npeak KiB {}", peak.trim().trim_end_matches(" kB"));
}
