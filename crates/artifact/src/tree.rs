//! What can be packed: the [`Tree`] trait, its entries and its errors.
//!
//! Two things are trees: a directory ([`crate::DirTree`]) and the tree of a commit (in the source crate).

use std::io::{self, Read};
use std::num::NonZeroUsize;

use crate::path::{EntryPath, PathError, escape};

/// One file, symlink or directory of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Where it lies, from the packed root.
    pub path: EntryPath,
    /// What it is.
    pub kind: Kind,
    /// A file's length in bytes; 0 for all others.
    pub size: u64,
}

/// What a tree's entry is. A hard link is a file; sockets, fifos and devices are no entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Packed with mode 0755, not 0644.
        executable: bool,
    },
    /// A symbolic link, never followed.
    Symlink {
        /// Where it points, verbatim: 1 to 4095 bytes without NUL.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
}

/// A set of files to pack.
pub trait Tree: Send + Sync {
    /// Every entry, sorted by the bytes of its path, each path once, directories included.
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError>;

    /// The same, made by up to `jobs` threads.
    fn entries_by(&self, jobs: NonZeroUsize) -> Result<Vec<TreeEntry>, TreeError> {
        let _ = jobs;
        self.entries()
    }

    /// The content of the file at `path`, which gives exactly the bytes that its entry's size promised. Called from
    /// several threads at once, which must not wait for each other.
    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError>;

    /// Appends the content of the file at `path` to `into`: all of it when it has the `size` bytes that its entry promised,
    /// at least a byte more than those when it is longer. For files that are read whole, where a tree may know a shorter
    /// way than [`Tree::open`]. Called from several threads at once.
    fn read(&self, path: &EntryPath, size: u64, into: &mut Vec<u8>) -> Result<(), TreeError> {
        let mut content = self.open(path)?.take(size.saturating_add(1));
        match content.read_to_end(into) {
            Ok(_) => Ok(()),
            Err(source) => Err(TreeError::io("read", path.as_bytes(), source)),
        }
    }

    /// What the last call of [`Tree::entries`] or [`Tree::entries_by`] left out because it is no file, symlink or directory.
    fn skipped(&self) -> Vec<EntryPath> {
        Vec::new()
    }
}

/// Why a tree could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The file system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was being done: "list", "open", "read".
        action: &'static str,
        /// To what, printable.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file's content is not as long as its listing said, or differs between two readings: it is being written to.
    #[error("{path} changed while it was being packed: {listed} bytes were listed, {found}")]
    Changed {
        /// Which file.
        path: EntryPath,
        /// Its size when the tree was listed.
        listed: u64,
        /// What was found instead.
        found: String,
    },
    /// A path that cannot be packed.
    #[error("cannot pack a path of {tree}")]
    Path {
        /// Which tree.
        tree: String,
        /// What is wrong with the path.
        source: PathError,
    },
    /// A symlink whose target cannot be packed.
    #[error("cannot pack the symlink {path}: its target is {why}")]
    Target {
        /// Which symlink.
        path: EntryPath,
        /// What is wrong with the target.
        why: &'static str,
    },
    /// The tree's entries are not sorted, or a path stands there twice.
    #[error("the tree's listing is out of order at {path}")]
    Order {
        /// The first path that stands wrong.
        path: EntryPath,
    },
    /// What another implementation of [`Tree`] reports.
    #[error("cannot read {path}")]
    Other {
        /// Which entry, printable.
        path: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl TreeError {
    /// An I/O error about some path's bytes.
    pub(crate) fn io(action: &'static str, path: &[u8], source: io::Error) -> Self {
        Self::Io {
            action,
            path: escape(path),
            source,
        }
    }
}

/// Refuses a listing that the packed form cannot hold: order, doubles, link targets.
pub(crate) fn check(entries: &[TreeEntry]) -> Result<(), TreeError> {
    for pair in entries.windows(2) {
        if pair[0].path >= pair[1].path {
            return Err(TreeError::Order {
                path: pair[1].path.clone(),
            });
        }
    }
    for entry in entries {
        if let Kind::Symlink { target } = &entry.kind {
            let why = match target.as_slice() {
                b"" => "empty",
                t if t.contains(&0) => "not possible: it has a NUL byte",
                t if t.len() > 4095 => "longer than 4095 bytes",
                _ => continue,
            };
            return Err(TreeError::Target {
                path: entry.path.clone(),
                why,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, kind: Kind) -> TreeEntry {
        TreeEntry {
            path: EntryPath::new(path).unwrap(),
            kind,
            size: 0,
        }
    }

    #[test]
    fn listings_are_checked() {
        let file = || Kind::File { executable: false };
        assert!(check(&[entry("a", file()), entry("b", Kind::Directory)]).is_ok());
        for pair in [["b", "a"], ["a", "a"]] {
            let error = check(&pair.map(|path| entry(path, file()))).unwrap_err();
            assert!(matches!(error, TreeError::Order { .. }));
        }
        for target in [vec![], vec![0], vec![b'a'; 4096]] {
            let error = check(&[entry("a", Kind::Symlink { target })]).unwrap_err();
            assert!(matches!(error, TreeError::Target { .. }));
        }
    }
}
