//! What happens to a kick itself: another one at the same moment, an election, KILL, a host that joins.

use std::time::{Duration, Instant};

use shipit_testbed::{ConsulCluster, Process, Signal, until};

use crate::host::Handler;
use crate::shop::{Config, KICKER, SOON, Shop, WithLogs, line};

const LOCK: &str = "shipit/locks/shop/staging";
/// Twice the time to live of a lock's session, and what a busy machine takes.
const FREES_ITSELF: Duration = Duration::from_secs(50);

#[test]
#[ignore = "needs the testbed; run make test"]
fn one_kick_at_a_time_through_elections_and_kills() {
    let nodes = [KICKER, "web1", "web2", "web3", "web4", "web5", "web6"];
    let cluster = ConsulCluster::with_servers(3, &nodes);
    let mut shop = Shop::new(cluster, &Config::default());
    for (at, node) in nodes[1..].iter().enumerate() {
        let handler = if at % 2 == 0 {
            Handler::Stretcher
        } else {
            Handler::Apply
        };
        shop.host(node, handler);
    }
    of_two_at_the_same_moment_one_proceeds(&shop);
    the_leader_is_killed_during_the_wait(&shop);
    a_killed_kick_frees_its_lock(&shop);
    who_is_left_at_work_goes_on(&shop);
    a_host_that_joins_is_told_too(&mut shop);
}

fn of_two_at_the_same_moment_one_proceeds(shop: &Shop) {
    let one = shop.release("one");
    shop.switch("web1.hang", true);
    // Each asks another agent.
    let second = |shop: &Shop| {
        let args = ["kick", "web", "--stage", "staging", "--reason", "second"];
        let cmd = shop
            .project
            .shipit(&args)
            .env("CONSUL_HTTP_ADDR", shop.agent("web6").url());
        cmd.start("kick", shop.project.tmp.join("second.log"))
    };
    let mut kicks = [shop.start("kick", &["--reason", "first"]), second(shop)];
    until("one of them to be kept out", SOON, || {
        kicks
            .iter_mut()
            .filter_map(|kick| kick.running().then_some(()))
            .count()
            == 1
    });
    shop.wait_told("web1", 1);
    shop.switch("web1.hang", false);
    let mut ends: Vec<_> = kicks.iter_mut().map(|kick| shop.end_of(kick)).collect();
    ends.sort_by_key(|(code, _)| *code);
    assert_eq!(
        (ends[0].0, ends[1].0),
        (Some(0), Some(8)),
        "{ends:?}\n{}",
        shop.logs()
    );
    assert!(ends[1].1.contains("kick web"), "{}", ends[1].1);
    assert_eq!(shop.json(&["history"])["kicks"].as_array().unwrap().len(), 1);
    assert_eq!((shop.times_told("web1"), shop.live()), (1, Some(one)));
}

fn the_leader_is_killed_during_the_wait(shop: &Shop) {
    let two = shop.release("two");
    let hanging = ["web1", "web2", "web3"];
    for node in hanging {
        shop.switch(&format!("{node}.hang"), true);
    }
    let mut kick = shop.start("kick", &[]);
    for node in hanging {
        shop.wait_told(node, 2);
    }
    let leader = shop.cluster.leader(shop.agent(KICKER));
    leader.kill9();
    // Two hosts end while there is no leader, the third after there is one again.
    shop.switch("web1.hang", false);
    shop.switch("web2.hang", false);
    until("another leader", SOON, || {
        let led = shop.agent("web5").api("GET", "/v1/kv/a?consistent", b"");
        matches!(led.status, 200 | 404) && shop.cluster.leader(shop.agent("web5")).node() != leader.node()
    });
    // Longer than a session lives that is not renewed.
    std::thread::sleep(Duration::from_secs(12));
    assert!(kick.running(), "{}", kick.log());
    assert!(
        shop.agent(KICKER).kv_get(LOCK).is_some(),
        "the lock outlives the election"
    );
    shop.switch("web3.hang", false);
    let (code, said) = shop.end_of(&mut kick);
    assert_eq!(code, Some(0), "{said}\n{}", shop.logs());
    assert_eq!(said.matches("\tsucceeded\n").count(), 6, "{said}");
    assert_eq!((shop.live(), shop.agent(KICKER).kv_get(LOCK)), (Some(two), None));
    leader.restart();
    shop.cluster.wait_joined();
}

fn a_killed_kick_frees_its_lock(shop: &Shop) {
    let three = shop.release("three");
    shop.switch("web4.hang", true);
    let mut kick = shop.start("kick", &["--reason", "to be killed"]);
    shop.wait_told("web4", 3);
    let running = shop.last_kick();
    assert_eq!(running["state"], "running", "{running}");
    let _ = kick.kill9();
    let killed = Instant::now();
    let _ = shop.shipit("kick", &[]).exits(8).says("to be killed");
    shop.switch("web4.hang", false);
    until("the lock to free itself", FREES_ITSELF, || {
        shop.agent(KICKER).kv_get(LOCK).is_none()
    });
    assert!(killed.elapsed() < FREES_ITSELF);
    let interrupted = shop.last_kick();
    assert_eq!(
        (&interrupted["state"], &interrupted["started"]["reason"]),
        (&"interrupted".into(), &"to be killed".into())
    );
    // The hosts went on by themselves, and nobody moved live.
    until("the hosts to be done", SOON, || {
        shop.status()
            .values()
            .all(|host| host["in_service"].as_str() == Some(&three))
    });
    assert_ne!(shop.live().as_ref(), Some(&three));
    let ran = shop.shipit("kick", &[]).exits_with_logs(0, shop);
    assert_eq!(ran.out().matches("\tsucceeded\n").count(), 6, "{ran}");
    assert_eq!((shop.live(), shop.times_told("web4")), (Some(three), 3));
}

fn who_is_left_at_work_goes_on(shop: &Shop) {
    shop.switch("web6.hang", true);
    let told = shop.times_told("web6");
    let next = shop.release("three and a half");
    let mut kick = shop.start("kick", &[]);
    shop.wait_told("web6", told + 1);
    until("the others to be done", SOON, || {
        kick.log().matches(": succeeded in").count() == 5
    });
    kick.signal(Signal::INT);
    let (code, said) = shop.end_of(&mut kick);
    assert_eq!(code, Some(130), "{said}");
    assert!(
        said.contains("still at it, and not followed any more: web6"),
        "{said}"
    );
    assert_eq!(shop.agent(KICKER).kv_get(LOCK), None);
    assert_eq!(shop.last_kick()["state"], "interrupted");
    assert_eq!(shop.states()["web6"], "started");
    shop.switch("web6.hang", false);
    until("web6 to be done", SOON, || shop.states()["web6"] == "succeeded");
    assert_eq!(shop.hosts["web6"].current(), Some(next));
}

fn a_host_that_joins_is_told_too(shop: &mut Shop) {
    let four = shop.release("four");
    shop.switch("web5.hang", true);
    let mut kick: Process = shop.start("kick", &[]);
    shop.wait_told("web5", 5);
    let _ = shop.cluster.join("web9");
    shop.host("web9", Handler::Stretcher);
    shop.switch("web5.hang", false);
    let (code, said) = shop.end_of(&mut kick);
    assert_eq!(code, Some(0), "{said}\n{}", shop.logs());
    assert!(
        said.contains(&line("web9", "succeeded")) && said.contains("joined since the kick began: web9"),
        "{said}"
    );
    assert_eq!(
        (shop.hosts["web9"].current(), shop.live()),
        (Some(four.clone()), Some(four))
    );
}
