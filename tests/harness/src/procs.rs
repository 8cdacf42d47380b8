//! Looking at the machine's processes through /proc: who is in a group, who carries a mark in its environment.
//! Signals nobody.

use std::fs;

/// A process that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proc {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its command line, words joined by spaces; the short name in brackets when it has none.
    pub command: String,
}

/// All processes but zombies.
#[must_use]
pub fn all() -> Vec<Proc> {
    let entries = fs::read_dir("/proc").expect("/proc is not mounted");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(look).collect()
}

/// The processes of a process group.
#[must_use]
pub fn in_group(group: u32) -> Vec<Proc> {
    all()
        .into_iter()
        .filter(|process| process.group == group)
        .collect()
}

/// The processes that were started with `name=value` in their environment: a mark given to a command is
/// inherited by all that it starts, whatever group, session or parent those have moved to.
#[must_use]
pub fn marked(name: &str, value: &str) -> Vec<Proc> {
    let mark = format!("{name}={value}").into_bytes();
    let has_mark = |process: &Proc| {
        let environ = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|pair| pair == mark)
    };
    all().into_iter().filter(has_mark).collect()
}

/// Whether the process is there and no zombie.
#[must_use]
pub fn alive(pid: u32) -> bool {
    look(pid).is_some()
}

fn look(pid: u32) -> Option<Proc> {
    // `pid (name) state ppid pgrp …`, where the name may hold spaces and brackets.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let mut words = tail.split(' ');
    if matches!(words.next()?, "Z" | "X") {
        return None;
    }
    let parent = words.next()?.parse().ok()?;
    let group = words.next()?.parse().ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line)
        .trim_end_matches('\0')
        .replace('\0', " ");
    let name = head.split_once('(').map_or("", |(_, name)| name);
    let command = if line.is_empty() {
        format!("[{name}]")
    } else {
        line
    };
    Some(Proc {
        pid,
        parent,
        group,
        command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    #[test]
    fn sees_itself() {
        let me = process::id();
        assert!(alive(me));
        let found = all().into_iter().find(|found| found.pid == me).unwrap();
        assert!(in_group(found.group).contains(&found));
    }
}
