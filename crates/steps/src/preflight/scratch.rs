//! The directory that the tools are asked in. rbenv, asdf, nodenv, plenv and the like put shims on PATH, which choose the
//! real program by files in the directory they run in and in those above it; so do bundler (Gemfile.lock) and go (go.mod).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use shipit_artifact::EntryPath;
use tempfile::TempDir;

use crate::error::Error;
use crate::presets::from_root;
use crate::spec::below;
use crate::step::io_error;
use crate::tree_files::TreeFiles;

/// The files by which a version is chosen, in a step's directory or above it.
const VERSION_FILES: &[&str] = &[
    ".tool-versions",
    ".ruby-version",
    ".ruby-gemset",
    ".rvmrc",
    ".versions.conf",
    ".node-version",
    ".nvmrc",
    ".perl-version",
    ".go-version",
    ".prototools",
    ".mise.toml",
    "mise.toml",
    ".mise/config.toml",
    "mise/config.toml",
    ".config/mise.toml",
    ".config/mise/config.toml",
    ".npmrc",
    "package.json",
    ".bundle/config",
    "Gemfile",
    "Gemfile.lock",
    "gems.rb",
    "gems.locked",
    "go.mod",
    "go.work",
];

const PREFIX: &str = ".tools-";
/// A directory of this age is no longer asked in: no tool is waited for that long.
const STALE: Duration = Duration::from_secs(600);

/// Removes what builds that were killed left. What cannot be removed is in nobody's way.
fn remove_stale(aside: &Path) {
    for entry in fs::read_dir(aside).into_iter().flatten().flatten() {
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .map(|time| time.elapsed());
        let stale = matches!(age, Ok(Ok(age)) if age > STALE);
        if stale && entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes the directory in `aside`, with the steps' directories and the version files of the tree. It is removed when it is
/// dropped.
pub(super) fn scratch<'a>(
    files: &TreeFiles<'_>,
    dirs: impl Iterator<Item = Option<&'a EntryPath>>,
    aside: &Path,
    step: &str,
) -> Result<TempDir, Error> {
    fs::create_dir_all(aside).map_err(io_error(step, "make", aside))?;
    remove_stale(aside);
    let made = tempfile::Builder::new().prefix(PREFIX).tempdir_in(aside);
    let made = made.map_err(io_error(step, "make a directory in", aside))?;
    let mut places: BTreeSet<Option<EntryPath>> = BTreeSet::from([None]);
    for dir in dirs {
        let mut place = dir.cloned();
        while let Some(dir) = place {
            place = dir.parent();
            places.insert(Some(dir));
        }
    }
    for place in &places {
        let dir = below(made.path(), place.as_ref());
        fs::create_dir_all(&dir).map_err(io_error(step, "make", &dir))?;
        for path in VERSION_FILES
            .iter()
            .filter_map(|name| from_root(place.as_ref(), name))
        {
            let read = files.read(&path).map_err(|source| Error::Tree {
                step: step.to_owned(),
                source,
            })?;
            let Some(content) = read else { continue };
            let file = below(made.path(), Some(&path));
            let parent = file.parent().unwrap_or(&dir);
            fs::create_dir_all(parent).map_err(io_error(step, "make", parent))?;
            fs::write(&file, content).map_err(io_error(step, "write", &file))?;
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shipit_artifact::DirTree;
    use std::os::unix::fs::symlink;

    #[test]
    fn it_holds_the_version_files_of_the_steps_directories_and_of_those_above() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir_all(root.join("other")).unwrap();
        fs::write(root.join("versions"), "3.1.2").unwrap();
        symlink("../versions", root.join("a/.ruby-version")).unwrap();
        for name in ["a/b/.nvmrc", "other/.nvmrc", "a/b/index.js", "a/go.mod"] {
            fs::write(root.join(name), name).unwrap();
        }
        let tree = DirTree::new(&root).unwrap();
        let files = TreeFiles::new(&tree).unwrap();
        let step = EntryPath::new("a/b").unwrap();
        let later = EntryPath::new("made/later").unwrap();
        let aside = dir.path().join("aside");
        let made = scratch(&files, [Some(&step), None, Some(&later)].into_iter(), &aside, "x").unwrap();
        let at = |name: &str| made.path().join(name);
        assert_eq!(fs::read_to_string(at("a/.ruby-version")).unwrap(), "3.1.2");
        assert_eq!(fs::read_to_string(at("a/b/.nvmrc")).unwrap(), "a/b/.nvmrc");
        assert!(at("a/go.mod").is_file() && at("made/later").is_dir());
        assert!(!at("other").exists() && !at("a/b/index.js").exists());
        drop(made);
        assert_eq!(fs::read_dir(aside).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_build_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let old = std::time::SystemTime::now() - 2 * STALE;
        for (name, time) in [
            (".tools-old", Some(old)),
            (".tools-new", None),
            ("bundle", Some(old)),
        ] {
            fs::create_dir(dir.path().join(name)).unwrap();
            if let Some(time) = time {
                fs::File::open(dir.path().join(name))
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }
        }
        remove_stale(dir.path());
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".tools-new", "bundle"]);
    }
}
