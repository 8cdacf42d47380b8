//! One file from where the host has it to where a tree needs it: by reflink, hard link or copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, futimens,
    ioctl_ficlone, linkat, openat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;
use shipit_artifact::{IndexEntry, Sha256Writer, sha256};

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

const NEW_FILE: OFlags = OFlags::RDWR
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How a file that a layer holds may come into a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ways {
    /// The file system shares blocks between files.
    pub(crate) reflink: bool,
    /// A hard link will do.
    pub(crate) hard: bool,
}

/// Whether files in `dir` can share blocks, by trying.
pub(crate) fn can_reflink(dir: &Path) -> bool {
    let attempt = || -> io::Result<()> {
        let mut from = tempfile::tempfile_in(dir)?;
        from.write_all(&[1; 4096])?;
        let to = tempfile::tempfile_in(dir)?;
        Ok(ioctl_ficlone(&to, &from)?)
    };
    attempt().is_ok()
}

/// Whether a file in a layer is as it was put there, as far as stat tells: its type, size, time, mode and owner.
pub(crate) fn untouched(stat: &Stat, entry: &IndexEntry, uid: u32) -> bool {
    is_regular(stat)
        && u64::try_from(stat.st_size).is_ok_and(|size| size == entry.size())
        && stat.st_mode & 0o7777 == u32::from(entry.mode())
        && stat.st_mtime == entry.mtime
        && stat.st_mtime_nsec == 0
        && stat.st_uid == uid
}

/// Puts a layer's file, which is known to be untouched, into another tree.
pub(crate) fn put(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    to: BorrowedFd<'_>,
    entry: &IndexEntry,
    ways: Ways,
) -> io::Result<()> {
    if ways.hard && !ways.reflink {
        match linkat(from, from_name, to, entry.path.file_name(), AtFlags::empty()) {
            // Another file system, too many links, or a file system or rule that has none.
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {}
            other => return Ok(other?),
        }
    }
    let source = open_file(from, from_name)?;
    whole_or_none(to, entry, |target| {
        if !(ways.reflink && ioctl_ficlone(target, &source).is_ok()) {
            io::copy(&mut &source, &mut &*target)?;
        }
        settle(target.as_fd(), entry)
    })
}

/// Copies a file that anybody may have changed, if its content is the entry's; says whether it was.
pub(crate) fn copy_checked(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    to: BorrowedFd<'_>,
    entry: &IndexEntry,
    reflink: bool,
    at_hand: &mut AtHand,
) -> io::Result<bool> {
    let Ok(source) = open_file(from, from_name) else {
        return Ok(false);
    };
    if !reflink && entry.size() <= PIECE as u64 {
        return copy_small(&source, to, entry, at_hand);
    }
    let stat = fstat(&source)?;
    let fits = is_regular(&stat) && u64::try_from(stat.st_size).is_ok_and(|size| size == entry.size());
    if !fits {
        return Ok(false);
    }
    let differs = || io::Error::from(io::ErrorKind::InvalidData);
    let copied = whole_or_none(to, entry, |target| {
        // What is hashed is what was taken: the source may change meanwhile.
        let digest = if reflink && ioctl_ficlone(target, &source).is_ok() {
            pump(&mut &*target, io::sink(), entry.size())?
        } else {
            pump(&mut &source, &mut &*target, entry.size())?
        };
        if entry.content() != Some(&digest) {
            return Err(differs());
        }
        settle(target.as_fd(), entry)
    });
    match copied {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(error),
    }
}

/// The same by one read, and without a file that would have to go again. Nothing is asked of the source before it is read: what has
/// the entry's content will do.
fn copy_small(
    mut source: &File,
    to: BorrowedFd<'_>,
    entry: &IndexEntry,
    AtHand { modes, buffer }: &mut AtHand,
) -> io::Result<bool> {
    let size = usize::try_from(entry.size()).unwrap_or(PIECE);
    // One more than it should have: one that grows while it is read is seen.
    if buffer.len() <= size {
        buffer.resize(size + 1, 0);
    }
    let content = &mut buffer[..=size];
    let mut got = 0;
    while got < content.len() {
        match source.read(&mut content[got..]) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A directory, or a pipe with nothing in it.
            Err(_) if !is_regular(&fstat(source)?) => return Ok(false),
            Err(error) => return Err(error),
        }
        // A short read of a regular file is its end.
        if got == size {
            break;
        }
    }
    if got != size || entry.content() != Some(&sha256(&content[..got])) {
        return Ok(false);
    }
    whole_or_none(to, entry, |mut target| {
        target.write_all(&content[..got])?;
        modes.settle(target.as_fd(), entry)
    })?;
    Ok(true)
}

fn pump(from: &mut dyn Read, to: impl Write, most: u64) -> io::Result<shipit_artifact::Digest> {
    let mut hash = Sha256Writer::new(to);
    let mut piece = vec![0; PIECE.min(usize::try_from(most).unwrap_or(PIECE) + 1)];
    loop {
        let got = from.read(&mut piece)?;
        if got == 0 {
            return Ok(hash.finish().1);
        }
        // One that grows while it is read differs anyway.
        if hash.written() + got as u64 > most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        hash.write_all(&piece[..got])?;
    }
}

/// A symlink, verbatim.
pub(crate) fn symlink(to: BorrowedFd<'_>, entry: &IndexEntry, target: &[u8]) -> io::Result<()> {
    symlinkat(target, to, entry.path.file_name())?;
    Ok(utimensat(
        to,
        entry.path.file_name(),
        &times(entry),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// What one thread keeps from file to file.
#[derive(Debug, Default)]
pub(crate) struct AtHand {
    /// Those of the directory that is filled.
    pub(crate) modes: Modes,
    buffer: Vec<u8>,
}

/// Modes that new files of one directory were found to have without more ado. With the same umask and the directory's rules, the next
/// file that is made with such a mode has it too.
#[derive(Debug, Default)]
pub(crate) struct Modes {
    stand: Vec<u16>,
}

impl Modes {
    /// What [`settle`] does, for a file that was made with the entry's mode.
    fn settle(&mut self, fd: BorrowedFd<'_>, entry: &IndexEntry) -> io::Result<()> {
        let mode = entry.mode();
        if self.stand.contains(&mode) {
            return Ok(futimens(fd, &times(entry))?);
        }
        if fstat(fd)?.st_mode & 0o7777 == u32::from(mode) {
            self.stand.push(mode);
        }
        settle(fd, entry)
    }
}

/// Mode and time of a file or directory.
pub(crate) fn settle(fd: BorrowedFd<'_>, entry: &IndexEntry) -> io::Result<()> {
    let mode = u32::from(entry.mode());
    // To look costs less than to change: what it was made with mostly stands, whatever the umask and the directory's rules.
    if fstat(fd)?.st_mode & 0o7777 != mode {
        fchmod(fd, Mode::from_raw_mode(mode))?;
    }
    Ok(futimens(fd, &times(entry))?)
}

/// What stands at a name, not following a link.
pub(crate) fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    // A fifo that somebody put there must not block.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    // That it was read is of no interest, and a time of reading would be written to the disk for each file.
    let opened = match openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Another user's.
        Err(Errno::PERM) => openat(dir, name, flags, Mode::empty()),
        opened => opened,
    };
    Ok(File::from(opened?))
}

/// Makes a new file; when `fill` fails nothing stays of it.
pub(crate) fn whole_or_none(
    to: BorrowedFd<'_>,
    entry: &IndexEntry,
    fill: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let name = entry.path.file_name();
    let mode = Mode::from_raw_mode(entry.mode().into());
    let target = File::from(openat(to, name, NEW_FILE, mode)?);
    fill(&target).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = unlinkat(to, name, AtFlags::empty());
    })
}

fn times(entry: &IndexEntry) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: entry.mtime,
            tv_nsec: 0,
        },
    }
}
