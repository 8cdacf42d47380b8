//! Where each host of a role stands: what was asked of it, what it said, and what it has in service. Reads, asks nobody.
//!
//! Not here: how it is printed ([`crate::commands::status`]), and following one kick (the kick itself).

mod gather;
mod outage;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use shipit_fleet::report::{Asked, Found, Said};
use shipit_store::{Ended, HostState, KickId};

pub use gather::RoleBoard;

/// One host of one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// The role.
    pub role: String,
    /// The node in Consul; with the transport exec, the host.
    pub host: String,
    /// Whether its agent is up; null when nobody knows.
    pub alive: Option<bool>,
    /// Whether it is among the role's hosts; false of one that only has old reports.
    pub expected: bool,
    /// The release in service, as far as the host said.
    pub in_service: Option<String>,
    /// What it was last known to have in service, where it is not known what it has now.
    pub before: Option<String>,
    /// What it was last asked for; what it reported last when it was never asked.
    pub release: Option<String>,
    /// The kick that asked.
    pub kick: Option<String>,
    /// Where it stands with that; null when nothing was ever asked of it and it said nothing.
    pub state: Option<HostState>,
    /// How far it was.
    pub phase: Option<String>,
    /// Since when, in unix seconds: of its own clock when it said so, else of the kick's.
    pub since: Option<i64>,
    /// Its last word.
    pub says: Option<String>,
    /// Whether what it has in service is the live release; null when one of the two is not known.
    pub live: Option<bool>,
}

/// What is known of a role's hosts.
#[derive(Debug, Default)]
pub struct Known {
    /// The role.
    pub role: String,
    /// The hosts that the role has, and whether they are up.
    pub expected: BTreeMap<String, Option<bool>>,
    /// What was last asked of each.
    pub asked: BTreeMap<String, Asked>,
    /// What they said.
    pub reports: Vec<Found>,
    /// The ends of the role's newest kicks, by their ids.
    pub ended: BTreeMap<String, Ended>,
    /// The releases of the same kicks, and of those among them that have no end.
    pub releases: BTreeMap<String, String>,
    /// The live release.
    pub live: Option<String>,
}

/// A line per host: those that are expected, and those that have said or been asked something.
pub fn hosts(known: &Known) -> Vec<HostStatus> {
    let mut reports: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
    for found in &known.reports {
        reports.entry(&found.node).or_default().push(found);
    }
    let names: BTreeSet<&str> = known
        .expected
        .keys()
        .chain(known.asked.keys())
        .map(String::as_str)
        .chain(reports.keys().copied())
        .collect();
    names
        .into_iter()
        .map(|name| {
            host(
                name,
                known,
                reports.get_mut(name).map_or(&mut [], Vec::as_mut_slice),
            )
        })
        .collect()
}

fn host(name: &str, known: &Known, reports: &mut [&Found]) -> HostStatus {
    reports.sort_by_key(|found| std::cmp::Reverse(found.index));
    let asked = known.asked.get(name).filter(|asked| told(asked, name, known));
    let answer = match asked {
        Some(asked) => reports.iter().find(|found| answers(asked, found)),
        None => reports.first(),
    };
    let over = asked.and_then(|asked| known.ended.get(&asked.kick));
    let in_service = in_service(reports, name, known);
    let before = match in_service {
        Some(_) => None,
        None => last_known(reports, name, known),
    };
    let given_up = over.is_some_and(|ended| gave_up(ended, name));
    let state = match (answer, asked) {
        (Some(found), _) => Some(match found.report.state {
            Said::Started if given_up => HostState::Silent,
            Said::Started => HostState::Started,
            Said::Failed => HostState::Failed,
            Said::Succeeded if elsewhere(found) => HostState::Failed,
            Said::Succeeded => HostState::Succeeded,
        }),
        (None, Some(_)) if given_up => Some(HostState::Silent),
        (None, Some(_)) => Some(HostState::Asked),
        (None, None) => None,
    };
    HostStatus {
        role: known.role.clone(),
        host: name.to_owned(),
        alive: known.expected.get(name).copied().flatten(),
        expected: known.expected.contains_key(name),
        live: known
            .live
            .as_ref()
            .and_then(|live| Some(in_service.as_ref()? == live)),
        in_service,
        before,
        release: asked
            .map(|asked| asked.release.clone())
            .or_else(|| answer.map(|found| found.release.clone())),
        kick: asked.map(|asked| asked.kick.clone()),
        state,
        phase: answer.and_then(|found| found.report.phase.clone()),
        since: answer
            .map(|found| found.report.time)
            .or_else(|| asked.and_then(asked_at)),
        says: says(answer.copied(), over, name),
    }
}

/// Whether a kick came as far as this host: one that stopped at a bad wave never told the hosts of the later ones.
fn told(asked: &Asked, name: &str, known: &Known) -> bool {
    known
        .ended
        .get(&asked.kick)
        .is_none_or(|ended| ended.hosts.is_empty() || ended.hosts.contains_key(name))
}

/// Whether a kick waited for this host in vain. One that nobody followed, or that ended early, says nothing of hosts that go on.
fn gave_up(ended: &Ended, name: &str) -> bool {
    ended
        .hosts
        .get(name)
        .is_some_and(|end| end.state == HostState::Silent)
}

/// The host's own last word; of one that had none, the kick's about it.
fn says(answer: Option<&Found>, over: Option<&Ended>, name: &str) -> Option<String> {
    if let Some(found) = answer {
        if found.report.state == Said::Succeeded && elsewhere(found) {
            let current = found.report.current.as_deref().unwrap_or_default();
            return Some(format!("current is {current}"));
        }
        if found.report.message.is_some() {
            return found.report.message.clone();
        }
    }
    over?.hosts.get(name)?.reason.clone()
}

/// By how much the clock of a host may be behind that of who kicked, in seconds.
const CLOCKS: i64 = 600;

/// Whether a report is about what was asked: a handler that could not read its ask names no kick, and its report counts when it
/// came after the kick began.
fn answers(asked: &Asked, found: &Found) -> bool {
    found.release == asked.release
        && match &found.report.kick {
            Some(kick) => *kick == asked.kick,
            None => asked_at(asked).is_none_or(|begun| found.report.time >= begun - CLOCKS),
        }
}

fn asked_at(asked: &Asked) -> Option<i64> {
    Some(KickId::parse(&asked.kick).ok()?.time())
}

/// Whether a host that says it succeeded has something else in service.
fn elsewhere(found: &Found) -> bool {
    found
        .report
        .current
        .as_ref()
        .is_some_and(|current| *current != found.release)
}

/// What a host has in service by its newest report. One that failed and does not say what it has may have switched or not; one that
/// has begun still has what it had.
fn in_service(newest_first: &[&Found], name: &str, known: &Known) -> Option<String> {
    let found = newest_first.first()?;
    match (&found.report.current, found.report.state) {
        (Some(current), _) => Some(current.clone()),
        (None, Said::Succeeded) => Some(found.release.clone()),
        (None, Said::Failed) => None,
        (None, Said::Started) => before(found, &newest_first[1..], name, known),
    }
}

/// What it was last known to have: by its own word, or by a kick that it did well in, whose report another one may have replaced.
fn last_known(newest_first: &[&Found], name: &str, known: &Known) -> Option<String> {
    let said = newest_first.iter().find_map(|found| {
        let report = &found.report;
        let done = (report.state == Said::Succeeded).then(|| found.release.clone());
        Some((report.kick.clone(), report.current.clone().or(done)?))
    });
    let kicked = known.releases.iter().rev().find_map(|(kick, release)| {
        let end = known.ended.get(kick)?.hosts.get(name)?;
        (end.state == HostState::Succeeded).then(|| (Some(kick.clone()), release.clone()))
    });
    // A kick's id tells its time.
    said.max(kicked).map(|(_, release)| release)
}

/// What it had before it began: by the kicks before, for a board has one report of each release, and this one may have taken the
/// place of another; by older reports when these kicks did not tell it.
fn before(begun: &Found, older: &[&Found], name: &str, known: &Known) -> Option<String> {
    for (kick, release) in known.releases.iter().rev() {
        if begun.report.kick.as_ref() == Some(kick) {
            continue;
        }
        // Of a kick that has no end nobody knows what it left.
        let ended = known.ended.get(kick)?;
        match ended.hosts.get(name) {
            None => {}
            Some(end) if end.state == HostState::Succeeded => return Some(release.clone()),
            Some(_) => return None,
        }
    }
    in_service(older, name, known)
}

#[cfg(test)]
mod tests;
