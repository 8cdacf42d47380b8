//! What a [`Source`](crate::Source) is opened with: settled by the caller, checked here as little as types allow.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::credentials::Credentials;
use crate::remote::Remote;

/// Which program talks to the remotes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fetch {
    /// libgit2, and the git program where libgit2 is known to be unable: `file://` (it knows no depth there), hosts that
    /// an ssh config mentions, ssh URLs without a user, servers that hide commits from the protocol libgit2 speaks.
    #[default]
    Auto,
    /// libgit2 alone.
    Libgit2,
    /// The git program alone.
    Cli,
}

/// What happens to submodules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Submodules {
    /// An empty directory stands for each, as in `git archive`; an event names it.
    #[default]
    Off,
    /// Their pinned commits are fetched and exported, recursively.
    On {
        /// Hosts that may be fetched from, besides the hosts of the repository's own remotes.
        allowed_hosts: Vec<String>,
    },
}

/// How long a remote may keep the build waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until an ssh connection of the git program stands. Elsewhere the beginning cannot be told from a stall.
    pub connect: Duration,
    /// Without any word or progress from a remote. The remote is given up then, and the next one is tried.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
        }
    }
}

/// The settled input of [`Source::open`](crate::Source::open).
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// The remotes of one repository, tried in order.
    pub remotes: Vec<Remote>,
    /// The directory of the bare mirror; made when it does not exist. `<mirror>.lock` beside it is its lock file.
    /// Repositories that are read directly ([`Remote::Path`]) need no mirror, and none is made for them.
    pub mirror: PathBuf,
    /// Which program fetches.
    pub fetch: Fetch,
    /// What authenticates, and which host keys are trusted.
    pub credentials: Credentials,
    /// The git program: a name looked up in the `PATH` of `git_env`, or an absolute path.
    pub git_program: PathBuf,
    /// The whole environment of the git program (`PATH`, `HOME`, `SSH_AUTH_SOCK`, proxies …). Variables that would move
    /// git to another repository, trace it or make it prompt are left out.
    pub git_env: Vec<(OsString, OsString)>,
    /// OpenSSH config files that exist (`~/.ssh/config`, `/etc/ssh/ssh_config`); a host that they mention is left to the
    /// git program by [`Fetch::Auto`].
    pub ssh_configs: Vec<PathBuf>,
    /// What happens to submodules.
    pub submodules: Submodules,
    /// Whether LFS pointers are replaced by their files, with the git-lfs program. Refused by name when false.
    pub lfs: bool,
    /// How long a remote may keep the build waiting.
    pub timeouts: Timeouts,
}

impl SourceOptions {
    /// Defaults: `Fetch::Auto`, no credentials, `git` from an empty environment's default path, no submodules, no LFS.
    #[must_use]
    pub fn new(remotes: Vec<Remote>, mirror: PathBuf) -> Self {
        Self {
            remotes,
            mirror,
            fetch: Fetch::default(),
            credentials: Credentials::default(),
            git_program: PathBuf::from("git"),
            git_env: Vec::new(),
            ssh_configs: Vec::new(),
            submodules: Submodules::default(),
            lfs: false,
            timeouts: Timeouts::default(),
        }
    }
}

/// What [`Source::tree`](crate::Source::tree) adds to the commit's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeOptions {
    /// Whether the file `REVISION` with the commit's id and a newline is part of the tree (it takes the place of one
    /// that git tracks, and an event says so).
    pub revision_file: bool,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { revision_file: true }
    }
}
