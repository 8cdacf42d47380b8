//! `shipit unlock`.

use clap::Args;
use serde::Serialize;
use shipit_fleet::board::Held;

use crate::args::{StageArg, WithoutConsul};
use crate::config::Settled;
use crate::context::Context;
use crate::errors::{self, CliError, Kind, Result};
use crate::kick::Stage;
use crate::settle;

/// End a stage's manual lock.
///
/// A lock that a running deploy holds is left alone, for it frees itself when the deploy ends or dies; --force ends it, and the
/// deploy stops before its next wave.
#[derive(Debug, Args)]
pub struct UnlockArgs {
    #[command(flatten)]
    stage: StageArg,
    #[command(flatten)]
    without: WithoutConsul,
    /// Also end the lock of a deploy that runs
    #[arg(long)]
    force: bool,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    /// Whose lock was ended; null when there was none.
    unlocked: Option<&'a Held>,
}

pub fn run(args: &UnlockArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = Stage::config_of(context, stage.as_deref(), args.without)?;
    let stage = Stage::open(&config, context)?;
    let board = &stage.board;
    let held = stage.wait(async { Ok(board.held().await?) })?;
    if let Some(held) = &held {
        if !held.holder.manual && !args.force {
            return Err(runs(held, &config));
        }
        stage.wait(async { Ok(board.break_lock(held).await?) })?;
    }
    context.output.say(match &held {
        None => format!("{} in {} was not locked", config.app, config.stage()),
        Some(held) => format!(
            "{} in {} is unlocked; it was locked by {}",
            config.app,
            config.stage(),
            errors::held_by(&held.holder)
        ),
    });
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        unlocked: held.as_ref(),
    })
}

fn runs(held: &Held, config: &Settled) -> CliError {
    CliError::new(
        Kind::Locked,
        format!(
            "the lock of {} is no manual one, but of a deploy that runs: {}",
            config.stage(),
            errors::held_by(&held.holder)
        ),
    )
    .hint(format!(
        "it ends with that deploy, or by itself when the deploy dies; `shipit unlock{} --force` ends it now",
        settle::board::flags(config)
    ))
}
