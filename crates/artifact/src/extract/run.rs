//! The threads: each takes the next piece of work, decodes its frames, and writes the wanted entries.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use super::decode::Decoder;
use super::place::{Growing, Places};
use super::units::{Unit, sorted, units};
use super::{ExtractOptions, Extracted, Frames};
use crate::beneath::Root;
use crate::error::Error;
use crate::event::Event;
use crate::hash::{Sha256Writer, sha256};
use crate::header::put_headers_of;
use crate::index::{Index, IndexEntry, IndexKind};

/// Entries between two events.
const TOLD: u64 = 1000;

/// What all threads share.
struct Shared<'a> {
    index: &'a Index,
    frames: &'a dyn Frames,
    root: &'a Root,
    dest: &'a Path,
    options: &'a ExtractOptions<'a>,
    units: &'a [Unit],
    next: AtomicUsize,
    stop: AtomicBool,
    failed: Mutex<Option<Error>>,
    files: AtomicU64,
    bytes: AtomicU64,
}

pub(super) fn run(
    index: &Index,
    frames: &dyn Frames,
    wanted: &[usize],
    dest: &Path,
    options: &ExtractOptions<'_>,
) -> Result<Extracted, Error> {
    let root = Root::open(dest).map_err(|source| Error::io("open the directory", dest, source))?;
    let wanted = sorted(index, wanted);
    let directories: Vec<_> = wanted
        .iter()
        .map(|number| &index.entries()[*number])
        .filter(|entry| entry.kind == IndexKind::Directory)
        .collect();
    let mut places = Places::new(&root, dest);
    for entry in &directories {
        if options.cancel.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        places.directory(entry)?;
    }
    let units = units(index, &wanted);
    let shared = Shared {
        index,
        frames,
        root: &root,
        dest,
        options,
        units: &units,
        next: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        failed: Mutex::new(None),
        files: AtomicU64::new(directories.len() as u64),
        bytes: AtomicU64::new(0),
    };
    shared.by_threads()?;
    for entry in directories.iter().rev() {
        places.finish_directory(entry)?;
    }
    let done = shared.done();
    shared.tell();
    Ok(done)
}

impl Shared<'_> {
    /// Runs the threads to their end; hands the first error back.
    fn by_threads(&self) -> Result<(), Error> {
        let threads = self.options.jobs.get().min(self.units.len());
        thread::scope(|scope| {
            for _ in 1..threads {
                let spawned = thread::Builder::new().spawn_scoped(scope, || self.work());
                // With fewer threads it takes longer, that is all.
                if spawned.is_err() {
                    break;
                }
            }
            self.work();
        });
        let failed = self.failed.lock().ok().and_then(|mut failed| failed.take());
        failed.map_or(Ok(()), Err)
    }

    fn work(&self) {
        let mut worker = Worker {
            shared: self,
            places: Places::new(self.root, self.dest),
            decoder: Decoder::new(self.index.compression()),
            unpacked: Vec::new(),
            headers: Vec::new(),
        };
        while !self.stop.load(Ordering::Relaxed) {
            let Some(unit) = self.units.get(self.next.fetch_add(1, Ordering::Relaxed)) else {
                return;
            };
            if let Err(error) = worker.unit(unit) {
                self.stop.store(true, Ordering::Relaxed);
                if let Ok(mut failed) = self.failed.lock() {
                    failed.get_or_insert(error);
                }
            }
        }
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) || self.options.cancel.load(Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    fn count(&self, entry: &IndexEntry) {
        self.bytes.fetch_add(entry.size(), Ordering::Relaxed);
        if self.files.fetch_add(1, Ordering::Relaxed) % TOLD == TOLD - 1 {
            self.tell();
        }
    }

    fn done(&self) -> Extracted {
        Extracted {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }

    fn tell(&self) {
        let done = self.done();
        (self.options.on_event)(Event::UnpackProgress {
            entries: done.files,
            bytes: done.bytes,
        });
    }
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    places: Places<'a>,
    decoder: Decoder,
    unpacked: Vec<u8>,
    headers: Vec<u8>,
}

/// A file that lies in several frames, on its way.
struct Long<'a> {
    growing: Growing<'a>,
    hash: Sha256Writer<io::Sink>,
}

impl<'a> Worker<'a> {
    fn unit(&mut self, unit: &Unit) -> Result<(), Error> {
        let index = self.shared.index;
        let mut entries = unit
            .entries
            .iter()
            .map(|number| &index.entries()[*number])
            .peekable();
        if unit.frames.is_empty() {
            return entries.try_for_each(|entry| self.plain(entry));
        }
        let mut long: Option<Long<'a>> = None;
        for number in unit.frames.clone() {
            self.decode(number)?;
            let begin = index.frames()[number].unpacked_offset;
            let end = begin + self.unpacked.len() as u64;
            long = self.feed(long, begin)?;
            while let Some(entry) = entries.next_if(|entry| content_begin(index, entry) < end) {
                self.shared.check_stop()?;
                let at = (content_begin(index, entry) - begin) as usize;
                self.check_headers(entry, at)?;
                if content_begin(index, entry) + entry.size() <= end {
                    self.whole(entry, at)?;
                    continue;
                }
                let begun = Long {
                    growing: self.places.begin(entry)?,
                    hash: Sha256Writer::new(io::sink()),
                };
                long = self.feed(Some(begun), begin)?;
            }
        }
        Ok(())
    }

    fn decode(&mut self, number: usize) -> Result<(), Error> {
        self.shared.check_stop()?;
        let frame = &self.shared.index.frames()[number];
        let stored = self.shared.frames.stored(number, frame);
        // Who gives the frames may have ended because this was cancelled.
        self.shared.check_stop()?;
        let stored = stored.map_err(|source| Error::Frame { number, source })?;
        self.decoder.decode(number, frame, &stored, &mut self.unpacked)
    }

    /// The frame holds the tarball's own words about the entry; they have to be the index's.
    fn check_headers(&mut self, entry: &IndexEntry, at: usize) -> Result<(), Error> {
        self.headers.clear();
        put_headers_of(&mut self.headers, entry);
        if self.unpacked[..at].ends_with(&self.headers) {
            Ok(())
        } else {
            Err(differs(entry, "the tarball has other headers before its content"))
        }
    }

    /// A file that this frame holds wholly.
    fn whole(&mut self, entry: &IndexEntry, at: usize) -> Result<(), Error> {
        let content = &self.unpacked[at..at + entry.size() as usize];
        if entry.content() != Some(&sha256(content)) {
            return Err(differs(entry, "its content has another digest"));
        }
        self.places.file(entry, content)?;
        self.shared.count(entry);
        Ok(())
    }

    /// An empty file or a symlink.
    fn plain(&mut self, entry: &IndexEntry) -> Result<(), Error> {
        self.shared.check_stop()?;
        match &entry.kind {
            IndexKind::Symlink { target } => self.places.symlink(entry, target)?,
            _ if entry.content() == Some(&sha256(&[])) => self.places.file(entry, &[])?,
            _ => {
                return Err(differs(
                    entry,
                    "it is empty, and its digest is not that of nothing",
                ));
            }
        }
        self.shared.count(entry);
        Ok(())
    }

    /// Gives a file that lies in several frames what the present one, beginning at `begin`, has of it; hands it back while more is to
    /// come.
    fn feed(&self, long: Option<Long<'a>>, begin: u64) -> Result<Option<Long<'a>>, Error> {
        let Some(mut long) = long else { return Ok(None) };
        let entry = long.growing.entry();
        let from = content_begin(self.shared.index, entry) + long.hash.written() - begin;
        let left = entry.size() - long.hash.written();
        let piece = &self.unpacked[from as usize..];
        let piece = &piece[..piece.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        long.growing.write(piece)?;
        // Into a sink, which takes everything.
        let _ = long.hash.write_all(piece);
        if long.hash.written() < entry.size() {
            return Ok(Some(long));
        }
        if entry.content() != Some(&long.hash.finish().1) {
            return Err(differs(entry, "its content has another digest"));
        }
        long.growing.finish()?;
        self.shared.count(entry);
        Ok(None)
    }
}

/// Where an entry's content begins in the layer's tar stream.
fn content_begin(index: &Index, entry: &IndexEntry) -> u64 {
    index.frames()[entry.frame as usize].unpacked_offset
        + u64::from(entry.frame_offset)
        + u64::from(entry.header_size)
}

fn differs(entry: &IndexEntry, why: &str) -> Error {
    Error::EntryDiffers {
        entry: entry.path.to_string(),
        why: why.to_owned(),
    }
}
