//! The history of kicks and the live pointer, in both kinds of store.

use std::collections::{BTreeMap, BTreeSet};

use shipit_store::{
    Action, Ended, ErrorKind, Event, HostEnd, HostState, KICK_VERSION, KickId, KickResult, Started, Store,
    kick, layout, live,
};
use shipit_testbed::Tmp;

use super::publishing::{NOW, go};
use super::setup::{Bench, Events, artifact, directory};

pub const RELEASE: &str = "20261121T134515Z-3074f46";
pub const OLDER: &str = "20261121T120000Z-0123456";

pub fn both(bench: &Bench, scratch: &Tmp) -> [(Store, Events); 2] {
    [bench.store(), directory(&scratch.join("store"))]
}

pub fn started(time: i64, role: &str, release: &str, hosts: &[&str]) -> Started {
    Started {
        version: KICK_VERSION,
        kick: KickId::new(time).unwrap(),
        app: "shop".into(),
        stage: "production".into(),
        role: role.into(),
        action: Action::Kick,
        release: release.into(),
        revision: "3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d".into(),
        live: None,
        batch: None,
        lock: None,
        transport: "exec".into(),
        whole: true,
        followed: true,
        hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
        expected: None,
        who: "deploy@ci".into(),
        reason: None,
        time,
    }
}

fn ended(kick: &KickId, result: KickResult) -> Ended {
    Ended {
        version: KICK_VERSION,
        kick: kick.clone(),
        result,
        reason: None,
        moved_live: result == KickResult::Succeeded,
        once_on: None,
        once: false,
        hosts: BTreeMap::from([(
            "web1".to_owned(),
            HostEnd {
                state: HostState::Succeeded,
                reason: None,
                time: Some(NOW),
            },
        )]),
        time: NOW,
        seconds: 1.5,
    }
}

pub async fn end(store: &Store, kick: &KickId, result: KickResult) {
    kick::end(store, "shop", "production", &ended(kick, result))
        .await
        .unwrap();
}

pub async fn list(store: &Store, role: Option<&str>, limit: Option<usize>) -> Vec<kick::Kick> {
    kick::list(store, "shop", "production", role, limit)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn kicks_are_listed_newest_first() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    for (store, events) in both(&bench, &scratch) {
        assert_eq!(list(&store, None, None).await, []);
        let mut all = Vec::new();
        for number in 0..12 {
            let role = if number % 3 == 0 { "db" } else { "web" };
            let begun = started(NOW + number, role, RELEASE, &["web1"]);
            kick::start(&store, &begun).await.unwrap();
            if number != 11 {
                end(&store, &begun.kick, KickResult::Succeeded).await;
            }
            all.push(begun);
        }
        all.reverse();
        let found = list(&store, None, None).await;
        let starts: Vec<_> = found.iter().map(|kick| kick.started.clone()).collect();
        assert_eq!(starts, all);
        assert_eq!(found[0].ended, None, "it runs, or was interrupted");
        assert_eq!(found[1].ended, Some(ended(&all[1].kick, KickResult::Succeeded)));
        assert_eq!(list(&store, None, Some(5)).await[..], found[..5]);
        let of_db = list(&store, Some("db"), Some(2)).await;
        let times: Vec<_> = of_db.iter().map(|kick| kick.started.time - NOW).collect();
        assert_eq!(times, [9, 6]);
        assert_eq!(list(&store, Some("batch"), None).await, []);
        assert_eq!(
            kick::list(&store, "shop", "staging", None, None).await.unwrap(),
            []
        );

        // Both documents are written once; the same again is no error.
        kick::start(&store, &all[0]).await.unwrap();
        let other = kick::start(
            &store,
            &Started {
                whole: false,
                ..all[0].clone()
            },
        )
        .await;
        assert_eq!(other.unwrap_err().kind(), ErrorKind::Different);
        end(&store, &all[0].kick, KickResult::Failed).await;
        let twice = kick::end(
            &store,
            "shop",
            "production",
            &ended(&all[0].kick, KickResult::Succeeded),
        )
        .await;
        assert_eq!(twice.unwrap_err().kind(), ErrorKind::Different);

        // What cannot be read is said, and the rest is there.
        let put = async |time: i64, text: String| {
            let id = KickId::new(time).unwrap();
            let key = layout::kick_key("shop", "production", id.as_str(), "started.json").unwrap();
            let options = shipit_store::PutOptions::default();
            store.put_if_absent(&key, text.into(), &options).await.unwrap();
        };
        put(NOW + 100, "no json".to_owned()).await;
        put(NOW + 101, r#"{"version":99,"new":1}"#.to_owned()).await;
        put(NOW + 102, serde_json::to_string(&all[3]).unwrap()).await;
        assert_eq!(list(&store, None, Some(12)).await.len(), 12);
        let whys: BTreeSet<String> = events
            .all()
            .into_iter()
            .filter_map(|event| match event {
                Event::KickUnreadable { why, .. } => Some(why),
                _ => None,
            })
            .collect();
        assert_eq!(whys.len(), 3, "{whys:?}");
        assert!(whys.iter().any(|why| why.contains("version 99")), "{whys:?}");
        assert!(whys.iter().any(|why| why.contains("names the kick")), "{whys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn live_moves_only_from_what_was_seen() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    let artifact = artifact(scratch.path(), b"code", "9");
    for (store, _) in both(&bench, &scratch) {
        let look = async || live::read(&store, "shop", "production", "web").await.unwrap();
        let read = async || look().await.live();
        let move_to = async |manifest: &str, etag: Option<&str>| {
            live::move_to(&store, "shop", "production", "web", manifest.as_bytes(), etag).await
        };
        let one = go(&store, &artifact, NOW).await.unwrap().release;
        let two = go(&store, &artifact, NOW + 10).await.unwrap().release;
        let first = one.manifest(&store, "web").await.unwrap().unwrap();
        let second = two.manifest(&store, "web").await.unwrap().unwrap();
        assert_eq!(read().await, None);

        let etag = move_to(&first, None).await.unwrap();
        let found = read().await.unwrap();
        assert_eq!((found.release.as_str(), &found.etag), (one.id.as_str(), &etag));
        assert_eq!(found.manifest, first.as_bytes());
        let late = move_to(&second, None).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Changed, "{late}");

        let moved = move_to(&second, Some(&etag)).await.unwrap();
        assert_eq!(read().await.unwrap().release, two.id.as_str());
        for wrong in [Some(etag.as_str()), Some("nonsense"), None] {
            let late = move_to(&first, wrong).await.unwrap_err();
            assert_eq!(late.kind(), ErrorKind::Changed, "{late}");
        }
        assert_eq!(read().await.unwrap().etag, moved);

        // Another role's manifest would send hosts elsewhere.
        let batch = one.manifest(&store, "batch").await.unwrap().unwrap();
        let wrong = move_to(&batch, Some(&moved)).await.unwrap_err();
        assert!(
            wrong.to_string().contains("the manifest of batch of shop"),
            "{wrong}"
        );
        assert_eq!(read().await.unwrap().etag, moved);
        let url = live::url(&store, "shop", "production", "web").unwrap();
        assert!(url.ends_with("/live/shop/production/web.yml"), "{url}");

        // What is damaged is told, and can be moved from.
        let key = layout::live_key("shop", "production", "web").unwrap();
        let long = "x".repeat((1 << 20) + 1);
        let mut moved = moved;
        for (text, part) in [
            ("half a manif", "it is no manifest"),
            (batch.as_str(), "the manifest of batch"),
            (long.as_str(), ""),
        ] {
            let bytes = text.to_owned().into_bytes().into();
            store.put_if_match(&key, bytes, Some(&moved)).await.unwrap();
            let live::Pointer::Damaged(damaged) = look().await else {
                panic!("{:?}", look().await);
            };
            assert!(damaged.why.contains(part) && damaged.url == url, "{damaged:?}");
            moved = move_to(&second, Some(&damaged.etag)).await.unwrap();
            assert_eq!(read().await.unwrap().release, two.id.as_str());
        }

        // One of two at the same moment moves it.
        let (a, b) = tokio::join!(move_to(&first, Some(&moved)), move_to(&first, Some(&moved)));
        assert!(a.is_ok() || b.is_ok());
        assert_eq!(read().await.unwrap().release, one.id.as_str());
    }
}
