//! A command that is killed (kill -9) right before a system call that names a path. strace knows the calls by which a file gets
//! or loses its name: the product needs no hooks for that.

use std::collections::BTreeSet;
use std::fs;

use shipit_testbed::{Cmd, Ran};

use crate::project::{Project, binary};

/// The calls by which things take effect.
const CALLS: &str = "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat";

/// The paths that such calls name in a run to its end, in the order of the first call of each, as the program gave them:
/// relative to a directory that it holds open, maybe.
#[track_caller]
pub fn points(project: &Project, args: &[&str]) -> Vec<String> {
    let log = project.tmp.join("strace.log");
    let trace = format!("trace={CALLS}");
    let cmd = Cmd::new("strace").args(["-f", "-qq", "-s", "4096", "-e", &trace, "-o"]);
    let _ = project
        .surround(cmd.arg(&log).arg(binary()).args(args))
        .run()
        .ok();
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    fs::remove_file(&log).unwrap();
    let mut seen = BTreeSet::new();
    text.lines()
        .flat_map(paths_of)
        .filter(|path| seen.insert(path.clone()))
        .collect()
}

/// The quoted paths of a line of strace's, but those that it had to escape.
fn paths_of(line: &str) -> Vec<String> {
    // What failed changed nothing.
    if line.contains("= -1 ") {
        return Vec::new();
    }
    let quoted = line.split('"').skip(1).step_by(2);
    quoted
        .filter(|path| !path.is_empty() && !path.contains('\\'))
        .map(str::to_owned)
        .collect()
}

/// Runs the command up to the first such call that names one of these paths, and kills it there, before the call does anything.
/// Where a program that the command runs makes the call, it is that one that is killed.
pub fn killed_at(project: &Project, args: &[&str], paths: &[String]) -> Ran {
    let (trace, inject) = (format!("trace={CALLS}"), format!("inject={CALLS}:signal=KILL"));
    let mut cmd = Cmd::new("strace").args(["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject]);
    for path in paths {
        cmd = cmd.args(["-P", path]);
    }
    project.surround(cmd.arg(binary()).args(args)).run()
}
