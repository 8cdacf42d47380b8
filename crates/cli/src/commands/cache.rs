//! `shipit cache`.

use std::path::Path;
use std::sync::Mutex;

use clap::{Args, Subcommand};
use serde::Serialize;
use shipit_steps::{
    Bounds, CacheEntry, CacheSize, DamagedEntry, Event, LayerCache, LayerTree, Pruned, PrunedEntry, Verified,
    Why,
};

use crate::config::{Size, Span, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::output::{Column, bytes, counted};
use crate::settle;
use crate::times::minute;

/// Look at the dependency layers that builds on this machine keep, check them, and make room.
///
/// They lie in `layers` in the cache directory (`--cache-dir`). Builds may run meanwhile: what one of them uses is never removed.
/// A layer that is gone is made again, or fetched from the store, by the next build that needs it.
#[derive(Debug, Args)]
pub struct CacheArgs {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// List the layers, what was used last first
    List,
    /// Say how many layers there are, and their size
    Size,
    /// Read every layer whole and check it; remove what is damaged, and end with 11 when something is
    ///
    /// A damaged layer that a running build uses stays for now, but no other build takes it.
    Verify,
    /// Remove layers that were made too long ago, then what was not used for longest, until the rest fits
    ///
    /// What killed builds left is removed too. A bound that no option gives is the config's (`cache.max_size`,
    /// `cache.max_age`), where there is a config.
    Prune(PruneArgs),
}

#[derive(Debug, Args)]
struct PruneArgs {
    /// How much all layers may take together, for example 20G; 0 removes all [default: cache.max_size of the config]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<Size>,
    /// How long ago a layer may have been made, for example 30d [default: cache.max_age of the config]
    #[arg(long, value_name = "TIME", value_parser = Span::parse)]
    max_age: Option<Span>,
}

/// A document of `--output json`: where the layers lie, and what was found.
#[derive(Debug, Serialize)]
struct Report<'a, T> {
    directory: &'a str,
    #[serde(flatten)]
    found: T,
}

/// The document of `list`.
#[derive(Debug, Serialize)]
struct Listed {
    layers: Vec<CacheEntry>,
}

pub fn run(args: &CacheArgs, context: &Context) -> Result<()> {
    let dir = context.cache_directory()?.join("layers");
    match &args.command {
        CacheCommand::List => list(&dir, context),
        CacheCommand::Size => size_of(&dir, context),
        CacheCommand::Verify => verify(&dir, context),
        CacheCommand::Prune(args) => prune(args, &dir, context),
    }
}

fn list(dir: &Path, context: &Context) -> Result<()> {
    let layers = match open(dir, context)? {
        Some(cache) => cache.list()?,
        None => Vec::new(),
    };
    let rows: Vec<Vec<String>> = layers.iter().map(row).collect();
    context.output.table(&COLUMNS, &rows)?;
    report(dir, Listed { layers }, context)
}

fn size_of(dir: &Path, context: &Context) -> Result<()> {
    let size = match open(dir, context)? {
        Some(cache) => cache.size()?,
        None => CacheSize::default(),
    };
    context
        .output
        .data(format!("{}, {}", layers(size.layers), bytes(size.size)))?;
    if size.leftovers > 0 {
        context.output.say(format!(
            "and {} of what killed builds left, which the next build or `shipit cache prune` removes",
            bytes(size.leftovers_size)
        ));
    }
    report(dir, size, context)
}

fn verify(dir: &Path, context: &Context) -> Result<()> {
    let verified = match open(dir, context)? {
        Some(cache) => check(&cache, context)?,
        None => Verified::default(),
    };
    for damaged in &verified.damaged {
        context
            .output
            .data(format!("{} {}", damaged.key, says(damaged)))?;
    }
    let checked = verified.checked;
    context
        .output
        .say(format!("checked {}, {}", layers(checked), bytes(verified.bytes)));
    let damaged = verified.damaged.len();
    let in_use = verified.damaged.iter().any(|damaged| !damaged.removed);
    report(dir, verified, context)?;
    if damaged == 0 {
        return Ok(());
    }
    let (are, removed) = if damaged == 1 {
        ("is", "it was")
    } else {
        ("are", "they were")
    };
    let error = CliError::new(
        Kind::Verification,
        format!(
            "{damaged} of {} {are} damaged in {}",
            layers(checked),
            dir.display()
        ),
    );
    Err(if in_use {
        error.hint(
            "what could not be removed is in use, or not to be written to: verify again when no build runs",
        )
    } else {
        error.hint(format!(
            "{removed} removed, and the next build makes {} again; when it happens again, look at the disk",
            if damaged == 1 { "it" } else { "them" }
        ))
    })
}

/// Checks all layers, with a meter of their bytes.
fn check(cache: &LayerCache, context: &Context) -> Result<Verified> {
    let meter = context.output.meter("checking layers", Some(cache.size()?.size));
    let meter = Mutex::new(meter);
    let on_event = |event: Event| {
        if let Event::LayersChecked { bytes } = event
            && let Ok(meter) = meter.lock()
        {
            meter.set(bytes, None);
        }
    };
    Ok(cache.verify(context.jobs(), context.interrupt.flag(), &on_event)?)
}

fn prune(args: &PruneArgs, dir: &Path, context: &Context) -> Result<()> {
    let bounds = bounds(args, context)?;
    let now = jiff::Timestamp::now().as_second();
    let pruned = match open(dir, context)? {
        // To write, for it is not said to be writable yet.
        Some(_) => LayerCache::open(dir)?.prune(bounds, now)?,
        None => Pruned::default(),
    };
    for removed in &pruned.removed {
        context.output.say(gone(removed));
    }
    if pruned.leftovers > 0 {
        context.output.say("removed what killed builds left");
    }
    if pruned.in_use > 0 {
        context.output.say(format!(
            "{} in use",
            counted(pruned.in_use, "layer stays: it is", "layers stay: they are")
        ));
    }
    context.output.say(format!(
        "freed {}: {}, {} left",
        bytes(pruned.freed),
        layers(pruned.layers),
        bytes(pruned.size)
    ));
    report(dir, pruned, context)
}

/// The options go before the config's keys. A config that is not there has none; one that is wrong is an error.
fn bounds(args: &PruneArgs, context: &Context) -> Result<Bounds> {
    let mut bounds = Bounds {
        max_size: args.max_size.map(Size::get),
        max_age: args.max_age.map(Span::get),
    };
    if (bounds.max_size.is_none() || bounds.max_age.is_none())
        && let Some(config) = settle::config_if_any(context, StageChoice::Base)?
    {
        bounds.max_size = bounds.max_size.or(Some(config.cache.max_size.get()));
        bounds.max_age = bounds.max_age.or(Some(config.cache.max_age.get()));
    }
    if bounds == Bounds::default() {
        return Err(CliError::new(
            Kind::Usage,
            "there is nothing to prune by: no bound was given, and there is no shipit.toml here",
        )
        .hint("give --max-size SIZE or --max-age TIME, or run it where the config is"));
    }
    Ok(bounds)
}

/// The cache, if a build has made one.
fn open(dir: &Path, context: &Context) -> Result<Option<LayerCache>> {
    let cache = LayerCache::existing(dir)?;
    if cache.is_none() {
        context
            .output
            .say(format!("there are no layers yet in {}", dir.display()));
    }
    Ok(cache)
}

fn report(dir: &Path, found: impl Serialize, context: &Context) -> Result<()> {
    let directory = &dir.display().to_string();
    context.output.json(&Report { directory, found })
}

fn size(text: &str) -> std::result::Result<Size, String> {
    match text {
        "0" => Ok(Size::bytes(0)),
        _ => Size::parse(text),
    }
}

const COLUMNS: [Column; 9] = [
    Column::Whole("layer"),
    Column::Text("app"),
    Column::Text("step"),
    Column::Number("packages"),
    Column::Number("entries"),
    Column::Number("size"),
    Column::Whole("made"),
    Column::Whole("used"),
    Column::Text(""),
];

fn row(entry: &CacheEntry) -> Vec<String> {
    let none = || "-".to_owned();
    let layer = entry.layer.as_ref();
    let state = match (&entry.damage, entry.in_use) {
        (Some(why), _) => format!("damaged: {why}"),
        (None, true) => "in use".to_owned(),
        (None, false) => String::new(),
    };
    vec![
        short(&entry.key).to_owned(),
        layer.map_or_else(none, |layer| layer.app.clone()),
        layer.map_or_else(none, |layer| match layer.tree {
            LayerTree::Packed => layer.step.clone(),
            LayerTree::Full => format!("{} (full)", layer.step),
        }),
        layer
            .and_then(|layer| layer.packages)
            .map_or_else(none, |packages| packages.to_string()),
        layer.map_or_else(none, |layer| layer.entries.to_string()),
        bytes(entry.size),
        layer.map_or_else(none, |layer| minute(layer.made)),
        minute(entry.used),
        state,
    ]
}

fn gone(removed: &PrunedEntry) -> String {
    let entry = &removed.entry;
    let layer = entry.layer.as_ref();
    let what = layer.map_or_else(String::new, |layer| format!("{} of {} ", layer.step, layer.app));
    let why = match removed.why {
        Why::Damaged => entry.damage.clone().unwrap_or_else(|| "damaged".to_owned()),
        Why::Age => format!(
            "made {}",
            layer.map_or_else(String::new, |layer| minute(layer.made))
        ),
        Why::Size => format!("used {}", minute(entry.used)),
    };
    let (key, size) = (short(&entry.key), bytes(entry.size));
    format!("removed {what}(layer {key}, {size}): {why}")
}

fn says(damaged: &DamagedEntry) -> String {
    let what = match (&damaged.step, &damaged.app) {
        (Some(step), Some(app)) => format!("({step} of {app}) "),
        _ => String::new(),
    };
    let then = if damaged.removed { "removed" } else { "not removed" };
    format!("{what}{}; {then}", damaged.why)
}

/// As builds name layers.
fn short(key: &str) -> &str {
    key.get(..7).unwrap_or(key)
}

fn layers(count: u64) -> String {
    counted(count, "layer", "layers")
}
