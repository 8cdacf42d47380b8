//! `shipit lock`.

use std::sync::Arc;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde::Serialize;
use shipit_fleet::board::{Held, Holder};

use crate::args::{StageArg, WithoutConsul};
use crate::config::Span;
use crate::context::Context;
use crate::errors::{self, CliError, Kind, Result};
use crate::kick::Stage;
use crate::settle;

/// Lock a stage by hand: nobody kicks, rolls back or repairs there until `unlock`.
///
/// Publishing goes on: it changes no host. With --status nothing is changed: it says who holds the lock, since when and why.
#[derive(Debug, Args)]
pub struct LockArgs {
    #[command(flatten)]
    stage: StageArg,
    #[command(flatten)]
    without: WithoutConsul,
    /// Why; everybody who is kept out is told
    #[arg(
        long,
        short,
        value_name = "TEXT",
        required_unless_present = "status",
        value_parser = NonEmptyStringValueParser::new()
    )]
    message: Option<String>,
    /// Only say who holds the lock
    #[arg(long, conflicts_with = "message")]
    status: bool,
    /// How long to wait for the lock when a deploy or another person has it, like 10m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = Span::parse, conflicts_with = "status")]
    lock_wait: Span,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    locked: bool,
    holder: Option<&'a Held>,
}

pub fn run(args: &LockArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = Stage::config_of(context, stage.as_deref(), args.without)?;
    let stage = Stage::open(&config, context)?;
    let board = &stage.board;
    if let Some(message) = &args.message {
        if config.has_left_consul() {
            stage.warn("without Consul: this lock stands in the store, and keeps nobody out who kicks through Consul");
        }
        let mut holder = settle::holder(context, "lock", None, Some(message));
        holder.manual = true;
        if let Some(held) = set(&stage, &holder, args.lock_wait)? {
            return Err(settle::board::locked(&config, &held.holder));
        }
        context.output.say(format!(
            "{} in {} is locked: {message}",
            config.app,
            config.stage()
        ));
    }
    let held = stage.wait(async { Ok(board.held().await?) })?;
    if args.message.is_some() && held.is_none() {
        return Err(CliError::new(Kind::Locked, "the lock was set, and is gone again")
            .hint("somebody unlocked the stage in this moment; lock again if it is still needed"));
    }
    context.output.data(said(held.as_ref()))?;
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        locked: held.is_some(),
        holder: held.as_ref(),
    })
}

/// Sets the lock; who has it, when it was not to be had.
fn set(stage: &Stage<'_>, holder: &Holder, wait: Span) -> Result<Option<Held>> {
    let board = &stage.board;
    if wait.get().is_zero() {
        return stage.wait(async { Ok(board.lock_by_hand(holder, None).await?) });
    }
    let waiting = Holder {
        manual: false,
        ..holder.clone()
    };
    let lock = settle::board::stage_lock(
        stage.config,
        stage.context,
        Arc::clone(board),
        waiting,
        wait.get(),
    )?;
    stage.last_words(async { Ok(lock.turn_manual(holder).await?) })
}

/// Who has the lock, on one line.
fn said(held: Option<&Held>) -> String {
    match held {
        None => "free".to_owned(),
        Some(held) => format!("locked by {}", errors::held_by(&held.holder)),
    }
}
