//! Why a source could not be had. Messages hold no credentials; the cause stands in `#[source]`.

use std::io;
use std::path::{Path, PathBuf};

use shipit_artifact::PathError;

use crate::remote::RemoteError;

/// What kind of failure it is, for exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A revision or remote that cannot be meant: bad syntax, a URL with a password.
    Input,
    /// The revision is in no repository.
    NotFound,
    /// The revision could mean several commits.
    Ambiguous,
    /// No remote answered, and the mirror does not have the revision.
    Unreachable,
    /// A host key is unknown, has changed or is revoked.
    HostKey,
    /// A remote refused the credentials, or wants some.
    Auth,
    /// A repository or the mirror is not usable.
    Repository,
    /// The commit holds what shipit refuses to export.
    Refused,
    /// A program (git, git-lfs) is missing or failed.
    Program,
    /// The local disk or its permissions.
    Io,
    /// The cancel flag was set.
    Cancelled,
}

/// A remote that gave nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// The remote, without credentials.
    pub remote: String,
    /// Why.
    pub reason: String,
}

/// Why a source could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A remote that cannot be used.
    #[error("the repository {given:?} cannot be used")]
    Remote {
        /// What was given, with any password taken out.
        given: String,
        /// Why.
        #[source]
        source: RemoteError,
    },
    /// No remote was given.
    #[error("no repository was given")]
    NoRemote,
    /// A revision that cannot be one.
    #[error("the revision {revision:?} cannot be one: {reason}")]
    BadRevision {
        /// What was asked for.
        revision: String,
        /// Why.
        reason: &'static str,
    },
    /// The revision is in none of the remotes that answered.
    #[error(
        "the revision {revision:?} names no commit in {}{}",
        list(searched),
        unanswered(unreached)
    )]
    NotFound {
        /// What was asked for.
        revision: String,
        /// The remotes that answered; in parentheses what is known of why they have no such commit.
        searched: Vec<String>,
        /// The remotes that did not.
        unreached: Vec<Unreached>,
        /// Branches and tags with a similar name, best first.
        similar: Vec<String>,
        /// What to do, where the reason is known.
        advice: Option<String>,
    },
    /// The revision could mean several commits.
    #[error("the revision {revision:?} is ambiguous: it could be {}", list(candidates))]
    Ambiguous {
        /// What was asked for.
        revision: String,
        /// What it could be: `<commit id> <subject>` or `<ref> (<commit id>)`.
        candidates: Vec<String>,
    },
    /// No remote answered, and the mirror does not have the revision.
    #[error(
        "the revision {revision:?} is not to be had: no repository answered{}",
        reasons(unreached)
    )]
    Unreachable {
        /// What was asked for.
        revision: String,
        /// The remotes, and why each gave nothing.
        unreached: Vec<Unreached>,
    },
    /// The host key is unknown, has changed or is revoked.
    #[error("the host key of {remote} cannot be trusted: {reason}")]
    HostKey {
        /// The remote.
        remote: String,
        /// Why.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// The remote refused the credentials, or wants some.
    #[error("{remote} refused access: {reason}")]
    Auth {
        /// The remote.
        remote: String,
        /// What was tried.
        reason: String,
    },
    /// A token would go over an unprotected connection.
    #[error("the token is not sent to {remote}: the connection is not encrypted")]
    PlainToken {
        /// The remote.
        remote: String,
    },
    /// A repository that is read directly, or the mirror, cannot be opened or read.
    #[error("the git repository {path} cannot be read", path = path.display())]
    Repository {
        /// The repository.
        path: PathBuf,
        /// Why.
        #[source]
        source: git2::Error,
    },
    /// The directory belongs to somebody else, and git's `safe.directory` does not list it.
    #[error("the git repository {path} belongs to another user", path = path.display())]
    Owner {
        /// The repository.
        path: PathBuf,
        /// libgit2's words.
        #[source]
        source: git2::Error,
    },
    /// An object that the commit needs is missing or damaged.
    #[error("the git repository {path} is damaged: {what} cannot be read", path = git_dir.display())]
    Damaged {
        /// The repository.
        git_dir: PathBuf,
        /// The object and, where known, its path.
        what: String,
        /// Why.
        #[source]
        source: git2::Error,
    },
    /// A path in the commit that could harm the export.
    #[error("commit {commit} holds the path {path:?}, which is refused: {reason}")]
    UnsafePath {
        /// The commit.
        commit: String,
        /// The path, printable.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A path in the commit that no entry can have.
    #[error("commit {commit} holds the path {path:?}, which is refused")]
    BadPath {
        /// The commit.
        commit: String,
        /// The path, printable.
        path: String,
        /// Why.
        #[source]
        source: PathError,
    },
    /// An `export-subst` placeholder that does not depend on the commit alone.
    #[error("{path}: the placeholder {placeholder} of export-subst is not supported: {reason}")]
    Placeholder {
        /// The file, printable.
        path: String,
        /// The placeholder.
        placeholder: String,
        /// Why.
        reason: &'static str,
    },
    /// Files are LFS pointers and LFS is off.
    #[error("{count} {} of commit {commit} {} kept in git LFS: {}", plural(*count, "file", "files"), plural(*count, "is", "are"), list(paths))]
    LfsPointers {
        /// The commit.
        commit: String,
        /// How many there are.
        count: usize,
        /// The first few, printable.
        paths: Vec<String>,
    },
    /// An LFS object could not be had.
    #[error("{path}: its LFS object {oid} could not be had: {reason}")]
    LfsObject {
        /// The file, printable.
        path: String,
        /// The object's SHA-256.
        oid: String,
        /// What git-lfs said.
        reason: String,
    },
    /// A submodule that cannot be fetched as the commit describes it.
    #[error("submodule {path}: {reason}")]
    Submodule {
        /// Its path, printable.
        path: String,
        /// Why.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// A submodule lies on a host that is not allowed.
    #[error("submodule {path} lies on {host}, which is not among the allowed hosts")]
    SubmoduleHost {
        /// Its path, printable.
        path: String,
        /// The host.
        host: String,
    },
    /// Something went wrong within a submodule.
    #[error("submodule {path} could not be had")]
    InSubmodule {
        /// Its path, printable.
        path: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A program is missing or could not be started.
    #[error("the program {program} could not be started", program = program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory could not be read or written.
    #[error("{doing} {path} failed", path = path.display())]
    Io {
        /// What was being done: `writing`, `renaming` …
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The export's destination is in use.
    #[error("{path} is not an empty directory; the commit is not exported into it", path = path.display())]
    DestinationInUse {
        /// The destination.
        path: PathBuf,
    },
    /// An entry that the commit's tree does not have was to be written.
    #[error("commit {commit} has no {path} to write")]
    NoEntry {
        /// The commit.
        commit: String,
        /// The path, printable.
        path: String,
    },
    /// The cancel flag was set.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Remote { .. } | Self::NoRemote | Self::BadRevision { .. } | Self::NoEntry { .. } => {
                ErrorKind::Input
            }
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Ambiguous { .. } => ErrorKind::Ambiguous,
            Self::Unreachable { .. } => ErrorKind::Unreachable,
            Self::HostKey { .. } => ErrorKind::HostKey,
            Self::Auth { .. } | Self::PlainToken { .. } => ErrorKind::Auth,
            Self::Repository { .. } | Self::Owner { .. } | Self::Damaged { .. } => ErrorKind::Repository,
            Self::UnsafePath { .. }
            | Self::BadPath { .. }
            | Self::Placeholder { .. }
            | Self::LfsPointers { .. }
            | Self::SubmoduleHost { .. }
            | Self::Submodule { .. } => ErrorKind::Refused,
            Self::InSubmodule { source, .. } => source.kind(),
            Self::LfsObject { .. } => ErrorKind::Unreachable,
            Self::Program { .. } => ErrorKind::Program,
            Self::Io { .. } | Self::DestinationInUse { .. } => ErrorKind::Io,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }
}

impl Error {
    /// libgit2 could not write to a repository of shipit's own.
    pub(crate) fn writing(doing: &'static str, path: &Path, source: git2::Error) -> Self {
        let path = path.to_path_buf();
        match disk_error(source.message()) {
            Some(source) => Self::Io { doing, path, source },
            None => Self::Repository { path, source },
        }
    }
}

/// What the words of git, git-lfs or libgit2 say of this machine's disk.
pub(crate) fn disk_error(text: &str) -> Option<io::Error> {
    let kinds = [
        ("No space left on device", io::ErrorKind::StorageFull),
        ("Disk quota exceeded", io::ErrorKind::QuotaExceeded),
        ("Read-only file system", io::ErrorKind::ReadOnlyFilesystem),
        (
            "insufficient permission for adding",
            io::ErrorKind::PermissionDenied,
        ),
    ];
    let (_, kind) = kinds
        .iter()
        .find(|(words, _)| text.to_ascii_lowercase().contains(&words.to_ascii_lowercase()))?;
    Some((*kind).into())
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

pub(crate) fn list(items: &[String]) -> String {
    items.join(", ")
}

fn unanswered(unreached: &[Unreached]) -> String {
    if unreached.is_empty() {
        return String::new();
    }
    format!("; no answer came from {}", listed(unreached))
}

fn reasons(unreached: &[Unreached]) -> String {
    if unreached.is_empty() {
        return String::new();
    }
    format!(": {}", listed(unreached))
}

fn listed(unreached: &[Unreached]) -> String {
    let texts: Vec<String> = unreached
        .iter()
        .map(|u| format!("{} ({})", u.remote, u.reason))
        .collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_every_remote() {
        let gone = |remote: &str| Unreached {
            remote: remote.into(),
            reason: "timed out".into(),
        };
        let unreached = vec![gone("https://a.example/x.git"), gone("https://b.example/x.git")];
        let error = Error::Unreachable {
            revision: "main".into(),
            unreached: unreached.clone(),
        };
        let expected = "the revision \"main\" is not to be had: no repository answered: \
            https://a.example/x.git (timed out), https://b.example/x.git (timed out)";
        assert_eq!(error.to_string(), expected);
        let searched = vec!["https://c.example/x.git".into()];
        let error = Error::NotFound {
            revision: "mian".into(),
            searched,
            unreached,
            similar: vec!["main".into()],
            advice: None,
        };
        assert!(error.to_string().starts_with(
            "the revision \"mian\" names no commit in https://c.example/x.git; no answer came from https://a.example/x.git (timed out), "
        ));
        assert_eq!(error.hint().unwrap(), "did you mean main?");
    }
}
