//! One role's kick under the lock, from `started.json` to `ended.json`: the once commands, the waves, the live pointer, hosts that
//! joined. Each way out passes through the end, signals included.

use std::time::Instant;

use shipit_fleet::lock::Lock;
use shipit_store::{Action, Ended, KICK_VERSION, KickId, KickResult, Started, kick};

use super::live::Pointer;
use super::outcome::{Progress, Stop};
use super::plan::Plan;
use super::stage::Stage;
use super::wave::{self, Telling};
use super::{check, live, once, say};
use crate::config::Transport;
use crate::errors::{CliError, Result};
use crate::settle;

/// What came of it.
pub struct Kicked {
    /// The kick.
    pub id: KickId,
    /// How it ended.
    pub result: KickResult,
    /// Why, when it did not succeed.
    pub reason: Option<String>,
    /// Where each host stands.
    pub progress: Progress,
    /// Why it stopped before its time.
    pub stop: Option<Stop>,
    /// How long it took.
    pub seconds: f64,
    /// The kick's own document.
    pub started: Started,
}

/// Kicks one role. An error means that nothing was told to anybody, and nothing is in the history.
pub fn run(stage: &Stage<'_>, plan: &Plan<'_>, lock: &Lock) -> Result<Kicked> {
    let begin = Instant::now();
    let (before, id) = stage.wait(async {
        let (before, id) = tokio::join!(live::look(stage, plan.name()), new_id(stage));
        Ok((before?, id?))
    })?;
    live::warn_of_damage(stage, plan, &before);
    let started = started(stage, plan, lock, &before, id);
    // Not dropped on a signal: what is written may be there already, and then it needs its end.
    stage.last_words(async { Ok(kick::start(&stage.store, &started).await?) })?;
    say::start(stage, plan, &started);
    let mut progress = Progress {
        before: started.live.clone(),
        ..Progress::default()
    };
    let stop = go(stage, plan, lock, &started.kick, &before, &mut progress).err();
    let result = match &stop {
        Some(stop) => stop.result(),
        None if plan.followed => KickResult::Succeeded,
        None => KickResult::NotFollowed,
    };
    let reason = stop.as_ref().map(|stop| stop.reason(&progress, stage.context));
    let seconds = begin.elapsed().as_secs_f64();
    let kicked = Kicked {
        id: started.kick.clone(),
        result,
        reason,
        progress,
        stop,
        seconds,
        started,
    };
    write_end(stage, &kicked);
    say::end(stage, plan, &kicked);
    Ok(kicked)
}

fn go(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    lock: &Lock,
    kick: &KickId,
    before: &Pointer,
    progress: &mut Progress,
) -> std::result::Result<(), Stop> {
    still_there(stage, plan)?;
    wave::held(stage, lock)?;
    once::run(stage, plan, lock, kick, progress)?;
    waves(stage, plan, lock, kick, progress)?;
    if plan.action == Action::Repair {
        say::live(stage, plan, before);
    }
    if !plan.hosts.whole || plan.action == Action::Repair {
        return Ok(());
    }
    wave::held(stage, lock)?;
    live::move_to(stage, plan, before)?;
    progress.moved_live = true;
    if plan.followed {
        joined(stage, plan, lock, kick, progress)?;
    }
    if plan.course.transport == Transport::Exec {
        replay(stage, plan, lock, progress);
    }
    Ok(())
}

/// That the release was not pruned since it was read. From `started.json` on a prune leaves it alone, and not before.
fn still_there(stage: &Stage<'_>, plan: &Plan<'_>) -> Result<()> {
    let found = super::target::find(stage, &plan.release.id);
    found.map(drop).map_err(|error| {
        error
            .context(format!(
                "the release {} was pruned meanwhile, or cannot be read any more; no host was told",
                plan.release.id
            ))
            .hint(format!(
                "`shipit releases{}` lists what there is; publish it again, or kick another",
                settle::board::stage_flag(stage.config)
            ))
    })
}

/// The kick was good; what keeps newcomers from being told is a warning.
fn joined(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    lock: &Lock,
    kick: &KickId,
    progress: &mut Progress,
) -> std::result::Result<(), Stop> {
    match live::joined(stage, plan, lock, kick, progress) {
        Err(Stop::Error(error)) => {
            stage.warn(format!(
                "could not see to hosts of {0} that joined during the kick: {1}; `shipit repair {0}{2}` does",
                plan.name(),
                error.chain().join(": "),
                stage.flag()
            ));
            Ok(())
        }
        other => other,
    }
}

/// One wave after the other, as long as all is well.
fn waves(
    stage: &Stage<'_>,
    plan: &Plan<'_>,
    lock: &Lock,
    kick: &KickId,
    progress: &mut Progress,
) -> std::result::Result<(), Stop> {
    let count = plan.waves.len();
    for (at, wave) in plan.waves.iter().enumerate() {
        if at > 0 {
            between(stage, plan, lock, at)?;
        }
        let label = match count {
            1 => plan.name().to_owned(),
            _ => format!("{}, wave {} of {count}", plan.name(), at + 1),
        };
        let telling = Telling {
            kick,
            lock,
            label,
            board_role: plan.name().to_owned(),
            url: &plan.url,
            switches: true,
            may_fail: match plan.course.goes_on {
                true => usize::MAX,
                false => plan.course.may_fail.saturating_sub(progress.bad()),
            },
        };
        if plan.followed {
            wave::run(stage, plan, wave, &telling, progress)?;
        } else {
            wave::only_tell(stage, plan, wave, &telling, progress)?;
        }
        if progress.bad() <= plan.course.may_fail {
            progress.waves += 1;
        }
        if count > 1 {
            stage.say(format!("{}: {}", telling.label, progress.summary()));
        }
    }
    match progress.bad() > plan.course.may_fail {
        true => Err(Stop::Hosts),
        false => Ok(()),
    }
}

/// The pause between two waves, and then the check: a release that goes wrong mostly needs some time for it.
fn between(stage: &Stage<'_>, plan: &Plan<'_>, lock: &Lock, wave: usize) -> std::result::Result<(), Stop> {
    pause(stage, plan, lock)?;
    wave::held(stage, lock)?;
    match &plan.course.check {
        Some(check) => check::run(stage, plan, check, wave),
        None => Ok(()),
    }
}

fn pause(stage: &Stage<'_>, plan: &Plan<'_>, lock: &Lock) -> std::result::Result<(), Stop> {
    let pause = plan.course.pause;
    if pause.get().is_zero() {
        return Ok(());
    }
    stage.say(format!("waiting {pause} before the next wave"));
    let pause = async {
        Ok(tokio::select! {
            () = tokio::time::sleep(pause.get()) => None,
            why = lock.wait_lost() => Some(why),
        })
    };
    match stage.wait(pause)? {
        Some(why) => Err(Stop::Lost(why)),
        None => Ok(()),
    }
}

/// After a kick by exec, the role's event too: a watch that restarts replays the newest event, which must not be an older
/// release. Nothing depends on it now: the hosts did well and live has moved, so that what keeps it from being fired, be it that the
/// lock is lost by now, is a warning.
fn replay(stage: &Stage<'_>, plan: &Plan<'_>, lock: &Lock, progress: &mut Progress) {
    let (Some(client), Some(event)) = (&stage.consul, &plan.event) else {
        return;
    };
    let fired = match lock.lost() {
        Some(why) => Err(format!("the lock was lost: {why}")),
        None => wave::fire(stage, client, event).map_err(|error| error.chain().join(": ")),
    };
    match fired {
        Ok(fired) => progress.events.push(fired),
        Err(why) => stage.warn(format!(
            "the event {} was not fired after the hosts were told by exec: {why}; a watch that restarts may go back to the release of an \
             older event, until the next kick",
            event.name
        )),
    }
}

fn started(stage: &Stage<'_>, plan: &Plan<'_>, lock: &Lock, before: &Pointer, id: KickId) -> Started {
    let mut hosts = plan.hosts.names();
    hosts.sort();
    Started {
        version: KICK_VERSION,
        kick: id,
        app: stage.config.app.clone(),
        stage: stage.config.stage().to_owned(),
        role: plan.name().to_owned(),
        action: plan.action,
        release: plan.release.id.to_string(),
        revision: plan.release.revision.clone(),
        live: before.release().map(str::to_owned),
        lock: Some(lock.holder().id.clone()),
        transport: transport(plan).to_owned(),
        batch: plan
            .course
            .batch
            .filter(|_| plan.followed)
            .map(|batch| batch.to_string()),
        whole: plan.hosts.whole && plan.action != Action::Repair,
        followed: plan.followed,
        hosts,
        expected: plan.hosts.count,
        who: settle::who(stage.context),
        reason: plan.reason.clone(),
        time: jiff::Timestamp::now().as_second(),
    }
}

/// An id that sorts after all others: the history is read in this order, and two kicks may be of one second, or of two clocks.
async fn new_id(stage: &Stage<'_>) -> Result<KickId> {
    let (app, name) = (&stage.config.app, stage.config.stage());
    let ids = kick::ids(&stage.store, app, name).await?;
    let now = jiff::Timestamp::now().as_second();
    let after = ids.first().map_or(now, |newest| now.max(newest.time() + 1));
    Ok(KickId::new(after)?)
}

/// The transport's name.
pub fn transport(plan: &Plan<'_>) -> &'static str {
    match plan.course.transport {
        Transport::Consul => "consul",
        Transport::Exec => "exec",
    }
}

fn write_end(stage: &Stage<'_>, kicked: &Kicked) {
    let ended = Ended {
        version: KICK_VERSION,
        kick: kicked.id.clone(),
        result: kicked.result,
        reason: kicked.reason.clone(),
        moved_live: kicked.progress.moved_live,
        once: kicked.progress.once,
        once_on: kicked.progress.once_end(),
        hosts: kicked.progress.ends(),
        time: jiff::Timestamp::now().as_second(),
        seconds: kicked.seconds,
    };
    let (app, name) = (&stage.config.app, stage.config.stage());
    let written = stage.last_words(async { Ok(kick::end(&stage.store, app, name, &ended).await?) });
    if let Err(error) = written {
        stage.warn(format!(
            "the history does not know how the kick {} ended, and will call it interrupted: {}",
            kicked.id,
            error.chain().join(": ")
        ));
    }
}

impl Kicked {
    /// The error that it ends with.
    pub fn into_error(self, stage: &Stage<'_>, plan: &Plan<'_>) -> Option<CliError> {
        let Kicked { stop, progress, .. } = self;
        stop.map(|stop| stop.into_error(stage, plan, &progress))
    }
}
