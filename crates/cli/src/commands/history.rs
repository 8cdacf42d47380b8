//! `shipit history`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use clap::Args;
use serde::Serialize;
use shipit_fleet::board::Held;
use shipit_store::kick::{self, Kick};
use shipit_store::{Action, Ended, HostState, KickResult, Started};

use crate::args::{StageArg, WithoutConsul};
use crate::context::Context;
use crate::errors::{CliError, Result};
use crate::kick::Stage;
use crate::output::Column;
use crate::times;

/// Who kicked what, when, and how it ended; the newest first.
///
/// A kick that has no end runs as long as its lock is held; without it, it was interrupted.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    stage: StageArg,
    #[command(flatten)]
    without: WithoutConsul,
    /// Only of this role
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value = "20")]
    limit: NonZeroUsize,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    kicks: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    /// How it ended, `running` or `interrupted`.
    state: &'static str,
    started: &'a Started,
    ended: Option<&'a Ended>,
}

const COLUMNS: [Column; 8] = [
    Column::Whole("when"),
    Column::Whole("role"),
    Column::Whole("action"),
    Column::Whole("release"),
    Column::Whole("ended"),
    Column::Whole("hosts"),
    Column::Text("who"),
    Column::Text("why"),
];

pub fn run(args: &HistoryArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = Stage::config_of(context, stage.as_deref(), args.without)?;
    if let Some(role) = &args.role {
        config.role(role)?;
    }
    let stage = Stage::open(&config, context)?;
    let (role, limit) = (args.role.as_deref(), Some(args.limit.get()));
    let (kicks, held) = stage.wait(async {
        let kicks = kick::list(&stage.store, &config.app, config.stage(), role, limit).await?;
        // Who has the lock says whether one that has no end still runs.
        let held = match kicks.iter().all(|kick| kick.ended.is_some()) {
            true => Ok(None),
            false => stage.board.held().await,
        };
        Ok((kicks, held))
    })?;
    let held = held.unwrap_or_else(|error| {
        let error = CliError::from(error);
        stage.warn(format!(
            "who holds the lock is not known, so a kick that runs reads as interrupted: {}",
            error.chain().join(": ")
        ));
        None
    });
    if kicks.is_empty() {
        context
            .output
            .say(format!("no kick of {} in {} yet", config.app, config.stage()));
    }
    let rows: Vec<Vec<String>> = kicks.iter().map(|kick| row(kick, held.as_ref())).collect();
    context.output.table(&COLUMNS, &rows)?;
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        kicks: kicks
            .iter()
            .map(|kick| Entry {
                state: state(kick, held.as_ref()),
                started: &kick.started,
                ended: kick.ended.as_ref(),
            })
            .collect(),
    })
}

/// How a kick stands: one without an end runs while its own lock is held.
pub fn state(kick: &Kick, held: Option<&Held>) -> &'static str {
    match (&kick.ended, held) {
        (Some(ended), _) => match ended.result {
            KickResult::Succeeded => "succeeded",
            KickResult::Failed => "failed",
            KickResult::NotFollowed => "not followed",
            KickResult::Interrupted => "interrupted",
            KickResult::LockLost => "lock lost",
            KickResult::Error => "error",
        },
        (None, Some(held)) if kick.started.lock.as_ref() == Some(&held.holder.id) => "running",
        (None, _) => "interrupted",
    }
}

fn row(kick: &Kick, held: Option<&Held>) -> Vec<String> {
    let Kick { started, ended } = kick;
    let action = match (started.action, started.whole) {
        (Action::Kick, false) => "kick of some",
        (action, _) => action.as_str(),
    };
    let seconds = ended
        .as_ref()
        .map(|ended| format!(" in {:.0}s", ended.seconds))
        .unwrap_or_default();
    let why = ended.as_ref().and_then(|ended| ended.reason.clone());
    vec![
        times::minute(started.time),
        started.role.clone(),
        action.to_owned(),
        started.release.clone(),
        format!("{}{seconds}", state(kick, held)),
        hosts(kick),
        started.who.clone(),
        why.or_else(|| started.reason.clone()).unwrap_or_default(),
    ]
}

/// `5 succeeded, 1 silent`.
fn hosts(kick: &Kick) -> String {
    let Some(ended) = &kick.ended else {
        let expected = kick.started.expected.unwrap_or(kick.started.hosts.len());
        // Which of them were told nobody wrote down.
        return format!("{expected} expected");
    };
    if let (Some(once), true) = (&ended.once_on, ended.hosts.is_empty()) {
        return format!("once on {}: {}", once.host, once.end.state.as_str());
    }
    let mut counts: BTreeMap<HostState, usize> = BTreeMap::new();
    for host in ended.hosts.values() {
        *counts.entry(host.state).or_default() += 1;
    }
    let counted = |(state, count): (HostState, usize)| format!("{count} {}", state.as_str());
    counts
        .into_iter()
        .rev()
        .map(counted)
        .collect::<Vec<_>>()
        .join(", ")
}
