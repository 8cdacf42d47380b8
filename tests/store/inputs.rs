//! What is not published: records that do not hold, manifests that are not right, local files that are damaged.

use shipit_store::{
    BoxError, ErrorKind, Event, PublishInput, RenderContext, RolePlan, layout, publish, releases,
};
use shipit_testbed::Tmp;

use super::publishing::{NOW, check_all, go, manifest};
use super::setup::{BUCKET, Bench, artifact};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_stored_record_is_bound_when_it_holds_and_refused_when_it_does_not() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let first = artifact(&scratch.mkdir("a"), b"code", "9");
    let second = artifact(&scratch.mkdir("b"), b"code", "10");
    assert_eq!(first.record.sha256, second.record.sha256);
    assert_ne!(first.record_sha256, second.record_sha256);
    let (store, events) = bench.store();
    go(&store, &first, NOW).await.unwrap();
    let published = go(&store, &second, NOW + 1).await.unwrap();
    assert_eq!(published.release.artifact.record_sha256, first.record_sha256);
    assert_eq!(
        events.count(|event| matches!(event, Event::StoredRecordBound { .. })),
        1
    );
    assert_eq!(check_all(&store).await, 2);

    // A forged record that names another index, and one of something else.
    let key = layout::record_key("shop", &first.record.sha256).unwrap();
    let client = super::fetching::client(&bench);
    let replace = async |bytes: Vec<u8>| {
        let put = client.put_object().bucket(BUCKET).key(format!("team/a b/{key}"));
        put.body(bytes.into()).send().await.unwrap();
    };
    let forged = async |change: &dyn Fn(&mut shipit_artifact::Record)| {
        let mut record = first.record.clone();
        change(&mut record);
        replace(record.to_bytes().unwrap()).await;
    };
    forged(&|record| record.layers[0].index_sha256 = "0".repeat(64)).await;
    let error = go(&store, &second, NOW + 2).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("index"),
        "{error:?}"
    );
    forged(&|record| record.layers[0].sha256 = "0".repeat(64)).await;
    let error = go(&store, &second, NOW + 2).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("layers"),
        "{error:?}"
    );
    replace(b"{}".to_vec()).await;
    let error = go(&store, &second, NOW + 2).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Corrupt && error.to_string().contains("not a record"),
        "{error:?}"
    );
    // Bytes that are damaged on the server's disk are not even looked at.
    std::fs::write(bench.object_path(&key), "{ }").unwrap();
    let error = go(&store, &second, NOW + 2).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert_eq!(
        releases(&store, "shop", "production", None).await.unwrap().len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn nothing_is_uploaded_before_every_manifest_is_right() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let artifact = artifact(scratch.path(), b"code", "9");
    let (store, _) = bench.store();
    let good = |context: &RenderContext<'_>| manifest("batch", context);
    let fails = |_: &RenderContext<'_>| Err(BoxError::from("the variable `x` is not defined"));
    let wrong_role = |context: &RenderContext<'_>| manifest("db", context);
    let wrong_src =
        |context: &RenderContext<'_>| Ok(manifest("web", context)?.replace("artifacts/", "elsewhere/"));
    let wrong_sum = |context: &RenderContext<'_>| {
        Ok(manifest("web", context)?.replace(context.checksum, &"0".repeat(64)))
    };
    let wrong_record = |context: &RenderContext<'_>| {
        Ok(manifest("web", context)?.replace(context.record_sha256, &"0".repeat(64)))
    };
    let no_yaml = |_: &RenderContext<'_>| Ok("{".to_owned());
    let cases: [(&shipit_store::RenderManifest<'_>, &str); 6] = [
        (&fails, "web"),
        (&wrong_role, "shipit.role"),
        (&wrong_src, "src"),
        (&wrong_sum, "checksum"),
        (&wrong_record, "record_sha256"),
        (&no_yaml, "web"),
    ];
    for (bad, part) in cases {
        let roles = vec![
            RolePlan {
                role: "batch".into(),
                render: &good,
                once: None,
            },
            RolePlan {
                role: "web".into(),
                render: bad,
                once: None,
            },
        ];
        let input = PublishInput {
            store: &store,
            app: "shop",
            stage: "production",
            artifact: &artifact,
            time: NOW,
            who: "jenkins",
            roles,
            shared: true,
            origin: shipit_store::Origin::default(),
            lock: None,
        };
        let error = publish(input).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Manifest, "{error:?}");
        assert!(error.to_string().contains(part), "{error}");
        assert!(bench.keys().is_empty(), "{:?}", bench.keys());
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn local_files_that_are_damaged_are_not_published() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let large = super::conformance::bytes(12 << 20, 4);
    for (number, code) in [&b"code"[..], &large].into_iter().enumerate() {
        let artifact = artifact(&scratch.mkdir(number.to_string()), code, "9");
        let (store, _) = bench.store();
        let whole = std::fs::read(&artifact.path).unwrap();
        let mut damaged = whole.clone();
        damaged[100] ^= 1;
        for (bytes, part) in [(&damaged[..], "SHA-256"), (&whole[1..], "bytes")] {
            std::fs::remove_file(&artifact.path).unwrap();
            std::fs::write(&artifact.path, bytes).unwrap();
            let error = go(&store, &artifact, NOW).await.unwrap_err();
            assert!(
                error.kind() == ErrorKind::Corrupt && error.to_string().contains(part),
                "{error:?}"
            );
            // Publishing again would not help.
            assert_eq!(
                error.hint().as_deref(),
                Some("build it again with `shipit build`")
            );
            assert!(bench.keys().is_empty(), "{:?}", bench.keys());
            assert_eq!(bench.server.open_uploads(BUCKET), 0);
        }
        std::fs::remove_file(&artifact.path).unwrap();
        let error = go(&store, &artifact, NOW).await.unwrap_err().to_string();
        assert!(error.contains("it is gone"), "{error}");
    }
}
