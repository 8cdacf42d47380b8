//! Starting what is measured: programs with a settled environment, as directly as can be.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

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
/// With the end of what it said, when it fails.
pub fn run(mut command: Command) {
    command.stdout(Stdio::null());
    ended_well(&mut command);
}

/// Runs it and returns what it printed, without the newline at the end.
///
/// # Panics
/// With the end of what it said beside that, when it fails.
pub fn printed(mut command: Command) -> String {
    let printed = ended_well(command.stdout(Stdio::piped()));
    String::from_utf8_lossy(&printed).trim_end().to_owned()
}

/// How many lines of what a failed program said are shown.
const TAIL: usize = 30;

/// Runs it and returns what it wrote to a piped standard output. What it says meanwhile is shown when it fails, after the command:
/// a script may be longer than what went wrong in it.
fn ended_well(command: &mut Command) -> Vec<u8> {
    command.stderr(Stdio::piped());
    let output = command
        .spawn()
        .and_then(Child::wait_with_output)
        .unwrap_or_else(|err| panic!("cannot run {command:?}: {err}"));
    if output.status.success() {
        return output.stdout;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
    panic!(
        "{command:?}\nended with {}; the last that it said:\n{}",
        output.status,
        if last.is_empty() { "(nothing)" } else { &last }
    );
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

/// The seconds that all ended children ran, theirs included.
pub fn children_cpu() -> f64 {
    // `cutime` and `cstime` are the 14th and 15th field after the program's name.
    times("self", 13)
}

/// The seconds that a process ran, its threads included.
pub fn cpu(pid: u32) -> f64 {
    times(&pid.to_string(), 11)
}

/// Two times of a process in succession, added.
fn times(process: &str, first: usize) -> f64 {
    /// Linux gives these times in hundredths, whatever the kernel's own clock.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    let stat = stat.unwrap_or_else(|err| panic!("cannot look at the process {process}: {err}"));
    // The program's name, in parentheses, may hold spaces.
    let (_, fields) = stat.rsplit_once(')').expect("the name stands in parentheses");
    let times = fields.split_whitespace().skip(first).take(2);
    times
        .map(|ticks| ticks.parse::<f64>().expect("a number") / TICKS)
        .sum()
}
