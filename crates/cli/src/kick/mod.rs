//! Kicks: hosts of a role are told a release, wave by wave, and followed until each has said its last word.
//!
//! The order is the promise. Everything is planned and checked before the first host hears of anything; then the stage's lock; then
//! each role's kick: `started.json`, the once commands, the waves, the live pointer, the hosts that joined, `ended.json` and the
//! notices; then the lock is given back, on each way out. Not here: what a report makes of a host and when following ends
//! (shipit_fleet::follow), how locks and reports are stored (shipit_fleet::board).

mod check;
mod course;
mod document;
mod exec;
mod flags;
mod hosts;
mod live;
mod once;
mod outcome;
mod plan;
mod repair;
mod stage;
mod target;
mod wave;

use shipit_fleet::lock::Lock;
use shipit_store::Action;

pub use flags::{HostFlags, WaveFlags};
pub use hosts::wanted;
pub use plan::Wish;
pub use repair::lagging;
pub use stage::Stage;
pub use target::{find, of_repair, of_rollback};

use crate::config::{Role, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::settle;
use course::Kicked;
use document::Document;
use plan::{Plan, action};

/// What is to be done under one lock.
pub struct Request<'a> {
    /// The flags.
    pub flags: &'a WaveFlags,
    /// What is wanted of each role, in order. Asked again under the lock: others may have kicked meanwhile.
    pub plan: &'a dyn Fn(&Stage<'_>) -> Result<Vec<Wish<'a>>>,
    /// Whether the lock stays, as a manual one with this reason.
    pub keep_lock: Option<&'a str>,
}

/// The config of a stage, with what the flags say of Consul.
pub fn config(context: &Context, stage: Option<&str>, flags: &WaveFlags) -> Result<Settled> {
    let mut config = Stage::config(context, stage)?;
    if let Some(datacenter) = &flags.dc {
        config.consul.datacenter = Some(datacenter.clone());
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
    let planned = plans(stage, request)?;
    if planned.is_empty() {
        return Document::new(stage, &[]).print(stage);
    }
    let lock = lock(stage, request, &planned)?;
    // What was found out before may be of the past by now.
    let work = plans(stage, request).and_then(|plans| kick_all(stage, &plans, &lock));
    let work = match (work, request.keep_lock) {
        (Ok(()), Some(reason)) => keep(stage, lock, &planned, reason),
        (work, _) => {
            settle::board::give_back(
                stage.context,
                &settle::board::stage_name(stage.config),
                lock.release(),
            );
            work
        }
    };
    stage.last_words(async {
        stage.store.settle().await;
        Ok(())
    })?;
    work
}

fn plans<'a>(stage: &Stage<'_>, request: &Request<'a>) -> Result<Vec<Plan<'a>>> {
    let wishes = (request.plan)(stage)?;
    wishes.into_iter().map(|wish| plan::plan(stage, wish)).collect()
}

fn lock(stage: &Stage<'_>, request: &Request<'_>, plans: &[Plan<'_>]) -> Result<Lock> {
    let doing = doing(plans);
    let revision = plans.first().map(|plan| plan.release.revision.as_str());
    let holder = settle::holder(stage.context, &doing, revision, request.flags.reason.as_deref());
    let wait = request.flags.lock_wait.unwrap_or(stage.config.kick.lock_wait);
    let board = std::sync::Arc::clone(&stage.board);
    settle::board::stage_lock(stage.config, stage.context, board, holder, wait.get())
}

/// `kick db web`.
fn doing(plans: &[Plan<'_>]) -> String {
    let action = plans.first().map_or("kick", |plan| action(plan.action));
    let roles: Vec<&str> = plans.iter().map(Plan::name).collect();
    format!("{action} {}", roles.join(" "))
}

/// Leaves the stage locked by hand.
fn keep(stage: &Stage<'_>, lock: Lock, plans: &[Plan<'_>], reason: &str) -> Result<()> {
    let mut holder = settle::holder(stage.context, &doing(plans), None, Some(reason));
    holder.manual = true;
    let what = settle::board::stage_name(stage.config);
    let other = stage.last_words(async { Ok(lock.turn_manual(&holder).await?) })?;
    match other {
        Some(held) => Err(crate::errors::locked(&what, &held.holder)
            .context("the rollback is done, but the stage could not be kept locked")),
        None => {
            stage.say(format!("{what} stays locked until `shipit unlock`: {reason}"));
            Ok(())
        }
    }
}

/// One role after the other; stops at the first that did not go well.
fn kick_all(stage: &Stage<'_>, plans: &[Plan<'_>], lock: &Lock) -> Result<()> {
    let mut document = Document::new(stage, plans);
    let done = kick_each(stage, plans, lock, &mut document);
    // What hosts were told they were told, whatever came of the rest: an event cannot be called back.
    document.print(stage)?;
    done
}

fn kick_each(stage: &Stage<'_>, plans: &[Plan<'_>], lock: &Lock, document: &mut Document) -> Result<()> {
    for (at, plan) in plans.iter().enumerate() {
        let rest: Vec<&str> = plans[at + 1..].iter().map(Plan::name).collect();
        let not_kicked = |error: CliError| match rest.is_empty() {
            true => error,
            false => error.hint(format!("not kicked: {}", rest.join(", "))),
        };
        let kicked = course::run(stage, plan, lock).map_err(not_kicked)?;
        document.add(stage, plan, &kicked)?;
        let back = go_back(stage, plan, &kicked, lock, document);
        if let Some(error) = kicked.into_error(stage, plan) {
            return Err(not_kicked(match back {
                Some(back) => error.hint(back),
                None => error,
            }));
        }
        if stage.is_stopped() && !rest.is_empty() {
            return Err(not_kicked(stage.context.stopped()));
        }
    }
    Ok(())
}

/// After a kick that failed for its release, the live one again, where the config wants that; what came of it in words.
fn go_back(
    stage: &Stage<'_>,
    failed: &Plan<'_>,
    kicked: &Kicked,
    lock: &Lock,
    document: &mut Document,
) -> Option<String> {
    let stop = kicked.stop.as_ref()?;
    let due = stage.config.kick.rollback_on_failure
        && failed.action == Action::Kick
        && failed.hosts.whole
        && !kicked.progress.hosts.is_empty()
        && stop.blames_release();
    if !due {
        return None;
    }
    let role = failed.name();
    let all = HostFlags::default();
    let went = of_rollback(stage, role).and_then(|release| {
        stage.say(format!(
            "{role} goes back to {} (rollback_on_failure)",
            release.id
        ));
        let plan = plan::plan(
            stage,
            Wish {
                role: failed.role,
                action: Action::Rollback,
                release,
                waves: failed.wave_flags,
                hosts: &all,
                lagging: None,
                followed: true,
                reason: Some(format!("the kick {} failed", kicked.id)),
            },
        )?;
        let back = course::run(stage, &plan, lock)?;
        document.add(stage, &plan, &back)?;
        let id = plan.release.id.to_string();
        back.into_error(stage, &plan).map_or(Ok(id), Err)
    });
    Some(match went {
        Ok(id) => format!("{role} was rolled back to {id}"),
        Err(error) => format!("{role} could not be rolled back: {}", error.chain().join(": ")),
    })
}
