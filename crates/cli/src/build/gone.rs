//! Notices that somebody removes the cache directory, or a part of it, under a running build: what fails then fails for that,
//! whatever it says itself.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::errors::{CliError, Kind};

/// A file or directory that must stay where it is as long as the build lasts. Held open, so that no other one can have its
/// inode.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    file: File,
}

impl Held {
    /// Opens what lies there, to read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Held::new(path, File::open(path)?))
    }

    /// What is open already.
    pub fn new(path: &Path, file: File) -> Self {
        Held {
            path: path.to_owned(),
            file,
        }
    }

    /// Where it is to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path names nothing any more, or something else.
    pub fn is_gone(&self) -> bool {
        let is_there = || -> io::Result<bool> {
            let (ours, there) = (self.file.metadata()?, self.path.symlink_metadata()?);
            Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        // Who may not look any more knows nothing.
        matches!(is_there(), Ok(false))
            || matches!(is_there(), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// The error of a build whose directory went.
pub fn removed(path: &Path) -> CliError {
    CliError::new(Kind::Disk, what(path)).hint(HINT)
}

/// What went wrong when a directory of the build was `gone` by then; without one, the removal may still be under way.
pub fn explained(error: CliError, gone: Option<&Path>) -> CliError {
    if let Some(path) = gone {
        if error.chain().contains(&what(path)) {
            return error;
        }
        return error.of_kind(Kind::Disk).context(what(path)).hint(HINT);
    }
    let is_io = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    if error.kind() == Kind::Disk && error.hints().is_empty() && error.causes().any(is_io) {
        return error.hint("if something removed it meanwhile, run the build again");
    }
    error
}

fn what(path: &Path) -> String {
    format!("something removed {} while the build used it", path.display())
}

const HINT: &str = "run the build again; to make room in the cache directory, use `shipit cache prune`, which leaves alone what \
                    builds use";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_removed_or_replaced_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("layers");
        fs::create_dir(&path).unwrap();
        let held = Held::open(&path).unwrap();
        fs::write(path.join("x"), "").unwrap();
        assert!(!held.is_gone());
        fs::remove_dir_all(&path).unwrap();
        assert!(held.is_gone());
        fs::create_dir(&path).unwrap();
        assert!(held.is_gone());
    }

    #[test]
    fn a_missing_file_is_explained_unless_there_is_a_hint() {
        let missing = || CliError::disk("reading x", io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(explained(missing(), None).hints().len(), 1);
        assert_eq!(explained(missing().hint("do that"), None).hints(), ["do that"]);
        let denied = CliError::disk("reading x", io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(explained(denied, None).hints(), [""; 0]);
        let error = explained(missing(), Some(Path::new("/c/layers")));
        let once = explained(removed(Path::new("/c/layers")), Some(Path::new("/c/layers")));
        assert_eq!((once.chain().len(), once.hints().len()), (1, 1));
        let first = "something removed /c/layers while the build used it: reading x";
        assert_eq!((error.chain()[0].as_str(), error.hints().len()), (first, 1));
    }
}
