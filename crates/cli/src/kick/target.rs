//! Where a rollback goes, and what a repair repeats: read from the live pointer and the history.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use shipit_store::kick::{self, Kick, WayBack};
use shipit_store::{Action, KickResult, Release, ReleaseId, ReleaseRef, release};

use super::live::{self, Pointer};
use super::stage::Stage;
use crate::errors::{CliError, Kind, Result};
use crate::settle::board::stage_flag;

/// A release that is found in the history.
#[derive(Debug, Clone)]
pub struct Target {
    /// It.
    pub release: Release,
    /// What is to be known of it, to be said when its hosts are told.
    pub note: Option<String>,
    /// These hosts alone.
    pub among: Option<BTreeSet<String>>,
    /// Of a way back, the release that the role's hosts were told last.
    pub from: Option<String>,
}

impl From<Release> for Target {
    fn from(release: Release) -> Self {
        Target {
            release,
            note: None,
            among: None,
            from: None,
        }
    }
}

/// The release that a rollback of a role goes to.
pub fn of_rollback(stage: &Stage<'_>, role: &str) -> Result<Target> {
    let live = match live::read(stage, role)? {
        Pointer::Nothing => None,
        Pointer::Live(live) => Some(live.release),
        Pointer::Damaged(damaged) => {
            return Err(live::unknown(stage, role, &damaged).context(refused(stage, role)));
        }
    };
    let last: RefCell<Option<Kick>> = RefCell::default();
    let untold: RefCell<Option<Kick>> = RefCell::default();
    let way = live.as_deref().map(|live| RefCell::new(WayBack::from(live)));
    newest(stage, role, |kick| {
        if last.borrow().is_none() && is_whole(kick) {
            match kick.told_somebody() {
                true => last.replace(Some(kick.clone())),
                false if failed_untold(kick) => untold.borrow_mut().replace(kick.clone()),
                false => None,
            };
        }
        let found = way.as_ref().is_none_or(|way| way.borrow_mut().is_found(kick));
        found && last.borrow().is_some()
    })?;
    let (last, way) = (last.into_inner(), way.map(RefCell::into_inner));
    let untold = untold.into_inner();
    let back = good_before(live.as_deref(), last.as_ref(), untold.as_ref(), way.as_ref()).map_err(|why| {
        CliError::new(Kind::Refused, format!("{}: {why}", refused(stage, role))).hint(format!(
            "`shipit releases{}` lists what there is; name one by --to ID",
            stage_flag(stage.config)
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
        from: last.map(|last| last.started.release).or(live),
        ..Target::from(release)
    })
}

/// A release that a rollback of a role goes to by its name.
pub fn back_to(stage: &Stage<'_>, role: &str, id: &ReleaseId) -> Result<Target> {
    let release = find(stage, id)?;
    let last = newest(stage, role, |kick| is_whole(kick) && kick.told_somebody())?;
    Ok(Target {
        from: last.map(|last| last.started.release),
        ..Target::from(release)
    })
}

fn refused(stage: &Stage<'_>, role: &str) -> String {
    format!("{role} in {} cannot be rolled back", stage.config.stage())
}

/// The release that a role's hosts were told last, all of them; of those that only some hosts were told since, these hosts alone:
/// what was tried on one host is not spread by mending it. `only` are the hosts that the user names.
pub fn of_repair(stage: &Stage<'_>, role: &str, only: &[String]) -> Result<Target> {
    let since: RefCell<Vec<Kick>> = RefCell::default();
    let whole = newest(stage, role, |kick| {
        if !kick.told_somebody() {
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
        from: None,
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

/// Of a kick that told nobody: whether that was for its release. One that was stopped, or could not go on, says nothing of any.
fn failed_untold(kick: &Kick) -> bool {
    let failed = kick
        .ended
        .as_ref()
        .is_some_and(|ended| ended.result == KickResult::Failed);
    failed && kick.started.action == Action::Kick
}

/// Where a rollback goes.
#[derive(Debug, PartialEq, Eq)]
struct Back {
    release: String,
    note: Option<String>,
}

/// The last good release. When the `last` kick of the whole role did not go well: the live one, or, after a rollback, again where
/// that one went. After a newer one that failed before it told anybody (`untold`), the live one too. Else, and when it is the live
/// one itself that did not go well, the one on the `way` back from it.
fn good_before(
    live: Option<&str>,
    last: Option<&Kick>,
    untold: Option<&Kick>,
    way: Option<&WayBack>,
) -> std::result::Result<Back, String> {
    let (Some(live), Some(way)) = (live, way) else {
        return Err("no release was ever live, for no kick of all its hosts went well".to_owned());
    };
    if let Some(bad) = last.filter(|last| !last.went_well()) {
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
        if release != live && untold.is_none() {
            return Ok(Back {
                release: live.to_owned(),
                note: None,
            });
        }
    }
    if let Some(untold) = untold {
        let started = &untold.started;
        let note = format!(
            "the kick {} of {} failed before any host was told, so that {live}, which is live, is the last good release; --to ID goes \
             further back",
            started.kick, started.release
        );
        return Ok(Back {
            release: live.to_owned(),
            note: Some(note),
        });
    }
    let passed = way.passed().join(", ");
    match way.found() {
        Some(release) => Ok(Back {
            release,
            note: (!passed.is_empty()).then(|| {
                format!("not to what a rollback left, and nobody kicked again since: {passed}; --to ID goes there all the same")
            }),
        }),
        None if passed.is_empty() => Err(format!("{live} is live, and the history knows of none before it")),
        None => Err(format!(
            "{live} is live, and the history knows of none before it but what a rollback left, and nobody kicked again since: {passed}"
        )),
    }
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
