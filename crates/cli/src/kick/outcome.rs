//! What came of one role's kick: where each host stands, why it ended, what is said about it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shipit_fleet::follow::HostNow;
use shipit_store::{HostEnd, HostState, KickResult, OnceEnd};

use super::plan::Plan;
use crate::context::Context;
use crate::errors::{CliError, Kind};

/// How many hosts an error names.
const NAMED: usize = 20;

/// How far a kick is: filled as it goes, so that each way out knows.
#[derive(Debug, Default)]
pub struct Progress {
    /// Each host that was told.
    pub hosts: BTreeMap<String, HostNow>,
    /// Hosts that are expected by number, and did not report.
    pub missing: usize,
    /// The ends of the logs of hosts that did not succeed.
    pub logs: BTreeMap<String, String>,
    /// Hosts whose logs were shown as they came, just now.
    pub shown: BTreeSet<String>,
    /// Each event that was fired.
    pub events: Vec<Fired>,
    /// Waves that ended well.
    pub waves: usize,
    /// Whether the role's `once` commands ran to their end.
    pub once: bool,
    /// The host that the `once` commands were told, and where they stand there.
    pub once_on: Option<(String, HostNow)>,
    /// Whether its release is live now.
    pub moved_live: bool,
    /// The release that was live before.
    pub before: Option<String>,
}

/// An event that Consul accepted.
#[derive(Debug, Clone, Serialize)]
pub struct Fired {
    /// Its name.
    pub event: String,
    /// The id that Consul gave it.
    pub id: String,
}

/// Why a kick ended before its time.
#[derive(Debug)]
pub enum Stop {
    /// More hosts failed or stayed silent than may.
    Hosts,
    /// The check between two waves.
    Check(String),
    /// The `once` commands, on this host.
    Once(String),
    /// The `once` commands, of whose end this host did not report in time.
    OnceSilent(String),
    /// A signal.
    Signal,
    /// The lock was lost.
    Lost(String),
    /// It cannot go on.
    Error(Box<CliError>),
}

impl From<CliError> for Stop {
    fn from(error: CliError) -> Self {
        match error.kind() {
            Kind::Interrupted | Kind::Terminated => Stop::Signal,
            _ => Stop::Error(Box::new(error)),
        }
    }
}

impl Progress {
    /// How many hosts failed, or were expected and silent.
    pub fn bad(&self) -> usize {
        self.hosts.values().filter(|now| now.is_bad()).count() + self.missing
    }

    /// The hosts that failed, or were expected and silent, each with the reason.
    pub fn bad_hosts(&self) -> Vec<String> {
        let bad = self.hosts.iter().filter(|(_, now)| now.is_bad());
        let mut named: Vec<String> = bad.map(|(host, now)| with_reason(host, now)).collect();
        if self.missing > 0 {
            named.push(format!("{} more did not report", self.missing));
        }
        named
    }

    /// The hosts that were told and did not come to an end.
    pub fn open(&self) -> Vec<String> {
        let open =
            |now: &HostNow| matches!(now.state, HostState::Asked | HostState::Started) && now.dead.is_none();
        let open = self.hosts.iter().filter(|(_, now)| open(now));
        open.map(|(host, _)| host.clone()).collect()
    }

    /// The hosts of a plan that nobody told.
    pub fn not_told(&self, plan: &Plan<'_>) -> Vec<String> {
        let names = plan.hosts.names().into_iter();
        names.filter(|name| !self.hosts.contains_key(name)).collect()
    }

    /// How many hosts are in a state.
    pub fn count(&self, state: HostState) -> usize {
        self.hosts.values().filter(|now| now.state == state).count()
    }

    /// The host on which the `once` commands did not come to an end.
    pub fn once_open(&self) -> Option<&str> {
        let (host, now) = self.once_on.as_ref()?;
        let open = matches!(
            now.state,
            HostState::Asked | HostState::Started | HostState::Silent
        );
        open.then_some(host.as_str())
    }

    /// For the history.
    pub fn once_end(&self) -> Option<OnceEnd> {
        let (host, now) = self.once_on.as_ref()?;
        Some(OnceEnd {
            host: host.clone(),
            end: end(now),
        })
    }

    /// For the history.
    pub fn ends(&self) -> BTreeMap<String, HostEnd> {
        self.hosts
            .iter()
            .map(|(host, now)| (host.clone(), end(now)))
            .collect()
    }

    /// `5 succeeded, 1 failed, 2 silent`.
    pub fn summary(&self) -> String {
        let states = [
            HostState::Succeeded,
            HostState::Failed,
            HostState::Silent,
            HostState::Started,
            HostState::Asked,
        ];
        let counts = states.map(|state| (self.count(state), state.as_str()));
        let parts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        match parts.is_empty() {
            true => "no host was told".to_owned(),
            false => parts.join(", "),
        }
    }
}

fn end(now: &HostNow) -> HostEnd {
    HostEnd {
        state: now.state,
        reason: now.reason.clone(),
        time: now.time,
    }
}

fn with_reason(host: &str, now: &HostNow) -> String {
    match (&now.reason, now.state) {
        (Some(reason), HostState::Silent) => format!("{host} (silent: {reason})"),
        (Some(reason), _) => format!("{host} ({reason})"),
        (None, state) => format!("{host} ({})", state.as_str()),
    }
}

/// Names for a sentence; of many the first ones.
pub fn named(names: &[String]) -> String {
    match names.len().checked_sub(NAMED) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..NAMED].join(", ")),
    }
}

impl Stop {
    /// For the history.
    pub fn result(&self) -> KickResult {
        match self {
            Stop::Hosts | Stop::Check(_) | Stop::Once(_) | Stop::OnceSilent(_) => KickResult::Failed,
            Stop::Signal => KickResult::Interrupted,
            Stop::Lost(_) => KickResult::LockLost,
            Stop::Error(_) => KickResult::Error,
        }
    }

    /// Whether the release is to blame, so that going back may help.
    pub fn blames_release(&self) -> bool {
        matches!(
            self,
            Stop::Hosts | Stop::Check(_) | Stop::Once(_) | Stop::OnceSilent(_)
        )
    }

    /// In one line, for the history and notices.
    pub fn reason(&self, progress: &Progress, context: &Context) -> String {
        match self {
            Stop::Hosts => named(&progress.bad_hosts()),
            Stop::Check(why) => format!("the check between waves failed: {why}"),
            Stop::Once(why) => format!("the once commands failed: {why}"),
            Stop::OnceSilent(why) => {
                format!("the once commands did not report in time, and may still run: {why}")
            }
            Stop::Signal => {
                let name = context.interrupt.signal().map_or("a signal", |asked| asked.name);
                format!("stopped by {name}")
            }
            Stop::Lost(why) => format!("the lock was lost: {why}"),
            Stop::Error(error) => error.chain().join(": "),
        }
    }
}
