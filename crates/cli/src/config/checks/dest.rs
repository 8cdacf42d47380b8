//! The check of a role's directory: what a sync may delete must not be the hosts' own.

use super::{Checked, single_line, wrong};

/// Directories of hosts that no role may take over, for a sync deletes what the artifact does not hold.
const SYSTEM_DIRECTORIES: [&str; 33] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Directories of hosts below which no role may lie either.
const SYSTEM_TREES: [&str; 8] = [
    "/bin/",
    "/boot/",
    "/dev/",
    "/lib/",
    "/proc/",
    "/sbin/",
    "/sys/",
    "/usr/bin/",
];

/// The directory of a role: absolute, plain, and none of the system's.
pub(super) fn dest(text: &str) -> Checked {
    single_line(text)?;
    let Some(path) = text.strip_prefix('/') else {
        return wrong(
            "it must be an absolute path",
            Some(&format!(
                "write one like \"/srv/{}\"",
                text.trim_matches(['.', '/', '~'])
            )),
        );
    };
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return wrong(
            "it is the root of the hosts' file system",
            Some("give the app a directory like \"/srv/shop\""),
        );
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return wrong("a part of the path is empty, `.` or `..`", None);
    }
    let whole = format!("/{path}");
    if SYSTEM_DIRECTORIES.contains(&whole.as_str()) || SYSTEM_TREES.iter().any(|tree| whole.starts_with(tree))
    {
        return wrong(
            "it is a directory of the hosts' system",
            Some("give the app a directory of its own below it or in /srv"),
        );
    }
    Ok(())
}
