//! What one host says about one release, and the keys under which Consul has it.
//!
//! A report is written by the manifest's commands (a shell) or by `shipit apply`; both write the same keys and the same JSON.

use serde::{Deserialize, Serialize};

/// The largest report in bytes; larger ones are cut by who writes them.
pub const REPORT_LIMIT: usize = 1024;
/// The largest tail of a log in bytes.
pub const LOG_LIMIT: usize = 16 * 1024;

/// What a host said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Said {
    /// It works on the release.
    Started,
    /// The release is in service, its check passed.
    Succeeded,
    /// It failed.
    Failed,
}

/// The value of a report's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The kick that the host found in its ask, when the ask was for this release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kick: Option<String>,
    /// What the host said.
    pub state: Said,
    /// How far it was: `fetching`, `fetched`, `unpacked`, `switching`, …; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// When, in unix seconds of the host's clock.
    pub time: i64,
    /// The release that `current` names on the host; none where the layout has no `current`, or it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// Who wrote it: `stretcher`, `shipit 0.1.0`, `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    /// One line: why it failed, or the last line of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A report, where it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The node.
    pub node: String,
    /// The release.
    pub release: String,
    /// Grows with every write: a report with a greater one is newer. Consul's ModifyIndex; in a store, the kick's time
    /// and a number.
    pub index: u64,
    /// What it says.
    #[serde(flatten)]
    pub report: Report,
}

/// What a kick asked of a node: the value of an ask's key is `<kick id> <release>`, so that a shell reads it by `read`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The kick's id.
    pub kick: String,
    /// The release.
    pub release: String,
}

impl Asked {
    /// The value of the key.
    pub fn to_value(&self) -> String {
        format!("{} {}\n", self.kick, self.release)
    }

    /// Reads a value; none when it is no ask.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(kick), Some(release), None) => Some(Self {
                kick: kick.to_owned(),
                release: release.to_owned(),
            }),
            _ => None,
        }
    }
}

/// Where a role's hosts stand in Consul's key-value store.
#[derive(Debug, Clone, Copy)]
pub struct RoleKeys<'a> {
    /// The app.
    pub app: &'a str,
    /// The stage.
    pub stage: &'a str,
    /// The role; `<role>.once` for its `once` manifest.
    pub role: &'a str,
}

impl RoleKeys<'_> {
    /// `shipit/asks/<app>/<stage>/<role>/`.
    pub fn asks(&self) -> String {
        self.under("asks")
    }

    /// `shipit/reports/<app>/<stage>/<role>/`.
    pub fn reports(&self) -> String {
        self.under("reports")
    }

    /// `shipit/logs/<app>/<stage>/<role>/`.
    pub fn logs(&self) -> String {
        self.under("logs")
    }

    /// `shipit/asks/<app>/<stage>/<role>/<node>`.
    pub fn ask(&self, node: &str) -> String {
        format!("{}{node}", self.asks())
    }

    /// `shipit/reports/<app>/<stage>/<role>/<node>/<release>`.
    pub fn report(&self, node: &str, release: &str) -> String {
        format!("{}{node}/{release}", self.reports())
    }

    /// `shipit/logs/<app>/<stage>/<role>/<node>/<release>`.
    pub fn log(&self, node: &str, release: &str) -> String {
        format!("{}{node}/{release}", self.logs())
    }

    fn under(&self, area: &str) -> String {
        format!("shipit/{area}/{}/{}/{}/", self.app, self.stage, self.role)
    }
}

/// `shipit/locks/<app>/<stage>`.
pub fn lock_key(app: &str, stage: &str) -> String {
    format!("shipit/locks/{app}/{stage}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ask_is_one_line_for_a_shell() {
        let asked = Asked {
            kick: "20261121T134515Z-5e1f00aa".to_owned(),
            release: "20261121T134515Z-3074f46".to_owned(),
        };
        assert_eq!(Asked::parse(&asked.to_value()), Some(asked));
        assert_eq!(Asked::parse("one"), None);
        assert_eq!(Asked::parse("one two three"), None);
    }

    #[test]
    fn a_report_of_the_fewest_words_is_read() {
        let report: Report = serde_json::from_str(r#"{"state":"failed","time":1}"#).unwrap();
        assert_eq!(
            (report.state, report.kick, report.current),
            (Said::Failed, None, None)
        );
    }
}
