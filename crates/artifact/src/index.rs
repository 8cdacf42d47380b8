//! A layer's index: where each entry and each frame lies, and what their digests are.
//!
//! With it a reader finds a file's frames by path or by digest, fetches them alone by byte ranges, and sees which
//! frames of another artifact hold the same entries. Reading and writing the stored form is [`crate::index_codec`]'s.

use std::ops::Range;

use crate::format::{END_BLOCKS, MODE_DIRECTORY, MODE_EXECUTABLE, MODE_FILE, MODE_SYMLINK, padded};
use crate::hash::Digest;
use crate::layer::{Compression, LayerKind};
use crate::path::EntryPath;

/// One frame of a layer: stored bytes that decompress on their own to a piece of the layer's tar stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Where its stored bytes begin in the layer.
    pub offset: u64,
    /// How many stored bytes it has.
    pub size: u32,
    /// Where its bytes begin in the layer's tar stream.
    pub unpacked_offset: u64,
    /// How many bytes of the tar stream it holds.
    pub unpacked_size: u32,
    /// SHA-256 of its stored bytes.
    pub sha256: Digest,
}

/// What an index's entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexKind {
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// SHA-256 of its content.
        sha256: Digest,
        /// Mode 0755, not 0644.
        executable: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, verbatim.
        target: Vec<u8>,
    },
    /// A directory.
    Directory,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// Its path.
    pub path: EntryPath,
    /// What it is.
    pub kind: IndexKind,
    /// Its modification time in unix seconds.
    pub mtime: i64,
    /// The frame in which its headers begin.
    pub frame: u32,
    /// Where in that frame, in unpacked bytes.
    pub frame_offset: u32,
    /// How many bytes of headers stand before its content.
    pub header_size: u32,
}

impl IndexEntry {
    /// Its length: a file's content, 0 for all others.
    pub fn size(&self) -> u64 {
        match &self.kind {
            IndexKind::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// Its mode bits as packed.
    pub fn mode(&self) -> u16 {
        match &self.kind {
            IndexKind::File {
                executable: false, ..
            } => MODE_FILE,
            IndexKind::File { executable: true, .. } => MODE_EXECUTABLE,
            IndexKind::Symlink { .. } => MODE_SYMLINK,
            IndexKind::Directory => MODE_DIRECTORY,
        }
    }

    /// The digest of a file's content.
    pub fn content(&self) -> Option<&Digest> {
        match &self.kind {
            IndexKind::File { sha256, .. } => Some(sha256),
            _ => None,
        }
    }

    /// Whether `other` packs to the same bytes: the same entry with the same content.
    pub fn same_bytes(&self, other: &IndexEntry) -> bool {
        self.path == other.path && self.kind == other.kind && self.mtime == other.mtime
    }

    /// What it takes in the tar stream, headers and padding included.
    pub(crate) fn tar_size(&self) -> u64 {
        u64::from(self.header_size) + padded(self.size())
    }
}

/// Where a file's content lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The frames that hold it, in order. Empty for an empty file.
    pub frames: Range<usize>,
    /// Where it begins in the first of them, in unpacked bytes.
    pub offset: u64,
    /// Its length.
    pub size: u64,
}

/// A layer's index. Whole and consistent: entries sorted and without gaps, frames without gaps, every place in bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub(crate) compression: Compression,
    pub(crate) kind: LayerKind,
    pub(crate) frames: Vec<Frame>,
    pub(crate) entries: Vec<IndexEntry>,
}

impl Index {
    /// How the frames are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// What the layer holds. Code has a last frame of tar's end blocks, to which no entry belongs.
    pub fn kind(&self) -> LayerKind {
        self.kind
    }

    /// The frames, in order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.entries
    }

    /// The layer's stored size in bytes.
    pub fn size(&self) -> u64 {
        self.frames
            .last()
            .map_or(0, |frame| frame.offset + u64::from(frame.size))
    }

    /// The layer's size as a tar stream in bytes.
    pub fn unpacked_size(&self) -> u64 {
        self.frames
            .last()
            .map_or(0, |frame| frame.unpacked_offset + u64::from(frame.unpacked_size))
    }

    /// The entry at a path.
    pub fn find(&self, path: &EntryPath) -> Option<&IndexEntry> {
        self.entries
            .binary_search_by(|entry| entry.path.cmp(path))
            .ok()
            .map(|at| &self.entries[at])
    }

    /// Every file whose content has this digest.
    pub fn with_content<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = &'a IndexEntry> {
        self.entries
            .iter()
            .filter(move |entry| entry.content() == Some(digest))
    }

    /// Where an entry of this index has its content.
    pub fn location(&self, entry: &IndexEntry) -> Location {
        let first = &self.frames[entry.frame as usize];
        let begin = first.unpacked_offset + u64::from(entry.frame_offset) + u64::from(entry.header_size);
        let size = entry.size();
        if size == 0 {
            return Location {
                frames: 0..0,
                offset: 0,
                size,
            };
        }
        let first = self.frame_at(begin);
        let last = self.frame_at(begin + size - 1);
        Location {
            frames: first..last + 1,
            offset: begin - self.frames[first].unpacked_offset,
            size,
        }
    }

    /// The entries whose headers begin in a frame. None for a later piece of a large file and for tar's end blocks.
    pub fn entries_of(&self, frame: usize) -> &[IndexEntry] {
        let begin = self
            .entries
            .partition_point(|entry| (entry.frame as usize) < frame);
        let end = self
            .entries
            .partition_point(|entry| (entry.frame as usize) <= frame);
        &self.entries[begin..end]
    }

    /// Where the entries end in the tar stream: before tar's end blocks.
    pub(crate) fn entries_end(&self) -> u64 {
        match self.kind {
            LayerKind::Code => self.unpacked_size().saturating_sub(END_BLOCKS),
            LayerKind::Dependencies => self.unpacked_size(),
        }
    }

    fn frame_at(&self, unpacked: u64) -> usize {
        self.frames
            .partition_point(|frame| frame.unpacked_offset <= unpacked)
            .saturating_sub(1)
    }
}
