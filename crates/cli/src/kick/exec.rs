//! A wave by the transport exec: a command for each host, whose end is the host's report. The kicker writes the reports, for the
//! hosts may have no way to; so `status` and `logs` know of them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use futures_util::future;
use futures_util::stream::{self, StreamExt as _};
use shipit_fleet::exec::{self, ExecRequest, Filter, Filters, HostOutcome, HostResult};
use shipit_fleet::follow::HostNow;
use shipit_fleet::report::{Report, Said};
use shipit_steps::Masker;
use shipit_store::HostState;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::watch;
use tokio::time::Instant;

use super::health;
use super::hosts::exec_of;
use super::outcome::{Progress, Stop};
use super::plan::Plan;
use super::stage::Stage;
use super::wave::{Telling, ask, held};
use super::waves::Wave;
use crate::config::Exec;
use crate::errors::{CliError, chain};
use crate::output::Hosts;
use crate::{report, settle};

/// Who wrote the report.
const HANDLER: &str = "exec";
/// How long reports may still take when all commands are over: they are for others to read.
const LAST_REPORTS: Duration = Duration::from_secs(15);
/// How many events are taken together, and how many hosts' reports are written side by side.
const MOST_AT_ONCE: usize = 256;
const PUTS_AT_ONCE: usize = 8;

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
    held(stage, telling.lock)?;
    let exec = exec_of(plan.role)?;
    let request = request(stage, plan, exec, wave, telling)?;
    let (send, receive) = mpsc::unbounded_channel();
    let reporter = report::Exec::new(&stage.context.output);
    let waiting = stage.context.output.hosts(&telling.label, wave.told.len());
    let interrupt = &stage.context.interrupt;
    // Set when all commands are over.
    let (over, ended) = watch::channel(None);
    let shown = &reporter;
    let work = async {
        let commands = async move {
            // It ends the hosts' commands itself when asked to stop, so that each can clean up.
            let on_event = |event: exec::Event| {
                show(&waiting, &event);
                shown.event(&event);
                if !matches!(event, exec::Event::Output { .. }) {
                    // The writer is there as long as this is.
                    let _ = send.send(event);
                }
            };
            let outcomes = exec::run(&request, interrupt.asked(), &on_event).await;
            over.send_replace(Some(Instant::now() + LAST_REPORTS));
            outcomes
        };
        let writing = write_reports(stage, telling, &release, receive, ended);
        let (outcomes, ()) = tokio::join!(commands, writing);
        outcomes.map_err(CliError::from)
    };
    let outcomes = stage.context.block_on_to_the_end(Box::pin(work))?;
    for outcome in &outcomes {
        note(outcome, progress);
    }
    progress.shown = reporter.on_screen();
    concluded(stage, &outcomes, telling, progress)?;
    if telling.switches && health::pass(stage, plan, telling, wave, progress)? {
        return concluded(stage, &outcomes, telling, progress);
    }
    Ok(())
}

/// Whether more hosts did not succeed than may.
fn concluded(
    stage: &Stage<'_>,
    outcomes: &[HostOutcome],
    telling: &Telling<'_>,
    progress: &Progress,
) -> Result<(), Stop> {
    let succeeded = |outcome: &&HostOutcome| {
        let now = progress.hosts.get(&outcome.host);
        now.is_some_and(|now| now.state == HostState::Succeeded)
    };
    let bad = outcomes.len() - outcomes.iter().filter(succeeded).count();
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

/// Puts hosts' reports on the board as their commands begin and end, until all are written or the time for the last ones is over:
/// a board that does not answer must not keep the kick. What cannot be written is said once.
async fn write_reports(
    stage: &Stage<'_>,
    telling: &Telling<'_>,
    release: &str,
    events: UnboundedReceiver<exec::Event>,
    ended: watch::Receiver<Option<Instant>>,
) {
    let put = |said: Reported| async move {
        let (host, report, log) = said;
        let put = stage
            .board
            .put_report(&telling.board_role, &host, release, &report, log.as_deref());
        put.await.map_err(|error| chain(&error))
    };
    let warn = |why: String| {
        stage.warn(format!("`shipit status` will not know all of this kick: {why}"));
    };
    bounded(events, ended, |event| said(event, telling), put, warn).await;
}

/// A host's report and log, with its name.
type Reported = (String, Report, Option<String>);

/// Writes what `said` makes of events, several hosts' at once, each host's in order, until `ended` says that it is enough.
async fn bounded<W: Future<Output = Result<(), String>>>(
    mut events: UnboundedReceiver<exec::Event>,
    mut ended: watch::Receiver<Option<Instant>>,
    said: impl Fn(exec::Event) -> Option<Reported>,
    put: impl Fn(Reported) -> W,
    warn: impl Fn(String),
) {
    let warned = Cell::new(false);
    let warn_once = |why| {
        if !warned.replace(true) {
            warn(why);
        }
    };
    let all = async {
        let mut some = Vec::new();
        while events.recv_many(&mut some, MOST_AT_ONCE).await > 0 {
            let mut hosts: BTreeMap<String, Vec<Reported>> = BTreeMap::new();
            for reported in some.drain(..).filter_map(&said) {
                hosts.entry(reported.0.clone()).or_default().push(reported);
            }
            let write = |reports: Vec<Reported>| async {
                for reported in reports {
                    if let Err(why) = put(reported).await {
                        warn_once(why);
                    }
                }
            };
            stream::iter(hosts.into_values().map(write))
                .buffer_unordered(PUTS_AT_ONCE)
                .for_each(|()| future::ready(()))
                .await;
        }
    };
    let limit = async {
        // Who has the other end says it, or is gone; then no more events come, either.
        let until = ended
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|until| *until);
        match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = all => {}
        () = limit => warn_once(format!(
            "no answer in {} s after the commands were over",
            LAST_REPORTS.as_secs()
        )),
    }
}

/// The report that an event is, with the log.
fn said(event: exec::Event, telling: &Telling<'_>) -> Option<Reported> {
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
                // It was not told, and has nothing to say of this kick.
                HostResult::NotBegun => return None,
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn reported(event: exec::Event) -> Option<Reported> {
        let exec::Event::Started { host } = event else {
            return None;
        };
        let report = Report {
            kick: None,
            state: Said::Started,
            phase: None,
            time: 0,
            current: None,
            handler: None,
            message: None,
        };
        Some((host, report, None))
    }

    fn channel(hosts: usize) -> UnboundedReceiver<exec::Event> {
        let (send, receive) = mpsc::unbounded_channel();
        for host in 0..hosts {
            let host = format!("web{host}");
            send.send(exec::Event::Started { host }).unwrap();
        }
        receive
    }

    #[tokio::test]
    async fn a_board_that_does_not_answer_keeps_a_kick_some_seconds_and_not_for_each_host() {
        let begin = Instant::now();
        let (_over, ended) = watch::channel(Some(begin + Duration::from_millis(300)));
        let warnings = RefCell::new(Vec::new());
        let patience = |_| async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Err("no answer".to_owned())
        };
        bounded(channel(100), ended, reported, patience, |why| {
            warnings.borrow_mut().push(why);
        })
        .await;
        assert!(
            begin.elapsed() < Duration::from_secs(60),
            "a board's patience, for each host"
        );
        assert_eq!(warnings.into_inner().len(), 1);
    }

    #[tokio::test]
    async fn all_reports_are_written_by_a_board_that_answers_and_failures_are_said_once() {
        let (_over, ended) = watch::channel(None);
        let (written, warnings) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let put = |reported: Reported| {
            written.borrow_mut().push(reported.0);
            future::ready(Err("denied".to_owned()))
        };
        bounded(channel(300), ended, reported, put, |why| {
            warnings.borrow_mut().push(why);
        })
        .await;
        assert_eq!(written.into_inner().len(), 300);
        assert_eq!(warnings.into_inner(), ["denied"]);
    }
}
