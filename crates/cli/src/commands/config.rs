//! `shipit config`.

use clap::Args;

use crate::args::StageArg;
use crate::config::{self, StageChoice};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::settle;

/// Show the settled config, with where each value came from.
///
/// It is printed as TOML that loads again, with a comment at each value: the line of the file, the stage's table, an
/// environment variable, or the default. With `--output json`, one document with the config and the origins. Secrets are
/// masked. Without `--stage` the base alone is shown.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    stage: StageArg,
    /// Print the JSON Schema of the file (templates/shipit.schema.json)
    #[arg(long, hide = true)]
    schema: bool,
    /// Print the reference page (docs/configuration.md)
    #[arg(long, hide = true)]
    reference: bool,
}

pub fn run(args: &ConfigArgs, context: &Context) -> Result<()> {
    if args.schema {
        return context.output.raw(config::json_schema().as_bytes());
    }
    if args.reference {
        return context.output.raw(config::reference().as_bytes());
    }
    let stage = args.stage.name(&context.environment);
    let settled = settle::config(context, StageChoice::Any(stage.as_deref()))?;
    if context.output.is_json() {
        let document = config::as_json(&settled).map_err(|error| unshown(error, &settled))?;
        return context.output.json(&document);
    }
    let env = |name: &str| context.environment.text(name);
    let text = config::as_toml(&settled, &env).map_err(|error| unshown(error, &settled))?;
    context.output.data(text.trim_end())
}

fn unshown(error: impl std::error::Error + Send + Sync + 'static, settled: &config::Settled) -> CliError {
    CliError::from_source(Kind::Internal, error)
        .context(format!("showing the config {}", settled.file.display()))
}
