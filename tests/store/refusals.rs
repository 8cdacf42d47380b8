//! What a server refuses: each with an error that says what was being done, to what, why, and what to do.

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_s3::config::{ProvideCredentials, SharedCredentialsProvider};
use shipit_store::{Error, ErrorKind, PutOptions, Store, StoreOptions, StoreUrl};
use shipit_testbed::{Fault, FaultProxy};

use super::setup::{Bench, sdk_config};

/// A chain that finds nothing, as AWS's does on a machine without credentials.
#[derive(Debug)]
struct NoCredentials;

impl ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded(
            "no providers in chain provided credentials",
        )))
    }
}

async fn put(store: &Store) -> Error {
    store
        .put_if_absent("a/b", "x".to_owned().into(), &PutOptions::default())
        .await
        .unwrap_err()
}

fn told(error: &Error, kind: ErrorKind, parts: &[&str]) {
    assert_eq!(error.kind(), kind, "{error:?}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} in {error}");
    }
    assert!(error.hint().is_some_and(|hint| !hint.is_empty()), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_wrong_bucket_is_named() {
    let bench = Bench::start();
    let options = StoreOptions {
        s3: Some(bench.options()),
        ..StoreOptions::default()
    };
    let url = StoreUrl::parse("s3://no-such-bucket/p").unwrap();
    let store = Store::open(&url, options).unwrap();
    told(
        &put(&store).await,
        ErrorKind::NoBucket,
        &["no-such-bucket", &bench.proxy.url()],
    );
    told(
        &store.list("").await.unwrap_err(),
        ErrorKind::NoBucket,
        &["no-such-bucket"],
    );
    told(
        &store.get("a", None).await.unwrap_err(),
        ErrorKind::NoBucket,
        &["no-such-bucket"],
    );
    told(
        &store.sweep(0).await.unwrap_err(),
        ErrorKind::NoBucket,
        &["no-such-bucket"],
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn wrong_credentials_are_told_from_missing_ones_and_never_shown() {
    let bench = Bench::start();
    let mut options = bench.options();
    options.sdk_config = sdk_config("NOBODY", "geheim");
    let (store, events) = bench.store_with(options);
    let error = put(&store).await;
    told(&error, ErrorKind::Credentials, &["XAdminUserNotFound", "a/b"]);
    assert!(store.list("").await.unwrap_err().kind() == ErrorKind::Credentials);
    assert!(!format!("{error:?}").contains("geheim"));
    // It will not pass.
    assert_eq!(events.retries(), 0);
    // AWS's own code for it, and one of its other ones.
    for code in ["InvalidAccessKeyId", "ExpiredToken"] {
        let body = format!("<Error><Code>{code}</Code><Message>x</Message></Error>");
        bench
            .proxy
            .inject(Fault::status(403).body(body).method("PUT").times(1));
        told(&put(&bench.store().0).await, ErrorKind::Credentials, &[code]);
    }

    let mut options = bench.options();
    options.sdk_config = sdk_config(bench.server.access_key(), "geheim");
    let error = put(&bench.store_with(options).0).await;
    told(&error, ErrorKind::Credentials, &["SignatureDoesNotMatch"]);
    assert!(!format!("{error:?}").contains("geheim"));

    let mut options = bench.options();
    let none = SharedCredentialsProvider::new(NoCredentials);
    options.sdk_config = aws_config::SdkConfig::builder()
        .credentials_provider(none)
        .build();
    let error = put(&bench.store_with(options).0).await;
    told(&error, ErrorKind::Credentials, &["no AWS credentials", "a/b"]);
    // `other: the credential provider was not enabled` says nothing more.
    assert!(std::error::Error::source(&error).is_none(), "{error:?}");
    assert!(error.hint().unwrap().contains("AWS_ACCESS_KEY_ID"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_wrong_region_is_named_with_the_right_one() {
    let bench = Bench::start();
    let mut options = bench.options();
    options.region = Some("eu-west-9".into());
    told(
        &put(&bench.store_with(options).0).await,
        ErrorKind::Setup,
        &["eu-west-9", "shop-deploy"],
    );

    // As AWS answers: without a body to a HEAD, with the region in a header.
    for status in [301, 400] {
        let proxy = FaultProxy::start(bench.server.addr());
        proxy.inject(
            Fault::status(status)
                .header("x-amz-bucket-region", "ap-northeast-1")
                .always(),
        );
        let mut options = bench.options();
        options.endpoint = Some(proxy.url());
        let error = put(&bench.store_with(options).0).await;
        told(&error, ErrorKind::Setup, &["ap-northeast-1", "us-east-1"]);
        assert!(error.hint().unwrap().contains("ap-northeast-1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_denial_names_the_action_and_the_object() {
    let bench = Bench::start();
    let denied = "<Error><Code>AccessDenied</Code><Message>not for you</Message></Error>";
    let (store, _) = bench.store();
    bench
        .proxy
        .inject(Fault::status(403).body(denied).method("PUT").always());
    let error = put(&store).await;
    told(
        &error,
        ErrorKind::Denied,
        &["s3:PutObject", "s3://shop-deploy/team/a%20b/a/b", "not for you"],
    );
    assert!(error.hint().unwrap().contains("s3:PutObject"));
    bench.proxy.heal();
    // A HEAD that is denied has no body: the reason is asked for.
    bench.proxy.inject(Fault::status(403).method("HEAD").always());
    bench
        .proxy
        .inject(Fault::status(403).body(denied).method("GET").always());
    told(
        &store.head("a/b").await.unwrap_err(),
        ErrorKind::Denied,
        &["s3:GetObject", "not for you"],
    );
    // What a sweep may not see is said, and no reason to stop.
    store.sweep(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_clock_that_is_off_is_told() {
    let bench = Bench::start();
    let skewed = "<Error><Code>RequestTimeTooSkewed</Code><Message>x</Message></Error>";
    bench
        .proxy
        .inject(Fault::status(403).body(skewed).method("PUT").always());
    told(&put(&bench.store().0).await, ErrorKind::Setup, &["clock", "a/b"]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_server_that_is_gone_is_unreachable_after_some_attempts() {
    let bench = Bench::start();
    let (store, events) = bench.store();
    bench.server.stop();
    told(&put(&store).await, ErrorKind::Unreachable, &["a/b"]);
    assert_eq!(events.retries(), 3);
    let mut options = bench.options();
    // Nothing listens on the discard port.
    options.endpoint = Some("http://127.0.0.1:9".into());
    told(
        &put(&bench.store_with(options).0).await,
        ErrorKind::Unreachable,
        &["4 attempts"],
    );
}
