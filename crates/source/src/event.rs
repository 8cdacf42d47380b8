//! What a source reports while it works. Remotes are named as [`Remote`](crate::Remote) displays them, without credentials.

use std::path::PathBuf;

use serde::Serialize;

/// One thing that happened, for a reporter to render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Another process holds the mirror's lock; this one waits.
    WaitingForLock {
        /// The lock file.
        path: PathBuf,
    },
    /// What an interrupted fetch left in the mirror was removed.
    MirrorRepaired {
        /// The mirror.
        path: PathBuf,
        /// What was removed, relative to the mirror.
        removed: Vec<PathBuf>,
    },
    /// The mirror was not usable and is made anew.
    MirrorRemade {
        /// The mirror.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A remote is asked.
    Fetching {
        /// The remote.
        remote: String,
        /// What is asked for: a commit id, a ref's name, or `all branches and tags`.
        what: String,
        /// One commit without its history.
        shallow: bool,
        /// `libgit2` or `git`.
        with: &'static str,
    },
    /// A transfer goes on (at most ten times a second).
    Progress {
        /// The remote.
        remote: String,
        /// Objects received.
        received_objects: u64,
        /// Objects to receive; 0 while not known.
        total_objects: u64,
        /// Bytes received; 0 where the git program does not say.
        received_bytes: u64,
    },
    /// A remote did not answer, or refused.
    RemoteFailed {
        /// The remote.
        remote: String,
        /// Why.
        reason: String,
    },
    /// A remote answered but does not have the revision; the next one is asked.
    RemoteLacks {
        /// The remote.
        remote: String,
        /// The revision as it was asked for.
        revision: String,
    },
    /// Warning: no remote answered, and the mirror's last known value is taken.
    StaleMirror {
        /// The revision as it was asked for.
        revision: String,
        /// The commit that is taken for it.
        id: String,
        /// When a remote last said so, in unix seconds; `None` when it is not known.
        seen: Option<i64>,
    },
    /// Warning: the repository's work tree has changes that are not in the commit, and so not in the artifact.
    DirtyWorkTree {
        /// The work tree.
        path: PathBuf,
        /// How many paths differ.
        changed: usize,
        /// The first few of them.
        examples: Vec<String>,
    },
    /// A submodule is left out: an empty directory stands for it.
    SubmoduleSkipped {
        /// Its path, printable.
        path: String,
    },
    /// A submodule's commit is fetched.
    Submodule {
        /// Its path, printable.
        path: String,
        /// Its URL, without credentials.
        url: String,
        /// The pinned commit.
        id: String,
    },
    /// Warning: git tracks a file `REVISION`; shipit's takes its place.
    RevisionFileReplaced,
    /// Warning: a file could not be put into its `working-tree-encoding`; it is exported as git stores it.
    NotEncoded {
        /// The file's path, printable.
        path: String,
        /// The encoding.
        encoding: String,
    },
    /// Warning: an attribute names a filter program (`filter=…`), which shipit does not run; the files are exported as git
    /// stores them.
    FilterIgnored {
        /// The first file's path, printable.
        path: String,
        /// The filter's name.
        filter: String,
    },
    /// An LFS object is fetched by git-lfs.
    LfsFetching {
        /// The file's path, printable.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The export goes on (at most ten times a second).
    Exporting {
        /// Files and symlinks written.
        files: u64,
        /// Files and symlinks to write.
        total_files: u64,
        /// Bytes written.
        bytes: u64,
    },
}
