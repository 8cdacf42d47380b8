//! The processes that a step started, found in /proc: its group, and what left it and was then adopted by us.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use rustix::process::{Pid, Signal, WaitOptions};

/// Makes this process adopt the orphans of its descendants, so that a daemon which a step leaves is found, ended and
/// named. It holds for the whole process, and is undone by nothing but its end; the cli calls it once, before the first
/// step. Without it only a step's own process group is ended.
///
/// # Errors
/// When the kernel refuses, which is not known to happen on Linux.
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// One line of the process table.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    parent: i32,
    pub(crate) group: i32,
    zombie: bool,
    name: String,
}

impl Process {
    /// Its command line; its name when it has none.
    pub(crate) fn command(&self) -> String {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words: Vec<_> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).escape_debug().to_string())
            .collect();
        let text = words.join(" ");
        let text = text.trim();
        if text.is_empty() {
            return self.name.clone();
        }
        text.chars().take(200).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Fails when it is gone, which is what is wanted, or when it is another user's: the caller looks again.
        let _ = Pid::from_raw(self.pid).map(|pid| rustix::process::kill_process(pid, signal));
    }
}

/// What tells a step's processes from others in the table.
pub(crate) struct Family {
    us: i32,
    our_group: i32,
    /// Our direct children that are not the step's: those from before it, and its guard.
    others: BTreeSet<i32>,
    /// The step's first process, which leads its group.
    pub(crate) leader: i32,
}

impl Family {
    /// Taken before the step's first process starts, which is then set as `leader`.
    pub(crate) fn before_step(guard: i32) -> Self {
        let us = rustix::process::getpid().as_raw_nonzero().get();
        let our_group = rustix::process::getpgrp().as_raw_nonzero().get();
        let mut others: BTreeSet<i32> = table()
            .values()
            .filter(|p| p.parent == us)
            .map(|p| p.pid)
            .collect();
        others.insert(guard);
        Self {
            us,
            our_group,
            others,
            leader: 0,
        }
    }

    /// The living processes of the step besides its leader: its group, those adopted by us, and all below them. Reaps
    /// the adopted that have ended.
    ///
    /// A direct child that another thread of ours starts meanwhile is not taken for the step's as long as it stays in
    /// our own process group, where no descendant of a step can be: it has a session of its own.
    pub(crate) fn living(&self) -> Vec<Process> {
        let table = table();
        let mut children: BTreeMap<i32, Vec<&Process>> = BTreeMap::new();
        for process in table.values() {
            children.entry(process.parent).or_default().push(process);
        }
        let mut found: Vec<&Process> = table.values().filter(|process| self.owns(process)).collect();
        let mut seen: BTreeSet<i32> = found.iter().map(|process| process.pid).collect();
        let mut next = 0;
        while let Some(process) = found.get(next) {
            for child in children.get(&process.pid).into_iter().flatten() {
                if child.pid != self.leader && seen.insert(child.pid) {
                    found.push(child);
                }
            }
            next += 1;
        }
        for process in &found {
            if process.zombie && process.parent == self.us {
                reap(process.pid);
            }
        }
        found
            .into_iter()
            .filter(|process| !process.zombie)
            .cloned()
            .collect()
    }

    fn owns(&self, process: &Process) -> bool {
        let adopted = process.parent == self.us
            && process.group != self.our_group
            && !self.others.contains(&process.pid);
        process.pid != self.leader && (process.group == self.leader || adopted)
    }
}

fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Fails when it was reaped already.
        let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// All processes that /proc shows; those that end while it is read are left out.
fn table() -> BTreeMap<i32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse_stat(pid, &String::from_utf8_lossy(&stat))?))
        })
        .collect()
}

/// `pid (name) state ppid pgrp …`, where the name may hold blanks and parentheses.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    Some(Process {
        pid,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        zombie: matches!(state, "Z" | "X"),
        name: name.escape_debug().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_be_named_anything() {
        let process = parse_stat(7, "7 (a) b (c)) S 1 5 5 0 -1").unwrap();
        assert_eq!(
            (process.name.as_str(), process.parent, process.group),
            ("a) b (c)", 1, 5)
        );
        assert!(!process.zombie);
        assert!(parse_stat(7, "7 (x) Z 1 5 5").unwrap().zombie);
        assert!(parse_stat(7, "garbage").is_none());
    }

    #[test]
    fn the_table_knows_us() {
        let us = i32::try_from(std::process::id()).unwrap();
        let table = table();
        assert!(table[&us].command().contains("steps"));
        assert_eq!(
            table[&us].group,
            rustix::process::getpgrp().as_raw_nonzero().get()
        );
    }
}
