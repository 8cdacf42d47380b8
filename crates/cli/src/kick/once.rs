//! The `once` commands of a role: on one host, before any other is told, from a manifest of their own that switches nothing.

use shipit_fleet::follow::Told;
use shipit_fleet::lock::Lock;
use shipit_store::{KickId, kick};

use super::hosts::{Wave, events_for};
use super::outcome::{Progress, Stop};
use super::plan::{Once, Plan};
use super::stage::Stage;
use super::wave::{self, Telling};
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
    let host = plan.hosts.told.iter().find(|told| told.dead.is_none());
    let Some(host) = host else {
        return Err(Stop::Once("none of its hosts is alive".to_owned()));
    };
    let telling = Telling {
        kick,
        lock,
        label: format!("once on {}", host.name),
        board_role: format!("{}.once", plan.name()),
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
            Err(Stop::Once(why))
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
