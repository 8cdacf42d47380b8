//! What hosts said in one kick: the names and the content of the objects beside `started.json`.
//!
//! `<node>.started.json`, `<node>.ended.json`, `<node>.log`; with `~once` after the node for what a role's `once` commands did. A
//! node's name stands percent-encoded, so that it is one part of a key whatever is in it.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::report::{LOG_LIMIT, Report, Said};

/// `~` is what parts the node from `once`. A leading dot is encoded besides: such names may be the store's own.
const NODE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// How a role's `once` manifest is called as a role.
const ONCE: &str = ".once";

/// What an object of a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Started,
    Ended,
    Log,
}

impl What {
    const ALL: [Self; 3] = [Self::Started, Self::Ended, Self::Log];

    /// Where a report of this state stands.
    pub(super) fn of(said: Said) -> Self {
        match said {
            Said::Started => Self::Started,
            Said::Succeeded | Said::Failed => Self::Ended,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Started => ".started.json",
            Self::Ended => ".ended.json",
            Self::Log => ".log",
        }
    }
}

/// One object of a host in a kick.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostFile {
    pub(super) node: String,
    pub(super) once: bool,
    pub(super) what: What,
}

impl HostFile {
    pub(super) fn name(&self) -> String {
        let encoded = utf8_percent_encode(&self.node, NODE).to_string();
        let node = match encoded.strip_prefix('.') {
            Some(rest) => format!("%2E{rest}"),
            None => encoded,
        };
        let once = if self.once { "~once" } else { "" };
        format!("{node}{once}{}", self.what.suffix())
    }

    /// Nothing for `started.json`, `ended.json` and whatever else lies there.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (node, what) = What::ALL
            .into_iter()
            .find_map(|what| Some((name.strip_suffix(what.suffix())?, what)))?;
        let (node, once) = match node.strip_suffix("~once") {
            Some(node) => (node, true),
            None => (node, false),
        };
        let node = percent_decode_str(node).decode_utf8().ok()?.into_owned();
        (!node.is_empty()).then_some(Self { node, once, what })
    }
}

/// The role whose kicks are meant, and whether it is its `once` commands that reported.
pub(super) fn role_and_once(role: &str) -> (&str, bool) {
    match role.strip_suffix(ONCE) {
        Some(role) => (role, true),
        None => (role, false),
    }
}

/// A report as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) release: String,
    /// The kick's time in microseconds and the report's number: greater than that of all reports before it.
    pub(super) index: u64,
    #[serde(flatten)]
    pub(super) report: Report,
}

/// The end of a log that is too long, from a line's begin on where there is one.
pub(super) fn tail(log: &str) -> &str {
    let Some(cut) = log.len().checked_sub(LOG_LIMIT).filter(|cut| *cut > 0) else {
        return log;
    };
    let cut = (cut..log.len())
        .find(|at| log.is_char_boundary(*at))
        .unwrap_or(log.len());
    let rest = &log[cut..];
    match rest.split_once('\n') {
        Some((_, lines)) if !lines.is_empty() => lines,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_node_has_a_name_of_its_own() {
        let nodes = [
            "web1",
            "web1.example.com",
            ".shipit-store",
            "a/b",
            "a%2Fb",
            "ops@h -p 22",
            "é",
            "web~once",
            "..",
        ];
        let mut names = Vec::new();
        for node in nodes {
            for once in [false, true] {
                for what in What::ALL {
                    let file = HostFile {
                        node: node.to_owned(),
                        once,
                        what,
                    };
                    let name = file.name();
                    assert!(!name.contains('/') && !name.starts_with('.'), "{name}");
                    assert_eq!(HostFile::parse(&name), Some(file));
                    names.push(name);
                }
            }
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.contains(&"web1.example.com.ended.json".to_owned()));
    }

    #[test]
    fn a_kicks_own_documents_are_no_hosts() {
        for name in ["started.json", "ended.json", ".log", "x", "%ff.log"] {
            assert_eq!(HostFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn of_a_long_log_the_end_is_kept() {
        assert_eq!(tail("short\n"), "short\n");
        let long = "é line\n".repeat(LOG_LIMIT / 4);
        let end = tail(&long);
        assert!(
            end.len() <= LOG_LIMIT && end.len() > LOG_LIMIT - 20,
            "{}",
            end.len()
        );
        assert!(end.starts_with("é line\n"), "{end:.20}");
        assert_eq!(tail(&"é".repeat(LOG_LIMIT)).len(), LOG_LIMIT);
    }

    #[test]
    fn the_once_commands_are_a_role_of_their_own() {
        assert_eq!(role_and_once("web"), ("web", false));
        assert_eq!(role_and_once("web.once"), ("web", true));
    }
}
