//! One frame's compression: a whole zstd frame or a whole gzip member from a buffer, with pinned encoders.
//!
//! Knows nothing of tar, layers or threads. The encoders' exact versions stand in the workspace's Cargo.toml, for other
//! ones may give other bytes.

use std::io;

use crate::layer::Compression;

/// A gzip member's header: deflate, no name, no time, "unknown" system, so that it never differs.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// Compresses frames at one level; keeps its working memory between them.
pub(crate) enum FrameCompressor {
    Zstd {
        compressor: zstd::bulk::Compressor<'static>,
        /// Room for the largest frame so far.
        room: Vec<u8>,
    },
    Gzip {
        level: u8,
    },
}

impl FrameCompressor {
    /// For zstd levels 1 to 19 and gzip levels 1 to 9; others are brought into that range.
    pub(crate) fn new(compression: Compression, level: i32) -> io::Result<Self> {
        Ok(match compression {
            Compression::Zstd => Self::Zstd {
                compressor: zstd_compressor(level)?,
                room: Vec::new(),
            },
            Compression::Gzip => Self::Gzip {
                level: u8::try_from(level.clamp(1, 9)).unwrap_or(6),
            },
        })
    }

    /// `input` as one frame.
    pub(crate) fn frame(&mut self, input: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd { compressor, room } => {
                room.clear();
                // With less room the encoder may choose another form.
                room.reserve(zstd::zstd_safe::compress_bound(input.len()));
                compressor.compress_to_buffer(input, room)?;
                Ok(room.as_slice().to_vec())
            }
            Self::Gzip { level } => Ok(gzip_member(input, *level)),
        }
    }

    /// The memory that one compressor takes for frames of the largest size, in bytes, rounded up.
    pub(crate) fn memory(compression: Compression, level: i32) -> u64 {
        match (compression, level) {
            (Compression::Gzip, _) => 1 << 20,
            (Compression::Zstd, ..=4) => 3 << 20,
            (Compression::Zstd, 5..=12) => 23 << 20,
            (Compression::Zstd, _) => 48 << 20,
        }
    }
}

/// `input` as one zstd frame.
pub(crate) fn zstd_frame(input: &[u8], level: i32) -> io::Result<Vec<u8>> {
    zstd_compressor(level)?.compress(input)
}

/// Each frame states its content's size and has no checksum of its own: digests of its stored bytes stand in the index.
/// Its window is at most its size, far below the 27 bits that a plain `tar xf` reads.
fn zstd_compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(level.clamp(1, 19))?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(false))?;
    compressor.set_parameter(zstd::zstd_safe::CParameter::ContentSizeFlag(true))?;
    Ok(compressor)
}

fn gzip_member(input: &[u8], level: u8) -> Vec<u8> {
    let deflated = miniz_oxide::deflate::compress_to_vec(input, level);
    let mut member = Vec::with_capacity(deflated.len() + 18);
    member.extend_from_slice(&GZIP_HEADER);
    member.extend_from_slice(&deflated);
    member.extend_from_slice(&crc32fast::hash(input).to_le_bytes());
    // The length modulo 2^32, as RFC 1952 has it.
    member.extend_from_slice(&(input.len() as u32).to_le_bytes());
    member
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_encoders_are_the_pinned_ones() {
        assert_eq!(
            zstd::zstd_safe::version_number(),
            10507,
            "another zstd is a new format version"
        );
    }

    #[test]
    fn frames_concatenate_and_decode() {
        let inputs = [
            vec![b'a'; 3_000_000],
            (0..=255).cycle().take(70_000).collect(),
            Vec::new(),
        ];
        for compression in [Compression::Zstd, Compression::Gzip] {
            let mut compressor = FrameCompressor::new(compression, 3).unwrap();
            let frames: Vec<_> = inputs
                .iter()
                .map(|input| compressor.frame(input).unwrap())
                .collect();
            // The same compressor gives the same bytes again, and so does a fresh one.
            assert_eq!(compressor.frame(&inputs[1]).unwrap(), frames[1]);
            assert_eq!(
                FrameCompressor::new(compression, 3)
                    .unwrap()
                    .frame(&inputs[1])
                    .unwrap(),
                frames[1]
            );
            let stored = frames.concat();
            let mut unpacked = Vec::new();
            match compression {
                Compression::Zstd => zstd::stream::copy_decode(stored.as_slice(), &mut unpacked).unwrap(),
                Compression::Gzip => {
                    flate2::read::MultiGzDecoder::new(stored.as_slice())
                        .read_to_end(&mut unpacked)
                        .unwrap();
                }
            }
            assert!(unpacked == inputs.concat(), "{compression:?}");
        }
    }
}
