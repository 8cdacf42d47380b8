//! Running a program the way a test wants it: a settled environment, a time limit, all output kept. What comes of it
//! is judged in `ran`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::pipes::{DRAIN, Drain, Piped, feed};
use crate::process::{self, Process};
use crate::procs::{self, Proc};
use crate::ran::Ran;
use crate::spawner;
use crate::tools::{self, Testbed};

/// How long a command may take when the test does not say.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A command: its words and its surroundings. The environment starts with nothing but PATH (the testbed's) and
/// LANG=C.UTF-8; HOME is set by [`Cmd::home`] alone, so that no configuration of the user gets in.
#[derive(Debug, Clone)]
#[must_use]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
}

impl Cmd {
    /// A command for a program: a path, or a name to look up on the testbed's PATH.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let path = Testbed::get().path().to_owned();
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: vec![("PATH".into(), path), ("LANG".into(), "C.UTF-8".into())],
            cwd: None,
            stdin: None,
            timeout: TIMEOUT,
        }
    }

    /// Adds a word.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds words.
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self = self.env_remove(&name);
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets variables.
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        pairs
            .into_iter()
            .fold(self, |cmd, (name, value)| cmd.env(name, value))
    }

    /// Takes a variable away.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(known, _)| known != name.as_ref());
        self
    }

    /// Sets HOME.
    pub fn home(self, dir: impl AsRef<Path>) -> Self {
        self.env("HOME", dir.as_ref())
    }

    /// Whether a variable is set for it.
    pub(crate) fn has_env(&self, name: &str) -> bool {
        self.env.iter().any(|(known, _)| known == name)
    }

    /// Puts a directory first on PATH.
    pub fn path_first(self, dir: impl AsRef<Path>) -> Self {
        let known = self
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.clone());
        let mut path = dir.as_ref().as_os_str().to_owned();
        if let Some(known) = known {
            path.push(":");
            path.push(known);
        }
        self.env("PATH", path)
    }

    /// Sets the working directory.
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// Gives bytes on standard input; without this it is empty.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// Ends the command (KILL to its process group) after this long; two minutes when not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the command to its end.
    ///
    /// # Panics
    /// When the program is not there or cannot be started. A failure of the program itself is a result.
    #[track_caller]
    #[must_use]
    pub fn run(self) -> Ran {
        let started = Instant::now();
        let mut command = self.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn(command);
        let deadline = started + self.timeout;
        feed(&mut child, self.stdin.clone().unwrap_or_default());
        let stdout = Drain::start(child.stdout.take().expect("piped"));
        let stderr = Drain::start(child.stderr.take().expect("piped"));
        let timed_out = !process::ended_by(&child, deadline);
        let left_behind = if timed_out {
            Vec::new()
        } else {
            others_in_group(child.id())
        };
        if timed_out {
            process::kill_group(child.id());
            process::ended_by(&child, Instant::now() + DRAIN);
        }
        let until = Instant::now() + DRAIN;
        let (stdout, stderr) = (stdout.finish(until), stderr.finish(until));
        // The group is killed while the child is still unreaped: its number cannot be another group's yet.
        process::kill_group(child.id());
        let status = child.wait().expect("cannot wait for a child of ours");
        Ran {
            words: self.words(),
            status,
            stdout,
            stderr,
            timed_out,
            left_behind,
            took: started.elapsed(),
        }
    }

    /// Starts the command as a server or as something to interrupt; both its outputs go to the file `log`.
    ///
    /// # Panics
    /// As [`Cmd::run`].
    #[track_caller]
    #[must_use]
    pub fn start(self, name: &str, log: impl Into<PathBuf>) -> Process {
        let log = log.into();
        let file = File::options().create(true).append(true).open(&log);
        let out = file.unwrap_or_else(|err| panic!("cannot write the log {}: {err}", log.display()));
        let err = out.try_clone().expect("cannot duplicate a file");
        let mut command = self.command();
        let stdin = if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        command.stdin(stdin).stdout(out).stderr(err);
        let mut child = self.spawn(command);
        if let Some(bytes) = self.stdin {
            feed(&mut child, bytes);
        }
        Process::new(name, child, log)
    }

    /// Starts the command with its standard input given, for a reader of its output that does not want to wait for its end.
    ///
    /// # Panics
    /// As [`Cmd::run`].
    #[track_caller]
    pub(crate) fn pipe(self) -> Piped {
        let mut command = self.command();
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.spawn(command);
        feed(&mut child, self.stdin.unwrap_or_default());
        Piped::new(child)
    }

    /// The program and its words, for a handler that another program is to run.
    #[must_use]
    pub fn argv(&self) -> Vec<OsString> {
        std::iter::once(self.program.clone())
            .chain(self.args.iter().cloned())
            .collect()
    }

    /// The same surroundings for another program.
    pub(crate) fn surroundings_for(&self, program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            ..self.clone()
        }
    }

    #[track_caller]
    fn command(&self) -> Command {
        let mut command = spawner::dying_with_us(&self.resolve());
        command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().cloned())
            .process_group(0);
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command
    }

    #[track_caller]
    fn resolve(&self) -> OsString {
        if self.program.as_encoded_bytes().contains(&b'/') {
            assert!(
                Path::new(&self.program).exists(),
                "there is no program {}",
                self.program.display()
            );
            return self.program.clone();
        }
        let path = self
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.as_os_str());
        let name = self.program.to_str().unwrap_or_default();
        path.and_then(|path| tools::find(name, path))
            .unwrap_or_else(|| Testbed::get().program(name))
            .into_os_string()
    }

    #[track_caller]
    fn spawn(&self, command: Command) -> Child {
        spawner::spawn(command).unwrap_or_else(|err| panic!("cannot start `{}`: {err}", self.words()))
    }

    fn words(&self) -> String {
        let words: Vec<_> = self
            .argv()
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        words.join(" ")
    }
}

fn others_in_group(group: u32) -> Vec<Proc> {
    procs::in_group(group)
        .into_iter()
        .filter(|process| process.pid != group)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn sh(script: &str) -> Cmd {
        Cmd::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn output_code_and_input_are_kept_apart() {
        let ran = sh("cat; echo to-err >&2; exit 3")
            .stdin("to-out")
            .run()
            .exits(3)
            .says("to-err");
        assert_eq!(ran.out(), "to-out");
        assert_eq!(ran.err(), "to-err\n");
    }

    #[test]
    fn environment_is_only_what_was_given() {
        let ran = Cmd::new("env")
            .env("A", "1")
            .env("A", "2")
            .env_remove("LANG")
            .run()
            .ok();
        let names: BTreeSet<_> = ran
            .out()
            .lines()
            .map(|line| line.split('=').next().unwrap().to_owned())
            .collect();
        assert_eq!(names, BTreeSet::from(["A".to_owned(), "PATH".to_owned()]));
        assert!(ran.out().contains("A=2"));
    }

    #[test]
    fn a_signal_is_told_apart_from_a_code() {
        let ran = sh("kill -9 $$").run();
        assert_eq!((ran.code(), ran.signal()), (None, Some(9)));
    }

    #[test]
    fn what_hangs_is_killed_with_its_children() {
        let mark = crate::random_hex(8);
        let ran = sh("sleep 60 & sleep 60")
            .env("MARK", &mark)
            .timeout(Duration::from_millis(300))
            .run();
        assert!(ran.timed_out && ran.took < Duration::from_secs(50), "{ran}");
        crate::until("both to end", Duration::from_secs(60), || {
            procs::marked("MARK", &mark).is_empty()
        });
    }

    #[test]
    fn what_is_left_behind_is_told_and_killed() {
        let mark = crate::random_hex(8);
        let ran = sh("sleep 60 >/dev/null 2>&1 & exit 0")
            .env("MARK", &mark)
            .run()
            .ok();
        assert_eq!(ran.left_behind.len(), 1, "{ran}");
        crate::until("the sleep to end", Duration::from_secs(60), || {
            procs::marked("MARK", &mark).is_empty()
        });
    }

    #[test]
    #[should_panic(expected = "wanted exit code 0")]
    fn a_wrong_code_fails_the_test() {
        let _ = sh("exit 1").run().ok();
    }
}
