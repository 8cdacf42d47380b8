//! What following a wave of hosts reports.

use std::collections::HashSet;
use std::time::Instant;

use shipit_fleet::follow::{Change, Event, Told};
use shipit_store::HostState;

use crate::output::{Hosts, Output, printable};

/// How many of a log's last lines are shown with an error, and how much of each; `shipit logs` has the rest.
const LAST_LINES: usize = 10;
const LAST_CHARS: usize = 500;
/// What stands in the line in which stretcher logs the whole manifest. A log begins in the middle of it when it was cut there.
const WHOLE_MANIFEST: &str = "stretcher.CommandLines{";

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

/// The last lines of a host's log, as part of an error. What stands in the manifest is left out: stretcher logs each command that it
/// runs, and once more when it fails, and a command has many lines.
pub fn last_lines(output: &Output, host: &str, log: &str, manifest: &str) {
    let log = printable(log);
    for line in telling(&log, manifest) {
        match line.char_indices().nth(LAST_CHARS) {
            Some((at, _)) => output.quoted(host, &format!("{}…", &line[..at])),
            None => output.quoted(host, line),
        }
    }
}

fn telling<'a>(log: &'a str, manifest: &str) -> Vec<&'a str> {
    let known: HashSet<&str> = manifest.lines().map(str::trim).collect();
    let new = |line: &&str| {
        !line.trim().is_empty() && !known.contains(line.trim()) && !line.contains(WHOLE_MANIFEST)
    };
    let lines: Vec<&str> = log.lines().filter(new).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_printed_is_not_lost_among_its_commands() {
        let manifest = "commands:\n  post:\n    - |\n      # shipit: run\n      set -eu\n      hook it\n";
        let log = "05-aaaa\", Commands:stretcher.Commands{Pre:stretcher.CommandLines{\"# shipit: run\\nset -eu\"}}\n\
                   invoking command: # shipit: run\nset -eu\nhook it\n\nit broke\nfailed: # shipit: run\nset -eu\nhook it exit status 1\n";
        assert_eq!(
            telling(log, manifest),
            [
                "invoking command: # shipit: run",
                "it broke",
                "failed: # shipit: run",
                "hook it exit status 1"
            ]
        );
        let many: String = (0..30).map(|number| format!("line {number}\n")).collect();
        assert_eq!(telling(&many, manifest).len(), LAST_LINES);
    }
}
