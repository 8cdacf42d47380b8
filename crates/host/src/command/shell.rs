//! Where the shell of the manifest's commands lies.
//!
//! The standard library looks along the PATH that a command is given only in a copy of the process, and to copy a large one takes
//! milliseconds; a program that is named by its path is started without.

use std::env::split_paths;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use rustix::fs::{Access, access};

/// The `sh` that the environment's PATH leads to; its bare name where it leads to none, for an error that says so.
pub(super) fn shell(environment: &[(OsString, OsString)]) -> PathBuf {
    // Of a name that is there twice the last counts, as it does for the command.
    let path = environment.iter().rev().find(|(name, _)| name == "PATH");
    let found = path.and_then(|(_, path)| along(path));
    found.unwrap_or_else(|| "sh".into())
}

fn along(path: &OsStr) -> Option<PathBuf> {
    split_paths(path)
        // What is relative depends on where the command runs.
        .take_while(|dir| dir.is_absolute())
        .map(|dir| dir.join("sh"))
        .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_that_can_be_run_counts() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (name, mode) in [("a", 0o644), ("b", 0o755), ("c", 0o755)] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("sh"), "").unwrap();
            fs::set_permissions(at(name).join("sh"), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir_all(at("d/sh")).unwrap();
        let shell = |names: &[&str]| {
            let path = std::env::join_paths(names.iter().map(|name| at(name))).unwrap();
            shell(&[("PATH".into(), path)])
        };
        assert_eq!(shell(&["missing", "a", "d", "b", "c"]), at("b/sh"));
        assert_eq!(shell(&["c", "b"]), at("c/sh"));
        assert_eq!(shell(&["a", "d"]), PathBuf::from("sh"));
    }

    #[test]
    fn what_is_looked_up_where_the_command_runs_is_left_to_it() {
        let path = |path: &str| shell(&[("PATH".into(), path.into())]);
        assert_eq!(path("bin:/usr/bin:/bin"), PathBuf::from("sh"));
        assert_eq!(path(""), PathBuf::from("sh"));
        assert_eq!(shell(&[]), PathBuf::from("sh"));
    }
}
