//! A command that was started: its output, its end, signals to its group.

use std::io::{self, PipeReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::command::ToolCommand;
use crate::output::Output;
use crate::processes::Family;
use crate::session;

/// The longest time that [`Running::pump`] waits.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// How long what is in the pipe may take to be read when somebody goes on writing.
const DRAIN: Duration = Duration::from_secs(5);

/// A command that was started.
pub(crate) struct Running {
    child: Child,
    /// Its output; `None` when no process holds the other end any more.
    pipe: Option<PipeReader>,
    pub(crate) family: Family,
}

impl Running {
    /// Starts `command`, which `guard` watches over.
    pub(crate) fn start(command: &ToolCommand, guard: i32) -> io::Result<Self> {
        let mut family = Family::before_step(guard);
        let (reader, writer) = io::pipe()?;
        let mut child = Command::new(&command.program);
        child.args(&command.args).current_dir(&command.dir);
        child
            .env_clear()
            .envs(command.env.iter().map(|(name, value)| (name, value)));
        child
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        session::in_own_session(&mut child, true);
        let started = child.spawn()?;
        // It holds the pipe's writing ends: else their end would never be seen.
        drop(child);
        family.leader = started.id().cast_signed();
        Ok(Self {
            child: started,
            pipe: Some(reader),
            family,
        })
    }

    /// Passes on what the command printed, waiting for it at most `patience`. Returns whether it printed.
    pub(crate) fn pump(&mut self, output: &mut Output<'_>, patience: Duration) -> io::Result<bool> {
        let Some(pipe) = &mut self.pipe else {
            thread::sleep(patience.min(Duration::from_millis(10)));
            return Ok(false);
        };
        let patience = Timespec {
            tv_sec: 0,
            tv_nsec: patience.min(TICK).subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&patience)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 64 * 1024];
        match pipe.read(&mut buffer)? {
            0 => {
                self.pipe = None;
                Ok(false)
            }
            length => output.write(&buffer[..length]).map(|()| true),
        }
    }

    /// Reads what is in the pipe, without waiting for those that may still hold its other end.
    pub(crate) fn drain(&mut self, output: &mut Output<'_>) -> io::Result<()> {
        let until = Instant::now() + DRAIN;
        while self.pipe.is_some() && Instant::now() < until {
            if !self.pump(output, Duration::ZERO)? && self.pipe.is_some() {
                break;
            }
        }
        self.pipe = None;
        Ok(())
    }

    /// How the leader ended, when it has. It stays a zombie: its number is still needed.
    pub(crate) fn ended(&self) -> io::Result<Option<WaitIdStatus>> {
        let Some(pid) = Pid::from_raw(self.family.leader) else {
            return Ok(None);
        };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(rustix::process::waitid(WaitId::Pid(pid), options)?)
    }

    pub(crate) fn signal_group(&self, signal: Signal) {
        // Fails when nothing of the group is left.
        let _ = Pid::from_raw(self.family.leader).map(|pid| rustix::process::kill_process_group(pid, signal));
    }
}

impl Drop for Running {
    /// Reaps the leader. It has ended by now, unless it cannot be ended, or whoever watched it panicked.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.signal_group(Signal::KILL);
        }
    }
}
