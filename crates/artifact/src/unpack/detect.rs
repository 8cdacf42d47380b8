//! Tells how a tarball is compressed by its first bytes.

use std::io::{self, BufReader, Cursor, Read};

use crate::error::Error;

/// The largest window that is decoded, as in the zstd program and in `tar xf`.
const WINDOW_LOG_MAX: u32 = 27;
const BUFFER: usize = 256 << 10;

/// First bytes of what is not read, with its name.
const REFUSED: [(&[u8], &str); 8] = [
    (b"BZh", "it is compressed by bzip2"),
    (b"\xfd7zXZ\0", "it is compressed by xz"),
    (b"LZIP", "it is compressed by lzip"),
    (b"\x04\x22\x4d\x18", "it is compressed by lz4"),
    (b"\x1f\x9d", "it is compressed by compress"),
    (b"\x89LZO\0", "it is compressed by lzop"),
    (b"PK\x03\x04", "it is a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive"),
];

/// The tar stream within.
pub(super) fn open<'a>(mut reader: impl Read + 'a) -> Result<BufReader<Box<dyn Read + 'a>>, Error> {
    let mut start = Vec::with_capacity(6);
    let failed = |source| Error::Read { entries: 0, source };
    reader.by_ref().take(6).read_to_end(&mut start).map_err(failed)?;
    let is = |magic: &[u8]| start.starts_with(magic);
    if let Some((_, what)) = REFUSED.iter().find(|(magic, _)| is(magic)) {
        return Err(Error::NotATarball {
            why: format!("{what}, which is not read"),
        });
    }
    // A zstd file may begin with a skippable frame.
    let skippable = matches!(start.as_slice(), [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
    let zstd = is(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable;
    let gzip = is(&[0x1f, 0x8b]);
    let whole = Cursor::new(start).chain(reader);
    let stream: Box<dyn Read + 'a> = if zstd {
        let mut decoder = zstd::stream::read::Decoder::new(whole).map_err(failed)?;
        decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
        Box::new(decoder)
    } else if gzip {
        Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(
            BUFFER, whole,
        )))
    } else {
        Box::new(whole)
    };
    Ok(BufReader::with_capacity(BUFFER, stream))
}

/// Whether an error means that the stream ended too soon.
pub(super) fn is_cut_short(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}
