//! Packs one layer: a pool of threads reads and compresses the planned frames, the calling thread writes them in order. For
//! one job there is no pool: the calling thread does all of it.
//!
//! The frames are settled before the pool starts and each depends on its own files alone, so the bytes do not depend on
//! the number of threads. What is in flight is bounded, whatever a file's size.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::compress::FrameCompressor;
use crate::dispatch::{WHOLE, dispatch, to_pool};
use crate::error::Error;
use crate::event::Event;
use crate::format::{END_BLOCKS, MOST_FRAME};
use crate::frames::{Place, Plan, plan};
use crate::hash::{Digest, Sha256Writer, sha256};
use crate::index::{Frame, Index, IndexEntry, IndexKind};
use crate::layer::{LayerKind, LayerPlan, PackOptions};
use crate::read::{Fact, FrameDone, Reply, Worker, work};
use crate::reuse::Older;
use crate::tree::{Kind, TreeEntry};

/// What is packed.
pub(crate) struct Packing<'a> {
    pub(crate) layer: &'a LayerPlan<'a>,
    /// The layer's checked listing.
    pub(crate) entries: &'a [TreeEntry],
    /// Whose frames may be taken over.
    pub(crate) older: &'a Older,
    /// Where it is written to, for errors.
    pub(crate) out: &'a Path,
}

/// A layer that was written.
pub(crate) struct Packed {
    pub(crate) index: Index,
    /// Of the layer's stored bytes.
    pub(crate) sha256: Digest,
}

/// What all threads of a pool share.
pub(crate) struct Shared<'a> {
    pub(crate) layer: &'a LayerPlan<'a>,
    pub(crate) entries: &'a [TreeEntry],
    pub(crate) options: &'a PackOptions<'a>,
    pub(crate) older: &'a Older,
    /// Set when the writer has given up.
    pub(crate) stop: AtomicBool,
    /// Buffers of large files that were packed, for the next ones: fresh memory costs more than what is done with it.
    pub(crate) spare: Mutex<Vec<Vec<u8>>>,
}

impl Shared<'_> {
    /// Ends a thread's work when it was cancelled or nobody waits for it.
    pub(crate) fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            self.options.check_cancel()
        }
    }

    /// An empty buffer.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let spare = self.spare.lock().ok().and_then(|mut spare| spare.pop());
        spare.unwrap_or_default()
    }

    /// Takes a buffer back when nobody else reads it.
    pub(crate) fn give_back(&self, bytes: Arc<Vec<u8>>) {
        if let Some(mut bytes) = Arc::into_inner(bytes)
            && let Ok(mut spare) = self.spare.lock()
        {
            bytes.clear();
            spare.push(bytes);
        }
    }
}

/// The pool's memory stays below this, however many threads were asked for.
const POOL_MEMORY: u64 = 110 << 20;
/// How many frames more than there are workers may wait to be written.
const AHEAD: usize = 8;

/// Takes the frames one after the other.
type Take<'a> = &'a mut dyn FnMut(FrameDone) -> Result<(), Error>;

/// Packs a layer into `out`; code ends with tar's end blocks. The workers begin while `first` writes what stands before
/// the layer.
pub(crate) fn pack<W: Write, T>(
    packing: &Packing<'_>,
    out: &mut W,
    options: &PackOptions<'_>,
    first: impl FnOnce(&mut W) -> Result<T, Error>,
) -> Result<(Packed, T), Error> {
    let Packing { layer, entries, .. } = *packing;
    let planned = plan(entries);
    let shared = Shared {
        layer,
        entries,
        options,
        older: packing.older,
        stop: AtomicBool::new(false),
        spare: Mutex::default(),
    };
    let run = |frames: &dyn Fn(Take<'_>) -> Result<(), Error>| {
        let written_before = first(out)?;
        (options.on_event)(Event::LayerStarted {
            layer: layer.name.clone(),
            entries: entries.len() as u64,
            unpacked_size: planned.unpacked_size,
        });
        let mut writer = FrameWriter::new(&shared, out, packing.out);
        writer.write_all(frames, planned.unpacked_size)?;
        if layer.kind == LayerKind::Code {
            writer.end()?;
        }
        Ok((writer.finish(), written_before))
    };
    let (written, written_before) = if options.jobs.get() == 1 {
        run(&|take| in_step(&shared, &planned, take))?
    } else {
        with_pool(&shared, &planned, |replies| run(&|take| in_order(replies, take)))?
    };
    let index = Index {
        compression: options.compression,
        kind: layer.kind,
        frames: written.frames,
        entries: index_entries(entries, &planned, written.facts),
    };
    (options.on_event)(Event::LayerFinished {
        layer: layer.name.clone(),
        entries: entries.len() as u64,
        unpacked_size: index.unpacked_size(),
        size: index.size(),
    });
    let sha256 = written.sha256;
    Ok((Packed { index, sha256 }, written_before))
}

/// Makes the frames in this thread.
fn in_step(shared: &Shared<'_>, planned: &Plan, take: Take<'_>) -> Result<(), Error> {
    let mut worker = Worker::new(shared);
    dispatch(shared, planned, &mut |work| {
        take(worker.make(work)?)?;
        Ok(true)
    })
}

/// The pool's frames.
fn in_order(replies: &Receiver<Receiver<Reply>>, take: Take<'_>) -> Result<(), Error> {
    for reply in replies {
        // A sender that is gone without a reply belongs to a thread that stopped.
        take(reply.recv().map_err(|_| Error::Cancelled)??)?;
    }
    Ok(())
}

/// Starts the threads that make the frames, and hands `run` their replies in order.
fn with_pool<T>(
    shared: &Shared<'_>,
    planned: &Plan,
    run: impl FnOnce(&Receiver<Receiver<Reply>>) -> Result<T, Error>,
) -> Result<T, Error> {
    // Besides its compressor a worker accounts for the frame it reads, the one it gives, and one that waits.
    let each = FrameCompressor::memory(shared.options.compression, shared.layer.level) + 3 * MOST_FRAME;
    // One large file is read while pieces of the one before wait.
    let all = 2 * WHOLE + AHEAD as u64 * MOST_FRAME;
    let most = ((POOL_MEMORY - all) / each) as usize;
    let workers = shared
        .options
        .jobs
        .get()
        .min(most)
        .min(planned.frames.len())
        .max(1);
    thread::scope(|scope| {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        // Each frame's reply is waited for in order; this bound is what keeps memory small.
        let (in_order, replies): (SyncSender<_>, _) = mpsc::sync_channel(workers + AHEAD);
        let failed = |source| Error::io("start a thread that packs", Path::new(&shared.layer.name), source);
        for _ in 0..workers {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("pack".to_owned());
            thread
                .spawn_scoped(scope, move || work(shared, &queue))
                .map_err(failed)?;
        }
        let thread = thread::Builder::new().name("pack-read".to_owned());
        thread
            .spawn_scoped(scope, move || to_pool(shared, planned, &jobs, &in_order))
            .map_err(failed)?;
        let result = run(&replies);
        if result.is_err() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        result
    })
}

/// Writes finished frames in order and notes where they lie.
struct FrameWriter<'a, W> {
    shared: &'a Shared<'a>,
    out: Sha256Writer<&'a mut W>,
    out_path: &'a Path,
    frames: Vec<Frame>,
    facts: Vec<Fact>,
    /// Frames taken over, their bytes unpacked and stored.
    reused: [u64; 3],
}

/// What a layer's frames turned out to be.
struct Written {
    frames: Vec<Frame>,
    facts: Vec<Fact>,
    sha256: Digest,
}

impl<'a, W: Write> FrameWriter<'a, W> {
    fn new(shared: &'a Shared<'a>, out: &'a mut W, out_path: &'a Path) -> Self {
        Self {
            shared,
            out: Sha256Writer::new(out),
            out_path,
            frames: Vec::new(),
            facts: Vec::new(),
            reused: [0; 3],
        }
    }

    fn finish(self) -> Written {
        let [frames, unpacked_size, size] = self.reused;
        if frames > 0 {
            (self.shared.options.on_event)(Event::FramesReused {
                layer: self.shared.layer.name.clone(),
                frames,
                unpacked_size,
                size,
            });
        }
        Written {
            frames: self.frames,
            facts: self.facts,
            sha256: self.out.finish().1,
        }
    }

    fn write_all(&mut self, frames: &dyn Fn(Take<'_>) -> Result<(), Error>, total: u64) -> Result<(), Error> {
        let mut done = 0;
        frames(&mut |frame| {
            self.shared.options.check_cancel()?;
            done += u64::from(frame.unpacked_size);
            self.write(frame)?;
            let layer = self.shared.layer.name.clone();
            (self.shared.options.on_event)(Event::LayerProgress { layer, done, total });
            Ok(())
        })?;
        self.shared.options.check_cancel()?;
        if done == total {
            Ok(())
        } else {
            Err(Error::Cancelled)
        }
    }

    fn write(&mut self, done: FrameDone) -> Result<(), Error> {
        self.out
            .write_all(&done.stored)
            .map_err(|source| Error::io("write", self.out_path, source))?;
        let (offset, unpacked_offset) = self.frames.last().map_or((0, 0), |last| {
            (
                last.offset + u64::from(last.size),
                last.unpacked_offset + u64::from(last.unpacked_size),
            )
        });
        self.frames.push(Frame {
            offset,
            size: done.stored.len() as u32,
            unpacked_offset,
            unpacked_size: done.unpacked_size,
            sha256: done.sha256,
        });
        self.facts.extend(done.facts);
        if done.reused {
            let [frames, unpacked_size, size] = &mut self.reused;
            *frames += 1;
            *unpacked_size += u64::from(done.unpacked_size);
            *size += done.stored.len() as u64;
        }
        Ok(())
    }

    /// Tar's end blocks, in a frame of their own: so the frames of the files stay the same when files are added.
    fn end(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Compress {
            layer: self.shared.layer.name.clone(),
            source,
        };
        let mut compressor =
            FrameCompressor::new(self.shared.options.compression, self.shared.layer.level).map_err(failed)?;
        let stored = compressor.frame(&[0; END_BLOCKS as usize]).map_err(failed)?;
        let sha256 = sha256(&stored);
        self.write(FrameDone {
            stored,
            sha256,
            unpacked_size: END_BLOCKS as u32,
            facts: Vec::new(),
            reused: false,
        })
    }
}

fn index_entries(entries: &[TreeEntry], planned: &Plan, facts: Vec<Fact>) -> Vec<IndexEntry> {
    let row = |((entry, place), fact): ((&TreeEntry, &Place), Fact)| IndexEntry {
        path: entry.path.clone(),
        kind: match &entry.kind {
            Kind::File { executable } => IndexKind::File {
                size: entry.size,
                sha256: fact.sha256,
                executable: *executable,
            },
            Kind::Symlink { target } => IndexKind::Symlink {
                target: target.clone(),
            },
            Kind::Directory => IndexKind::Directory,
        },
        mtime: fact.mtime,
        frame: place.frame,
        frame_offset: place.frame_offset,
        header_size: place.header_size,
    };
    entries.iter().zip(&planned.places).zip(facts).map(row).collect()
}
