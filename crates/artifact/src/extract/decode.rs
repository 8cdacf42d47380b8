//! One frame's stored bytes to its piece of the tar stream, checked on the way in and out.

use std::io::{self, Read};

use crate::error::Error;
use crate::hash::sha256;
use crate::index::Frame;
use crate::layer::Compression;

/// Decodes frames; keeps its working memory between them.
pub(crate) struct Decoder {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    compression: Compression,
}

impl Decoder {
    pub(crate) fn new(compression: Compression) -> Self {
        Self {
            zstd: None,
            compression,
        }
    }

    /// The tar stream of a frame, into `unpacked`.
    pub(crate) fn decode(
        &mut self,
        number: usize,
        frame: &Frame,
        stored: &[u8],
        unpacked: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let wrong = |why: &str| Error::Frame {
            number,
            source: io::Error::new(io::ErrorKind::InvalidData, why.to_owned()),
        };
        if stored.len() != frame.size as usize || sha256(stored) != frame.sha256 {
            return Err(wrong("its bytes are not those that the index names"));
        }
        let expected = frame.unpacked_size as usize;
        unpacked.clear();
        let decoded = match self.compression {
            Compression::Zstd => self.zstd(stored, expected, unpacked),
            Compression::Gzip => gzip(stored, expected, unpacked),
        };
        decoded.map_err(|source| Error::Frame { number, source })?;
        if unpacked.len() == expected {
            Ok(())
        } else {
            Err(wrong("it unpacks to another length than the index says"))
        }
    }

    fn zstd(&mut self, stored: &[u8], expected: usize, unpacked: &mut Vec<u8>) -> io::Result<()> {
        let decoder = match &mut self.zstd {
            Some(decoder) => decoder,
            none => none.insert(zstd::bulk::Decompressor::new()?),
        };
        unpacked.reserve(expected);
        // Refuses more than `unpacked` has room for; the length is compared by the caller.
        decoder.decompress_to_buffer(stored, unpacked).map(drop)
    }
}

fn gzip(stored: &[u8], expected: usize, unpacked: &mut Vec<u8>) -> io::Result<()> {
    let mut decoder = flate2::bufread::GzDecoder::new(stored);
    unpacked.reserve(expected);
    decoder.by_ref().take(expected as u64 + 1).read_to_end(unpacked)?;
    if decoder.into_inner().is_empty() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "bytes stand after its end",
        ))
    }
}
