//! The error that a kick ends with when it stopped before its time: what came of it, what still runs, what to do next.

use shipit_store::{Action, HostState};

use super::outcome::{Progress, Stop, named};
use super::plan::Plan;
use super::stage::Stage;
use crate::errors::{CliError, Kind};

impl Stop {
    /// For the user.
    pub fn into_error(self, stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress) -> CliError {
        let role = plan.name();
        let flag = stage.flag();
        let once_said = matches!(self, Stop::Signal | Stop::OnceSilent(_));
        let open = match self {
            Stop::Signal => Vec::new(),
            _ => progress.open(),
        };
        let error = match self {
            Stop::Hosts => hosts_failed(stage, plan, progress),
            Stop::Check(why) => check_failed(stage, plan, progress, &why),
            Stop::Once(why) => once_failed(stage, plan, progress, &why),
            Stop::OnceSilent(why) => once_silent(stage, plan, progress, &why),
            Stop::Lost(why) => CliError::new(Kind::Locked, format!("role {role}: the lock was lost: {why}"))
                .hint(format!(
                    "`shipit lock --status{flag}` says who has it now; hosts that were told go on: see `shipit status {role}{flag}`"
                )),
            Stop::Signal => stopped(stage, plan, progress),
            Stop::Error(error) => error.context(format!("role {role}")),
        };
        let error = match progress.once_open() {
            Some(host) if !once_said => error.hint(once_goes_on(stage, plan, host)),
            _ => error,
        };
        let error = match open.is_empty() || !plan.followed {
            true => error,
            false => error.hint(format!(
                "still at it, and not followed any more: {}; `shipit status {role}{flag}` shows how they do",
                named(&open)
            )),
        };
        let not_told = progress.not_told(plan);
        match not_told.is_empty() {
            true => error,
            false => error.hint(format!("not told: {}", named(&not_told))),
        }
    }
}

fn hosts_failed(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress) -> CliError {
    let flag = stage.flag();
    let (role, number) = (plan.name(), progress.hosts.len() + progress.missing);
    let bad = progress.bad_hosts();
    let of = match progress.not_told(plan).len() {
        0 => format!("{number} hosts"),
        more => format!("the {number} hosts that were told (of {})", number + more),
    };
    let error = CliError::new(
        Kind::Hosts,
        format!(
            "role {role}: {} of {of} did not succeed: {}",
            progress.bad(),
            named(&bad)
        ),
    );
    // A host that was never heard of has no log of this kick.
    let spoke = progress
        .hosts
        .iter()
        .find(|(_, now)| now.is_bad() && now.time.is_some());
    error
        .maybe_hint(spoke.map(|(host, _)| format!("`shipit logs {host}{flag}` shows more")))
        .hint(on_and_back(stage, plan, progress))
}

fn check_failed(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress, why: &str) -> CliError {
    CliError::new(
        Kind::Hosts,
        format!("role {}: the check between waves failed: {why}", plan.name()),
    )
    .hint(on_and_back(stage, plan, progress))
}

/// What a repair would do, and a rollback.
fn on_and_back(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress) -> String {
    let (role, flag) = (plan.name(), stage.flag());
    let repair = format!("`shipit repair {role}{flag}` {}", repair(plan, progress));
    match (plan.action, &progress.before) {
        // That one goes back already: the next one would go to the same release again.
        (Action::Rollback, _) => {
            format!("{repair}, `shipit rollback {role}{flag}` tries it again for all of them")
        }
        (Action::Kick | Action::Repair, Some(_)) => {
            format!("{repair}, `shipit rollback {role}{flag}` goes back")
        }
        (Action::Kick | Action::Repair, None) => {
            format!("{repair}; no release is known to be live, so there is none to go back to")
        }
    }
}

/// Whom a repair would tell, and in which order.
fn repair(plan: &Plan<'_>, progress: &Progress) -> String {
    let told = progress.hosts.iter();
    let again: Vec<String> = told
        .filter(|(_, now)| now.state != HostState::Succeeded && now.dead.is_none())
        .map(|(host, _)| host.clone())
        .collect();
    let again = match again.is_empty() {
        true if progress.missing > 0 => "those hosts".to_owned(),
        _ => named(&again),
    };
    let more = progress.not_told(plan);
    let waves = plan.course.batch.map(|batch| format!(" in waves of {batch}"));
    let waves = waves.unwrap_or_default();
    match (again.is_empty(), more.is_empty()) {
        (_, true) => format!("tells {again} again"),
        (true, false) => format!("goes on with {}{waves}", named(&more)),
        (false, false) => format!(
            "tells {again} again, and, when that is good, {}{waves}",
            named(&more)
        ),
    }
}

fn once_failed(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress, why: &str) -> CliError {
    let role = plan.name();
    let spoke = progress.once_on.as_ref().filter(|(_, now)| now.time.is_some());
    CliError::new(
        Kind::Hosts,
        format!("role {role}: the once commands failed, and no host was told to switch: {why}"),
    )
    .maybe_hint(spoke.map(|(host, _)| format!("{} shows more", once_log(stage, plan, host))))
    .hint("mend it and kick again: once commands run again until they succeed")
}

fn once_silent(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress, why: &str) -> CliError {
    let role = plan.name();
    let error = CliError::new(
        Kind::Hosts,
        format!(
            "role {role}: the once commands did not report in time, and no host was told to switch: {why}"
        ),
    );
    let host = progress.once_open().map(str::to_owned);
    error
        .maybe_hint(host.map(|host| once_goes_on(stage, plan, &host)))
        .hint(format!(
            "they have {} (`--timeout`, or timeout under [role.{role}.kick])",
            plan.course.timeout
        ))
}

/// What is to be known of once commands whose end nobody saw.
fn once_goes_on(stage: &Stage<'_>, plan: &Plan<'_>, host: &str) -> String {
    format!(
        "the once commands may still run on {host}: wait for their end before you kick again ({}, or the journal there); the next kick \
         does not run them again when it finds that they ended well",
        once_log(stage, plan, host)
    )
}

/// The command that shows what a role's once commands printed on a host.
pub fn once_log(stage: &Stage<'_>, plan: &Plan<'_>, host: &str) -> String {
    format!("`shipit logs {host} --role {}.once{}`", plan.name(), stage.flag())
}

/// What a signal leaves: hosts that go on by themselves, and those whose commands were ended here.
fn stopped(stage: &Stage<'_>, plan: &Plan<'_>, progress: &Progress) -> CliError {
    let mut error = stage.context.stopped();
    let bad = progress.bad_hosts();
    if !bad.is_empty() {
        error = error.context(format!("role {}: {}", plan.name(), named(&bad)));
    }
    if let Some((host, now)) = &progress.once_on
        && now.state == HostState::Failed
    {
        let why = now.reason.as_deref().unwrap_or("failed");
        error = error.context(format!("role {}: once on {host}: {why}", plan.name()));
    }
    if let Some(host) = progress.once_open() {
        return error.hint(once_goes_on(stage, plan, host));
    }
    let open = progress.open();
    match open.is_empty() {
        false => error.hint(format!(
            "still at it, and not followed any more: {}; see `shipit status {}{}`, or {} again: hosts that are done do nothing more",
            named(&open),
            plan.name(),
            stage.flag(),
            plan.action.as_str()
        )),
        true => error.hint(format!(
            "{} again: hosts that are done do nothing more",
            plan.action.as_str()
        )),
    }
}
