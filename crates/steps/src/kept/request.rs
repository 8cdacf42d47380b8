//! What an update is asked for, and what it did.

use shipit_artifact::{EntryPath, Kind};

/// An entry of the revision's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Where it lies, from the tree's root.
    pub path: EntryPath,
    /// What it is. A symlink's target is the whole of its content.
    pub kind: Kind,
    /// A file's length in bytes as it is written; 0 for all others.
    pub size: u64,
    /// Changes whenever a file's written content would. Not looked at for symlinks and directories.
    pub identity: [u8; 32],
}

/// A layer that the tree is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// The layer's key: of the tree that later steps see.
    pub key: String,
    /// The paths that are its alone; not all of them need to be there.
    pub owned: Vec<EntryPath>,
}

/// What the tree is to be brought to.
pub struct UpdateRequest<'a, E> {
    /// Every entry of the revision, sorted by the bytes of its path, with the directories that hold it.
    pub planned: &'a [PlannedFile],
    /// The layers wanted. Each is left where it stands, when it stands there unchanged; otherwise its paths are cleared.
    /// Other layers that stand in the tree are parked, to be had back by [`Kept::unpark`](crate::Kept::unpark).
    pub layers: &'a [InPlace],
    /// Directories that steps may keep from build to build: what lies there and is not planned survives.
    pub keep: &'a [EntryPath],
    /// The commit's time in unix seconds, which everything planned gets, as in a fresh export. `None`: times are left as
    /// they are, and files that `write` writes have those that it gives them: for builds with `keep`, where make and cargo
    /// go by them.
    pub mtime: Option<i64>,
    /// Writes these files and symlinks (sorted). Their directories are there, and nothing is at their paths.
    pub write: &'a dyn Fn(&[EntryPath]) -> Result<(), E>,
}

impl<E> std::fmt::Debug for UpdateRequest<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpdateRequest")
            .field("planned", &self.planned.len())
            .field("layers", &self.layers)
            .field("keep", &self.keep)
            .field("mtime", &self.mtime)
            .finish_non_exhaustive()
    }
}

/// What an update did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Updated {
    /// Planned files and symlinks that were written.
    pub written: usize,
    /// Files, symlinks and whole directories that were removed or made way.
    pub removed: usize,
    /// Planned files and symlinks that were there already.
    pub unchanged: usize,
    /// Keys of the wanted layers that stand in place. At the paths of all others is nothing but what is planned or kept:
    /// to be put there, and then noted with [`Kept::placed`](crate::Kept::placed).
    pub in_place: Vec<String>,
}
