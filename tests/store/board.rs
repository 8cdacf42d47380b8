//! The board without Consul, in both kinds of store: what hosts said, and the lock of a stage.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use shipit_fleet::board::{Board, Cursor, Holder, StoreBoard};
use shipit_fleet::lock::{Lock, TakeError};
use shipit_fleet::report::{Asked, Found, Report, Said};
use shipit_store::{Error, KickId, KickResult, Started, kick, layout};
use shipit_testbed::Tmp;

use super::history::{OLDER, RELEASE, both, end, list, started};
use super::publishing::NOW;
use super::setup::Bench;

fn report(kick: &KickId, state: Said) -> Report {
    Report {
        kick: Some(kick.to_string()),
        state,
        phase: None,
        time: NOW,
        current: None,
        handler: Some("exec".into()),
        message: None,
    }
}

async fn say(board: &StoreBoard, role: &str, node: &str, kick: &Started, state: Said, log: Option<&str>) {
    board
        .put_report(role, node, &kick.release, &report(&kick.kick, state), log)
        .await
        .unwrap();
}

async fn now_known(board: &StoreBoard, role: &str) -> Vec<(String, String, Said)> {
    let (found, _) = board.reports(role, None, Duration::ZERO).await.unwrap();
    let told = |found: Found| (found.node, found.release, found.report.state);
    found.into_iter().map(told).collect()
}

fn told(node: &str, release: &str, said: Said) -> (String, String, Said) {
    (node.to_owned(), release.to_owned(), said)
}

const NODES: [&str; 3] = ["web1", "web2.example.com", "ops@web/3 -p 22"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn reports_are_read_from_the_newest_kicks() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    for (store, _) in both(&bench, &scratch) {
        let board = StoreBoard::new(&store, "shop", "production").unwrap();
        let reader = StoreBoard::new(&store, "shop", "production").unwrap();
        assert_eq!(now_known(&reader, "web").await, []);
        assert!(reader.asked("web").await.unwrap().is_empty());

        let first = started(NOW, "web", OLDER, &NODES);
        kick::start(&store, &first).await.unwrap();
        for node in NODES {
            say(&board, "web", node, &first, Said::Started, None).await;
            say(&board, "web", node, &first, Said::Succeeded, Some("line\n")).await;
        }
        end(&store, &first.kick, KickResult::Succeeded).await;
        let other = started(NOW + 1, "db", OLDER, &["db1"]);
        kick::start(&store, &other).await.unwrap();
        say(&board, "db", "db1", &other, Said::Failed, None).await;
        end(&store, &other.kick, KickResult::Failed).await;

        // A kick that runs: one host is done, one works on it, one said nothing yet.
        let second = started(NOW + 2, "web", RELEASE, &NODES);
        kick::start(&store, &second).await.unwrap();
        say(&board, "web", NODES[0], &second, Said::Started, None).await;
        say(&board, "web", NODES[0], &second, Said::Failed, Some("the end\n")).await;
        say(&board, "web", NODES[1], &second, Said::Started, None).await;
        let mut expected = vec![
            told(NODES[2], OLDER, Said::Succeeded),
            told(NODES[0], OLDER, Said::Succeeded),
            told(NODES[0], RELEASE, Said::Failed),
            told(NODES[1], OLDER, Said::Succeeded),
            told(NODES[1], RELEASE, Said::Started),
        ];
        assert_eq!(now_known(&reader, "web").await, expected);
        say(&board, "web", NODES[1], &second, Said::Succeeded, None).await;
        expected[4].2 = Said::Succeeded;
        assert_eq!(now_known(&reader, "web").await, expected);
        assert_eq!(now_known(&reader, "db").await, [told("db1", OLDER, Said::Failed)]);

        // Once each host has said something in it, older kicks are not looked at any more.
        say(&board, "web", NODES[2], &second, Said::Succeeded, None).await;
        let fresh = StoreBoard::new(&store, "shop", "production").unwrap();
        let known = now_known(&fresh, "web").await;
        assert!(
            known.iter().all(|(_, release, _)| release == RELEASE),
            "{known:?}"
        );
        assert_eq!(known.len(), 3);

        let asked = reader.asked("web").await.unwrap();
        let wanted = Asked {
            kick: second.kick.to_string(),
            release: RELEASE.to_owned(),
        };
        assert!(NODES.iter().all(|node| asked[*node] == wanted), "{asked:?}");
        assert_eq!(asked.len(), NODES.len());

        // What a `once` manifest did is told apart from what the host did.
        say(
            &board,
            "web.once",
            NODES[0],
            &second,
            Said::Succeeded,
            Some("migrated\n"),
        )
        .await;
        let once = now_known(&reader, "web.once").await;
        assert_eq!(once, [told(NODES[0], RELEASE, Said::Succeeded)]);
        let text = async |role: &str, node: &str, release: Option<&str>| {
            let log = reader.log(role, node, release).await.unwrap();
            log.map(|log| (log.release, log.text))
        };
        let log = |release: &str, text: &str| Some((release.to_owned(), text.to_owned()));
        assert_eq!(text("web.once", NODES[0], None).await, log(RELEASE, "migrated\n"));
        assert_eq!(text("web", NODES[0], None).await, log(RELEASE, "the end\n"));
        assert_eq!(text("web", NODES[0], Some(OLDER)).await, log(OLDER, "line\n"));
        assert_eq!(
            text("web", NODES[1], None).await,
            None,
            "its last deploy printed nothing"
        );
        assert_eq!(text("web", "nobody", None).await, None);

        // A host's last word in a kick is not written over.
        let again = report(&second.kick, Said::Succeeded);
        let again = board.put_report("web", NODES[0], RELEASE, &again, None).await;
        assert!(again.unwrap_err().to_string().contains("exists already"));

        // Of releases that are no more, the logs go, and nothing else.
        assert_eq!(board.forget(&[OLDER.to_owned()]).await.unwrap(), 3);
        assert_eq!(board.forget(&[OLDER.to_owned()]).await.unwrap(), 0);
        assert_eq!(text("web", NODES[0], Some(OLDER)).await, None);
        assert_eq!(text("web", NODES[0], None).await, log(RELEASE, "the end\n"));
        assert_eq!(list(&store, None, None).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn who_waits_for_reports_sees_one_within_two_seconds_and_asks_little() {
    let bench = Bench::start();
    let (store, _) = bench.store();
    let board = Arc::new(StoreBoard::new(&store, "shop", "production").unwrap());
    for number in 0..8 {
        let old = started(NOW + number, "web", OLDER, &["web1"]);
        kick::start(&store, &old).await.unwrap();
        say(&board, "web", "web1", &old, Said::Succeeded, None).await;
        end(&store, &old.kick, KickResult::Succeeded).await;
    }
    let run = started(NOW + 100, "web", RELEASE, &["web1"]);
    kick::start(&store, &run).await.unwrap();
    let asked = Asked {
        kick: run.kick.to_string(),
        release: RELEASE.to_owned(),
    };
    let since = board.ask("web", &asked, &["web1".to_owned()]).await.unwrap();
    let (found, known) = board.reports("web", None, Duration::ZERO).await.unwrap();
    assert!(found.iter().all(|found| found.index < since.0), "{found:?}");

    // Nothing comes: it waits, and costs a listing of the kicks and one of the kick that runs.
    bench.proxy.forget();
    let begin = Instant::now();
    let (_, same) = board
        .reports("web", Some(known), Duration::from_secs(3))
        .await
        .unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert_eq!(same, known);
    let seen = bench.proxy.seen();
    assert!((4..=10).contains(&seen.len()), "{seen:?}");
    assert!(
        seen.iter()
            .all(|seen| seen.method == "GET" && seen.target.contains("list-type=2")),
        "{seen:?}"
    );

    let reader = tokio::spawn({
        let board = board.clone();
        async move {
            // It would wait for an hour.
            let wait = Duration::from_secs(3600);
            board.reports("web", Some(since), wait).await.unwrap()
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    say(&board, "web", "web1", &run, Said::Started, None).await;
    let woken = tokio::time::timeout(Duration::from_secs(120), reader).await;
    let (found, cursor) = woken.unwrap().unwrap();
    let newest = found.iter().find(|found| found.release == RELEASE).unwrap();
    assert!(newest.index > since.0 && cursor == Cursor(newest.index));
    assert_eq!(newest.report.kick.as_deref(), Some(run.kick.as_str()));
}

fn holder(doing: &str) -> Holder {
    Holder {
        id: Holder::new_id(),
        who: "deploy@ci".into(),
        build: None,
        pid: Some(1),
        doing: doing.into(),
        revision: None,
        reason: None,
        time: NOW,
        manual: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn a_stages_lock_is_held_given_back_and_turned_into_a_manual_one() {
    let (bench, scratch) = (Bench::start(), Tmp::in_memory("store"));
    for (store, _) in both(&bench, &scratch) {
        let board = || -> Arc<dyn Board> {
            let board = StoreBoard::new(&store, "shop", "production").unwrap();
            Arc::new(board.with_ttl(Duration::from_secs(3)))
        };
        let take = async |doing: &str, wait: u64| {
            let wait = Duration::from_secs(wait);
            Lock::take(board(), holder(doing), wait, Arc::new(|_| {}), pending()).await
        };
        let lock = take("kick web", 0).await.unwrap();
        let refused = take("kick db", 0).await.unwrap_err();
        assert!(
            matches!(&refused, TakeError::Held(held) if held.holder == *lock.holder()),
            "{refused}"
        );
        // Publishing is another lock, and so is another stage.
        assert!(
            store
                .head(&layout::publish_lock_key("shop").unwrap())
                .await
                .unwrap()
                .is_none()
        );
        let staging = StoreBoard::new(&store, "shop", "staging").unwrap();
        assert_eq!(staging.held().await.unwrap(), None);

        let waiting = take("kick db", 60);
        let later = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert_eq!(lock.lost(), None);
            lock.release().await.unwrap();
        };
        let (second, ()) = tokio::join!(waiting, later);
        let second = second.unwrap();
        assert_eq!(board().held().await.unwrap().unwrap().holder, *second.holder());

        let manual = Holder {
            manual: true,
            ..holder("lock")
        };
        assert_eq!(second.turn_manual(&manual).await.unwrap(), None);
        tokio::time::sleep(Duration::from_secs(7)).await;
        let refused = take("kick web", 0).await.unwrap_err();
        assert!(
            matches!(&refused, TakeError::Held(held) if held.holder == manual),
            "{refused}"
        );
        let held = board().held().await.unwrap().unwrap();
        board().break_lock(&held).await.unwrap();
        let lock = take("kick web", 0).await.unwrap();
        let changed = board().break_lock(&held).await.unwrap_err();
        assert!(changed.to_string().contains("has changed"), "{changed}");

        // Who is locked out by hand finds out before the time is over.
        let held = board().held().await.unwrap().unwrap();
        board().break_lock(&held).await.unwrap();
        // By a renewal that finds nothing, and not because no renewal came.
        let why = lock.wait_lost().await;
        assert!(why.contains("ended by hand"), "{why}");
        assert_eq!(lock.lost(), Some(why));
        lock.release().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the testbed; run make test"]
async fn what_is_no_lock_is_told_and_left_alone() {
    let (bench, scratch) = (Bench::start(), Tmp::new("store"));
    for (store, _) in both(&bench, &scratch) {
        let key = layout::stage_lock_key("shop", "production").unwrap();
        store.put_if_match(&key, "hands off".into(), None).await.unwrap();
        let board = StoreBoard::new(&store, "shop", "production").unwrap();
        let error = board.try_lock(&holder("kick web")).await.unwrap_err();
        assert!(error.to_string().contains("it is no lock"), "{error}");
        let content = store.get_bytes(&key, 100).await.unwrap();
        assert_eq!(content.bytes, "hands off");
        let error = StoreBoard::new(&store, "shop", "publish").unwrap_err();
        assert!(
            matches!(error, shipit_fleet::board::Error::Store(Error::BadName { .. })),
            "{error}"
        );
    }
}
