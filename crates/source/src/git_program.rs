//! The git program: its argv, its environment, and seeing it through. Every call of git (and of git-lfs, by git) is built
//! here. What it says is understood elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::credentials::Credentials;
use crate::error::Error;
use crate::options::{SourceOptions, Timeouts};
use crate::remote::Remote;

/// Variables of git that a user may have set for good reasons; every other `GIT_…` would move git to another repository,
/// trace secrets or make it prompt.
const KEPT: [&str; 12] = [
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_EXEC_PATH",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_NO_VERIFY",
    "GIT_PROXY_COMMAND",
    "GIT_HTTP_USER_AGENT",
];

/// How long a git that was told to end may take before it is killed.
const GRACE: Duration = Duration::from_millis(120);

/// The git program with the environment for one remote.
pub(crate) struct Git {
    program: PathBuf,
    env: Vec<(OsString, OsString)>,
    config: Vec<(String, String)>,
}

impl Git {
    pub(crate) fn new(source: &SourceOptions, remote: &Remote) -> Self {
        let mut env: Vec<(OsString, OsString)> = source
            .git_env
            .iter()
            .filter(|(name, _)| is_kept(name))
            .cloned()
            .collect();
        let ssh = ssh_command(&env, &source.credentials, source.timeouts);
        env.retain(|(name, _)| name != "GIT_SSH_COMMAND");
        for (name, value) in [
            ("GIT_TERMINAL_PROMPT", "0"),
            // Empty: no askpass program, whatever core.askPass says.
            ("GIT_ASKPASS", ""),
            ("SSH_ASKPASS_REQUIRE", "never"),
            ("GIT_ALLOW_PROTOCOL", "https:http:ssh:file"),
            ("GCM_INTERACTIVE", "never"),
            ("LC_ALL", "C"),
        ] {
            env.push((name.into(), value.into()));
        }
        env.push(("GIT_SSH_COMMAND".into(), ssh));
        Self {
            program: source.git_program.clone(),
            env,
            config: config(source, remote),
        }
    }

    /// One more setting; it goes by the environment, not by argv.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<String>) {
        self.config.push((key.to_owned(), value.into()));
    }

    pub(crate) fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env("GIT_CONFIG_COUNT", self.config.len().to_string());
        for (at, (key, value)) in self.config.iter().enumerate() {
            command
                .env(format!("GIT_CONFIG_KEY_{at}"), key)
                .env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        command.spawn().map_err(|source| Error::Program {
            program: self.program.clone(),
            source,
        })
    }
}

fn is_kept(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let moving = ["SSH_ASKPASS", "LC_ALL", "LANGUAGE"].contains(&&*name);
    !moving && (!name.starts_with("GIT_") || KEPT.contains(&&*name))
}

/// The settings that every call gets.
fn config(source: &SourceOptions, remote: &Remote) -> Vec<(String, String)> {
    let mut config: Vec<(String, String)> = [
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("core.hooksPath", "/dev/null"),
        ("submodule.recurse", "false"),
        ("http.lowSpeedLimit", "1"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    config.push((
        "http.lowSpeedTime".to_owned(),
        source.timeouts.stall.as_secs().max(1).to_string(),
    ));
    if !source.credentials.helper {
        // An empty value empties the list of helpers.
        config.push(("credential.helper".to_owned(), String::new()));
    }
    let mut redirects = "initial";
    if let (Remote::Http(url), Some(token)) = (remote, &source.credentials.token)
        && token.is_for(remote)
    {
        let pair = STANDARD.encode(format!("{}:{}", token.username, token.secret.reveal()));
        let origin = url.origin().ascii_serialization();
        config.push((
            format!("http.{origin}/.extraHeader"),
            format!("Authorization: Basic {pair}"),
        ));
        // git would send the header to where a redirect leads, too.
        redirects = "false";
    }
    config.push(("http.followRedirects".to_owned(), redirects.to_owned()));
    config
}

/// The user's own ssh command, or ssh, never prompting, with the keys and host keys that the credentials name.
fn ssh_command(env: &[(OsString, OsString)], credentials: &Credentials, timeouts: Timeouts) -> OsString {
    let own = env
        .iter()
        .find(|(name, _)| name == "GIT_SSH_COMMAND")
        .map(|(_, value)| value.clone());
    let mut command = own.unwrap_or_else(|| "ssh".into());
    let seconds = timeouts.connect.as_secs().max(1);
    let alive = (timeouts.stall.as_secs() / 3).max(1);
    command.push(format!(
        " -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout={seconds} \
         -o ServerAliveInterval={alive} -o ServerAliveCountMax=3"
    ));
    if !credentials.known_hosts.is_empty() {
        let files: Vec<String> = credentials
            .known_hosts
            .iter()
            .map(|file| format!("\"{}\"", file.display()))
            .collect();
        command.push(" -o GlobalKnownHostsFile=/dev/null -o ");
        command.push(shell_quoted(&format!("UserKnownHostsFile={}", files.join(" "))));
    }
    if !credentials.ssh_agent {
        command.push(" -o IdentityAgent=none");
    }
    for key in &credentials.ssh_keys {
        command.push(" -o IdentitiesOnly=yes -i ");
        command.push(shell_quoted(&key.display().to_string()));
    }
    command
}

fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// How a supervised program ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Exited {
        status: ExitStatus,
        stdout: Vec<u8>,
        /// What it said last, progress left out.
        said: Vec<String>,
    },
    Stalled(Duration),
}

enum Heard {
    Line(String),
    Output(Vec<u8>),
}

/// Waits for a program, handing each line of its standard error on; ends its process group on cancel and when it says
/// nothing new for too long.
pub(crate) fn supervise(
    mut child: Child,
    cancel: &AtomicBool,
    timeouts: Timeouts,
    on_line: &mut dyn FnMut(&str),
) -> Result<Ended, Error> {
    let heard = listen(&mut child);
    let mut said: Vec<String> = Vec::new();
    let mut stdout = Vec::new();
    let (mut last, mut last_heard, mut answered) = (String::new(), Instant::now(), false);
    loop {
        match heard.recv_timeout(Duration::from_millis(40)) {
            Ok(Heard::Output(bytes)) => stdout = bytes,
            Ok(Heard::Line(line)) if line != last => {
                (last_heard, answered) = (Instant::now(), true);
                on_line(&line);
                if !is_progress(&line) {
                    said.push(line.clone());
                }
                last = line;
            }
            Ok(Heard::Line(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if cancel.load(Ordering::Relaxed) {
            end(&mut child);
            return Err(Error::Cancelled);
        }
        let limit = if answered {
            timeouts.stall
        } else {
            timeouts.connect.max(timeouts.stall)
        };
        if last_heard.elapsed() > limit {
            end(&mut child);
            return Ok(Ended::Stalled(limit));
        }
    }
    let status = child.wait().map_err(|source| Error::Io {
        doing: "waiting for",
        path: "git".into(),
        source,
    })?;
    let skip = said.len().saturating_sub(12);
    said.drain(..skip);
    Ok(Ended::Exited { status, stdout, said })
}

fn listen(child: &mut Child) -> Receiver<Heard> {
    let (to, heard) = mpsc::channel();
    if let Some(mut stderr) = child.stderr.take() {
        let to = to.clone();
        thread::spawn(move || {
            let (mut buffer, mut line) = ([0; 4096], Vec::new());
            while let Ok(length @ 1..) = stderr.read(&mut buffer) {
                for &byte in buffer.get(..length).unwrap_or_default() {
                    if byte != b'\n' && byte != b'\r' {
                        line.push(byte);
                        continue;
                    }
                    let text = String::from_utf8_lossy(&line).trim().to_owned();
                    line.clear();
                    if !text.is_empty() && to.send(Heard::Line(text)).is_err() {
                        return;
                    }
                }
            }
            let _ = to.send(Heard::Line(String::from_utf8_lossy(&line).trim().to_owned()));
        });
    }
    if let Some(mut stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.read_to_end(&mut bytes);
            let _ = to.send(Heard::Output(bytes));
        });
    }
    heard
}

fn is_progress(line: &str) -> bool {
    line.is_empty()
        || line.contains("% (")
        || line.ends_with("done.")
        || line.starts_with("remote: Enumerating")
}

/// TERM to the group, so that git removes its temporary files; KILL to what is left.
fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::TERM);
        let told = Instant::now();
        while told.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

/// One run of `git lfs smudge`.
pub(crate) struct Smudge<'a> {
    pub git: Git,
    /// Where git-lfs works and keeps what it fetched.
    pub git_dir: &'a Path,
    pub pointer: &'a [u8],
    pub remote: &'a Remote,
    /// The URL that the commit's `.lfsconfig` names.
    pub lfs_url: Option<String>,
}

impl Smudge<'_> {
    /// Writes the object's content to `output`; the inner error says what git-lfs said.
    pub(crate) fn run(
        mut self,
        output: File,
        cancel: &AtomicBool,
        timeouts: Timeouts,
    ) -> Result<Result<(), String>, Error> {
        self.git.set("lfs.concurrenttransfers", "4");
        self.git.set("remote.origin.url", self.remote.url());
        if let Some(url) = self.lfs_url.take() {
            self.git.set("lfs.url", url);
        }
        let mut command = self.git.command(["lfs", "smudge"]);
        command
            .env("GIT_DIR", self.git_dir)
            .env("GIT_LFS_FORCE_PROGRESS", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::from(output));
        let mut child = self.git.spawn(&mut command)?;
        if let Some(mut stdin) = child.stdin.take() {
            match stdin.write_all(self.pointer) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    return Ok(Err(format!(
                        "the pointer could not be handed to git-lfs: {error}"
                    )));
                }
                _ => {}
            }
        }
        Ok(match supervise(child, cancel, timeouts, &mut |_| {})? {
            Ended::Stalled(limit) => Err(format!("git-lfs said nothing for {} s", limit.as_secs())),
            Ended::Exited { status, .. } if status.success() => Ok(()),
            Ended::Exited { said, .. } if said.iter().any(|line| line.contains("not a git command")) => {
                Err("git-lfs is not installed".to_owned())
            }
            Ended::Exited { said, .. } => Err(said.join("; ")),
        })
    }
}
