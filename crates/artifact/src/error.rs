//! What can go wrong while packing, loading and unpacking, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::index_codec::IndexError;
use crate::path::PathError;
use crate::record::RecordError;
use crate::tree::TreeError;

/// An error with all its causes, in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let errors = std::iter::successors(Some(error), |error| error.source());
    errors.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// An error of this crate. The cause stands in its source only.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The cancel flag was set.
    #[error("cancelled")]
    Cancelled,
    /// A local file or directory could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was being done: "write", "rename", …
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The files to be packed could not be read.
    #[error("cannot pack the layer {layer}")]
    Tree {
        /// Which layer.
        layer: String,
        /// Why.
        source: TreeError,
    },
    /// The encoder refused, which only a wrong level or want of memory can cause.
    #[error("cannot compress a frame of the layer {layer}")]
    Compress {
        /// Which layer.
        layer: String,
        /// Why.
        source: io::Error,
    },
    /// Two layers hold one path.
    #[error("{path} belongs to the layer {first} and to the layer {second}; a path belongs to one layer")]
    ClaimedTwice {
        /// The path, printable.
        path: String,
        /// The layer that comes first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A layer where it cannot stand: code among the sealed layers, dependencies as the last, mixed compression.
    #[error("the layer {layer} cannot be assembled: {why}")]
    Layer {
        /// Which layer.
        layer: String,
        /// Why.
        why: String,
    },
    /// No artifact of that name.
    #[error("there is no artifact {sha256} in {}", dir.display())]
    NoArtifact {
        /// The wanted name.
        sha256: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// A stored record that cannot be used.
    #[error("the record {} cannot be used", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: RecordError,
    },
    /// A stored index that cannot be used.
    #[error("the index {} cannot be used", path.display())]
    Index {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: IndexError,
    },
    /// A stored file is not what its name, record or index says.
    #[error("{} is not what it should be: {why}", path.display())]
    Differs {
        /// Which file.
        path: PathBuf,
        /// In what.
        why: String,
    },
    /// The directory to unpack into holds something already.
    #[error("cannot unpack into {}: it is not empty", path.display())]
    NotEmpty {
        /// Which directory.
        path: PathBuf,
    },
    /// The tarball's bytes could not be read.
    #[error("cannot read the tarball after {entries} entries")]
    Read {
        /// How many entries were unpacked before.
        entries: u64,
        /// Why.
        source: io::Error,
    },
    /// The input is no tarball that shipit unpacks.
    #[error("this is not a tarball that can be unpacked: {why}")]
    NotATarball {
        /// What it looks like.
        why: String,
    },
    /// The tarball ends too soon.
    #[error("the tarball is cut short after {after}")]
    Truncated {
        /// The last entry that was begun, or "its beginning".
        after: String,
    },
    /// A tarball's entry that is broken.
    #[error("the tarball's entry {entry} is broken: {why}")]
    Broken {
        /// Which entry: its name or its number, printable.
        entry: String,
        /// What is wrong.
        why: String,
    },
    /// An entry whose name or link target would leave the destination.
    #[error("the tarball's entry {entry} is refused: it would leave the directory it is unpacked into")]
    Escapes {
        /// Which entry, printable.
        entry: String,
        /// What is wrong with its path.
        source: PathError,
    },
    /// An entry that goes through a symlink.
    #[error("the tarball's entry {entry} is refused: a directory on its way is a symlink or no directory")]
    ThroughSymlink {
        /// Which entry, printable.
        entry: String,
    },
    /// An entry that is not unpacked on principle: a device, a fifo, …
    #[error("the tarball's entry {entry} is refused: it is {what}")]
    RefusedKind {
        /// Which entry, printable.
        entry: String,
        /// What it is: "a block device", …
        what: &'static str,
    },
    /// A limit that stands against zip bombs.
    #[error("the tarball is refused at its entry {entry}: {limit}")]
    Bomb {
        /// Which entry, printable.
        entry: String,
        /// Which limit, with its value.
        limit: String,
    },
    /// A frame of a layer cannot be had, or is not what the layer's index says.
    #[error("the layer's frame {number} cannot be used")]
    Frame {
        /// Which frame, from 0.
        number: usize,
        /// Why; of kind `InvalidData` when it is not what the index says.
        source: io::Error,
    },
    /// An entry of a layer is not what the layer's index says.
    #[error("the layer's entry {entry} is not what its index says: {why}")]
    EntryDiffers {
        /// Which entry, printable.
        entry: String,
        /// In what.
        why: String,
    },
    /// An entry could not be written.
    #[error("cannot {action} {entry} in {}", dest.display())]
    Unpack {
        /// What was being done: "create", "write", …
        action: &'static str,
        /// Which entry, printable.
        entry: String,
        /// The directory that is unpacked into.
        dest: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// What kind of error it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The cancel flag was set.
    Cancelled,
    /// Local disk or permission: full, denied, gone, being written to.
    Disk,
    /// The source behind a tree could not be read.
    Source,
    /// What was asked cannot be: layers that overlap, paths that cannot be packed.
    Config,
    /// No such artifact.
    NotFound,
    /// A stored record, index or artifact, or a tarball, is not what it should be.
    Content,
    /// Written by a newer shipit.
    Newer,
    /// A tarball that a safety rule refuses.
    Refused,
    /// A fault of shipit itself.
    Internal,
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Cancelled => ErrorKind::Cancelled,
            Self::Io { .. } | Self::Unpack { .. } | Self::NotEmpty { .. } => ErrorKind::Disk,
            Self::Tree { source, .. } => match source {
                TreeError::Io { .. } | TreeError::Changed { .. } => ErrorKind::Disk,
                TreeError::Path { .. } | TreeError::Target { .. } => ErrorKind::Config,
                TreeError::Order { .. } => ErrorKind::Internal,
                TreeError::Other { .. } => ErrorKind::Source,
            },
            Self::Compress { .. } => ErrorKind::Internal,
            Self::ClaimedTwice { .. } | Self::Layer { .. } => ErrorKind::Config,
            Self::NoArtifact { .. } => ErrorKind::NotFound,
            Self::Record {
                source: RecordError::Newer { .. },
                ..
            }
            | Self::Index {
                source: IndexError::Newer { .. },
                ..
            } => ErrorKind::Newer,
            Self::Record { .. } | Self::Index { .. } | Self::Differs { .. } => ErrorKind::Content,
            Self::Read { .. } | Self::NotATarball { .. } | Self::Truncated { .. } | Self::Broken { .. } => {
                ErrorKind::Content
            }
            Self::Frame { .. } | Self::EntryDiffers { .. } => ErrorKind::Content,
            Self::Escapes { .. }
            | Self::ThroughSymlink { .. }
            | Self::RefusedKind { .. }
            | Self::Bomb { .. } => ErrorKind::Refused,
        }
    }

    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Io { source, path, .. } => return io_hint(source, path),
            Self::Unpack { source, dest, .. } => return io_hint(source, dest),
            Self::Tree {
                source: TreeError::Changed { .. },
                ..
            } => "something still writes into the workspace; end it before the layer is packed",
            Self::Tree {
                source: TreeError::Io { source, .. },
                ..
            } if source.kind() == io::ErrorKind::PermissionDenied => {
                "give the user that builds the right to read it, or exclude it"
            }
            Self::ClaimedTwice { .. } => {
                "let one step alone vendor that path, or set `layer = false` on the step that shares it"
            }
            Self::NoArtifact { .. } => "build it first, or name the directory that holds it",
            Self::Record {
                source: RecordError::Newer { .. },
                ..
            }
            | Self::Index {
                source: IndexError::Newer { .. },
                ..
            } => "it was written by a newer shipit; use that version or a newer one",
            Self::Record { .. } | Self::Index { .. } | Self::Differs { .. } => {
                "remove the artifact with its record and build it again"
            }
            Self::NotEmpty { .. } => "give an empty directory",
            Self::NotATarball { .. } => "pack it as a tarball, plain or compressed by gzip or zstd",
            Self::Truncated { .. } | Self::Read { .. } | Self::Frame { .. } | Self::EntryDiffers { .. } => {
                "fetch it again; when that does not help, build it again"
            }
            Self::Escapes { .. } | Self::ThroughSymlink { .. } | Self::RefusedKind { .. } => {
                "do not trust this tarball; find out who made it"
            }
            Self::Bomb { .. } => "when the tarball is known to be that large, raise the limit",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

fn io_hint(source: &io::Error, path: &Path) -> Option<String> {
    let path = path.display();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some(format!("make room on the file system that holds {path}"))
        }
        io::ErrorKind::PermissionDenied => Some(format!("give this user the right to write to {path}")),
        io::ErrorKind::ReadOnlyFilesystem => Some(format!(
            "{path} lies on a file system that is mounted read-only; choose another place"
        )),
        _ => None,
    }
}
