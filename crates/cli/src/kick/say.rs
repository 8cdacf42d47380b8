//! What one role's kick says of itself: on stderr as it begins and ends, and in the summary for those whom the config names.

use shipit_store::{Action, HostState, Started};

use super::course::Kicked;
use super::live::Pointer;
use super::plan::Plan;
use super::repair;
use super::stage::Stage;
use crate::notify::{Counts, Summary};

/// What begins.
pub fn start(stage: &Stage<'_>, plan: &Plan<'_>, started: &Started) {
    let doing = match plan.action {
        Action::Kick => "kicking",
        Action::Repair => "repairing",
        Action::Rollback => "rolling back",
    };
    let to = &started.release;
    let way = match plan.from.as_ref().filter(|from| *from != to) {
        Some(from) => format!(" from {from} to {to}"),
        None => format!(": {to}"),
    };
    stage.say(format!(
        "{doing} {} of {} in {}{way} (kick {})",
        plan.name(),
        started.app,
        started.stage,
        started.kick
    ));
    if let Some(note) = &plan.note {
        stage.say(note);
    }
    if plan.mute {
        stage.warn(format!(
            "the manifest of {} in {} has no commands that report, so its hosts will count as silent; publish again, with a \
             template that reports{}",
            plan.name(),
            started.release,
            if plan.action == Action::Kick { ", or kick with --no-wait" } else { "" }
        ));
    }
    for told in &plan.hosts.told {
        if let Some(dead) = &told.dead {
            stage.warn(format!("{} is told and not waited for: {dead}", told.name));
        }
    }
}

/// How it ended, with the last lines of the hosts that did not succeed.
pub fn end(stage: &Stage<'_>, plan: &Plan<'_>, kicked: &Kicked) {
    let manifests = plan.manifests();
    let shown = &kicked.progress.shown;
    for (host, log) in kicked
        .progress
        .logs
        .iter()
        .filter(|(host, _)| !shown.contains(*host))
    {
        crate::report::last_lines(&stage.context.output, host, log, &manifests);
    }
    if plan.followed {
        stage.say(format!(
            "{}: {} in {:.1} s",
            plan.name(),
            kicked.progress.summary(),
            kicked.seconds
        ));
    }
    let bad = kicked.progress.bad_hosts();
    if kicked.stop.is_none() && !bad.is_empty() {
        stage.warn(format!(
            "{}: no more failed than may, but these did: {}",
            plan.name(),
            bad.join(", ")
        ));
    }
}

/// After a repair: where all hosts have the release now, new ones still boot with what is live.
pub fn live(stage: &Stage<'_>, plan: &Plan<'_>, live: &Pointer) {
    let (role, release) = (plan.name(), &plan.release.id);
    let live = match live {
        Pointer::Nothing => "none yet",
        Pointer::Live(live) if live.release == release.as_str() => return,
        Pointer::Live(live) => &live.release,
        // That was said.
        Pointer::Damaged(_) => return,
    };
    // Who cannot be asked now does not make the repair a worse one.
    let lagging = repair::lagging(
        stage,
        plan.role,
        &plan.release,
        plan.wave_flags,
        &super::ALL,
        None,
    );
    if lagging.is_ok_and(|lagging| lagging.names.is_empty()) {
        stage.say(format!(
            "{role}: all hosts have {release} now, but live is another one ({live}): `shipit kick {role}{} --release {release}` \
             moves it",
            stage.flag()
        ));
    }
}

/// What those are told whom the config names.
pub fn summary(stage: &Stage<'_>, plan: &Plan<'_>, kicked: &Kicked) -> Summary {
    let (started, progress) = (&kicked.started, &kicked.progress);
    let bad = progress.hosts.iter().filter(|(_, now)| now.is_bad());
    let build = stage.context.environment.text("BUILD_URL");
    // The history has both in one.
    let url = build
        .as_ref()
        .map(|build| format!(" ({build})"))
        .unwrap_or_default();
    let who = started.who.strip_suffix(&url).unwrap_or(&started.who);
    Summary {
        kick: kicked.id.to_string(),
        app: started.app.clone(),
        stage: started.stage.clone(),
        role: started.role.clone(),
        action: started.action,
        release: started.release.clone(),
        revision: started.revision.clone(),
        who: who.to_owned(),
        purpose: started.reason.clone(),
        result: kicked.result,
        reason: kicked.reason.clone(),
        seconds: kicked.seconds,
        hosts: Counts {
            expected: plan.hosts.number(),
            succeeded: progress.count(HostState::Succeeded),
            failed: progress.count(HostState::Failed),
            silent: progress.count(HostState::Silent) + progress.missing,
            working: progress.open().len(),
        },
        failed: bad.map(|(host, _)| host.clone()).collect(),
        bad: progress.bad_hosts(),
        build,
    }
}
