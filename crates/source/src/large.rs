//! Reading a large file of git's piece by piece, so that it is in memory once at most: libgit2 hands out an object as a whole
//! and for as long as its database is open, so a thread of its own holds both. What lies loose, as in a repository that somebody
//! works in, is inflated as it is read and never there as a whole.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use flate2::read::ZlibDecoder;
use git2::{Oid, Repository};
use sha1::{Digest, Sha1};

use crate::error::Error;
use crate::object;
use crate::repository;

/// From this size a file is read this way. Bytes.
pub(crate) const LARGE: u64 = 16 << 20;

/// What the reader is given at once.
const PIECE: usize = 1 << 20;

/// What stands before the content of a loose object, kind and length, is no longer.
const LONGEST_HEADER: u64 = 64;

/// Pieces that wait for the reader.
const WAITING: usize = 2;

/// A file's bytes as git stores them. The thread that reads ends when this is dropped.
pub(crate) struct Large {
    pieces: Receiver<Result<Vec<u8>, Error>>,
    piece: Vec<u8>,
    at: usize,
}

/// What is read, for the thread and for an error.
struct Wanted {
    git_dir: PathBuf,
    id: Oid,
    path: String,
}

impl Large {
    /// Begins to read; that the object is there and whole is known when the last byte was read. `path` is for an error.
    pub(crate) fn open(git_dir: &Path, id: Oid, path: &dyn std::fmt::Display) -> Result<Self, Error> {
        let (to, pieces) = sync_channel(WAITING);
        let wanted = Wanted {
            git_dir: git_dir.to_path_buf(),
            id,
            path: path.to_string(),
        };
        thread::Builder::new()
            .name("git-read".to_owned())
            .spawn(move || {
                if let Err(error) = wanted.read(&to) {
                    // Whoever stopped reading needs no error.
                    let _ = to.send(Err(error));
                }
            })
            .map_err(|source| Error::Io {
                doing: "starting a thread that reads from",
                path: git_dir.to_path_buf(),
                source,
            })?;
        Ok(Self {
            pieces,
            piece: Vec::new(),
            at: 0,
        })
    }
}

impl Read for Large {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.pieces.recv() {
                Ok(Ok(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(Err(error)) => return Err(io::Error::other(error)),
                // The thread is done. Had it failed, it would have said so.
                Err(_) => return Ok(0),
            }
        }
        let count = self.piece.get(self.at..).unwrap_or_default().read(into)?;
        self.at += count;
        Ok(count)
    }
}

impl Wanted {
    fn read(&self, to: &SyncSender<Result<Vec<u8>, Error>>) -> Result<(), Error> {
        let repository = repository::open_git_dir(&self.git_dir)?;
        if self.loose(&repository, to)? {
            return Ok(());
        }
        let odb = repository.odb().map_err(|source| self.damaged(source))?;
        let object = object::read_file(&odb, self.id).map_err(|source| self.damaged(source))?;
        for piece in object.data().chunks(PIECE) {
            if to.send(Ok(piece.to_vec())).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Reads a loose object; false when it is none. Not by libgit2, which inflates one that was cut off for ever.
    fn loose(&self, repository: &Repository, to: &SyncSender<Result<Vec<u8>, Error>>) -> Result<bool, Error> {
        let id = self.id.to_string();
        let (fan, rest) = id.split_at(2);
        let path = repository.commondir().join("objects").join(fan).join(rest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => {
                return Err(Error::Io {
                    doing: "reading",
                    path,
                    source,
                });
            }
        };
        let broken = |error: io::Error| self.damaged(object::damaged(error.to_string()));
        let mut inflated = BufReader::with_capacity(PIECE, ZlibDecoder::new(file));
        let mut header = Vec::new();
        inflated
            .by_ref()
            .take(LONGEST_HEADER)
            .read_until(0, &mut header)
            .map_err(broken)?;
        let mut hash = Sha1::new();
        hash.update(&header);
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let most = PIECE as u64;
            if inflated
                .by_ref()
                .take(most)
                .read_to_end(&mut piece)
                .map_err(broken)?
                == 0
            {
                break;
            }
            hash.update(&piece);
            if to.send(Ok(piece)).is_err() {
                return Ok(true);
            }
        }
        // The id is that of the kind and the length too, which stand in the header.
        if !header.starts_with(b"blob ") || hash.finalize()[..] != *self.id.as_bytes() {
            let message = format!("the content of {} does not have that id", self.id);
            return Err(self.damaged(object::damaged(message)));
        }
        Ok(true)
    }

    fn damaged(&self, source: git2::Error) -> Error {
        Error::Damaged {
            git_dir: self.git_dir.clone(),
            what: format!("{} ({})", self.path, self.id),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Larger than what waits for the reader, and not of one byte.
    fn content() -> Vec<u8> {
        (0..(5_u32 << 20) + 3)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect()
    }

    fn loose(dir: &Path) -> (Oid, PathBuf) {
        let repository = Repository::init_bare(dir).unwrap();
        let id = repository.blob(&content()).unwrap();
        let name = id.to_string();
        (id, dir.join("objects").join(&name[..2]).join(&name[2..]))
    }

    fn read(dir: &Path, id: Oid) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Large::open(dir, id, &"large.bin")
            .unwrap()
            .read_to_end(&mut bytes)
            .map(|_| bytes)
    }

    #[test]
    fn a_loose_and_a_packed_file_are_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (id, file) = loose(dir.path());
        assert!(read(dir.path(), id).unwrap() == content());
        let repository = Repository::open_bare(dir.path()).unwrap();
        let mut builder = repository.packbuilder().unwrap();
        builder.insert_object(id, None).unwrap();
        builder.write(&dir.path().join("objects/pack"), 0).unwrap();
        fs::remove_file(file).unwrap();
        assert!(read(dir.path(), id).unwrap() == content());
    }

    #[test]
    fn damage_of_a_loose_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let (id, file) = loose(dir.path());
        let whole = fs::read(&file).unwrap();
        for at in [0, 20, whole.len() / 2, whole.len() - 5, whole.len() - 1] {
            let mut wrong = whole.clone();
            wrong[at] ^= 4;
            fs::remove_file(&file).unwrap();
            fs::write(&file, wrong).unwrap();
            match read(dir.path(), id) {
                // A flipped bit of the sum at the end changes nothing of the content.
                Ok(bytes) => assert!(bytes == content(), "byte {at}"),
                Err(error) => assert!(error.to_string().contains("large.bin"), "{error}"),
            }
        }
        fs::remove_file(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert!(read(dir.path(), id).is_err());
        fs::remove_file(&file).unwrap();
        assert!(read(dir.path(), id).is_err());
    }

    #[test]
    fn a_reader_that_is_dropped_leaves_no_thread_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let (id, _) = loose(dir.path());
        let mut reader = Large::open(dir.path(), id, &"large.bin").unwrap();
        let mut byte = [0];
        assert_eq!(reader.read(&mut byte).unwrap(), 1);
        assert_eq!(byte[0], content()[0]);
        drop(reader);
        // The thread holds the repository open; without it the directory goes.
        dir.close().unwrap();
    }
}
