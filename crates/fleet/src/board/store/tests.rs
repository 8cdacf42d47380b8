//! Reports in a directory.

use shipit_store::{Action, KICK_VERSION, Started, StoreOptions, StoreUrl};

use super::*;
use crate::report::Said;

const RELEASE: &str = "20261121T134515Z-3074f46";
const BEFORE: &str = "20261120T101010Z-1111111";

struct Stage {
    dir: tempfile::TempDir,
    store: Store,
}

fn stage() -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let url = StoreUrl::parse(&format!("file://{}/store", dir.path().display())).unwrap();
    let store = Store::open(&url, StoreOptions::default()).unwrap();
    Stage { dir, store }
}

impl Stage {
    /// As another machine has it.
    fn board(&self) -> StoreBoard {
        StoreBoard::new(&self.store, "shop", "staging").unwrap()
    }

    async fn kick(&self, time: i64, release: &str, hosts: &[&str]) -> KickId {
        let started = Started {
            version: KICK_VERSION,
            kick: KickId::new(time).unwrap(),
            app: "shop".to_owned(),
            stage: "staging".to_owned(),
            role: "web".to_owned(),
            action: Action::Kick,
            release: release.to_owned(),
            revision: String::new(),
            live: None,
            lock: None,
            transport: "exec".to_owned(),
            batch: None,
            whole: true,
            followed: true,
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            expected: None,
            who: String::new(),
            reason: None,
            time,
        };
        kick::start(&self.store, &started).await.unwrap();
        started.kick
    }

    async fn reports(&self) -> Vec<Found> {
        let board = self.board();
        let (found, _) = board.reports("web", None, Duration::ZERO).await.unwrap();
        found
    }
}

async fn says(board: &StoreBoard, kick: &KickId, host: &str, release: &str, state: Said) {
    let report = Report {
        kick: Some(kick.to_string()),
        state,
        phase: None,
        time: 1,
        current: None,
        handler: None,
        message: None,
    };
    let put = board.put_report("web", host, release, &report, None);
    put.await.unwrap();
}

#[tokio::test]
async fn a_later_kicks_reports_are_newer_whatever_its_clock_says() {
    let stage = stage();
    let hosts = ["a", "b"];
    let first = stage.kick(1_795_268_715, RELEASE, &hosts).await;
    let second = stage.kick(1_795_268_716, BEFORE, &hosts).await;
    // The clock of who made the first is ahead: by it, its reports come later than those of the second.
    let (behind, ahead) = (stage.board(), stage.board());
    let asked = Asked {
        kick: second.to_string(),
        release: BEFORE.to_owned(),
    };
    let cursor = behind.ask("web", &asked, &[]).await.unwrap();
    says(&behind, &second, "a", BEFORE, Said::Succeeded).await;
    for host in hosts {
        says(&ahead, &first, host, RELEASE, Said::Succeeded).await;
    }
    let index = async |node: &str, release: &str| {
        let found = stage.reports().await;
        let mut of = found
            .into_iter()
            .filter(|found| found.node == node && found.release == release);
        of.next().unwrap().index
    };
    let before = index("a", BEFORE).await;
    assert!(index("a", RELEASE).await <= cursor.0 && index("b", RELEASE).await <= cursor.0);
    assert!(before > cursor.0);
    // In one kick they are numbered.
    says(&behind, &second, "b", BEFORE, Said::Started).await;
    let started = index("b", BEFORE).await;
    assert!(started > before && behind.ask("web", &asked, &[]).await.unwrap().0 == started);
    says(&behind, &second, "b", BEFORE, Said::Failed).await;
    assert!(index("b", BEFORE).await > started);
}

#[tokio::test]
async fn a_report_that_cannot_be_understood_is_that_hosts_alone() {
    let stage = stage();
    let kick = stage.kick(1_795_268_715, RELEASE, &["a", "b", "c"]).await;
    let board = stage.board();
    says(&board, &kick, "a", RELEASE, Said::Succeeded).await;
    for (name, bytes) in [
        ("b.ended.json", b"{\"state\":\"succ".to_vec()),
        ("c.started.json", vec![b'x'; 100_000]),
    ] {
        let key = format!("kicks/shop/staging/{kick}/{name}");
        let options = PutOptions::default();
        let put = stage.store.put_if_absent(&key, bytes.into(), &options);
        put.await.unwrap();
    }
    let found = stage.reports().await;
    let of = |node: &str| found.iter().find(|found| found.node == node).unwrap();
    assert_eq!(of("a").report.state, Said::Succeeded);
    for (node, state) in [("b", Said::Failed), ("c", Said::Started)] {
        let found = of(node);
        assert_eq!((found.report.state, found.release.as_str()), (state, RELEASE));
        assert_eq!(found.report.kick.as_deref(), Some(kick.as_str()));
        let message = found.report.message.as_deref().unwrap();
        assert!(
            message.starts_with("its report cannot be understood: "),
            "{message}"
        );
    }
}

#[tokio::test]
async fn its_lock_stands_for_half_a_minute_unless_it_is_renewed() {
    // The rest is the same for each TTL: whoever waits has a lock that nobody renews within twice its TTL and some seconds.
    let stage = stage();
    let board = stage.board();
    let holder: Holder = serde_json::from_value(serde_json::json!({
        "id": Holder::new_id(), "who": "deploy@ci", "doing": "kick web", "time": 1, "manual": false,
    }))
    .unwrap();
    let attempt = board.try_lock(&holder).await.unwrap();
    assert!(matches!(attempt, Attempt::Taken(_)), "{attempt:?}");
    let file = stage.dir.path().join("store/locks/shop/staging");
    let lock: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(
        (board.ttl(), &lock["ttl_seconds"]),
        (Duration::from_secs(30), &30.into())
    );
}
