//! The directory store: what every store does, and what is its own.
#![allow(
    clippy::unwrap_used,
    reason = "test code: helpers outside of the test functions, too"
)]

#[path = "../../../tests/store/conformance.rs"]
mod conformance;

use std::fs::{self, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use shipit_store::{Body, ErrorKind, Event, OnEvent, PutOptions, Store, StoreOptions, StoreUrl};

fn open(root: &Path) -> (Store, Arc<Mutex<Vec<Event>>>) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let store = open_with(root, OnEvent::new(move |event| seen.lock().unwrap().push(event)));
    (store, events)
}

fn open_with(root: &Path, on_event: OnEvent) -> Store {
    let url = StoreUrl::parse(&format!("file://{}", root.display())).unwrap();
    let options = StoreOptions {
        on_event,
        ..StoreOptions::default()
    };
    Store::open(&url, options).unwrap()
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn does_what_every_store_does() {
    let (root, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Below a directory that does not exist yet, with a name that needs escaping.
    let (store, _) = open(&root.path().join("new").join("store"));
    conformance::run(&store, scratch.path()).await;
    let left: Vec<_> = files(&root.path().join("new/store/.shipit-store.tmp"));
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn hosts_can_read_what_a_publisher_with_a_strict_umask_wrote() {
    let root = tempfile::tempdir().unwrap();
    let (store, _) = open(&root.path().join("store"));
    // It is the whole process's; the other tests here depend on it as little as the store.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    store
        .put_if_absent("a/b/c", "x".to_owned().into(), &PutOptions::default())
        .await
        .unwrap();
    store.put_if_match("a/b/d", "x".into(), None).await.unwrap();
    let mode = |path: &str| fs::metadata(root.path().join(path)).unwrap().permissions().mode() & 0o7777;
    for directory in ["store", "store/a", "store/a/b"] {
        assert_eq!(mode(directory), 0o755, "{directory}");
    }
    for file in ["store/a/b/c", "store/a/b/d"] {
        assert_eq!(mode(file), 0o644, "{file}");
    }
}

#[tokio::test]
async fn a_groups_store_stays_writable_for_the_group() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), Permissions::from_mode(0o2775)).unwrap();
    let (store, _) = open(root.path());
    store
        .put_if_absent("a/b", "x".to_owned().into(), &PutOptions::default())
        .await
        .unwrap();
    assert_eq!(
        fs::metadata(root.path().join("a")).unwrap().permissions().mode() & 0o7777,
        0o2775
    );
}

#[tokio::test]
async fn temporary_files_of_a_killed_run_are_swept_after_a_day() {
    let root = tempfile::tempdir().unwrap();
    let (store, events) = open(root.path());
    let temporary = root.path().join(".shipit-store.tmp");
    fs::create_dir(&temporary).unwrap();
    let now = SystemTime::now();
    let seconds = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    for (name, age) in [("old", 25), ("young", 23)] {
        let file = fs::File::create(temporary.join(name)).unwrap();
        file.set_times(FileTimes::new().set_modified(now - Duration::from_secs(age * 3600)))
            .unwrap();
    }
    store.sweep(seconds).await.unwrap();
    assert_eq!(files(&temporary), [temporary.join("young")]);
    assert!(matches!(&events.lock().unwrap()[..], [Event::Swept { what }] if what.ends_with("old")));
    assert!(store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dropped_put_leaves_nothing() {
    let (root, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = scratch.path().join("large");
    fs::File::create(&source).unwrap().set_len(400 << 20).unwrap();
    // The copy waits at its first piece until nobody waits for it any more.
    let (told, mut first) = tokio::sync::mpsc::unbounded_channel();
    let (dropped, hear) = std::sync::mpsc::channel::<()>();
    let hear = Mutex::new(hear);
    let on_event = OnEvent::new(move |event| {
        told.send(event).unwrap();
        let _ = hear.lock().unwrap().recv();
    });
    let store = open_with(root.path(), on_event);
    let options = PutOptions::default();
    let event = tokio::select! {
        put = store.put_if_absent("large", Body::File(source), &options) => panic!("{put:?}"),
        event = first.recv() => event,
    };
    assert!(
        matches!(event, Some(Event::Progress { sent, total, .. }) if sent < total),
        "{event:?}"
    );
    drop(dropped);
    // It ends by itself soon, and takes its temporary file with it.
    let begun = Instant::now();
    while !files(root.path()).is_empty() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{:?}",
            files(root.path())
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = first.try_recv();
    assert!(after.is_err(), "{after:?}");
}

#[tokio::test]
async fn what_is_in_the_way_or_not_permitted_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    let (store, _) = open(root.path());
    let error = store
        .put_if_absent("a/b", "x".to_owned().into(), &PutOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Different, "{error}");
    fs::write(root.path().join("file"), "x").unwrap();
    let error = store
        .put_if_absent("file/below", "x".to_owned().into(), &PutOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Local, "{error}");
    assert!(error.to_string().contains("file"), "{error}");
    let full = StoreUrl::parse("file:///proc/self").unwrap();
    let proc = Store::open(&full, StoreOptions::default()).unwrap();
    let error = proc
        .put_if_absent("x", "x".to_owned().into(), &PutOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Local | ErrorKind::NotFound),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_lock_held_elsewhere_is_waited_for() {
    let root = tempfile::tempdir().unwrap();
    let (store, _) = open(root.path());
    let etag = store.put_if_match("live/x", "one".into(), None).await.unwrap();
    let held = fs::File::open(root.path().join(".shipit-store.lock")).unwrap();
    held.lock().unwrap();
    let second = tokio::spawn(async move { store.put_if_match("live/x", "two".into(), Some(&etag)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!second.is_finished());
    held.unlock().unwrap();
    second.await.unwrap().unwrap();
}
