//! What a kick asks of Consul before it fires, and after the last report: hosts wait for the one, people for the other.

use std::time::{Duration, Instant};

use shipit_testbed::{ConsulAgent, Fault, FaultProxy, until};

use crate::project::{Project, release_of};

const SOON: Duration = Duration::from_secs(60);
/// A kick that takes longer plans twice, as its hosts may have changed before it had the lock, and renews its lock.
const A_MOMENT: Duration = Duration::from_secs(1);
/// How long the board is tidied up where nothing else is waited for.
const TIDYING: Duration = Duration::from_secs(5);
/// How often a kick may be slower than that, on a machine that has much to do.
const TRIES: usize = 10;

struct Bed {
    project: Project,
    release: String,
    agent: ConsulAgent,
    proxy: FaultProxy,
}

impl Bed {
    fn new() -> Self {
        let agent = ConsulAgent::dev();
        let proxy = FaultProxy::start(agent.addr());
        let project = Project::new();
        project.config(&format!(
            "app = \"shop\"\n[store]\nurl = \"file://{}\"\n[consul]\naddress = \"{}\"\n[role.web]\ndest = \"/srv/shop\"\n\
             hosts = [{:?}]\n[stage.staging]\n",
            project.tmp.join("store").display(),
            proxy.url(),
            agent.node(),
        ));
        project.repo.write("app.txt", "one").commit("one");
        let _ = project.build("main");
        let release = release_of(&project.publish("staging", "web"));
        Bed {
            project,
            release,
            agent,
            proxy,
        }
    }

    fn seen(&self, part: &str) -> usize {
        let seen = self.proxy.seen();
        seen.iter().filter(|seen| seen.target.contains(part)).count()
    }

    /// A kick whose host does well when `waits` is true; how long it took.
    fn kick(&self, number: usize, mut waits: impl FnMut() -> bool) -> Duration {
        self.proxy.forget();
        let log = self.project.tmp.join(format!("kick{number}.log"));
        let kick = self.project.shipit(&["kick", "web", "--stage", "staging"]);
        let begin = Instant::now();
        let mut kick = kick.start("kick", log);
        until("the kick to wait for reports", SOON, &mut waits);
        let key = format!(
            "shipit/reports/shop/staging/web/{}/{}",
            self.agent.node(),
            self.release
        );
        let report = format!("{{\"state\":\"succeeded\",\"time\":{number}}}");
        self.agent.kv_put(&key, report.as_bytes());
        assert_eq!(kick.wait(SOON).unwrap().code(), Some(0), "{}", kick.log());
        begin.elapsed()
    }
}

/// What a request is about: `PUT event/fire`, of one to `/v1/event/fire/NAME`; of a transaction `PUT txn`.
fn kind(method: &str, target: &str) -> String {
    let path = target.split('?').next().unwrap();
    let parts: Vec<&str> = path.split('/').skip(2).take(2).collect();
    format!("{method} {}", parts.join("/"))
}

/// Whether a kick asked this and no more, before it fired and at its end; the first two side by side.
fn is_little(kinds: &[String]) -> bool {
    let fired = kinds.iter().position(|kind| kind == "PUT event/fire").unwrap();
    let (mut before, mut after) = (kinds[..fired].to_vec(), kinds[kinds.len() - 3..].to_vec());
    for side_by_side in [&mut before, &mut after] {
        let both = side_by_side.len().min(2);
        side_by_side[..both].sort();
    }
    // A free lock is not looked at first, and all asks are one transaction.
    let little = [
        "GET catalog/nodes",
        "GET health/state",
        "PUT session/create",
        "PUT txn",
        "PUT txn",
    ];
    // Who joined is looked for once, and then the lock is given back.
    before == little && after == ["GET catalog/nodes", "GET health/state", "PUT session/destroy"]
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_kick_that_finds_its_stage_free_asks_little_before_it_fires_and_after_the_last_report() {
    let bed = Bed::new();
    for number in 1..=TRIES {
        let took = bed.kick(number, || {
            // What is done beside the kick is over, too, when its reports are waited for.
            bed.seen("/v1/kv/shipit/asks/") > 0 && bed.seen("/v1/kv/shipit/reports/") > 2
        });
        let seen = bed.proxy.seen();
        let kinds: Vec<String> = seen.iter().map(|seen| kind(&seen.method, &seen.target)).collect();
        if is_little(&kinds) {
            return;
        }
        assert!(took >= A_MOMENT && number < TRIES, "in {took:?}: {kinds:?}");
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn tidying_up_the_board_holds_up_no_end() {
    let bed = Bed::new();
    // Consul takes these, and never answers.
    let asks = Fault::hold().method("GET").path("/v1/kv/shipit/asks/");
    bed.proxy.inject(asks.always());
    for number in 1..=TRIES {
        let took = bed.kick(number, || bed.seen("/v1/kv/shipit/asks/") > 0);
        if took < TIDYING {
            return;
        }
    }
    panic!("each kick took longer than tidying up may");
}
