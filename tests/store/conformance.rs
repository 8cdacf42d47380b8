//! What every store does, whatever it is made of. Run on a directory and on a real S3 server; the store is empty at first.

use std::path::{Path, PathBuf};

use shipit_store::{Body, Error, ErrorKind, PutOptions, PutOutcome, Store};
use tokio::task::JoinSet;

/// Larger than a part, and no multiple of one.
const LARGE: usize = (21 << 20) + 12_345;

/// Runs all of it. `scratch` is an empty directory for local files.
pub async fn run(store: &Store, scratch: &Path) {
    small_objects_are_written_once(store, scratch).await;
    large_objects_are_written_once(store, scratch).await;
    ranges_are_half_open(store).await;
    what_is_not_there(store).await;
    odd_keys_are_kept_apart(store).await;
    bad_keys_are_refused(store).await;
    long_listings_are_complete(store).await;
    copies(store).await;
    mutable_objects(store).await;
    racing_writers(store).await;
}

/// Bytes that do not repeat at any part's size.
pub fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

fn file(scratch: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = scratch.join(name);
    std::fs::write(&path, content).unwrap();
    path
}

async fn put(store: &Store, key: &str, body: impl Into<Body>) -> Result<PutOutcome, Error> {
    store
        .put_if_absent(key, body.into(), &PutOptions::default())
        .await
}

async fn content(store: &Store, key: &str) -> Vec<u8> {
    store.get_bytes(key, 1 << 30).await.unwrap().bytes.to_vec()
}

fn with_sha256(sha256: String) -> PutOptions {
    PutOptions {
        sha256: Some(sha256),
        ..PutOptions::default()
    }
}

async fn small_objects_are_written_once(store: &Store, scratch: &Path) {
    let key = "once/small";
    assert_eq!(
        put(store, key, "one".to_owned()).await.unwrap(),
        PutOutcome::Created
    );
    assert_eq!(
        put(store, key, "one".to_owned()).await.unwrap(),
        PutOutcome::AlreadyEqual
    );
    for other in ["two", "longer"] {
        let error = put(store, key, other.to_owned()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Different, "{error}");
        assert!(error.to_string().contains("once/small"), "{error}");
    }
    assert_eq!(content(store, key).await, b"one");

    let from_file = Body::File(file(scratch, "small", b"one"));
    assert_eq!(
        put(store, key, from_file).await.unwrap(),
        PutOutcome::AlreadyEqual
    );
    assert_eq!(
        put(store, "once/empty", String::new()).await.unwrap(),
        PutOutcome::Created
    );
    assert_eq!(content(store, "once/empty").await, b"");
    assert_eq!(store.head("once/empty").await.unwrap().unwrap().size, 0);

    let options = with_sha256("0".repeat(64));
    let wrong = store
        .put_if_absent("once/wrong", "x".to_owned().into(), &options)
        .await
        .unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Corrupt, "{wrong}");
    assert!(store.head("once/wrong").await.unwrap().is_none());
    let missing = put(store, "once/missing", Body::File(scratch.join("nothing")))
        .await
        .unwrap_err();
    assert!(missing.to_string().contains("nothing"), "{missing}");
}

async fn large_objects_are_written_once(store: &Store, scratch: &Path) {
    let (key, data) = ("once/large", bytes(LARGE, 1));
    let path = file(scratch, "large", &data);
    let wrong = with_sha256("0".repeat(64));
    let error = store
        .put_if_absent(key, Body::File(path.clone()), &wrong)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(store.head(key).await.unwrap().is_none());

    let right = with_sha256(shipit_artifact::sha256(&data).to_string());
    let body = || Body::File(path.clone());
    assert_eq!(
        store.put_if_absent(key, body(), &right).await.unwrap(),
        PutOutcome::Created
    );
    assert!(content(store, key).await == data);
    assert_eq!(
        store.put_if_absent(key, body(), &right).await.unwrap(),
        PutOutcome::AlreadyEqual
    );

    let mut other = data.clone();
    *other.last_mut().unwrap() ^= 1;
    let other = Body::File(file(scratch, "other", &other));
    assert_eq!(
        put(store, key, other).await.unwrap_err().kind(),
        ErrorKind::Different
    );
    let middle = store.get(key, Some(8_388_600..8_388_700)).await.unwrap();
    assert_eq!(middle.total(), Some(LARGE as u64));
    assert_eq!(middle.into_bytes(100).await.unwrap(), data[8_388_600..8_388_700]);
    let too_large = store.get_bytes(key, 1 << 20).await.unwrap_err();
    assert_eq!(too_large.kind(), ErrorKind::Corrupt, "{too_large}");
}

async fn ranges_are_half_open(store: &Store) {
    put(store, "ranges/ten", "0123456789".to_owned()).await.unwrap();
    for (range, wanted) in [
        (0..1, "0"),
        (2..5, "234"),
        (9..10, "9"),
        (8..100, "89"),
        (3..u64::MAX, "3456789"),
    ] {
        let got = store.get("ranges/ten", Some(range.clone())).await.unwrap();
        assert_eq!(got.len(), Some(wanted.len() as u64), "{range:?}");
        assert_eq!(got.total(), Some(10), "{range:?}");
        assert_eq!(got.into_bytes(100).await.unwrap(), wanted, "{range:?}");
    }
    for range in [10..11, 11..u64::MAX, 4..4] {
        let error = store.get("ranges/ten", Some(range.clone())).await.unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }), "{range:?}: {error:?}");
    }
    let (all, head) = (
        store.get("ranges/ten", None).await.unwrap(),
        store.head("ranges/ten").await.unwrap(),
    );
    assert_eq!(all.etag(), Some(head.unwrap().etag.as_str()));
}

async fn what_is_not_there(store: &Store) {
    assert!(store.head("no/such").await.unwrap().is_none());
    for range in [None, Some(0..1)] {
        let error = store.get("no/such", range).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
        assert!(error.to_string().contains("no/such"), "{error}");
    }
    assert!(store.list("no/such/").await.unwrap().is_empty());
    assert!(store.list_children("no/such/").await.unwrap().is_empty());
    store.delete("no/such").await.unwrap();
}

async fn odd_keys_are_kept_apart(store: &Store) {
    let keys = [
        "odd/%41",
        "odd/A",
        "odd/a b",
        "odd/a+b",
        "odd/a&b=c",
        "odd/x?y#z",
        "odd/é",
        "odd/日本",
        "odd/~'()*!@$,;:",
        "oddly/x",
    ];
    for key in keys {
        put(store, key, key.to_owned()).await.unwrap();
    }
    for key in keys {
        assert_eq!(content(store, key).await, key.as_bytes(), "{key}");
        assert_eq!(store.head(key).await.unwrap().unwrap().key, key);
    }
    let listed: Vec<_> = store
        .list("odd/")
        .await
        .unwrap()
        .into_iter()
        .map(|meta| meta.key)
        .collect();
    let mut wanted = keys[..9].to_vec();
    wanted.sort_unstable();
    assert_eq!(listed, wanted);
    put(store, "odd/deep/er/x", "x".to_owned()).await.unwrap();
    assert_eq!(store.list_children("odd/").await.unwrap(), ["deep"]);
    assert_eq!(store.list_children("odd/deep/").await.unwrap(), ["er"]);
    let top = store.list_children("").await.unwrap();
    assert!(
        top.contains(&"odd".to_owned()) && top.contains(&"oddly".to_owned()),
        "{top:?}"
    );
    assert!(top.iter().all(|name| !name.starts_with('.')), "{top:?}");
    for key in keys {
        store.delete(key).await.unwrap();
        assert!(store.head(key).await.unwrap().is_none(), "{key}");
    }
    store.delete("odd/deep/er/x").await.unwrap();
    assert!(store.list_children("odd/").await.unwrap().is_empty());
}

async fn bad_keys_are_refused(store: &Store) {
    for key in [
        "",
        "/x",
        "x/",
        "a//b",
        "../x",
        "a/../../x",
        "a\nb",
        ".shipit-store.tmp/x",
    ] {
        let put = put(store, key, "x".to_owned()).await.unwrap_err();
        let get = store.get(key, None).await.unwrap_err();
        let delete = store.delete(key).await.unwrap_err();
        for error in [put, get, delete] {
            assert_eq!(error.kind(), ErrorKind::Usage, "{key:?}: {error:?}");
        }
    }
    assert_eq!(store.list("no-slash").await.unwrap_err().kind(), ErrorKind::Usage);
}

async fn long_listings_are_complete(store: &Store) {
    // More than S3 gives in one answer.
    let mut puts = JoinSet::new();
    for number in 0..1005 {
        let store = store.clone();
        puts.spawn(async move {
            put(&store, &format!("many/{number:04}/x"), "x".to_owned())
                .await
                .unwrap();
        });
        if puts.len() >= 16 {
            puts.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(done) = puts.join_next().await {
        done.unwrap();
    }
    let names: Vec<_> = (0..1005).map(|number| format!("{number:04}")).collect();
    let listed: Vec<_> = store
        .list("many/")
        .await
        .unwrap()
        .into_iter()
        .map(|meta| meta.key)
        .collect();
    assert_eq!(
        listed,
        names
            .iter()
            .map(|name| format!("many/{name}/x"))
            .collect::<Vec<_>>()
    );
    assert_eq!(store.list_children("many/").await.unwrap(), names);
}

async fn copies(store: &Store) {
    put(store, "copy/from a", "content".to_owned()).await.unwrap();
    assert_eq!(
        store.copy("copy/from a", "copy/to").await.unwrap(),
        PutOutcome::Created
    );
    assert_eq!(content(store, "copy/to").await, b"content");
    assert_eq!(
        store.copy("copy/from a", "copy/to").await.unwrap(),
        PutOutcome::AlreadyEqual
    );
    put(store, "copy/other", "another".to_owned()).await.unwrap();
    assert_eq!(
        store.copy("copy/from a", "copy/other").await.unwrap_err().kind(),
        ErrorKind::Different
    );
    assert_eq!(content(store, "copy/other").await, b"another");
    assert_eq!(
        store.copy("copy/none", "copy/new").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    assert_eq!(
        store.copy("once/large", "copy/large").await.unwrap(),
        PutOutcome::Created
    );
    assert!(content(store, "copy/large").await == bytes(LARGE, 1));
}

async fn mutable_objects(store: &Store) {
    let key = "live/app/stage/web.yml";
    let put = |text: &'static str, etag: Option<String>| {
        let store = store.clone();
        async move { store.put_if_match(key, text.into(), etag.as_deref()).await }
    };
    let changed = |result: Result<String, Error>| {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Changed);
    };
    changed(put("early", Some("\"none\"".into())).await);
    let first = put("one", None).await.unwrap();
    assert_eq!(store.head(key).await.unwrap().unwrap().etag, first);
    changed(put("again", None).await);
    let second = put("two", Some(first.clone())).await.unwrap();
    assert_ne!(first, second);
    changed(put("late", Some(first.clone())).await);
    let stored = store.get_bytes(key, 100).await.unwrap();
    assert_eq!(
        (stored.bytes.as_ref(), stored.etag),
        (&b"two"[..], second.clone())
    );

    assert_eq!(
        store.delete_if_match(key, &first).await.unwrap_err().kind(),
        ErrorKind::Changed
    );
    assert!(store.head(key).await.unwrap().is_some());
    store.delete_if_match(key, &second).await.unwrap();
    assert!(store.head(key).await.unwrap().is_none());
    assert_eq!(
        store.delete_if_match(key, &second).await.unwrap_err().kind(),
        ErrorKind::Changed
    );
}

async fn racing_writers(store: &Store) {
    let outcomes = |results: Vec<Result<PutOutcome, Error>>| {
        let created = results
            .iter()
            .filter(|result| matches!(result, Ok(PutOutcome::Created)))
            .count();
        let refused = results
            .iter()
            .filter(|result| matches!(result, Err(Error::Different { .. })))
            .count();
        (created, refused, results.len())
    };
    let race = |same: bool, key: &'static str| {
        let store = store.clone();
        async move {
            let mut running = JoinSet::new();
            for number in 0..8 {
                let (store, text) = (
                    store.clone(),
                    if same {
                        "same".to_owned()
                    } else {
                        format!("{number}")
                    },
                );
                running.spawn(async move { put(&store, key, text).await });
            }
            running.join_all().await
        }
    };
    assert_eq!(outcomes(race(false, "race/other").await), (1, 7, 8));
    let (created, refused, _) = outcomes(race(true, "race/same").await);
    assert!(created >= 1 && refused == 0, "{created} {refused}");

    let etag = store
        .put_if_match("race/live", "start".into(), None)
        .await
        .unwrap();
    let mut running = JoinSet::new();
    for number in 0..8 {
        let (store, etag) = (store.clone(), etag.clone());
        running.spawn(async move {
            store
                .put_if_match("race/live", format!("{number}").into(), Some(&etag))
                .await
                .is_ok()
        });
    }
    let won = running.join_all().await.into_iter().filter(|won| *won).count();
    assert_eq!(won, 1);
}
