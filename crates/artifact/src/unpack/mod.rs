//! Unpacks a tarball from anywhere into a directory that it cannot leave.
//!
//! Reads plain, gzip and zstd tarballs, told apart by their first bytes, as a stream. Writes through directory
//! descriptors: no entry is written, linked or looked up through a symlink or outside of the destination. Devices, fifos and
//! unknown kinds are refused; limits stand against zip bombs.
//!
//! Not done here: checking the tarball's checksum, which comes before; removing what was written when unpacking fails,
//! which is the caller's, whose directory it is.

mod detect;
mod limits;
mod pax;
mod sink;
mod stream;

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::event::Event;
use crate::path::{EntryPath, PathError, escape};

pub use limits::Limits;
use limits::Meter;
use sink::Sink;
use stream::{Head, HeadKind, TarStream};

/// How to unpack.
#[derive(Clone, Copy)]
pub struct UnpackOptions<'a> {
    /// What is too much.
    pub limits: Limits,
    /// Keep set-uid, set-gid and sticky bits, which are dropped otherwise.
    pub keep_setid: bool,
    /// Give the files to the tarball's uid and gid. Only root can; others own what they unpack.
    pub keep_owner: bool,
    /// Set from outside, makes the work end soon with [`Error::Cancelled`].
    pub cancel: &'a AtomicBool,
    /// Is told of progress.
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

impl<'a> UnpackOptions<'a> {
    /// The usual: default limits, no set-uid bits, no owners.
    pub fn new(cancel: &'a AtomicBool, on_event: &'a (dyn Fn(Event) + Sync)) -> Self {
        Self {
            limits: Limits::default(),
            keep_setid: false,
            keep_owner: false,
            cancel,
            on_event,
        }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// How many entries.
    pub entries: u64,
    /// How many bytes of file content.
    pub bytes: u64,
}

/// How much content is read and written at once.
const CHUNK: usize = 256 << 10;

/// Unpacks the tarball that `reader` gives into `dest`, an existing and empty directory. On an error `dest` holds what was
/// written before; its owner removes it.
///
/// Modes are kept (0777 of them, whatever the umask), times too; symlinks verbatim; hard links as hard links. What stands
/// after tar's end blocks is not read.
pub fn unpack(reader: impl Read, dest: &Path, options: &UnpackOptions<'_>) -> Result<Unpacked, Error> {
    let mut sink = Sink::open(dest, options)?;
    let meter = Meter::new(options.limits);
    let input = detect::open(meter.stored(reader))?;
    let mut tar = TarStream::new(input, &meter);
    let mut chunk = vec![0; CHUNK];
    let mut done = Unpacked { entries: 0, bytes: 0 };
    let mut told = done;
    while let Some(head) = tar.next_entry(options.cancel)? {
        if options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        done.bytes += unpack_entry(&head, &mut tar, &mut sink, &mut chunk, options)?;
        done.entries += 1;
        if done.entries - told.entries >= 1000 || done.bytes - told.bytes >= 4 << 20 {
            told = done;
            (options.on_event)(Event::UnpackProgress {
                entries: done.entries,
                bytes: done.bytes,
            });
        }
    }
    sink.finish()?;
    (options.on_event)(Event::UnpackProgress {
        entries: done.entries,
        bytes: done.bytes,
    });
    Ok(done)
}

/// Writes one entry; says how many bytes of content it had.
fn unpack_entry(
    head: &Head,
    tar: &mut TarStream<'_>,
    sink: &mut Sink<'_>,
    chunk: &mut [u8],
    options: &UnpackOptions<'_>,
) -> Result<u64, Error> {
    let path = inside(head, &head.name)?;
    match (&head.kind, path) {
        (HeadKind::Directory, path) => {
            sink.directory(path.as_ref(), head)?;
            Ok(0)
        }
        (_, None) => Err(broken(head, "its name is that of the destination itself")),
        (HeadKind::File, Some(path)) => {
            let mut file = sink.file(&path, head)?;
            while let Some(bytes) = tar.content(chunk)? {
                if options.cancel.load(Ordering::Relaxed) {
                    return Err(Error::Cancelled);
                }
                file.write(bytes)?;
            }
            file.finish()?;
            Ok(head.size)
        }
        (HeadKind::Symlink, Some(path)) => {
            if head.link.is_empty() || head.link.contains(&0) {
                return Err(broken(head, "its link target is empty or has a NUL byte"));
            }
            sink.symlink(&path, &head.link, head)?;
            Ok(0)
        }
        (HeadKind::HardLink, Some(path)) => {
            let target = inside(head, &head.link)?;
            let target = target.ok_or_else(|| broken(head, "it links to the destination itself"))?;
            sink.hard_link(&path, &target, head)?;
            Ok(0)
        }
    }
}

/// A name as a path in the destination; `None` for the destination itself. Empty and `.` components mean nothing.
fn inside(head: &Head, name: &[u8]) -> Result<Option<EntryPath>, Error> {
    if name.is_empty() {
        return Err(broken(head, "it has an empty name or link target"));
    }
    let leaves = |source| Error::Escapes {
        entry: head.shown(),
        source,
    };
    if name[0] == b'/' {
        return Err(leaves(PathError::Absolute(escape(name))));
    }
    let components: Vec<_> = name
        .split(|byte| *byte == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    if components.is_empty() {
        return Ok(None);
    }
    match EntryPath::new(components.join(&b'/')) {
        Ok(path) => Ok(Some(path)),
        Err(source @ PathError::Parent(_)) => Err(leaves(source)),
        Err(other) => Err(broken(head, &other.to_string())),
    }
}

fn broken(head: &Head, why: &str) -> Error {
    Error::Broken {
        entry: head.shown(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
