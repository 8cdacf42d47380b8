//! What a role's kicks say of its releases: which one it goes back to, and which ones a repair may tell again. No I/O is done here.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Kick, KickResult};

impl Kick {
    /// Whether it went well, or came at least as far as making its release live.
    pub fn went_well(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| {
            ended.moved_live || matches!(ended.result, KickResult::Succeeded | KickResult::NotFollowed)
        })
    }

    /// Whether any host heard of it: a kick that was stopped before changed nothing, and says nothing of its release. One that was
    /// killed may have told some, and of hosts that are known by number alone nobody knows.
    pub fn told_somebody(&self) -> bool {
        let ended = self.ended.as_ref();
        self.went_well()
            || self.started.expected.is_some()
            || ended.is_none_or(|ended| !ended.hosts.is_empty())
    }

    fn moved_live(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| ended.moved_live)
    }

    /// The release in whose place it brought this one. A rollback brings nothing: it goes back to what a kick brought.
    fn brought_in_place_of(&self, release: &str) -> Option<&str> {
        let kicked = self.started.action == Action::Kick && self.started.release == release;
        let before = self.started.live.as_deref()?;
        (kicked && self.moved_live() && before != release).then_some(before)
    }
}

/// Looks for the release that a role goes back to from its live one: the one that was live before that was kicked. A release that a
/// rollback left since, and that was not live again, is passed over for the one before it, and so is the live one itself: a second
/// rollback goes further back, whatever was kicked twice.
#[derive(Clone, Debug)]
pub struct WayBack {
    live: String,
    /// The release whose predecessor is looked for.
    at: String,
    /// By release, whether the last that happened to it is that a rollback left it.
    left: BTreeMap<String, bool>,
    passed: Vec<String>,
    found: Option<String>,
}

impl WayBack {
    /// From the live release.
    pub fn from(live: &str) -> Self {
        Self {
            live: live.to_owned(),
            at: live.to_owned(),
            left: BTreeMap::new(),
            passed: Vec::new(),
            found: None,
        }
    }

    /// Takes the role's newest kick, and from then on the next older one; true when it is found.
    pub fn is_found(&mut self, kick: &Kick) -> bool {
        if self.found.is_some() || !kick.moved_live() {
            return self.found.is_some();
        }
        let started = &kick.started;
        self.left.entry(started.release.clone()).or_insert(false);
        if let (Action::Rollback, Some(left)) = (started.action, &started.live) {
            self.left.entry(left.clone()).or_insert(true);
        }
        if let Some(before) = kick.brought_in_place_of(&self.at) {
            let left = self.left.get(before) == Some(&true);
            if left && !self.passed.iter().any(|passed| passed == before) {
                self.passed.push(before.to_owned());
            }
            if left || before == self.live {
                self.at = before.to_owned();
            } else {
                self.found = Some(before.to_owned());
            }
        }
        self.found.is_some()
    }

    /// The release, when it was found.
    pub fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// The releases on the way that rollbacks left, the newest first.
    pub fn passed(&self) -> &[String] {
        &self.passed
    }
}

/// The releases that a repair may tell again, of a role's kicks, newest first: that of the newest kick of the whole role, and those
/// that some hosts alone were told since.
pub fn repairable<'a>(kicks: impl IntoIterator<Item = &'a Kick>) -> BTreeSet<&'a str> {
    let mut releases = BTreeSet::new();
    let mut hosts = BTreeSet::new();
    for kick in kicks.into_iter().filter(|kick| kick.told_somebody()) {
        let started = &kick.started;
        if started.whole {
            releases.insert(started.release.as_str());
            break;
        }
        let newest = started.hosts.iter().filter(|host| hosts.insert(host.as_str()));
        if newest.count() > 0 {
            releases.insert(started.release.as_str());
        }
    }
    releases
}

#[cfg(test)]
#[path = "past_tests.rs"]
mod tests;
