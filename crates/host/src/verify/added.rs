//! What stands in a release that no index names.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use shipit_artifact::EntryPath;

use crate::error::Error;

/// The paths, a directory for all in it. Shared paths are none.
pub(super) fn added(
    tree: &Path,
    known: &BTreeSet<EntryPath>,
    shared: &BTreeSet<EntryPath>,
    linked: &[(EntryPath, PathBuf)],
) -> Result<Vec<String>, Error> {
    // Directories above what a layer holds may be named by no entry.
    let above: BTreeSet<_> = known
        .iter()
        .flat_map(|path| std::iter::successors(path.parent(), EntryPath::parent))
        .filter(|path| !known.contains(path))
        .collect();
    let mut found = Vec::new();
    let mut left: Vec<(Option<EntryPath>, PathBuf)> = vec![(None, tree.to_owned())];
    while let Some((dir, place)) = left.pop() {
        let failed = |error| Error::disk("reading the directory", &place, error);
        for entry in fs::read_dir(&place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let path = match &dir {
                Some(dir) => dir.join_bytes(name.as_bytes()),
                None => EntryPath::new(name.as_bytes()),
            };
            let Ok(path) = path else { continue };
            if shared.contains(&path) || is_shared_link(&entry.path(), &path) {
                continue;
            }
            if !known.contains(&path) && !above.contains(&path) {
                found.push(path.to_string());
                continue;
            }
            let link = linked.iter().find(|(top, _)| *top == path);
            let place = link.map_or_else(|| entry.path(), |(_, at)| at.clone());
            if place.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
                left.push((Some(path), place));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A shared path that the artifact does not have.
fn is_shared_link(place: &Path, path: &EntryPath) -> bool {
    let Ok(target) = fs::read_link(place) else {
        return false;
    };
    target.is_absolute() && target.ends_with(Path::new("shared").join(path.as_path()))
}
