//! What can go wrong with Consul.

use std::path::PathBuf;

use super::request::TooLong;

/// A request that Consul did not fulfil, or that was not sent. No token stands in any of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be used.
    #[error("Consul's address {address:?} cannot be used: {reason}")]
    Address {
        /// The address, without a password.
        address: String,
        /// Why not.
        reason: String,
    },
    /// A certificate or key cannot be read.
    #[error("reading Consul's {what} {}", path.display())]
    File {
        /// What the file is.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The token, the certificates or the keys cannot be used.
    #[error("setting up the connection to Consul at {address}: {what} cannot be used")]
    Setup {
        /// The agent.
        address: String,
        /// What cannot be used.
        what: String,
        /// Why not.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// No answer came.
    #[error("{doing}: Consul at {address} cannot be reached ({attempts} tried)")]
    Unreachable {
        /// What was being done.
        doing: String,
        /// The agent.
        address: String,
        /// How often.
        attempts: u32,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// The agent is there, and did not answer in time.
    #[error("{doing}: Consul at {address} did not answer in time ({attempts} tried)")]
    Late {
        /// What was being done.
        doing: String,
        /// The agent.
        address: String,
        /// How often.
        attempts: u32,
        /// What it was waited for.
        #[source]
        source: reqwest::Error,
    },
    /// The request was sent, and no whole answer came in time: it may have been fulfilled.
    #[error("{doing}: the answer of Consul at {address} did not come; the request may have been fulfilled")]
    NoAnswer {
        /// What was being done.
        doing: String,
        /// The agent.
        address: String,
        /// Why not.
        #[source]
        source: reqwest::Error,
    },
    /// The token is missing, unknown, or may not do this.
    #[error("{doing}: Consul at {address} denied it: {reason}")]
    Denied {
        /// What was being done.
        doing: String,
        /// The agent.
        address: String,
        /// Consul's words.
        reason: String,
        /// The ACL rule that allows it.
        rule: String,
        /// Whether a token was sent.
        token: bool,
    },
    /// Consul does not accept the request, or failed at it.
    #[error("{doing}: Consul at {address} answered {status}: {reason}")]
    Refused {
        /// What was being done.
        doing: String,
        /// The agent.
        address: String,
        /// HTTP's status.
        status: u16,
        /// Consul's words.
        reason: String,
    },
    /// What answered does not speak as Consul does.
    #[error("{doing}: what answers at {address} is not Consul: {reason}")]
    NotConsul {
        /// What was being done.
        doing: String,
        /// The agent.
        address: String,
        /// What came instead.
        reason: String,
    },
    /// The event is too long; nothing was sent.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The event's parts do not fit together; nothing was sent.
    #[error("the event {name} cannot be fired: {reason}")]
    Event {
        /// The event's name.
        name: String,
        /// Why not.
        reason: String,
    },
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The config.
    Config,
    /// A file of this machine.
    File,
    /// Consul, or the way to it.
    Consul,
}

impl Error {
    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Address { .. } | Error::Setup { .. } | Error::Event { .. } => ErrorKind::Config,
            Error::File { .. } => ErrorKind::File,
            _ => ErrorKind::Consul,
        }
    }

    /// Whether the same may work later: what a network, an agent that starts again, or an election of a leader explains.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Error::Unreachable { .. }
                | Error::Late { .. }
                | Error::NoAnswer { .. }
                | Error::Refused {
                    status: 429 | 500..,
                    ..
                }
        )
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Unreachable { .. } => Some(
                "see that the agent runs and that consul.address or CONSUL_HTTP_ADDR names it (http or https?)".to_owned(),
            ),
            Error::Late { .. } => Some(
                "its cluster may have no leader: see `consul operator raft list-peers` and the agent's log".to_owned(),
            ),
            Error::NoAnswer { .. } => {
                Some("kick again: hosts that have followed the manifest already do nothing more".to_owned())
            }
            Error::Denied { reason, token: true, .. } if reason.contains("ACL not found") => {
                Some("this cluster does not know the token: it was deleted, or belongs to another cluster".to_owned())
            }
            Error::Denied { rule, token: true, .. } => Some(format!("give the token's policy the rule: {rule}")),
            Error::Denied { rule, token: false, .. } => {
                Some(format!("no token was sent: set CONSUL_HTTP_TOKEN to one whose policy has the rule: {rule}"))
            }
            Error::Refused { status: 500, reason, .. } if reason.contains("No cluster leader") => Some(
                "most of its servers are down, or do not see each other: see `consul operator raft list-peers`".to_owned(),
            ),
            Error::Refused { status: 500, reason, .. } if reason.contains("datacenter") => {
                Some("see the names that `consul catalog datacenters` lists".to_owned())
            }
            Error::NotConsul { .. } => Some("consul.address or CONSUL_HTTP_ADDR names something else".to_owned()),
            Error::TooLong(sizes) => Some(sizes.hint()),
            _ => None,
        }
    }
}
