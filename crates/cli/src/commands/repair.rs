//! `shipit repair`.

use clap::Args;
use shipit_store::{Action, ReleaseId};

use crate::args::StageArg;
use crate::context::Context;
use crate::errors::Result;
use crate::kick::{self, HostFlags, Request, Stage, Target, WaveFlags, Wish};

/// Kick again only the hosts that did not report, failed, or lag behind.
///
/// A host is left alone when its newest report says that it has the release in service. First those hosts are told that were told
/// it and did not succeed; when they are good the others, in waves of --batch, else of the batch of that kick, else of kick.batch,
/// until one is bad. The live release stays as it is.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The roles, in order; the next one is repaired only when the one before went well
    #[arg(required = true, value_name = "ROLE")]
    roles: Vec<String>,
    #[command(flatten)]
    stage: StageArg,
    /// The release that the hosts are to have [default: that of the role's last kick; when that was of some hosts, these alone are
    /// repaired]
    #[arg(long, value_name = "ID")]
    release: Option<ReleaseId>,
    #[command(flatten)]
    hosts: HostFlags,
    #[command(flatten)]
    waves: WaveFlags,
}

pub fn run(args: &RepairArgs, context: &Context) -> Result<()> {
    let config = kick::config(
        context,
        args.stage.name(&context.environment).as_deref(),
        &args.waves,
    )?;
    let roles = kick::roles(&args.roles, &config)?;
    let stage = Stage::open(&config, context)?;
    let plan = |stage: &Stage<'_>| {
        let mut wishes = Vec::new();
        for role in roles.iter().copied() {
            let target = match &args.release {
                Some(id) => Target::from(kick::find(stage, id)?),
                None => kick::of_repair(stage, &role.name, &args.hosts.only)?,
            };
            let Target {
                release, note, among, ..
            } = target;
            let mut lagging = kick::lagging(stage, role, &release, &args.waves, &args.hosts, among.as_ref())?;
            let notes: Vec<String> = note.into_iter().chain(lagging.note.take()).collect();
            if lagging.names.is_empty() {
                let which = match &among {
                    None => "each host".to_owned(),
                    Some(some) => {
                        let names: Vec<&str> = some.iter().map(String::as_str).collect();
                        match names.as_slice() {
                            [one] => format!("{one}, which alone was kicked last,"),
                            some => format!("each of {}, which alone were kicked last,", some.join(", ")),
                        }
                    }
                };
                stage.say(format!("{}: {which} says that it has {}", role.name, release.id));
                notes.iter().for_each(|note| stage.say(note));
                continue;
            }
            wishes.push(Wish {
                role,
                action: Action::Repair,
                release,
                waves: &args.waves,
                hosts: &args.hosts,
                lagging: Some(lagging),
                from: None,
                by_itself: false,
                followed: true,
                note: (!notes.is_empty()).then(|| notes.join("; ")),
                reason: args.waves.reason.clone(),
            });
        }
        Ok(wishes)
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
