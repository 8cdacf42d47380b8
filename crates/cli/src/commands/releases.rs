//! `shipit releases`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use clap::Args;
use serde::Serialize;
use shipit_store::{PromotedFrom, Release, releases};

use crate::args::StageArg;
use crate::context::Context;
use crate::errors::Result;
use crate::output::Column;
use crate::releases::{Place, subjects};
use crate::times;

/// The releases of a stage: which revision, what it is about, who published it when, and which roles are live with it.
///
/// Newest first. A commit's subject is the one that was known when it was published, else that of the repository, when it is
/// at hand.
#[derive(Debug, Args)]
pub struct ReleasesArgs {
    #[command(flatten)]
    stage: StageArg,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value = "20")]
    limit: NonZeroUsize,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    releases: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    release: &'a str,
    revision: &'a str,
    subject: Option<&'a str>,
    who: &'a str,
    time: i64,
    artifact: &'a str,
    size: u64,
    roles: Vec<&'a str>,
    live: Vec<&'a str>,
    promoted: Option<&'a PromotedFrom>,
}

const COLUMNS: [Column; 7] = [
    Column::Whole("release"),
    Column::Text("subject"),
    Column::Text("who"),
    Column::Whole("when"),
    Column::Text("roles"),
    Column::Whole("live"),
    Column::Text("from"),
];

pub fn run(args: &ReleasesArgs, context: &Context) -> Result<()> {
    let place = Place::open(context, args.stage.name(&context.environment).as_deref())?;
    let (app, stage) = (&place.config.app, place.config.stage());
    let limit = Some(args.limit.get());
    let found = context.block_on(async { Ok(releases(&place.store, app, stage, limit).await?) })?;
    let live = place.live(context)?;
    let subjects = subjects(&place.config, found.iter(), context);
    if found.is_empty() {
        context.output.say(format!("no release of {app} in {stage} yet"));
    }
    let entries: Vec<Entry<'_>> = found
        .iter()
        .map(|release| entry(release, &subjects, &live))
        .collect();
    let rows: Vec<Vec<String>> = entries.iter().map(row).collect();
    context.output.table(&COLUMNS, &rows)?;
    context.output.json(&Report {
        app,
        stage,
        releases: entries,
    })
}

fn entry<'a>(
    release: &'a Release,
    subjects: &'a BTreeMap<String, String>,
    live: &'a BTreeMap<String, String>,
) -> Entry<'a> {
    let id = release.id.as_str();
    Entry {
        release: id,
        revision: &release.revision,
        subject: subjects.get(&release.revision).map(String::as_str),
        who: &release.who,
        time: release.time,
        artifact: &release.artifact.sha256,
        size: release.artifact.size,
        roles: release.roles.keys().map(String::as_str).collect(),
        live: live
            .iter()
            .filter(|(_, release)| *release == id)
            .map(|(role, _)| role.as_str())
            .collect(),
        promoted: release.promoted.as_ref(),
    }
}

fn row(entry: &Entry<'_>) -> Vec<String> {
    let none = || "-".to_owned();
    let listed = |roles: &[&str]| match roles {
        [] => none(),
        roles => roles.join(","),
    };
    vec![
        entry.release.to_owned(),
        // The release's id has the revision's first digits.
        entry.subject.map_or_else(none, str::to_owned),
        entry.who.to_owned(),
        times::minute(entry.time),
        listed(&entry.roles),
        listed(&entry.live),
        entry
            .promoted
            .map_or_else(none, |from| format!("{}/{}", from.stage, from.release)),
    ]
}
