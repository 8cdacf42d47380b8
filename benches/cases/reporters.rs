//! A thousand hosts that report within ten seconds: what following them costs, and how soon `shipit status` shows it.
//!
//! The hosts are simulated: their nodes are registered in the catalog, and their reports are written here.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use shipit_testbed::{ConsulAgent, wait_for};

use super::kicked::{ASKS, Kicked, REPORTS};
use crate::compare::{Limited, Measured, Unit};
use crate::inputs::Inputs;
use crate::run::cpu;

const HOSTS: usize = 1000;
/// How many connections the hosts' agents have to the servers, so to speak.
const WRITERS: usize = 4;
/// Each host says that it started at some time within this, and that it succeeded so much later.
const STARTS: Duration = Duration::from_secs(9);
const WORK: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(60);
/// What a command may take of a processor, in milliseconds of each second, and how late a report may be shown.
const CPU_LIMIT: f64 = 100.0;
const LATEST: f64 = 1.0;

/// What the processors did for the kick that follows them.
pub fn following(inputs: &Inputs) -> Measured {
    load(inputs, |load| Limited::all(&load.kick, CPU_LIMIT, Unit::CpuMs))
}

/// What they did for `shipit status --watch`.
pub fn watching(inputs: &Inputs) -> Measured {
    load(inputs, |load| Limited::all(&load.status, CPU_LIMIT, Unit::CpuMs))
}

/// How late a report was shown by it, at the latest.
pub fn shown(inputs: &Inputs) -> Measured {
    load(inputs, |load| Limited::greatest(&load.delays, LATEST, Unit::S))
}

fn load(inputs: &Inputs, part: impl FnOnce(&Load) -> Limited) -> Measured {
    static LOAD: OnceLock<Load> = OnceLock::new();
    Measured::Limited(part(LOAD.get_or_init(|| Load::measure(inputs))))
}

/// What was measured in one run.
struct Load {
    /// The milliseconds of the processors in each second.
    kick: Vec<f64>,
    status: Vec<f64>,
    /// The seconds from the writing of each report until it was shown.
    delays: Vec<f64>,
}

/// A host, and whether it says that it succeeded.
type Word = (usize, bool);

impl Load {
    fn measure(inputs: &Inputs) -> Self {
        let agent = ConsulAgent::dev();
        register(&agent);
        let names: Vec<String> = (0..HOSTS).map(name).collect();
        let kicked = Kicked::new(&inputs.dir("reporters"), &agent, &format!("hosts = {names:?}"));
        let mut status = start(kicked.shipit(&["status", "web", "--stage", "bench", "--watch"]));
        let shown = lines(&mut status);
        let mut kick = start(kicked.shipit(&["kick", "web", "--stage", "bench"]));
        let said = lines(&mut kick);
        let asked = wait_for("the kick to ask all hosts", SOON, || {
            agent.kv_get(&format!("{ASKS}/{}", name(HOSTS - 1)))
        });
        let asked = String::from_utf8(asked).expect("plain text");
        let id = asked.split(' ').next().expect("an ask names its kick");
        thread::sleep(WORK);
        let begin = Instant::now();
        let (seconds, written) = thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (agent, release) = (&agent, kicked.release());
                    scope.spawn(move || write(agent, writer, begin, id, release))
                })
                .collect();
            let seconds = each_second(begin, [&kick, &status]);
            let written = writers
                .into_iter()
                .map(|writer| writer.join().expect("it writes"));
            (seconds, written.flatten().collect::<BTreeMap<Word, Instant>>())
        });
        let ended = kick.wait().expect("a child of ours");
        assert!(ended.success(), "the kick of {HOSTS} hosts ended with {ended}");
        assert!(said.join().expect("it reads").len() >= HOSTS);
        thread::sleep(WORK * 2);
        let pid = Pid::from_child(&status);
        kill_process(pid, Signal::INT).expect("it runs until it is stopped");
        status.wait().expect("a child of ours");
        let delays = delays(&written, &shown.join().expect("it reads"));
        let middle = crate::compare::median(&delays);
        eprintln!("  a report is shown after {middle:.3} s in the middle");
        let [kick, status] = seconds;
        Self { kick, status, delays }
    }
}

fn name(host: usize) -> String {
    format!("web{host:04}.example.com")
}

/// Makes the nodes known, with the check by which an agent counts as alive.
fn register(agent: &ConsulAgent) {
    let one = |host: usize| {
        let node = name(host);
        let check = json!({ "Node": &node, "CheckID": "serfHealth", "Name": "Serf Health Status", "Status": "passing" });
        let body = json!({ "Node": &node, "Address": "127.0.0.1", "Check": check }).to_string();
        let done = agent.api("PUT", "/v1/catalog/register", body.as_bytes());
        assert_eq!(done.status, 200, "cannot register {node}: {}", done.text());
    };
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || (writer..HOSTS).step_by(WRITERS).for_each(one));
        }
    });
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|err| panic!("cannot run {command:?}: {err}"))
}

/// The lines that it prints, each with its time.
fn lines(child: &mut Child) -> thread::JoinHandle<Vec<(Instant, String)>> {
    let out = BufReader::new(child.stdout.take().expect("piped"));
    thread::spawn(move || {
        let lines = out.lines().map_while(Result::ok);
        lines.map(|line| (Instant::now(), line)).collect()
    })
}

/// Writes what every fourth host says, at its time; when each was written.
fn write(
    agent: &ConsulAgent,
    writer: usize,
    begin: Instant,
    kick: &str,
    release: &str,
) -> Vec<(Word, Instant)> {
    let hosts = (writer..HOSTS).step_by(WRITERS);
    let mut words: Vec<(Duration, Word)> = hosts
        .flat_map(|host| {
            let at = STARTS * u32::try_from(host).expect("a small number") / HOSTS as u32;
            [(at, (host, false)), (at + WORK, (host, true))]
        })
        .collect();
    words.sort();
    let one = |(at, word): (Duration, Word)| {
        thread::sleep((begin + at).saturating_duration_since(Instant::now()));
        let (host, succeeded) = word;
        let state = if succeeded { "succeeded" } else { "started" };
        let value = json!({
            "state": state, "time": 1_795_259_200, "phase": "switched", "kick": kick, "current": release,
            "message": "the last line of the log", "handler": "stretcher",
        });
        let written = Instant::now();
        agent.kv_put(
            &format!("{REPORTS}/{}/{release}", name(host)),
            value.to_string().as_bytes(),
        );
        (word, written)
    };
    words.into_iter().map(one).collect()
}

/// The milliseconds of the processors that each of them took in each second, until shortly before the last host is done.
fn each_second(begin: Instant, children: [&Child; 2]) -> [Vec<f64>; 2] {
    let mut seconds = [Vec::new(), Vec::new()];
    let mut before = children.map(|child| cpu(child.id()));
    for second in 1..=STARTS.as_secs() {
        let end = begin + Duration::from_secs(second);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let now = children.map(|child| cpu(child.id()));
        for (at, all) in seconds.iter_mut().enumerate() {
            all.push((now[at] - before[at]) * 1000.0);
        }
        before = now;
    }
    seconds
}

/// How long after its writing each report was shown: itself, or what the host said later.
fn delays(written: &BTreeMap<Word, Instant>, shown: &[(Instant, String)]) -> Vec<f64> {
    let mut first: BTreeMap<(&str, bool), Instant> = BTreeMap::new();
    for (at, line) in shown {
        let cells: Vec<&str> = line.split('\t').collect();
        let [_, host, _, state, ..] = cells.as_slice() else {
            panic!("not a line of a host: {line}");
        };
        let words: &[bool] = match state.split([' ', ',']).next() {
            Some("started") => &[false],
            Some("succeeded") => &[false, true],
            _ => continue,
        };
        for succeeded in words {
            first.entry((*host, *succeeded)).or_insert(*at);
        }
    }
    let delay = |((host, succeeded), written): (&Word, &Instant)| {
        let name = name(*host);
        let shown = first.get(&(name.as_str(), *succeeded));
        let shown = shown.unwrap_or_else(|| panic!("what {name} said was never shown"));
        shown.saturating_duration_since(*written).as_secs_f64()
    };
    written.iter().map(delay).collect()
}
