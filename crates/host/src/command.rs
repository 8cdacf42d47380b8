//! Runs the manifest's commands as stretcher does: each by `sh -c`, in the caller's directory, with its environment.
//!
//! Each command has a process group of its own; cancelling ends it, and those of its descendants (TERM, then KILL). What a command leaves in the
//! background is left alone when it ends by itself; that such a process holds the output open delays nothing.
//! Not done here: timeouts, which stretcher has none of (a manifest's own commands use timeout(1)).

mod shell;

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::error::Error;
use crate::event::{Event, Phase, Stream};
use crate::groups::Groups;
use crate::log::Recorder;
use crate::mask::Mask;
use shell::shell;

/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is still read after the command ended, when something else holds it open.
const DRAIN: Duration = Duration::from_millis(500);
/// The longest time in which a cancel is not seen.
const TICK: Duration = Duration::from_millis(50);
/// How much of a failed command's output goes into its error, in bytes.
const TAIL: usize = 4096;

/// Runs commands.
pub(crate) struct Runner<'a> {
    pub(crate) environment: &'a [(OsString, OsString)],
    pub(crate) working_dir: &'a Path,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) recorder: &'a Recorder,
    pub(crate) mask: &'a Mask,
}

/// One command of a phase.
struct Invocation<'a> {
    phase: Phase,
    index: usize,
    of: usize,
    command: &'a str,
}

impl Runner<'_> {
    /// Runs `pre` or `post` commands, the first failure ends it. Their outputs go into the log, in one stream.
    pub(crate) fn run_logged(&self, phase: Phase, commands: &[String]) -> Result<(), Error> {
        self.each(phase, commands, |_| None)
    }

    /// Runs `success` or `failure` commands with the log so far on standard input, the first failure ends it.
    pub(crate) fn run_with_log(&self, phase: Phase, commands: &[String]) -> Result<(), Error> {
        self.each(phase, commands, |recorder| Some(recorder.snapshot()))
    }

    fn each(
        &self,
        phase: Phase,
        commands: &[String],
        input: impl Fn(&Recorder) -> Option<Vec<u8>>,
    ) -> Result<(), Error> {
        for (at, command) in commands.iter().enumerate() {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let invocation = Invocation {
                phase,
                index: at + 1,
                of: commands.len(),
                command,
            };
            self.run(&invocation, input(self.recorder))?;
        }
        Ok(())
    }

    fn run(&self, what: &Invocation<'_>, input: Option<Vec<u8>>) -> Result<(), Error> {
        let Invocation {
            phase,
            index,
            of,
            command,
        } = *what;
        self.recorder.say(Event::CommandStarted {
            phase,
            index,
            of,
            command: self.mask.hide(command),
        });
        let start = Instant::now();
        let failed_start = |cause| Error::CommandStart {
            phase,
            index,
            of,
            command: self.shown(command),
            cause,
        };
        let mut running = Running::start(self, what, input).map_err(failed_start)?;
        let status = running.watch().map_err(failed_start)?;
        let seconds = start.elapsed().as_secs_f64();
        let Some(status) = status else {
            return Err(Error::Cancelled);
        };
        let ok = status.success();
        let shown = describe(status);
        self.recorder.say(Event::CommandEnded {
            phase,
            index,
            status: shown.clone(),
            ok,
            seconds,
        });
        if ok {
            return Ok(());
        }
        let output_tail = String::from_utf8_lossy(&running.tail).into_owned();
        Err(Error::Command {
            phase,
            index,
            of,
            command: self.shown(command),
            status: shown,
            output_tail,
        })
    }

    /// A command's first line: a script of forty lines helps nobody in an error.
    fn shown(&self, command: &str) -> String {
        let hidden = self.mask.hide(command);
        let mut lines = hidden.lines().filter(|line| !line.trim().is_empty());
        let first = lines.next().unwrap_or_default().to_owned();
        if lines.next().is_some() {
            first + " …"
        } else {
            first
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// A pipe's end with where its bytes go.
struct Output {
    pipe: Box<dyn ReadFd>,
    stream: Stream,
}

trait ReadFd: Read + AsFd {}
impl<T: Read + AsFd> ReadFd for T {}

/// What is left to write to a command, and where.
struct Input {
    pipe: std::process::ChildStdin,
    bytes: Vec<u8>,
    written: usize,
}

/// A command that runs, its pipes served by one loop.
struct Running<'a> {
    runner: &'a Runner<'a>,
    phase: Phase,
    index: usize,
    child: Child,
    /// Readable when the command ends, and dropped then; none where the kernel has no such thing.
    exit: Option<OwnedFd>,
    outputs: Vec<Output>,
    input: Option<Input>,
    tail: Vec<u8>,
}

impl<'a> Running<'a> {
    fn start(runner: &'a Runner<'a>, what: &Invocation<'_>, input: Option<Vec<u8>>) -> io::Result<Self> {
        // argv and environment of the manifest's commands: `sh` is looked up on the PATH that was handed in.
        let mut command = Command::new(shell(runner.environment));
        command
            .arg0("sh")
            .args(["-c", what.command])
            .env_clear()
            .envs(runner.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(runner.working_dir)
            .process_group(0);
        let mut outputs = Vec::new();
        if input.is_some() {
            command
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
        } else {
            let (reader, writer) = io::pipe()?;
            command
                .stdin(Stdio::null())
                .stdout(writer.try_clone()?)
                .stderr(writer);
            outputs.push(Output {
                pipe: Box::new(reader),
                stream: Stream::Log,
            });
        }
        let mut child = command.spawn()?;
        // The command keeps our ends of the pipe open as long as it lives: without this the reader never ends.
        drop(command);
        if let Some(pipe) = child.stdout.take() {
            outputs.push(Output {
                pipe: Box::new(pipe),
                stream: Stream::Stdout,
            });
        }
        if let Some(pipe) = child.stderr.take() {
            outputs.push(Output {
                pipe: Box::new(pipe),
                stream: Stream::Stderr,
            });
        }
        let input = child.stdin.take().zip(input).map(|(pipe, bytes)| Input {
            pipe,
            bytes,
            written: 0,
        });
        for output in &outputs {
            rustix::io::ioctl_fionbio(output.pipe.as_fd(), true)?;
        }
        if let Some(input) = &input {
            rustix::io::ioctl_fionbio(&input.pipe, true)?;
        }
        Ok(Self {
            runner,
            phase: what.phase,
            index: what.index,
            exit: Pid::from_raw(child.id().cast_signed())
                .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()),
            child,
            outputs,
            input,
            tail: Vec::new(),
        })
    }

    /// Serves the pipes until the command ended; `None` when it was cancelled.
    fn watch(&mut self) -> io::Result<Option<ExitStatus>> {
        // A short command should not wait a whole tick to be seen ended.
        let mut wait = if self.exit.is_some() {
            TICK
        } else {
            Duration::from_millis(1)
        };
        loop {
            self.serve(wait)?;
            if self.runner.cancel.load(Ordering::Relaxed) {
                self.end()?;
                return Ok(None);
            }
            if let Some(status) = self.ended()? {
                self.drain()?;
                return Ok(Some(status));
            }
            wait = (wait * 2).min(TICK);
        }
    }

    /// How the command ended, if it did.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            // It stays readable: nothing that is still waited for would be waited for.
            self.exit = None;
        }
        Ok(status)
    }

    /// Waits for a pipe to be ready or the command to end, at most `wait`, and serves the pipes that are.
    fn serve(&mut self, wait: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(4);
        if let Some(exit) = &self.exit {
            fds.push(poll_fd(exit.as_fd(), PollFlags::IN));
        }
        for output in &self.outputs {
            fds.push(poll_fd(output.pipe.as_fd(), PollFlags::IN));
        }
        if let Some(input) = &self.input {
            fds.push(poll_fd(input.pipe.as_fd(), PollFlags::OUT));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(fds);
        self.read_outputs();
        self.write_input();
        Ok(())
    }

    fn read_outputs(&mut self) {
        let (recorder, phase, tail) = (self.runner.recorder, self.phase, &mut self.tail);
        let mut buffer = [0u8; 16384];
        self.outputs
            .retain_mut(|output| match output.pipe.read(&mut buffer) {
                Ok(0) => false,
                Ok(count) => {
                    recorder.output(phase, output.stream, &buffer[..count]);
                    tail.extend_from_slice(&buffer[..count]);
                    let over = tail.len().saturating_sub(TAIL);
                    tail.drain(..over);
                    true
                }
                Err(error) => matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ),
            });
    }

    /// A command that does not read its input, or not all of it, is as good as one that does.
    fn write_input(&mut self) {
        let Some(input) = &mut self.input else { return };
        let open = match input.pipe.write(&input.bytes[input.written..]) {
            Ok(count) => {
                input.written += count;
                input.written < input.bytes.len()
            }
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
            ),
        };
        if !open {
            self.input = None;
        }
    }

    /// Reads what the ended command wrote; a process that it left with its output open is not waited for.
    fn drain(&mut self) -> io::Result<()> {
        self.input = None;
        let end = Instant::now() + DRAIN;
        while !self.outputs.is_empty() {
            if Instant::now() >= end {
                let (phase, index) = (self.phase, self.index);
                self.runner.recorder.say(Event::OutputAbandoned { phase, index });
                break;
            }
            self.serve(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// TERM to the command's groups, time to end, then KILL to what is left of them.
    fn end(&mut self) -> io::Result<()> {
        let mut groups = Groups::of(self.child.id().cast_signed());
        groups.signal(Signal::TERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            self.serve(Duration::from_millis(20))?;
            if self.ended()?.is_some() && groups.are_gone() {
                return Ok(());
            }
        }
        groups.look();
        groups.signal(Signal::KILL);
        self.child.wait().map(drop)
    }
}

fn poll_fd(fd: BorrowedFd<'_>, flags: PollFlags) -> PollFd<'_> {
    PollFd::from_borrowed_fd(fd, flags)
}

#[cfg(test)]
mod tests;
