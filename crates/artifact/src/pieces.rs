//! Writes a file from its beginning, piece by piece, in a thread of its own: past the page cache (O_DIRECT) once it was
//! given a way to do that, which wants whole blocks from aligned memory.
//!
//! Knows nothing of what the bytes are, and does not sync them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use rustix::io::Errno;

use crate::hash::{Digest, Sha256Writer};

/// How much is read, hashed and written at once.
const PIECE: usize = 512 << 10;
/// How many pieces there are at most: one is read, one hashed, one written, and one waits.
const PIECES: usize = 4;
/// No file system asks for larger blocks than these, or memory that is aligned better.
const BLOCK: usize = 4096;

/// A file that is written from its beginning.
pub(crate) struct Pieces {
    disk: Disk,
    /// Where the next piece is written.
    at: u64,
    /// The bytes of a block that is not full; they stand in front of the next piece.
    carry: Vec<u8>,
    free: Vec<Piece>,
}

/// Why bytes did not come into the file.
pub(crate) enum Failed<E> {
    /// The reader's own error.
    Read(E),
    Write(io::Error),
}

impl Pieces {
    /// Into a file that holds `at` bytes so far.
    pub(crate) fn new(file: &File, at: u64) -> io::Result<Self> {
        let disk = Disk {
            plain: file.try_clone()?,
            direct: None,
        };
        Ok(Self {
            disk,
            at,
            carry: Vec::new(),
            free: Vec::new(),
        })
    }

    /// From now on what is written goes through `direct`, the same file opened with O_DIRECT, as long as it can.
    pub(crate) fn go_past_the_cache(&mut self, direct: File) {
        self.disk.direct = Some(direct);
    }

    /// Writes all that `read` puts into the room that it is given, until that is nothing. With `digest`, takes the digest
    /// of these bytes in one more thread.
    pub(crate) fn write<E>(
        &mut self,
        digest: bool,
        mut read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<Digest>, Failed<E>> {
        let Self {
            disk,
            at,
            carry,
            free,
        } = self;
        let block = if disk.direct.is_some() { BLOCK } else { 1 };
        thread::scope(|scope| {
            let line = Line::start(scope, disk, digest).map_err(Failed::Write)?;
            let mut spare = std::mem::take(free);
            let mut made = spare.len();
            loop {
                // Without a free one all are on their way; without those the disk's thread has ended.
                let piece = spare.pop().or_else(|| line.back.try_recv().ok());
                let piece = match piece {
                    None if made < PIECES => {
                        made += 1;
                        Some(Piece::new())
                    }
                    None => line.back.recv().ok(),
                    piece => piece,
                };
                let Some(mut piece) = piece else { break };
                piece.begin_with(carry, *at);
                let end = piece.fill(&mut read).map_err(Failed::Read)?;
                piece.keep_whole(block, carry);
                *at += piece.stored.len() as u64;
                if line.next.send(piece).is_err() || end {
                    break;
                }
            }
            let (digest, back) = line.end().map_err(Failed::Write)?;
            *free = back;
            free.append(&mut spare);
            Ok(digest)
        })
    }

    /// Writes the last block, which is not full. Where the file ends.
    pub(crate) fn end(self) -> io::Result<u64> {
        self.disk.plain.write_all_at(&self.carry, self.at)?;
        Ok(self.at + self.carry.len() as u64)
    }
}

/// The threads that pieces pass through, and the way there and back.
struct Line<'scope> {
    next: SyncSender<Piece>,
    back: Receiver<Piece>,
    hash: Option<ScopedJoinHandle<'scope, Digest>>,
    disk: ScopedJoinHandle<'scope, io::Result<()>>,
}

impl<'scope> Line<'scope> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        disk: &'env mut Disk,
        digest: bool,
    ) -> io::Result<Self> {
        let named = |name: &str| thread::Builder::new().name(name.to_owned());
        let (to_disk, pieces) = sync_channel(PIECES);
        let (done, back) = channel();
        let disk = named("write").spawn_scoped(scope, move || disk.take(pieces, &done))?;
        let (next, hash) = if digest {
            let (next, pieces) = sync_channel(PIECES);
            let hash = named("hash").spawn_scoped(scope, move || hash(pieces, &to_disk))?;
            (next, Some(hash))
        } else {
            (to_disk, None)
        };
        Ok(Self {
            next,
            back,
            hash,
            disk,
        })
    }

    /// Waits for all that was sent. The digest, and the pieces that nobody needs any more.
    fn end(self) -> io::Result<(Option<Digest>, Vec<Piece>)> {
        drop(self.next);
        let digest = self.hash.map(joined);
        joined(self.disk)?;
        Ok((digest, self.back.try_iter().collect()))
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Hashes pieces on their way to the disk.
fn hash(pieces: Receiver<Piece>, to_disk: &SyncSender<Piece>) -> Digest {
    let mut hasher = Sha256Writer::new(io::sink());
    for piece in pieces {
        hasher.note(&piece.room[piece.fresh.clone()]);
        // The thread there ends only when it fails, which it says itself.
        let _ = to_disk.send(piece);
    }
    hasher.digest_so_far()
}

/// The file, opened in one or two ways.
struct Disk {
    plain: File,
    direct: Option<File>,
}

impl Disk {
    fn take(&mut self, pieces: Receiver<Piece>, done: &Sender<Piece>) -> io::Result<()> {
        for piece in pieces {
            self.write(&piece.room[piece.stored.clone()], piece.at)?;
            // At the end nobody wants it back.
            let _ = done.send(piece);
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        if let Some(direct) = &self.direct {
            match direct.write_all_at(bytes, at) {
                // The file system has O_DIRECT only by name, or wants larger blocks.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => self.direct = None,
                result => return result,
            }
        }
        self.plain.write_all_at(bytes, at)
    }
}

/// Some bytes on their way.
struct Piece {
    /// Room for a piece at a good address, and a block.
    room: Vec<u8>,
    /// What of the room was read, and not carried over from the piece before.
    fresh: Range<usize>,
    /// What of the room is written, and where to.
    stored: Range<usize>,
    at: u64,
}

impl Piece {
    fn new() -> Self {
        Self {
            room: vec![0; PIECE + BLOCK],
            fresh: 0..0,
            stored: 0..0,
            at: 0,
        }
    }

    /// Puts in front what was carried over.
    fn begin_with(&mut self, carry: &mut Vec<u8>, at: u64) {
        let begin = self.room.as_ptr().align_offset(BLOCK).min(BLOCK);
        let content = begin + carry.len();
        self.room[begin..content].copy_from_slice(carry);
        carry.clear();
        self.at = at;
        self.stored = begin..content;
        self.fresh = content..content;
    }

    /// Reads until it is full or all is read; whether all is.
    fn fill<E>(&mut self, read: &mut impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<bool, E> {
        let end = self.stored.start + PIECE;
        while self.fresh.end < end {
            match read(&mut self.room[self.fresh.end..end])? {
                0 => return Ok(true),
                got => self.fresh.end += got,
            }
        }
        Ok(false)
    }

    /// Leaves what is less than a block to the next piece.
    fn keep_whole(&mut self, block: usize, carry: &mut Vec<u8>) {
        let bytes = self.fresh.end - self.stored.start;
        self.stored.end = self.stored.start + bytes / block * block;
        carry.extend_from_slice(&self.room[self.stored.end..self.fresh.end]);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::hash::sha256;

    fn bytes(size: usize, seed: u64) -> Vec<u8> {
        (0..size as u64)
            .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ seed) >> 56) as u8)
            .collect()
    }

    /// Writes these one after the other; compares the file and each digest.
    fn write(path: &std::path::Path, direct: Option<File>, parts: &[Vec<u8>]) {
        let file = File::create(path).unwrap();
        let mut pieces = Pieces::new(&file, 0).unwrap();
        if let Some(direct) = direct {
            pieces.go_past_the_cache(direct);
        }
        for part in parts {
            let mut rest = part.as_slice();
            let read = |room: &mut [u8]| -> Result<usize, Infallible> {
                // Odd lengths, as a pipe gives them.
                let (now, later) = rest.split_at(rest.len().min(room.len()).min(77_777));
                room[..now.len()].copy_from_slice(now);
                rest = later;
                Ok(now.len())
            };
            let digest = pieces.write(true, read).ok().unwrap();
            assert_eq!(digest, Some(sha256(part)));
        }
        let all = parts.concat();
        assert_eq!(pieces.end().unwrap(), all.len() as u64);
        assert!(fs::read(path).unwrap() == all, "{parts:?}");
    }

    fn parts() -> Vec<Vec<u8>> {
        [10, 3 * PIECE + 17, 0, 4096, PIECE - 27, 9 * PIECE, 1]
            .iter()
            .enumerate()
            .map(|(seed, size)| bytes(*size, seed as u64))
            .collect()
    }

    #[test]
    fn parts_follow_each_other_whatever_the_way() {
        // A temporary directory may lie in memory, where the target directory does not.
        let program = std::env::current_exe().unwrap();
        for dir in [
            tempfile::tempdir().unwrap(),
            tempfile::tempdir_in(program.parent().unwrap()).unwrap(),
        ] {
            let path = dir.path().join("file");
            write(&path, None, &parts());
            let mut options = fs::OpenOptions::new();
            options
                .write(true)
                .custom_flags(rustix::fs::OFlags::DIRECT.bits() as i32);
            if let Ok(direct) = options.open(&path) {
                write(&path, Some(direct), &parts());
            }
        }
    }

    #[test]
    fn who_cannot_go_past_the_cache_does_without_and_other_errors_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        // What a pipe answers to a write at a place is another error than EINVAL.
        let (_reader, writer) = io::pipe().unwrap();
        let file = File::create(&path).unwrap();
        let mut pieces = Pieces::new(&file, 0).unwrap();
        pieces.go_past_the_cache(File::from(std::os::fd::OwnedFd::from(writer)));
        let read = |room: &mut [u8]| -> Result<usize, Infallible> { Ok(room.len()) };
        assert!(matches!(pieces.write(false, read), Err(Failed::Write(_))));
        // The reader's error comes as it is.
        let mut pieces = Pieces::new(&file, 0).unwrap();
        assert!(matches!(
            pieces.write(true, |_| Err("no")),
            Err(Failed::Read("no"))
        ));
    }
}
