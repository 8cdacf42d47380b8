//! What a role's kicks say of its releases: which one it goes back to, and which ones a repair may tell again. No I/O is done here.

use std::collections::BTreeSet;

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

    /// Whether it moved live, by its end; of one that was killed before it could write that, by what was live `after` it, which the
    /// next newer kick says, or the live pointer.
    fn moved_live(&self, after: Option<&str>) -> bool {
        match &self.ended {
            Some(ended) => ended.moved_live,
            None => {
                self.started.whole
                    && self.started.action != Action::Repair
                    && after == Some(self.started.release.as_str())
            }
        }
    }
}

/// Looks for the release that a role goes back to from its live one: the one that was live before that was kicked. A release that a
/// rollback left since, and that was not live again, is passed over for the one before it, and so is the live one itself: a second
/// rollback goes further back, whatever was kicked twice. A rollback to what another one had left takes that leaving back: its
/// release is good again, by the word of who named it, and the one that it came from was not left for being bad.
#[derive(Clone, Debug)]
pub struct WayBack {
    live: String,
    /// What was live after the next older kick, where that is known.
    after: Option<String>,
    /// The role's kicks that moved live, newest first.
    moves: Vec<Move>,
    found: Option<String>,
    passed: Vec<String>,
    /// The release that it came to, where only a kick of that one leads further.
    end: Option<String>,
}

/// A kick that moved live.
#[derive(Clone, Debug)]
struct Move {
    action: Action,
    to: String,
    from: Option<String>,
}

/// What was found among the kicks that are known so far.
struct Look {
    found: Option<String>,
    passed: Vec<String>,
    /// Whether older kicks can change nothing of it.
    sure: bool,
    /// The release that it came to.
    end: String,
}

impl WayBack {
    /// From the live release.
    pub fn from(live: &str) -> Self {
        Self {
            live: live.to_owned(),
            after: Some(live.to_owned()),
            moves: Vec::new(),
            found: None,
            passed: Vec::new(),
            end: None,
        }
    }

    /// Takes the role's newest kick, and from then on the next older one; true when it is found.
    pub fn is_found(&mut self, kick: &Kick) -> bool {
        let started = &kick.started;
        let after = std::mem::replace(&mut self.after, started.live.clone());
        if self.found.is_some() || !kick.moved_live(after.as_deref()) {
            return self.found.is_some();
        }
        self.moves.push(Move {
            action: started.action,
            to: started.release.clone(),
            from: started.live.clone(),
        });
        // A long history without an answer is not gone through again for each kick of it.
        if self.end.as_ref().is_some_and(|end| *end != started.release) {
            return false;
        }
        let Look {
            found,
            passed,
            sure,
            end,
        } = self.look();
        self.end = sure.then_some(end);
        if sure {
            (self.found, self.passed) = (found, passed);
        }
        self.found.is_some()
    }

    /// The release, when there is one among the kicks that were taken.
    pub fn found(&self) -> Option<String> {
        self.found.clone().or_else(|| self.look().found)
    }

    /// The releases on the way that rollbacks left, the newest first.
    pub fn passed(&self) -> Vec<String> {
        match self.found {
            Some(_) => self.passed.clone(),
            None => self.look().passed,
        }
    }

    /// Goes from the live release to what it was brought in place of, and on as long as that is not to be gone to.
    fn look(&self) -> Look {
        let mut look = Look {
            found: None,
            passed: Vec::new(),
            sure: true,
            end: self.live.clone(),
        };
        let mut at = self.live.as_str();
        for (index, kick) in self.moves.iter().enumerate() {
            let Some(before) = kick.brought_in_place_of(at) else {
                continue;
            };
            // It was live when this kick came: what was older than that counts no more.
            let left = self.left(before, 0, index);
            look.sure &= left.is_some();
            let left = left.unwrap_or(true);
            if !left && before != self.live {
                look.found = Some(before.to_owned());
                return look;
            }
            if left && !look.passed.iter().any(|passed| passed == before) {
                look.passed.push(before.to_owned());
            }
            at = before;
            look.end = at.to_owned();
        }
        look
    }

    /// Whether the last that happened to a release, from the `newest` of these kicks to before the one at `end`, is that a rollback
    /// left it. None when that hangs on a kick older than all that were taken.
    fn left(&self, release: &str, newest: usize, end: usize) -> Option<bool> {
        for (index, kick) in self.moves.iter().enumerate().take(end).skip(newest) {
            if kick.to == release {
                return Some(false);
            }
            if kick.action == Action::Rollback && kick.from.as_deref() == Some(release) {
                // To what had been left: that takes a leaving back, and is none.
                match self.was_left(&kick.to, index + 1) {
                    Some(true) => {}
                    Some(false) => return Some(true),
                    None => return None,
                }
            }
        }
        Some(false)
    }

    /// As [`left`](Self::left), before the kick at `since`: one that nothing is known of may have been left by an older kick.
    fn was_left(&self, release: &str, since: usize) -> Option<bool> {
        let touches = |kick: &Move| kick.to == release || kick.from.as_deref() == Some(release);
        match self.moves[since..].iter().any(touches) {
            true => self.left(release, since, self.moves.len()),
            false => None,
        }
    }
}

impl Move {
    /// The release in whose place it brought this one. A rollback brings nothing: it goes back to what a kick brought.
    fn brought_in_place_of(&self, release: &str) -> Option<&str> {
        let kicked = self.action == Action::Kick && self.to == release;
        self.from.as_deref().filter(|from| kicked && *from != release)
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
