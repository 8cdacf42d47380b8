//! Kicks that are killed at each of their writes, and at random: the lock frees itself, the next kick goes, and what is told of
//! the killed one is true. Two kicks at the same moment: one proceeds. With the lock in Consul and in a store.
//!
//! Every effect of a kick by exec is a request to the store or to Consul: a proxy holds one back, and the kick is killed then.

use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use shipit_testbed::{ConsulAgent, Fault, FaultProxy, Process, S3Server, Signal, until};

use crate::fleet::{Fleet, states};

const SOON: Duration = Duration::from_secs(100);
/// What the requests of a kick are told apart by.
const AREAS: [&str; 8] = [
    "/locks/",
    "/kicks/",
    "/live/",
    "/v1/session/",
    "/v1/txn",
    "/v1/event/",
    "/v1/kv/",
    "/",
];

/// Hosts that are told by exec, a store in a bucket, and Consul or not.
pub struct Bed {
    pub fleet: Fleet,
    pub releases: [String; 2],
    pub s3: FaultProxy,
    consul: Option<FaultProxy>,
    _server: S3Server,
    pub agent: Option<ConsulAgent>,
}

/// A write of a kick: the n-th to this part of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Point {
    consul: bool,
    method: String,
    area: &'static str,
    nth: usize,
}

/// When a kick is killed.
#[derive(Debug)]
enum Kill {
    /// Before the server has heard of this write.
    Before(Point),
    /// When the server has done it, and the kick does not know yet.
    After(Point),
    /// While its host is at work.
    Told,
    /// Then.
    Time(Duration),
}

impl Bed {
    pub fn new(with_consul: bool) -> Self {
        let server = S3Server::start();
        server.create_bucket("deploys");
        let s3 = FaultProxy::start(server.addr());
        let agent = with_consul.then(ConsulAgent::dev);
        let consul = agent.as_ref().map(|agent| FaultProxy::start(agent.addr()));
        let table = consul.as_ref().map_or(String::new(), |consul| {
            format!("[consul]\naddress = \"{}\"", consul.url())
        });
        let mut fleet = Fleet::new(&["a"], "", &table);
        fleet.project.env(server.env_at(&s3.url()));
        let config = fleet.project.repo.join("shipit.toml");
        let text = std::fs::read_to_string(config).unwrap();
        let directory = format!("url = \"file://{}\"", fleet.project.tmp.join("store").display());
        let bucket = format!(
            "url = \"s3://deploys\"\nregion = \"{}\"\nendpoint = \"{}\"",
            server.region(),
            s3.url()
        );
        assert!(text.contains(&directory));
        fleet.project.config(&text.replace(&directory, &bucket));
        // The server keeps its objects as files: they are looked at as if the directory were the store.
        let objects = server.object_path("deploys", "x").parent().unwrap().to_owned();
        std::os::unix::fs::symlink(objects, fleet.project.tmp.join("store")).unwrap();
        let releases = ["one", "two"].map(|text| fleet.release(text));
        Bed {
            fleet,
            releases,
            s3,
            consul,
            _server: server,
            agent,
        }
    }

    /// Twice the time that a lock stands, and what a busy machine takes.
    fn patience(&self) -> String {
        match self.consul {
            Some(_) => "60s".to_owned(),
            None => "100s".to_owned(),
        }
    }

    fn proxies(&self) -> impl Iterator<Item = (bool, &FaultProxy)> {
        let consul = self.consul.iter().map(|proxy| (true, proxy));
        [(false, &self.s3)].into_iter().chain(consul)
    }

    /// The writes of a kick that nothing disturbs.
    fn points(&self) -> Vec<Point> {
        self.proxies().for_each(|(_, proxy)| proxy.forget());
        let _ = self.fleet.shipit("kick", &["--release", &self.releases[1]]).ok();
        let mut points: Vec<Point> = Vec::new();
        for (consul, proxy) in self.proxies() {
            for seen in proxy.seen() {
                if seen.method == "GET" || seen.method == "HEAD" {
                    continue;
                }
                let area = AREAS.into_iter().find(|area| seen.target.contains(area)).unwrap();
                let alike = |point: &&Point| (point.area, &point.method) == (area, &seen.method);
                let nth = points.iter().filter(alike).count();
                points.push(Point {
                    consul,
                    method: seen.method,
                    area,
                    nth,
                });
            }
        }
        assert!(points.len() >= 6, "{points:?}");
        points
    }

    fn proxy(&self, point: &Point) -> &FaultProxy {
        match point.consul {
            true => self.consul.as_ref().unwrap(),
            false => &self.s3,
        }
    }

    /// Kills one kick; whether it was still running.
    fn kill(&self, release: &str, kill: &Kill) -> bool {
        self.proxies().for_each(|(_, proxy)| proxy.forget());
        if let Kill::Before(point) | Kill::After(point) = kill {
            let fault = match kill {
                Kill::After(_) => Fault::hold_answer(),
                _ => Fault::hold(),
            };
            let fault = fault.method(&point.method).path(point.area).after(point.nth);
            self.proxy(point).inject(fault);
        }
        self.fleet.hangs("a", matches!(kill, Kill::Told));
        let told = self.fleet.told("a").len();
        let mut kick = self.fleet.start("kick", &["--release", release]);
        match kill {
            Kill::Before(point) | Kill::After(point) => {
                let done = matches!(kill, Kill::After(_));
                let reached = || self.reached(point, done);
                until("the point", SOON, || reached() || !kick.running());
            }
            Kill::Told => self.fleet.wait_told("a", told + 1),
            Kill::Time(time) => std::thread::sleep(*time),
        }
        kick.signal(Signal::KILL);
        let status = kick.wait(SOON).unwrap();
        self.proxies().for_each(|(_, proxy)| proxy.heal());
        self.fleet.hangs("a", false);
        status.code().is_none()
    }

    fn reached(&self, point: &Point, done: bool) -> bool {
        let seen = self.proxy(point).seen();
        let mut alike = seen
            .iter()
            .filter(|seen| seen.method == point.method && seen.target.contains(point.area));
        let last = alike.nth(point.nth);
        last.is_some_and(|seen| !done || seen.status.is_some())
    }

    fn document(&self, command: &str) -> Value {
        let args = [command, "--stage", "staging", "--output", "json"];
        let ran = self.fleet.project.shipit(&args).run().ok();
        serde_json::from_str(&ran.out()).unwrap()
    }

    /// A kick killed, what is told of it, and the next one.
    fn round(&self, number: usize, kill: &Kill) -> bool {
        // Another one than the live one, so that it moves.
        let live = self.fleet.live();
        let other = |release: &&String| Some(*release) != live.as_ref();
        let release = self.releases.iter().find(other).unwrap();
        let before = self.fleet.history().len();
        let killed = self.kill(release, kill);
        self.told_truly(release, before, kill);
        let patience = self.patience();
        let next = ["--release", release, "--lock-wait", &patience];
        let next = [&["kick", "web", "--stage", "staging"][..], &next].concat();
        let mut next = self.fleet.project.shipit(&next);
        if number % 2 == 1 {
            // As on another machine, where a kick that was killed here leaves no sign but its lock.
            next = next.env("TMPDIR", self.fleet.project.tmp.mkdir("elsewhere"));
        }
        let ran = next.run();
        assert_eq!(ran.code(), Some(0), "{kill:?}\n{ran}");
        let history = self.document("history");
        let kicks = history["kicks"].as_array().unwrap();
        assert_eq!(kicks[0]["state"], "succeeded", "{kill:?}: {history}");
        assert!(
            kicks.iter().all(|kick| kick["state"] != "running"),
            "{kill:?}: {history}"
        );
        let status = self.document("status");
        assert_eq!(status["roles"][0]["live"], json!(release), "{kill:?}: {status}");
        assert_eq!(states(&status), [("a".to_owned(), "succeeded".to_owned())]);
        assert_eq!(self.fleet.live().as_ref(), Some(release), "{kill:?}");
        assert_eq!(self.fleet.releases("a").last(), Some(release), "{kill:?}");
        assert!(!self.is_locked(), "{kill:?}");
        killed
    }

    /// Right after the kill: an end that is not written is not told, and no success that was not.
    #[track_caller]
    fn told_truly(&self, release: &str, before: usize, kill: &Kill) {
        let locked = self.is_locked();
        let history = self.document("history");
        let files = self.fleet.history();
        let kicks = history["kicks"].as_array().unwrap();
        assert_eq!(kicks.len(), files.len().min(20), "{kill:?}");
        if let Some((started, ended)) = files.get(before) {
            let kick = &kicks[0];
            assert_eq!(kick["started"]["kick"], started["kick"], "{kill:?}");
            match ended {
                Some(ended) => assert_eq!(kick["state"], ended["result"], "{kill:?}"),
                None if locked && self.is_locked() => assert_eq!(kick["state"], "running", "{kill:?}"),
                None => assert!(kick["state"] == "running" || kick["state"] == "interrupted"),
            }
        }
        let status = self.document("status");
        let host = &status["roles"][0]["hosts"][0];
        if host["state"] == "succeeded" && host["release"] == release && files.len() > before {
            assert_eq!(
                self.fleet.releases("a").last().map(String::as_str),
                Some(release),
                "{kill:?}: {status}"
            );
        }
    }

    fn is_locked(&self) -> bool {
        self.document_of_lock()["locked"] == true
    }

    fn document_of_lock(&self) -> Value {
        let args = ["lock", "--status", "--stage", "staging", "--output", "json"];
        let ran = self.fleet.project.shipit(&args).run();
        serde_json::from_str(&ran.out()).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    /// Two kicks as close to each other as can be: which of them is first is left to them.
    fn two_at_once(&self, rounds: usize) {
        for round in 0..rounds {
            let (told, before) = (self.fleet.told("a").len(), self.fleet.history().len());
            self.fleet.hangs("a", true);
            let mut kicks = [self.fleet.start("kick", &[]), self.fleet.start("kick", &[])];
            until("one of them to be kept out", SOON, || {
                kicks.iter_mut().filter_map(running).count() == 1
            });
            self.fleet.wait_told("a", told + 1);
            self.fleet.hangs("a", false);
            let logs: Vec<String> = kicks.iter().map(Process::log).collect();
            let mut codes = kicks.map(|mut kick| kick.wait(SOON).unwrap().code());
            codes.sort_unstable();
            assert_eq!(codes, [Some(0), Some(8)], "round {round}: {logs:?}");
            assert_eq!(self.fleet.told("a").len(), told + 1, "round {round}");
            let history = self.fleet.history();
            assert_eq!(history.len(), before + 1, "round {round}");
            let ended = history.last().unwrap().1.as_ref().unwrap();
            assert_eq!(ended["result"], "succeeded", "round {round}");
        }
        assert!(!self.is_locked());
    }
}

fn running(kick: &mut Process) -> Option<()> {
    kick.running().then_some(())
}

/// Kicks killed at each write in turn, before and after it, while hosts work, and at random; a few beds at a time, for most of the
/// time is waiting for locks.
fn killed(with_consul: bool, rounds: usize, seed: u64) {
    const BEDS: usize = 5;
    let each = rounds.div_ceil(BEDS);
    let killed: usize = std::thread::scope(|scope| {
        let beds: Vec<_> = (0..BEDS.min(rounds))
            .map(|bed| scope.spawn(move || killed_in_one(with_consul, bed, each, seed)))
            .collect();
        beds.into_iter().map(|bed| bed.join().unwrap()).sum()
    });
    assert!(
        killed * 2 > rounds,
        "only {killed} of {rounds} were killed in time"
    );
}

fn killed_in_one(with_consul: bool, number: usize, rounds: usize, seed: u64) -> usize {
    let bed = Bed::new(with_consul);
    let mut rng = Rng::with_seed(seed + number as u64);
    let points = bed.points();
    let named: Vec<Kill> = points
        .into_iter()
        .flat_map(|point| [Kill::Before(point.clone()), Kill::After(point)])
        .chain([Kill::Told])
        .collect();
    let begin = Instant::now();
    let _ = bed.fleet.shipit("kick", &[]).ok();
    let whole = begin.elapsed();
    let mut killed = 0;
    for round in 0..rounds {
        // The beds share the points; every third kill comes at random.
        let place = number * rounds + round;
        let random = Kill::Time(whole.mul_f64(rng.f64()));
        let kill = match round % 3 {
            2 => &random,
            _ => &named[place % named.len()],
        };
        killed += usize::from(bed.round(round, kill));
    }
    killed
}

/// How often, when nobody wants it shorter.
#[allow(
    clippy::disallowed_methods,
    reason = "a test that takes an hour may be shortened"
)]
fn rounds(usual: usize) -> usize {
    std::env::var("SHIPIT_SOAK_KICKS").map_or(usual, |text| text.parse().unwrap())
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn of_two_kicks_at_once_one_proceeds_whatever_holds_the_lock() {
    for with_consul in [true, false] {
        Bed::new(with_consul).two_at_once(3);
    }
}

#[test]
#[ignore = "needs the testbed; run make test"]
fn a_kick_killed_with_a_lock_in_consul_leaves_nothing_that_lasts() {
    // When its history has begun, and nobody was told; and when its release is live, and its end is not written.
    let at = |(number, area)| {
        let bed = Bed::new(true);
        let points = bed.points();
        let point = points.iter().find(|point| point.area == area).unwrap();
        assert!(bed.round(number, &Kill::After(point.clone())));
    };
    std::thread::scope(|scope| {
        for kill in [(0, "/kicks/"), (1, "/live/")] {
            scope.spawn(move || at(kill));
        }
    });
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_two_kicks_at_once_in_consul() {
    Bed::new(true).two_at_once(rounds(100));
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_two_kicks_at_once_in_a_store() {
    Bed::new(false).two_at_once(rounds(100));
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_kicks_killed_with_the_lock_in_consul() {
    killed(true, rounds(50), 1);
}

#[test]
#[ignore = "takes minutes; run make soak"]
fn soak_kicks_killed_with_the_lock_in_a_store() {
    killed(false, rounds(50), 2);
}
