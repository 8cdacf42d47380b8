//! The errors of a host: what was being done, to what, and why it failed.
//!
//! The cause stands in `#[source]` alone. [`Error::kind`] decides the exit code in the cli, [`Error::hint`] says
//! what to do next. URLs are shown without credentials and query, commands without the values of secrets.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Phase;
use crate::mask::Mask;

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
            Self::Manifest { .. } | Self::NotText { .. } | Self::Refused { .. } => ErrorKind::Manifest,
            Self::Checksum { .. } => ErrorKind::Checksum,
            Self::Archive { cause, .. } if cause.kind() == shipit_artifact::ErrorKind::Disk => {
                ErrorKind::Disk
            }
            Self::Archive { .. } => ErrorKind::Archive,
            Self::Disk { .. } | Self::Unusable { .. } | Self::Sync { .. } | Self::UnsafeLock { .. } => {
                ErrorKind::Disk
            }
            Self::Command { .. } | Self::CommandStart { .. } => ErrorKind::Command,
            Self::Locked { .. } => ErrorKind::Locked,
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    /// What to do next, where something can be said.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::ManifestFetch { cause, .. } | Self::Fetch { cause, .. } => return fetch_hint(cause),
            Self::Manifest { cause, .. } => return cause.hint(),
            Self::Archive { cause, .. } => return archive_hint(cause),
            Self::Disk { cause, .. } => return disk_hint(cause),
            Self::Unusable { named_by, cause, .. } => return Some(unusable_hint(named_by, cause)),
            Self::NotText { .. } => "is this the URL of the archive, not of its manifest?",
            Self::Refused { .. } => {
                "change the manifest; docs/stretcher-compatibility.md lists what differs from stretcher"
            }
            Self::Timeout { .. } => "does the server answer? else raise --timeout, or the bandwidth limit",
            Self::Checksum { .. } => {
                "nothing was touched; fetch it again, and if it stays so the stored file is not what was published: \
                 publish a new release"
            }
            Self::Sync { .. } => "remove what is in the way, or leave it out of the manifest's excludes",
            Self::Command { .. } => {
                "the command's output stands above; run it by hand in the same directory and environment"
            }
            Self::CommandStart { .. } => {
                "is there an `sh` on PATH, and is the working directory still there?"
            }
            Self::Locked { .. } => "wait for the other handler, or end it; the lock goes with its process",
            Self::UnsafeLock { .. } => {
                "remove it when nobody needs it, or name a directory that only this user can write to by --lock-dir"
            }
            Self::Cancelled | Self::Internal { .. } => return None,
        };
        Some(hint.to_owned())
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

/// What a host does about the store's error: it has no config, and sends nothing.
fn fetch_hint(cause: &shipit_store::Error) -> Option<String> {
    use shipit_store::ErrorKind as Store;
    if let shipit_store::Error::WrongRegion { expected, .. } = cause {
        let region = expected.as_deref().unwrap_or("<the bucket's region>");
        return Some(format!(
            "set AWS_REGION={region} where this host's watch is configured"
        ));
    }
    let hint = match cause.kind() {
        Store::Unreachable => {
            "check this host's network and proxy settings and, for S3, its endpoint; dest was not touched, so apply it again"
        }
        Store::NotFound => "is the URL right, and the release still in the store?",
        Store::NoBucket => {
            "is the URL right? and check this host's AWS_REGION and AWS_ENDPOINT_URL, where those are set"
        }
        _ => return cause.hint(),
    };
    Some(hint.to_owned())
}

fn archive_hint(cause: &shipit_artifact::Error) -> Option<String> {
    match cause {
        shipit_artifact::Error::Bomb { .. } => {
            let hint = "dest was not touched; when the archive is known to be that large, allow it by --max-unpacked, \
                        as in --max-unpacked 100GB";
            Some(hint.to_owned())
        }
        cause => cause.hint(),
    }
}

fn unusable_hint(named_by: &str, cause: &std::io::Error) -> String {
    match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            format!("make room there, or name another directory by {named_by}")
        }
        _ => format!("name a directory that is there and that this user may write to by {named_by}"),
    }
}

fn disk_hint(cause: &std::io::Error) -> Option<String> {
    let hint = match cause.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            "make room: the archive and its unpacked tree must fit beside what is in dest"
        }
        std::io::ErrorKind::PermissionDenied => "run it as the user that owns dest, or give it the rights",
        std::io::ErrorKind::CrossesDevices => "set TMPDIR to a directory on dest's file system",
        std::io::ErrorKind::NotFound => "make dest's parent directory, for example in the manifest's `pre`",
        _ => return None,
    };
    Some(hint.to_owned())
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
    }

    #[test]
    fn hints_name_what_a_host_has() {
        let fetch = |cause| Error::Fetch {
            url: "s3://b/a".to_owned(),
            cause: Box::new(cause),
        };
        let stalled = fetch(shipit_store::Error::Stalled {
            doing: "reading s3://b/a".to_owned(),
            after: Duration::from_secs(60),
        });
        let hint = stalled.hint().unwrap();
        assert!(hint.contains("network") && !hint.contains("store."), "{hint}");
        let elsewhere = fetch(shipit_store::Error::WrongRegion {
            bucket: "b".to_owned(),
            region: "us-east-1".to_owned(),
            right: String::new(),
            expected: Some("eu-west-1".to_owned()),
        });
        assert!(elsewhere.hint().unwrap().contains("AWS_REGION=eu-west-1"));
        let bomb = Error::Archive {
            url: "file:///a".to_owned(),
            cause: Box::new(shipit_artifact::Error::Bomb {
                entry: "x".to_owned(),
                limit: "it unpacks to more than 9 bytes".to_owned(),
            }),
        };
        assert!(bomb.hint().unwrap().contains("--max-unpacked"));
    }
}
