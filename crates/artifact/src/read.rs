//! The pool's threads: one dispatches the planned frames and reads large files piece by piece, the others read whole
//! small files, put tar headers before them and compress.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, sync_channel};

use crate::compress::FrameCompressor;
use crate::error::Error;
use crate::format::{MOST_FRAME, padded};
use crate::frames::{FramePlan, Plan};
use crate::hash::{Digest, Sha256Writer, sha256};
use crate::header::{header_size, put_headers, tar_size};
use crate::layer::Mtime;
use crate::pack::Shared;
use crate::path::EntryPath;
use crate::tree::{Kind, TreeEntry, TreeError};

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
}

pub(crate) type Reply = Result<FrameDone, Error>;

/// One frame to be made, and where to hand it.
pub(crate) struct Job {
    work: Work,
    reply: SyncSender<Reply>,
}

enum Work {
    /// Whole entries, which the worker reads itself.
    Run(Range<usize>),
    /// A piece of a large entry, read already.
    Piece { bytes: Vec<u8>, facts: Vec<Fact> },
}

/// How much of a large file is read at once when it is only hashed.
const CHUNK: usize = 256 << 10;

/// A worker: makes frames until there are no more.
pub(crate) fn work(shared: &Shared<'_>, queue: &Mutex<Receiver<Job>>) {
    let mut compressor = None;
    let mut buffer = Vec::new();
    loop {
        let Ok(Ok(job)) = queue.lock().map(|queue| queue.recv()) else {
            return;
        };
        let reply = make(shared, &job.work, &mut compressor, &mut buffer);
        // The writer that is gone needs no reply.
        let _ = job.reply.send(reply);
    }
}

fn make(
    shared: &Shared<'_>,
    work: &Work,
    compressor: &mut Option<FrameCompressor>,
    buffer: &mut Vec<u8>,
) -> Reply {
    shared.check_stop()?;
    let failed = |source| Error::Compress {
        layer: shared.layer.name.clone(),
        source,
    };
    let compressor = match compressor {
        Some(compressor) => compressor,
        None => compressor
            .insert(FrameCompressor::new(shared.options.compression, shared.layer.level).map_err(failed)?),
    };
    let (bytes, facts) = match work {
        Work::Run(range) => {
            let facts = read_run(shared, range.clone(), buffer)?;
            (buffer.as_slice(), facts)
        }
        Work::Piece { bytes, facts } => (bytes.as_slice(), facts.clone()),
    };
    let stored = compressor.frame(bytes).map_err(failed)?;
    Ok(FrameDone {
        sha256: sha256(&stored),
        unpacked_size: bytes.len() as u32,
        stored,
        facts,
    })
}

/// The tar stream of whole entries, into `buffer`.
fn read_run(shared: &Shared<'_>, range: Range<usize>, buffer: &mut Vec<u8>) -> Result<Vec<Fact>, Error> {
    buffer.clear();
    let mut facts = Vec::with_capacity(range.len());
    let mut headers = Vec::new();
    for entry in &shared.entries[range] {
        shared.check_stop()?;
        let start = buffer.len();
        let content = start + header_size(entry) as usize;
        // The headers are put in when the content's digest, and with it the time, is known.
        buffer.resize(content + entry.size as usize, 0);
        let sha256 = match &entry.kind {
            Kind::File { .. } => {
                read_whole(shared, entry, &mut buffer[content..])?;
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

fn read_whole(shared: &Shared<'_>, entry: &TreeEntry, into: &mut [u8]) -> Result<(), Error> {
    let mut file = Content::open(shared, entry)?;
    let got = file.fill(into)?;
    if got < into.len() {
        Err(file.shorter())
    } else {
        file.expect_end()
    }
}

/// The dispatcher: hands out the frames in order. Ends early when the writer is gone.
pub(crate) fn dispatch(
    shared: &Shared<'_>,
    planned: &Plan,
    jobs: &Sender<Job>,
    in_order: &SyncSender<Receiver<Reply>>,
) {
    let hand_out = |work| {
        let (reply, receiver) = sync_channel(1);
        in_order.send(receiver).is_ok() && jobs.send(Job { work, reply }).is_ok()
    };
    for frame in &planned.frames {
        let result = match frame {
            FramePlan::Run(range) => Ok(hand_out(Work::Run(range.clone()))),
            FramePlan::Large(number) => read_large(shared, &shared.entries[*number], &hand_out),
        };
        match result {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                let (reply, receiver) = sync_channel(1);
                // Both fail only when the writer is gone.
                let _ = reply.send(Err(error));
                let _ = in_order.send(receiver);
                return;
            }
        }
    }
}

/// Cuts a large entry's tar stream into pieces and hands them out. Says whether anybody still wants them.
fn read_large(
    shared: &Shared<'_>,
    entry: &TreeEntry,
    hand_out: &dyn Fn(Work) -> bool,
) -> Result<bool, Error> {
    // A time from the content stands before the content: the file is read twice.
    let known = match shared.layer.mtime {
        Mtime::FromContent => Some(hash_large(shared, entry)?),
        Mtime::Fixed(_) => None,
    };
    let mtime = shared.layer.mtime.of(&known.unwrap_or(Digest([0; 32])));
    let mut piece = Vec::with_capacity(MOST_FRAME as usize);
    put_headers(&mut piece, entry, mtime);
    let mut file = Content::open(shared, entry)?;
    let mut hasher = Sha256Writer::new(io::sink());
    let mut left = entry.size;
    let mut unread = tar_size(entry) - piece.len() as u64;
    while unread > 0 {
        shared.check_stop()?;
        let start = piece.len();
        let room = unread.min(MOST_FRAME - start as u64);
        let content = room.min(left) as usize;
        piece.resize(start + room as usize, 0);
        let content = &mut piece[start..start + content];
        if file.fill(content)? < content.len() {
            return Err(file.shorter());
        }
        hash(&mut hasher, content);
        left -= content.len() as u64;
        unread -= room;
        if unread > 0 {
            let next = Vec::with_capacity(MOST_FRAME as usize);
            let bytes = std::mem::replace(&mut piece, next);
            if !hand_out(Work::Piece {
                bytes,
                facts: Vec::new(),
            }) {
                return Ok(false);
            }
        }
    }
    file.expect_end()?;
    let (_, sha256, _) = hasher.finish();
    if known.is_some_and(|known| known != sha256) {
        return Err(file.changed("other content on the second reading".to_owned()));
    }
    Ok(hand_out(Work::Piece {
        bytes: piece,
        facts: vec![Fact { sha256, mtime }],
    }))
}

fn hash_large(shared: &Shared<'_>, entry: &TreeEntry) -> Result<Digest, Error> {
    let mut file = Content::open(shared, entry)?;
    let mut hasher = Sha256Writer::new(io::sink());
    let mut chunk = vec![0; CHUNK];
    loop {
        shared.check_stop()?;
        let got = file.fill(&mut chunk)?;
        hash(&mut hasher, &chunk[..got]);
        if got < chunk.len() {
            break;
        }
    }
    if hasher.written() == entry.size {
        Ok(hasher.finish().1)
    } else {
        Err(file.changed(format!("{} were read", hasher.written())))
    }
}

fn hash(hasher: &mut Sha256Writer<io::Sink>, bytes: &[u8]) {
    // Into a sink, which takes everything.
    let _ = io::Write::write_all(hasher, bytes);
}

/// A file of the tree that is being read, with what an error about it needs.
struct Content<'a> {
    layer: &'a str,
    path: &'a EntryPath,
    listed: u64,
    got: u64,
    reader: Box<dyn Read + Send + 'a>,
}

impl<'a> Content<'a> {
    fn open(shared: &'a Shared<'_>, entry: &'a TreeEntry) -> Result<Self, Error> {
        let layer = shared.layer.name.as_str();
        let reader = shared.layer.tree.open(&entry.path);
        let reader = reader.map_err(|source| Error::Tree {
            layer: layer.to_owned(),
            source,
        })?;
        Ok(Self {
            layer,
            path: &entry.path,
            listed: entry.size,
            got: 0,
            reader,
        })
    }

    /// Reads until `into` is full or the file ends; says how much was read.
    fn fill(&mut self, into: &mut [u8]) -> Result<usize, Error> {
        let mut filled = 0;
        while filled < into.len() {
            match self.reader.read(&mut into[filled..]) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let source = TreeError::io("read", self.path.as_bytes(), error);
                    return Err(Error::Tree {
                        layer: self.layer.to_owned(),
                        source,
                    });
                }
            }
        }
        self.got += filled as u64;
        Ok(filled)
    }

    fn expect_end(&mut self) -> Result<(), Error> {
        match self.fill(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.changed("more could be read".to_owned())),
        }
    }

    fn shorter(&self) -> Error {
        self.changed(format!("{} could be read", self.got))
    }

    fn changed(&self, found: String) -> Error {
        let source = TreeError::Changed {
            path: self.path.clone(),
            listed: self.listed,
            found,
        };
        Error::Tree {
            layer: self.layer.to_owned(),
            source,
        }
    }
}
