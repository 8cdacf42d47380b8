//! Whether a layer's frames hold what its index says, all of it and nothing else: they are decoded, and each header, each
//! file and each byte between is compared. For layers that come from elsewhere, where digests alone say that both halves are
//! the ones that were sent, and not that they belong together. A few of them are packed anew where it is asked for, to see
//! whether they are what packing gives here.
//!
//! Not done here: reading the frames, comparing the digest of all of them together.

use std::io::{self, Write as _};

use crate::compress::FrameCompressor;
use crate::error::Error;
use crate::extract::Decoder;
use crate::format::{BLOCK, END_BLOCKS};
use crate::hash::Sha256Writer;
use crate::header::put_headers_of;
use crate::index::{Index, IndexEntry};
use crate::layer::LayerKind;

/// How many frames are packed anew, each of which takes some 50 ms at level 9.
const SAMPLED: usize = 3;

/// A check under way: the frames are given to it in their order.
pub struct WholeCheck<'a> {
    index: &'a Index,
    decoder: Decoder,
    unpacked: Vec<u8>,
    /// The next frame.
    frame: usize,
    /// The next entry.
    next: usize,
    at: At<'a>,
    sample: Option<Sample>,
}

/// Frames that are packed anew: the largest ones, in which levels and encoders differ most.
struct Sample {
    compressor: FrameCompressor,
    frames: Vec<usize>,
    /// Whether all so far gave the same bytes.
    alike: bool,
}

/// What the tar stream goes on with.
enum At<'a> {
    /// The headers of an entry, so many bytes of them seen.
    Headers(&'a IndexEntry, Vec<u8>, usize),
    /// Its content.
    Content(&'a IndexEntry, Sha256Writer<io::Sink>),
    /// So many zeros.
    Zeros(u64),
}

impl<'a> WholeCheck<'a> {
    /// Nothing is checked yet.
    pub fn new(index: &'a Index) -> Self {
        Self {
            index,
            decoder: Decoder::new(index.compression()),
            unpacked: Vec::new(),
            frame: 0,
            next: 0,
            at: At::Zeros(0),
            sample: None,
        }
    }

    /// As [`WholeCheck::new`], for [`WholeCheck::is_of_level`].
    pub fn with_level(index: &'a Index, level: i32) -> Self {
        let mut frames: Vec<usize> = (0..index.frames().len()).collect();
        frames.sort_by_key(|number| std::cmp::Reverse(index.frames()[*number].unpacked_size));
        frames.truncate(SAMPLED);
        let compressor = FrameCompressor::new(index.compression(), level).ok();
        Self {
            sample: compressor.map(|compressor| Sample {
                compressor,
                frames,
                alike: true,
            }),
            ..Self::new(index)
        }
    }

    /// Whether those frames so far that were packed anew at the level were what was stored.
    pub fn is_of_level(&self) -> bool {
        self.sample.as_ref().is_some_and(|sample| sample.alike)
    }

    /// The next frame's bytes as they are stored.
    ///
    /// # Errors
    /// [`Error::Frame`] when it is not the one that the index names, [`Error::EntryDiffers`] when it holds something else.
    pub fn frame(&mut self, stored: &[u8]) -> Result<(), Error> {
        let number = self.frame;
        let Some(frame) = self.index.frames().get(number) else {
            return Err(wrong(number, "the index names no further frame"));
        };
        let mut unpacked = std::mem::take(&mut self.unpacked);
        self.decoder.decode(number, frame, stored, &mut unpacked)?;
        let mut rest = unpacked.as_slice();
        while !rest.is_empty() {
            rest = self.take(rest, number)?;
        }
        if let Some(sample) = &mut self.sample {
            sample.look(number, &unpacked, stored);
        }
        self.unpacked = unpacked;
        self.frame += 1;
        Ok(())
    }

    /// After the last frame: whether all entries were there.
    ///
    /// # Errors
    /// [`Error::Frame`] when frames are missing.
    pub fn finish(mut self) -> Result<(), Error> {
        self.pass_over_empty()?;
        match self.at {
            At::Zeros(0) if self.next >= self.index.entries().len() => Ok(()),
            _ => Err(wrong(self.frame, "it is missing")),
        }
    }

    /// Compares the first of these bytes; gives the others.
    fn take<'b>(&mut self, bytes: &'b [u8], number: usize) -> Result<&'b [u8], Error> {
        self.pass_over_empty()?;
        let first = |left: u64| bytes.split_at(bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
        match &mut self.at {
            At::Headers(entry, headers, seen) => {
                let (mine, rest) = first((headers.len() - *seen) as u64);
                if !headers[*seen..].starts_with(mine) {
                    return Err(differs(entry, "the tarball has other headers before its content"));
                }
                *seen += mine.len();
                Ok(rest)
            }
            At::Content(entry, hash) => {
                let (mine, rest) = first(entry.size() - hash.written());
                // Into a sink, which takes everything.
                let _ = hash.write_all(mine);
                Ok(rest)
            }
            At::Zeros(0) => Err(wrong(number, "bytes stand after the last entry")),
            At::Zeros(left) => {
                let (mine, rest) = first(*left);
                if mine.iter().any(|byte| *byte != 0) {
                    return Err(wrong(number, "there are bytes between its entries"));
                }
                *left -= mine.len() as u64;
                Ok(rest)
            }
        }
    }

    /// Goes on to what has bytes of its own.
    fn pass_over_empty(&mut self) -> Result<(), Error> {
        loop {
            let at = match std::mem::replace(&mut self.at, At::Zeros(0)) {
                At::Headers(entry, headers, seen) if seen == headers.len() => {
                    At::Content(entry, Sha256Writer::new(io::sink()))
                }
                At::Content(entry, hash) if hash.written() == entry.size() => {
                    let (_, digest, _) = hash.finish();
                    if entry.content().is_some_and(|content| *content != digest) {
                        return Err(differs(entry, "its content has another digest"));
                    }
                    At::Zeros(entry.size().next_multiple_of(BLOCK) - entry.size())
                }
                At::Zeros(0) => match self.index.entries().get(self.next) {
                    Some(entry) => {
                        self.next += 1;
                        At::Headers(entry, headers(entry), 0)
                    }
                    None if self.next == self.index.entries().len()
                        && self.index.kind() == LayerKind::Code =>
                    {
                        self.next += 1;
                        At::Zeros(END_BLOCKS)
                    }
                    None => return Ok(()),
                },
                other => {
                    self.at = other;
                    return Ok(());
                }
            };
            self.at = at;
        }
    }
}

impl Sample {
    fn look(&mut self, number: usize, unpacked: &[u8], stored: &[u8]) {
        if self.alike && self.frames.contains(&number) {
            let packed = self.compressor.frame(unpacked);
            self.alike = packed.is_ok_and(|packed| packed == stored);
        }
    }
}

fn headers(entry: &IndexEntry) -> Vec<u8> {
    let mut headers = Vec::new();
    put_headers_of(&mut headers, entry);
    headers
}

fn wrong(number: usize, why: &str) -> Error {
    Error::Frame {
        number,
        source: io::Error::new(io::ErrorKind::InvalidData, why.to_owned()),
    }
}

fn differs(entry: &IndexEntry, why: &str) -> Error {
    Error::EntryDiffers {
        entry: entry.path.to_string(),
        why: why.to_owned(),
    }
}
