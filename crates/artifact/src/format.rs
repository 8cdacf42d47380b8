//! The constants that decide an artifact's bytes. A change of any of them, of a pinned encoder or of its settings is
//! a new format version; the golden test stands guard.

/// The version of the artifact's form, of the index and of the record. Bumped together.
pub const FORMAT_VERSION: u32 = 1;

/// A tar block.
pub(crate) const BLOCK: u64 = 512;

/// Tar's end: two zero blocks, a frame of their own at the end of the code layer.
pub(crate) const END_BLOCKS: u64 = 2 * BLOCK;

/// An entry ends its frame with a chance of its size in this many.
pub(crate) const CUT_MODULUS: u64 = 1 << 20;

/// No frame is cut by content below this many bytes of tar stream.
pub(crate) const LEAST_FRAME: u64 = 256 << 10;

/// No frame holds more bytes of tar stream than this; a larger entry is split.
pub(crate) const MOST_FRAME: u64 = 2 << 20;

/// The modification times that content gives: from 2000-01-01 on …
pub(crate) const CONTENT_TIME_FIRST: i64 = 946_684_800;

/// … for twenty years of seconds.
pub(crate) const CONTENT_TIME_SPAN: u64 = 631_152_000;

/// Modes of files, executable files, symlinks and directories.
pub(crate) const MODE_FILE: u16 = 0o644;
pub(crate) const MODE_EXECUTABLE: u16 = 0o755;
pub(crate) const MODE_SYMLINK: u16 = 0o777;
pub(crate) const MODE_DIRECTORY: u16 = 0o755;

/// What an entry of `size` bytes of content takes in a tar stream, without its headers.
pub(crate) fn padded(size: u64) -> u64 {
    size.div_ceil(BLOCK) * BLOCK
}
