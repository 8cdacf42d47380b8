//! Pruning the stores of a config: which stages share which store, the lock, what is removed, what is said of it. What may go is
//! settled in the store's crate.

mod stages;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;
use shipit_store::lock::PublishLock;
use shipit_store::prune::{Kept, Prune, PruneInput, PrunedRelease, Reason, Removal, RemovalKind, Removed};

use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::output::{bytes, counted};
use crate::releases::Place;
use crate::settle;

pub use stages::{Shared, all, of};

/// How pruning is done.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many good releases stay; else what the stage's config says.
    pub keep: Option<NonZeroU32>,
    /// Says what would go, and removes nothing.
    pub dry_run: bool,
    /// How long to wait for the lock of publishing.
    pub lock_wait: Duration,
}

/// What was pruned in one store, or would be: its part of `--output json`.
#[derive(Debug, Serialize)]
pub struct Pruned {
    store: String,
    stages: Vec<String>,
    releases: Vec<PrunedRelease>,
    kept: Vec<Kept>,
    objects: Vec<Removal>,
    bytes: u64,
    /// What could not be told, so that bytes stay that may be needed.
    doubts: Vec<String>,
    /// Entries of reports and logs that went with the releases; null when nobody was asked.
    reports: Option<u64>,
}

/// Prunes one store. What was removed is told in `pruned` as far as it came, also with an error.
pub fn prune(shared: &Shared, options: Options, pruned: &mut Vec<Pruned>, context: &Context) -> Result<()> {
    let place = shared.first();
    let app = &place.config.app;
    if options.dry_run {
        let planned = planned(shared, options, context)?;
        pruned.push(of_plan(shared, &planned));
        return Ok(());
    }
    let holder = settle::holder(context, "prune", None, None);
    let lock = settle::board::publish_lock(&place.config, context, &place.store, &holder, options.lock_wait)?;
    let done = removed(shared, options, &lock, context);
    place.reporter.finish();
    settle::board::give_back(context, &format!("publishing {app}"), lock.release());
    let (mut told, ended) = done?;
    if ended.is_ok() {
        told.reports = forget(shared, &told.releases, context);
    }
    pruned.push(told);
    ended
}

/// Plans and removes, under the lock. What was removed is told also when it ended early, which is the inner error.
fn removed(
    shared: &Shared,
    options: Options,
    lock: &PublishLock,
    context: &Context,
) -> Result<(Pruned, Result<()>)> {
    let planned = planned(shared, options, context)?;
    let mut told = of_plan(shared, &planned);
    let done = Removed::default();
    let ended = context.block_on(async {
        let work = Box::pin(planned.remove(&done));
        Ok(lock.during(work).await?)
    });
    told.objects = done.objects();
    told.bytes = done.bytes();
    match ended {
        Ok(releases) => {
            told.releases = releases;
            Ok((told, Ok(())))
        }
        Err(error) => {
            let all = told.releases.len();
            let objects = &told.objects;
            told.releases.retain(|release| {
                let document = format!("/{}/{}/release.json", release.stage, release.release);
                objects.iter().any(|object| object.key.ends_with(&document))
            });
            let error = cut(error, shared, &told, all);
            Ok((told, Err(error)))
        }
    }
}

fn planned<'a>(shared: &'a Shared, options: Options, context: &Context) -> Result<Prune<'a>> {
    let place = shared.first();
    let _wait = context
        .output
        .waiting(format!("looking at {}", place.store.url()));
    let keep = |place: &Place| {
        let keep = options.keep.map_or(place.config.prune.keep, NonZeroU32::get);
        (place.config.stage().to_owned(), keep)
    };
    let input = PruneInput {
        store: &place.store,
        app: &place.config.app,
        stages: shared.places.iter().map(keep).collect::<BTreeMap<_, _>>(),
        locked: locked(shared, context)?,
        now: jiff::Timestamp::now().as_second(),
    };
    context.block_on(async { Ok(Prune::plan(input).await?) })
}

/// The stages where a kick may be under way. Where nobody can be asked, one may be.
fn locked(shared: &Shared, context: &Context) -> Result<BTreeSet<String>> {
    let mut locked = BTreeSet::new();
    for place in &shared.places {
        let stage = place.config.stage();
        let held = settle::board::board(&place.config, context, &place.store)
            .and_then(|board| context.block_on(async { Ok(board.held().await?) }));
        match held {
            Ok(None) => {}
            Ok(Some(_)) => drop(locked.insert(stage.to_owned())),
            Err(error) if is_stopped(&error) => return Err(error),
            Err(error) => {
                context.output.warn(format!(
                    "whether a kick is under way in {stage} cannot be told ({}); the releases of all its kicks without an end stay",
                    error.chain().join(": ")
                ));
                locked.insert(stage.to_owned());
            }
        }
    }
    Ok(locked)
}

fn is_stopped(error: &CliError) -> bool {
    matches!(error.kind(), Kind::Interrupted | Kind::Terminated)
}

fn of_plan(shared: &Shared, planned: &Prune<'_>) -> Pruned {
    let plan = planned.what();
    Pruned {
        store: shared.first().store.url().to_string(),
        stages: shared
            .places
            .iter()
            .map(|place| place.config.stage().to_owned())
            .collect(),
        releases: plan.releases.clone(),
        kept: plan.kept.clone(),
        objects: plan.removals.clone(),
        bytes: plan.bytes(),
        doubts: plan.doubts.clone(),
        reports: None,
    }
}

/// It ended early: how far it came is said, and that nothing is half there.
fn cut(error: CliError, shared: &Shared, told: &Pruned, all: usize) -> CliError {
    let (store, gone) = (shared.first().store.url(), told.releases.len());
    error
        .context(format!(
            "pruning {store} ended early: {gone} of {all} releases and {} ({}) were removed",
            counted(told.objects.len(), "object", "objects"),
            bytes(told.bytes)
        ))
        .hint("run it again: it removes the rest; no release is left by half")
}

/// Removes what the hosts reported of the releases. They are gone all the same when that fails.
fn forget(shared: &Shared, releases: &[PrunedRelease], context: &Context) -> Option<u64> {
    let mut forgotten = None;
    for place in &shared.places {
        let stage = place.config.stage();
        let of_stage = releases.iter().filter(|release| release.stage == stage);
        let ids: Vec<String> = of_stage.map(|release| release.release.to_string()).collect();
        if ids.is_empty() {
            continue;
        }
        let done = settle::board::board(&place.config, context, &place.store)
            .and_then(|board| context.block_on(async { Ok(board.forget(&ids).await?) }));
        match done {
            Ok(count) => forgotten = Some(forgotten.unwrap_or(0) + count),
            Err(error) => context.output.warn(format!(
                "the reports of hosts in {stage} about releases that are gone could not be removed: {}",
                error.chain().join(": ")
            )),
        }
    }
    forgotten
}

/// Prints what went, or would go: a line for each object, and what it comes to.
pub fn tell(pruned: &Pruned, options: Options, context: &Context) -> Result<()> {
    for object in &pruned.objects {
        let kind = kind_name(object.kind);
        context
            .output
            .data(format!("{kind}\t{}\t{}", object.bytes, object.key))?;
    }
    for doubt in &pruned.doubts {
        context.output.warn(format!(
            "bytes that may be needed stay, for it cannot be told what is: {doubt}"
        ));
    }
    let would = if options.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let stays = staying(&pruned.kept);
    context.output.say(match pruned.objects.len() {
        0 => format!("nothing to prune in {}: {stays}", pruned.store),
        objects => format!(
            "{would} {} ({}, {}) in {}; {stays}",
            counted(pruned.releases.len(), "release", "releases"),
            counted(objects, "object", "objects"),
            bytes(pruned.bytes),
            pruned.store
        ),
    });
    Ok(())
}

/// `16 releases stay: 2 in use or to go back to, 14 younger than an hour`: each is counted by the reason that holds longest.
fn staying(kept: &[Kept]) -> String {
    let stays = counted(kept.len(), "release stays", "releases stay");
    let mut counts = [0_usize; 4];
    for kept in kept {
        let holds = |reason: &Reason| match reason {
            Reason::Live { .. }
            | Reason::LiveUnknown { .. }
            | Reason::Back { .. }
            | Reason::LastGood { .. }
            | Reason::LastKicked { .. }
            | Reason::InFlight { .. } => 0,
            Reason::Newest { .. } | Reason::Latest => 1,
            Reason::Young => 2,
        };
        counts[kept.why.iter().map(holds).min().unwrap_or(3)] += 1;
    }
    let why = [
        "in use or to go back to",
        "among the newest",
        "younger than an hour",
        "needed meanwhile",
    ];
    let counts = counts.iter().zip(why).filter(|(count, _)| **count > 0);
    let parts: Vec<String> = counts.map(|(count, why)| format!("{count} {why}")).collect();
    match parts.is_empty() {
        true => stays,
        false => format!("{stays}: {}", parts.join(", ")),
    }
}

/// Prunes a stage after something else was done, which stays done: what goes wrong is a warning.
pub fn afterwards(stage: &str, context: &Context) {
    let options = Options {
        keep: None,
        dry_run: false,
        lock_wait: Duration::ZERO,
    };
    let done = of(context, stage).and_then(|shared| {
        let mut pruned = Vec::new();
        prune(&shared, options, &mut pruned, context)?;
        Ok(pruned)
    });
    match done {
        Ok(pruned) => {
            for one in pruned.iter().filter(|one| !one.objects.is_empty()) {
                context.output.say(format!(
                    "pruned {} ({}) of {}",
                    counted(one.releases.len(), "release", "releases"),
                    bytes(one.bytes),
                    one.stages.join(", ")
                ));
            }
        }
        Err(error) => context.output.warn(format!(
            "the release is complete, but old ones could not be pruned: {}",
            error.chain().join(": ")
        )),
    }
}

fn kind_name(kind: RemovalKind) -> &'static str {
    match kind {
        RemovalKind::Release => "release",
        RemovalKind::Manifest => "manifest",
        RemovalKind::Kick => "kick",
        RemovalKind::Layer => "layer",
        RemovalKind::Record => "record",
        RemovalKind::Index => "index",
        RemovalKind::Frames => "frames",
        RemovalKind::Artifact => "artifact",
    }
}
