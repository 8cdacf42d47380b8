//! Whom a kick reaches: waves and their events, once, single hosts, back again, and kicks that nobody follows.

use serde_json::Value;
use shipit_testbed::{ConsulCluster, until};

use crate::host::Handler;
use crate::shop::{Config, EVENT, KICKER, SOON, Shop, WithLogs, line};

const HOSTS: [&str; 5] = ["web1", "web10", "web2", "web3", "web4"];
const ONCE: &str =
    "once = ['''echo \"$NODE\" >>@HOSTS@/migrated; echo \"$NODE migrates\"; [ ! -e @HOSTS@/once.fail ]''']";

fn shop() -> Shop {
    let nodes = [&[KICKER, "batch1"][..], &HOSTS].concat();
    let cluster = ConsulCluster::with_servers(3, &nodes);
    let mut shop = Shop::new(
        cluster,
        &Config {
            role: ONCE,
            ..Config::default()
        },
    );
    for (at, node) in HOSTS.iter().enumerate() {
        let handler = if at % 2 == 0 {
            Handler::Stretcher
        } else {
            Handler::Apply
        };
        shop.host(node, handler);
    }
    shop
}

/// How many events each host's agent let through since the last look.
struct Counted(Vec<usize>);

impl Counted {
    fn look(shop: &Shop) -> Self {
        Counted(HOSTS.iter().map(|node| shop.events(node)).collect())
    }

    fn since(&mut self, shop: &Shop) -> Vec<usize> {
        let now = Self::look(shop).0;
        let new = now
            .iter()
            .zip(&self.0)
            .map(|(now, before)| now - before)
            .collect();
        self.0 = now;
        new
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_kick_reaches_the_hosts_that_are_meant_and_no_others() {
    let shop = shop();
    let one = shop.release("one");
    let mut events = Counted::look(&shop);
    in_waves(&shop, &mut events);
    single_hosts(&shop, &mut events);
    let two = not_followed(&shop, &mut events);
    back_and_forth(&shop, &one, &two);
    once_that_fails_stops_the_kick(&shop, &mut events);
    assert_eq!(shop.agent("batch1").events(EVENT).len(), 0, "no host of the role");
}

fn in_waves(shop: &Shop, events: &mut Counted) {
    let ran = shop
        .shipit("kick", &["--batch", "2", "--output", "json"])
        .exits_with_logs(0, shop);
    let document: Value = serde_json::from_str(&ran.out()).unwrap();
    let role = &document["roles"][0];
    assert_eq!(
        (role["waves"].as_u64(), role["once"].as_bool()),
        (Some(3), Some(true)),
        "{document}"
    );
    // One for once, one for each wave.
    assert_eq!(role["events"].as_array().unwrap().len(), 4, "{document}");
    assert_eq!(events.since(shop), [2, 1, 1, 1, 1], "{}", shop.logs());
    assert_eq!(shop.text("migrated"), "web1\n");
    let told = shop.told();
    let in_order = |wave: &[&str]| {
        let mut wave = wave.to_vec();
        wave.sort_unstable();
        wave.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut waves: Vec<Vec<String>> = told.chunks(2).map(<[String]>::to_vec).collect();
    waves.iter_mut().for_each(|wave| wave.sort());
    assert_eq!(
        waves,
        [
            in_order(&["web1", "web10"]),
            in_order(&["web2", "web3"]),
            in_order(&["web4"])
        ]
    );
    let log = shop
        .project
        .shipit(&["logs", "web1", "--stage", "staging"])
        .run()
        .ok();
    for part in ["web1 migrates", "web1 works"] {
        assert!(log.out().contains(part), "{part}\n{log}");
    }
}

fn single_hosts(shop: &Shop, events: &mut Counted) {
    let before = shop.last_kick()["started"]["kick"].clone();
    let ran = shop.shipit("kick", &["--only", "web1"]).ok();
    assert_eq!(ran.out(), line("web1", "succeeded"));
    assert_eq!(events.since(shop), [1, 0, 0, 0, 0]);
    let ran = shop.shipit("kick", &["--only", "web3", "--only", "web10"]).ok();
    assert_eq!(
        ran.out(),
        [line("web10", "succeeded"), line("web3", "succeeded")].concat()
    );
    assert_eq!(events.since(shop), [0, 1, 0, 1, 0]);
    assert_eq!(shop.told().len(), 5, "they have it, and do nothing again");
    assert_eq!(shop.text("migrated"), "web1\n", "once is not for single hosts");
    assert_ne!(shop.last_kick()["started"]["kick"], before);
}

/// Fired and left alone: live at once, and status tells what comes of it.
fn not_followed(shop: &Shop, events: &mut Counted) -> String {
    let two = shop.release("two");
    shop.switch("web2.hang", true);
    let ran = shop.shipit("kick", &["--no-wait"]).ok();
    assert!(
        ran.out().lines().all(|line| line.len() == 36),
        "events' ids\n{ran}"
    );
    assert_eq!(shop.live().as_ref(), Some(&two));
    assert_eq!(shop.last_kick()["ended"]["result"], "not_followed");
    until("all but one to be done", SOON, || {
        let states = shop.states();
        states
            .iter()
            .all(|(node, state)| (state == "succeeded") != (node == "web2"))
    });
    let status = &shop.status()["web2"];
    assert_eq!(
        (status["state"].as_str(), status["expected"].as_bool()),
        (Some("started"), Some(true)),
        "{status}"
    );
    shop.switch("web2.hang", false);
    until("the last one to be done", SOON, || {
        shop.states()["web2"] == "succeeded"
    });
    events.since(shop);
    two
}

/// Back by both handlers, to what was live before; forth again to what is named, which takes that back; and back once more.
fn back_and_forth(shop: &Shop, one: &str, two: &str) {
    for (args, wanted) in [(&[][..], one), (&["--to", two][..], two), (&[][..], one)] {
        let told = shop.told().len();
        let ran = shop.shipit("rollback", args).exits_with_logs(0, shop);
        assert_eq!(ran.out().matches("\tsucceeded\n").count(), 5, "{ran}");
        for node in HOSTS {
            assert_eq!(shop.hosts[node].current().as_deref(), Some(wanted), "{node}");
        }
        assert_eq!(
            (shop.live().as_deref(), shop.told().len()),
            (Some(wanted), told + 5)
        );
        let kick = shop.last_kick();
        assert_eq!(
            (&kick["started"]["action"], &kick["started"]["release"]),
            (&"rollback".into(), &wanted.into())
        );
    }
    // Once for each release that was kicked.
    assert_eq!(
        shop.text("migrated"),
        "web1\nweb1\n",
        "going back migrates nothing"
    );
}

fn once_that_fails_stops_the_kick(shop: &Shop, events: &mut Counted) {
    let (told, live) = (shop.told().len(), shop.live());
    let _ = shop.release("three");
    events.since(shop);
    shop.switch("once.fail", true);
    let ran = shop.shipit("kick", &[]).exits_with_logs(7, shop);
    let ran = ran.says("once commands failed");
    let its_word = |line: &str| line.starts_with("web1 | ") && line.ends_with("web1 migrates");
    assert!(ran.err().lines().any(its_word), "{ran}");
    assert_eq!(events.since(shop), [1, 0, 0, 0, 0], "{ran}");
    assert_eq!((shop.told().len(), shop.live()), (told, live));
    shop.switch("once.fail", false);
    let _ = shop.shipit("kick", &["--batch", "60%"]).exits_with_logs(0, shop);
    assert_eq!(events.since(shop), [2, 1, 1, 1, 1]);
    assert_eq!(shop.text("migrated").lines().count(), 4);
}
