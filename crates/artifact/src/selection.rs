//! A part of any [`Tree`], by the rules that a directory obeys, and files laid over it.
//!
//! Code is packed through this from a commit that was never exported; its bytes are those of the exported directory
//! packed through [`crate::DirTree`].

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::num::NonZeroUsize;

use crate::globs::GlobError;
use crate::path::EntryPath;
use crate::rules::{Filter, Rules};
use crate::tree::{Kind, Tree, TreeEntry, TreeError};

/// A tree in part. The paths given to [`Selection::only`], [`Selection::without`] and [`Selection::rooted`] count from the
/// tree; entries, exclude patterns and [`Selection::with_file`] from the packed root, which is the tree or what `rooted`
/// names.
pub struct Selection<'a> {
    tree: &'a dyn Tree,
    rules: Rules,
    files: BTreeMap<EntryPath, Vec<u8>>,
}

impl<'a> Selection<'a> {
    /// The whole of a tree.
    pub fn of(tree: &'a dyn Tree) -> Self {
        Self {
            tree,
            rules: Rules::default(),
            files: BTreeMap::new(),
        }
    }

    /// These files and directories alone, with all beneath them. One that does not exist contributes nothing.
    #[must_use]
    pub fn only(mut self, paths: Vec<EntryPath>) -> Self {
        self.rules.only(paths);
        self
    }

    /// Leaves these files and directories out, with all beneath them.
    #[must_use]
    pub fn without(mut self, paths: Vec<EntryPath>) -> Self {
        self.rules.without(paths);
        self
    }

    /// Leaves out what matches a pattern, as [`crate::DirTree::exclude`] does.
    pub fn exclude<S: AsRef<str>>(mut self, patterns: &[S]) -> Result<Self, GlobError> {
        self.rules.exclude(patterns)?;
        Ok(self)
    }

    /// Packs this directory of the tree alone; entries count from it. Lists the tree to see that it is there.
    pub fn rooted(mut self, base: EntryPath) -> Result<Self, TreeError> {
        let refused = |path: &EntryPath, kind: io::ErrorKind| {
            Err(TreeError::io("open", path.as_bytes(), io::Error::from(kind)))
        };
        let base = self.in_tree(base)?;
        let entries = self.tree.entries()?;
        let is_directory = |entry: &TreeEntry| match entry.kind {
            Kind::Directory => entry.path.starts_with(&base),
            _ => entry.path.starts_with(&base) && entry.path != base,
        };
        if entries.iter().any(is_directory) {
            self.rules.root_is(base);
            return Ok(self);
        }
        if entries.iter().any(|entry| entry.path == base) {
            return refused(&base, io::ErrorKind::NotADirectory);
        }
        refused(&base, io::ErrorKind::NotFound)
    }

    /// A file of these bytes, not executable, as if it stood at `path` in the tree: in place of a file there, and subject
    /// to the rules.
    #[must_use]
    pub fn with_file(mut self, path: EntryPath, bytes: Vec<u8>) -> Self {
        self.files.insert(path, bytes);
        self
    }

    /// A path of the packed root, from the tree.
    fn in_tree(&self, path: EntryPath) -> Result<EntryPath, TreeError> {
        self.rules.in_tree(path).map_err(|source| TreeError::Path {
            tree: "the tree".to_owned(),
            source,
        })
    }

    /// Lays the files over the listing, with the directories that hold them.
    fn lay_files(&self, entries: &mut Vec<TreeEntry>) -> Result<(), TreeError> {
        if self.files.is_empty() {
            return Ok(());
        }
        let mut all: BTreeMap<EntryPath, TreeEntry> = std::mem::take(entries)
            .into_iter()
            .map(|entry| (entry.path.clone(), entry))
            .collect();
        let in_the_way = |path: &EntryPath, what: &str| {
            let why = format!("{what} stands where a file of the artifact is written");
            Err(TreeError::Other {
                path: path.to_string(),
                source: why.into(),
            })
        };
        for (path, bytes) in &self.files {
            let mut above = path.parent();
            while let Some(directory) = above {
                above = directory.parent();
                let entry = all.entry(directory.clone()).or_insert_with(|| TreeEntry {
                    path: directory,
                    kind: Kind::Directory,
                    size: 0,
                });
                if entry.kind != Kind::Directory {
                    return in_the_way(path, "what is no directory");
                }
            }
            let entry = TreeEntry {
                path: path.clone(),
                kind: Kind::File { executable: false },
                size: bytes.len() as u64,
            };
            let replaced = all.insert(path.clone(), entry);
            if replaced.is_some_and(|entry| entry.kind == Kind::Directory) {
                return in_the_way(path, "a directory");
            }
        }
        entries.extend(all.into_values());
        Ok(())
    }

    /// What of the tree's paths lies beneath the packed root, and its path from there.
    fn beneath(&self, path: EntryPath) -> Option<EntryPath> {
        match self.rules.base() {
            None => Some(path),
            Some(base) => path.strip_prefix(base),
        }
    }
}

impl std::fmt::Debug for Selection<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selection")
            .field("rules", &self.rules)
            .field("files", &self.files.keys())
            .finish_non_exhaustive()
    }
}

impl Tree for Selection<'_> {
    fn entries(&self) -> Result<Vec<TreeEntry>, TreeError> {
        self.entries_by(NonZeroUsize::MIN)
    }

    fn entries_by(&self, jobs: NonZeroUsize) -> Result<Vec<TreeEntry>, TreeError> {
        let listed = self.tree.entries_by(jobs)?.into_iter();
        let mut entries: Vec<TreeEntry> = listed
            .filter_map(|TreeEntry { path, kind, size }| {
                let path = self.beneath(path)?;
                Some(TreeEntry { path, kind, size })
            })
            .collect();
        self.lay_files(&mut entries)?;
        let filter = self.rules.filter();
        let mut walk = Walk::new(&filter);
        entries.retain(|entry| walk.keeps(&entry.path, entry.kind == Kind::Directory));
        Ok(entries)
    }

    fn open(&self, path: &EntryPath) -> Result<Box<dyn Read + Send + '_>, TreeError> {
        if let Some(bytes) = self.files.get(path) {
            return Ok(Box::new(bytes.as_slice()));
        }
        self.tree.open(&self.in_tree(path.clone())?)
    }

    fn read(&self, path: &EntryPath, size: u64, into: &mut Vec<u8>) -> Result<(), TreeError> {
        if let Some(bytes) = self.files.get(path) {
            into.extend_from_slice(bytes);
            return Ok(());
        }
        self.tree.read(&self.in_tree(path.clone())?, size, into)
    }

    fn skipped(&self) -> Vec<EntryPath> {
        let filter = self.rules.filter();
        let mut walk = Walk::new(&filter);
        let skipped = self.tree.skipped().into_iter();
        skipped
            .filter_map(|path| self.beneath(path))
            .filter(|path| walk.keeps(path, false))
            .collect()
    }
}

/// What a walk of a directory would come to, told of a flat listing.
struct Walk<'a> {
    filter: &'a Filter<'a>,
    /// Directories asked about before.
    directories: HashMap<Vec<u8>, bool>,
}

impl<'a> Walk<'a> {
    fn new(filter: &'a Filter<'a>) -> Self {
        let directories = HashMap::new();
        Self { filter, directories }
    }

    fn keeps(&mut self, path: &EntryPath, directory: bool) -> bool {
        let begins = |starts: &[EntryPath]| starts.binary_search(path).is_ok();
        let reached = self.filter.starts().is_some_and(begins) || self.enters_parent(path);
        let kept = reached && !self.filter.leaves_out(path, directory);
        if directory {
            self.directories.insert(path.as_bytes().to_vec(), kept);
        }
        kept
    }

    fn enters_parent(&mut self, path: &EntryPath) -> bool {
        let bytes = path.as_bytes();
        let Some(cut) = bytes.iter().rposition(|byte| *byte == b'/') else {
            return self.filter.starts().is_none();
        };
        if let Some(kept) = self.directories.get(&bytes[..cut]) {
            return *kept;
        }
        // A tree that does not list its directories.
        path.parent().is_some_and(|parent| self.keeps(&parent, true))
    }
}
