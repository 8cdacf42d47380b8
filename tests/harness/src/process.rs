//! A process that runs beside the test: a server, or a command to interrupt. It has a process group of its own and
//! is killed and reaped with it on drop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::wait::LEAST;

/// How long a polite end may take before it is made an end.
const STOP: Duration = Duration::from_secs(10);
/// How much of a log a message shows.
const TAIL: usize = 40;

/// A running process. Made by [`crate::Cmd::start`].
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    pub(crate) fn new(name: &str, child: Child, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            child,
            log,
            ended: None,
        }
    }

    /// Its id, which is its process group's too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The file that it writes to.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        self.ended.is_none() && !ended_by(&self.child, Instant::now())
    }

    /// Waits until `probe` is true.
    ///
    /// # Panics
    /// When the process ends first, or `timeout`, and a minute, pass; the message has the end of its log.
    #[track_caller]
    pub fn wait_ready(&mut self, timeout: Duration, mut probe: impl FnMut() -> bool) {
        let (start, timeout) = (Instant::now(), timeout.max(LEAST));
        let mut pause = Duration::from_millis(2);
        while !probe() {
            assert!(
                self.running(),
                "{} ended before it was ready\n{}",
                self.name,
                self.tail()
            );
            assert!(
                start.elapsed() < timeout,
                "{} is not ready after {timeout:?}\n{}",
                self.name,
                self.tail()
            );
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Waits until its log holds `text`.
    ///
    /// # Panics
    /// As [`Process::wait_ready`].
    #[track_caller]
    pub fn wait_log(&mut self, timeout: Duration, text: &str) {
        let log = self.log.clone();
        let seen = move || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).contains(text);
        self.wait_ready(timeout, seen);
    }

    /// Waits for its end, at most `timeout`; `None` when it still runs. What it left in its group is killed.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() && ended_by(&self.child, Instant::now() + timeout) {
            self.reap();
        }
        self.ended
    }

    /// Whether the program that runs in it by now has a handler of its own for this signal.
    #[must_use]
    pub fn minds(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // It may have ended meanwhile; it is unreaped, so that the number is still its own.
            let _ = kill_process(pid(self.child.id()), signal);
        }
    }

    /// Sends a signal to its process group, as a terminal does.
    pub fn signal_group(&self, signal: Signal) {
        if self.ended.is_none() {
            let _ = kill_process_group(pid(self.child.id()), signal);
        }
    }

    /// Ends it with TERM, and after ten seconds with KILL. Returns how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        ended_by(&self.child, Instant::now() + STOP);
        self.reap()
    }

    /// Ends its whole process group with KILL, and waits until it is gone.
    pub fn kill9(&mut self) -> ExitStatus {
        self.reap()
    }

    /// The end of its log, for a message.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        format!(
            "--- the end of {}\n{}",
            self.log.display(),
            lines[from..].join("\n")
        )
    }

    fn reap(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        // As long as the child is unreaped its number, and its group's, cannot belong to somebody else.
        kill_group(self.child.id());
        let status = self.child.wait().expect("cannot wait for a child of ours");
        self.ended = Some(status);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.reap();
    }
}

/// Waits until the child has ended, without reaping it; false when the deadline passes first.
pub(crate) fn ended_by(child: &Child, deadline: Instant) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let mut pause = Duration::from_millis(1);
    loop {
        // An error means that it was reaped before: it has ended.
        if !matches!(waitid(WaitId::Pid(pid(child.id())), options), Ok(None)) {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

pub(crate) fn kill_group(group: u32) {
    // Nobody left in it is no error.
    let _ = kill_process_group(pid(group), Signal::KILL);
}

fn pid(number: u32) -> Pid {
    let number = i32::try_from(number).expect("a process id fits");
    Pid::from_raw(number).expect("a process id is not 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cmd, Tmp, procs, random_hex, until};

    fn sh(script: &str, tmp: &Tmp) -> Process {
        Cmd::new("sh")
            .arg("-c")
            .arg(script)
            .start("a shell", tmp.join("log"))
    }

    #[test]
    fn gone_after_drop_with_its_whole_group() {
        let tmp = Tmp::new("process");
        let mark = random_hex(8);
        let cmd = Cmd::new("sh")
            .arg("-c")
            .arg("sleep 60 & echo up; wait")
            .env("MARK", &mark);
        let mut process = cmd.start("a shell", tmp.join("log"));
        process.wait_log(Duration::from_secs(60), "up");
        until("both to be there", Duration::from_secs(60), || {
            procs::marked("MARK", &mark).len() == 2
        });
        drop(process);
        until("the group to end", Duration::from_secs(60), || {
            procs::marked("MARK", &mark).is_empty()
        });
    }

    #[test]
    fn stop_is_polite() {
        let tmp = Tmp::new("process");
        let mut process = sh("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done", &tmp);
        process.wait_log(Duration::from_secs(60), "up");
        assert!(process.minds(Signal::TERM) && !process.minds(Signal::HUP));
        assert_eq!(process.stop().code(), Some(7));
        assert!(!process.running());
    }

    #[test]
    #[should_panic(expected = "ended before it was ready")]
    fn an_early_end_is_told_with_the_log() {
        let tmp = Tmp::new("process");
        sh("echo broken; exit 1", &tmp).wait_ready(Duration::from_secs(60), || false);
    }

    #[test]
    fn it_outlives_the_thread_that_started_it() {
        let tmp = Tmp::new("process");
        let started = std::thread::scope(|scope| scope.spawn(|| sh("echo up; sleep 60", &tmp)).join());
        let mut process = started.unwrap();
        process.wait_log(Duration::from_secs(60), "up");
        sleep(Duration::from_millis(100));
        assert!(process.running());
    }
}
