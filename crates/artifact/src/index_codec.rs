//! The index's stored form: a table of little-endian numbers and bytes in one zstd frame. Named by the SHA-256 of the
//! stored bytes, described in `docs/artifact-format.md`.
//!
//! [`Index::parse`] takes bytes from anywhere: every number is checked before it is used.

use std::io;

use crate::format::{END_BLOCKS, FORMAT_VERSION, MODE_EXECUTABLE, MOST_FRAME};
use crate::index::{Frame, Index, IndexEntry, IndexKind};
use crate::index_rows::RowKind;
use crate::index_table::{FRAME_BYTES, MAGIC, Row, Table, inflate};
use crate::layer::{Compression, LayerKind};
use crate::path::{EntryPath, PathError};

/// The level of the table's own frame.
const LEVEL: i32 = 3;

/// Why some bytes are no index.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Written by a newer shipit.
    #[error("it has format version {found}, and this shipit knows versions up to {FORMAT_VERSION}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It cannot be decompressed.
    #[error("it is not one whole zstd frame")]
    Zstd(#[source] io::Error),
    /// Larger than any index may be.
    #[error("it is too large: {0}")]
    TooLarge(String),
    /// Too few or too many bytes, or a value that cannot be.
    #[error("it contradicts itself: {0}")]
    Wrong(String),
    /// An entry's path that is none.
    #[error("its entry {number} has no usable path")]
    Path {
        /// Which entry, from 0.
        number: usize,
        /// What is wrong with the path.
        source: PathError,
    },
}

pub(crate) fn wrong(why: impl Into<String>) -> IndexError {
    IndexError::Wrong(why.into())
}

impl Index {
    /// The stored form. Deterministic.
    pub fn to_bytes(&self) -> Result<Vec<u8>, IndexError> {
        let mut out = Vec::with_capacity(64 + self.frames.len() * FRAME_BYTES + self.entries.len() * 128);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.push(match self.compression {
            Compression::Zstd => 0,
            Compression::Gzip => 1,
        });
        out.push(match self.kind {
            LayerKind::Dependencies => 0,
            LayerKind::Code => 1,
        });
        out.extend_from_slice(&[0; 2]);
        for count in [self.frames.len(), self.entries.len()] {
            let count = u32::try_from(count).map_err(|_| IndexError::TooLarge(format!("{count} rows")))?;
            out.extend_from_slice(&count.to_le_bytes());
        }
        for frame in &self.frames {
            put_frame(&mut out, frame);
        }
        for entry in &self.entries {
            put_entry(&mut out, entry)?;
        }
        crate::compress::zstd_frame(&out, LEVEL).map_err(IndexError::Zstd)
    }

    /// Reads a stored index that may come from anywhere.
    pub fn parse(stored: &[u8]) -> Result<Self, IndexError> {
        let unpacked = inflate(stored)?;
        let mut table = Table::begin(&unpacked)?;
        let frames = (0..table.frames)
            .map(|_| table.frame())
            .collect::<Result<_, _>>()?;
        let entries = (0..table.entries)
            .map(|number| entry(&table.entry()?, number))
            .collect::<Result<_, _>>()?;
        let (compression, kind) = (table.compression, table.kind);
        table.end()?;
        let index = Self {
            compression,
            kind,
            frames,
            entries,
        };
        index.check()?;
        Ok(index)
    }

    /// Refuses gaps, overlaps and whatever lies out of bounds.
    pub(crate) fn check(&self) -> Result<(), IndexError> {
        let (mut stored, mut unpacked) = (0_u64, 0_u64);
        for (number, frame) in self.frames.iter().enumerate() {
            if frame.offset != stored || frame.unpacked_offset != unpacked {
                return Err(wrong(format!(
                    "the frame {number} does not begin where the one before ends"
                )));
            }
            let sizes = [frame.size, frame.unpacked_size].map(u64::from);
            if sizes.contains(&0) || sizes[1] > MOST_FRAME || sizes[0] > 2 * MOST_FRAME {
                return Err(wrong(format!("the frame {number} is empty or too large")));
            }
            stored += u64::from(frame.size);
            unpacked += u64::from(frame.unpacked_size);
        }
        if self.kind == LayerKind::Code
            && self
                .frames
                .last()
                .is_none_or(|last| u64::from(last.unpacked_size) != END_BLOCKS)
        {
            return Err(wrong(
                "the code does not end with tar's end blocks in a frame of their own",
            ));
        }
        let mut at = 0_u64;
        for (number, entry) in self.entries.iter().enumerate() {
            if number > 0 && self.entries[number - 1].path >= entry.path {
                return Err(wrong(format!("the entry {} is not in order", entry.path)));
            }
            let frame = self.frames.get(entry.frame as usize);
            let in_frame = frame.filter(|frame| entry.frame_offset < frame.unpacked_size);
            let begin = in_frame.map(|frame| frame.unpacked_offset + u64::from(entry.frame_offset));
            if begin != Some(at) || entry.header_size < 512 || entry.header_size % 512 != 0 {
                return Err(wrong(format!(
                    "the entry {} is not where the one before ends",
                    entry.path
                )));
            }
            at = entry
                .size()
                .checked_add(511 + u64::from(entry.header_size))
                .and_then(|_| at.checked_add(entry.tar_size()))
                .filter(|end| *end <= self.entries_end())
                .ok_or_else(|| wrong(format!("the entry {} ends outside of the layer", entry.path)))?;
        }
        if at != self.entries_end() {
            return Err(wrong("bytes of the layer belong to no entry"));
        }
        Ok(())
    }
}

fn put_frame(out: &mut Vec<u8>, frame: &Frame) {
    out.extend_from_slice(&frame.offset.to_le_bytes());
    out.extend_from_slice(&frame.unpacked_offset.to_le_bytes());
    out.extend_from_slice(&frame.size.to_le_bytes());
    out.extend_from_slice(&frame.unpacked_size.to_le_bytes());
    out.extend_from_slice(&frame.sha256.0);
}

fn put_entry(out: &mut Vec<u8>, entry: &IndexEntry) -> Result<(), IndexError> {
    let (letter, target, digest): (u8, &[u8], [u8; 32]) = match &entry.kind {
        IndexKind::File { sha256, .. } => (b'f', &[], sha256.0),
        IndexKind::Symlink { target } => (b'l', target, [0; 32]),
        IndexKind::Directory => (b'd', &[], [0; 32]),
    };
    let length = |bytes: &[u8]| {
        u16::try_from(bytes.len()).map_err(|_| IndexError::TooLarge(format!("the paths of {}", entry.path)))
    };
    out.push(letter);
    out.extend_from_slice(&entry.mode().to_le_bytes());
    out.extend_from_slice(&entry.mtime.to_le_bytes());
    out.extend_from_slice(&entry.size().to_le_bytes());
    out.extend_from_slice(&entry.frame.to_le_bytes());
    out.extend_from_slice(&entry.frame_offset.to_le_bytes());
    out.extend_from_slice(&entry.header_size.to_le_bytes());
    out.extend_from_slice(&digest);
    out.extend_from_slice(&length(entry.path.as_bytes())?.to_le_bytes());
    out.extend_from_slice(&length(target)?.to_le_bytes());
    out.extend_from_slice(entry.path.as_bytes());
    out.extend_from_slice(target);
    Ok(())
}

/// What a row is, when its mode, size, target and digest can be those of such an entry.
pub(crate) fn check_row(row: &Row<'_>) -> Result<RowKind, IndexError> {
    let kind = match row.letter {
        b'f' => RowKind::File {
            executable: row.mode == MODE_EXECUTABLE,
        },
        b'l' => RowKind::Symlink,
        b'd' => RowKind::Directory,
        other => return Err(wrong(format!("there is no type {other} of entries"))),
    };
    let target_fits = if row.letter == b'l' {
        !row.target.is_empty() && !row.target.contains(&0)
    } else {
        row.target.is_empty()
    };
    let file_fits = row.letter == b'f' || (row.size == 0 && row.sha256.0 == [0; 32]);
    if kind.mode() == row.mode && target_fits && file_fits {
        Ok(kind)
    } else {
        Err(wrong(format!(
            "mode, size, target or digest of {} cannot be",
            crate::path::escape(row.path)
        )))
    }
}

fn entry(row: &Row<'_>, number: usize) -> Result<IndexEntry, IndexError> {
    let path = EntryPath::new(row.path).map_err(|source| IndexError::Path { number, source })?;
    let kind = match check_row(row)? {
        RowKind::File { executable } => IndexKind::File {
            size: row.size,
            sha256: row.sha256,
            executable,
        },
        RowKind::Symlink => IndexKind::Symlink {
            target: row.target.to_vec(),
        },
        RowKind::Directory => IndexKind::Directory,
    };
    Ok(IndexEntry {
        path,
        kind,
        mtime: row.mtime,
        frame: row.frame,
        frame_offset: row.frame_offset,
        header_size: row.header_size,
    })
}
