//! `shipit kick`.

use clap::Args;
use shipit_store::{Action, ReleaseRef, release};

use crate::args::StageArg;
use crate::context::Context;
use crate::errors::Result;
use crate::kick::{self, HostFlags, Request, Stage, WaveFlags, Wish};
use crate::state::published;

/// Tell the hosts of roles to pull a release, and follow them to the end.
///
/// Locks the stage, fires the Consul event of each role in the order given (or, with the transport exec, runs a command for each
/// of its hosts), waits until each host has reported, and prints a line per host: role, host, state. When all hosts of a role did
/// well, the release becomes the live one, which new hosts boot with. A role is kicked only when the one before went well.
#[derive(Debug, Args)]
pub struct KickArgs {
    /// The roles, in order; the next one is kicked only when the one before went well
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    stage: StageArg,
    /// The release: its id, `latest` of the stage, or `published`, the one that the last publish here made
    #[arg(long, value_name = "ID", default_value = "latest")]
    release: String,
    /// Fire and do not follow: the event's id is printed, and the release is live at once (consul)
    #[arg(long, conflicts_with_all = ["batch", "pause", "wave_check", "max_failures"])]
    no_wait: bool,
    #[command(flatten)]
    hosts: HostFlags,
    #[command(flatten)]
    waves: WaveFlags,
}

pub fn run(args: &KickArgs, context: &Context) -> Result<()> {
    let config = kick::config(
        context,
        args.stage.name(&context.environment).as_deref(),
        &args.waves,
    )?;
    let roles = kick::roles(&args.roles, &config)?;
    let stage = Stage::open(&config, context)?;
    let wanted: ReleaseRef = match args.release.as_str() {
        "published" => published(&config)?.parse()?,
        other => other.parse()?,
    };
    // Settled once: `latest` must not become another release while the lock is waited for.
    let found =
        stage.wait(async { Ok(release(&stage.store, &config.app, config.stage(), &wanted).await?) })?;
    let plan = |_: &Stage<'_>| {
        let wish = |role| Wish {
            role,
            action: Action::Kick,
            release: found.clone(),
            waves: &args.waves,
            hosts: &args.hosts,
            lagging: None,
            from: None,
            by_itself: false,
            followed: !args.no_wait,
            note: None,
            reason: args.waves.reason.clone(),
        };
        Ok(roles.iter().copied().map(wish).collect())
    };
    kick::run(
        &stage,
        &Request {
            flags: &args.waves,
            plan: &plan,
            keep_lock: None,
        },
    )
}
