//! Frames of older layers, found again by what they hold.
//!
//! A frame's bytes follow from its entries, its compression and its level. Where a layer's new frame holds what an older
//! one holds, the older one's bytes are what packing would give. That is not believed: the stored bytes have to have
//! the digest that the older index names, and to decode to the very bytes that would be packed. So a damaged file, or an
//! index that lies, costs time and nothing else.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::extract::{Decoder, FileFrames, Frames};
use crate::format::MOST_FRAME;
use crate::hash::{Digest, sha256};
use crate::index::{Frame, Index, IndexEntry, IndexKind};
use crate::layer::{Compression, LayerPlan, SealedLayer};
use crate::path::EntryPath;
use crate::read::Fact;
use crate::tree::{Kind, TreeEntry};

/// What a frame holds, as a number. Frames that hold the same have the same; whether the reverse is true is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

/// The frames of some older layers.
#[derive(Debug, Default)]
pub(crate) struct Older {
    layers: Vec<OlderLayer>,
    found: HashMap<Key, (usize, usize)>,
}

#[derive(Debug)]
struct OlderLayer {
    file: FileFrames,
    frames: Vec<Frame>,
}

impl Older {
    /// No older layers.
    pub(crate) fn none() -> Self {
        Self::default()
    }

    /// The older layers that were packed as `plan` is going to be. What cannot be read is left out: it saves nothing.
    pub(crate) fn of(layers: &[&SealedLayer], plan: &LayerPlan<'_>, compression: Compression) -> Self {
        let mut older = Self::none();
        for layer in layers {
            let alike = layer.compression == compression
                && layer.level == Some(plan.level)
                && layer.kind == plan.kind;
            if let Some((file, index)) = alike.then(|| open(layer)).flatten() {
                older.add(file, index);
            }
        }
        older
    }

    /// Whether there is nothing to be found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn add(&mut self, file: FileFrames, index: Index) {
        let layer = self.layers.len();
        let mut next = 0;
        for (number, frame) in index.frames.iter().enumerate() {
            let begin = next;
            while index
                .entries
                .get(next)
                .is_some_and(|entry| entry.frame as usize == number)
            {
                next += 1;
            }
            let entries = &index.entries[begin..next];
            let size: u64 = entries.iter().map(IndexEntry::tar_size).sum();
            match entries {
                [large] if size > MOST_FRAME => {
                    for piece in 0..size.div_ceil(MOST_FRAME) as usize {
                        self.found
                            .insert(Key::piece(&large, piece), (layer, number + piece));
                    }
                }
                // A later piece of a large entry has no entries of its own.
                _ if size == u64::from(frame.unpacked_size) => {
                    self.found.insert(Key::run(entries.iter()), (layer, number));
                }
                _ => {}
            }
        }
        let frames = index.frames;
        self.layers.push(OlderLayer { file, frames });
    }

    /// The stored bytes of an older frame that holds exactly `bytes`, and their digest.
    pub(crate) fn find(&self, key: Key, bytes: &[u8], reading: &mut Reading) -> Option<(Vec<u8>, Digest)> {
        let (layer, number) = self.found.get(&key)?;
        let layer = self.layers.get(*layer)?;
        let frame = layer.frames.get(*number)?;
        let stored = layer.file.stored(*number, frame).ok()?;
        let Reading { decoder, unpacked } = reading;
        decoder.decode(*number, frame, &stored, unpacked).ok()?;
        (unpacked.as_slice() == bytes).then_some((stored, frame.sha256))
    }
}

/// What one thread needs to look into older frames.
pub(crate) struct Reading {
    decoder: Decoder,
    unpacked: Vec<u8>,
}

impl Reading {
    pub(crate) fn new(compression: Compression) -> Self {
        Self {
            decoder: Decoder::new(compression),
            unpacked: Vec::new(),
        }
    }
}

/// An older layer's files, if they are there and its index is the one it was sealed with.
fn open(layer: &SealedLayer) -> Option<(FileFrames, Index)> {
    let stored = fs::read(&layer.index).ok()?;
    if sha256(&stored).to_string() != layer.index_sha256 {
        return None;
    }
    let index = Index::parse(&stored).ok()?;
    let alike = index.compression() == layer.compression && index.kind() == layer.kind;
    let file = alike.then(|| FileFrames::open(&layer.frames, 0).ok()).flatten()?;
    Some((file, index))
}

/// What of an entry decides its bytes.
trait Content {
    fn put(&self, state: &mut DefaultHasher);
}

impl Content for &IndexEntry {
    fn put(&self, state: &mut DefaultHasher) {
        match &self.kind {
            IndexKind::File {
                size,
                sha256,
                executable,
            } => put_file(state, &self.path, *size, sha256, *executable),
            IndexKind::Symlink { target } => (&self.path, target.as_slice()).hash(state),
            IndexKind::Directory => self.path.hash(state),
        }
        self.mtime.hash(state);
    }
}

impl Content for (&TreeEntry, &Fact) {
    fn put(&self, state: &mut DefaultHasher) {
        let (entry, fact) = self;
        match &entry.kind {
            Kind::File { executable } => put_file(state, &entry.path, entry.size, &fact.sha256, *executable),
            Kind::Symlink { target } => (&entry.path, target.as_slice()).hash(state),
            Kind::Directory => entry.path.hash(state),
        }
        fact.mtime.hash(state);
    }
}

fn put_file(state: &mut DefaultHasher, path: &EntryPath, size: u64, sha256: &Digest, executable: bool) {
    (path, size, sha256, executable).hash(state);
}

impl Key {
    /// Of a frame of whole entries.
    #[allow(private_bounds, reason = "only this module says what an entry's content is")]
    pub(crate) fn run(entries: impl Iterator<Item = impl Content>) -> Self {
        let mut state = DefaultHasher::new();
        for entry in entries {
            entry.put(&mut state);
        }
        Self(state.finish())
    }

    /// Of a piece of a large entry, counted from 0.
    #[allow(private_bounds, reason = "only this module says what an entry's content is")]
    pub(crate) fn piece(entry: &impl Content, piece: usize) -> Self {
        let mut state = DefaultHasher::new();
        entry.put(&mut state);
        piece.hash(&mut state);
        Self(state.finish())
    }
}
