//! The tree of a commit, as `git archive` would write it: its listing, and the content of its files.
//!
//! How the listing is made stands in `walk`, how it is written to disk in `export`.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use git2::{Oid, Repository};
use shipit_artifact::{EntryPath, Tree, TreeEntry, TreeError};

use crate::commit::Commit;
use crate::convert::Conversion;
use crate::error::Error;
use crate::event::Event;
use crate::options::{SourceOptions, TreeOptions};
use crate::subst::{self, Values};
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

/// A commit whose files are in the tree: the one asked for, or a submodule's.
pub(crate) struct Origin {
    pub repository: Mutex<Repository>,
    pub values: Values,
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
    /// A blob of an origin, converted.
    Blob {
        origin: usize,
        id: Oid,
        conversion: Conversion,
    },
    /// An LFS object's file.
    Lfs(PathBuf),
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

    /// The content of a node: in memory, or the LFS object's file.
    fn read<'a>(&'a self, node: &'a Node) -> Result<Box<dyn Read + Send + 'a>, Error> {
        Ok(match &node.content {
            Content::None => Box::new(std::io::empty()),
            Content::Bytes(bytes) => Box::new(Cursor::new(bytes.as_slice())),
            Content::Lfs(path) => {
                let file = File::open(path).map_err(|source| Error::Io {
                    doing: "reading",
                    path: path.clone(),
                    source,
                })?;
                Box::new(file)
            }
            Content::Blob { .. } => {
                let mut bytes = Vec::new();
                self.with_bytes(node, |content| {
                    bytes = content.to_vec();
                    Ok(())
                })?;
                Box::new(Cursor::new(bytes))
            }
        })
    }

    /// Hands a blob's converted content to `take` without another copy. Other nodes have none.
    pub(crate) fn with_bytes(
        &self,
        node: &Node,
        take: impl FnOnce(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Content::Blob {
            origin,
            id,
            conversion,
        } = &node.content
        else {
            return Ok(());
        };
        let Some(origin) = self.origins.get(*origin) else {
            return Ok(());
        };
        let repository = origin.repository.lock().unwrap_or_else(PoisonError::into_inner);
        let damaged = |source| Error::Damaged {
            git_dir: repository.path().to_path_buf(),
            what: format!("{} ({id})", node.entry.path),
            source,
        };
        let odb = repository.odb().map_err(damaged)?;
        let object = odb.read(*id).map_err(damaged)?;
        if conversion.is_none() {
            return take(object.data());
        }
        let (bytes, _) = converted(
            object.data().to_vec(),
            *id,
            conversion,
            origin,
            &node.entry.path.to_string(),
        )?;
        take(&bytes)
    }
}

/// A blob's bytes as they are exported, and the name of an encoding that could not be applied.
pub(crate) fn converted(
    bytes: Vec<u8>,
    id: Oid,
    conversion: &Conversion,
    origin: &Origin,
    path: &str,
) -> Result<(Vec<u8>, Option<String>), Error> {
    let (bytes, not_encoded) = conversion.apply(&id.to_string(), bytes);
    if !conversion.subst {
        return Ok((bytes, not_encoded));
    }
    let expanded = subst::expand(&bytes, &origin.values).map_err(|refused| Error::Placeholder {
        path: path.to_owned(),
        placeholder: refused.placeholder,
        reason: refused.reason,
    })?;
    Ok((expanded, not_encoded))
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
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| TreeError::Other {
            path: path.to_string(),
            source,
        };
        let found = self.nodes.binary_search_by(|node| node.entry.path.cmp(path));
        let node = found
            .ok()
            .and_then(|at| self.nodes.get(at))
            .ok_or_else(|| failed("the commit has no such path".into()))?;
        self.read(node).map_err(|error| failed(Box::new(error)))
    }
}
