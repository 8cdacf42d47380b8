//! Kicks: hosts of a role are told a release, wave by wave, and followed until each has said its last word.
//!
//! The order is the promise. Everything is planned and checked before the first host hears of anything; then the stage's lock; then
//! each role's kick: `started.json`, the once commands, the waves, the live pointer, the hosts that joined, `ended.json`; then the
//! lock is given back, on each way out, and those are told whom the config names. Not here: what a report makes of a host and when following ends
//! (shipit_fleet::follow), how locks and reports are stored (shipit_fleet::board).

mod check;
mod course;
mod document;
mod ending;
mod exec;
mod flags;
mod health;
mod hosts;
mod live;
mod manifests;
mod once;
mod outcome;
mod plan;
mod repair;
mod say;
mod stage;
mod target;
mod wave;
mod waves;

use std::time::{Duration, Instant};

use shipit_fleet::lock::Lock;
use shipit_store::Action;

use flags::TransportArg;
pub use flags::{HostFlags, WaveFlags};
pub use hosts::wanted;
pub use live::in_words as damaged_in_words;
pub use plan::Wish;
pub use repair::{agents, lagging};
pub use stage::Stage;
pub use target::{Target, back_to, find, of_repair, of_rollback};

use crate::config::{Role, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::notify::Notices;
use crate::settle;
use course::Kicked;
use document::Document;
use outcome::{Progress, Stop};
use plan::Plan;

/// How long what Consul and the store said is what they say.
const A_MOMENT: Duration = Duration::from_secs(1);

/// What is to be done under one lock.
pub struct Request<'a> {
    /// The flags.
    pub flags: &'a WaveFlags,
    /// What is wanted of each role, in order. Asked again under the lock where it goes by what others did, and where the lock
    /// was waited for: others may have kicked meanwhile.
    pub plan: &'a dyn Fn(&Stage<'_>) -> Result<Vec<Wish<'a>>>,
    /// Whether the lock stays, as a manual one with this reason.
    pub keep_lock: Option<&'a str>,
}

/// The config of a stage, with what the flags say of Consul.
pub fn config(context: &Context, stage: Option<&str>, flags: &WaveFlags) -> Result<Settled> {
    let mut config = Stage::config(context, stage)?;
    if let Some(datacenter) = &flags.dc {
        config.consul.hosts_in = Some(datacenter.clone());
    }
    if flags.without_consul && flags.transport == Some(TransportArg::Consul) {
        return Err(CliError::new(
            Kind::Usage,
            "--without-consul tells hosts by exec, and --transport consul by Consul",
        )
        .hint("leave one of them out"));
    }
    if flags.without_consul && config.uses_consul() {
        context.output.warn(
            "without Consul: the lock and the reports stand in the store, and nobody is kept out who kicks through Consul meanwhile",
        );
        if config.roles.iter().any(|role| role.health) {
            context
                .output
                .warn("the checks of services (health) are not looked at either");
        }
        config.leave_consul();
    }
    Ok(config)
}

/// The roles in the order given, each once.
pub fn roles<'a>(names: &[String], config: &'a Settled) -> Result<Vec<&'a Role>> {
    let twice = |(at, name): &(usize, &String)| names[..*at].contains(name);
    if let Some((_, name)) = names.iter().enumerate().find(twice) {
        return Err(CliError::new(
            Kind::Usage,
            format!("the role {name} is named twice"),
        ));
    }
    names.iter().map(|name| Ok(config.role(name)?)).collect()
}

/// Plans, locks, kicks one role after the other, and gives the lock back.
pub fn run(stage: &Stage<'_>, request: &Request<'_>) -> Result<()> {
    let began = Instant::now();
    let planned = plans(stage, request)?;
    if planned.is_empty() {
        return Document::new(stage, &[]).print(stage);
    }
    let doing = doing(&planned);
    let lock = lock(stage, request, &planned, &doing)?;
    let plans = match stands(&planned, began) {
        true => Ok(planned),
        false => plans(stage, request),
    };
    let mut notices = Notices::new(stage.config, stage.context);
    let work = plans.and_then(|plans| kick_all(stage, &plans, &lock, &mut notices).map_err(CliError::begun));
    let work = match (work, request.keep_lock) {
        (Ok(()), Some(reason)) => keep(stage, lock, &doing, reason),
        (work, _) => {
            settle::board::give_back(
                stage.context,
                &settle::board::stage_name(stage.config),
                lock.release(),
            );
            work
        }
    };
    // Others may kick while a webhook takes its time, and who acts on a notice finds the stage free.
    notices.finish();
    let settled = stage.last_words(async {
        stage.store.settle().await;
        Ok(())
    });
    if let Err(error) = settled {
        stage.warn(format!(
            "what was being written to the store is not all done: {}",
            error.chain().join(": ")
        ));
    }
    work
}

/// Whether what was found out before the lock was had holds under it. Where a kick goes is for its user to say, and what it needs
/// to know is as it was a moment ago; a repair and a rollback go by what others did, who may have had the lock in that moment.
fn stands(planned: &[Plan<'_>], began: Instant) -> bool {
    began.elapsed() < A_MOMENT && planned.iter().all(|plan| plan.action == Action::Kick)
}

fn plans<'a>(stage: &Stage<'_>, request: &Request<'a>) -> Result<Vec<Plan<'a>>> {
    let wishes = (request.plan)(stage)?;
    wishes.into_iter().map(|wish| plan::plan(stage, wish)).collect()
}

fn lock(stage: &Stage<'_>, request: &Request<'_>, plans: &[Plan<'_>], doing: &str) -> Result<Lock> {
    let revision = plans.first().map(|plan| plan.release.revision.as_str());
    let holder = settle::holder(stage.context, doing, revision, request.flags.reason.as_deref());
    let wait = request.flags.lock_wait.unwrap_or(stage.config.kick.lock_wait);
    let board = std::sync::Arc::clone(&stage.board);
    settle::board::stage_lock(stage.config, stage.context, board, holder, wait.get())
}

/// `kick db web`.
fn doing(plans: &[Plan<'_>]) -> String {
    let action = plans.first().map_or("kick", |plan| plan.action.as_str());
    let roles: Vec<&str> = plans.iter().map(Plan::name).collect();
    format!("{action} {}", roles.join(" "))
}

/// Leaves the stage locked by hand.
fn keep(stage: &Stage<'_>, lock: Lock, doing: &str, reason: &str) -> Result<()> {
    let mut holder = settle::holder(stage.context, doing, None, Some(reason));
    holder.manual = true;
    let what = settle::board::stage_name(stage.config);
    let done = "the rollback is done, but the stage could not be kept locked";
    let other = stage
        .last_words(async { Ok(lock.turn_manual(&holder).await?) })
        .map_err(|error| error.context(done))?;
    match other {
        Some(held) => Err(settle::board::locked(stage.config, &held.holder).context(done)),
        None => {
            stage.say(format!(
                "{what} stays locked until `shipit unlock{}`: {reason}",
                stage.flag()
            ));
            Ok(())
        }
    }
}

/// One role after the other; stops at the first that did not go well.
fn kick_all(stage: &Stage<'_>, plans: &[Plan<'_>], lock: &Lock, notices: &mut Notices<'_>) -> Result<()> {
    let mut document = Document::new(stage, plans);
    let done = kick_each(stage, plans, lock, &mut document, notices);
    // What hosts were told they were told, whatever came of the rest: an event cannot be called back.
    let printed = document.print(stage);
    done.and(printed)
}

fn kick_each(
    stage: &Stage<'_>,
    plans: &[Plan<'_>],
    lock: &Lock,
    document: &mut Document,
    notices: &mut Notices<'_>,
) -> Result<()> {
    for (at, plan) in plans.iter().enumerate() {
        let rest: Vec<&str> = plans[at + 1..].iter().map(Plan::name).collect();
        let not_kicked = |error: CliError| match rest.is_empty() {
            true => error,
            false => error.hint(format!("not kicked: {}", rest.join(", "))),
        };
        let kicked = course::run(stage, plan, lock).map_err(not_kicked)?;
        // Going back comes first: a stdout that cannot be written keeps no host from it.
        let back = go_back(stage, plan, &kicked, lock);
        notices.ended(say::summary(stage, plan, &kicked));
        let mut added = document.add(stage, plan, &kicked);
        if let Some(Back {
            went: Some((plan, kicked)),
            ..
        }) = &back
        {
            notices.ended(say::summary(stage, plan, kicked));
            added = added.and(document.add(stage, plan, kicked));
        }
        if let Some(error) = kicked.into_error(stage, plan) {
            return Err(not_kicked(match back {
                Some(back) => error.hint(back.in_words(stage)),
                None => error,
            }));
        }
        added.map_err(not_kicked)?;
        if let Some(next) = plans.get(at + 1) {
            // The next role may take hours, and what is known of this one is not held back for so long.
            notices.send();
            // Without the lock it is not even said that it begins.
            wave::held(stage, lock).map_err(|stop| match stop {
                Stop::Signal => not_kicked(stage.context.stopped()),
                stop => not_kicked(stop.into_error(stage, next, &Progress::default())),
            })?;
        }
    }
    Ok(())
}

/// What came of going back after a kick that failed.
struct Back<'a> {
    role: &'a str,
    /// The kick that did it, where there was one.
    went: Option<(Plan<'a>, Kicked)>,
    /// Why there was none.
    why_not: Option<CliError>,
}

impl Back<'_> {
    fn in_words(self, stage: &Stage<'_>) -> String {
        let failed = match self.went {
            None => self.why_not,
            Some((plan, kicked)) => match kicked.into_error(stage, &plan) {
                None => return format!("{} was rolled back to {}", self.role, plan.release.id),
                Some(error) => Some(error),
            },
        };
        let why = failed.map(|error| error.chain().join(": ")).unwrap_or_default();
        format!("{} could not be rolled back: {why}", self.role)
    }
}

/// After a kick that failed for its release, the live one again, where the config wants that.
fn go_back<'a>(stage: &Stage<'_>, failed: &Plan<'a>, kicked: &Kicked, lock: &Lock) -> Option<Back<'a>> {
    let stop = kicked.stop.as_ref()?;
    let due = stage.config.kick.rollback_on_failure
        && failed.action == Action::Kick
        && failed.hosts.whole
        && !kicked.progress.hosts.is_empty()
        && stop.blames_release();
    if !due {
        return None;
    }
    let role: &'a Role = failed.role;
    let name = role.name.as_str();
    let went = good_after(stage, failed).and_then(|target| {
        stage.say(format!(
            "{name} goes back to {} (rollback_on_failure)",
            target.release.id
        ));
        let plan = plan::plan(
            stage,
            Wish {
                role,
                action: Action::Rollback,
                release: target.release,
                waves: failed.wave_flags,
                hosts: &ALL,
                lagging: None,
                from: Some(failed.release.id.to_string()),
                by_itself: true,
                followed: true,
                note: target.note,
                reason: Some(format!("the kick {} failed", kicked.id)),
            },
        )?;
        let back = course::run(stage, &plan, lock)?;
        Ok((plan, back))
    });
    let (went, why_not) = match went {
        Ok(went) => (Some(went), None),
        Err(error) => (None, Some(error)),
    };
    Some(Back {
        role: name,
        went,
        why_not,
    })
}

/// All of a role's hosts.
static ALL: HostFlags = HostFlags::all();

/// The release that a failed kick goes back to by itself. When the live one was told again, and did not do well on all hosts this
/// time, there is nothing that it replaced: to leave it is for people to decide.
fn good_after(stage: &Stage<'_>, failed: &Plan<'_>) -> Result<Target> {
    let live = live::read(stage, failed.name())?;
    if live.release() == Some(failed.release.id.as_str()) {
        return Err(CliError::new(
            Kind::Refused,
            format!(
                "{} is the live release itself; `shipit rollback {}{}` goes to the one before it",
                failed.release.id,
                failed.name(),
                stage.flag()
            ),
        ));
    }
    of_rollback(stage, failed.name())
}
