//! One wave: its hosts are asked, told and followed to their end.

use std::collections::BTreeMap;
use std::pin::pin;

use async_trait::async_trait;
use shipit_fleet::board;
use shipit_fleet::consul::{Client, EventRequest};
use shipit_fleet::follow::{self, Checks, End, Event, Following, Told, Tracker, Wanted, follow};
use shipit_fleet::hosts;
use shipit_fleet::lock::Lock;
use shipit_fleet::report::Asked;
use shipit_store::KickId;

use super::exec;
use super::outcome::{Fired, Progress, Stop};
use super::plan::Plan;
use super::stage::Stage;
use super::waves::Wave;
use crate::config::Transport;
use crate::errors::CliError;
use crate::report;

/// What is told to whom.
pub struct Telling<'a> {
    /// The kick.
    pub kick: &'a KickId,
    /// The lock without which nobody is told.
    pub lock: &'a Lock,
    /// What it is called: `wave 1 of 3`.
    pub label: String,
    /// The role on the board: `web`, or `web.once`.
    pub board_role: String,
    /// The manifest's URL.
    pub url: &'a str,
    /// Whether its success means that the release is in service.
    pub switches: bool,
    /// How many hosts may fail.
    pub may_fail: usize,
}

/// Whether a kick may go on: the lock is ours, and nobody asked to stop.
pub fn held(stage: &Stage<'_>, lock: &Lock) -> Result<(), Stop> {
    if stage.is_stopped() {
        return Err(Stop::Signal);
    }
    match lock.lost() {
        Some(why) => Err(Stop::Lost(why)),
        None => Ok(()),
    }
}

/// Tells a wave's hosts, and follows them; `progress` has each of them, whatever comes of it.
pub fn run(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    wave: &Wave,
    telling: &Telling<'_>,
    progress: &mut Progress,
) -> Result<(), Stop> {
    match plan.course.transport {
        Transport::Consul => by_event(stage, plan, wave, telling, progress),
        Transport::Exec => {
            exec::run(stage, plan, wave, telling, progress)?;
            tidy_alone(stage, plan, wave, telling);
            Ok(())
        }
    }
}

/// Asks the hosts of a wave and fires its events; for who does not follow, that is all.
pub fn only_tell(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    wave: &Wave,
    telling: &Telling<'_>,
    progress: &mut Progress,
) -> Result<(), Stop> {
    tell(stage, plan, wave, telling, progress)?;
    tidy_alone(stage, plan, wave, telling);
    Ok(())
}

/// Asks the hosts of a wave and fires its events.
fn tell(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    wave: &Wave,
    telling: &Telling<'_>,
    progress: &mut Progress,
) -> Result<board::Cursor, Stop> {
    let since = ask(stage, &wave.told, telling, plan.release.id.as_str())?;
    let client = stage.consul()?;
    held(stage, telling.lock)?;
    for told in &wave.told {
        let now = follow::HostNow::asked(told.dead.clone());
        progress.hosts.insert(told.name.clone(), now);
    }
    for event in &wave.events {
        // Asking, and each event, may take long on a bad day; somebody else may have the lock by now.
        held(stage, telling.lock)?;
        let fired = fire(stage, client, event)?;
        progress.events.push(fired);
    }
    Ok(since)
}

/// Tidies up the board where nothing else is waited for. The wave is told: a signal ends no more than this.
fn tidy_alone(stage: &Stage<'_>, plan: &Plan<'_>, wave: &Wave, telling: &Telling<'_>) {
    let _ = stage.wait(async {
        tidy(stage, plan, wave, telling).await;
        Ok(())
    });
}

/// Removes from the board what is not needed any more once a wave's hosts are told.
async fn tidy(stage: &Stage<'_>, plan: &Plan<'_>, wave: &Wave, telling: &Telling<'_>) {
    let (asked, nodes) = asked(&wave.told, telling, plan.release.id.as_str());
    stage.board.tidy(&telling.board_role, &asked, &nodes).await;
}

/// Notes on the board what is asked of hosts, while the lock is held.
pub fn ask(
    stage: &Stage<'_>,
    hosts: &[Told],
    telling: &Telling<'_>,
    release: &str,
) -> Result<board::Cursor, Stop> {
    held(stage, telling.lock)?;
    let (asked, nodes) = asked(hosts, telling, release);
    let ask = async { Ok(stage.board.ask(&telling.board_role, &asked, &nodes).await?) };
    Ok(stage.wait(ask)?)
}

/// What is asked, and of whom.
fn asked(hosts: &[Told], telling: &Telling<'_>, release: &str) -> (Asked, Vec<String>) {
    let asked = Asked {
        kick: telling.kick.to_string(),
        release: release.to_owned(),
    };
    (asked, hosts.iter().map(|told| told.name.clone()).collect())
}

/// Fires one event.
pub fn fire(stage: &Stage<'_>, client: &Client, event: &EventRequest) -> Result<Fired, CliError> {
    let id = stage.wait(async { Ok(client.fire(event).await?) })?;
    Ok(Fired {
        event: event.name.clone(),
        id: id.0,
    })
}

fn by_event(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    wave: &Wave,
    telling: &Telling<'_>,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let since = tell(stage, plan, wave, telling, progress)?;
    let service = service(stage, plan)?.filter(|_| telling.switches);
    let wanted = Wanted {
        kick: telling.kick.to_string(),
        release: plan.release.id.to_string(),
        hosts: wave.told.clone(),
        count: wave.count,
        switches: telling.switches,
        may_fail: telling.may_fail,
        checked: service.is_some(),
    };
    let following = Following {
        board: stage.board.as_ref(),
        role: &telling.board_role,
        since,
        limit: plan.course.timeout.get(),
        checks: service.as_ref().map(|service| service as &dyn Checks),
    };
    let mut tracker = Tracker::new(wanted, since);
    let reporter = report::Kick::new(&stage.context.output, &telling.label, &wave.told, wave.count);
    let work = async {
        let mut to_the_end = pin!(to_the_end(stage, plan, &following, &mut tracker, &reporter));
        // What is not tidied up when the hosts are at their end is left to the next kick.
        Ok(tokio::select! {
            ended = &mut to_the_end => ended,
            () = tidy(stage, plan, wave, telling) => to_the_end.await,
        })
    };
    let (end, logs) = stage.context.block_on_to_the_end(Box::pin(work))?;
    drop(reporter);
    progress.logs.extend(logs);
    concluded(end, tracker, telling.may_fail, progress)
}

/// Follows a wave's hosts, and reads the logs of those that did not do well.
async fn to_the_end(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    following: &Following<'_>,
    tracker: &mut Tracker,
    reporter: &report::Kick,
) -> (End, BTreeMap<String, String>) {
    let on_event = |event: Event| reporter.event(&event);
    let end = follow(following, tracker, stage.context.interrupt.asked(), &on_event).await;
    let logs = match end {
        End::Stopped | End::Error(_) => BTreeMap::new(),
        _ => {
            let release = plan.release.id.as_str();
            follow::logs(following.board, following.role, release, tracker.hosts()).await
        }
    };
    (end, logs)
}

/// What the end of following makes of the wave.
fn concluded(end: End, tracker: Tracker, may_fail: usize, progress: &mut Progress) -> Result<(), Stop> {
    let (bad, missing) = (tracker.bad() + tracker.missing(), tracker.missing());
    progress.hosts.extend(tracker.into_hosts());
    match end {
        End::Stopped => Err(Stop::Signal),
        End::Error(error) => Err(Stop::from(CliError::from(error))),
        End::TooMany => Err(Stop::Hosts),
        End::Done => Ok(()),
        End::Deadline => {
            progress.missing += missing;
            match bad > may_fail {
                true => Err(Stop::Hosts),
                false => Ok(()),
            }
        }
    }
}

/// The service whose checks must pass, where the role wants that.
pub fn service(stage: &Stage<'_>, plan: &Plan<'_>) -> Result<Option<Service>, CliError> {
    let filter = &plan.role.filter;
    let Some(name) = filter.service.clone().filter(|_| plan.role.health) else {
        return Ok(None);
    };
    Ok(Some(Service {
        client: stage.consul()?.clone(),
        name,
        tag: filter.tag.clone(),
    }))
}

/// The checks of a role's service, as Consul has them.
pub struct Service {
    client: Client,
    name: String,
    tag: Option<String>,
}

#[async_trait]
impl Checks for Service {
    fn service(&self) -> &str {
        &self.name
    }

    async fn failing(&self, nodes: &[String]) -> Result<BTreeMap<String, Vec<String>>, board::Error> {
        Ok(hosts::health(&self.client, &self.name, self.tag.as_deref(), nodes).await?)
    }
}
