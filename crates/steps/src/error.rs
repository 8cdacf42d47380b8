//! What can go wrong in a step, typed. Exit codes are the cli's.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use shipit_artifact::{EntryPath, TreeError};

/// What kind of failure it is; the cli maps it to an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The step or the test failed, ran out of time, or does not find what it needs.
    Step,
    /// What the config asks of the step cannot be.
    Config,
    /// This machine's disk or permissions.
    Local,
    /// The cancel flag was set.
    Cancelled,
}

/// Why a step, a test or the preflight ended without its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something that the steps need is missing, or in the way. Nothing was run.
    #[error("the steps cannot run:{}", list(.0))]
    Preflight(Vec<Problem>),
    /// The command ended, and not with success.
    #[error("step `{step}` {end}")]
    Failed {
        /// The step or test.
        step: String,
        /// How it ended.
        end: End,
        /// Its whole output.
        log: PathBuf,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// The command ran longer than it may, and was ended.
    #[error("step `{step}` ran longer than its timeout of {}", seconds(.limit))]
    TimedOut {
        /// The step or test.
        step: String,
        /// The limit.
        limit: Duration,
        /// Its whole output.
        log: PathBuf,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// The command printed nothing for longer than it may, and was ended.
    #[error("step `{step}` printed nothing for {}", seconds(.limit))]
    Idle {
        /// The step or test.
        step: String,
        /// The limit.
        limit: Duration,
        /// Its whole output.
        log: PathBuf,
        /// The last lines of its output.
        tail: Vec<String>,
    },
    /// The cancel flag was set; the command and all that it started were ended.
    #[error("step `{step}` was cancelled")]
    Cancelled {
        /// The step or test.
        step: String,
    },
    /// The command could not be started.
    #[error("step `{step}`: cannot start `{program}` in {dir}", dir = dir.display())]
    Spawn {
        /// The step or test.
        step: String,
        /// The program.
        program: String,
        /// Where it was to run.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory that the step runs in is not there.
    #[error("step `{step}`: the directory {dir} is not in the tree", dir = dir.display())]
    MissingDir {
        /// The step or test.
        step: String,
        /// The directory.
        dir: PathBuf,
    },
    /// The step succeeded without making what it is to make.
    #[error("step `{step}` ended well, but did not make {path}")]
    MissingOutput {
        /// The step.
        step: String,
        /// What is missing, below the workspace's root.
        path: EntryPath,
    },
    /// A vendored symlink would point to nothing on a host.
    #[error("step `{step}`: the symlink {link} points out of the tree, to {target}")]
    LinkLeavesTree {
        /// The step.
        step: String,
        /// The link, below the workspace's root.
        link: String,
        /// What it points to.
        target: String,
    },
    /// What the step's spec says cannot be done.
    #[error("step `{step}`: {problem}")]
    Spec {
        /// The step or test.
        step: String,
        /// What cannot be done.
        problem: String,
    },
    /// Reading or writing a file of the workspace failed.
    #[error("step `{step}`: cannot {action} {path}", path = path.display())]
    Io {
        /// The step or test.
        step: String,
        /// What was being done: "write", "remove".
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The tree that the step would run in cannot be read.
    #[error("step `{step}`: cannot read the tree that it runs in")]
    Tree {
        /// The step.
        step: String,
        /// Why.
        source: TreeError,
    },
}

/// How a command ended that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// With an exit code.
    Code(i32),
    /// By a signal: its number, and its name where it has one.
    Signal(i32, Option<&'static str>),
}

impl End {
    /// What else is known of such an end.
    fn hint(&self) -> &'static str {
        match self {
            Self::Code(127) => {
                "; 127 is the shell's code for a command that is not on PATH: a step's environment is PATH, HOME, LANG \
                 and what its `env` lists"
            }
            Self::Signal(9, _) => {
                "; when nobody killed it, the machine may have run out of memory (see dmesg)"
            }
            _ => "",
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "failed with exit code {code}"),
            Self::Signal(_, Some(name)) => write!(f, "was killed by {name}"),
            Self::Signal(number, None) => write!(f, "was killed by signal {number}"),
        }
    }
}

/// One thing that keeps the steps from running, found by [`preflight`](crate::preflight).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A program is not on the step's PATH.
    MissingTool {
        /// The step.
        step: String,
        /// The program.
        program: String,
        /// What brings it, in words.
        install: String,
    },
    /// A program is there, but did not tell its version.
    BrokenTool {
        /// The step.
        step: String,
        /// The program.
        program: String,
        /// The command line that asked for it, with the program's file on the step's PATH.
        asked: String,
        /// What it did instead: "printed nothing".
        reason: String,
    },
    /// No lockfile, or another file that the tool needs, in the step's directory.
    MissingLockfile {
        /// The step.
        step: String,
        /// The names that would do, below the workspace's root.
        any_of: Vec<String>,
        /// How to make it.
        make: String,
    },
    /// The step's directory is not in the tree.
    MissingDir {
        /// The step.
        step: String,
        /// The directory.
        dir: EntryPath,
    },
    /// git tracks files where the step vendors.
    VendoredTracked {
        /// The step.
        step: String,
        /// The vendored path.
        vendored: EntryPath,
        /// The first of the tracked files.
        files: Vec<EntryPath>,
        /// How many there are in all.
        count: usize,
    },
    /// Two steps vendor into one path.
    VendoredTwice {
        /// The later step.
        step: String,
        /// The earlier one.
        other: String,
        /// The path.
        vendored: EntryPath,
    },
    /// What the step's spec says cannot be done.
    Spec {
        /// The step.
        step: String,
        /// What, and what to do.
        problem: String,
    },
}

impl Problem {
    /// Whether the config alone is wrong, whatever is in the tree or on the machine.
    fn is_of_config(&self) -> bool {
        matches!(self, Self::Spec { .. } | Self::VendoredTwice { .. })
    }

    fn is_of_a_tool(&self) -> bool {
        matches!(self, Self::BrokenTool { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingTool {
                step,
                program,
                install,
            } => {
                write!(f, "step `{step}`: `{program}` is not on its PATH; {install}")
            }
            Self::BrokenTool {
                step,
                program,
                asked,
                reason,
            } => {
                write!(
                    f,
                    "step `{step}`: `{program}` does not work: asked for its version, it {reason} (asked by: {asked})"
                )
            }
            Self::MissingLockfile { step, any_of, make } => {
                write!(
                    f,
                    "step `{step}`: {} is not in the tree; {make}",
                    any_of.join(" or ")
                )
            }
            Self::MissingDir { step, dir } => {
                write!(f, "step `{step}`: the directory {dir} is not in the tree")
            }
            Self::VendoredTracked {
                step,
                vendored,
                files,
                count,
            } => {
                let named: Vec<_> = files.iter().map(ToString::to_string).collect();
                let more = if *count > files.len() {
                    format!(" and {} more", count - files.len())
                } else {
                    String::new()
                };
                write!(
                    f,
                    "step `{step}` vendors into {vendored}, where git tracks {}{more}; remove them from the \
                     repository, or set `layer = false` on the step",
                    named.join(", ")
                )
            }
            Self::VendoredTwice {
                step,
                other,
                vendored,
            } => {
                write!(
                    f,
                    "step `{step}` vendors into {vendored}, as step `{other}` does before it"
                )
            }
            Self::Spec { step, problem } => write!(f, "step `{step}`: {problem}"),
        }
    }
}

fn list(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  - {problem}"))
        .collect()
}

fn seconds(limit: &Duration) -> String {
    format!("{} s", limit.as_secs_f64())
}

impl Error {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::Io { .. } | Self::Tree { .. } => ErrorKind::Local,
            Self::Spec { .. } => ErrorKind::Config,
            Self::Preflight(problems) if problems.iter().all(Problem::is_of_config) => ErrorKind::Config,
            _ => ErrorKind::Step,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Failed { log, end, .. } => {
                let log = log.display();
                Some(format!("the whole output is in {log}{}", end.hint()))
            }
            Self::TimedOut { log, .. } => Some(format!(
                "the whole output is in {}; if the step needs more time, set its `timeout`",
                log.display()
            )),
            Self::Idle { log, .. } => Some(format!(
                "the whole output is in {}; it may have waited for an answer (there is no standard input); if it \
                 is silent by nature, set its `idle_timeout`",
                log.display()
            )),
            Self::Preflight(problems) if problems.iter().any(Problem::is_of_a_tool) => Some(
                "run that command line as the user that builds, with the PATH and the HOME of this run and what the \
                 step's `env` lists: it must print a version"
                    .to_owned(),
            ),
            Self::Spawn { .. } => Some("see that the program is on the step's PATH".to_owned()),
            Self::MissingOutput { .. } => Some("correct the step's `outputs`, or its command".to_owned()),
            Self::LinkLeavesTree { .. } => {
                Some("make the dependency a part of the repository, or take it from a registry".to_owned())
            }
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
                    "free some space on the disk that {} is on, then run it again",
                    path.display()
                )),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(format!(
                    "see whose {} is, and who may write there",
                    path.display()
                )),
                _ => None,
            },
            _ => None,
        }
    }

    /// The last lines of the command's output, where there is a command.
    #[must_use]
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. } | Self::TimedOut { tail, .. } | Self::Idle { tail, .. } => tail,
            _ => &[],
        }
    }
}
