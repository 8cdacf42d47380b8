//! A command, complete: nothing is added to it when it runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::presets::Environment;

/// A command, complete.
#[derive(Debug, Clone)]
pub(crate) struct ToolCommand {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) dir: PathBuf,
    /// The whole environment.
    pub(crate) env: Vec<(OsString, OsString)>,
}

impl ToolCommand {
    /// As it would be typed in a shell.
    pub(crate) fn shown(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words
            .map(|word| quoted(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A command as steps and tests run it: `sh -c`, without `-e`, as in a Makefile or a crontab. Of several lines the last
/// one decides; `set -e` is the writer's.
pub(crate) fn shell(command: &str, dir: &Path, env: Environment) -> ToolCommand {
    ToolCommand {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), command.into()],
        dir: dir.to_path_buf(),
        env: env.into_vec(),
    }
}
