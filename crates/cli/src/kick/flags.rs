//! The flags that `kick`, `repair` and `rollback` share. What they leave open, the config says.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use crate::config::{Batch, Role, Settled, Span, Transport, WaveCheck};

/// How hosts are told and followed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Waves")]
pub struct WaveFlags {
    /// How hosts are told [default: what the config says]
    #[arg(long, value_enum, value_name = "TRANSPORT")]
    pub transport: Option<TransportArg>,
    /// The datacenter (consul) [default: that of the config, else the agent's]
    #[arg(long, value_name = "DC", value_parser = NonEmptyStringValueParser::new())]
    pub dc: Option<String>,
    /// While Consul is down: the lock and the reports stand in the store, and hosts are told by exec, for which the role needs
    /// [role.X.exec]. Nobody is kept out who kicks through Consul
    #[arg(long)]
    pub without_consul: bool,
    /// How many hosts are told at once: a number, or a part like 25% [default: kick.batch, else all]
    #[arg(long, value_name = "N|P%", value_parser = Batch::parse)]
    pub batch: Option<Batch>,
    /// How long to wait between two waves, like 30s [default: kick.pause, else not at all]
    #[arg(long, value_name = "TIME", value_parser = Span::parse)]
    pub pause: Option<Span>,
    /// How long the hosts of one wave have until they count as silent, like 10m; with exec, one host's command [default:
    /// kick.timeout]
    #[arg(long, value_name = "TIME", value_parser = some_time)]
    pub timeout: Option<Span>,
    /// How many hosts may fail or stay silent until the kick counts as failed [default: kick.max_failures, else 0]
    #[arg(long, value_name = "N")]
    pub max_failures: Option<u32>,
    /// What must be good between two waves: a URL, or a command [default: kick.wave_check, else nothing]
    #[arg(long, value_name = "CHECK", value_parser = parse_check)]
    pub wave_check: Option<WaveCheck>,
    /// How long to wait for the stage's lock when another deploy has it, like 10m [default: kick.lock_wait, else not at all]
    #[arg(long, value_name = "TIME", value_parser = Span::parse)]
    pub lock_wait: Option<Span>,
    /// Why: for the lock, the history and notices
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub reason: Option<String>,
}

/// Which of a role's hosts are told.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Hosts")]
pub struct HostFlags {
    /// Only this host; may be given several times. The live release stays as it is
    #[arg(long = "only", alias = "node", value_name = "NODE", value_parser = NonEmptyStringValueParser::new())]
    pub only: Vec<String>,
    /// Only hosts with this service, in place of the role's filter (consul). The live release stays as it is
    #[arg(long, value_name = "SERVICE", value_parser = NonEmptyStringValueParser::new())]
    pub service: Option<String>,
    /// Only where that service has this tag (consul). The live release stays as it is
    #[arg(long, value_name = "TAG", value_parser = NonEmptyStringValueParser::new())]
    pub tag: Option<String>,
}

impl HostFlags {
    /// All of a role's hosts.
    pub const fn all() -> Self {
        HostFlags {
            only: Vec::new(),
            service: None,
            tag: None,
        }
    }

    /// Whether fewer than the role's hosts may be meant.
    pub fn narrows(&self) -> bool {
        !self.only.is_empty() || self.service.is_some() || self.tag.is_some()
    }
}

/// The transports by their names in the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TransportArg {
    /// A Consul event.
    Consul,
    /// A command for each host.
    Exec,
}

/// With no time at all every host would be silent before it can speak.
fn some_time(text: &str) -> Result<Span, String> {
    match Span::parse(text)? {
        none if none.get().is_zero() => Err("hosts need some time: write 1s or more".to_owned()),
        some => Ok(some),
    }
}

fn parse_check(text: &str) -> Result<WaveCheck, String> {
    text.parse()
}

/// How one role's kick goes: the flags over the config.
#[derive(Debug, Clone)]
pub struct Course {
    /// How hosts are told.
    pub transport: Transport,
    /// The size of a wave; none for all hosts at once.
    pub batch: Option<Batch>,
    /// Between two waves.
    pub pause: Span,
    /// How long a wave's hosts have.
    pub timeout: Span,
    /// Whether that was said for this kick, and is none of the config.
    pub timeout_given: bool,
    /// How many hosts may fail.
    pub may_fail: usize,
    /// What must be good between two waves.
    pub check: Option<WaveCheck>,
    /// Whether the next wave is told though one was bad.
    pub goes_on: bool,
}

impl Course {
    /// Settles a role's.
    pub fn new(flags: &WaveFlags, config: &Settled, role: &Role) -> Self {
        let waves = &role.waves;
        Course {
            transport: match flags.transport {
                None => config.transport(role),
                Some(TransportArg::Consul) => Transport::Consul,
                Some(TransportArg::Exec) => Transport::Exec,
            },
            batch: flags.batch.or(waves.batch),
            pause: flags.pause.unwrap_or(waves.pause),
            timeout: flags.timeout.unwrap_or(waves.timeout),
            timeout_given: flags.timeout.is_some(),
            may_fail: flags.max_failures.unwrap_or(waves.max_failures) as usize,
            check: flags
                .wave_check
                .clone()
                .or_else(|| config.kick.wave_check.clone()),
            goes_on: false,
        }
    }

    /// The same for a way back. What the config wants between waves is there to find a bad release; on the way back it would keep
    /// hosts on one that was found. So would a host that fails: the others are told all the same.
    pub fn back(self, flags: Option<&WaveFlags>) -> Self {
        Course {
            pause: flags.and_then(|flags| flags.pause).unwrap_or(Span::seconds(0)),
            check: flags.and_then(|flags| flags.wave_check.clone()),
            goes_on: true,
            ..self
        }
    }
}
