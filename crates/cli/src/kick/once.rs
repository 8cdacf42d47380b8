//! The `once` commands of a role: on one host, before any other is told, from a manifest of their own that switches nothing.

use std::time::Duration;

use shipit_fleet::follow::Told;
use shipit_fleet::lock::Lock;
use shipit_fleet::report::{Found, RoleKeys, Said};
use shipit_store::{HostState, KickId, kick};

use super::ending::once_log;
use super::hosts::events_for;
use super::manifests::Once;
use super::outcome::{Progress, Stop};
use super::plan::Plan;
use super::stage::Stage;
use super::wave::{self, Telling};
use super::waves::Wave;
use crate::config::Transport;
use crate::errors::{CliError, Kind, Result};

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
    let earlier = earlier(stage, plan)?;
    if let Earlier::EndedWell(host) = &earlier {
        stage.say(format!(
            "the once commands of {} ended well on {host} for {}, after an earlier kick had left them",
            plan.name(),
            plan.release.id
        ));
        progress.once = true;
        return Ok(());
    }
    let host = host(stage, plan, &earlier)?;
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

/// What came of them in kicks that did not see their end: that one was stopped, or did not wait for so long.
#[derive(Debug, PartialEq, Eq)]
enum Earlier {
    /// Nothing that is known.
    Nothing,
    /// For this release, on this host.
    EndedWell(String),
    /// They may still run on this host.
    MayRun {
        host: String,
        /// For this release.
        these: bool,
    },
}

fn earlier(stage: &Stage<'_>, plan: &Plan<'_>) -> Result<Earlier> {
    let role = board_role(plan);
    let reports = async { Ok(stage.board.reports(&role, None, Duration::ZERO).await?) };
    let (found, _) = stage.wait(reports)?;
    Ok(Earlier::of(&found, plan.release.id.as_str()))
}

impl Earlier {
    /// By the newest report of a release, else by the newest of all: a kick of another release may have been left as well.
    fn of(found: &[Found], release: &str) -> Self {
        let newest = |these: bool| {
            let of = found.iter().filter(|found| !these || found.release == release);
            of.max_by_key(|found| found.index)
        };
        match newest(true) {
            Some(found) if found.report.state == Said::Succeeded => Self::EndedWell(found.node.clone()),
            Some(found) if found.report.state == Said::Started => Self::may_run(found, true),
            _ => match newest(false) {
                Some(found) if found.report.state == Said::Started => Self::may_run(found, false),
                _ => Self::Nothing,
            },
        }
    }

    fn may_run(found: &Found, these: bool) -> Self {
        Self::MayRun {
            host: found.node.clone(),
            these,
        }
    }
}

/// The host that is to run them: the one on which they may still run, for there they wait for each other; else the first that is
/// alive.
fn host<'a>(stage: &Stage<'_>, plan: &'a Plan<'_>, earlier: &Earlier) -> std::result::Result<&'a Told, Stop> {
    let mut alive = plan.hosts.told.iter().filter(|told| told.dead.is_none());
    if let Earlier::MayRun { host, these } = earlier {
        let still = format!(
            "the once commands of an earlier kick may still run on {host}: it did not report their end"
        );
        if let Some(same) = alive.clone().find(|told| told.name == *host) {
            stage.warn(format!(
                "{still}; they run there again, when those are over ({})",
                once_log(stage, plan, host)
            ));
            return Ok(same);
        }
        if *these {
            return Err(Stop::from(beside(stage, plan, host, &still)));
        }
        stage.warn(still);
    }
    alive
        .next()
        .ok_or_else(|| Stop::Once("none of its hosts is alive".to_owned()))
}

/// The end of a kick whose once commands would run on another host beside those of an earlier one.
fn beside(stage: &Stage<'_>, plan: &Plan<'_>, host: &str, still: &str) -> CliError {
    let role = plan.name();
    let why = match plan.hosts.told.iter().find(|told| told.name == host) {
        Some(Told { dead: Some(why), .. }) => format!("{host} cannot be told: {why}"),
        _ => format!("{host} is none of the hosts of {role} now"),
    };
    let error = CliError::new(
        Kind::Refused,
        format!("{still}. {why}, and they are not run beside them on another host"),
    )
    .hint(format!(
        "when {host} is back, kick again: they run there, or are found to have ended well"
    ));
    let done =
        "when you know that nothing of them runs there any more, publish it as a new release and kick that";
    if stage.consul.is_none() {
        return error.hint(done);
    }
    let keys = RoleKeys {
        app: &stage.config.app,
        stage: stage.config.stage(),
        role: &board_role(plan),
    };
    error.hint(format!(
        "{done}, or remove what {host} said last, and kick again: `consul kv delete {}`",
        keys.report(host, plan.release.id.as_str())
    ))
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

#[cfg(test)]
mod tests {
    use super::super::live::tests::found as said;
    use super::*;

    fn found(node: &str, release: &str, index: u64, state: Said) -> Found {
        said(node, release, index, state, None)
    }

    #[test]
    fn the_newest_report_says_where_they_may_still_run() {
        use Said::{Failed, Started, Succeeded};
        let may_run = |host: &str, these| Earlier::MayRun {
            host: host.to_owned(),
            these,
        };
        let of = |found: &[Found]| Earlier::of(found, "b");
        assert_eq!(of(&[]), Earlier::Nothing);
        let begun = found("web2", "b", 5, Started);
        assert_eq!(of(std::slice::from_ref(&begun)), may_run("web2", true));
        // Those of this release come first, whatever other releases did on other hosts.
        let other = |index, state| found("web1", "a", index, state);
        assert_eq!(of(&[begun.clone(), other(4, Failed)]), may_run("web2", true));
        assert_eq!(of(&[begun.clone(), other(6, Started)]), may_run("web2", true));
        let ended = found("web3", "b", 7, Succeeded);
        assert_eq!(of(&[begun.clone(), ended]), Earlier::EndedWell("web3".to_owned()));
        assert_eq!(of(&[begun, found("web3", "b", 7, Failed)]), Earlier::Nothing);
        // Those of another release may run as well, if nothing was heard of any since.
        assert_eq!(of(&[other(4, Started)]), may_run("web1", false));
        let failed = found("web2", "b", 5, Failed);
        assert_eq!(of(&[other(4, Started), failed]), Earlier::Nothing);
    }
}
