//! Unpacks the fetched archive into the temporary directory, and reads files of the unpacked tree.
//!
//! That nothing can leave the directory is shipit-artifact's doing; here its options are set to what stretcher's
//! `tar xf` does.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};
use std::sync::atomic::AtomicBool;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use shipit_artifact::{Limits, UnpackOptions};

use crate::error::{Error, READING_RULES};
use crate::event::Event;
use crate::log::Recorder;

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
    let root = rustix::process::geteuid().is_root();
    let options = UnpackOptions {
        limits: request.limits,
        // `tar xf` keeps both for root and neither for others.
        keep_setid: root,
        keep_owner: root,
        cancel,
        on_event: &|_| {},
    };
    let done =
        shipit_artifact::unpack(BufReader::new(file), request.into, &options).map_err(
            |cause| match cause {
                shipit_artifact::Error::Cancelled => Error::Cancelled,
                cause => Error::Archive {
                    url: request.url.clone(),
                    cause: Box::new(cause),
                },
            },
        )?;
    recorder.say(Event::Unpacked {
        entries: done.entries,
        bytes: done.bytes,
    });
    std::fs::set_permissions(request.into, std::fs::Permissions::from_mode(request.mode))
        .map_err(|error| Error::disk("setting the mode of", request.into, error))
}

/// Reads a file of the unpacked tree; no link in it leads out of it.
pub(crate) fn read_inside(tree: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let failed = |error: std::io::Error| Error::disk(READING_RULES, tree.join(name), error);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, tree, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| failed(error.into()))?;
    // stretcher joins the two texts, so a leading slash means nothing.
    let inner = name.trim_start_matches('/');
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file = match openat2(&dir, inner, flags, Mode::empty(), resolve) {
        // A kernel or a container without it: no link at all is followed then.
        Err(Errno::NOSYS | Errno::PERM) => open_without_links(dir, Path::new(inner), flags),
        other => other,
    }
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

fn open_without_links(dir: OwnedFd, name: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut at = dir;
    for part in name.components() {
        match part {
            Component::Normal(part) => {
                at = rustix::fs::openat(&at, part, flags | OFlags::NOFOLLOW, Mode::empty())?;
            }
            Component::CurDir => {}
            _ => return Err(Errno::XDEV),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_tree_is_read_and_nothing_outside_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        std::fs::write(dir.path().join("outside"), "x").unwrap();
        std::fs::write(tree.join("sub/rules"), "*.pid").unwrap();
        std::os::unix::fs::symlink("../outside", tree.join("link")).unwrap();
        std::os::unix::fs::symlink("sub/rules", tree.join("inside")).unwrap();
        assert_eq!(read_inside(&tree, "sub/rules").unwrap(), b"*.pid");
        assert_eq!(read_inside(&tree, "/./sub/rules").unwrap(), b"*.pid");
        assert_eq!(read_inside(&tree, "inside").unwrap(), b"*.pid");
        for name in ["link", "../outside", "none"] {
            assert!(
                read_inside(&tree, name).unwrap_err().to_string().contains(name),
                "{name}"
            );
        }
        let open = || rustix::fs::open(&tree, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        assert!(open_without_links(open(), Path::new("sub/rules"), OFlags::RDONLY).is_ok());
        assert_eq!(
            open_without_links(open(), Path::new("inside"), OFlags::RDONLY).unwrap_err(),
            Errno::LOOP
        );
        assert_eq!(
            open_without_links(open(), Path::new("../outside"), OFlags::RDONLY).unwrap_err(),
            Errno::XDEV
        );
    }
}
