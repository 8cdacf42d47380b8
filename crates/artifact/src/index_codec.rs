//! The index's stored form: a table of little-endian numbers and bytes in one zstd frame. Named by the SHA-256 of the
//! stored bytes, described in `docs/artifact-format.md`.
//!
//! [`Index::parse`] takes bytes from anywhere: every number is checked before it is used.

use std::io::{self, Read};

use crate::format::{END_BLOCKS, FORMAT_VERSION, MOST_FRAME};
use crate::hash::Digest;
use crate::index::{Frame, Index, IndexEntry, IndexKind};
use crate::layer::{Compression, LayerKind};
use crate::path::{EntryPath, PathError};

/// How the table begins.
const MAGIC: &[u8; 8] = b"SHIPITIX";
/// The level of the table's own frame.
const LEVEL: i32 = 3;
/// No index is larger than this, stored.
const LARGEST_STORED: usize = 256 << 20;
/// No index is larger than this, unpacked: some five million entries.
const LARGEST: u64 = 1 << 30;
/// Bytes of a frame in the table, and of an entry without its path and target.
const FRAME_BYTES: usize = 56;
const ENTRY_BYTES: usize = 67;

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

fn wrong(why: impl Into<String>) -> IndexError {
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
        if stored.len() > LARGEST_STORED {
            return Err(IndexError::TooLarge(format!("{} stored bytes", stored.len())));
        }
        let table = inflate(stored)?;
        let mut cursor = Cursor { rest: &table };
        if cursor.take(8)? != MAGIC {
            return Err(wrong("it does not begin as an index"));
        }
        match cursor.u32()? {
            0 => return Err(wrong("there is no format version 0")),
            found if found > FORMAT_VERSION => return Err(IndexError::Newer { found }),
            _ => {}
        }
        let compression = match cursor.u8()? {
            0 => Compression::Zstd,
            1 => Compression::Gzip,
            other => return Err(wrong(format!("there is no compression {other}"))),
        };
        let kind = match cursor.u8()? {
            0 => LayerKind::Dependencies,
            1 => LayerKind::Code,
            other => return Err(wrong(format!("there is no kind of layer {other}"))),
        };
        if cursor.take(2)? != [0; 2] {
            return Err(wrong("reserved bytes are not zero"));
        }
        let frames = cursor.u32()? as usize;
        let entries = cursor.u32()? as usize;
        let least = frames
            .checked_mul(FRAME_BYTES)
            .zip(entries.checked_mul(ENTRY_BYTES));
        let least = least.and_then(|(f, e)| f.checked_add(e));
        if least.is_none_or(|least| least > cursor.rest.len()) {
            return Err(wrong(format!(
                "{frames} frames and {entries} entries do not fit into it"
            )));
        }
        let frames = (0..frames)
            .map(|_| take_frame(&mut cursor))
            .collect::<Result<_, _>>()?;
        let entries = (0..entries)
            .map(|n| take_entry(&mut cursor, n))
            .collect::<Result<_, _>>()?;
        if !cursor.rest.is_empty() {
            return Err(wrong(format!("{} bytes stand after its end", cursor.rest.len())));
        }
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

fn take_frame(cursor: &mut Cursor<'_>) -> Result<Frame, IndexError> {
    Ok(Frame {
        offset: cursor.u64()?,
        unpacked_offset: cursor.u64()?,
        size: cursor.u32()?,
        unpacked_size: cursor.u32()?,
        sha256: cursor.digest()?,
    })
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

fn take_entry(cursor: &mut Cursor<'_>, number: usize) -> Result<IndexEntry, IndexError> {
    let letter = cursor.u8()?;
    let mode = cursor.u16()?;
    let mtime = cursor.u64()? as i64;
    let size = cursor.u64()?;
    let frame = cursor.u32()?;
    let frame_offset = cursor.u32()?;
    let header_size = cursor.u32()?;
    let sha256 = cursor.digest()?;
    let path_length = usize::from(cursor.u16()?);
    let target_length = usize::from(cursor.u16()?);
    let path =
        EntryPath::new(cursor.take(path_length)?).map_err(|source| IndexError::Path { number, source })?;
    let target = cursor.take(target_length)?.to_vec();
    let kind = match letter {
        b'f' => IndexKind::File {
            size,
            sha256,
            executable: mode == 0o755,
        },
        b'l' => IndexKind::Symlink {
            target: target.clone(),
        },
        b'd' => IndexKind::Directory,
        other => return Err(wrong(format!("there is no type {other} of entries"))),
    };
    let entry = IndexEntry {
        path,
        kind,
        mtime,
        frame,
        frame_offset,
        header_size,
    };
    let link = letter == b'l';
    let target_fits = if link {
        !target.is_empty() && !target.contains(&0)
    } else {
        target.is_empty()
    };
    let digest_fits = letter == b'f' || sha256.0 == [0; 32];
    if entry.mode() != mode || entry.size() != size || !target_fits || !digest_fits {
        return Err(wrong(format!(
            "mode, size, target or digest of {} cannot be",
            entry.path
        )));
    }
    Ok(entry)
}

fn inflate(stored: &[u8]) -> Result<Vec<u8>, IndexError> {
    let too_large = || IndexError::TooLarge(format!("more than {LARGEST} bytes"));
    // Every index that this crate writes says how long it is.
    let said = zstd::zstd_safe::get_frame_content_size(stored).ok().flatten();
    if said.is_some_and(|said| said > LARGEST) {
        return Err(too_large());
    }
    let mut table = Vec::new();
    table
        .try_reserve_exact(said.unwrap_or(0) as usize)
        .map_err(|_| too_large())?;
    let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(IndexError::Zstd)?;
    let mut limited = decoder.single_frame().take(LARGEST + 1);
    limited.read_to_end(&mut table).map_err(IndexError::Zstd)?;
    if table.len() as u64 > LARGEST {
        return Err(too_large());
    }
    let rest = limited.into_inner().finish();
    if !rest.is_empty() {
        return Err(wrong(format!("{} stored bytes stand after its end", rest.len())));
    }
    Ok(table)
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], IndexError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| wrong("it ends too soon"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, IndexError> {
        self.array().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Result<u16, IndexError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, IndexError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, IndexError> {
        self.array().map(u64::from_le_bytes)
    }

    fn digest(&mut self) -> Result<Digest, IndexError> {
        self.array().map(Digest)
    }
}
