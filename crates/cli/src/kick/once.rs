//! The `once` commands of a role: on one host, before any other is told, from a manifest of their own that switches nothing.

use std::time::Duration;

use shipit_fleet::follow::Told;
use shipit_fleet::lock::Lock;
use shipit_fleet::report::Said;
use shipit_store::{HostState, KickId, kick};

use super::hosts::events_for;
use super::manifests::Once;
use super::outcome::{Progress, Stop};
use super::plan::Plan;
use super::stage::Stage;
use super::wave::{self, Telling};
use super::waves::Wave;
use crate::config::Transport;
use crate::errors::Result;

/// Runs them where they are due; the kick stops where they fail.
pub fn run(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    lock: &Lock,
    kick: &KickId,
    progress: &mut Progress,
) -> std::result::Result<(), Stop> {
    let Some(once) = &plan.once else {
        return Ok(());
    };
    if let Some(earlier) = ran_in(stage, plan)? {
        stage.say(format!(
            "the once commands of {} ran already for {}, in the kick {earlier}",
            plan.name(),
            plan.release.id
        ));
        return Ok(());
    }
    if let Some(host) = ended_well(stage, plan)? {
        stage.say(format!(
            "the once commands of {} ended well on {host} for {}, after an earlier kick had left them",
            plan.name(),
            plan.release.id
        ));
        progress.once = true;
        return Ok(());
    }
    let Some(host) = plan.hosts.told.iter().find(|told| told.dead.is_none()) else {
        return Err(Stop::Once("none of its hosts is alive".to_owned()));
    };
    let telling = Telling {
        kick,
        lock,
        label: format!("once on {}", host.name),
        board_role: board_role(plan),
        url: &once.url,
        switches: false,
        may_fail: 0,
    };
    stage.say(format!(
        "running the once commands of {} on {}",
        plan.name(),
        host.name
    ));
    let mut of_once = Progress::default();
    let ended = wave::run(stage, plan, &one(plan, once, host)?, &telling, &mut of_once);
    progress.events.append(&mut of_once.events);
    progress.once_on = of_once
        .hosts
        .iter()
        .next()
        .map(|(host, now)| (host.clone(), now.clone()));
    concluded(ended, of_once, progress)
}

/// What came of them, for the kick that they are part of.
fn concluded(
    ended: std::result::Result<(), Stop>,
    mut of_once: Progress,
    progress: &mut Progress,
) -> std::result::Result<(), Stop> {
    match ended {
        Ok(()) => {
            progress.once = true;
            Ok(())
        }
        Err(Stop::Hosts) => {
            let why = of_once.bad_hosts().join(", ");
            progress.logs.append(&mut of_once.logs);
            Err(match of_once.count(HostState::Silent) {
                0 => Stop::Once(why),
                _ => Stop::OnceSilent(why),
            })
        }
        Err(other) => Err(other),
    }
}

/// A wave of one host that is told the once manifest.
fn one(plan: &Plan<'_>, once: &Once, host: &Told) -> Result<Wave> {
    let events = match (&plan.event, plan.course.transport) {
        (Some(event), Transport::Consul) => {
            let mut event = event.clone();
            event.payload.clone_from(&once.url);
            events_for(&event, std::slice::from_ref(&host.name))?
        }
        _ => Vec::new(),
    };
    Ok(Wave {
        told: vec![host.clone()],
        count: None,
        events,
    })
}

/// Their role on the board.
fn board_role(plan: &Plan<'_>) -> String {
    format!("{}.once", plan.name())
}

/// The host on which they ended well for this release after all: their kick was stopped, or did not wait for so long. That they still
/// run somewhere is said.
fn ended_well(stage: &Stage<'_>, plan: &Plan<'_>) -> Result<Option<String>> {
    let role = board_role(plan);
    let reports = async { Ok(stage.board.reports(&role, None, Duration::ZERO).await?) };
    let (found, _) = stage.wait(reports)?;
    let release = plan.release.id.to_string();
    let of_release = found.into_iter().filter(|found| found.release == release);
    let Some(newest) = of_release.max_by_key(|found| found.index) else {
        return Ok(None);
    };
    match newest.report.state {
        Said::Succeeded => Ok(Some(newest.node)),
        Said::Started => {
            stage.warn(format!(
                "the once commands of an earlier kick may still run on {}: it did not report their end",
                newest.node
            ));
            Ok(None)
        }
        Said::Failed => Ok(None),
    }
}

/// The kick in which they ran for this release already.
fn ran_in(stage: &Stage<'_>, plan: &Plan<'_>) -> Result<Option<KickId>> {
    let (app, name) = (&stage.config.app, stage.config.stage());
    let release = plan.release.id.to_string();
    let ran = |kick: &kick::Kick| {
        kick.started.release == release && kick.ended.as_ref().is_some_and(|ended| ended.once)
    };
    // No kick is older than its release; a day is for clocks that disagree.
    let since = Some(plan.release.time - 86_400);
    let found = kick::find(&stage.store, app, name, plan.name(), since, ran);
    let found = stage.wait(async { Ok(found.await?) })?;
    Ok(found.map(|kick| kick.started.kick))
}
