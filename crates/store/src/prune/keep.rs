//! Which releases of a stage stay, and why. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::PRUNE_AGE;
use crate::kick::{Kick, KickResult, WayBack, repairable};
use crate::live::Damaged;
use crate::{Release, ReleaseId};

/// A kick that was started that long ago, in seconds, and has no end is over, unless the stage's lock is held.
const LONGEST_KICK: i64 = 24 * 60 * 60;

/// Why a release stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// It is among the newest good ones of a role.
    Newest {
        /// The role.
        role: String,
    },
    /// It is the newest of its stage.
    Latest,
    /// It was published a short time ago.
    Young,
    /// New hosts of a role boot with it.
    Live {
        /// The role.
        role: String,
    },
    /// Which release is live for a role of it is not known: what lies there is damaged.
    LiveUnknown {
        /// The role.
        role: String,
    },
    /// A role would go back to it.
    Back {
        /// The role.
        role: String,
    },
    /// It is the last that succeeded on a role's hosts.
    LastGood {
        /// The role.
        role: String,
    },
    /// A role, or some of its hosts, were told it last: a repair would tell it again.
    LastKicked {
        /// The role.
        role: String,
    },
    /// A kick of it has not ended.
    InFlight {
        /// The kick's id.
        kick: String,
    },
}

/// What is known of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct StageView<'a> {
    /// Its releases, newest first.
    pub releases: &'a [Release],
    /// The release that is live, by role.
    pub live: &'a BTreeMap<String, String>,
    /// The roles of which that is not known.
    pub damaged: &'a BTreeMap<String, Damaged>,
    /// Its kicks, newest first.
    pub kicks: &'a [Kick],
    /// Whether a kick may be under way.
    pub locked: bool,
}

/// The releases that stay, with the reasons; `keep` good ones of each role are among them.
pub(super) fn reasons(stage: StageView<'_>, keep: u32, now: i64) -> BTreeMap<ReleaseId, BTreeSet<Reason>> {
    let mut all: BTreeMap<ReleaseId, BTreeSet<Reason>> = BTreeMap::new();
    let mut stays = |id: &str, reason: Reason| {
        if let Some(release) = stage.releases.iter().find(|release| release.id.as_str() == id) {
            all.entry(release.id.clone()).or_default().insert(reason);
        }
    };
    if let Some(latest) = stage.releases.first() {
        stays(latest.id.as_str(), Reason::Latest);
    }
    for release in stage.releases {
        // A clock may have been behind when the id was made, or when the document was.
        if release.time.max(release.id.time()) > now - PRUNE_AGE {
            stays(release.id.as_str(), Reason::Young);
        }
    }
    for kick in stage.kicks {
        let started = &kick.started;
        let running = stage.locked || started.time > now - LONGEST_KICK;
        if kick.ended.is_none() && running {
            let kick = started.kick.to_string();
            stays(&started.release, Reason::InFlight { kick: kick.clone() });
            // Where it would go back to.
            if let Some(live) = &started.live {
                stays(live, Reason::InFlight { kick });
            }
        }
    }
    for release in stage.releases {
        for role in release
            .roles
            .keys()
            .filter(|role| stage.damaged.contains_key(*role))
        {
            stays(release.id.as_str(), Reason::LiveUnknown { role: role.clone() });
        }
    }
    for role in roles(stage) {
        of_role(stage, &role, &mut stays);
        let good = stage.releases.iter().filter(|release| {
            release.roles.contains_key(&role) && !has_failed(stage.kicks, release.id.as_str(), &role)
        });
        for release in good.take(keep as usize) {
            stays(release.id.as_str(), Reason::Newest { role: role.clone() });
        }
    }
    all
}

/// The releases that a role runs, would go back to, or would be repaired with.
fn of_role(stage: StageView<'_>, role: &str, stays: &mut impl FnMut(&str, Reason)) {
    let name = || role.to_owned();
    let kicks = || stage.kicks.iter().filter(move |kick| kick.started.role == role);
    let live = stage.live.get(role);
    if let Some(live) = live {
        stays(live, Reason::Live { role: name() });
    }
    if let Some(mut way) = live.map(|live| WayBack::from(live.as_str())) {
        let _ = kicks().any(|kick| way.is_found(kick));
        if let Some(back) = way.found() {
            stays(&back, Reason::Back { role: name() });
        }
    }
    let last = kicks().next().map(|last| last.started.release.as_str());
    for told in repairable(kicks()).into_iter().chain(last) {
        stays(told, Reason::LastKicked { role: name() });
    }
    let mut good = kicks().filter(|kick| result(kick) == Some(KickResult::Succeeded));
    if let Some(last) = good.next() {
        stays(&last.started.release, Reason::LastGood { role: name() });
    }
}

/// Whether a role's hosts were told of the release, and it came to no good end.
fn has_failed(kicks: &[Kick], release: &str, role: &str) -> bool {
    let mut results = kicks
        .iter()
        .filter(|kick| kick.started.release == release && kick.started.role == role)
        .filter_map(result)
        .peekable();
    let good = |result| matches!(result, KickResult::Succeeded | KickResult::NotFollowed);
    results.peek().is_some() && !results.any(good)
}

fn result(kick: &Kick) -> Option<KickResult> {
    kick.ended.as_ref().map(|ended| ended.result)
}

/// Every role that the stage has, or had.
fn roles(stage: StageView<'_>) -> BTreeSet<String> {
    let published = stage.releases.iter().flat_map(|release| release.roles.keys());
    let kicked = stage.kicks.iter().map(|kick| &kick.started.role);
    published
        .chain(kicked)
        .chain(stage.live.keys())
        .cloned()
        .collect()
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
