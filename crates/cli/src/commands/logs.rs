//! `shipit logs`.

use clap::Args;
use serde::Serialize;
use shipit_fleet::board::HostLog;

use crate::args::StageArg;
use crate::config::{Role, Settled};
use crate::context::Context;
use crate::errors::{CliError, Kind, Result};
use crate::kick::Stage;
use crate::output::printable;
use crate::settle;

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
    /// Of this role [default: every role that the host reported for]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// About this release [default: the one that it reported on last]
    #[arg(long, value_name = "ID")]
    release: Option<String>,
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
    let config = Stage::config(context, args.stage.name(&context.environment).as_deref())?;
    let roles: Vec<&Role> = match &args.role {
        Some(role) => vec![config.role(role)?],
        None => config.roles.iter().collect(),
    };
    let stage = Stage::open(&config, context)?;
    let logs = stage.wait(found(args, &stage, &roles))?;
    if logs.is_empty() {
        return Err(none(args, &config, &roles));
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

/// Each role's log, and that of its `once` commands where the host ran them.
async fn found(args: &LogsArgs, stage: &Stage<'_>, roles: &[&Role]) -> Result<Vec<RoleLog>> {
    let mut logs = Vec::new();
    for role in roles {
        for name in [format!("{}.once", role.name), role.name.clone()] {
            let log = stage
                .board
                .log(&name, &args.host, args.release.as_deref())
                .await?;
            logs.extend(log.map(|log| RoleLog { role: name, log }));
        }
    }
    Ok(logs)
}

fn none(args: &LogsArgs, config: &Settled, roles: &[&Role]) -> CliError {
    let names: Vec<&str> = roles.iter().map(|role| role.name.as_str()).collect();
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
        settle::board::stage_flag(config)
    ))
}
