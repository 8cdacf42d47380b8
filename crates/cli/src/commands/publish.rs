//! `shipit publish`.

use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use shipit_artifact::Artifact;
use shipit_store::{OnEvent, PublishInput, Published, RenderContext, RolePlan, publish};

use crate::args::StageArg;
use crate::config::{Role, Settled, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::output::bytes;
use crate::plain;
use crate::report;
use crate::settle::{self, manifest::RoleManifest};
use crate::state::{PublishState, StateDirectory, artifact_to_publish};

/// Publish the last artifact built here to a stage: artifact, record, and a manifest for each role.
///
/// Prints a line for each role: the role, a tab, the manifest's URL. No host is told: that is `kick`. What is in the store
/// already is not sent again, nothing in it is overwritten, and a publish that was cut anywhere can be run again.
#[derive(Debug, Args)]
pub struct PublishArgs {
    #[command(flatten)]
    stage: StageArg,
    /// The artifact, by its SHA-256 [default: the last one built here]
    #[arg(long, value_name = "SHA256")]
    artifact: Option<String>,
    /// Publish for this role alone; may be given several times [default: all roles]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    release: String,
    revision: &'a str,
    artifact: &'a str,
    artifact_url: &'a str,
    record_sha256: &'a str,
    roles: Vec<RoleReport<'a>>,
    sent: u64,
    skipped: u64,
}

#[derive(Debug, Serialize)]
struct RoleReport<'a> {
    role: &'a str,
    manifest_url: &'a str,
}

pub fn run(args: &PublishArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = settle::config(context, StageChoice::Of(stage.as_deref()))?;
    let roles = roles(&config, &args.roles)?;
    let artifact = artifact_to_publish(&config, args.artifact.as_deref())?;
    let revision = &artifact.record.revision;
    let manifests: Vec<(&Role, RoleManifest)> = roles
        .into_iter()
        .map(|role| Ok((role, RoleManifest::new(&config, role, revision)?)))
        .collect::<Result<_>>()?;
    let reporter = Arc::new(report::Store::new(&context.output));
    let on_event = OnEvent::new({
        let reporter = Arc::clone(&reporter);
        move |event| reporter.event(&event)
    });
    let store = settle::store::open(&config, context, on_event)?;
    plain::refuse_hidden_changes(&config, &manifests, &artifact, &store, context)?;

    let who = settle::who(context);
    let renders: Vec<_> = manifests
        .iter()
        .map(|(_, manifest)| move |release: &RenderContext<'_>| manifest.render(release))
        .collect();
    let plans = manifests
        .iter()
        .zip(&renders)
        .map(|((role, _), render)| RolePlan {
            role: role.name.clone(),
            render,
        })
        .collect();
    let input = PublishInput {
        store: &store,
        app: &config.app,
        stage: config.stage(),
        artifact: &artifact,
        time: jiff::Timestamp::now().as_second(),
        who: &who,
        roles: plans,
    };
    let published = context.block_on(async { Ok(publish(input).await?) });
    reporter.finish();
    if published.is_err() {
        context.block_on_to_the_end(async {
            store.settle().await;
            Ok(())
        })?;
    }
    told(&published?, &config, &artifact, context)
}

/// Notes the release for the stages of a job that follow, and prints where its manifests are.
fn told(published: &Published, config: &Settled, artifact: &Artifact, context: &Context) -> Result<()> {
    let release = published.release.id.to_string();
    let record = &artifact.record;
    StateDirectory::beside(&config.dir).save_publish(&PublishState {
        app: config.app.clone(),
        stage: config.stage().to_owned(),
        release: release.clone(),
        revision: record.revision.clone(),
        artifact: record.sha256.clone(),
    })?;
    context.output.say(format!(
        "published {release} of {} to {}: sent {}, {} were there already",
        config.app,
        config.stage(),
        bytes(published.sent),
        bytes(published.skipped)
    ));
    for (role, url) in &published.roles {
        context.output.data(format!("{role}\t{url}"))?;
    }
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        release,
        revision: &record.revision,
        artifact: &record.sha256,
        artifact_url: &published.artifact_url,
        record_sha256: &published.release.artifact.record_sha256,
        roles: published
            .roles
            .iter()
            .map(|(role, manifest_url)| RoleReport { role, manifest_url })
            .collect(),
        sent: published.sent,
        skipped: published.skipped,
    })
}

fn roles<'a>(config: &'a Settled, wanted: &[String]) -> Result<Vec<&'a Role>> {
    if wanted.is_empty() {
        if config.roles.is_empty() {
            return Err(
                CliError::new(Kind::Usage, format!("{} has no role", config.file.display()))
                    .hint("add a table [role.web] with the dest of its hosts"),
            );
        }
        return Ok(config.roles.iter().collect());
    }
    wanted.iter().map(|name| Ok(config.role(name)?)).collect()
}
