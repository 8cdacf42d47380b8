//! The command line: what every command shares, and the list of commands. Each command's own arguments, and the text of its
//! help, stand in its file.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;
use crate::environment::Environment;

/// Build and publish artifact deploys: from a git revision to the hosts that pull it.
///
/// shipit builds one tarball of a revision with its vendored dependencies, publishes it to a store together with a manifest
/// for each role, and tells the hosts of a role to pull it.
#[derive(Debug, Parser)]
#[command(
    name = "shipit",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The config file [default: $SHIPIT_CONFIG, else shipit.toml, searched upward from the working directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How data is written to stdout
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    pub output: Format,
    /// When to use colours and progress bars [auto: on a terminal, unless NO_COLOR is set]
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Say less: warnings and errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Where mirrors, build workspaces and layers are kept [default: $SHIPIT_CACHE_DIR, else $XDG_CACHE_HOME/shipit, else
    /// ~/.cache/shipit]
    #[arg(long, global = true, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// How many threads work, at most 32; up to twice as many requests, at most 8, transfer [default: the number of processors]
    #[arg(long, short, global = true, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
}

/// The stage, of commands that work on one.
#[derive(Debug, Clone, Args)]
pub struct StageArg {
    /// The stage [default: $SHIPIT_STAGE; a config without stages needs none]
    #[arg(long, short, value_name = "STAGE")]
    stage: Option<String>,
}

impl StageArg {
    /// The stage that was named. An empty name, which an unset parameter of a Jenkins job gives, is none.
    pub fn name(&self, environment: &Environment) -> Option<String> {
        self.stage
            .clone()
            .or_else(|| environment.text("SHIPIT_STAGE"))
            .filter(|stage| !stage.is_empty())
    }
}

/// For the time that Consul is down.
#[derive(Debug, Clone, Copy, Args)]
pub struct WithoutConsul {
    /// While Consul is down: look for the lock and the reports in the store, where `kick --without-consul` puts them
    #[arg(long)]
    pub without_consul: bool,
}

/// The form of what goes to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain lines.
    Text,
    /// One JSON document.
    Json,
}

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands, in the order in which a project meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(commands::init::InitArgs),
    Config(commands::config::ConfigArgs),
    Build(commands::build::BuildArgs),
    Render(commands::render::RenderArgs),
    Publish(commands::publish::PublishArgs),
    Kick(commands::kick::KickArgs),
    Status(commands::status::StatusArgs),
    Logs(commands::logs::LogsArgs),
    Repair(commands::repair::RepairArgs),
    Rollback(commands::rollback::RollbackArgs),
    Releases(commands::releases::ReleasesArgs),
    Diff(commands::diff::DiffArgs),
    Promote(commands::promote::PromoteArgs),
    Prune(commands::prune::PruneArgs),
    History(commands::history::HistoryArgs),
    Lock(commands::lock::LockArgs),
    Unlock(commands::unlock::UnlockArgs),
    Policy(commands::policy::PolicyArgs),
    Apply(commands::apply::ApplyArgs),
    Cache(commands::cache::CacheArgs),
    Completions(commands::completions::CompletionsArgs),
    Man(commands::man::ManArgs),
}
