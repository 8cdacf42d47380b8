//! The checks of a role's service in Consul, where its hosts are told by exec: their commands are over, and a host counts as
//! succeeded when these pass too.

use std::time::{Duration, Instant};

use shipit_fleet::board::{self, Cursor};
use shipit_fleet::follow::{Checks, Told, Tracker, Wanted};
use shipit_fleet::report::{Found, Report, Said};
use shipit_store::HostState;

use super::outcome::{Progress, Stop, named};
use super::plan::Plan;
use super::stage::Stage;
use super::wave::{Telling, service};
use super::waves::Wave;
use crate::config::Role;
use crate::errors::{CliError, Kind, Result, chain};

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Waits until the checks pass on a wave's hosts that succeeded, as long as a wave may take; those on which they do not have failed.
/// False where nothing is to be waited for.
pub fn pass(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    telling: &Telling<'_>,
    wave: &Wave,
    progress: &mut Progress,
) -> std::result::Result<bool, Stop> {
    // In an outage of Consul, by --without-consul, there is nobody to ask.
    if stage.consul.is_none() {
        return Ok(false);
    }
    let Some(service) = service(stage, plan)? else {
        return Ok(false);
    };
    let succeeded = |told: &&Told| {
        let now = progress.hosts.get(&told.name);
        now.is_some_and(|now| now.state == HostState::Succeeded)
    };
    let hosts: Vec<Told> = wave.told.iter().filter(succeeded).cloned().collect();
    if hosts.is_empty() {
        return Ok(false);
    }
    let mut tracker = unchecked(hosts, plan, telling);
    let limit = plan.course.timeout.get();
    let looked =
        stage.wait(async { Ok(look(&service, &mut tracker, limit, &|line| stage.say(line)).await?) });
    progress.hosts.extend(tracker.into_hosts());
    looked?;
    Ok(true)
}

/// Hosts that have said that they succeeded.
fn unchecked(hosts: Vec<Told>, plan: &Plan<'_>, telling: &Telling<'_>) -> Tracker {
    let release = plan.release.id.to_string();
    let report = |told: &Told| Found {
        node: told.name.clone(),
        release: release.clone(),
        index: 1,
        report: Report {
            kick: Some(telling.kick.to_string()),
            state: Said::Succeeded,
            phase: None,
            time: jiff::Timestamp::now().as_second(),
            current: None,
            handler: None,
            message: None,
        },
    };
    let reports: Vec<Found> = hosts.iter().map(report).collect();
    let wanted = Wanted {
        kick: telling.kick.to_string(),
        release: release.clone(),
        hosts,
        count: None,
        switches: true,
        may_fail: usize::MAX,
        checked: true,
    };
    let mut tracker = Tracker::new(wanted, Cursor(0));
    tracker.reports(&reports, Instant::now());
    tracker
}

/// Looks at the checks again and again, until they pass on all hosts or the time is over.
async fn look(
    service: &dyn Checks,
    tracker: &mut Tracker,
    limit: Duration,
    say: &dyn Fn(String),
) -> std::result::Result<(), board::Error> {
    let begin = Instant::now();
    let mut lost = false;
    loop {
        match service.failing(&tracker.unchecked()).await {
            Ok(failing) => {
                lost = false;
                for change in tracker.checks(&failing, service.service()) {
                    if let Some(why) = change.now.reason {
                        say(format!("{} is waited for: {why}", change.host));
                    }
                }
            }
            // It may answer later.
            Err(board::Error::Consul(error)) if error.is_passing() => {
                if !std::mem::replace(&mut lost, true) {
                    say(format!("the checks cannot be looked at: {}", chain(&error)));
                }
            }
            Err(error) => return Err(error),
        }
        if tracker.unchecked().is_empty() {
            return Ok(());
        }
        let left = limit.saturating_sub(begin.elapsed());
        if left.is_zero() {
            tracker.expire(limit, Instant::now());
            return Ok(());
        }
        tokio::time::sleep(EVERY.min(left)).await;
    }
}

/// Refuses what can only end badly, before any host is told: checks are asked for by the names that hosts have here.
pub fn refuse_unknown(stage: &Stage<'_>, role: &Role) -> Result<()> {
    let name = &role.name;
    let Some(client) = &stage.consul else {
        return Err(CliError::new(
            Kind::Usage,
            format!(
                "role {name}: health asks Consul for the checks of its service, and no Consul is used here"
            ),
        )
        .hint(format!("leave out role.{name}.health, or add a [consul] table")));
    };
    let nodes = stage.wait(async { Ok(client.nodes().await?) })?;
    let hosts = role.exec.iter().flat_map(|exec| &exec.hosts);
    let unknown: Vec<String> = hosts.filter(|host| !nodes.contains(host)).cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(CliError::new(
        Kind::Usage,
        format!(
            "role {name}: health asks Consul for the checks of its hosts, and no node is named {}",
            named(&unknown)
        ),
    )
    .hint(format!(
        "name the hosts in role.{name}.exec.hosts as Consul names their nodes, or leave out role.{name}.health"
    )))
}
