//! Following over the board in a store.

use std::path::PathBuf;
use std::sync::Mutex;

use shipit_store::kick::{self, KickId};
use shipit_store::{Action, HostState, KICK_VERSION, Started, Store, StoreOptions, StoreUrl};

use super::*;
use crate::board::StoreBoard;
use crate::report::{Asked, Report, Said};

const RELEASE: &str = "20261121T134515Z-3074f46";

struct Stage {
    dir: tempfile::TempDir,
    board: StoreBoard,
    kick: KickId,
    since: Cursor,
}

async fn stage(hosts: &[&str]) -> Stage {
    let dir = tempfile::tempdir().unwrap();
    let url = StoreUrl::parse(&format!("file://{}/store", dir.path().display())).unwrap();
    let store = Store::open(&url, StoreOptions::default()).unwrap();
    let board = StoreBoard::new(&store, "shop", "staging").unwrap();
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let kick = KickId::new(1_795_268_715).unwrap();
    let started = Started {
        version: KICK_VERSION,
        kick: kick.clone(),
        app: "shop".to_owned(),
        stage: "staging".to_owned(),
        role: "web".to_owned(),
        action: Action::Kick,
        release: RELEASE.to_owned(),
        revision: String::new(),
        live: None,
        lock: None,
        transport: "exec".to_owned(),
        batch: None,
        whole: true,
        followed: true,
        hosts: hosts.clone(),
        expected: None,
        who: String::new(),
        reason: None,
        time: 0,
    };
    kick::start(&store, &started).await.unwrap();
    let asked = Asked {
        kick: kick.to_string(),
        release: RELEASE.to_owned(),
    };
    let since = board.ask("web", &asked, &hosts).await.unwrap();
    Stage {
        dir,
        board,
        kick,
        since,
    }
}

impl Stage {
    fn tracker(&self, hosts: &[&str]) -> Tracker {
        let told = hosts.iter().map(|host| Told {
            name: (*host).to_owned(),
            dead: None,
        });
        let wanted = Wanted {
            kick: self.kick.to_string(),
            release: RELEASE.to_owned(),
            hosts: told.collect(),
            count: None,
            switches: true,
            may_fail: 0,
            checked: false,
        };
        Tracker::new(wanted, self.since)
    }

    fn following(&self, seconds: u64) -> Following<'_> {
        Following {
            board: &self.board,
            role: "web",
            since: self.since,
            limit: Duration::from_secs(seconds),
            checks: None,
        }
    }

    async fn says(&self, host: &str, state: Said, log: Option<&str>) {
        let report = Report {
            kick: Some(self.kick.to_string()),
            state,
            phase: None,
            time: 1,
            current: None,
            handler: None,
            message: None,
        };
        let put = self.board.put_report("web", host, RELEASE, &report, log);
        put.await.unwrap();
    }

    /// The same kick in another store.
    async fn beside(&self) -> Self {
        let kick = self.kick.clone();
        Stage {
            kick,
            ..stage(&["a"]).await
        }
    }

    /// The file of what a host said last.
    fn report(&self, host: &str) -> PathBuf {
        let kick = format!("store/kicks/shop/staging/{}", self.kick);
        self.dir.path().join(kick).join(format!("{host}.ended.json"))
    }
}

fn states(tracker: &Tracker) -> Vec<HostState> {
    tracker.hosts().values().map(|now| now.state).collect()
}

#[tokio::test]
async fn it_ends_when_the_last_host_has_spoken() {
    let stage = stage(&["a", "b"]).await;
    let (mut tracker, following) = (stage.tracker(&["a", "b"]), stage.following(120));
    let seen = Mutex::new(Vec::new());
    let note = |event: Event| {
        if let Event::Host(change) = event {
            seen.lock().unwrap().push((change.host, change.now.state));
        }
    };
    let is_seen = |host: &str, state| seen.lock().unwrap().contains(&(host.to_owned(), state));
    let hosts = async {
        stage.says("a", Said::Started, None).await;
        stage.says("b", Said::Succeeded, None).await;
        let until = Instant::now() + Duration::from_secs(60);
        // Both: what one look finds is said in the hosts' order.
        while !is_seen("a", HostState::Started) || !is_seen("b", HostState::Succeeded) {
            assert!(Instant::now() < until, "what they said was not seen");
            sleep(Duration::from_millis(20)).await;
        }
        stage.says("a", Said::Succeeded, None).await;
    };
    let (end, ()) = tokio::join!(follow(&following, &mut tracker, future::pending(), &note), hosts);
    assert!(matches!(end, End::Done), "{end:?}");
    assert_eq!(states(&tracker), [HostState::Succeeded, HostState::Succeeded]);
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.last(), Some(&("a".to_owned(), HostState::Succeeded)));
}

#[tokio::test]
async fn a_failure_ends_it_and_its_log_is_had() {
    let stage = stage(&["a", "b"]).await;
    let (mut tracker, following) = (stage.tracker(&["a", "b"]), stage.following(60));
    stage.says("b", Said::Failed, Some("it broke\n")).await;
    let end = follow(&following, &mut tracker, future::pending(), &|_| {}).await;
    assert!(matches!(end, End::TooMany), "{end:?}");
    assert_eq!(states(&tracker), [HostState::Asked, HostState::Failed]);
    let logs = logs(&stage.board, "web", RELEASE, tracker.hosts()).await;
    assert_eq!(logs, BTreeMap::from([("b".to_owned(), "it broke\n".to_owned())]));
}

#[tokio::test]
async fn the_deadline_and_a_stop_end_it() {
    let stage = stage(&["a"]).await;
    let (mut tracker, following) = (stage.tracker(&["a"]), stage.following(1));
    let end = follow(&following, &mut tracker, future::pending(), &|_| {}).await;
    assert!(matches!(end, End::Deadline), "{end:?}");
    assert_eq!(states(&tracker), [HostState::Silent]);
    let (mut tracker, following) = (stage.tracker(&["a"]), stage.following(60));
    let stop = sleep(Duration::from_millis(200));
    let end = follow(&following, &mut tracker, stop, &|_| {}).await;
    assert!(matches!(end, End::Stopped), "{end:?}");
    assert_eq!(states(&tracker), [HostState::Asked]);
}

#[tokio::test]
async fn what_came_just_before_the_deadline_is_heard() {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_heard_before_the_deadline().await {
        assert!(Instant::now() < until, "nothing is ever in time");
    }
}

/// Of a report that comes between the board's look after a second and the deadline; false when it came too late.
async fn is_heard_before_the_deadline() -> bool {
    let stage = stage(&["a"]).await;
    let other = stage.beside().await;
    other.says("a", Said::Succeeded, None).await;
    let mut tracker = stage.tracker(&["a"]);
    let following = Following {
        limit: Duration::from_millis(1950),
        ..stage.following(0)
    };
    let deadline = Instant::now() + following.limit;
    let said = async {
        sleep(Duration::from_millis(1050)).await;
        // Written before, as a slow disk would take longer than there is.
        std::fs::rename(other.report("a"), stage.report("a")).unwrap();
        Instant::now() < deadline
    };
    let (end, in_time) = tokio::join!(follow(&following, &mut tracker, future::pending(), &|_| {}), said);
    if in_time {
        assert!(matches!(end, End::Done), "{end:?}");
        assert_eq!(states(&tracker), [HostState::Succeeded]);
    }
    in_time
}
