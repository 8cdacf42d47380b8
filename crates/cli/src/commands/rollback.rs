//! `shipit rollback`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use shipit_store::{Action, ReleaseId};

use crate::args::StageArg;
use crate::config::Role;
use crate::context::Context;
use crate::errors::Result;
use crate::kick::{self, HostFlags, Request, Stage, Target, WaveFlags, Wish};

/// Bring roles back to their last good release.
///
/// That is the live release when the last kick of the role failed, else the one that was live before it was kicked: a second
/// rollback goes further back. One that failed is done again. Nothing is built: hosts that still have the release switch back to
/// it. All hosts are told, whichever fail, and neither the config's pause nor its wave_check is for the way back. The rollback is a
/// kick of its own in the history, and its release is live then.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The roles, in order; the next one is rolled back only when the one before went well
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    stage: StageArg,
    /// The release to go to [default: the last good one]
    #[arg(long = "to", value_name = "ID")]
    release: Option<ReleaseId>,
    /// Keep the stage locked afterwards, for this reason, until `shipit unlock`
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    lock: Option<String>,
    #[command(flatten)]
    waves: WaveFlags,
}

pub fn run(args: &RollbackArgs, context: &Context) -> Result<()> {
    let config = kick::config(
        context,
        args.stage.name(&context.environment).as_deref(),
        &args.waves,
    )?;
    let roles = kick::roles(&args.roles, &config)?;
    let stage = Stage::open(&config, context)?;
    let all = HostFlags::default();
    let reason = args.waves.reason.as_ref().or(args.lock.as_ref());
    let plan = |stage: &Stage<'_>| {
        let mut wishes = Vec::new();
        for role in roles.iter().copied() {
            let target = target(stage, role, args)?;
            wishes.push(Wish {
                role,
                action: Action::Rollback,
                release: target.release,
                waves: &args.waves,
                hosts: &all,
                lagging: None,
                from: target.from,
                by_itself: false,
                followed: true,
                note: target.note,
                reason: reason.cloned(),
            });
        }
        Ok(wishes)
    };
    kick::run(
        &stage,
        &Request {
            flags: &args.waves,
            plan: &plan,
            keep_lock: args.lock.as_deref(),
        },
    )
}

/// The release that a role goes to.
fn target(stage: &Stage<'_>, role: &Role, args: &RollbackArgs) -> Result<Target> {
    match &args.release {
        Some(id) => kick::back_to(stage, &role.name, id),
        None => kick::of_rollback(stage, &role.name),
    }
}
