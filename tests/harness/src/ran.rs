//! How a command ended, with the demands that a test makes on it. An outcome prints itself when it is not what was
//! wanted; the environment, which may hold secrets, is no part of that.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::procs::Proc;

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command's words, joined by spaces.
    pub words: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
    /// Whether it was killed for taking too long.
    pub timed_out: bool,
    /// What was still alive in its process group after it had ended; killed since.
    pub left_behind: Vec<Proc>,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Its exit code; `None` when a signal ended it.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output without the newline at its end.
    #[must_use]
    pub fn line(&self) -> String {
        self.out().trim_end_matches('\n').to_owned()
    }

    /// Demands exit code 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Demands this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(
            self.code() == Some(code) && !self.timed_out,
            "wanted exit code {code}\n{self}"
        );
        self
    }

    /// Demands this text in standard error.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.err().contains(text),
            "wanted {text:?} in standard error\n{self}"
        );
        self
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let limit = if self.timed_out {
            ", for it took too long"
        } else {
            ""
        };
        writeln!(
            f,
            "$ {}\n{}{limit}, after {:?}",
            self.words, self.status, self.took
        )?;
        writeln!(
            f,
            "--- stdout\n{}\n--- stderr\n{}",
            self.out().trim_end(),
            self.err().trim_end()
        )
    }
}
