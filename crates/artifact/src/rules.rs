//! Which part of a tree is packed: the rules that a directory ([`crate::DirTree`]) and any other tree
//! ([`crate::Selection`]) obey alike, so that code packed from a commit equals code packed from its export.
//!
//! Not done here: listing anything. What a running process left behind is left out by the packer, of every tree's code.

use std::collections::HashSet;

use crate::globs::{GlobError, Globs};
use crate::path::{EntryPath, PathError};

/// What was asked for. The paths count from the tree, the patterns from the packed root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    base: Option<EntryPath>,
    only: Option<Vec<EntryPath>>,
    without: Vec<EntryPath>,
    exclude: Globs,
}

impl Rules {
    pub(crate) fn only(&mut self, paths: Vec<EntryPath>) {
        self.only = Some(paths);
    }

    pub(crate) fn without(&mut self, paths: Vec<EntryPath>) {
        self.without.extend(paths);
    }

    pub(crate) fn exclude<S: AsRef<str>>(&mut self, patterns: &[S]) -> Result<(), GlobError> {
        self.exclude = Globs::new(patterns)?;
        Ok(())
    }

    /// Makes a directory of the tree the packed root.
    pub(crate) fn root_is(&mut self, base: EntryPath) {
        self.base = Some(base);
    }

    /// A path of the packed root, from the tree.
    pub(crate) fn in_tree(&self, path: EntryPath) -> Result<EntryPath, PathError> {
        match &self.base {
            None => Ok(path),
            Some(base) => base.join(&path),
        }
    }

    /// The packed root, from the tree; `None` for the tree itself.
    pub(crate) fn base(&self) -> Option<&EntryPath> {
        self.base.as_ref()
    }

    /// The rules as they stand, for paths from the packed root.
    pub(crate) fn filter(&self) -> Filter<'_> {
        let beneath = |paths: &[EntryPath]| -> Vec<EntryPath> {
            match &self.base {
                None => paths.to_vec(),
                Some(base) => paths.iter().filter_map(|path| path.strip_prefix(base)).collect(),
            }
        };
        let whole = |only: &Vec<EntryPath>| {
            let base = self.base.as_ref();
            base.is_some_and(|base| only.iter().any(|path| base.starts_with(path)))
        };
        let starts = self.only.as_ref().filter(|only| !whole(only));
        Filter {
            starts: starts.map(|only| {
                let mut starts = beneath(only);
                starts.sort();
                starts.dedup();
                starts
            }),
            without: beneath(&self.without).into_iter().collect(),
            exclude: &self.exclude,
        }
    }
}

/// Settled rules.
#[derive(Debug)]
pub(crate) struct Filter<'a> {
    starts: Option<Vec<EntryPath>>,
    without: HashSet<EntryPath>,
    exclude: &'a Globs,
}

impl Filter<'_> {
    /// Where listing begins, sorted; `None` for the packed root itself.
    pub(crate) fn starts(&self) -> Option<&[EntryPath]> {
        self.starts.as_deref()
    }

    /// Whether a path that listing came to is left out, with all beneath it.
    pub(crate) fn leaves_out(&self, path: &EntryPath, directory: bool) -> bool {
        !self.without.is_empty() && self.without.contains(path) || self.exclude.matches(path, directory)
    }
}
