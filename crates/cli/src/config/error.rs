//! What can be wrong with a config, and how it is shown: the file, the line, the span underlined, what is right.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use super::names;

/// One thing that is wrong in the config, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// Bytes of the file that are underlined; `None` when the problem is the absence of something.
    pub span: Option<Range<usize>>,
    /// What stands under the underlined bytes.
    pub label: String,
    /// A second place that the problem is about, and what to say of it.
    pub also: Option<(Range<usize>, String)>,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem that underlines some bytes of the file.
    pub fn at(span: Range<usize>, message: impl Into<String>, label: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: Some(span),
            label: label.into(),
            also: None,
            help: None,
        }
    }

    /// A problem without a place: something is missing.
    pub fn missing(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span: None,
            label: String::new(),
            also: None,
            help: None,
        }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Shows a second place.
    #[must_use]
    pub fn also(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.also = Some((span, label.into()));
        self
    }
}

/// What is not wrong but probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The message, with the key.
    pub message: String,
    /// Line of the config, from 1.
    pub line: usize,
    /// What to do.
    pub help: String,
}

/// A config that does not check, with all that is wrong in it.
#[derive(Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The file as the user knows it.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
    /// Never empty; in the order of the file.
    pub problems: Vec<Problem>,
}

/// Why there is no settled config, or no value of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No config from the working directory upward.
    #[error("no shipit.toml in {} or any directory above it", cwd.display())]
    NotFound {
        /// Where the search began.
        cwd: PathBuf,
    },
    /// The file cannot be read.
    #[error("reading the config {} failed", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{0}")]
    Invalid(Box<Invalid>),
    /// The stage is in no table of the config.
    #[error("{} has no stage `{stage}`", file.display())]
    UnknownStage {
        /// The config.
        file: PathBuf,
        /// What was asked for.
        stage: String,
        /// Near names.
        nearest: Vec<String>,
        /// All names and patterns.
        known: Vec<String>,
    },
    /// The command needs a stage and none was named.
    #[error("{} has stages, and none was named", file.display())]
    NoStage {
        /// The config.
        file: PathBuf,
        /// All names and patterns.
        known: Vec<String>,
    },
    /// The stage's name cannot be one.
    #[error("`{stage}` cannot be a stage's name: {why}")]
    StageName {
        /// What was asked for.
        stage: String,
        /// What is wrong with it.
        why: String,
    },
    /// The role is in no table of the config.
    #[error("{} has no role `{role}`", file.display())]
    UnknownRole {
        /// The config.
        file: PathBuf,
        /// What was asked for.
        role: String,
        /// Near names.
        nearest: Vec<String>,
        /// All names.
        known: Vec<String>,
    },
    /// A table that the command needs is not there.
    #[error("{} has no [{table}] table, and this command needs it", file.display())]
    MissingTable {
        /// The config.
        file: PathBuf,
        /// The table.
        table: String,
        /// What it may look like.
        example: String,
    },
    /// A variable that a needed value comes from is not set.
    #[error("the environment variable {name} is not set, and {key} ({place}) takes its value from it")]
    MissingVariable {
        /// The dotted key.
        key: String,
        /// `file:line`.
        place: String,
        /// The variable.
        name: String,
    },
    /// A flag or a standard variable holds what its key does not take.
    #[error("{from} is not right: {why}")]
    Override {
        /// The flag or the variable.
        from: String,
        /// What is wrong.
        why: String,
    },
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => {
                Some("`shipit init` writes one; --config names one that lies elsewhere".to_owned())
            }
            Self::Read { .. } | Self::Invalid(_) | Self::Override { .. } => None,
            Self::UnknownStage { nearest, known, .. } if known.is_empty() => {
                let _ = nearest;
                Some("it has no [stage.*] table: leave --stage away, or add a table for the stage".to_owned())
            }
            Self::UnknownStage { nearest, known, .. } => Some(nearest_or_all("stages", nearest, known)),
            Self::NoStage { known, .. } => Some(format!("add --stage {}", names::one_of(known))),
            Self::StageName { .. } => Some(
                "letters, digits, `.`, `_` and `-`, starting with a letter or a digit, at most 64".to_owned(),
            ),
            Self::UnknownRole { nearest, known, .. } => Some(nearest_or_all("roles", nearest, known)),
            Self::MissingTable { example, .. } => Some(format!("add to it, for example:\n{example}")),
            Self::MissingVariable { name, .. } => {
                Some(format!("export {name} (in Jenkins: bind the credential to it)"))
            }
        }
    }
}

/// `did you mean …`, or what there is.
fn nearest_or_all(what: &str, nearest: &[String], known: &[String]) -> String {
    if nearest.is_empty() {
        if known.is_empty() {
            format!("it has no {what}")
        } else {
            format!("its {what}: {}", known.join(", "))
        }
    } else {
        format!("did you mean {}?", names::one_of(nearest))
    }
}

impl fmt::Debug for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the text: what is refused may be a secret that stands in it.
        f.debug_struct("Invalid")
            .field("file", &self.file)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(
            f,
            "{} has {count} error{}",
            self.file.display(),
            if count == 1 { "" } else { "s" }
        )
    }
}
