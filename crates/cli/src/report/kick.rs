//! What following a wave of hosts reports.

use std::time::Instant;

use shipit_fleet::follow::{Change, Event, Told};
use shipit_store::HostState;

use crate::output::{Hosts, Output};

/// How many of a log's last lines are shown with an error; `shipit logs` has the rest.
const LAST_LINES: usize = 10;

/// Reporter of one wave.
#[derive(Debug)]
pub struct Kick {
    output: Output,
    hosts: Hosts,
    begin: Instant,
}

impl Kick {
    /// Writes to this output, until it is dropped.
    pub fn new(output: &Output, label: &str, told: &[Told], count: Option<usize>) -> Self {
        let alive = told.iter().filter(|told| told.dead.is_none());
        let hosts = output.hosts(label, count.unwrap_or(alive.clone().count()));
        for told in alive {
            hosts.set(&told.name, "asked");
        }
        Kick {
            output: output.clone(),
            hosts,
            begin: Instant::now(),
        }
    }

    /// One event.
    pub fn event(&self, event: &Event) {
        match event {
            Event::Host(change) => self.host(change),
            Event::Lost { reason } => self.output.warn(format!(
                "the hosts' reports cannot be read, which keeps no host from going on: {reason}; asking again until the deadline"
            )),
            Event::Back { seconds } => self
                .output
                .say(format!("the hosts' reports can be read again, after {seconds:.1} s")),
        }
    }

    fn host(&self, change: &Change) {
        let (host, now) = (&change.host, &change.now);
        let seconds = self.begin.elapsed().as_secs_f64();
        let why = now
            .reason
            .as_ref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        match now.state {
            HostState::Asked => self.hosts.set(host, "asked"),
            HostState::Started => {
                let phase = now
                    .phase
                    .as_ref()
                    .map(|phase| format!(" ({phase})"))
                    .unwrap_or_default();
                self.hosts.set(host, &format!("started{phase}{why}"));
                self.output.say(format!("{host}: started{phase}{why}"));
            }
            HostState::Succeeded => {
                self.hosts.done(host);
                self.output.say(format!("{host}: succeeded in {seconds:.1} s"));
            }
            HostState::Failed => {
                self.hosts.done(host);
                self.output.say(format!("{host}: failed in {seconds:.1} s{why}"));
            }
            HostState::Silent => {
                self.hosts.done(host);
                self.output.say(format!("{host}: silent{why}"));
            }
        }
    }
}

/// The last lines of a host's log, as part of an error.
pub fn last_lines(output: &Output, host: &str, log: &str) {
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        output.quoted(host, line);
    }
}
