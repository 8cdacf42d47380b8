//! Errors as the user meets them: a kind, which decides the exit code, the chain of causes, and hints beside it. The one table
//! from kinds to exit codes is here; docs/exit-codes.md says the same, and a test compares the two.

mod from;
mod locks;

use std::error::Error as StdError;

pub use from::config;
pub use locks::{held_by, locked, lost, stage_locked};
pub use shipit_artifact::with_causes as chain;

use crate::interrupt::Asked;

/// What went wrong, as far as the exit code tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A fault of shipit itself.
    Internal,
    /// Bad usage or config.
    Usage,
    /// Repository or revision not to be had.
    Source,
    /// A step or a build test failed or ran out of time.
    Step,
    /// The store is not reachable, denies, or its content is not what it should be.
    Store,
    /// Consul is not reachable, denies, or the event was refused.
    Consul,
    /// Hosts failed or did not report in time.
    Hosts,
    /// Locked by another deploy, or the lock was lost.
    Locked,
    /// On a host: a manifest's command failed.
    Command,
    /// Local disk or permission.
    Disk,
    /// A verification found a difference.
    Verification,
    /// Refused by a safety rule.
    Refused,
    /// SIGINT.
    Interrupted,
    /// SIGTERM or SIGHUP.
    Terminated,
}

impl Kind {
    /// Every kind, in the order of the codes.
    #[cfg(test)]
    const ALL: [Kind; 14] = [
        Kind::Internal,
        Kind::Usage,
        Kind::Source,
        Kind::Step,
        Kind::Store,
        Kind::Consul,
        Kind::Hosts,
        Kind::Locked,
        Kind::Command,
        Kind::Disk,
        Kind::Verification,
        Kind::Refused,
        Kind::Interrupted,
        Kind::Terminated,
    ];

    /// The exit code and what it means: the table of docs/exit-codes.md.
    pub const fn row(self) -> (u8, &'static str) {
        match self {
            Kind::Internal => (1, "a fault of shipit itself"),
            Kind::Usage => (2, "bad usage or config"),
            Kind::Source => (3, "source: repository or revision not to be had"),
            Kind::Step => (4, "a step or a build test failed or ran out of time"),
            Kind::Store => (
                5,
                "store: not reachable, denied, or its content is not what it should be",
            ),
            Kind::Consul => (6, "Consul: not reachable, denied, or the event was refused"),
            Kind::Hosts => (7, "hosts failed or did not report in time"),
            Kind::Locked => (8, "locked by another deploy, or the lock was lost"),
            Kind::Command => (9, "on a host: a manifest's command failed"),
            Kind::Disk => (10, "local disk or permission"),
            Kind::Verification => (11, "a verification found a difference"),
            Kind::Refused => (12, "refused by a safety rule"),
            Kind::Interrupted => (130, "interrupted (SIGINT)"),
            Kind::Terminated => (143, "terminated (SIGTERM, SIGHUP)"),
        }
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub struct CliError {
    kind: Kind,
    message: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hints: Vec<String>,
    rendered: Option<String>,
    begun: bool,
}

/// What commands return.
pub type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    /// An error that starts here.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        CliError {
            kind,
            message: Some(message.into()),
            source: None,
            hints: Vec::new(),
            rendered: None,
            begun: false,
        }
    }

    /// An error of a library, which says for itself what was being done to what.
    pub fn from_source(kind: Kind, source: impl StdError + Send + Sync + 'static) -> Self {
        CliError {
            kind,
            message: None,
            source: Some(Box::new(source)),
            hints: Vec::new(),
            rendered: None,
            begun: false,
        }
    }

    /// An error whose text is laid out already (a config file with the span underlined).
    pub fn rendered(kind: Kind, text: String) -> Self {
        CliError {
            kind,
            message: None,
            source: None,
            hints: Vec::new(),
            rendered: Some(text),
            begun: false,
        }
    }

    /// The process was asked to stop.
    pub fn stopped(asked: Asked) -> Self {
        let kind = if asked.code == Kind::Interrupted.row().0 {
            Kind::Interrupted
        } else {
            Kind::Terminated
        };
        CliError::new(
            kind,
            format!(
                "stopped by {}; nothing half-written was left, and it can be run again",
                asked.name
            ),
        )
    }

    /// Local file trouble: what was being done, and the cause.
    pub fn disk(doing: impl Into<String>, source: std::io::Error) -> Self {
        CliError::from_source(Kind::Disk, source).context(doing)
    }

    /// Says above the cause what was being done, to what.
    #[must_use]
    pub fn context(mut self, doing: impl Into<String>) -> Self {
        self.message = Some(match self.message.take() {
            None => doing.into(),
            Some(message) => format!("{}: {message}", doing.into()),
        });
        self
    }

    /// Makes it one of another kind: what is said above it is what counts.
    #[must_use]
    pub fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Hosts may have been told before: to run the command again is not what nobody has to think about.
    #[must_use]
    pub fn begun(mut self) -> Self {
        self.begun = true;
        self
    }

    /// Whether hosts may have been told before.
    pub fn is_begun(&self) -> bool {
        self.begun
    }

    /// What to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// As `hint`, where there may be none.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.kind.row().0
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Text that replaces the chain, where there is one.
    pub fn rendered_text(&self) -> Option<&str> {
        self.rendered.as_deref()
    }

    /// The hints, in order.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The causes, the outermost first.
    pub fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let first = self
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static));
        std::iter::successors(first, |&error| error.source())
    }

    /// The message, then each cause below it; a cause that the one above repeats word for word is left out.
    pub fn chain(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.message.iter().cloned().collect();
        let mut cause: Option<&(dyn StdError + 'static)> = match &self.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        };
        while let Some(error) = cause {
            let text = error.to_string();
            if !text.is_empty() && lines.last().is_none_or(|last| !last.ends_with(&text)) {
                lines.push(text);
            }
            cause = error.source();
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_this_one() {
        let docs = include_str!("../../../../docs/exit-codes.md");
        let documented: Vec<(u8, String)> = docs
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix("| ")?.split(" | ");
                let code = cells.next()?.trim().parse().ok()?;
                Some((code, cells.next()?.trim_end_matches('|').trim().to_owned()))
            })
            .collect();
        let mut expected = vec![(0, "done".to_owned())];
        expected.extend(
            Kind::ALL
                .iter()
                .map(|kind| (kind.row().0, kind.row().1.to_owned())),
        );
        assert_eq!(documented, expected);
    }

    #[test]
    fn a_cause_that_repeats_the_line_above_is_left_out() {
        let cause = std::io::Error::other("no space left");
        let error = CliError::from_source(Kind::Disk, cause).context("writing x: no space left");
        assert_eq!(error.chain(), ["writing x: no space left"]);
    }
}
