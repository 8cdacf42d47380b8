//! A resolved revision.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::remote::Remote;

/// A commit that [`Source::resolve`](crate::Source::resolve) found; all of its objects are at hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Commit {
    /// The revision: the full commit id, lower-case hex.
    pub id: String,
    /// The id of its tree.
    pub tree_id: String,
    /// The committer's time in unix seconds.
    pub time: i64,
    /// The first paragraph of its message on one line.
    pub subject: String,
    /// `Name <mail>` of its author.
    pub author: String,
    /// The git directory that holds its objects: the mirror, or the repository that is read directly.
    #[serde(skip)]
    pub(crate) git_dir: PathBuf,
    /// The remote that it came from; the first one when the mirror had it.
    #[serde(skip)]
    pub(crate) origin: Remote,
}

impl Commit {
    /// The git directory that holds its objects.
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        &self.git_dir
    }

    /// The first `n` (7 or so) digits of the id, for people.
    #[must_use]
    pub fn short(&self, n: usize) -> &str {
        self.id.get(..n).unwrap_or(&self.id)
    }
}
