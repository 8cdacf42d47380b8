//! The steps' and tests' specs, and the environment that they start with.

use std::ffi::OsString;

use shipit_artifact::EntryPath;
use shipit_steps::{EnvVar, GoOutput, StepSpec, TestSpec, Tool};

use crate::config::{self, Setting, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};

/// The steps of the config, in order, secrets read from the environment.
pub fn specs(config: &Settled, context: &Context) -> Result<Vec<StepSpec>> {
    config
        .build
        .steps
        .iter()
        .map(|step| spec(step, context))
        .collect()
}

/// The tests of the config, in order.
pub fn tests(config: &Settled, context: &Context) -> Result<Vec<TestSpec>> {
    config
        .build
        .tests
        .iter()
        .map(|test| {
            Ok(TestSpec {
                name: test.name.clone(),
                run: test.run.clone(),
                junit: test.junit.clone(),
                dir: directory(&test.name, test.dir.as_deref())?,
                env: variables(&test.env, context)?,
                timeout: Some(test.timeout.get()),
                idle_timeout: Some(test.idle_timeout.get()),
            })
        })
        .collect()
}

/// What the steps may keep in the workspace, from its root.
pub fn kept(config: &Settled) -> Result<Vec<EntryPath>> {
    let mut all = Vec::new();
    for step in &config.build.steps {
        for keep in &step.keep {
            let kept = match &step.dir {
                Some(dir) => format!("{}/{keep}", dir.trim_end_matches('/')),
                None => keep.clone(),
            };
            all.push(path(&step.name, "keep", &kept)?);
        }
    }
    Ok(all)
}

/// What every step starts with: PATH and HOME of this process, and a LANG that is the same everywhere, since tools sort and
/// format by it.
pub fn base_environment(context: &Context) -> Vec<(OsString, OsString)> {
    let path = context.environment.path("PATH").map_or_else(
        || OsString::from("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        Into::into,
    );
    let mut base = vec![("PATH".into(), path), ("LANG".into(), "C.UTF-8".into())];
    if let Some(home) = context.environment.path("HOME") {
        base.push(("HOME".into(), home.into()));
    }
    base
}

fn spec(step: &config::Step, context: &Context) -> Result<StepSpec> {
    Ok(StepSpec {
        name: step.name.clone(),
        tool: tool(step)?,
        dir: directory(&step.name, step.dir.as_deref())?,
        env: variables(&step.env, context)?,
        timeout: Some(step.timeout.get()),
        idle_timeout: Some(step.idle_timeout.get()),
        layer: step.layer,
        inputs: step.inputs.clone(),
        outputs: step.outputs.clone(),
    })
}

fn tool(step: &config::Step) -> Result<Tool> {
    Ok(match &step.tool {
        config::Tool::Carton => Tool::Carton,
        config::Tool::Bundle { without } => Tool::Bundle {
            without: without.clone(),
        },
        config::Tool::Npm { production } => Tool::Npm {
            production: *production,
        },
        config::Tool::Go { packages } => Tool::Go {
            packages: packages
                .iter()
                .map(|(package, output)| {
                    Ok(GoOutput {
                        package: package.clone(),
                        output: path(&step.name, "packages", output)?,
                    })
                })
                .collect::<Result<_>>()?,
        },
        config::Tool::Run { command } => Tool::Run {
            command: command.clone(),
        },
    })
}

fn directory(step: &str, dir: Option<&str>) -> Result<Option<EntryPath>> {
    dir.map(|dir| path(step, "dir", dir)).transpose()
}

fn path(step: &str, key: &str, text: &str) -> Result<EntryPath> {
    let trimmed = text.trim_start_matches("./").trim_end_matches('/');
    EntryPath::new(trimmed).map_err(|error| {
        CliError::from_source(Kind::Usage, error).context(format!("step `{step}`: {key} = {text:?}"))
    })
}

/// The variables of an `env` table, with their values.
pub fn variables(env: &[(String, Setting)], context: &Context) -> Result<Vec<EnvVar>> {
    env.iter()
        .map(|(name, setting)| {
            let value = context.value(setting)?;
            let secret = value.is_secret();
            Ok(EnvVar {
                name: name.clone(),
                value: value.into_inner(),
                secret,
            })
        })
        .collect()
}
