//! What a board promises, held by each: by Consul's, by the store's in a directory, and by the store's on a real S3 server.

use std::sync::Arc;
use std::time::Duration;

use shipit_fleet::board::{Attempt, Board, ConsulBoard, Grip, Held, Holder, StoreBoard};
use shipit_store::kick::{self, Action, KICK_VERSION, KickId, Started};
use shipit_store::{S3Options, Store, StoreOptions, StoreUrl};
use shipit_testbed::{ConsulAgent, S3Server, Tmp};

use crate::agents::{client, on_threads};

#[path = "board/locks.rs"]
mod locks;
#[path = "board/reports.rs"]
mod reports;

pub const APP: &str = "shop";
pub const STAGE: &str = "production";

/// Where boards stand.
pub trait Place: Send + Sync {
    /// One more board of the same stage, as another process has it.
    fn board(&self) -> Arc<dyn Board>;

    /// What a kick writes into the history before it asks.
    fn begin(&self, _started: &Started) {}
}

struct InConsul(ConsulAgent);

impl Place for InConsul {
    fn board(&self) -> Arc<dyn Board> {
        Arc::new(ConsulBoard::new(client(&self.0.url()), APP, STAGE))
    }

    /// Its hosts are nodes of the catalog.
    fn begin(&self, started: &Started) {
        for node in &started.hosts {
            let body = serde_json::json!({ "Node": node, "Address": "127.0.0.2" }).to_string();
            let done = self.0.api("PUT", "/v1/catalog/register", body.as_bytes());
            assert_eq!(done.status, 200, "{}", done.text());
        }
    }
}

struct InStore {
    store: Store,
    _keep: Box<dyn Send + Sync>,
}

impl Place for InStore {
    fn board(&self) -> Arc<dyn Board> {
        let board = StoreBoard::new(&self.store, APP, STAGE).unwrap();
        Arc::new(board.with_ttl(Duration::from_secs(3)))
    }

    fn begin(&self, started: &Started) {
        on_threads(kick::start(&self.store, started)).unwrap();
    }
}

fn in_consul() -> impl Place {
    InConsul(ConsulAgent::server())
}

fn in_directory() -> impl Place {
    let tmp = Tmp::in_memory("board");
    let url = StoreUrl::parse(&format!("file://{}", tmp.path().display())).unwrap();
    InStore {
        store: Store::open(&url, StoreOptions::default()).unwrap(),
        _keep: Box::new(tmp),
    }
}

fn in_bucket() -> impl Place {
    let server = S3Server::start();
    server.create_bucket("boards");
    let mut s3 = S3Options::new(sdk_config(&server));
    s3.endpoint = Some(format!("http://{}", server.addr()));
    s3.region = Some(server.region().to_owned());
    let options = StoreOptions {
        s3: Some(s3),
        ..StoreOptions::default()
    };
    let url = StoreUrl::parse("s3://boards/shipit").unwrap();
    InStore {
        store: Store::open(&url, options).unwrap(),
        _keep: Box::new(server),
    }
}

fn sdk_config(server: &S3Server) -> aws_config::SdkConfig {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, SharedCredentialsProvider};
    let (access, secret) = (server.access_key(), server.secret_key());
    let credentials = Credentials::new(access, secret, None, None, "test");
    aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Each promise as a test of each place.
macro_rules! suite {
    ($($promise:path => $name:ident),* $(,)?) => {
        suite!(@ consul in_consul $($promise => $name),*);
        suite!(@ directory in_directory $($promise => $name),*);
        suite!(@ bucket in_bucket $($promise => $name),*);
    };
    (@ $module:ident $place:ident $($promise:path => $name:ident),*) => {
        mod $module {
            $(
                #[test]
                #[ignore = "needs the testbed; run make test"]
                fn $name() {
                    $promise(&super::$place());
                }
            )*
        }
    };
}

suite! {
    super::locks::one_holder_at_a_time => one_holder_at_a_time,
    super::locks::of_many_at_once_one_gets_it => of_many_at_once_one_gets_it,
    super::locks::a_renewed_lock_stands => a_renewed_lock_stands,
    super::locks::a_crashed_holder_frees_itself => a_crashed_holder_frees_itself,
    super::locks::a_manual_lock_stands_until_it_is_ended => a_manual_lock_stands_until_it_is_ended,
    super::locks::a_grip_turns_into_a_manual_lock => a_grip_turns_into_a_manual_lock,
    super::locks::a_lock_that_was_ended_is_lost => a_lock_that_was_ended_is_lost,
    super::reports::what_is_asked_is_told => what_is_asked_is_told,
    super::reports::whoever_is_there_is_asked_nothing_by_name => whoever_is_there_is_asked_nothing_by_name,
    super::reports::reports_come_in_order => reports_come_in_order,
    super::reports::a_reader_waits_for_news => a_reader_waits_for_news,
    super::reports::logs_are_kept_and_forgotten => logs_are_kept_and_forgotten,
}

pub fn holder(id: &str) -> Holder {
    Holder {
        id: id.to_owned(),
        who: format!("{id}@kicker"),
        build: Some("https://jenkins.example/job/shop/7/".to_owned()),
        pid: Some(42),
        doing: "kick web".to_owned(),
        revision: Some("3074f46".repeat(5)),
        reason: None,
        time: 1_795_000_000,
        manual: false,
    }
}

pub fn by_hand(id: &str) -> Holder {
    Holder {
        doing: "lock".to_owned(),
        reason: Some("db migration".to_owned()),
        manual: true,
        ..holder(id)
    }
}

pub async fn take(board: &dyn Board, id: &str) -> Grip {
    match board.try_lock(&holder(id)).await.unwrap() {
        Attempt::Taken(grip) => grip,
        Attempt::Held(held) => panic!("{id} wants it, {} has it", held.holder.id),
    }
}

/// Who has it when this one asks.
pub async fn refused(board: &dyn Board, id: &str) -> Held {
    match board.try_lock(&holder(id)).await.unwrap() {
        Attempt::Taken(_) => panic!("{id} got it"),
        Attempt::Held(held) => *held,
    }
}

/// The beginning of a kick, with an id of its own.
pub fn started(role: &str, release: &str, nodes: &[&str], time: i64) -> Started {
    Started {
        version: KICK_VERSION,
        kick: KickId::new(time).unwrap(),
        app: APP.to_owned(),
        stage: STAGE.to_owned(),
        role: role.to_owned(),
        action: Action::Kick,
        release: release.to_owned(),
        revision: "3074f46".repeat(6)[..40].to_owned(),
        live: None,
        batch: None,
        lock: None,
        transport: "exec".to_owned(),
        whole: false,
        followed: true,
        hosts: nodes.iter().map(|&node| node.to_owned()).collect(),
        expected: None,
        who: "test".to_owned(),
        reason: None,
        time,
    }
}
