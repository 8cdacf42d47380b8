//! Reading by URL, as hosts do: files, presigned URLs, S3, and what goes wrong on the way.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, Region};
use aws_sdk_s3::presigning::PresigningConfig;
use shipit_store::{
    Body, Download, Error, ErrorKind, Event, FetchRetry, Fetcher, FetcherOptions, PutOptions,
};
use shipit_testbed::{Fault, Tmp};

use super::conformance::bytes;
use super::setup::{BUCKET, Bench, Events};

const SIZE: usize = 3_000_000;

const RETRY: FetchRetry = FetchRetry {
    count: 3,
    wait: Duration::from_millis(20),
};

/// A client of the server itself, for what a store does not do.
pub fn client(bench: &Bench) -> Client {
    let config = Builder::from(&bench.sdk_config())
        .region(Region::new(bench.server.region()))
        .endpoint_url(bench.proxy.url())
        .force_path_style(true);
    Client::from_conf(config.build())
}

fn fetcher(bench: &Bench) -> (Fetcher, Events) {
    let events = Events::default();
    let options = FetcherOptions {
        s3: Some(bench.options().into()),
        read_timeout: Duration::from_secs(2),
        on_event: events.sink(),
        ..FetcherOptions::default()
    };
    (Fetcher::new(options), events)
}

/// An object in the bucket, and a URL that anybody may read it by.
async fn presigned(bench: &Bench) -> (Vec<u8>, String) {
    let data = bytes(SIZE, 9);
    let (store, _) = bench.store();
    store
        .put_if_absent("x/data", data.clone().into(), &PutOptions::default())
        .await
        .unwrap();
    let for_a_minute = PresigningConfig::expires_in(Duration::from_secs(60)).unwrap();
    let get = client(bench).get_object().bucket(BUCKET).key("team/a b/x/data");
    let url = get.presigned(for_a_minute).await.unwrap().uri().to_owned();
    assert!(url.contains("X-Amz-Signature"), "{url}");
    bench.proxy.forget();
    (data, url)
}

async fn all(download: Result<Download, Error>) -> Vec<u8> {
    download.unwrap().into_bytes(1 << 30).await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_presigned_url_is_read_whole_and_in_ranges() {
    let bench = Bench::start();
    let (data, url) = presigned(&bench).await;
    let (fetcher, _) = fetcher(&bench);
    let whole = fetcher.open(&url, None).await.unwrap();
    assert_eq!(
        (whole.len(), whole.total()),
        (Some(SIZE as u64), Some(SIZE as u64))
    );
    assert!(all(Ok(whole)).await == data);
    for (range, wanted) in [
        (0..10, &data[..10]),
        (1_000_000..1_500_000, &data[1_000_000..1_500_000]),
        (2_999_990..u64::MAX, &data[2_999_990..]),
    ] {
        let part = fetcher.open(&url, Some(range)).await.unwrap();
        assert_eq!(part.total(), Some(SIZE as u64));
        assert!(all(Ok(part)).await == wanted);
    }
    let beyond = fetcher.open(&url, Some(SIZE as u64..u64::MAX)).await.unwrap_err();
    assert!(matches!(beyond, Error::OutOfRange { .. }), "{beyond:?}");
    let agent = bench.proxy.seen()[0]
        .headers
        .iter()
        .find(|(name, _)| name == "user-agent")
        .unwrap()
        .1
        .clone();
    assert!(agent.starts_with("shipit/"), "{agent}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_download_that_is_cut_goes_on_where_it_was() {
    let bench = Bench::start();
    let (data, url) = presigned(&bench).await;
    for url in [url, format!("s3://{BUCKET}/team/a%20b/x/data")] {
        let (fetcher, events) = fetcher(&bench);
        bench.proxy.forget();
        bench
            .proxy
            .inject(Fault::cut_response(1_000_000).method("GET").times(2));
        assert!(
            all(fetcher.open_with_retry(&url, None, RETRY).await).await == data,
            "{url}"
        );
        assert_eq!(events.retries(), 2, "{:?}", events.all());
        // Nothing much is read twice.
        let read = bench.proxy.count("GET").response_bytes;
        assert!(read < SIZE as u64 + 300_000, "{read}");
        // In a range too.
        bench
            .proxy
            .inject(Fault::cut_response(100_000).method("GET").times(1));
        let part = all(fetcher
            .open_with_retry(&url, Some(500_000..1_000_000), RETRY)
            .await)
        .await;
        assert!(part == data[500_000..1_000_000]);
        // Without retries a cut is an error, and never a short body.
        bench
            .proxy
            .inject(Fault::cut_response(1_000_000).method("GET").times(1));
        let error = fetcher
            .open(&url, None)
            .await
            .unwrap()
            .into_bytes(1 << 30)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
        bench.proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn an_object_that_changes_while_it_is_read_is_an_error() {
    let bench = Bench::start();
    let (_, url) = presigned(&bench).await;
    let (fetcher, _) = fetcher(&bench);
    bench
        .proxy
        .inject(Fault::cut_response(1_000_000).method("GET").times(1));
    let mut download = fetcher.open_with_retry(&url, None, RETRY).await.unwrap();
    download.chunk().await.unwrap();
    let put = client(&bench).put_object().bucket(BUCKET).key("team/a b/x/data");
    put.body(bytes(SIZE, 10).into()).send().await.unwrap();
    let error = download.into_bytes(1 << 30).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.to_string().contains("changed"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn statuses_are_errors_and_those_that_may_pass_are_tried_again() {
    let bench = Bench::start();
    let (data, url) = presigned(&bench).await;
    let (fetcher, events) = fetcher(&bench);
    for status in [500, 503, 429, 502] {
        bench.proxy.inject(Fault::status(status).method("GET").times(2));
        assert!(all(fetcher.open_with_retry(&url, None, RETRY).await).await == data);
    }
    assert_eq!(events.retries(), 8);
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (403, ErrorKind::Denied),
        (400, ErrorKind::Server),
        (204, ErrorKind::Server),
    ] {
        bench.proxy.inject(Fault::status(status).method("GET").times(1));
        let error = fetcher.open_with_retry(&url, None, RETRY).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
    }
    assert_eq!(events.retries(), 8, "what does not pass is not tried again");
    bench.proxy.inject(Fault::status(500).method("GET").always());
    let error = fetcher.open_with_retry(&url, None, RETRY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    bench.proxy.heal();
    bench
        .proxy
        .inject(Fault::restate(206, 200).method("GET").times(1));
    let error = fetcher.open(&url, Some(0..10)).await.unwrap_err();
    assert!(error.to_string().contains("ranges"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_signature_is_never_shown() {
    let bench = Bench::start();
    let (_, url) = presigned(&bench).await;
    let (fetcher, events) = fetcher(&bench);
    let mut texts = Vec::new();
    for fault in [
        Fault::status(403),
        Fault::status(500),
        Fault::drop_connection(),
        Fault::cut_response(10),
    ] {
        bench.proxy.inject(fault.method("GET").always());
        let error = match fetcher.open_with_retry(&url, None, RETRY).await {
            Err(error) => error,
            Ok(download) => download.into_bytes(1 << 30).await.unwrap_err(),
        };
        texts.push(format!("{error} {error:?} {:?}", error.hint()));
        bench.proxy.heal();
    }
    texts.extend(events.all().iter().map(|event| format!("{event:?}")));
    for text in texts {
        assert!(!text.contains("X-Amz"), "{text}");
        assert!(!text.contains(bench.server.access_key()), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_server_that_stops_sending_is_given_up() {
    let bench = Bench::start();
    let (data, url) = presigned(&bench).await;
    let (fetcher, events) = fetcher(&bench);
    bench
        .proxy
        .inject(Fault::delay(Duration::from_secs(5)).method("GET").times(1));
    assert!(all(fetcher.open_with_retry(&url, None, RETRY).await).await == data);
    assert!(
        matches!(&events.all()[0], Event::Retry { reason, .. } if reason.contains("for 2 s")),
        "{:?}",
        events.all()
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn files_and_other_schemes() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let (fetcher, _) = fetcher(&bench);
    let data = bytes(SIZE, 3);
    let path = scratch.write("a b+é", &data);
    let (store, _) = super::setup::directory(scratch.path());
    let url = store.url_of("a b+é");
    assert!(
        all(fetcher.open(&url, None).await).await == data,
        "{}",
        path.display()
    );
    assert!(all(fetcher.open(&url, Some(10..20)).await).await == data[10..20]);
    let missing = fetcher.open(&store.url_of("none"), None).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing:?}");
    for (url, part) in [
        ("gs://bucket/key", "Google"),
        ("ftp://host/x", "ftp"),
        ("/etc/passwd", "no scheme"),
        ("file://host/x", "three/slashes"),
        ("file:///a/../etc", "`..`"),
        ("s3://user:geheim@bucket/key", "credentials"),
    ] {
        let error = fetcher.open(url, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error:?}");
        assert!(
            error.to_string().contains(part) && !error.to_string().contains("geheim"),
            "{error}"
        );
    }
    let without = Fetcher::new(FetcherOptions::default());
    assert_eq!(
        without.open("s3://bucket/key", None).await.unwrap_err().kind(),
        ErrorKind::Usage
    );
    let (store, _) = bench.store();
    store
        .put_if_absent("one", Body::from("1".to_owned()), &PutOptions::default())
        .await
        .unwrap();
    assert_eq!(all(fetcher.open(&store.url_of("one"), None).await).await, b"1");
}
