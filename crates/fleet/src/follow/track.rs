//! What is known of each host that a kick told: a state machine that is fed reports and checks, and says when there is
//! nothing left to wait for. It does no I/O.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use shipit_store::HostState;

use crate::board::Cursor;
use crate::report::{Found, Said};

/// What is waited for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The kick's id.
    pub kick: String,
    /// The release's id.
    pub release: String,
    /// The hosts that were told, by name.
    pub hosts: Vec<Told>,
    /// How many hosts are to report, when they are not known by name: each that reports is one of them.
    pub count: Option<usize>,
    /// Whether the release is to be in service then: not with a `once` manifest.
    pub switches: bool,
    /// More failed hosts than this end the waiting.
    pub may_fail: usize,
    /// Whether a host that succeeded has to pass the checks of its service too.
    pub checked: bool,
}

/// A host that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// Why nothing is to be expected of it (its node is dead); it is not waited for then.
    pub dead: Option<String>,
}

/// What is known of one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostNow {
    /// Where it stands.
    pub state: HostState,
    /// How far it says it is.
    pub phase: Option<String>,
    /// Why it did not succeed, in one line.
    pub reason: Option<String>,
    /// When it said its last word, in unix seconds of its own clock.
    pub time: Option<i64>,
    /// Why nothing is expected of it.
    pub dead: Option<String>,
    /// Whether it reported success and its service's checks do not pass yet.
    pub unchecked: bool,
    #[serde(skip)]
    index: u64,
    #[serde(skip)]
    heard: Option<Instant>,
}

/// A host whose state, phase or reason is another one now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The host.
    pub host: String,
    /// What is known of it now.
    #[serde(flatten)]
    pub now: HostNow,
}

/// Why waiting is over, seen from the hosts alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Each host that is waited for has said its last word, and no more failed than may.
    Done,
    /// More hosts failed than may.
    TooMany,
}

impl HostNow {
    /// A host that was told, and did not answer yet.
    pub fn asked(dead: Option<String>) -> Self {
        HostNow {
            state: HostState::Asked,
            phase: None,
            reason: None,
            time: None,
            dead,
            unchecked: false,
            index: 0,
            heard: None,
        }
    }

    /// Whether the host counts as one that failed: it said so, or was expected to speak and did not.
    pub fn is_bad(&self) -> bool {
        match self.state {
            HostState::Failed => true,
            HostState::Silent => self.dead.is_none(),
            _ => false,
        }
    }

    /// Whether there is more to come of it.
    fn is_awaited(&self) -> bool {
        match self.state {
            HostState::Asked => self.dead.is_none(),
            HostState::Started => true,
            _ => false,
        }
    }
}

/// The hosts of one wave.
#[derive(Debug, Clone)]
pub struct Tracker {
    wanted: Wanted,
    since: Cursor,
    hosts: BTreeMap<String, HostNow>,
    /// The indexes of what hosts had said in this kick before it asked them (again), by node; none before the first look.
    past: Option<BTreeMap<String, u64>>,
}

impl Tracker {
    /// The hosts are asked; reports that are no newer than `since`, and stand there at the first look, are of the past.
    pub fn new(wanted: Wanted, since: Cursor) -> Self {
        let hosts = wanted
            .hosts
            .iter()
            .map(|told| (told.name.clone(), HostNow::asked(told.dead.clone())))
            .collect();
        Tracker {
            wanted,
            since,
            hosts,
            past: None,
        }
    }

    /// What is waited for.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The hosts by name.
    pub fn hosts(&self) -> &BTreeMap<String, HostNow> {
        &self.hosts
    }

    /// The hosts by name, for good.
    pub fn into_hosts(self) -> BTreeMap<String, HostNow> {
        self.hosts
    }

    /// Takes reports, in any order, old ones among them; gives what changed, by name.
    pub fn reports(&mut self, found: &[Found], at: Instant) -> Vec<Change> {
        let mut changed = Vec::new();
        let past = self
            .past
            .take()
            .unwrap_or_else(|| past(found, &self.wanted, self.since));
        let answers: Vec<&Found> = found
            .iter()
            .filter(|found| answers(found, &self.wanted, self.since, &past))
            .collect();
        self.past = Some(past);
        for report in answers {
            let now = match self.hosts.get_mut(&report.node) {
                Some(now) => now,
                None if self.wanted.count.is_some() => self
                    .hosts
                    .entry(report.node.clone())
                    .or_insert_with(|| HostNow::asked(None)),
                None => continue,
            };
            if !is_news(report, now) {
                continue;
            }
            let next = said(report, &self.wanted, now, at);
            let differs = (next.state, &next.phase, &next.reason) != (now.state, &now.phase, &now.reason);
            *now = next;
            if differs {
                changed.push(change(&report.node, now));
            }
        }
        changed.sort_by(|a, b| a.host.cmp(&b.host));
        changed
    }

    /// The hosts that succeeded by their own word, and whose service's checks are still to pass.
    pub fn unchecked(&self) -> Vec<String> {
        let waiting = self.hosts.iter().filter(|(_, now)| now.unchecked);
        waiting.map(|(name, _)| name.clone()).collect()
    }

    /// Takes what the checks of a service say: by host, those that fail; a host that is not among them has no such service.
    pub fn checks(&mut self, failing: &BTreeMap<String, Vec<String>>, service: &str) -> Vec<Change> {
        let mut changed = Vec::new();
        for (name, now) in self.hosts.iter_mut().filter(|(_, now)| now.unchecked) {
            let reason = match failing.get(name) {
                Some(failing) if failing.is_empty() => {
                    now.state = HostState::Succeeded;
                    (now.unchecked, now.phase, now.reason) = (false, None, None);
                    changed.push(change(name, now));
                    continue;
                }
                Some(failing) => format!("checks of the service {service} fail: {}", failing.join(", ")),
                None => format!("the service {service} is not registered on it"),
            };
            if now.reason.as_deref() != Some(&reason) {
                now.reason = Some(reason);
                changed.push(change(name, now));
            }
        }
        changed
    }

    /// Whether there is nothing left to wait for.
    pub fn verdict(&self) -> Option<Verdict> {
        if self.bad() > self.wanted.may_fail {
            return Some(Verdict::TooMany);
        }
        let awaited = self.hosts.values().any(HostNow::is_awaited);
        (!awaited && self.missing() == 0).then_some(Verdict::Done)
    }

    /// How many hosts count as failed.
    pub fn bad(&self) -> usize {
        self.hosts.values().filter(|now| now.is_bad()).count()
    }

    /// How many hosts said their last word.
    pub fn ended(&self) -> usize {
        let ended = |now: &&HostNow| matches!(now.state, HostState::Succeeded | HostState::Failed);
        self.hosts.values().filter(ended).count()
    }

    /// How many hosts are waited for by number and did not report at all.
    pub fn missing(&self) -> usize {
        let count = self.wanted.count.unwrap_or_default();
        count.saturating_sub(self.hosts.len())
    }

    /// The hosts that more is to come of.
    pub fn awaited(&self) -> Vec<String> {
        let awaited = self.hosts.iter().filter(|(_, now)| now.is_awaited());
        awaited.map(|(name, _)| name.clone()).collect()
    }

    /// The deadline is over: who has not said the last word is silent, and who did not pass its checks has failed.
    pub fn expire(&mut self, waited: Duration, at: Instant) -> Vec<Change> {
        let mut changed = Vec::new();
        for (name, now) in &mut self.hosts {
            if !matches!(now.state, HostState::Asked | HostState::Started) {
                continue;
            }
            if now.unchecked {
                now.state = HostState::Failed;
                let why = now.reason.take();
                now.reason = why.or_else(|| Some("its service's checks were not looked at".to_owned()));
            } else {
                now.reason = Some(silence(now, waited, at));
                now.state = HostState::Silent;
            }
            now.unchecked = false;
            changed.push(change(name, now));
        }
        changed
    }

    /// The rest is waited for no more, though the deadline is not over: hosts that are dead are silent.
    pub fn settle(&mut self) {
        for now in self.hosts.values_mut() {
            if let (HostState::Asked, Some(dead)) = (now.state, &now.dead) {
                now.reason = Some(dead.clone());
                now.state = HostState::Silent;
            }
        }
    }
}

/// Whether a report is an answer to this kick. One that came since the first look and names it is, whatever its index: a board
/// that was restored from a backup counts from less than before.
fn answers(found: &Found, wanted: &Wanted, since: Cursor, past: &BTreeMap<String, u64>) -> bool {
    let newer = found.index > since.0;
    let ours = match &found.report.kick {
        Some(kick) => *kick == wanted.kick && (newer || past.get(&found.node) != Some(&found.index)),
        None => newer,
    };
    ours && found.release == wanted.release
}

/// What hosts had said in this kick before they were asked.
fn past(found: &[Found], wanted: &Wanted, since: Cursor) -> BTreeMap<String, u64> {
    let ours = |found: &&Found| found.report.kick.as_ref() == Some(&wanted.kick);
    let past = found
        .iter()
        .filter(ours)
        .filter(|found| found.index <= since.0 && found.release == wanted.release);
    past.map(|found| (found.node.clone(), found.index)).collect()
}

/// Whether a report comes after what is known of its host. An index that went back is a board that was restored, or a server
/// that lags behind: the host's clock tells them apart, except within one second, which is no proof of either.
fn is_news(found: &Found, known: &HostNow) -> bool {
    found.index > known.index || (found.index < known.index && Some(found.report.time) > known.time)
}

fn change(host: &str, now: &HostNow) -> Change {
    Change {
        host: host.to_owned(),
        now: now.clone(),
    }
}

/// What a report makes of a host.
fn said(found: &Found, wanted: &Wanted, before: &HostNow, at: Instant) -> HostNow {
    let report = &found.report;
    let mut now = HostNow {
        state: HostState::Started,
        phase: report.phase.clone(),
        reason: None,
        time: Some(report.time),
        dead: before.dead.clone(),
        unchecked: false,
        index: found.index,
        heard: Some(at),
    };
    match report.state {
        Said::Started => {}
        Said::Failed => {
            now.state = HostState::Failed;
            now.reason = Some(
                report
                    .message
                    .clone()
                    .unwrap_or_else(|| "it says that it failed".to_owned()),
            );
        }
        Said::Succeeded => match &report.current {
            Some(current) if wanted.switches && *current != wanted.release => {
                now.state = HostState::Failed;
                now.reason = Some(format!("current is {current}"));
            }
            _ if wanted.checked => {
                now.unchecked = true;
                now.phase = Some("checks".to_owned());
            }
            _ => {
                now.state = HostState::Succeeded;
                now.phase = None;
            }
        },
    }
    now
}

/// Why a host is called silent.
fn silence(now: &HostNow, waited: Duration, at: Instant) -> String {
    match (now.heard, &now.dead) {
        (Some(heard), _) => {
            let ago = at.saturating_duration_since(heard).as_secs();
            let phase = now.phase.as_deref().unwrap_or("started");
            format!("its last word came {ago} s before the deadline: {phase}")
        }
        (None, Some(dead)) => dead.clone(),
        (None, None) => format!("nothing was heard from it in {} s", waited.as_secs()),
    }
}

#[cfg(test)]
mod tests;
