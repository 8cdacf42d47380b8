//! From the settled config and this machine to the inputs of each crate. Nothing is fetched, opened or run here.

pub mod agent;
pub mod board;
pub mod consul;
pub mod manifest;
pub mod source;
pub mod steps;
pub mod store;
mod who;

pub use who::{holder, who};

use crate::config::{Config, ConfigError, ConfigRequest, Settled, StageChoice};
use crate::context::Context;
use crate::errors::Result;

/// Loads the config with the stage that the command asks for, and shows its warnings.
pub fn config(context: &Context, stage: StageChoice<'_>) -> Result<Settled> {
    load(context, stage)?.map_err(|error| crate::errors::config(&error, context.output.colors()))
}

/// As `config`, for a command that can do without one: `None` when none was named, and none is found.
pub fn config_if_any(context: &Context, stage: StageChoice<'_>) -> Result<Option<Settled>> {
    match load(context, stage)? {
        Ok(config) => Ok(Some(config)),
        Err(ConfigError::NotFound { .. }) => Ok(None),
        Err(error) => Err(crate::errors::config(&error, context.output.colors())),
    }
}

/// As `config`, for a further stage: the warnings of the file were shown already. The inner error says why there is no such
/// stage, or that it is not to be had.
pub fn further(context: &Context, stage: &str) -> Result<std::result::Result<Settled, ConfigError>> {
    load_in_silence(context, StageChoice::Of(Some(stage)))
}

fn load(context: &Context, stage: StageChoice<'_>) -> Result<std::result::Result<Settled, ConfigError>> {
    let settled = load_in_silence(context, stage)?;
    if let Ok(settled) = &settled {
        for lint in &settled.lints {
            let file = settled.file.display();
            context
                .output
                .warn(format!("{file}:{}: {}; {}", lint.line, lint.message, lint.help));
        }
    }
    Ok(settled)
}

fn load_in_silence(
    context: &Context,
    stage: StageChoice<'_>,
) -> Result<std::result::Result<Settled, ConfigError>> {
    let cwd = context.working_directory()?;
    let named = context
        .global
        .config
        .clone()
        .or_else(|| context.environment.path("SHIPIT_CONFIG"));
    let path = named.map(|path| context.absolute(&path)).transpose()?;
    let env = |name: &str| context.environment.text(name);
    Ok(Config::load(&ConfigRequest {
        path,
        cwd,
        stage,
        env: &env,
    }))
}
