//! Runs one command to its end: its output streamed, its limits kept, all that it started ended with it.
//!
//! What to run, and what its result means, is decided by the callers.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, WaitIdStatus};

use crate::command::ToolCommand;
use crate::error::{End, Error};
use crate::event::{Event, OnEvent};
use crate::guard::Guard;
use crate::output::Output;
use crate::running::{Running, TICK};

/// How long what is left of a step may take to end by itself before it is called left behind.
const LINGER: Duration = Duration::from_millis(250);
/// How long to wait for a process after KILL: one that belongs to another user, or hangs in the kernel, may stay.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// When a command is ended, and how long it gets between TERM and KILL.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) timeout: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) grace: Duration,
    /// When the step began: its timeout counts over all of its commands.
    pub(crate) began: Instant,
}

impl Limits {
    pub(crate) fn new(timeout: Option<Duration>, idle: Option<Duration>) -> Self {
        Self {
            timeout,
            idle,
            grace: Duration::from_secs(10),
            began: Instant::now(),
        }
    }
}

/// Of the command that runs in this process.
static TURN: Mutex<()> = Mutex::new(());

/// The turn, for tests that start processes which a step that runs meanwhile would take for its own.
#[cfg(test)]
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the commands of one step share.
pub(crate) struct Runner<'a> {
    pub(crate) step: &'a str,
    pub(crate) limits: Limits,
    pub(crate) output: Output<'a>,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) on_event: OnEvent<'a>,
}

/// Why a command is ended before its own end.
enum Stop {
    Cancelled,
    TimedOut(Duration),
    Idle(Duration),
    Io(io::Error),
}

impl Runner<'_> {
    /// Runs `command`. The calling thread is the one whose end ends the command.
    pub(crate) fn run(&mut self, command: &ToolCommand) -> Result<(), Error> {
        let _turn = self.take_turn()?;
        let shown = self.output.mask(&command.shown());
        self.output
            .note(&format!("+ {shown}"))
            .map_err(|error| self.log_error(error))?;
        (self.on_event)(Event::Started {
            step: self.step.to_owned(),
            command: shown,
            dir: command.dir.clone(),
            log: self.output.path().to_path_buf(),
        });
        let spawn_error = |source| Error::Spawn {
            step: self.step.to_owned(),
            program: command.program.to_string_lossy().into_owned(),
            dir: command.dir.clone(),
            source,
        };
        let mut guard = Guard::start(&command.env).map_err(spawn_error)?;
        let mut running = Running::start(command, guard.pid()).map_err(spawn_error)?;
        let guarded = guard.watch(running.family.leader);
        let ended = match guarded {
            Ok(()) => self.follow(&mut running),
            Err(error) => Err(Stop::Io(error)),
        };
        let result = self.finish(&mut running, ended);
        // The leader is reaped last: until then its number, the group's, cannot be given to another process.
        drop(guard);
        drop(running);
        result
    }

    /// Waits until the command ends, or has to be ended.
    fn follow(&mut self, running: &mut Running) -> Result<WaitIdStatus, Stop> {
        let mut last_output = Instant::now();
        loop {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Stop::Cancelled);
            }
            let limits = self.limits;
            if let Some(limit) = limits.timeout.filter(|limit| limits.began.elapsed() >= *limit) {
                return Err(Stop::TimedOut(limit));
            }
            if let Some(limit) = limits.idle.filter(|limit| last_output.elapsed() >= *limit) {
                return Err(Stop::Idle(limit));
            }
            if running.pump(&mut self.output, TICK).map_err(Stop::Io)? {
                last_output = Instant::now();
            }
            if let Some(status) = running.ended().map_err(Stop::Io)? {
                return Ok(status);
            }
        }
    }

    /// Ends what has not ended, and says how it went.
    fn finish(&mut self, running: &mut Running, ended: Result<WaitIdStatus, Stop>) -> Result<(), Error> {
        if ended.is_err() {
            self.end_leader(running);
        }
        let left = self.end_left_behind(running);
        running
            .drain(&mut self.output)
            .map_err(|error| self.log_error(error))?;
        self.output
            .end_of_command()
            .map_err(|error| self.log_error(error))?;
        for process in left {
            self.name_left_behind(process);
        }
        match ended {
            Ok(status) => self.judge(&status),
            Err(stop) => {
                let (step, log, tail) = self.context();
                Err(match stop {
                    Stop::Cancelled => Error::Cancelled { step },
                    Stop::TimedOut(limit) => Error::TimedOut {
                        step,
                        limit,
                        log,
                        tail,
                    },
                    Stop::Idle(limit) => Error::Idle {
                        step,
                        limit,
                        log,
                        tail,
                    },
                    Stop::Io(error) => self.log_error(error),
                })
            }
        }
    }

    fn judge(&self, status: &WaitIdStatus) -> Result<(), Error> {
        let end = match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => return Ok(()),
            (Some(code), _) => End::Code(code),
            (None, signal) => {
                let number = signal.unwrap_or_default();
                End::Signal(number, signal_name(number))
            }
        };
        let (step, log, tail) = self.context();
        Err(Error::Failed { step, end, log, tail })
    }

    /// TERM to the group; KILL when the grace is over. Returns when the leader has ended, or cannot be made to.
    fn end_leader(&mut self, running: &mut Running) {
        let steps = [(Signal::TERM, self.limits.grace), (Signal::KILL, AFTER_KILL)];
        for (signal, patience) in steps {
            running.signal_group(signal);
            let until = Instant::now() + patience;
            while Instant::now() < until {
                // Its last words are read, or a full pipe would keep it from ending. The log may be what failed.
                let _ = running.pump(&mut self.output, TICK.min(patience));
                if matches!(running.ended(), Ok(Some(_)) | Err(_)) {
                    return;
                }
            }
        }
    }

    /// Ends what outlived the leader, in its group or out of it; returns what it was.
    fn end_left_behind(&mut self, running: &mut Running) -> Vec<LeftBehind> {
        let until = Instant::now() + LINGER;
        let mut left = running.family.living();
        while !left.is_empty() && Instant::now() < until {
            let _ = running.pump(&mut self.output, Duration::from_millis(10));
            left = running.family.living();
        }
        let mut all: Vec<LeftBehind> = Vec::new();
        for (signal, patience) in [(Signal::TERM, self.limits.grace), (Signal::KILL, AFTER_KILL)] {
            let until = Instant::now() + patience;
            while !left.is_empty() && Instant::now() < until {
                for process in &left {
                    let known = all.iter().any(|other| other.pid == process.pid);
                    if !known {
                        let daemon = process.group != running.family.leader;
                        let command = self.output.mask(&process.command());
                        all.push(LeftBehind {
                            pid: process.pid,
                            command,
                            daemon,
                            gone: true,
                        });
                    }
                    // TERM once to each, KILL as often as it takes: children of the killed are adopted one by one.
                    if !known || signal == Signal::KILL {
                        process.signal(signal);
                    }
                }
                let _ = running.pump(&mut self.output, Duration::from_millis(10));
                left = running.family.living();
            }
        }
        for process in &mut all {
            process.gone = !left.iter().any(|other| other.pid == process.pid);
        }
        all
    }

    fn name_left_behind(&self, process: LeftBehind) {
        let LeftBehind {
            pid,
            command,
            daemon,
            gone,
        } = process;
        let step = self.step.to_owned();
        (self.on_event)(if gone {
            Event::LeftBehind {
                step,
                pid,
                command,
                daemon,
            }
        } else {
            let message = format!("process {pid} outlived the step and cannot be ended: {command}");
            Event::Warning { step, message }
        });
    }

    fn context(&self) -> (String, PathBuf, Vec<String>) {
        (
            self.step.to_owned(),
            self.output.path().to_path_buf(),
            self.output.tail(),
        )
    }

    fn log_error(&self, source: io::Error) -> Error {
        let path = self.output.path().to_path_buf();
        Error::Io {
            step: self.step.to_owned(),
            action: "write the log",
            path,
            source,
        }
    }

    /// One command at a time in a process: what a step leaves behind is adopted by the process, and of two steps nobody
    /// could say whose it was.
    fn take_turn(&self) -> Result<MutexGuard<'static, ()>, Error> {
        loop {
            match TURN.try_lock() {
                Ok(turn) => return Ok(turn),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(PoisonError::into_inner(poisoned)),
                Err(TryLockError::WouldBlock) => {
                    if self.cancel.load(Ordering::Relaxed) {
                        return Err(Error::Cancelled {
                            step: self.step.to_owned(),
                        });
                    }
                    thread::sleep(TICK);
                }
            }
        }
    }
}

/// A process that outlived its step.
struct LeftBehind {
    pid: i32,
    command: String,
    daemon: bool,
    gone: bool,
}

fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

#[cfg(test)]
#[path = "runner_tests.rs"]
mod tests;
