//! Writing a file of which other files of the store hold some bytes: the system copies those within the file system, or shares
//! their blocks where it can (Btrfs, XFS), and a file server (NFS 4.2, SMB) copies them on its own side.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use shipit_artifact::hex;

use super::read;
use super::write::Put;
use crate::copy_plan::disjoint;
use crate::{Body, Error, Event, Held, PutOptions, PutOutcome};

/// The piece that is copied at once: between two, the work can be cancelled.
const PIECE: u64 = 16 << 20;

/// The piece in which a file is read.
const READ: usize = 1 << 20;

impl Put<'_> {
    /// What [`crate::Objects::put_by_difference`] promises.
    pub(super) fn by_difference(
        &self,
        body: &Body,
        held: &[Held],
        options: &PutOptions,
    ) -> Result<crate::Put, Error> {
        let (path, base, size) = match body {
            Body::File(path) => {
                let metadata = path.metadata();
                let metadata = metadata.map_err(|source| Error::io("read", path, source))?;
                (path, 0, metadata.len())
            }
            Body::Part { path, range } => (path, range.start, range.end.saturating_sub(range.start)),
            Body::Bytes(bytes) => return self.all(body, bytes.len() as u64, options),
        };
        let held = disjoint(&self.there(held)?, size);
        // Without a digest nothing could be compared in the end.
        let Some(wanted) = options.sha256.as_deref().filter(|_| !held.is_empty()) else {
            return self.all(body, size, options);
        };
        if read::open_regular(self.path)?.is_some() {
            return self.all(body, size, options);
        }
        let local = Local { path, base, size };
        let why = match self.composed(&local, &held, wanted) {
            Ok((temporary, copied)) => {
                let outcome = self.place_new(temporary, size, body, options)?;
                return Ok(crate::Put {
                    outcome,
                    sent: size - copied,
                    copied,
                });
            }
            Err(Trouble::Fatal(error)) => return Err(error),
            Err(Trouble::NotCopied(why)) => why,
        };
        let key = self.key.to_owned();
        self.place.on_event.emit(Event::NotCopied { key, why });
        self.all(body, size, options)
    }

    /// The runs that are there. What is gone, or too short, is not copied from.
    fn there(&self, held: &[Held]) -> Result<Vec<Held>, Error> {
        let mut there = Vec::with_capacity(held.len());
        for run in held {
            let end = run.from.saturating_add(run.at.end.saturating_sub(run.at.start));
            let path = self.place.root.join(&run.key);
            if let Some(file) = read::open_regular(&path)? {
                let metadata = file.metadata();
                let metadata = metadata.map_err(|source| Error::io("read", &path, source))?;
                if end <= metadata.len() {
                    there.push(run.clone());
                }
            }
        }
        Ok(there)
    }

    /// All of it from the body.
    fn all(&self, body: &Body, size: u64, options: &PutOptions) -> Result<crate::Put, Error> {
        let outcome = self.if_absent(body, options)?;
        let sent = if outcome == PutOutcome::Created { size } else { 0 };
        Ok(crate::Put {
            outcome,
            sent,
            copied: 0,
        })
    }

    /// A complete file with the wanted digest, on disk, and how many of its bytes came from the store.
    fn composed(
        &self,
        local: &Local<'_>,
        held: &[Held],
        wanted: &str,
    ) -> Result<(tempfile::NamedTempFile, u64), Trouble> {
        let temporary = self.temporary()?;
        let own = File::open(local.path).map_err(|source| Error::io("read", local.path, source))?;
        let to = temporary.as_file();
        let (mut at, mut copied) = (0, 0);
        let total = held.iter().map(|run| run.at.end - run.at.start).sum();
        for run in held {
            self.run(&own, local.base + at, to, at, run.at.start - at)?;
            let from = self.place.root.join(&run.key);
            let source = read::open_regular(&from)?
                .ok_or_else(|| Trouble::NotCopied(format!("{} is gone", self.place.url_of(&run.key))))?;
            let len = run.at.end - run.at.start;
            self.run(&source, run.from, to, run.at.start, len)?;
            at = run.at.end;
            copied += len;
            self.place.on_event.emit(Event::Copying {
                key: self.key.to_owned(),
                copied,
                total,
            });
        }
        self.run(&own, local.base + at, to, at, local.size - at)?;
        to.sync_all()
            .map_err(|source| Error::io("write", self.path, source))?;
        if self.digest(temporary.path(), local.size)? != wanted {
            let why = "what is copied does not hold the bytes that it should hold";
            return Err(Trouble::NotCopied(why.to_owned()));
        }
        Ok((temporary, copied))
    }

    /// Copies a run of bytes from one file to another.
    fn run(&self, from: &File, start: u64, to: &File, at: u64, len: u64) -> Result<(), Trouble> {
        let (mut source, mut target, end) = (start, at, at + len);
        while target < end {
            self.check_stop()?;
            let most = (end - target).min(PIECE) as usize;
            match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), most) {
                Ok(0) => return Err(Trouble::NotCopied("a file ends early".to_owned())),
                Ok(_) | Err(Errno::INTR) => {}
                // Between file systems, and where the system knows no such call.
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    return self.by_hand(from, source, to, target, end);
                }
                Err(errno) => return Err(Error::io("write", self.path, errno.into()).into()),
            }
        }
        Ok(())
    }

    fn by_hand(&self, from: &File, mut start: u64, to: &File, mut at: u64, end: u64) -> Result<(), Trouble> {
        let failed = |source| Error::io("write", self.path, source);
        let mut piece = vec![0; READ];
        while at < end {
            self.check_stop()?;
            let most = (end - at).min(READ as u64) as usize;
            let count = match from.read_at(&mut piece[..most], start) {
                Ok(0) => return Err(Trouble::NotCopied("a file ends early".to_owned())),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(failed(source).into()),
            };
            to.write_all_at(&piece[..count], at).map_err(failed)?;
            start += count as u64;
            at += count as u64;
        }
        Ok(())
    }

    /// SHA-256 of what was written, as it is read back.
    fn digest(&self, path: &Path, size: u64) -> Result<String, Error> {
        let failed = |source| Error::io("read", path, source);
        let mut file = File::open(path).map_err(failed)?;
        let (mut digest, mut piece, mut seen) = (Sha256::new(), vec![0; READ], 0);
        loop {
            self.check_stop()?;
            let count = match file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(failed(source)),
            };
            digest.update(&piece[..count]);
            seen += count as u64;
            self.place.on_event.emit(Event::Progress {
                key: self.key.to_owned(),
                sent: seen,
                total: size,
            });
        }
        Ok(hex(&digest.finalize()))
    }
}

/// Where the body lies.
struct Local<'a> {
    path: &'a Path,
    base: u64,
    size: u64,
}

/// Why a file was not made.
enum Trouble {
    /// It would not be made without copying either.
    Fatal(Error),
    /// Writing all of it from the body may do.
    NotCopied(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}
