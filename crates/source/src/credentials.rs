//! What authenticates against remotes, and which host keys are trusted. No value of a secret is ever printed from here.

use std::fmt;
use std::path::PathBuf;

use crate::remote::Remote;

/// A secret: its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value, for handing it to the transport.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A token for http(s) remotes, sent as HTTP basic authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The user name that goes with it (`x-access-token` for GitHub, `oauth2` for GitLab; many servers take any).
    pub username: String,
    /// The token.
    pub secret: Secret,
    /// The hosts it is sent to; empty: the hosts of the repository's own http(s) remotes, never those of submodules.
    pub hosts: Vec<String>,
}

impl Token {
    /// Whether it is meant for this remote.
    pub(crate) fn names(&self, remote: &Remote) -> bool {
        let host = remote.host().unwrap_or_default();
        matches!(remote, Remote::Http(_)) && self.hosts.iter().any(|known| known.eq_ignore_ascii_case(&host))
    }

    /// Whether it may be sent to this remote: never over an open network.
    pub(crate) fn is_for(&self, remote: &Remote) -> bool {
        self.names(remote) && remote.is_protected()
    }
}

/// What authenticates, and which host keys are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A token for http(s) remotes. Refused over plain http, except to a loopback address.
    pub token: Option<Token>,
    /// Private ssh key files without a passphrase (one with a passphrase belongs in the ssh-agent), tried in order.
    pub ssh_keys: Vec<PathBuf>,
    /// Whether the ssh-agent is asked.
    pub ssh_agent: bool,
    /// The known_hosts files; the first match decides. A host in none of them is refused.
    pub known_hosts: Vec<PathBuf>,
    /// Whether git's credential helpers (`git credential fill`, never prompting) are asked for http(s) remotes.
    pub helper: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let token = Token {
            username: "u".into(),
            secret: Secret::new("s3cr3t"),
            hosts: vec![],
        };
        let credentials = Credentials {
            token: Some(token),
            ..Credentials::default()
        };
        let shown = format!("{credentials:?} {credentials:#?}");
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}
