//! What is planned: that it is a tree, and whether a file that is found can be the planned one.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, readlinkat};
use shipit_artifact::{EntryPath, Kind};

use super::descent::{split, standing};
use super::error::KeptError;
use super::request::PlannedFile;
use super::standing::Standing;

/// How a planned entry stands that was written just now.
pub(super) fn written(planned: &PlannedFile, parent: BorrowedFd<'_>) -> Result<Standing, KeptError> {
    let wrong = |problem: String| KeptError::NotWritten {
        path: planned.path.clone(),
        problem,
    };
    let name = planned.path.file_name();
    let found = standing(parent, name).map_err(|error| wrong(error.to_string()))?;
    let Some(found) = found else {
        return Err(wrong("it is not there".to_owned()));
    };
    let right = match &planned.kind {
        Kind::Symlink { target } => {
            found.file_type() == FileType::Symlink
                && readlinkat(parent, name, Vec::new()).is_ok_and(|link| link.as_bytes() == target.as_slice())
        }
        _ => is_as(planned, &found),
    };
    if !right {
        return Err(wrong(format!(
            "it has mode {:o} and {} bytes",
            found.mode, found.size
        )));
    }
    Ok(found)
}

/// Whether a file that stands so can be the planned one.
pub(super) fn is_as(planned: &PlannedFile, found: &Standing) -> bool {
    let Kind::File { executable } = planned.kind else {
        return false;
    };
    let mode = if executable { 0o755 } else { 0o644 };
    found.file_type() == FileType::RegularFile && found.permissions() == mode && found.size == planned.size
}

/// Where each path stands. Refuses what is no tree.
pub(super) fn positions(planned: &[PlannedFile]) -> Result<HashMap<&[u8], usize>, KeptError> {
    let mut at = HashMap::with_capacity(planned.len());
    let mut last: Option<&EntryPath> = None;
    for (number, entry) in planned.iter().enumerate() {
        let wrong = |problem| KeptError::Plan {
            path: entry.path.clone(),
            problem,
        };
        if last.is_some_and(|last| *last >= entry.path) {
            return Err(wrong("it is not in order"));
        }
        let parent = split(entry.path.as_bytes()).0;
        let in_directory = |at: &usize| planned[*at].kind == Kind::Directory;
        if !parent.is_empty() && !at.get(parent).is_some_and(in_directory) {
            return Err(wrong("the directory that holds it is not planned"));
        }
        at.insert(entry.path.as_bytes(), number);
        last = Some(&entry.path);
    }
    Ok(at)
}
