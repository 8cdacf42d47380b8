//! Ends a step's process group when shipit itself is killed (`kill -9`, out of memory) and can no longer do so.
//!
//! The parent-death signal reaches a step's first process alone. The guard is a shell that waits on a pipe from us: the
//! pipe closes when we die, however we die, and then it ends the group: TERM, ten seconds, KILL. What has left the
//! group by then it does not know.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::{Child, Command, Stdio};

use crate::session;

/// The first line is the group; a second one says that the step is over.
const SCRIPT: &str = r#"
read -r group || exit 0
read -r over && exit 0
kill -s TERM -- "-$group" 2>/dev/null || exit 0
for i in 1 2 3 4 5 6 7 8 9 10; do
  sleep 1
  kill -s 0 -- "-$group" 2>/dev/null || exit 0
done
kill -s KILL -- "-$group" 2>/dev/null
"#;

/// The guard of one command.
pub(crate) struct Guard {
    child: Child,
}

impl Guard {
    /// Starts it, before the command that it is to guard.
    pub(crate) fn start(base_env: &[(OsString, OsString)]) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SCRIPT).arg("shipit-guard").current_dir("/");
        command
            .env_clear()
            .envs(base_env.iter().filter(|(name, _)| name == "PATH").cloned());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        session::in_own_session(&mut command, false);
        Ok(Self {
            child: command.spawn()?,
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Names the group to end.
    pub(crate) fn watch(&mut self, group: i32) -> io::Result<()> {
        match self.child.stdin.as_mut() {
            Some(pipe) => writeln!(pipe, "{group}"),
            None => Ok(()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Killed before its pipe closes, or it would take that for our death. Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn group(script: &str) -> Child {
        let mut command = Command::new("/bin/sh");
        command
            .arg("-c")
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        session::in_own_session(&mut command, true);
        command.spawn().unwrap()
    }

    #[test]
    fn the_group_is_ended_when_we_are_gone() {
        let _turn = crate::runner::turn();
        let path = [("PATH".into(), "/usr/bin:/bin".into())];
        let mut guard = Guard::start(&path).unwrap();
        let mut child = group("sleep 600 & wait");
        guard.watch(child.id().cast_signed()).unwrap();
        // As the kernel does it for a process that is killed.
        drop(guard.child.stdin.take());
        assert!(guard.child.wait().unwrap().success());
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        // Its background process held the pipe.
        assert_eq!(io::read_to_string(child.stdout.take().unwrap()).unwrap(), "");
    }

    #[test]
    fn a_group_that_outlives_its_guard_is_left_alone() {
        let _turn = crate::runner::turn();
        let mut guard = Guard::start(&[]).unwrap();
        let mut child = group("sleep 0.5; echo through");
        guard.watch(child.id().cast_signed()).unwrap();
        drop(guard);
        assert!(child.wait().unwrap().success());
        assert_eq!(
            io::read_to_string(child.stdout.take().unwrap()).unwrap(),
            "through\n"
        );
    }
}
