//! A file whose content the host knows without having it: the revision, which the code holds in a file at its top and the record
//! names. It is another one in each release: without this, each would fetch the frame that it shares with its neighbours.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use shipit_artifact::{Index, sha256};

use super::hand::{DIRECTORY, root};
use super::take::{settle, whole_or_none};
use crate::error::Error;

/// Holds the commit's id and a newline.
const REVISION: &str = "REVISION";

/// Writes the file into `tree`, if it is among `wanted` and is what the record says; it is wanted no more then.
pub(crate) fn write(
    index: &Index,
    revision: &str,
    wanted: &mut Vec<usize>,
    tree: &Path,
) -> Result<(), Error> {
    let content = format!("{revision}\n");
    let digest = sha256(content.as_bytes());
    let is_known = |number: &usize| {
        let entry = &index.entries()[*number];
        entry.path.as_bytes() == REVISION.as_bytes() && entry.content() == Some(&digest)
    };
    let Some(at) = wanted.iter().position(is_known) else {
        return Ok(());
    };
    let entry = &index.entries()[wanted[at]];
    let failed = |error| Error::disk("writing", tree.join(REVISION), error);
    let top = root(tree)?.open_at(None, DIRECTORY).map_err(failed)?;
    whole_or_none(top.as_fd(), entry, |mut target| {
        target.write_all(content.as_bytes())?;
        settle(target.as_fd(), entry)
    })
    .map_err(failed)?;
    wanted.remove(at);
    Ok(())
}
