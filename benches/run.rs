//! Starting what is measured: programs with a settled environment, as directly as can be.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use shipit_testbed::{Testbed, git_env};

/// A program with the testbed's PATH, a fixed locale, and git kept away from the user's configuration.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command
        .env_clear()
        .env("PATH", Testbed::get().path())
        .env("LANG", "C.UTF-8")
        .envs(git_env())
        .stdin(Stdio::null());
    command
}

/// A shell pipeline, each part of which must end well. What is in capitals in `script` comes from `values`, as
/// variables: no path is quoted into the text.
pub fn pipeline(script: &str, values: &[(&str, &OsStr)]) -> Command {
    let mut command = program("bash");
    command.args(["-c", &format!("set -euo pipefail; {script}")]);
    command.envs(values.iter().copied());
    command
}

/// Runs it to its end with its output thrown away.
///
/// # Panics
/// With what it said, when it fails.
pub fn run(mut command: Command) {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let output = command
        .output()
        .unwrap_or_else(|err| panic!("cannot start {command:?}: {err}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs it and returns what it printed, without the newline at the end.
pub fn printed(mut command: Command) -> String {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|err| panic!("cannot start {command:?}: {err}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// git in a bare repository.
pub fn git(repository: &Path, args: &[&str]) -> Command {
    let mut command = program("git");
    // Neither side may be slowed by a repacking that an earlier one left running.
    command
        .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .arg("--git-dir")
        .arg(repository)
        .args(args);
    command
}

/// Waits until what was written so far is on disk, so that a side pays for no writing but its own.
pub fn settle() {
    rustix::fs::sync();
}
