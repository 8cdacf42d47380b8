//! What goes wrong on the way: failing servers, cut connections, lost answers, damaged bytes, servers that ignore conditions.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use shipit_store::{Body, Error, ErrorKind, Event, PutOptions, PutOutcome, Store};
use shipit_testbed::{Fault, Tmp};

use super::conformance::bytes;
use super::setup::{BUCKET, Bench};

const LARGE: usize = 12 << 20;

async fn put(store: &Store, key: &str, text: &str) -> Result<PutOutcome, Error> {
    store
        .put_if_absent(key, text.to_owned().into(), &PutOptions::default())
        .await
}

async fn put_file(store: &Store, key: &str, path: &std::path::Path) -> Result<PutOutcome, Error> {
    store
        .put_if_absent(key, Body::File(path.to_owned()), &PutOptions::default())
        .await
}

fn large(scratch: &Tmp) -> std::path::PathBuf {
    scratch.write("large", bytes(LARGE, 5))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_server_that_fails_and_then_works_is_waited_for() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (store, events) = bench.store();
    bench.proxy.inject(Fault::status(500).method("PUT").times(2));
    bench.proxy.inject(Fault::status(503).method("HEAD").times(1));
    assert_eq!(put(&store, "small", "x").await.unwrap(), PutOutcome::Created);
    assert_eq!(events.retries(), 3, "{:?}", events.all());
    // An answer that is long in coming is waited for, which is said.
    bench
        .proxy
        .inject(Fault::delay(Duration::from_secs(6)).method("HEAD").times(1));
    assert!(store.head("small").await.unwrap().is_some());
    let waits = |event: &&Event| matches!(event, Event::Waiting { doing, .. } if doing.contains("small"));
    assert_eq!(events.all().iter().filter(waits).count(), 1, "{:?}", events.all());
    // What was being done to what, and how often, stands beside the reason.
    for event in events.all() {
        if let Event::Retry { doing, reason, .. } = event {
            assert!(doing.contains("s3://"), "{doing}");
            assert!(
                reason.starts_with("the server answered 50") && !reason.contains("s3://"),
                "{reason}"
            );
        }
    }

    bench
        .proxy
        .inject(Fault::status(500).path("partNumber=2").times(3));
    bench
        .proxy
        .inject(Fault::drop_connection().path("partNumber=1").times(1));
    bench.proxy.inject(Fault::status(503).method("POST").times(2));
    assert_eq!(
        put_file(&store, "large", &large(&scratch)).await.unwrap(),
        PutOutcome::Created
    );
    assert!(store.get_bytes("large", 1 << 30).await.unwrap().bytes == bytes(LARGE, 5));
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_small_object_that_is_cut_is_read_again() {
    let bench = Bench::start();
    let (store, events) = bench.store();
    put(&store, "small", &"x".repeat(10_000)).await.unwrap();
    bench
        .proxy
        .inject(Fault::cut_response(1000).method("GET").times(2));
    assert_eq!(
        store.get_bytes("small", 10_000).await.unwrap().bytes.len(),
        10_000
    );
    assert_eq!(events.retries(), 2);
    bench
        .proxy
        .inject(Fault::cut_response(1000).method("GET").always());
    assert_eq!(
        store.get_bytes("small", 10_000).await.unwrap_err().kind(),
        ErrorKind::Unreachable
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_server_that_keeps_failing_is_an_error_and_the_next_run_works() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (store, _) = bench.store();
    let path = large(&scratch);
    bench
        .proxy
        .inject(Fault::status(500).path("partNumber=3").always());
    let error = put_file(&store, "large", &path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    assert!(
        error.to_string().contains("500") && error.to_string().contains("large"),
        "{error}"
    );
    assert!(bench.keys().is_empty());
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
    bench.proxy.heal();
    assert_eq!(
        put_file(&store, "large", &path).await.unwrap(),
        PutOutcome::Created
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn an_upload_that_is_cut_is_sent_again() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (store, events) = bench.store();
    bench
        .proxy
        .inject(Fault::cut_request(1_000_000).path("partNumber=1").times(2));
    bench
        .proxy
        .inject(Fault::cut_request(3_000_000).path("partNumber=2").times(1));
    assert_eq!(
        put_file(&store, "large", &large(&scratch)).await.unwrap(),
        PutOutcome::Created
    );
    assert!(store.get_bytes("large", 1 << 30).await.unwrap().bytes == bytes(LARGE, 5));
    assert!(events.retries() >= 3, "{:?}", events.all());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn an_answer_that_is_lost_is_no_conflict() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (store, events) = bench.store();
    // The server has done it, and we do not know.
    bench
        .proxy
        .inject(Fault::restate(200, 500).method("PUT").path("small").times(1));
    assert!(put(&store, "small", "x").await.is_ok());
    bench
        .proxy
        .inject(Fault::restate(200, 500).method("POST").path("uploadId").times(1));
    assert!(put_file(&store, "large", &large(&scratch)).await.is_ok());
    assert!(store.get_bytes("large", 1 << 30).await.unwrap().bytes == bytes(LARGE, 5));
    assert_eq!(bench.server.open_uploads(BUCKET), 0);

    bench
        .proxy
        .inject(Fault::restate(200, 500).method("PUT").path("lock").times(1));
    let etag = store.put_if_match("lock", "mine".into(), None).await.unwrap();
    bench
        .proxy
        .inject(Fault::restate(200, 500).method("PUT").path("lock").times(1));
    let etag = store
        .put_if_match("lock", "mine, longer".into(), Some(&etag))
        .await
        .unwrap();
    assert_eq!(store.head("lock").await.unwrap().unwrap().etag, etag);
    assert!(events.retries() >= 4, "{:?}", events.all());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_conflict_of_two_writes_is_tried_again() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (store, events) = bench.store();
    let conflict = "<Error><Code>ConditionalRequestConflict</Code><Message>x</Message></Error>";
    bench
        .proxy
        .inject(Fault::status(409).body(conflict).method("PUT").times(2));
    assert_eq!(put(&store, "small", "x").await.unwrap(), PutOutcome::Created);
    bench.proxy.inject(
        Fault::status(409)
            .body(conflict)
            .method("POST")
            .path("uploadId")
            .times(2),
    );
    assert_eq!(
        put_file(&store, "large", &large(&scratch)).await.unwrap(),
        PutOutcome::Created
    );
    assert_eq!(events.retries(), 4);
    // An upload that the conflict has lost is begun anew.
    let lost = "<Error><Code>NoSuchUpload</Code><Message>x</Message></Error>";
    bench.proxy.inject(
        Fault::status(404)
            .body(lost)
            .method("POST")
            .path("uploadId")
            .times(1),
    );
    assert_eq!(
        put_file(&store, "again", &large(&scratch)).await.unwrap(),
        PutOutcome::Created
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_server_that_ignores_the_condition_is_found_out_once_and_nothing_is_overwritten() {
    let bench = Bench::start();
    let (store, events) = bench.store();
    bench
        .proxy
        .inject(Fault::restate(412, 200).method("PUT").always());
    let said = |events: &super::setup::Events| {
        events.count(|event| matches!(event, Event::IfNoneMatchIgnored { store } if store.contains(BUCKET)))
    };
    assert_eq!(put(&store, "first", "x").await.unwrap(), PutOutcome::Created);
    assert_eq!(said(&events), 1);
    assert_eq!(put(&store, "second", "x").await.unwrap(), PutOutcome::Created);
    assert_eq!(put(&store, "first", "x").await.unwrap(), PutOutcome::AlreadyEqual);
    assert_eq!(
        put(&store, "first", "y").await.unwrap_err().kind(),
        ErrorKind::Different
    );
    assert_eq!(said(&events), 1);
    let puts = bench.proxy.count("PUT").requests;
    assert_eq!(puts, 3, "the first twice, the second once");

    bench.proxy.heal();
    bench.proxy.forget();
    let (store, events) = bench.store();
    put(&store, "third", "x").await.unwrap();
    put(&store, "fourth", "x").await.unwrap();
    assert_eq!(said(&events), 0);
    assert_eq!(bench.proxy.count("PUT").requests, 3);
    assert_eq!(
        bench.proxy.count("HEAD").requests,
        1,
        "a server that is known to refuse is not asked first"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn bytes_that_are_damaged_on_the_way_are_refused_by_the_server() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let damaging = damaging_proxy(bench.server.addr());
    let mut options = bench.options();
    options.endpoint = Some(format!("http://{damaging}"));
    let (store, events) = bench.store_with(options);
    let mark = "DAMAGE-ME".repeat(100);
    let error = put(&store, "small", &mark).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.to_string().contains("BadDigest"), "{error}");
    assert_eq!(events.retries(), 3);
    let mut data = bytes(LARGE, 5);
    data[(6 << 20)..(6 << 20) + 900].copy_from_slice(mark.as_bytes());
    let error = put_file(&store, "large", &scratch.write("marked", &data))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(bench.keys().is_empty());
    assert_eq!(bench.server.open_uploads(BUCKET), 0);
}

/// A relay that changes one letter in what goes to the server. It does not understand HTTP, and need not: the bodies'
/// bytes are not signed.
fn damaging_proxy(upstream: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(upstream) else {
                continue;
            };
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || relay(from, to, true));
            std::thread::spawn(move || relay(server, client, false));
        }
    });
    addr
}

fn relay(mut from: TcpStream, mut to: TcpStream, damage: bool) {
    let mut buffer = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = &mut buffer[..count];
        if damage && let Some(at) = piece.windows(9).position(|window| window == b"DAMAGE-ME") {
            piece[at] = b'd';
        }
        if to.write_all(piece).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Write));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_server_that_does_not_answer_is_given_up_and_tried_again() {
    let bench = Bench::start();
    let mut options = bench.options();
    options.stall_timeout = Duration::from_secs(2);
    let (store, events) = bench.store_with(options);
    bench
        .proxy
        .inject(Fault::delay(Duration::from_secs(60)).method("HEAD").times(1));
    assert_eq!(put(&store, "small", "x").await.unwrap(), PutOutcome::Created);
    let stalled = |event: &Event| matches!(event, Event::Retry { reason, .. } if reason.contains("nothing was received"));
    assert!(events.count(stalled) >= 1, "{:?}", events.all());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn uploads_of_killed_runs_are_aborted_after_a_day_and_only_ours() {
    let bench = Bench::start();
    let (store, events) = bench.store();
    let client = super::fetching::client(&bench);
    for key in ["team/a b/artifacts/shop/x", "team/other/x"] {
        client
            .create_multipart_upload()
            .bucket(BUCKET)
            .key(key)
            .send()
            .await
            .unwrap();
    }
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    store.sweep(now).await.unwrap();
    assert_eq!(bench.server.open_uploads(BUCKET), 2);
    store.sweep(now + 25 * 3600).await.unwrap();
    assert_eq!(bench.server.open_uploads(BUCKET), 1);
    let swept =
        |event: &Event| matches!(event, Event::Swept { what } if what.contains("team/a b/artifacts/shop/x"));
    assert_eq!(events.count(swept), 1, "{:?}", events.all());
}
