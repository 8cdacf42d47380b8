//! What a step vendors: where, before it runs; which of it is there, after; and that it will work on a host.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use shipit_artifact::{EntryPath, with_causes};

use crate::error::Error;
use crate::normalise::relative;
use crate::presets::{from_root, npm_tree};
use crate::spec::{StepSpec, Tool};
use crate::tree_files::TreeFiles;

/// The files that a step vendored: a layer, once sealed.
#[derive(Debug, Clone)]
pub struct Vendored {
    /// The directory that the paths lie below: the workspace's root, or another tree of the step's own (npm with
    /// `production = true`).
    pub root: PathBuf,
    /// The workspace's root: the tree that later steps see, and may change.
    pub workspace: PathBuf,
    /// The paths that are there, files or directories, sorted: what is packed.
    pub paths: Vec<EntryPath>,
    /// All paths that are the layer's alone, sorted: nothing at or below them is code, in the workspace either. Beside
    /// `paths` these are the directories that the step makes in the workspace, but not in the packed tree.
    pub owned: Vec<EntryPath>,
    /// The lockfiles that rule it, below the workspace's root, as far as they are there.
    pub lockfiles: Vec<EntryPath>,
    /// What was removed because it is not the same twice.
    pub removed: Vec<EntryPath>,
}

/// Reads a file of a tree, wherever that lies; `None` when there is none. An error is a sentence.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&EntryPath) -> Result<Option<Vec<u8>>, String>;

/// Reads a file of the workspace at `root`.
pub(crate) fn read_from(root: &Path, path: &EntryPath) -> Result<Option<Vec<u8>>, String> {
    let file = root.join(path.as_path());
    match fs::read(&file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) if !file.is_file() => Ok(None),
        Err(error) => Err(format!("cannot read {}: {error}", file.display())),
    }
}

impl StepSpec {
    /// Where the step will vendor: the paths that may be its layer's alone, sorted. Empty for go, for a command without
    /// `inputs` and `outputs`, and with `layer = false`.
    ///
    /// # Errors
    /// A sentence for the step's owner: an npm lockfile that cannot be read, or a path that leaves the tree.
    pub(crate) fn vendored_paths(&self, files: &TreeFiles<'_>) -> Result<Vec<EntryPath>, String> {
        if !self.layer {
            return Ok(Vec::new());
        }
        let read = |path: &EntryPath| files.read(path).map_err(|error| with_causes(&error));
        let mut paths = self.installs_into(&read)?;
        paths.sort();
        Ok(paths)
    }

    /// As [`Self::vendored_paths`], also where the result goes into the code.
    pub(crate) fn installs_into(&self, read: ReadFile<'_>) -> Result<Vec<EntryPath>, String> {
        let dir = self.dir.as_ref();
        let named = |names: &mut dyn Iterator<Item = &str>| {
            names
                .map(|name| from_root(dir, name).ok_or_else(|| format!("`{name}` leaves the tree")))
                .collect::<Result<Vec<_>, _>>()
        };
        match &self.tool {
            Tool::Run { .. } if self.inputs.is_empty() => Ok(Vec::new()),
            Tool::Run { .. } => named(&mut self.outputs.iter().map(String::as_str)),
            Tool::Npm { .. } => npm_tree::vendored(read, dir),
            Tool::Carton | Tool::Bundle { .. } | Tool::Go { .. } => named(
                &mut self
                    .tool
                    .preset()
                    .into_iter()
                    .flat_map(|preset| preset.vendored)
                    .copied(),
            ),
        }
    }

    /// The lockfiles that rule what the step vendors, as far as `root`, its workspace, has them. Seen from `root`.
    #[must_use]
    pub fn lockfiles(&self, root: &Path) -> Vec<EntryPath> {
        let names = self.tool.preset().into_iter().flat_map(|preset| preset.lockfiles);
        names
            .filter_map(|name| from_root(self.dir.as_ref(), name))
            .filter(|path| root.join(path.as_path()).is_file())
            .collect()
    }
}

/// Refuses vendored symlinks that would point to nothing on a host: a relative one that leaves the tree, an absolute one
/// into the workspace. Others, into the system, are the packages' own business.
pub(crate) fn check_links(
    step: &str,
    root: &Path,
    paths: &[EntryPath],
    machine: &[&Path],
) -> Result<(), Error> {
    let io = |action, path: &Path, source| Error::Io {
        step: step.to_owned(),
        action,
        path: path.to_path_buf(),
        source,
    };
    let mut pending: Vec<PathBuf> = paths.iter().map(|path| root.join(path.as_path())).collect();
    while let Some(path) = pending.pop() {
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io("look at", &path, error)),
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).map_err(|error| io("list", &path, error))? {
                pending.push(entry.map_err(|error| io("list", &path, error))?.path());
            }
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).map_err(|error| io("read the link", &path, error))?;
            let inside = path.strip_prefix(root).unwrap_or(&path);
            let bad = if target.is_absolute() {
                machine.iter().any(|dir| target.starts_with(dir))
            } else {
                leaves_tree(inside.parent().unwrap_or(Path::new("")), &target)
            };
            if bad {
                let link =
                    relative(root, &path).map_or_else(|| path.display().to_string(), |p| p.to_string());
                let target = target.display().to_string();
                return Err(Error::LinkLeavesTree {
                    step: step.to_owned(),
                    link,
                    target,
                });
            }
        }
    }
    Ok(())
}

/// Whether `target`, read from the directory `from` of the tree, leaves it.
fn leaves_tree(from: &Path, target: &Path) -> bool {
    let mut depth = from.components().count();
    for component in target.components() {
        match component {
            Component::ParentDir if depth == 0 => return true,
            Component::ParentDir => depth -= 1,
            Component::Normal(_) => depth += 1,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_must_stay_in_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let modules = root.join("web/node_modules");
        fs::create_dir_all(&modules).unwrap();
        let paths = [EntryPath::new("web/node_modules").unwrap()];
        let check = |target: &Path| {
            let link = modules.join("x");
            let _ = fs::remove_file(&link);
            symlink(target, &link).unwrap();
            check_links("npm", root, &paths, &[root])
        };
        for good in ["../lib", "../../lib", "/usr/lib/x", "a/../b"] {
            check(Path::new(good)).unwrap();
        }
        for bad in [Path::new("../../../lib"), &root.join("lib")] {
            let error = check(bad).unwrap_err();
            assert!(
                matches!(&error, Error::LinkLeavesTree { link, .. } if link == "web/node_modules/x"),
                "{error}"
            );
        }
    }
}
