//! What can go wrong in the layer cache, typed. Exit codes are the cli's.

use std::io;
use std::path::{Path, PathBuf};

/// What kind of failure it is; the cli decides by it whether a build goes on without the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheErrorKind {
    /// The cache's directory cannot be had: denied, mounted read-only, no directory. A build goes on without it.
    Unusable,
    /// The disk is full, or broken.
    Disk,
    /// An entry is not what it was when it was kept. [`CachedLayer::discard`](crate::CachedLayer::discard) removes it.
    Damaged,
    /// The cancel flag was set.
    Cancelled,
    /// A fault of shipit itself.
    Internal,
}

/// Why the cache did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// A file or directory of the cache could not be read, written, locked or removed.
    #[error("layer cache: cannot {action} {}", path.display())]
    Io {
        /// What was being done: "write", "lock".
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An entry is not what it was when it was kept.
    #[error("layer cache: the layer in {} is damaged: {why}", dir.display())]
    Damaged {
        /// The entry's directory.
        dir: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A layer's files could not be put into the workspace.
    #[error("layer cache: cannot put the layer in {} into {}", dir.display(), dest.display())]
    Place {
        /// The entry's directory.
        dir: PathBuf,
        /// The workspace.
        dest: PathBuf,
        /// Why.
        source: Box<shipit_artifact::Error>,
    },
    /// The cancel flag was set.
    #[error("layer cache: cancelled")]
    Cancelled,
    /// A text that is no layer key, or not the key of what is to be kept.
    #[error("layer cache: {why}")]
    Key {
        /// What is wrong with it.
        why: String,
    },
}

impl CacheError {
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> CacheErrorKind {
        use shipit_artifact::ErrorKind;
        match self {
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::NotADirectory => CacheErrorKind::Unusable,
                _ => CacheErrorKind::Disk,
            },
            Self::Damaged { .. } => CacheErrorKind::Damaged,
            Self::Place { source, .. } => match source.kind() {
                ErrorKind::Cancelled => CacheErrorKind::Cancelled,
                ErrorKind::Content | ErrorKind::Newer => CacheErrorKind::Damaged,
                ErrorKind::Disk => CacheErrorKind::Disk,
                _ => CacheErrorKind::Internal,
            },
            Self::Cancelled => CacheErrorKind::Cancelled,
            Self::Key { .. } => CacheErrorKind::Internal,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(format!(
                    "make room on the file system that holds {}: `shipit cache prune --max-size SIZE` removes the layers \
                     that were not used for longest",
                    path.display()
                )),
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::NotADirectory => Some(format!(
                    "see whose {} is and who may write there, or name another place by --cache-dir DIR",
                    path.display()
                )),
                io::ErrorKind::NotFound => Some("something removed it meanwhile; run it again".to_owned()),
                _ => None,
            },
            Self::Damaged { .. } => Some(
                "`shipit cache verify` checks and removes what is damaged; the next build makes it again"
                    .to_owned(),
            ),
            Self::Place { source, .. } => source.hint(),
            Self::Cancelled | Self::Key { .. } => None,
        }
    }
}
