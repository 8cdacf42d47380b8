//! How kicks go: waves, the lock, reports, notices; and what `prune` leaves.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::{Transport, pairs};
use crate::config::{Batch, Setting, Span};

/// `[kick]`: how hosts are told and followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kick {
    /// The transport of roles that do not name one.
    pub transport: Transport,
    /// How the kicks of roles go that do not say otherwise; a role has its own in [`Role::waves`](super::Role::waves).
    #[serde(flatten)]
    pub waves: Waves,
    /// How long to wait for the stage's lock; zero for not at all.
    pub lock_wait: Span,
    /// Whether a kick of a whole role that failed is followed by a rollback.
    pub rollback_on_failure: bool,
    /// What must be good between two waves.
    pub wave_check: Option<WaveCheck>,
}

/// How a role's hosts are told one part after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Waves {
    /// The longest that one wave may take.
    pub timeout: Span,
    /// How many hosts a wave has; `None` for all.
    pub batch: Option<Batch>,
    /// How long to wait between two waves.
    pub pause: Span,
    /// How many hosts may fail or stay silent in one kick.
    pub max_failures: u32,
}

/// What must be good between two waves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WaveCheck {
    /// A URL that answers with 2xx within 10 seconds.
    Url(String),
    /// A command for `sh -c`.
    Command(String),
}

/// `[report]`: how hosts report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What a manifest's commands report with.
    pub with: ReportWith,
    /// The category of consul-kv-dashboard's keys; `None` for none.
    pub dashboard: Option<String>,
}

/// What a manifest's commands report with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportWith {
    /// curl.
    Curl,
    /// `consul kv put`.
    Consul,
    /// Nothing: they do not report.
    Off,
}

/// One `[[notify]]`: who is told how a kick ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// To whom.
    #[serde(flatten)]
    pub to: NotifyTo,
    /// Which kicks it is about; never empty.
    pub on: Vec<Outcome>,
}

/// Where a notice goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotifyTo {
    /// An incoming webhook as Slack has them.
    Slack(Setting),
    /// A URL that gets the summary as JSON.
    Webhook {
        /// The URL.
        url: Setting,
        /// Headers of the request, by name.
        headers: Vec<(String, Setting)>,
    },
    /// A command for `sh -c` with the summary on its standard input.
    Command(String),
}

/// How a kick ended, for notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All hosts succeeded, or it was not followed.
    Success,
    /// It did not succeed, or was stopped.
    Failure,
}

/// `[prune]`: what `shipit prune` leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Prune {
    /// How many releases of each role a stage keeps.
    pub keep: u32,
}

/// The hosts of a role that are expected to report, where the config says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Hosts {
    /// These nodes.
    Named(Vec<String>),
    /// So many.
    Count(u32),
}

impl WaveCheck {
    /// A text that starts like a URL and is one word is one; all else is a command.
    pub fn of(text: &str) -> Self {
        let trimmed = text.trim();
        let url = ["http://", "https://"]
            .iter()
            .any(|scheme| trimmed.starts_with(scheme));
        if url && !trimmed.contains(char::is_whitespace) {
            Self::Url(trimmed.to_owned())
        } else {
            Self::Command(text.to_owned())
        }
    }
}

impl FromStr for WaveCheck {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Err("it is empty: write a URL or a command".to_owned());
        }
        Ok(Self::of(text))
    }
}

impl fmt::Display for WaveCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(text) | Self::Command(text) => f.write_str(text),
        }
    }
}

impl Serialize for WaveCheck {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for NotifyTo {
    /// With the config's own keys.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Slack(url) => map.serialize_entry("slack", url)?,
            Self::Webhook { url, headers } => {
                map.serialize_entry("webhook", url)?;
                map.serialize_entry("headers", &Pairs(headers))?;
            }
            Self::Command(command) => map.serialize_entry("command", command)?,
        }
        map.end()
    }
}

/// Pairs as a map.
struct Pairs<'a>(&'a [(String, Setting)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        pairs(self.0, serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::WaveCheck;

    #[test]
    fn a_check_is_a_url_or_a_command() {
        let url = |text: &str| matches!(WaveCheck::of(text), WaveCheck::Url(_));
        assert!(url("https://shop.example.com/health?deep=1"));
        assert!(url(" http://127.0.0.1:8080 "));
        assert!(!url("curl -f https://shop.example.com"));
        assert!(!url("https://x y"));
        assert!("  ".parse::<WaveCheck>().is_err());
    }
}
