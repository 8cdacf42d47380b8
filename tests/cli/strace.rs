//! A command that is killed (kill -9) right before a system call that names a path. strace knows the calls by which a file gets
//! or loses its name: the product needs no hooks for that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use shipit_testbed::{Cmd, Ran};

use crate::project::{Project, binary};

/// The calls by which things take effect.
const CALLS: &str = "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat";

/// A call to be killed at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The path that it names, as the program gave it: relative to a directory that it holds open, maybe. Of several, the
    /// first that is named counts.
    pub paths: Vec<String>,
    /// For the target of a `rename`, which strace does not find by its path: which rename of its thread it is.
    nth: Option<u32>,
}

impl Point {
    /// The first call that names one of these.
    pub fn at(paths: Vec<String>) -> Self {
        Point { paths, nth: None }
    }
}

/// The points of a run to its end, in the order of their calls.
#[track_caller]
pub fn points(project: &Project, args: &[&str]) -> Vec<Point> {
    let log = project.tmp.join("strace.log");
    let trace = format!("trace={CALLS}");
    let cmd = Cmd::new("strace").args(["-f", "-qq", "-s", "4096", "-e", &trace, "-o"]);
    let _ = project
        .surround(cmd.arg(&log).arg(binary()).args(args))
        .run()
        .ok();
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
    fs::remove_file(&log).unwrap();
    let (mut renames, mut reached, mut seen) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((thread, call, paths)) = parsed(line) else {
            continue;
        };
        if call == "rename" {
            let count = renames.entry(thread.to_owned()).or_insert(0);
            *count += 1;
            // A thread that comes to its own rename of that number earlier would be the one that is killed.
            if reached.insert(*count) {
                found.extend(paths.last().map(|path| Point {
                    paths: vec![path.clone()],
                    nth: Some(*count),
                }));
            }
        } else if !line.contains("= -1 ") {
            let new = paths.into_iter().filter(|path| seen.insert(path.clone()));
            found.extend(new.map(|path| Point::at(vec![path])));
        }
    }
    found
}

/// A line of strace's: the thread, the call, and the paths that it could print as they are.
fn parsed(line: &str) -> Option<(&str, &str, Vec<String>)> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, arguments) = rest.trim_start().split_once('(')?;
    let quoted = arguments.split('"').skip(1).step_by(2);
    let paths = quoted.filter(|path| !path.is_empty() && !path.contains('\\'));
    Some((thread, call, paths.map(str::to_owned).collect()))
}

/// Runs the command up to the first call at this point, and kills it there, before the call does anything. Where a program that
/// the command runs makes the call, it is that one that is killed.
pub fn killed_at(project: &Project, args: &[&str], point: &Point) -> Ran {
    let cmd = Cmd::new("strace").args(["-f", "-qq", "-o", "/dev/null"]);
    let cmd = match point.nth {
        Some(nth) => cmd.args([
            "-e",
            "trace=rename",
            "-e",
            &format!("inject=rename:signal=KILL:when={nth}"),
        ]),
        None => cmd
            .args(["-e", &format!("trace={CALLS}")])
            .args(["-e", &format!("inject={CALLS}:signal=KILL")])
            .args(point.paths.iter().flat_map(|path| ["-P", path])),
    };
    project.surround(cmd.arg(binary()).args(args)).run()
}
