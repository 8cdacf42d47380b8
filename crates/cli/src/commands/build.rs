//! `shipit build`.

use clap::Args;
use serde::Serialize;
use shipit_artifact::{Artifact, LayerKind};

use crate::build::{self, BuildRequest, Built};
use crate::config::StageChoice;
use crate::context::Context;
use crate::errors::Result;
use crate::output::bytes;
use crate::settle;

/// Build an artifact of a revision: its tree with the vendored dependencies, in one tarball.
///
/// The path of the artifact is printed on stdout. The same revision gives the same bytes, wherever and whenever it is built.
/// What `publish` needs is kept under .shipit/ beside the config; the steps' logs are there too.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// What to build: a full or short commit id, a branch, a tag, refs/…, pull/N/head; HEAD is that of the repository that
    /// the config's `repo` names, else of the one that the config lies in
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    rev: String,
    /// Say of each layer whether it was found, and if not, which part of its key changed since its step ran last
    #[arg(long)]
    explain: bool,
    /// Build from nothing: no cached layer is taken, and the workspace is emptied; the bytes are the same
    #[arg(long)]
    clean: bool,
    /// Build from nothing in a second place too, and compare: what differs is named file by file
    #[arg(long)]
    verify: bool,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    path: &'a str,
    sha256: &'a str,
    size: u64,
    record: &'a str,
    record_sha256: &'a str,
    app: &'a str,
    revision: &'a str,
    subject: &'a str,
    layers: Vec<Layer<'a>>,
    logs: &'a str,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Layer<'a> {
    name: &'a str,
    kind: LayerKind,
    entries: u64,
    size: u64,
    unpacked_size: u64,
    sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<build::LayerFrom>,
}

pub fn run(args: &BuildArgs, context: &Context) -> Result<()> {
    let started = std::time::Instant::now();
    let config = settle::config(context, StageChoice::Base)?;
    let request = BuildRequest {
        rev: &args.rev,
        clean: args.clean,
        explain: args.explain,
        verify: args.verify,
    };
    let built = build::build(&config, &request, context)?;
    let seconds = started.elapsed().as_secs_f64();
    let Artifact { path, record, .. } = &built.artifact;
    if record.layers.last().is_some_and(|code| code.entries == 0) {
        context
            .output
            .warn("the artifact holds no code: `build.exclude` leaves everything out");
    }
    context.output.say(format!(
        "built {} {} in {seconds:.1} s: {}, {} layer{}",
        config.app,
        built.commit.short(7),
        bytes(record.size),
        record.layers.len(),
        if record.layers.len() == 1 { "" } else { "s" },
    ));
    // The bytes as they are: a path that is not UTF-8 must still name the file.
    context.output.path(path)?;
    report(&built, seconds, context)?;
    built.clean(context);
    Ok(())
}

fn report(built: &Built, seconds: f64, context: &Context) -> Result<()> {
    let Artifact {
        path,
        record,
        record_path,
        record_sha256,
        ..
    } = &built.artifact;
    let layers = record.layers.iter().enumerate().map(|(number, layer)| Layer {
        name: &layer.name,
        kind: layer.kind,
        entries: layer.entries,
        size: layer.size,
        unpacked_size: layer.unpacked_size,
        sha256: &layer.sha256,
        key: layer.key.as_deref(),
        from: built.layers.get(number).copied(),
    });
    context.output.json(&Report {
        path: &path.display().to_string(),
        sha256: &record.sha256,
        size: record.size,
        record: &record_path.display().to_string(),
        record_sha256,
        app: &record.app,
        revision: &record.revision,
        subject: &built.commit.subject,
        layers: layers.collect(),
        logs: &built.logs.display().to_string(),
        seconds,
    })
}
