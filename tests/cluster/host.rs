//! A host: a Consul agent's node with a disk of its own, whose watch runs a handler that sees that disk at the role's dest.

use std::fs;
use std::path::{Path, PathBuf};

use shipit_testbed::{Cmd, ConsulAgent, Process, Testbed, Tmp};

use crate::project::binary;

/// What follows manifests on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    Stretcher,
    Apply,
}

/// What a host's programs get, and where its role's dest is.
pub struct Surroundings<'a> {
    pub dest: &'a Path,
    pub env: &'a [(String, String)],
}

pub struct Host {
    node: String,
    handler: Handler,
    // The role's dest as this host has it; elsewhere when it is a file system of its own.
    disk: PathBuf,
    own: Tmp,
    token: Option<String>,
    watches: Vec<Process>,
}

impl Host {
    pub fn new(node: &str, handler: Handler) -> Self {
        let own = Tmp::new(node);
        Host {
            node: node.to_owned(),
            handler,
            disk: own.mkdir("disk"),
            own,
            token: None,
            watches: Vec::new(),
        }
    }

    /// The same with this directory as its disk, on which temporary files stand too.
    pub fn on_disk(mut self, disk: &Path) -> Self {
        self.disk = disk.to_owned();
        self
    }

    /// The same with this token for all that it asks of its agent.
    pub fn with_token(mut self, token: String) -> Self {
        self.token = Some(token);
        self
    }

    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    /// A program on this host: in a mount namespace of its own, in which the role's dest is this host's disk.
    fn program(&self, around: &Surroundings<'_>, agent: &ConsulAgent, words: &[&str]) -> Cmd {
        let script = format!(
            "mount --bind {disk} {dest} && exec 9>>{own}/lock && flock 9 && exec \"$@\" 2>>{own}/log",
            disk = self.disk.display(),
            dest = around.dest.display(),
            own = self.own.path().display(),
        );
        let temporary = self.disk.join(".tmp");
        fs::create_dir_all(&temporary).unwrap();
        let cmd = Cmd::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &script,
                "handler",
            ])
            .args(words)
            .envs(around.env.iter().cloned())
            .env("NODE", &self.node)
            .env("CONSUL_HTTP_ADDR", agent.url())
            .env("TMPDIR", around.dest.join(".tmp"))
            .home(self.own.path())
            .cwd(self.own.path());
        match &self.token {
            Some(token) => cmd.env("CONSUL_HTTP_TOKEN", token),
            None => cmd,
        }
    }

    /// Starts a watch for an event, beside those that run.
    pub fn watch(&mut self, around: &Surroundings<'_>, agent: &ConsulAgent, event: &str) {
        let stretcher = Testbed::get().stretcher();
        let cmd = match self.handler {
            Handler::Stretcher => self.program(around, agent, &[stretcher.to_str().unwrap()]),
            Handler::Apply => self.apply(around, agent, &[]),
        };
        self.watches.push(agent.watch(event, &cmd));
    }

    /// `shipit apply` on this host.
    pub fn apply(&self, around: &Surroundings<'_>, agent: &ConsulAgent, words: &[&str]) -> Cmd {
        let locks = self.own.join("locks");
        let apply = [
            binary().to_str().unwrap(),
            "apply",
            "--lock-dir",
            locks.to_str().unwrap(),
        ];
        self.program(around, agent, &[&apply[..], words].concat())
    }

    /// Ends its watches and what they run with KILL.
    pub fn kill_watches(&mut self) {
        self.watches.clear();
    }

    /// The release in service.
    pub fn current(&self) -> Option<String> {
        let link = fs::read_link(self.disk.join("current")).ok()?;
        Some(link.file_name()?.to_str()?.to_owned())
    }

    /// What its handlers and its watches wrote.
    pub fn log(&self) -> String {
        let handlers = fs::read_to_string(self.own.join("log")).unwrap_or_default();
        let watches: Vec<String> = self.watches.iter().map(Process::log).collect();
        format!(
            "--- {}\n{handlers}--- its watches\n{}",
            self.node,
            watches.join("---\n")
        )
    }

    /// How much its handlers wrote.
    pub fn logged(&self) -> usize {
        fs::read(self.own.join("log")).map_or(0, |log| log.len())
    }
}
