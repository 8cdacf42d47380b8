//! A wave by the transport exec: a command for each host, whose end is the host's report. The kicker writes the reports, for the
//! hosts may have no way to; so `status` and `logs` know of them.

use std::num::NonZeroUsize;
use std::time::Duration;

use shipit_fleet::exec::{self, ExecRequest, Filter, Filters, HostOutcome, HostResult};
use shipit_fleet::follow::HostNow;
use shipit_fleet::report::{Report, Said};
use shipit_steps::Masker;
use shipit_store::HostState;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use super::hosts::{Wave, exec_of};
use super::outcome::{Progress, Stop};
use super::plan::Plan;
use super::stage::Stage;
use super::wave::{Telling, ask};
use crate::config::Exec;
use crate::errors::{CliError, chain};
use crate::output::Hosts;
use crate::{report, settle};

/// Who wrote the report.
const HANDLER: &str = "exec";
/// How long reports may still take when all commands are over: they are for others to read.
const LAST_REPORTS: Duration = Duration::from_secs(15);

/// Runs the commands of a wave's hosts.
pub fn run(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    wave: &Wave,
    telling: &Telling<'_>,
    progress: &mut Progress,
) -> Result<(), Stop> {
    let release = plan.release.id.to_string();
    ask(stage, &wave.told, telling, &release)?;
    let exec = exec_of(plan.role)?;
    let request = request(stage, plan, exec, wave, telling)?;
    let (send, receive) = mpsc::unbounded_channel();
    let reporter = report::Exec::new(&stage.context.output);
    let waiting = stage.context.output.hosts(&telling.label, wave.told.len());
    let interrupt = &stage.context.interrupt;
    let work = async {
        let commands = async move {
            // It ends the hosts' commands itself when asked to stop, so that each can clean up.
            let on_event = |event: exec::Event| {
                show(&waiting, &event);
                reporter.event(&event);
                if !matches!(event, exec::Event::Output { .. }) {
                    // The writer is there as long as this is.
                    let _ = send.send(event);
                }
            };
            exec::run(&request, interrupt.asked(), &on_event).await
        };
        let writing = write_reports(stage, telling, &release, receive);
        let (outcomes, ()) = tokio::join!(commands, writing);
        outcomes.map_err(CliError::from)
    };
    let outcomes = stage.context.block_on_to_the_end(Box::pin(work))?;
    for outcome in &outcomes {
        note(outcome, progress);
    }
    let bad = outcomes
        .iter()
        .filter(|outcome| outcome.result != HostResult::Succeeded);
    let bad = bad.count();
    if stage.is_stopped() && bad > 0 {
        return Err(Stop::Signal);
    }
    match bad > telling.may_fail {
        true => Err(Stop::Hosts),
        false => Ok(()),
    }
}

/// The bar, and each host's line.
fn show(waiting: &Hosts, event: &exec::Event) {
    match event {
        exec::Event::Started { host } => waiting.set(host, "started"),
        exec::Event::Output { host, line } => waiting.set(host, line),
        exec::Event::Ended { host, .. } => waiting.done(host),
    }
}

fn request(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    exec: &Exec,
    wave: &Wave,
    telling: &Telling<'_>,
) -> Result<ExecRequest, CliError> {
    let mut env = stage.context.environment.all();
    let mut secrets = Vec::new();
    for variable in settle::steps::variables(&exec.env, stage.context)? {
        if variable.secret {
            secrets.push(variable.value.clone());
        }
        env.push((variable.name.into(), variable.value.into()));
    }
    let timeout = match plan.course.timeout_given {
        true => plan.course.timeout,
        false => exec.timeout,
    };
    Ok(ExecRequest {
        hosts: wave.told.iter().map(|told| told.name.clone()).collect(),
        command: exec.command.clone(),
        url: telling.url.to_owned(),
        limit: NonZeroUsize::new(exec.limit as usize).unwrap_or(NonZeroUsize::MIN),
        timeout: timeout.get(),
        env,
        filters: Filters::new(move || masked(&secrets)),
    })
}

/// A filter that shows `***` in place of each secret, however the output is cut.
fn masked(secrets: &[String]) -> Filter {
    let mut masker = Masker::new(secrets.iter().map(String::as_str));
    Box::new(move |bytes| {
        let mut shown = Vec::new();
        match bytes {
            Some(bytes) => masker.push(bytes, &mut shown),
            None => masker.finish(&mut shown),
        }
        shown
    })
}

/// Puts a host's reports on the board as its command begins and ends. What cannot be written is said once.
async fn write_reports(
    stage: &Stage<'_>,
    telling: &Telling<'_>,
    release: &str,
    mut events: UnboundedReceiver<exec::Event>,
) {
    let mut warned = false;
    let mut ended = None;
    loop {
        let next = match ended {
            None => events.recv().await,
            Some(since) => tokio::time::timeout_at(since, events.recv())
                .await
                .unwrap_or_default(),
        };
        let Some(event) = next else { return };
        if stage.is_stopped() && ended.is_none() {
            ended = Some(tokio::time::Instant::now() + LAST_REPORTS);
        }
        let Some((host, report, log)) = said(event, telling) else {
            continue;
        };
        let put = stage
            .board
            .put_report(&telling.board_role, &host, release, &report, log.as_deref());
        if let Err(error) = put.await
            && !warned
        {
            warned = true;
            stage.warn(format!(
                "`shipit status` will not know all of this kick: {}",
                chain(&error)
            ));
        }
    }
}

/// The report that an event is, with the log.
fn said(event: exec::Event, telling: &Telling<'_>) -> Option<(String, Report, Option<String>)> {
    let report = |state, message| Report {
        kick: Some(telling.kick.to_string()),
        state,
        phase: None,
        time: jiff::Timestamp::now().as_second(),
        current: None,
        handler: Some(HANDLER.to_owned()),
        message,
    };
    match event {
        exec::Event::Started { host } => Some((host, report(Said::Started, None), None)),
        exec::Event::Output { .. } => None,
        exec::Event::Ended {
            host,
            result,
            output_tail,
            ..
        } => {
            let report = match result {
                HostResult::Succeeded => report(Said::Succeeded, None),
                other => report(Said::Failed, Some(report::result(&other))),
            };
            Some((host, report, Some(output_tail)))
        }
    }
}

/// Notes a host's outcome; a host whose command the stop kept from starting was not told.
fn note(outcome: &HostOutcome, progress: &mut Progress) {
    let mut now = HostNow::asked(None);
    now.time = Some(jiff::Timestamp::now().as_second());
    match &outcome.result {
        HostResult::Succeeded => now.state = HostState::Succeeded,
        HostResult::NotBegun => return,
        other => {
            now.state = HostState::Failed;
            now.reason = Some(report::result(other));
            progress
                .logs
                .insert(outcome.host.clone(), outcome.output_tail.clone());
        }
    }
    progress.hosts.insert(outcome.host.clone(), now);
}
