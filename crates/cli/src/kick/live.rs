//! The live pointer of a role: read before hosts are told, moved when all of them were told and did well; and then the hosts that
//! joined meanwhile, which may have booted with the release before.

use std::collections::BTreeSet;

use shipit_fleet::board::Board;
use shipit_fleet::follow::{HostNow, Told};
use shipit_fleet::lock::Lock;
use shipit_fleet::report::{Found, Said};
pub use shipit_store::live::Pointer;
use shipit_store::live::{self, Damaged};
use shipit_store::{Action, Error, KickId};

use super::hosts::{self, Listed, events_for};
use super::outcome::{Progress, Stop};
use super::plan::Plan;
use super::stage::Stage;
use super::wave::{self, Telling};
use super::waves::Wave;
use crate::config::Transport;
use crate::errors::{CliError, Kind, Result};

/// How often hosts are looked for that joined meanwhile: each look takes as long as they do.
const LOOKS: usize = 3;

/// What is live for a role.
pub fn read(stage: &Stage<'_>, role: &str) -> Result<Pointer> {
    stage.wait(look(stage, role))
}

/// As [`read`], for callers on the runtime.
pub async fn look(stage: &Stage<'_>, role: &str) -> Result<Pointer> {
    let (app, name) = (&stage.config.app, stage.config.stage());
    Ok(live::read(&stage.store, app, name, role).await?)
}

/// Warns that what is live before a kick is damaged. Hosts are told all the same: a kick of the whole role is what mends it.
pub fn warn_of_damage(stage: &Stage<'_>, plan: &Plan<'_>, before: &Pointer) {
    let Pointer::Damaged(damaged) = before else {
        return;
    };
    let role = plan.name();
    let mended = match plan.hosts.whole && plan.action != Action::Repair {
        true => format!("{} takes its place when this goes well", plan.release.id),
        false => format!(
            "`shipit kick {role}{}` of all its hosts replaces it",
            stage.flag()
        ),
    };
    stage.warn(format!(
        "what is live for {role} is not known, and hosts that boot get nothing: {}; {mended}",
        in_words(damaged)
    ));
}

/// For what cannot be done without knowing what is live.
pub fn unknown(stage: &Stage<'_>, role: &str, damaged: &Damaged) -> CliError {
    let flag = stage.flag();
    CliError::new(
        Kind::Refused,
        format!("what is live for it is not known: {}", in_words(damaged)),
    )
    .hint(format!(
        "name the release by `shipit rollback {role}{flag} --to ID`, or `shipit kick {role}{flag}` one: both replace what lies there; \
         `shipit history{flag}` has what was kicked"
    ))
}

/// What is wrong with what lies in the place of a live manifest.
pub fn in_words(damaged: &Damaged) -> String {
    format!("{} is damaged: {}", damaged.url, damaged.why)
}

/// Makes the plan's release live, if what is live is still what it was.
pub fn move_to(stage: &Stage<'_>, plan: &Plan<'_>, before: &Pointer) -> Result<()> {
    let (app, name, role) = (&stage.config.app, stage.config.stage(), plan.name());
    let bytes = plan.manifest.as_bytes();
    if matches!(before, Pointer::Live(live) if live.manifest.as_ref() == bytes) {
        return Ok(());
    }
    let etag = before.etag();
    // A write that a signal drops may be done, and the history would not know.
    let moved =
        stage.finish(async { Ok(live::move_to(&stage.store, app, name, role, bytes, etag).await) })?;
    let done = match plan.followed {
        true => "its hosts have",
        false => "its hosts were told",
    };
    match moved {
        Ok(_) => {
            stage.say(format!("{} is live for {role} in {name}", plan.release.id));
            Ok(())
        }
        Err(error @ Error::Changed { .. }) => Err(CliError::from_source(Kind::Store, error)
            .context("the live release was moved by somebody else during the kick, and stays as they left it")
            .hint(format!(
                "see `shipit history{0}` and `shipit status {role}{0}`; kick the release again that is to be live",
                stage.flag()
            ))),
        Err(error) => {
            let old = match before {
                Pointer::Nothing => "none is live yet",
                Pointer::Live(live) => live.release.as_str(),
                Pointer::Damaged(_) => "something damaged",
            };
            Err(CliError::from(error)
                .context(format!(
                    "moving live: {done} {}, but new hosts still boot with what was live before ({old})",
                    plan.release.id
                ))
                .hint(format!(
                    "kick again: `shipit kick {role}{} --release {}` changes nothing on hosts that have it, and moves live",
                    stage.flag(),
                    plan.release.id
                )))
        }
    }
}

/// Tells hosts that joined since the role's hosts were looked up. What comes of it is said; the kick was good without them.
pub fn joined(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    lock: &Lock,
    kick: &KickId,
    progress: &mut Progress,
) -> std::result::Result<(), Stop> {
    if plan.course.transport != Transport::Consul || plan.hosts.count.is_some() {
        return Ok(());
    }
    let Some(event) = &plan.event else { return Ok(()) };
    for _ in 0..LOOKS {
        let now = hosts::listed(stage, plan.role, &plan.course, plan.flags, true)?;
        let new = newcomers(stage, plan, &now, progress)?;
        if new.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = new.iter().map(|told| told.name.clone()).collect();
        stage.say(format!("joined since the kick began: {}", names.join(", ")));
        let telling = Telling {
            kick,
            lock,
            label: format!("{}: hosts that joined", plan.name()),
            board_role: plan.name().to_owned(),
            url: &plan.url,
            switches: true,
            may_fail: usize::MAX,
        };
        let wave = Wave {
            events: events_for(event, &names)?,
            told: new,
            count: None,
        };
        wave::run(stage, plan, &wave, &telling, progress)?;
        let bad: Vec<&String> = names
            .iter()
            .filter(|name| progress.hosts.get(*name).is_some_and(HostNow::is_bad))
            .collect();
        if !bad.is_empty() {
            stage.warn(format!(
                "{}: {} joined during the kick and did not follow; `shipit repair {}{}` tells them again",
                plan.name(),
                bad.iter()
                    .map(|name| name.as_str())
                    .collect::<Vec<_>>()
                    .join(", "),
                plan.name(),
                stage.flag()
            ));
        }
    }
    Ok(())
}

/// The living hosts of now that were not told, or were dead then, and do not say that they have the release.
fn newcomers(stage: &Stage<'_>, plan: &Plan<'_>, now: &Listed, progress: &Progress) -> Result<Vec<Told>> {
    let known = |told: &Told| {
        let known = progress.hosts.get(&told.name);
        known.is_some_and(|now| now.dead.is_none() || now.state == shipit_store::HostState::Succeeded)
    };
    let new: Vec<Told> = now
        .told
        .iter()
        .filter(|told| told.dead.is_none() && !known(told))
        .cloned()
        .collect();
    if new.is_empty() {
        return Ok(new);
    }
    let has = up_to_date(stage, plan.name(), &plan.release.id.to_string())?;
    Ok(new.into_iter().filter(|told| !has.contains(&told.name)).collect())
}

/// The hosts whose newest report says that they have a release in service.
fn up_to_date(stage: &Stage<'_>, role: &str, release: &str) -> Result<BTreeSet<String>> {
    let board: &dyn Board = stage.board.as_ref();
    let (found, _) = stage.wait(async { Ok(board.reports(role, None, std::time::Duration::ZERO).await?) })?;
    Ok(having(&found, release))
}

/// The hosts whose newest report says that they have a release in service.
pub fn having(found: &[Found], release: &str) -> BTreeSet<String> {
    let newest = newest(found);
    let has = newest.into_iter().filter(|found| {
        found.release == release
            && found.report.state == Said::Succeeded
            && found
                .report
                .current
                .as_deref()
                .is_none_or(|current| current == release)
    });
    has.map(|found| found.node.clone()).collect()
}

/// Each node's newest report.
pub fn newest(found: &[Found]) -> Vec<&Found> {
    let mut newest: std::collections::BTreeMap<&str, &Found> = std::collections::BTreeMap::new();
    for report in found {
        let known = newest.entry(&report.node).or_insert(report);
        if report.index > known.index {
            *known = report;
        }
    }
    newest.into_values().collect()
}

#[cfg(test)]
pub(super) mod tests {
    use shipit_fleet::report::Report;

    use super::*;

    /// A host's report.
    pub fn found(node: &str, release: &str, index: u64, state: Said, current: Option<&str>) -> Found {
        Found {
            node: node.to_owned(),
            release: release.to_owned(),
            index,
            report: Report {
                kick: None,
                state,
                phase: None,
                time: 0,
                current: current.map(str::to_owned),
                handler: None,
                message: None,
            },
        }
    }

    #[test]
    fn who_has_a_release_said_so_last() {
        let reports = [
            found("done", "new", 5, Said::Succeeded, Some("new")),
            found("done", "old", 4, Said::Succeeded, Some("old")),
            found("back", "new", 5, Said::Succeeded, Some("new")),
            found("back", "old", 6, Said::Succeeded, Some("old")),
            found("failed", "new", 1, Said::Failed, None),
            found("elsewhere", "new", 1, Said::Succeeded, Some("old")),
            found("plain", "new", 1, Said::Succeeded, None),
        ];
        assert_eq!(
            having(&reports, "new").into_iter().collect::<Vec<_>>(),
            ["done", "plain"]
        );
    }
}
