//! The errors of a host: what was being done, to what, and why it failed.
//!
//! The cause stands in `#[source]` alone. [`Error::kind`] decides the exit code in the cli, [`Error::hint`] (its texts
//! stand in `hint`) says what to do next. URLs are shown without credentials and query, commands without the values of secrets.

mod hint;

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Phase;
use crate::mask::Mask;

/// What is being done when `exclude_from` is read.
pub(crate) const READING_RULES: &str = "reading exclude_from of the archive";

/// Why a manifest was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The manifest could not be read; nothing was run.
    #[error("reading the manifest {url}")]
    ManifestFetch {
        /// The manifest's URL.
        url: String,
        /// What the store said.
        #[source]
        cause: Box<shipit_store::Error>,
    },
    /// The manifest's text is not a manifest, or its template could not be evaluated; nothing was run.
    #[error("loading the manifest {url}")]
    Manifest {
        /// The manifest's URL.
        url: String,
        /// What is wrong with it.
        #[source]
        cause: Box<shipit_manifest::Error>,
    },
    /// The manifest is not text; nothing was run.
    #[error("loading the manifest {url}: it is not UTF-8 text")]
    NotText {
        /// The manifest's URL.
        url: String,
    },
    /// The manifest loads but asks for what is not done; nothing was fetched, its `failure` commands were run.
    #[error("the manifest's {key} {value:?} is refused: {reason}")]
    Refused {
        /// The manifest's key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why it is refused.
        reason: String,
    },
    /// The source could not be read.
    #[error("get src failed: {url}")]
    Fetch {
        /// The URL, without credentials and query.
        url: String,
        /// What the store said.
        #[source]
        cause: Box<shipit_store::Error>,
    },
    /// The source was not there in the time allowed.
    #[error("timeout {}s reached while fetching {url}", after.as_secs_f64())]
    Timeout {
        /// The URL, without credentials and query.
        url: String,
        /// The time allowed.
        after: Duration,
    },
    /// The bytes that came are not those that the manifest names.
    #[error("{url}: {algorithm} checksum mismatch, expected {expected}, got {got}")]
    Checksum {
        /// The URL, without credentials and query.
        url: String,
        /// md5, sha1, sha256 or sha512.
        algorithm: &'static str,
        /// The manifest's checksum, lower-case hex.
        expected: String,
        /// The checksum of what came, lower-case hex.
        got: String,
    },
    /// The archive is broken, hostile, or in a form that is not read.
    #[error("unpacking the archive of {url}")]
    Archive {
        /// The URL, without credentials and query.
        url: String,
        /// What is wrong with it.
        #[source]
        cause: Box<shipit_artifact::Error>,
    },
    /// A frame or file of a layer is not what its index says, or could not be written.
    #[error("extracting the files that are new")]
    Layer {
        /// What is wrong with it.
        #[source]
        cause: Box<shipit_artifact::Error>,
    },
    /// A file could not be read, written, moved or removed.
    #[error("{doing} {}", path.display())]
    Disk {
        /// What was being done: "writing", "making the directory".
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The temporary directory, or the directory of locks, is not one that can be used.
    #[error("{doing} {}", path.display())]
    Unusable {
        /// What was being done: "making a temporary file in".
        doing: &'static str,
        /// The directory.
        path: PathBuf,
        /// How another one is named: "--lock-dir".
        named_by: &'static str,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// The unpacked tree does not fit what stands in dest.
    #[error("syncing to {}: {reason}", path.display())]
    Sync {
        /// The path in dest.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A `pre` or `post` command ended with a failure.
    #[error("{phase} command {index} of {of} failed: {command}: {status}")]
    Command {
        /// `pre` or `post`.
        phase: Phase,
        /// Which of them, from 1.
        index: usize,
        /// How many the phase has.
        of: usize,
        /// The command's first line.
        command: String,
        /// "exit status 1", "killed by signal 9".
        status: String,
        /// The last lines of its output.
        output_tail: String,
    },
    /// A command could not be started at all.
    #[error("starting {phase} command {index} of {of}: {command}")]
    CommandStart {
        /// The phase.
        phase: Phase,
        /// Which of them, from 1.
        index: usize,
        /// How many the phase has.
        of: usize,
        /// The command's first line.
        command: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Another handler holds dest and did not end in the time allowed.
    #[error("another handler works on {}: waited {}s for its lock {}", dest.display(), waited.as_secs(), lock.display())]
    Locked {
        /// What the lock guards.
        dest: PathBuf,
        /// The lock's file.
        lock: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The locks stand where another user could take them, or take them away.
    #[error("the lock {} cannot be trusted: {reason}", path.display())]
    UnsafeLock {
        /// The directory of locks, or the lock in it.
        path: PathBuf,
        /// Why.
        reason: &'static str,
    },
    /// Nothing says what the release in service should hold.
    #[error("verifying the release in service in {}: {why}", dest.display())]
    NotVerifiable {
        /// The role's dest.
        dest: PathBuf,
        /// What is missing.
        why: String,
    },
    /// Ended by the caller; commands were stopped, temporary files removed.
    #[error("cancelled")]
    Cancelled,
    /// A fault of this crate.
    #[error("internal: {what}")]
    Internal {
        /// What should not have happened.
        what: String,
    },
}

/// What sort of failure it was; the cli maps it to an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The manifest was read and is not one that can be applied.
    Manifest,
    /// The manifest or the source could not be read.
    Store,
    /// The bytes that came are not those that the manifest names.
    Checksum,
    /// The archive is broken or hostile.
    Archive,
    /// A command of the manifest failed.
    Command,
    /// The local disk or its permissions.
    Disk,
    /// Another handler holds dest.
    Locked,
    /// Ended by the caller.
    Cancelled,
    /// A fault of this crate.
    Internal,
}

impl Error {
    /// What sort of failure it was.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ManifestFetch { .. } | Self::Fetch { .. } | Self::Timeout { .. } => ErrorKind::Store,
            Self::Manifest { .. }
            | Self::NotText { .. }
            | Self::Refused { .. }
            | Self::NotVerifiable { .. } => ErrorKind::Manifest,
            Self::Checksum { .. } => ErrorKind::Checksum,
            Self::Archive { cause, .. } | Self::Layer { cause }
                if cause.kind() == shipit_artifact::ErrorKind::Disk =>
            {
                ErrorKind::Disk
            }
            Self::Archive { .. } | Self::Layer { .. } => ErrorKind::Archive,
            Self::Disk { .. } | Self::Unusable { .. } | Self::Sync { .. } | Self::UnsafeLock { .. } => {
                ErrorKind::Disk
            }
            Self::Command { .. } | Self::CommandStart { .. } => ErrorKind::Command,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// The error and its causes in one line.
    pub(crate) fn with_causes(&self) -> String {
        shipit_artifact::with_causes(self)
    }

    /// Without the secrets that a value of the manifest holds.
    pub(crate) fn masked(self, mask: &Mask) -> Self {
        match self {
            Self::Refused { key, value, reason } => Self::Refused {
                key,
                value: mask.hide(&value),
                reason: mask.hide(&reason),
            },
            other => other,
        }
    }

    /// Of a directory below TMPDIR, or of TMPDIR itself.
    pub(crate) fn temporary(
        doing: &'static str,
        path: impl Into<PathBuf>,
        cause: impl Into<std::io::Error>,
    ) -> Self {
        Self::Unusable {
            doing,
            path: path.into(),
            named_by: "TMPDIR or --temp-dir",
            cause: cause.into(),
        }
    }

    pub(crate) fn disk(
        doing: &'static str,
        path: impl Into<PathBuf>,
        cause: impl Into<std::io::Error>,
    ) -> Self {
        Self::Disk {
            doing,
            path: path.into(),
            cause: cause.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_of_kind_disk_and_says_to_make_room() {
        let error = Error::disk(
            "writing",
            "/srv/app",
            std::io::Error::from(std::io::ErrorKind::StorageFull),
        );
        assert_eq!(error.kind(), ErrorKind::Disk);
        assert!(error.hint().is_some_and(|hint| hint.contains("make room")));
        assert_eq!(error.to_string(), "writing /srv/app");
        let none = Error::disk(
            READING_RULES,
            "rules",
            std::io::Error::from(std::io::ErrorKind::NotFound),
        );
        assert!(none.hint().is_some_and(|hint| hint.contains("`exclude_from`")));
    }
}
