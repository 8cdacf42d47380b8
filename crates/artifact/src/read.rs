//! Makes frames: a worker reads the files of one, puts tar headers before them and compresses, or takes an older frame that
//! holds the same.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex};

use crate::compress::FrameCompressor;
use crate::content::read_whole;
use crate::error::Error;
use crate::format::{MOST_FRAME, padded};
use crate::hash::{Digest, sha256};
use crate::header::{header_size, put_headers};
use crate::pack::Shared;
use crate::reuse::{Key, Reading};
use crate::tree::Kind;

/// What is known of an entry only after its content was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fact {
    pub(crate) sha256: Digest,
    pub(crate) mtime: i64,
}

/// A frame, ready to be written, with the facts of the entries that end in it.
pub(crate) struct FrameDone {
    pub(crate) stored: Vec<u8>,
    pub(crate) sha256: Digest,
    pub(crate) unpacked_size: u32,
    pub(crate) facts: Vec<Fact>,
    /// Whether it was taken over.
    pub(crate) reused: bool,
}

pub(crate) type Reply = Result<FrameDone, Error>;

/// One frame to be made, and where to hand it.
pub(crate) struct Job {
    pub(crate) work: Work,
    pub(crate) reply: SyncSender<Reply>,
}

/// What goes into a frame.
pub(crate) enum Work {
    /// Whole entries, which the worker reads itself.
    Run(Range<usize>),
    /// A piece of a large entry.
    Piece(Piece),
}

/// A piece of a large entry's tar stream, read already.
pub(crate) struct Piece {
    pub(crate) bytes: Arc<Vec<u8>>,
    pub(crate) range: Range<usize>,
    pub(crate) facts: Vec<Fact>,
    /// What it holds, where that is known before all of the file was read.
    pub(crate) key: Option<Key>,
}

/// What a worker keeps between frames.
pub(crate) struct Worker<'a> {
    shared: &'a Shared<'a>,
    compressor: Option<FrameCompressor>,
    older: Option<Reading>,
    buffer: Vec<u8>,
}

/// Makes frames until there are no more.
pub(crate) fn work(shared: &Shared<'_>, queue: &Mutex<Receiver<Job>>) {
    let mut worker = Worker::new(shared);
    loop {
        let Ok(Ok(job)) = queue.lock().map(|queue| queue.recv()) else {
            return;
        };
        let reply = worker.make(job.work);
        // The writer that is gone needs no reply.
        let _ = job.reply.send(reply);
    }
}

impl<'a> Worker<'a> {
    pub(crate) fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            compressor: None,
            older: None,
            buffer: Vec::new(),
        }
    }

    pub(crate) fn make(&mut self, work: Work) -> Reply {
        self.shared.check_stop()?;
        match work {
            Work::Run(range) => {
                let mut buffer = std::mem::take(&mut self.buffer);
                let facts = read_run(self.shared, range.clone(), &mut buffer)?;
                let entries = self.shared.entries[range].iter().zip(&facts);
                let key = (!self.shared.older.is_empty()).then(|| Key::run(entries));
                let frame = self.frame(&buffer, facts, key);
                self.buffer = buffer;
                frame
            }
            Work::Piece(Piece {
                bytes,
                range,
                facts,
                key,
            }) => {
                let frame = self.frame(&bytes[range], facts, key);
                self.shared.give_back(bytes);
                frame
            }
        }
    }

    /// `bytes` as a frame: an older one that holds them, or a new one.
    fn frame(&mut self, bytes: &[u8], facts: Vec<Fact>, key: Option<Key>) -> Reply {
        let unpacked_size = bytes.len() as u32;
        let options = self.shared.options;
        if let Some(key) = key {
            let reading = self
                .older
                .get_or_insert_with(|| Reading::new(options.compression));
            if let Some((stored, sha256)) = self.shared.older.find(key, bytes, reading) {
                return Ok(FrameDone {
                    stored,
                    sha256,
                    unpacked_size,
                    facts,
                    reused: true,
                });
            }
        }
        let layer = self.shared.layer;
        let failed = |source| Error::Compress {
            layer: layer.name.clone(),
            source,
        };
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(FrameCompressor::new(options.compression, layer.level).map_err(failed)?),
        };
        let stored = compressor.frame(bytes).map_err(failed)?;
        Ok(FrameDone {
            sha256: sha256(&stored),
            unpacked_size,
            stored,
            facts,
            reused: false,
        })
    }
}

/// The tar stream of whole entries, into `buffer`.
fn read_run(shared: &Shared<'_>, range: Range<usize>, buffer: &mut Vec<u8>) -> Result<Vec<Fact>, Error> {
    buffer.clear();
    // And a byte more, for a file that is longer than it was listed.
    buffer.reserve(MOST_FRAME as usize + 1);
    let mut facts = Vec::with_capacity(range.len());
    let mut headers = Vec::new();
    for entry in &shared.entries[range] {
        shared.check_stop()?;
        let start = buffer.len();
        let content = start + header_size(entry) as usize;
        // The headers are put in when the content's digest, and with it the time, is known.
        buffer.resize(content, 0);
        let sha256 = match &entry.kind {
            Kind::File { .. } => {
                read_whole(shared, entry, buffer)?;
                sha256(&buffer[content..])
            }
            Kind::Symlink { target } => sha256(target),
            Kind::Directory => sha256(&[]),
        };
        let mtime = shared.layer.mtime.of(&sha256);
        headers.clear();
        put_headers(&mut headers, entry, mtime);
        buffer[start..content].copy_from_slice(&headers);
        buffer.resize(content + padded(entry.size) as usize, 0);
        facts.push(Fact { sha256, mtime });
    }
    Ok(facts)
}
