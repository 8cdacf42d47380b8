//! `shipit logs`.

use clap::Args;
use serde::Serialize;
use shipit_fleet::board::HostLog;

use crate::args::{StageArg, WithoutConsul};
use crate::config::{Role, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::kick::Stage;
use crate::output::printable;
use crate::settle;

/// What the board's name of a role's `once` commands ends with.
const ONCE: &str = ".once";

/// What a host's deploy printed: the end of it, as the host reported it.
///
/// The log comes with a host's last word on a release, success or failure. A host that was killed, or that could not load the
/// manifest, has none: look at its watch's own log there.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The host: its node's name in Consul, or its name in the exec transport's list
    #[arg(value_name = "HOST")]
    host: String,
    #[command(flatten)]
    stage: StageArg,
    /// Of this role; `<role>.once` for its once commands alone [default: every role that the host reported for]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// About this release [default: the one that it reported on last]
    #[arg(long, value_name = "ID")]
    release: Option<String>,
    #[command(flatten)]
    without: WithoutConsul,
}

/// The document of `--output json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    app: &'a str,
    stage: &'a str,
    host: &'a str,
    logs: Vec<RoleLog>,
}

#[derive(Debug, Serialize)]
struct RoleLog {
    role: String,
    #[serde(flatten)]
    log: HostLog,
}

pub fn run(args: &LogsArgs, context: &Context) -> Result<()> {
    let stage = args.stage.name(&context.environment);
    let config = Stage::config_of(context, stage.as_deref(), args.without)?;
    let names = match &args.role {
        Some(role) => names(role, &config)?,
        None => config.roles.iter().flat_map(both).collect(),
    };
    let stage = Stage::open(&config, context)?;
    let logs = stage.wait(found(args, &stage, &names))?;
    if logs.is_empty() {
        return Err(none(args, &config, &names));
    }
    for RoleLog { role, log } in &logs {
        context
            .output
            .say(format!("{} as {role}, release {}:", args.host, log.release));
        context.output.data(printable(log.text.trim_end_matches('\n')))?;
    }
    context.output.json(&Report {
        app: &config.app,
        stage: config.stage(),
        host: &args.host,
        logs,
    })
}

/// Under which names a host may have reported for a role: its `once` commands are a role of their own there.
fn both(role: &Role) -> [String; 2] {
    [format!("{}{ONCE}", role.name), role.name.clone()]
}

/// The same of a role that was named, perhaps as it is shown: `web.once`.
fn names(role: &str, config: &Settled) -> Result<Vec<String>> {
    let once = role.strip_suffix(ONCE).and_then(|of| config.role(of).ok());
    match (config.role(role), once) {
        (Ok(role), _) => Ok(both(role).into()),
        (Err(_), Some(_)) => Ok(vec![role.to_owned()]),
        (Err(unknown), None) => Err(unknown.into()),
    }
}

/// The log under each name, where the host has one.
async fn found(args: &LogsArgs, stage: &Stage<'_>, names: &[String]) -> Result<Vec<RoleLog>> {
    let mut logs = Vec::new();
    for name in names {
        let log = stage.board.log(name, &args.host, args.release.as_deref()).await?;
        logs.extend(log.map(|log| RoleLog {
            role: name.clone(),
            log,
        }));
    }
    Ok(logs)
}

fn none(args: &LogsArgs, config: &Settled, names: &[String]) -> CliError {
    let named = |name: &&String| args.role.as_ref() == Some(name) || !name.ends_with(ONCE);
    let names: Vec<&str> = names.iter().filter(named).map(String::as_str).collect();
    let about = args
        .release
        .as_ref()
        .map(|release| format!(" about {release}"))
        .unwrap_or_default();
    CliError::new(
        Kind::Hosts,
        format!("{} has reported no log{about} for {}", args.host, names.join(", ")),
    )
    .hint(format!(
        "`shipit status{}` lists the hosts by their names and what each said; a host that was killed leaves no log",
        settle::board::flags(config)
    ))
}
