//! A stored index's table, unpacked and taken row by row: what stands in it is lent, not copied.
//!
//! Each number is read where there are bytes for it; whether the rows agree with each other is not looked at here, but by
//! [`crate::index_codec`], which makes an index of them.

use std::io::{self, Read};

use crate::format::FORMAT_VERSION;
use crate::hash::Digest;
use crate::index::Frame;
use crate::index_codec::{IndexError, wrong};
use crate::layer::{Compression, LayerKind};

/// How the table begins.
pub(crate) const MAGIC: &[u8; 8] = b"SHIPITIX";
/// Bytes of a frame in the table.
pub(crate) const FRAME_BYTES: usize = 56;
/// Bytes of an entry in the table, without its path and target.
const ENTRY_BYTES: usize = 67;
/// No index is larger than this, stored.
const LARGEST_STORED: usize = 256 << 20;
/// No index is larger than this, unpacked: some five million entries.
const LARGEST: u64 = 1 << 30;

/// A table whose head was read.
pub(crate) struct Table<'a> {
    pub(crate) compression: Compression,
    pub(crate) kind: LayerKind,
    /// How many rows follow of either sort.
    pub(crate) frames: usize,
    pub(crate) entries: usize,
    rest: Cursor<'a>,
}

/// An entry as it stands in the table.
pub(crate) struct Row<'a> {
    pub(crate) letter: u8,
    pub(crate) mode: u16,
    pub(crate) mtime: i64,
    pub(crate) size: u64,
    pub(crate) frame: u32,
    pub(crate) frame_offset: u32,
    pub(crate) header_size: u32,
    pub(crate) sha256: Digest,
    pub(crate) path: &'a [u8],
    pub(crate) target: &'a [u8],
}

impl<'a> Table<'a> {
    /// Reads the head. All rows have to fit into what follows.
    pub(crate) fn begin(unpacked: &'a [u8]) -> Result<Self, IndexError> {
        let mut cursor = Cursor { rest: unpacked };
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
        Ok(Self {
            compression,
            kind,
            frames,
            entries,
            rest: cursor,
        })
    }

    /// The next frame; the frames come before the entries.
    pub(crate) fn frame(&mut self) -> Result<Frame, IndexError> {
        let cursor = &mut self.rest;
        Ok(Frame {
            offset: cursor.u64()?,
            unpacked_offset: cursor.u64()?,
            size: cursor.u32()?,
            unpacked_size: cursor.u32()?,
            sha256: cursor.digest()?,
        })
    }

    /// The next entry.
    pub(crate) fn entry(&mut self) -> Result<Row<'a>, IndexError> {
        let cursor = &mut self.rest;
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
        Ok(Row {
            letter,
            mode,
            mtime,
            size,
            frame,
            frame_offset,
            header_size,
            sha256,
            path: cursor.take(path_length)?,
            target: cursor.take(target_length)?,
        })
    }

    /// After the last row: refuses whatever follows.
    pub(crate) fn end(self) -> Result<(), IndexError> {
        match self.rest.rest.len() {
            0 => Ok(()),
            left => Err(wrong(format!("{left} bytes stand after its end"))),
        }
    }
}

/// The table of a stored index that may come from anywhere.
pub(crate) fn inflate(stored: &[u8]) -> Result<Vec<u8>, IndexError> {
    if stored.len() > LARGEST_STORED {
        return Err(IndexError::TooLarge(format!("{} stored bytes", stored.len())));
    }
    // Every index that this crate writes says how long it is.
    let said = zstd::zstd_safe::get_frame_content_size(stored).ok().flatten();
    match said {
        Some(said) if said > LARGEST => Err(too_large()),
        Some(said) => inflate_to(stored, said as usize),
        None => inflate_by_pieces(stored),
    }
}

/// At once, straight to where the table shall stand.
fn inflate_to(stored: &[u8], size: usize) -> Result<Vec<u8>, IndexError> {
    let frame = zstd::zstd_safe::find_frame_compressed_size(stored)
        .map_err(|code| IndexError::Zstd(io::Error::other(zstd::zstd_safe::get_error_name(code))))?;
    refuse_rest(stored.len().saturating_sub(frame))?;
    let mut table = Vec::new();
    table.try_reserve_exact(size).map_err(|_| too_large())?;
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(IndexError::Zstd)?;
    decompressor
        .decompress_to_buffer(stored, &mut table)
        .map_err(IndexError::Zstd)?;
    Ok(table)
}

fn inflate_by_pieces(stored: &[u8]) -> Result<Vec<u8>, IndexError> {
    let mut table = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(stored).map_err(IndexError::Zstd)?;
    let mut limited = decoder.single_frame().take(LARGEST + 1);
    limited.read_to_end(&mut table).map_err(IndexError::Zstd)?;
    if table.len() as u64 > LARGEST {
        return Err(too_large());
    }
    refuse_rest(limited.into_inner().finish().len())?;
    Ok(table)
}

fn refuse_rest(bytes: usize) -> Result<(), IndexError> {
    match bytes {
        0 => Ok(()),
        _ => Err(wrong(format!("{bytes} stored bytes stand after its end"))),
    }
}

fn too_large() -> IndexError {
    IndexError::TooLarge(format!("more than {LARGEST} bytes"))
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
