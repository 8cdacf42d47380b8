//! Packs one layer: a pool of threads reads and compresses the planned frames, the calling thread writes them in order.
//!
//! The frames are settled before the pool starts and each depends on its own files alone, so the bytes do not depend on
//! the number of threads. What is in flight is bounded, whatever a file's size.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::compress::FrameCompressor;
use crate::error::Error;
use crate::event::Event;
use crate::format::{END_BLOCKS, MOST_FRAME};
use crate::frames::{Place, Plan, plan};
use crate::hash::sha256;
use crate::index::{Frame, Index, IndexEntry, IndexKind};
use crate::layer::{LayerKind, LayerPlan, PackOptions};
use crate::read::{Fact, FrameDone, Reply, dispatch, work};
use crate::tree::{Kind, TreeEntry};

/// What all threads of a pool share.
pub(crate) struct Shared<'a> {
    pub(crate) layer: &'a LayerPlan<'a>,
    pub(crate) entries: &'a [TreeEntry],
    pub(crate) options: &'a PackOptions<'a>,
    /// Set when the writer has given up.
    pub(crate) stop: AtomicBool,
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
}

/// The pool's memory stays below this, however many threads were asked for.
const POOL_MEMORY: u64 = 150 << 20;

/// Packs `entries` of a layer into `out`, whose path is for errors. The code ends with tar's end blocks.
pub(crate) fn pack(
    layer: &LayerPlan<'_>,
    entries: &[TreeEntry],
    out: &mut dyn Write,
    out_path: &Path,
    options: &PackOptions<'_>,
) -> Result<Index, Error> {
    let planned = plan(entries);
    (options.on_event)(Event::LayerStarted {
        layer: layer.name.clone(),
        entries: entries.len() as u64,
        unpacked_size: planned.unpacked_size,
    });
    let shared = Shared {
        layer,
        entries,
        options,
        stop: AtomicBool::new(false),
    };
    let mut writer = FrameWriter {
        shared: &shared,
        out,
        out_path,
        frames: Vec::new(),
        facts: Vec::new(),
    };
    run_pool(&shared, &planned, &mut writer)?;
    if layer.kind == LayerKind::Code {
        writer.end()?;
    }
    let FrameWriter { frames, facts, .. } = writer;
    let index = Index {
        compression: options.compression,
        kind: layer.kind,
        frames,
        entries: index_entries(entries, &planned, facts),
    };
    (options.on_event)(Event::LayerFinished {
        layer: layer.name.clone(),
        entries: entries.len() as u64,
        unpacked_size: index.unpacked_size(),
        size: index.size(),
    });
    Ok(index)
}

fn run_pool(shared: &Shared<'_>, planned: &Plan, writer: &mut FrameWriter<'_>) -> Result<(), Error> {
    // Besides its compressor a worker accounts for the frame it reads, the one it gives, and one that waits.
    let memory = FrameCompressor::memory(shared.options.compression, shared.layer.level) + 3 * MOST_FRAME;
    let most = (POOL_MEMORY / memory) as usize;
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
        let (in_order, replies) = mpsc::sync_channel(workers + 2);
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
            .spawn_scoped(scope, move || dispatch(shared, planned, &jobs, &in_order))
            .map_err(failed)?;
        let written = writer.write_all(&replies, planned.unpacked_size);
        if written.is_err() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        written
    })
}

/// Writes finished frames in order and notes where they lie.
struct FrameWriter<'a> {
    shared: &'a Shared<'a>,
    out: &'a mut dyn Write,
    out_path: &'a Path,
    frames: Vec<Frame>,
    facts: Vec<Fact>,
}

impl FrameWriter<'_> {
    fn write_all(&mut self, replies: &Receiver<Receiver<Reply>>, total: u64) -> Result<(), Error> {
        let mut done = 0;
        for reply in replies {
            // A sender that is gone without a reply belongs to a thread that stopped.
            let frame = reply.recv().map_err(|_| Error::Cancelled)??;
            self.shared.options.check_cancel()?;
            done += u64::from(frame.unpacked_size);
            self.write(frame)?;
            let layer = self.shared.layer.name.clone();
            (self.shared.options.on_event)(Event::LayerProgress { layer, done, total });
        }
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
