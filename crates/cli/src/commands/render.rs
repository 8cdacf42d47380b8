//! `shipit render`.

use clap::Args;
use serde::Serialize;
use shipit_store::layout::artifact_key;
use shipit_store::{OnEvent, ReleaseId, RenderContext};

use crate::args::StageArg;
use crate::config::StageChoice;
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::settle::{self, manifest::RoleManifest};
use crate::state::artifact_to_publish;

/// Print the manifest that publish would upload for a role.
///
/// Rendered from the artifact of the last build, as publish would. Nothing is uploaded and the store is not asked.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// The role
    role: String,
    #[command(flatten)]
    stage: StageArg,
    /// The release's id [default: the one that a publish at this moment would take]
    #[arg(long, value_name = "ID")]
    release_id: Option<String>,
    /// The manifest of the role's `once` commands instead
    #[arg(long)]
    once: bool,
    /// The artifact, by its SHA-256 [default: the last one built here]
    #[arg(long, value_name = "SHA256")]
    artifact: Option<String>,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    role: &'a str,
    release: &'a str,
    artifact: &'a str,
    manifest: &'a str,
}

pub fn run(args: &RenderArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = settle::config(context, StageChoice::Of(stage.as_deref()))?;
    let role = config.role(&args.role)?;
    let artifact = artifact_to_publish(&config, args.artifact.as_deref())?;
    let record = &artifact.record;
    let release = match &args.release_id {
        Some(id) => ReleaseId::parse(id)?,
        None => ReleaseId::new(jiff::Timestamp::now().as_second(), &record.revision)?,
    };
    let store = settle::store::open(&config, context, OnEvent::none())?;
    let key = artifact_key(&config.app, &record.sha256, record.compression.extension())?;
    let manifest = RoleManifest::new(&config, role, &record.revision)?;
    if args.once && !manifest.has_once() {
        return Err(CliError::new(
            Kind::Usage,
            format!("the role {} has no `once` commands", role.name),
        )
        .hint(format!("they are role.{}.once in the config", role.name)));
    }
    let of_release = RenderContext {
        release: &release,
        src: &store.host_url_of(&key),
        checksum: &record.sha256,
        record_sha256: &artifact.record_sha256,
    };
    let manifest = manifest.render_alone(&of_release, args.once)?;
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        role: &role.name,
        release: &release.to_string(),
        artifact: &record.sha256,
        manifest: &manifest,
    })?;
    context.output.data(manifest.trim_end_matches('\n'))
}
