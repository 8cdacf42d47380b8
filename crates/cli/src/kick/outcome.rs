//! What came of one role's kick: where each host stands, why it ended, what is said about it.

use std::collections::BTreeMap;

use serde::Serialize;
use shipit_fleet::follow::HostNow;
use shipit_store::{Action, HostEnd, HostState, KickResult};

use super::plan::Plan;
use super::stage::Stage;
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
    /// Each event that was fired.
    pub events: Vec<Fired>,
    /// Waves that ended well.
    pub waves: usize,
    /// Whether the role's `once` commands ran to their end.
    pub once: bool,
    /// Whether its release is live now.
    pub moved_live: bool,
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

    /// For the history.
    pub fn ends(&self) -> BTreeMap<String, HostEnd> {
        let end = |now: &HostNow| HostEnd {
            state: now.state,
            reason: now.reason.clone(),
            time: now.time,
        };
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
            Stop::Hosts | Stop::Check(_) | Stop::Once(_) => KickResult::Failed,
            Stop::Signal => KickResult::Interrupted,
            Stop::Lost(_) => KickResult::LockLost,
            Stop::Error(_) => KickResult::Error,
        }
    }

    /// Whether the release is to blame, so that going back may help.
    pub fn blames_release(&self) -> bool {
        matches!(self, Stop::Hosts | Stop::Check(_) | Stop::Once(_))
    }

    /// In one line, for the history and notices.
    pub fn reason(&self, progress: &Progress, context: &Context) -> String {
        match self {
            Stop::Hosts => named(&progress.bad_hosts()),
            Stop::Check(why) => format!("the check between waves failed: {why}"),
            Stop::Once(why) => format!("the once commands failed: {why}"),
            Stop::Signal => {
                let name = context.interrupt.signal().map_or("a signal", |asked| asked.name);
                format!("stopped by {name}")
            }
            Stop::Lost(why) => format!("the lock was lost: {why}"),
            Stop::Error(error) => error.chain().join(": "),
        }
    }

    /// For the user.
    pub fn into_error(self, stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress) -> CliError {
        let role = plan.name();
        let flag = stage.flag();
        let signal = matches!(self, Stop::Signal);
        let open = progress.open();
        let not_told = progress.not_told(plan);
        let error = match self {
            Stop::Hosts => hosts_failed(stage, plan, progress),
            Stop::Check(why) => CliError::new(
                Kind::Hosts,
                format!("role {role}: the check between waves failed: {why}"),
            ),
            Stop::Once(why) => CliError::new(
                Kind::Hosts,
                format!("role {role}: the once commands failed, and no host was told to switch: {why}"),
            )
            .hint("mend it and kick again: once commands run again until they succeed"),
            Stop::Lost(why) => CliError::new(Kind::Locked, format!("role {role}: the lock was lost: {why}"))
                .hint(format!(
                    "`shipit lock --status{flag}` says who has it now; hosts that were told go on: see `shipit status {role}{flag}`"
                )),
            Stop::Signal => stopped(stage, plan, progress),
            Stop::Error(error) => error.context(format!("role {role}")),
        };
        let error = match open.is_empty() || signal || !plan.followed {
            true => error,
            false => error.hint(format!(
                "still at it, and not followed any more: {}; `shipit status {role}{flag}` shows how they do",
                named(&open)
            )),
        };
        match not_told.is_empty() {
            true => error,
            false => error.hint(format!("not told: {}", named(&not_told))),
        }
    }
}

fn hosts_failed(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress) -> CliError {
    let flag = stage.flag();
    let (role, number) = (plan.name(), progress.hosts.len() + progress.missing);
    let bad = progress.bad_hosts();
    let again = match plan.action {
        // That one goes back already: the next one would go to the same release again.
        Action::Rollback => format!("`shipit rollback {role}{flag}` tries it again for all of them"),
        Action::Kick | Action::Repair => format!("`shipit rollback {role}{flag}` goes back"),
    };
    let error = CliError::new(
        Kind::Hosts,
        format!(
            "role {role}: {} of {number} hosts did not succeed: {}",
            progress.bad(),
            named(&bad)
        ),
    );
    // A host that was never heard of has no log of this kick.
    let spoke = progress
        .hosts
        .iter()
        .find(|(_, now)| now.is_bad() && now.time.is_some());
    error
        .maybe_hint(spoke.map(|(host, _)| format!("`shipit logs {host}{flag}` shows more")))
        .hint(format!(
            "`shipit repair {role}{flag}` tells those hosts again, {again}"
        ))
}

/// What a signal leaves: hosts that go on by themselves, and those whose commands were ended here.
fn stopped(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress) -> CliError {
    let mut error = stage.context.stopped();
    let bad = progress.bad_hosts();
    if !bad.is_empty() {
        error = error.context(format!("role {}: {}", plan.name(), named(&bad)));
    }
    let open = progress.open();
    match open.is_empty() {
        false => error.hint(format!(
            "still at it, and not followed any more: {}; see `shipit status {}{}`, or {} again: hosts that are done do nothing more",
            named(&open),
            plan.name(),
            stage.flag(),
            plan.action.as_str()
        )),
        true => error.hint(format!(
            "{} again: hosts that are done do nothing more",
            plan.action.as_str()
        )),
    }
}
