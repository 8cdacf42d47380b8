//! Writing into a directory store: a temporary file that is complete and on disk before it gets its name.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};
use shipit_artifact::hex;
use tempfile::NamedTempFile;

use super::{LOCK_WAIT, Place, RESERVED, read, tree};
use crate::{Body, Error, Event, PutOptions, PutOutcome};

/// The piece in which files are copied and compared.
const PIECE: usize = 256 * 1024;

/// One write to one key.
pub(super) struct Put<'a> {
    pub(super) place: &'a Place,
    pub(super) key: &'a str,
    pub(super) path: &'a Path,
    /// Set when nobody waits for it any more.
    pub(super) stop: &'a AtomicBool,
}

impl Put<'_> {
    pub(super) fn if_absent(&self, body: &Body, options: &PutOptions) -> Result<PutOutcome, Error> {
        if let Some(stored) = read::open_regular(self.path)? {
            return self.compare(stored, body, options);
        }
        let mut temporary = self.temporary()?;
        let size = self.copy(body, options, &mut temporary)?;
        self.place_new(temporary, size, body, options)
    }

    /// Gives a complete file its name, if nothing has it.
    pub(super) fn place_new(
        &self,
        temporary: NamedTempFile,
        size: u64,
        body: &Body,
        options: &PutOptions,
    ) -> Result<PutOutcome, Error> {
        let placed = match self.persist(temporary, false)? {
            Placed::Nowhere(temporary, _) => {
                let _lock = self.lock()?;
                self.persist(temporary, false)?
            }
            placed => placed,
        };
        if !placed.or_taken(self.path)? {
            let stored = read::open_regular(self.path)?.ok_or_else(|| self.in_the_way())?;
            return self.compare(stored, body, options);
        }
        self.sync_parent()?;
        self.place.on_event.emit(Event::Stored {
            key: self.key.to_owned(),
            bytes: size,
        });
        Ok(PutOutcome::Created)
    }

    pub(super) fn if_match(&self, bytes: &[u8], etag: Option<&str>) -> Result<String, Error> {
        let _lock = self.lock()?;
        self.check_etag(etag)?;
        let mut temporary = self.temporary()?;
        let written = temporary
            .write_all(bytes)
            .and_then(|()| temporary.as_file().sync_all());
        written.map_err(|source| Error::io("write", self.path, source))?;
        if !self.persist(temporary, etag.is_some())?.or_taken(self.path)? {
            return Err(self.changed());
        }
        self.sync_parent()?;
        Ok(read::etag_of(bytes))
    }

    /// Gives a file its name.
    fn persist(&self, temporary: NamedTempFile, replace: bool) -> Result<Placed, Error> {
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let changed = match self.place_parent() {
            Err(Error::Io { source, .. }) if gone(&source) => return Ok(Placed::Nowhere(temporary, source)),
            made => made?,
        };
        let placed = match replace {
            true => temporary.persist(self.path),
            false => temporary.persist_noclobber(self.path),
        };
        changed.iter().try_for_each(|above| tree::sync_directory(above))?;
        match placed {
            Ok(_) => Ok(Placed::There),
            Err(error) if gone(&error.error) => Ok(Placed::Nowhere(error.file, error.error)),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(Placed::Taken),
            Err(error) => Err(Error::io("write", self.path, error.error)),
        }
    }

    /// Deletes the object, and the directories that then hold nothing. They go under the lock, so that who finds that
    /// they went in that moment can put something there for certain.
    pub(super) fn delete(&self) -> Result<(), Error> {
        tree::remove(self.path)?;
        for directory in tree::removable(&self.place.root, self.key) {
            if !tree::is_empty(&directory) {
                break;
            }
            // It stays for a later delete where the lock cannot be had, and where something was put there just now.
            let Ok(_lock) = self.lock() else { break };
            if fs::remove_dir(&directory).is_err() {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn delete_if_match(&self, etag: &str) -> Result<(), Error> {
        let _lock = self.lock()?;
        self.check_etag(Some(etag))?;
        tree::remove(self.path)
    }

    fn check_etag(&self, etag: Option<&str>) -> Result<(), Error> {
        let found = read::meta(self.path, self.key)?;
        if found.as_ref().map(|meta| meta.etag.as_str()) == etag {
            Ok(())
        } else {
            Err(self.changed())
        }
    }

    fn changed(&self) -> Error {
        Error::Changed {
            url: self.place.url_of(self.key),
        }
    }

    fn in_the_way(&self) -> Error {
        let detail = "there is something that is no file".to_owned();
        Error::Different {
            url: self.place.url_of(self.key),
            detail,
        }
    }

    /// A file of its own beside the objects, with its final permissions.
    pub(super) fn temporary(&self) -> Result<NamedTempFile, Error> {
        let directory = self.place.root.join(format!("{RESERVED}.tmp"));
        tree::make_directories(&directory)?;
        let failed = |source| Error::io("create a temporary file in", &directory, source);
        let file = NamedTempFile::new_in(&directory).map_err(failed)?;
        file.as_file()
            .set_permissions(Permissions::from_mode(0o644))
            .map_err(failed)?;
        Ok(file)
    }

    fn copy(&self, body: &Body, options: &PutOptions, to: &mut NamedTempFile) -> Result<u64, Error> {
        let mut from = Opened::new(body)?;
        let total = from.size;
        let mut digest = Sha256::new();
        let mut piece = vec![0; PIECE];
        let mut sent = 0;
        loop {
            let count = from.read(&mut piece)?;
            if count == 0 {
                break;
            }
            self.check_stop()?;
            digest.update(&piece[..count]);
            to.write_all(&piece[..count])
                .map_err(|source| Error::io("write", self.path, source))?;
            sent += count as u64;
            self.place.on_event.emit(Event::Progress {
                key: self.key.to_owned(),
                sent,
                total,
            });
        }
        from.check(sent, digest, options)?;
        to.as_file()
            .sync_all()
            .map_err(|source| Error::io("write", self.path, source))?;
        Ok(sent)
    }

    pub(super) fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) {
            let stopped = io::Error::new(io::ErrorKind::Interrupted, "it was cancelled");
            return Err(Error::io("write", self.path, stopped));
        }
        Ok(())
    }

    /// Whether what is stored is what would be written; the body is checked on the way.
    fn compare(&self, stored: File, body: &Body, options: &PutOptions) -> Result<PutOutcome, Error> {
        let failed = |source| Error::io("read", self.path, source);
        let different = |detail: String| Error::Different {
            url: self.place.url_of(self.key),
            detail,
        };
        let size = stored.metadata().map_err(failed)?.len();
        let mut from = Opened::new(body)?;
        if size != from.size {
            return Err(different(format!("{size} bytes there, {} here", from.size)));
        }
        let mut stored = io::BufReader::with_capacity(PIECE, stored);
        let (mut here, mut there) = (vec![0; PIECE], vec![0; PIECE]);
        let (mut digest, mut seen) = (Sha256::new(), 0_u64);
        loop {
            let count = from.read(&mut here)?;
            if count == 0 {
                break;
            }
            match stored.read_exact(&mut there[..count]) {
                Ok(()) if here[..count] == there[..count] => {}
                Ok(()) => {
                    return Err(different(format!(
                        "of the same size, from byte {seen} on or later"
                    )));
                }
                Err(source) => return Err(failed(source)),
            }
            digest.update(&here[..count]);
            seen += count as u64;
        }
        from.check(seen, digest, options)?;
        self.place.on_event.emit(Event::Present {
            key: self.key.to_owned(),
            bytes: size,
        });
        Ok(PutOutcome::AlreadyEqual)
    }

    /// Makes the directory of the file; what is yet to be synced then.
    fn place_parent(&self) -> Result<Vec<PathBuf>, Error> {
        self.path.parent().map_or(Ok(Vec::new()), tree::make_unsynced)
    }

    fn sync_parent(&self) -> Result<(), Error> {
        self.path.parent().map_or(Ok(()), tree::sync_directory)
    }

    /// The lock of conditional writes. The system releases it with the file, so a killed process holds none.
    fn lock(&self) -> Result<File, Error> {
        tree::make_directories(&self.place.root)?;
        let path = self.place.root.join(format!("{RESERVED}.lock"));
        // Opened for reading where it exists: another user of the store's group may own it.
        let opened = File::open(&path).or_else(|_| {
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)
                .and_then(|file| {
                    file.set_permissions(Permissions::from_mode(0o644))?;
                    Ok(file)
                })
        });
        let file = opened.map_err(|source| Error::io("open the lock", &path, source))?;
        let start = Instant::now();
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("lock", &path, errno.into())),
            }
            if start.elapsed() > LOCK_WAIT || self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stalled {
                    doing: format!("waiting for {}", path.display()),
                    after: LOCK_WAIT,
                });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What came of giving a file its name.
enum Placed {
    There,
    /// Something else has the name.
    Taken,
    /// The directory was empty, and somebody removed it after it was found or made.
    Nowhere(NamedTempFile, io::Error),
}

impl Placed {
    /// Whether it is there; false when something else is.
    fn or_taken(self, path: &Path) -> Result<bool, Error> {
        match self {
            Self::There => Ok(true),
            Self::Taken => Ok(false),
            Self::Nowhere(_, source) => Err(Error::io("write", path, source)),
        }
    }
}

/// A body that is being read.
struct Opened<'a> {
    from: Box<dyn Read + 'a>,
    name: PathBuf,
    size: u64,
}

impl<'a> Opened<'a> {
    fn new(body: &'a Body) -> Result<Self, Error> {
        match body {
            Body::Bytes(bytes) => Ok(Self {
                from: Box::new(bytes.as_ref()),
                name: PathBuf::from("(memory)"),
                size: bytes.len() as u64,
            }),
            Body::Part { path, range } => {
                let failed = |source| Error::io("read", path, source);
                let mut file = File::open(path).map_err(failed)?;
                file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
                let size = range.end.saturating_sub(range.start);
                Ok(Self {
                    from: Box::new(file.take(size)),
                    name: path.clone(),
                    size,
                })
            }
            Body::File(path) => {
                let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
                let metadata = file
                    .metadata()
                    .map_err(|source| Error::io("read", path, source))?;
                Ok(Self {
                    from: Box::new(file),
                    name: path.clone(),
                    size: metadata.len(),
                })
            }
        }
    }

    fn read(&mut self, piece: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.from.read(piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map_err(|source| Error::io("read", &self.name, source)),
            }
        }
    }

    fn check(&self, seen: u64, digest: Sha256, options: &PutOptions) -> Result<(), Error> {
        let path = self.name.display().to_string();
        if seen != self.size {
            let why = format!("it changed while it was read: {seen} bytes, {} before", self.size);
            return Err(Error::DamagedFile { path, why });
        }
        check_sha256(&path, options, &hex(&digest.finalize()))
    }
}

/// Refuses a body that is not the one that its key names.
pub(crate) fn check_sha256(path: &str, options: &PutOptions, found: &str) -> Result<(), Error> {
    match options.sha256.as_deref() {
        Some(wanted) if wanted != found => Err(Error::DamagedFile {
            path: path.to_owned(),
            why: format!("its SHA-256 is {found}, and {wanted} was expected"),
        }),
        _ => Ok(()),
    }
}
