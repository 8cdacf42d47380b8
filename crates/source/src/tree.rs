//! The tree of a commit, as `git archive` would write it: its listing, and the content of its files.
//!
//! How the listing is made stands in `walk`, how it is written to disk in `export` and `write`.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use git2::Oid;
use shipit_artifact::{Digest, EntryPath, Tree, TreeEntry, TreeError};

use crate::commit::Commit;
use crate::convert::Conversion;
use crate::error::Error;
use crate::event::Event;
use crate::large::{LARGE, Large};
use crate::options::{SourceOptions, TreeOptions};
use crate::origin::Origin;
use crate::walk;

/// A commit's files with attributes applied: what `git archive` would write, and `REVISION`.
pub struct CommitTree {
    /// The commit's id.
    pub(crate) id: String,
    /// The committer's time in unix seconds, which the exported files get.
    pub(crate) time: i64,
    /// The commit's own repository, then those of its submodules.
    pub(crate) origins: Vec<Origin>,
    /// Sorted by path.
    pub(crate) nodes: Vec<Node>,
}

/// An entry and where its content comes from.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub entry: TreeEntry,
    pub content: Content,
}

/// Where an entry's content comes from.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Directories and symlinks, whose entry says all.
    None,
    /// A blob of an origin, as it is stored.
    Blob { origin: usize, id: Oid },
    /// A blob of an origin that is not written as it is stored.
    Converted {
        origin: usize,
        id: Oid,
        conversion: Conversion,
        /// The SHA-256 of what is written.
        written: Digest,
    },
    /// An LFS object's file.
    Lfs {
        file: PathBuf,
        /// Its SHA-256.
        content: Digest,
    },
    /// These bytes.
    Bytes(Vec<u8>),
}

impl CommitTree {
    pub(crate) fn build(
        source: &SourceOptions,
        commit: &Commit,
        options: TreeOptions,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Self, Error> {
        walk::walk(source, commit, options, cancel, on_event)
    }

    /// The files and symlinks that git tracks and the tree holds, sorted: what no step may vendor over. `REVISION` is not
    /// among them.
    #[must_use]
    pub fn tracked(&self) -> Vec<EntryPath> {
        let tracked = |node: &&Node| {
            !matches!(node.entry.kind, shipit_artifact::Kind::Directory)
                && !matches!(node.content, Content::Bytes(_))
        };
        self.nodes
            .iter()
            .filter(tracked)
            .map(|node| node.entry.path.clone())
            .collect()
    }

    pub(crate) fn node(&self, path: &EntryPath) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|node| node.entry.path.cmp(path));
        found.ok().and_then(|at| self.nodes.get(at))
    }

    /// The content of a node: in memory, the LFS object's file, or, where it is large, read as it is asked for.
    pub(crate) fn reader<'a>(&'a self, node: &'a Node) -> Result<Box<dyn Read + Send + 'a>, Error> {
        Ok(match &node.content {
            Content::None => Box::new(std::io::empty()),
            Content::Bytes(bytes) => Box::new(Cursor::new(bytes.as_slice())),
            Content::Lfs { file, .. } => Box::new(open_object(file)?),
            Content::Blob { origin, id } if node.entry.size >= LARGE => match self.origins.get(*origin) {
                Some(origin) => Box::new(Large::open(origin.git_dir(), *id, &node.entry.path)?),
                None => Box::new(std::io::empty()),
            },
            Content::Blob { .. } | Content::Converted { .. } => {
                let bytes = self.with_bytes(node, |content| Ok(content.into_owned()))?;
                Box::new(Cursor::new(bytes))
            }
        })
    }

    /// Hands a blob's content to `take` as it is written, without another copy. Other nodes have none.
    pub(crate) fn with_bytes<T>(
        &self,
        node: &Node,
        take: impl FnOnce(Cow<'_, [u8]>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (origin, id) = match &node.content {
            Content::Blob { origin, id } | Content::Converted { origin, id, .. } => (*origin, *id),
            Content::None | Content::Lfs { .. } | Content::Bytes(_) => return take(Cow::Borrowed(&[])),
        };
        let Some(origin) = self.origins.get(origin) else {
            return take(Cow::Borrowed(&[]));
        };
        let path = &node.entry.path;
        let Content::Converted { conversion, .. } = &node.content else {
            return origin.stored(id, path, |bytes| take(Cow::Borrowed(bytes)));
        };
        let stored = origin.stored(id, path, |bytes| Ok(bytes.to_vec()))?;
        let (bytes, _) = origin.convert(stored, id, conversion, path)?;
        take(Cow::Owned(bytes))
    }
}

/// Opens an LFS object's file.
pub(crate) fn open_object(path: &Path) -> Result<File, Error> {
    File::open(path).map_err(|source| Error::Io {
        doing: "reading",
        path: path.to_path_buf(),
        source,
    })
}

impl std::fmt::Debug for CommitTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommitTree")
            .field("id", &self.id)
            .field("entries", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl Tree for CommitTree {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        Ok(self.nodes.iter().map(|node| node.entry.clone()).collect())
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        let node = self.node_to_read(path)?;
        self.reader(node).map_err(|error| unread(path, error))
    }

    fn read(&self, path: &EntryPath, _size: u64, into: &mut Vec<u8>) -> Result<(), TreeError> {
        let node = self.node_to_read(path)?;
        if matches!(node.content, Content::Blob { .. } | Content::Converted { .. }) {
            // From git's own buffer straight to the caller's.
            let appended = self.with_bytes(node, |content| {
                into.extend_from_slice(&content);
                Ok(())
            });
            return appended.map_err(|error| unread(path, error));
        }
        let mut content = self.reader(node).map_err(|error| unread(path, error))?;
        let read = content.read_to_end(into);
        read.map(|_| ()).map_err(|error| unread(path, error))
    }
}

impl CommitTree {
    fn node_to_read(&self, path: &EntryPath) -> Result<&Node, TreeError> {
        self.node(path)
            .ok_or_else(|| unread(path, "the commit has no such path"))
    }
}

fn unread(path: &EntryPath, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TreeError {
    TreeError::Other {
        path: path.to_string(),
        source: why.into(),
    }
}
