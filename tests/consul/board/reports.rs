//! Asks, reports and logs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use shipit_fleet::report::{Asked, Found, Report, Said};
use shipit_store::kick::Started;

use super::{Place, started};
use crate::agents::on_threads;

const RELEASE: &str = "20261121T134515Z-3074f46";
const BEFORE: &str = "20261120T101010Z-1111111";
const NODES: [&str; 3] = ["web1", "web10", "wéb-2.example.com"];

fn report(kick: &str, state: Said) -> Report {
    Report {
        kick: Some(kick.to_owned()),
        state,
        phase: None,
        time: 1_795_000_001,
        current: None,
        handler: Some("exec".to_owned()),
        message: Some("the last line".to_owned()),
    }
}

/// Begins a kick and asks; the kick's id and the cursor's.
fn ask(
    place: &dyn Place,
    role: &str,
    release: &str,
    nodes: &[&str],
    time: i64,
) -> (Asked, shipit_fleet::board::Cursor) {
    let started = started(role, release, nodes, time);
    place.begin(&started);
    let asked = Asked {
        kick: started.kick.to_string(),
        release: release.to_owned(),
    };
    let cursor = on_threads(async { place.board().ask(role, &asked, &started.hosts).await });
    (asked, cursor.unwrap())
}

fn only<'a>(found: &'a [Found], node: &str, release: &str) -> &'a Found {
    let mut of = found
        .iter()
        .filter(|found| found.node == node && found.release == release);
    let first = of.next().unwrap();
    assert!(of.next().is_none(), "{found:?}");
    first
}

pub fn what_is_asked_is_told(place: &dyn Place) {
    let (first, _) = ask(place, "web", BEFORE, &NODES, 1_795_000_000);
    let (second, _) = ask(place, "web", RELEASE, &NODES[1..], 1_795_000_100);
    ask(place, "web2", BEFORE, &["other"], 1_795_000_200);
    on_threads(async {
        let asked = place.board().asked("web").await.unwrap();
        let expected = [(NODES[0], &first), (NODES[1], &second), (NODES[2], &second)];
        let asked: Vec<(&str, &Asked)> = asked.iter().map(|(node, asked)| (node.as_str(), asked)).collect();
        assert_eq!(asked, expected);
        assert!(place.board().asked("none").await.unwrap().is_empty());
    });
}

pub fn whoever_is_there_is_asked_nothing_by_name(place: &dyn Place) {
    ask(place, "web", BEFORE, &NODES, 1_795_000_000);
    ask(place, "web2", BEFORE, &NODES, 1_795_000_050);
    // All of the role, known by its number: a host that found the ask of before would name that kick.
    let whole = Started {
        whole: true,
        expected: Some(NODES.len()),
        ..started("web", BEFORE, &[], 1_795_000_100)
    };
    place.begin(&whole);
    let asked = Asked {
        kick: whole.kick.to_string(),
        release: BEFORE.to_owned(),
    };
    on_threads(async {
        let board = place.board();
        let cursor = board.ask("web", &asked, &[]).await.unwrap();
        assert_eq!(board.asked("web").await.unwrap(), BTreeMap::new());
        assert_eq!(board.asked("web2").await.unwrap().len(), NODES.len());
        let report = report(&asked.kick, Said::Succeeded);
        board
            .put_report("web", NODES[0], BEFORE, &report, None)
            .await
            .unwrap();
        let (found, _) = board.reports("web", None, Duration::ZERO).await.unwrap();
        assert!(only(&found, NODES[0], BEFORE).index > cursor.0);
    });
}

pub fn reports_come_in_order(place: &dyn Place) {
    let (asked, cursor) = ask(place, "web", RELEASE, &NODES, 1_795_000_000);
    on_threads(async {
        let (writer, reader) = (place.board(), place.board());
        let put = async |node: &str, said| {
            let report = report(&asked.kick, said);
            writer
                .put_report("web", node, RELEASE, &report, None)
                .await
                .unwrap();
        };
        let (none, _) = reader.reports("web", None, Duration::ZERO).await.unwrap();
        assert_eq!(none, []);
        let mut seen = cursor;
        let mut last = cursor.0;
        for (number, node) in NODES.iter().enumerate() {
            put(node, Said::Started).await;
            let (found, now) = reader
                .reports("web", Some(seen), Duration::from_secs(60))
                .await
                .unwrap();
            assert_eq!(found.len(), number + 1);
            let new = only(&found, node, RELEASE);
            assert!(new.index > last, "{new:?} is no newer than {last}");
            assert_eq!(new.report, report(&asked.kick, Said::Started));
            (seen, last) = (now, new.index);
        }
        for node in NODES {
            put(node, Said::Succeeded).await;
        }
        let (found, _) = place.board().reports("web", None, Duration::ZERO).await.unwrap();
        assert_eq!(found.len(), NODES.len());
        for node in NODES {
            let new = only(&found, node, RELEASE);
            assert_eq!(new.report.state, Said::Succeeded);
            assert!(new.index > last, "{new:?} is no newer than {last}");
            last = new.index;
        }
        // Roles whose names begin alike are others.
        for role in ["we", "web2", "web.once"] {
            let (found, _) = reader.reports(role, None, Duration::ZERO).await.unwrap();
            assert_eq!(found, [], "{role}");
        }
    });
    // The next release is answered apart from the one before.
    let (asked, cursor) = ask(place, "web", BEFORE, &NODES[..1], 1_795_000_100);
    on_threads(async {
        let board = place.board();
        let (found, _) = board
            .reports("web", Some(cursor), Duration::from_millis(100))
            .await
            .unwrap();
        assert!(
            found.iter().all(|found| found.index <= cursor.0),
            "{found:?} {cursor:?}"
        );
        let report = report(&asked.kick, Said::Failed);
        board
            .put_report("web", NODES[0], BEFORE, &report, None)
            .await
            .unwrap();
        let (found, _) = board
            .reports("web", Some(cursor), Duration::from_secs(60))
            .await
            .unwrap();
        assert_eq!(found.len(), NODES.len() + 1);
        assert!(only(&found, NODES[0], BEFORE).index > cursor.0);
        assert_eq!(only(&found, NODES[0], RELEASE).report.state, Said::Succeeded);
    });
}

pub fn a_reader_waits_for_news(place: &dyn Place) {
    let (asked, cursor) = ask(place, "web", RELEASE, &NODES, 1_795_000_000);
    on_threads(async {
        let (writer, reader) = (place.board(), place.board());
        let wait = Duration::from_secs(3);
        let mut seen = cursor;
        once_in_time("a wait in vain", Duration::from_secs(5), async |_| {
            let begin = Instant::now();
            let (found, now) = reader.reports("web", Some(seen), wait).await.unwrap();
            assert_eq!(found, []);
            assert!(begin.elapsed().as_secs() >= 2, "{:?}", begin.elapsed());
            seen = now;
            begin.elapsed()
        })
        .await;
        once_in_time("news", Duration::from_secs(2), async |tries| {
            let said = [Said::Started, Said::Failed][tries % 2];
            let report = report(&asked.kick, said);
            let late = async {
                tokio::time::sleep(Duration::from_millis(700)).await;
                let put = writer.put_report("web", "web1", RELEASE, &report, None);
                put.await.unwrap();
                Instant::now()
            };
            let wait = reader.reports("web", Some(seen), Duration::from_secs(30));
            let read = async { (wait.await.unwrap(), Instant::now()) };
            let (written, ((found, now), read)) = tokio::join!(late, read);
            assert_eq!(only(&found, "web1", RELEASE).report.state, said);
            seen = now;
            read.saturating_duration_since(written)
        })
        .await;
    });
}

/// Does what takes less than `most`: on a machine that has much to do it may take longer now and then.
async fn once_in_time(what: &str, most: Duration, mut take: impl AsyncFnMut(usize) -> Duration) {
    let mut took = Vec::new();
    while took.len() < 10 {
        took.push(take(took.len()).await);
        if took.last() < Some(&most) {
            return;
        }
    }
    panic!("{what} took longer than {most:?} each time: {took:?}");
}

pub fn logs_are_kept_and_forgotten(place: &dyn Place) {
    let (first, _) = ask(place, "web", BEFORE, &NODES, 1_795_000_000);
    let (second, _) = ask(place, "web", RELEASE, &NODES, 1_795_000_100);
    on_threads(async {
        let board = place.board();
        let long = format!("{}the end", "é\n".repeat(20_000));
        for (asked, log) in [(&first, "it went well"), (&second, long.as_str())] {
            let report = report(&asked.kick, Said::Failed);
            let put = board.put_report("web", "web1", &asked.release, &report, Some(log));
            put.await.unwrap();
        }
        let last = board.log("web", "web1", None).await.unwrap().unwrap();
        assert_eq!(last.release, RELEASE);
        assert!(last.text.len() <= 16 * 1024 && last.text.len() > 16 * 1024 - 4);
        assert!(last.text.ends_with("the end") && !last.text.contains('\u{fffd}'));
        let before = board.log("web", "web1", Some(BEFORE)).await.unwrap().unwrap();
        assert_eq!(before.text, "it went well");
        assert_eq!(board.log("web", "web10", None).await.unwrap(), None);
        assert_eq!(board.log("web2", "web1", None).await.unwrap(), None);
        assert_eq!(
            board
                .forget(&["20000101T000000Z-0000000".to_owned()])
                .await
                .unwrap(),
            0
        );
        assert!(board.forget(&[BEFORE.to_owned()]).await.unwrap() > 0);
        assert_eq!(board.log("web", "web1", Some(BEFORE)).await.unwrap(), None);
        assert_eq!(board.log("web", "web1", None).await.unwrap().unwrap(), last);
        assert_eq!(board.forget(&[BEFORE.to_owned()]).await.unwrap(), 0);
        let (found, _) = board.reports("web", None, Duration::ZERO).await.unwrap();
        assert_eq!(only(&found, "web1", RELEASE).report.state, Said::Failed);
    });
}
