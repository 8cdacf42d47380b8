//! The commands, one file each; a command's doc comment is its help text.

pub mod apply;
pub mod build;
pub mod cache;
pub mod completions;
pub mod config;
pub mod diff;
pub mod history;
pub mod init;
pub mod kick;
pub mod lock;
pub mod logs;
pub mod man;
pub mod policy;
pub mod promote;
pub mod prune;
pub mod publish;
pub mod releases;
pub mod render;
pub mod repair;
pub mod rollback;
pub mod status;
pub mod unlock;
mod without_consul;

use crate::args::Command;
use crate::context::Context;
use crate::errors::{Kind, Result};

/// Runs one command. Whatever was cancelled ends with the code of the signal that came.
pub fn dispatch(command: &Command, context: &Context) -> Result<()> {
    let result = match command {
        Command::Init(args) => init::run(args, context),
        Command::Config(args) => config::run(args, context),
        Command::Build(args) => build::run(args, context),
        Command::Render(args) => render::run(args, context),
        Command::Publish(args) => publish::run(args, context),
        Command::Kick(args) => kick::run(args, context),
        Command::Status(args) => status::run(args, context),
        Command::Logs(args) => logs::run(args, context),
        Command::Repair(args) => repair::run(args, context),
        Command::Rollback(args) => rollback::run(args, context),
        Command::Releases(args) => releases::run(args, context),
        Command::Diff(args) => diff::run(args, context),
        Command::Promote(args) => promote::run(args, context),
        Command::Prune(args) => prune::run(args, context),
        Command::History(args) => history::run(args, context),
        Command::Lock(args) => lock::run(args, context),
        Command::Unlock(args) => unlock::run(args, context),
        Command::Policy(args) => policy::run(args, context),
        Command::Apply(args) => apply::run(args, context),
        Command::Cache(args) => cache::run(args, context),
        Command::Completions(args) => completions::run(args, context),
        Command::Man(args) => man::run(args, context),
    };
    result.map_err(|error| {
        let error = without_consul::hinted(error, command, context);
        // A library says only that it was cancelled; a command that has more to say says by what.
        if error.kind() == Kind::Interrupted && error.hints().is_empty() && error.rendered_text().is_none() {
            context.stopped()
        } else {
            error
        }
    })
}
