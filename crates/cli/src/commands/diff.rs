//! `shipit diff`.

use clap::Args;
use serde::Serialize;
use shipit_artifact::LayerKind;
use shipit_source::{Between, Commit, Source};
use shipit_store::Release;
use shipit_store::compare::{Difference, FileDifference, How, LayerDifference, compare, contents};

use crate::args::StageArg;
use crate::context::Context;
use crate::errors::Result;
use crate::output::{bytes, counted};
use crate::releases::{Place, short, subjects};
use crate::{report, settle};

/// How many commits of each side are told.
const COMMITS: usize = 500;

/// What differs between two releases: commits, files, layers, sizes.
///
/// With one release, what it would change where it is kicked: it is compared with the one that is live in the stage. A release is an id, `latest`,
/// `live`, or `published`, the one that the last publish here made; `STAGE/ID` names one of another stage. Commits are
/// read from the repository, when it is at hand; files from the indexes in the store, without reading an artifact.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The release that is looked at from; without a second one, the one that is looked at
    #[arg(value_name = "RELEASE")]
    first: String,
    /// The release that is looked at
    #[arg(value_name = "RELEASE")]
    second: Option<String>,
    #[command(flatten)]
    stage: StageArg,
    /// The role whose live release is meant, where roles differ
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// List the files of dependency layers too
    #[arg(long)]
    files: bool,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    from: End<'a>,
    to: End<'a>,
    commits: Commits,
    #[serde(flatten)]
    difference: &'a Difference,
}

#[derive(Debug, Serialize)]
struct End<'a> {
    stage: &'a str,
    release: &'a str,
    revision: &'a str,
    subject: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Commits {
    /// Why they are not known; null when they are.
    unknown: Option<String>,
    added: Vec<Commit>,
    added_count: usize,
    removed: Vec<Commit>,
    removed_count: usize,
}

pub fn run(args: &DiffArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let role = args.role.as_deref();
    let ((from_place, from), (to_place, to)) = match &args.second {
        Some(second) => {
            let stage = stage.or_else(|| Some(second.split_once('/')?.0.to_owned()));
            let from = found(&args.first, stage.as_deref(), role, context)?;
            (from, found(second, stage.as_deref(), role, context)?)
        }
        None => {
            // What is live in the stage of the one release that is named, once that is known to be one.
            let stage = stage.or_else(|| Some(args.first.split_once('/')?.0.to_owned()));
            let to = found(&args.first, stage.as_deref(), role, context)?;
            (found("live", stage.as_deref(), role, context)?, to)
        }
    };
    let difference = context.block_on(async {
        let from = contents(&from_place.store, &from).await?;
        let to = contents(&to_place.store, &to).await?;
        Ok(compare(&from, &to))
    })?;
    let commits = commits(&to_place, &from, &to, context)?;
    let known = subjects(&to_place.config, [&from, &to].into_iter(), context);
    let end = |release: &'_ Release| known.get(&release.revision).cloned();
    let (from_subject, to_subject) = (end(&from), end(&to));
    for line in lines(args, &from, &to, &commits, &difference) {
        context.output.data(line)?;
    }
    context.output.json(&Report {
        app: &to_place.config.app,
        from: told(&from, from_subject.as_deref()),
        to: told(&to, to_subject.as_deref()),
        commits,
        difference: &difference,
    })
}

fn told<'a>(release: &'a Release, subject: Option<&'a str>) -> End<'a> {
    End {
        stage: &release.stage,
        release: release.id.as_str(),
        revision: &release.revision,
        subject,
    }
}

/// A release by what was typed, in its stage.
fn found(
    wanted: &str,
    stage: Option<&str>,
    role: Option<&str>,
    context: &Context,
) -> Result<(Place, Release)> {
    let (place, id) = match wanted.split_once('/') {
        Some((stage, id)) => (Place::open(context, Some(stage))?, id),
        None => (Place::open(context, stage)?, wanted),
    };
    let release = place.release(id, role, context)?;
    Ok((place, release))
}

/// The commits between; that they are not to be had is no error.
fn commits(place: &Place, from: &Release, to: &Release, context: &Context) -> Result<Commits> {
    let nothing = |why: String| Commits {
        unknown: Some(why),
        added: Vec::new(),
        added_count: 0,
        removed: Vec::new(),
        removed_count: 0,
    };
    let source =
        settle::source::options(&place.config, context).and_then(|options| Ok(Source::open(options)?));
    let source = match source {
        Ok(source) => source,
        Err(error) => return Ok(nothing(error.chain().join(": "))),
    };
    let reporter = report::Source::new(&context.output);
    let ends = (from.revision.as_str(), to.revision.as_str());
    let between = source.between(ends, COMMITS, context.interrupt.flag(), &|event| {
        reporter.event(&event);
    });
    drop(reporter);
    Ok(match between? {
        Between::Unknown(why) => nothing(why),
        Between::Known(history) => Commits {
            unknown: None,
            added_count: history.added.count,
            added: history.added.commits,
            removed_count: history.removed.count,
            removed: history.removed.commits,
        },
    })
}

/// All of it as text.
fn lines(
    args: &DiffArgs,
    from: &Release,
    to: &Release,
    commits: &Commits,
    difference: &Difference,
) -> Vec<String> {
    let mut lines = vec![format!("{} -> {}", named(from), named(to)), String::new()];
    commit_lines(commits, &mut lines);
    lines.push(String::new());
    file_lines(args.files, difference, &mut lines);
    lines.push(String::new());
    let told = |layer| layer_line(layer, difference);
    lines.extend(difference.layers.iter().map(told));
    lines.push(change("artifact", difference.from_size, difference.to_size));
    lines
}

fn named(release: &Release) -> String {
    format!("{} in {}", release.id, release.stage)
}

fn commit_lines(commits: &Commits, lines: &mut Vec<String>) {
    if let Some(why) = &commits.unknown {
        lines.push(format!("the commits between are not known: {why}"));
        return;
    }
    lines.push(counted(commits.added_count, "commit", "commits"));
    let line = |commit: &Commit| format!("  {} {}", short(&commit.id), commit.subject);
    lines.extend(commits.added.iter().map(line));
    if commits.added_count > commits.added.len() {
        lines.push(format!(
            "  and {} more",
            commits.added_count - commits.added.len()
        ));
    }
    if commits.removed_count > 0 {
        lines.push(format!(
            "{} that it has not",
            counted(commits.removed_count, "commit", "commits")
        ));
        lines.extend(commits.removed.iter().map(line));
        if commits.removed_count > commits.removed.len() {
            let more = commits.removed_count - commits.removed.len();
            lines.push(format!("  and {more} more"));
        }
    }
}

/// The code's files, by name; those of dependency layers too, when all are asked for.
fn file_lines(all: bool, difference: &Difference, lines: &mut Vec<String>) {
    let is_code = |file: &FileDifference| {
        let layer = difference.layers.iter().find(|layer| layer.name == file.layer);
        layer.is_some_and(|layer| layer.kind == LayerKind::Code)
    };
    let shown = difference
        .files
        .iter()
        .filter(|file| (all || is_code(file)) && !(is_code(file) && tells_nothing(file)));
    let shown: Vec<&FileDifference> = shown.collect();
    lines.push(match shown.len() {
        0 => "no file of the code differs".to_owned(),
        count => counted(count, "file", "files"),
    });
    for file in shown {
        let sign = match file.how {
            How::Added => '+',
            How::Removed => '-',
            How::Changed | How::Same => '~',
        };
        lines.push(format!("  {sign} {}", file.path));
    }
}

/// Of the code's files: REVISION always differs.
fn tells_nothing(file: &FileDifference) -> bool {
    file.path == "REVISION" && file.how == How::Changed
}

/// How many files of a layer changed, of those that are told.
fn changed(layer: &LayerDifference, difference: &Difference) -> usize {
    let untold = |file: &&FileDifference| file.layer == layer.name && tells_nothing(file);
    let untold = match layer.kind {
        LayerKind::Code => difference.files.iter().filter(untold).count(),
        _ => 0,
    };
    layer.changed.saturating_sub(untold)
}

/// `layer npm changed: 812 -> 815 packages, 30.1 MB -> 30.3 MB, 12 files added, 180 changed, 3 removed`.
fn layer_line(layer: &LayerDifference, difference: &Difference) -> String {
    let how = match layer.how {
        How::Added => "added",
        How::Changed => "changed",
        How::Removed => "removed",
        How::Same => "same",
    };
    let of = |side: fn(&shipit_store::compare::LayerSide) -> u64| {
        let from = layer.from.as_ref().map(side);
        (from, layer.to.as_ref().map(side))
    };
    let mut parts = Vec::new();
    let packages =
        |side: &Option<shipit_store::compare::LayerSide>| side.as_ref().and_then(|side| side.packages);
    match (packages(&layer.from), packages(&layer.to)) {
        (Some(from), Some(to)) if from != to => parts.push(format!("{from} -> {to} packages")),
        (_, Some(count)) | (Some(count), None) => {
            parts.push(counted(
                usize::try_from(count).unwrap_or(usize::MAX),
                "package",
                "packages",
            ));
        }
        (None, None) => {}
    }
    parts.push(match of(|side| side.size) {
        (Some(from), Some(to)) if from != to => format!("{} -> {}", bytes(from), bytes(to)),
        (_, Some(size)) | (Some(size), None) => bytes(size),
        (None, None) => String::new(),
    });
    for (count, what) in [
        (layer.added, "added"),
        (changed(layer, difference), "changed"),
        (layer.removed, "removed"),
    ] {
        if count > 0 {
            parts.push(format!("{} {what}", counted(count, "file", "files")));
        }
    }
    format!("layer {} {how}: {}", layer.name, parts.join(", "))
}

fn change(what: &str, from: u64, to: u64) -> String {
    if from == to {
        return format!("{what} {}", bytes(to));
    }
    let by = if to > from {
        format!("{} more", bytes(to - from))
    } else {
        format!("{} less", bytes(from - to))
    };
    format!("{what} {} -> {} ({by})", bytes(from), bytes(to))
}
