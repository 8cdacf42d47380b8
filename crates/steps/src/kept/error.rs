//! What can go wrong with a kept workspace. Exit codes are the cli's.

use std::io;
use std::path::{Path, PathBuf};

use shipit_artifact::EntryPath;

use crate::error::ErrorKind;

/// Why a kept workspace could not be had, looked at or brought up to date. The next update makes good what was begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeptError {
    /// The file system refused.
    #[error("kept workspace: cannot {action} {path}", path = path.display())]
    Io {
        /// What was being done: "list", "move aside".
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The planned entries are no tree: not sorted, a path twice, or a directory that holds one is not among them.
    #[error("kept workspace: the planned entries are no tree at {path}: {problem}")]
    Plan {
        /// The first path that stands wrong.
        path: EntryPath,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What was to be written is not there, or not as planned.
    #[error("kept workspace: {path} was not written as planned: {problem}")]
    NotWritten {
        /// Which file or symlink.
        path: EntryPath,
        /// How it differs.
        problem: String,
    },
    /// A layer's key that cannot name a file.
    #[error("kept workspace: {key:?} is no layer key: it must be 1 to 128 letters, digits, `-` or `_`")]
    Key {
        /// The key.
        key: String,
    },
    /// The cancel flag was set.
    #[error("the update of the kept workspace was cancelled")]
    Cancelled,
}

impl KeptError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Io { .. } | Self::Plan { .. } | Self::NotWritten { .. } | Self::Key { .. } => {
                ErrorKind::Local
            }
        }
    }

    /// Whether the file system denied a permission.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::Io { source, path, .. } = self else {
            return None;
        };
        let path = path.display();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
                "free some space on the disk that {path} is on, then run it again"
            )),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(format!(
                "see whose {path} is and who may write there, or name another place by --cache-dir DIR"
            )),
            io::ErrorKind::NotFound => Some("something removed it meanwhile; run it again".to_owned()),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source: source.into(),
        }
    }
}

/// Why an update ended without its result: the workspace's own failure, or that of whoever writes the files.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError<E: std::error::Error + 'static> {
    /// The workspace.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// [`UpdateRequest::write`](crate::UpdateRequest::write).
    #[error(transparent)]
    Write(E),
}
