//! Notices what later steps change in a sealed layer. By stat alone: hashing a node_modules again after each step would
//! cost more than the step.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use shipit_artifact::EntryPath;

use crate::normalise::relative;
use crate::vendored::Vendored;

/// How the files of a layer stood when it was sealed.
#[derive(Debug, Clone)]
pub struct SealedTree {
    root: PathBuf,
    paths: Vec<EntryPath>,
    stats: BTreeMap<EntryPath, Stat>,
}

/// What changes when a file does. Of a directory it is the mode alone: its entries are looked at themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    mode: u32,
    file: Option<FileStat>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStat {
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        let file = || FileStat {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        Self {
            mode: metadata.mode(),
            file: (!metadata.is_dir()).then(file),
        }
    }
}

impl SealedTree {
    /// Notes how the vendored files stand in the workspace: what later steps find there is what they change, also where
    /// another tree is packed. To be called when the layer is packed, before the next step runs.
    ///
    /// # Errors
    /// When a directory cannot be listed; the path stands in the error.
    pub fn take(vendored: &Vendored) -> io::Result<Self> {
        let (root, paths) = (vendored.workspace.clone(), vendored.owned.clone());
        let stats = stats(&root, &paths)?;
        Ok(Self { root, paths, stats })
    }

    /// The files that were changed, added or removed since, sorted. `node_modules/.cache` is left out: build tools write
    /// there as a matter of course, and it is never packed.
    ///
    /// # Errors
    /// When a directory cannot be listed; the path stands in the error.
    pub fn changes(&self) -> io::Result<Vec<EntryPath>> {
        let now = stats(&self.root, &self.paths)?;
        let mut changed: Vec<EntryPath> = self
            .stats
            .iter()
            .filter(|(path, stat)| now.get(*path) != Some(*stat))
            .map(|(path, _)| path.clone())
            .chain(now.keys().filter(|path| !self.stats.contains_key(*path)).cloned())
            .collect();
        changed.sort();
        Ok(changed)
    }
}

fn stats(root: &Path, paths: &[EntryPath]) -> io::Result<BTreeMap<EntryPath, Stat>> {
    let mut found = BTreeMap::new();
    let mut pending: Vec<PathBuf> = paths.iter().map(|path| root.join(path.as_path())).collect();
    while let Some(path) = pending.pop() {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(named(error)),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).map_err(named)? {
                let entry = entry.map_err(named)?.path();
                if !entry.ends_with("node_modules/.cache") {
                    pending.push(entry);
                }
            }
        }
        if let Some(name) = relative(root, &path) {
            found.insert(name, Stat::of(&metadata));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn changes_additions_removals_and_modes_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("node_modules");
        fs::create_dir_all(modules.join(".cache")).unwrap();
        for name in ["same", "touched", "gone", "mode"] {
            fs::write(modules.join(name), "1").unwrap();
        }
        symlink("same", modules.join("link")).unwrap();
        let vendored = Vendored {
            root: dir.path().join("packed"),
            workspace: dir.path().to_path_buf(),
            paths: Vec::new(),
            owned: vec![EntryPath::new("node_modules").unwrap()],
            lockfiles: Vec::new(),
            removed: Vec::new(),
        };
        let sealed = SealedTree::take(&vendored).unwrap();
        assert_eq!(sealed.changes().unwrap(), []);
        fs::write(modules.join("touched"), "22").unwrap();
        fs::remove_file(modules.join("gone")).unwrap();
        fs::set_permissions(modules.join("mode"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(modules.join("new"), "").unwrap();
        fs::write(modules.join(".cache/x"), "").unwrap();
        fs::remove_file(modules.join("link")).unwrap();
        symlink("new", modules.join("link")).unwrap();
        let changed: Vec<String> = sealed
            .changes()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        let expected = ["gone", "link", "mode", "new", "touched"].map(|name| format!("node_modules/{name}"));
        assert_eq!(changed, expected);
    }
}
