//! The process groups of a command: its own, and those that its descendants made for themselves, as timeout(1) and
//! setsid(1) do. The default manifest runs each hook under timeout, so without them a cancel would leave the hook behind.
//!
//! They are found in /proc. Not found is what lost its last ancestor below the command before anybody looked: a daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use rustix::process::{Pid, Signal, getpgrp, kill_process_group, test_kill_process_group};

/// A command's groups as far as they were seen.
pub(crate) struct Groups {
    command: i32,
    seen: BTreeSet<i32>,
}

impl Groups {
    /// Those of the command that leads the group of its own number.
    pub(crate) fn of(command: i32) -> Self {
        let mut groups = Self {
            command,
            seen: BTreeSet::from([command]),
        };
        groups.look();
        groups
    }

    /// Notes the groups that were made since.
    pub(crate) fn look(&mut self) {
        let ours = getpgrp().as_raw_nonzero().get();
        let table = table();
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for (pid, process) in &table {
            children.entry(process.parent).or_default().push(*pid);
        }
        let mut below = vec![self.command];
        while let Some(pid) = below.pop() {
            // To the kernel, minus one is no group but everybody.
            if let Some(process) = table.get(&pid)
                && process.group > 1
                && process.group != ours
            {
                self.seen.insert(process.group);
            }
            below.extend(children.remove(&pid).into_iter().flatten());
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        for group in self.seen.iter().copied().filter_map(Pid::from_raw) {
            // A group that is gone already is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Whether nothing is left of them. A group that is gone is forgotten: its number may become somebody else's.
    pub(crate) fn are_gone(&mut self) -> bool {
        self.seen.retain(|group| {
            Pid::from_raw(*group).is_some_and(|group| test_kill_process_group(group).is_ok())
        });
        self.seen.is_empty()
    }
}

struct Process {
    parent: i32,
    group: i32,
}

/// All processes that /proc shows; those that end while it is read are left out.
fn table() -> BTreeMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            Some((pid, parse_stat(&String::from_utf8_lossy(&stat))?))
        })
        .collect()
}

/// `pid (name) state ppid pgrp …`, where the name may hold blanks and parentheses.
fn parse_stat(stat: &str) -> Option<Process> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    let mut number = || fields.next()?.parse().ok();
    Some(Process {
        parent: number()?,
        group: number()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_process_is_read_whatever_its_name() {
        let process = parse_stat("12 (a) b (c) S 7 9 9 0 -1").unwrap();
        assert_eq!([process.parent, process.group], [7, 9]);
        assert!(parse_stat("12 (a) S 7").is_none());
    }
}
