//! Where a rollback goes, and what a repair repeats: read from the live pointer and the history.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use shipit_store::kick::{self, Kick};
use shipit_store::{Action, KickResult, Release, ReleaseId, ReleaseRef, release};

use super::live;
use super::stage::Stage;
use crate::errors::{CliError, Kind, Result};

/// A release that is found in the history.
#[derive(Debug, Clone)]
pub struct Target {
    /// It.
    pub release: Release,
    /// What is to be known of it, to be said when its hosts are told.
    pub note: Option<String>,
    /// These hosts alone.
    pub among: Option<BTreeSet<String>>,
}

impl From<Release> for Target {
    fn from(release: Release) -> Self {
        Target {
            release,
            note: None,
            among: None,
        }
    }
}

/// The release that a rollback of a role goes to.
pub fn of_rollback(stage: &Stage<'_>, role: &str) -> Result<Target> {
    let live = live::read(stage, role)?.map(|live| live.release);
    let last = newest(stage, role, |kick| is_whole(kick) && told_somebody(kick))?;
    let before = match &live {
        Some(live) => newest(stage, role, |kick| brought(kick, live))?,
        None => None,
    };
    let back = good_before(live.as_deref(), last.as_ref(), before.as_ref()).map_err(|why| {
        CliError::new(
            Kind::Refused,
            format!("{role} in {} cannot be rolled back: {why}", stage.config.stage()),
        )
        .hint(format!(
            "`shipit releases{}` lists what there is; name one by --to ID",
            stage.flag()
        ))
    })?;
    let release = find(stage, &ReleaseId::parse(&back.release)?).map_err(|error| {
        error.of_kind(Kind::Refused).context(format!(
            "{role} in {} cannot be rolled back to {}, which is not in the store any more",
            stage.config.stage(),
            back.release
        ))
    })?;
    Ok(Target {
        note: back.note,
        ..Target::from(release)
    })
}

/// The release that a role's hosts were told last, all of them; of those that only some hosts were told since, these hosts alone:
/// what was tried on one host is not spread by mending it. `only` are the hosts that the user names.
pub fn of_repair(stage: &Stage<'_>, role: &str, only: &[String]) -> Result<Target> {
    let since: RefCell<Vec<Kick>> = RefCell::default();
    let whole = newest(stage, role, |kick| {
        if !told_somebody(kick) {
            return false;
        }
        if !is_whole(kick) {
            since.borrow_mut().push(kick.clone());
        }
        is_whole(kick)
    })?;
    let again = again(whole.as_ref(), &since.into_inner(), only).map_err(|named| {
        CliError::new(
            Kind::Refused,
            format!(
                "{role} in {}: of {named}, some have another release than others by the last kicks",
                stage.config.stage()
            ),
        )
        .hint("name the release that they are to have by --release ID")
    })?;
    let Some((release, among)) = again else {
        return Err(CliError::new(
            Kind::Refused,
            format!(
                "{role} in {} was never kicked: there is nothing to repair",
                stage.config.stage()
            ),
        )
        .hint(format!("kick it: `shipit kick {role}{}`", stage.flag())));
    };
    let note = among.as_ref().map(|among| {
        let names: Vec<String> = among.iter().cloned().collect();
        format!(
            "some hosts of {role} alone were kicked last, and this repair is of them alone: {}; --release ID repairs all",
            super::outcome::named(&names)
        )
    });
    Ok(Target {
        release: find(stage, &ReleaseId::parse(&release)?)?,
        note,
        among,
    })
}

/// A release of the stage.
pub fn find(stage: &Stage<'_>, id: &ReleaseId) -> Result<Release> {
    let wanted = ReleaseRef::Id(id.clone());
    let (app, name) = (&stage.config.app, stage.config.stage());
    stage.wait(async { Ok(release(&stage.store, app, name, &wanted).await?) })
}

/// The newest kick of a role that is wanted.
fn newest(stage: &Stage<'_>, role: &str, wanted: impl Fn(&Kick) -> bool) -> Result<Option<Kick>> {
    let (app, name) = (&stage.config.app, stage.config.stage());
    stage.wait(async { Ok(kick::find(&stage.store, app, name, role, None, wanted).await?) })
}

fn is_whole(kick: &Kick) -> bool {
    kick.started.whole
}

/// Whether it went well, or came at least as far as making its release live.
fn went_well(kick: &Kick) -> bool {
    kick.ended.as_ref().is_some_and(|ended| {
        ended.moved_live || matches!(ended.result, KickResult::Succeeded | KickResult::NotFollowed)
    })
}

/// Whether any host heard of it: a kick that was stopped before changed nothing, and says nothing of its release. One that was
/// killed may have told some, and of hosts that are known by number alone nobody knows.
fn told_somebody(kick: &Kick) -> bool {
    let ended = kick.ended.as_ref();
    went_well(kick) || kick.started.expected.is_some() || ended.is_none_or(|ended| !ended.hosts.is_empty())
}

/// Whether a kick brought a release that became live in place of another one. A rollback brings nothing: it goes back to what a
/// kick brought, and the next one goes further back.
fn brought(kick: &Kick, release: &str) -> bool {
    kick.started.action == Action::Kick
        && kick.ended.as_ref().is_some_and(|ended| ended.moved_live)
        && kick.started.release == release
        && kick.started.live.as_ref().is_some_and(|before| before != release)
}

/// Where a rollback goes.
#[derive(Debug, PartialEq, Eq)]
struct Back {
    release: String,
    note: Option<String>,
}

/// The last good release. When the `last` kick of the whole role did not go well: the live one, or, after a rollback, again where
/// that one went. Else, and when it is the live one itself that did not go well, the one that was live `before` the kick that
/// brought it.
fn good_before(
    live: Option<&str>,
    last: Option<&Kick>,
    before: Option<&Kick>,
) -> std::result::Result<Back, String> {
    let Some(live) = live else {
        return Err("no release was ever live, for no kick of all its hosts went well".to_owned());
    };
    let to = |release: &str| Back {
        release: release.to_owned(),
        note: None,
    };
    if let Some(bad) = last.filter(|last| !went_well(last)) {
        let release = &bad.started.release;
        if bad.started.action == Action::Rollback {
            let note = format!(
                "the rollback {} to {release} did not go well: going there again",
                bad.started.kick
            );
            return Ok(Back {
                release: release.clone(),
                note: Some(note),
            });
        }
        if release != live {
            return Ok(to(live));
        }
    }
    before
        .and_then(|kick| kick.started.live.as_deref())
        .map(to)
        .ok_or_else(|| format!("{live} is live, and the history knows of none before it"))
}

/// A release, and the hosts alone that are told it again; none for all of the role.
type Again = (String, Option<BTreeSet<String>>);

/// What a repair tells again, and to which hosts alone: by the newest kick of the whole role, and those of some hosts `since`,
/// newest first. `Err` has the names that the user gave, when one release does not serve them all.
fn again(
    whole: Option<&Kick>,
    since: &[Kick],
    only: &[String],
) -> std::result::Result<Option<Again>, String> {
    let all = whole.map(|whole| whole.started.release.clone());
    let mut told: BTreeMap<&str, &str> = BTreeMap::new();
    for kick in since {
        for host in &kick.started.hosts {
            told.entry(host).or_insert(&kick.started.release);
        }
    }
    // Of what some hosts alone have, the newest.
    let differs = |host: &String| {
        let release = told.get(host.as_str()).copied();
        release.filter(|release| Some(*release) != all.as_deref())
    };
    let Some(some) = since
        .iter()
        .find_map(|kick| kick.started.hosts.iter().find_map(differs))
    else {
        return Ok(all.map(|all| (all, None)));
    };
    let among: BTreeSet<String> = told
        .iter()
        .filter(|(_, release)| **release == some)
        .map(|(host, _)| (*host).to_owned())
        .collect();
    let named = only.iter().filter(|name| among.contains(*name)).count();
    match named {
        0 if !only.is_empty() => Ok(all.map(|all| (all, None))),
        named if named < only.len() => Err(only.join(", ")),
        _ => Ok(Some((some.to_owned(), Some(among)))),
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
