//! What an unpacked tree holds, as far as it decides how the tree gets to dest.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Files, links and directories, the tree's own included.
    pub(crate) entries: u64,
    /// There is a file under two names, which rsync would make two files, or a directory that cannot be looked into.
    pub(crate) must_be_copied: bool,
}

/// Goes through the tree once.
pub(crate) fn survey(tree: &Path) -> Result<Survey, Error> {
    let mut found = Survey {
        entries: 1,
        must_be_copied: false,
    };
    let mut left = vec![tree.to_owned()];
    while let Some(dir) = left.pop() {
        let failed = |error| Error::disk("reading", &dir, error);
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found.must_be_copied = true;
                continue;
            }
            other => other.map_err(failed)?,
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            found.entries += 1;
            match entry.metadata() {
                Ok(attributes) if attributes.is_dir() => left.push(entry.path()),
                Ok(attributes) => found.must_be_copied |= attributes.nlink() > 1,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found.must_be_copied = true,
                Err(error) => return Err(failed(error)),
            }
        }
    }
    Ok(found)
}
