//! Writes some of a layer's entries below a directory: decodes the frames that hold them, in parallel, and checks each
//! frame and each file against the layer's index.
//!
//! Nothing is written, made or looked up through a symlink or outside of the directory. A frame that is not what the index
//! says is refused before anything of it is written; a file appears whole or not at all.
//!
//! Not done here: choosing the entries, getting the frames ([`Frames`] does), checking the index itself against a record,
//! removing what was written when a later entry fails.

mod decode;
mod frames;
mod place;
mod run;
#[cfg(test)]
mod tests;
mod units;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use crate::error::Error;
use crate::event::Event;
use crate::index::Index;

pub(crate) use decode::Decoder;
pub use frames::{FileFrames, Frames};
pub use units::frames_of;

/// How to extract.
#[derive(Clone, Copy)]
pub struct ExtractOptions<'a> {
    /// How many threads decode and write.
    pub jobs: NonZeroUsize,
    /// Set from outside, makes the work end soon with [`Error::Cancelled`].
    pub cancel: &'a AtomicBool,
    /// Is told of progress ([`Event::UnpackProgress`]), from any of the threads.
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

/// What was extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extracted {
    /// How many entries, directories and links included.
    pub files: u64,
    /// How many bytes of file content.
    pub bytes: u64,
}

/// Writes the entries `wanted` (numbers in `index.entries()`, in any order) below `dest`, an existing directory.
///
/// Entries get the index's modes and times. Directories above them that are missing are made, with mode 0755. What stands
/// at an entry's path: a directory stays where a directory is wanted; a file or symlink is replaced by a fresh one, never
/// written through; anything else is an error.
///
/// # Errors
/// [`Error::Frame`] for a frame that cannot be had or is not what the index says, [`Error::EntryDiffers`] for a file that is not,
/// [`Error::ThroughSymlink`] for an entry below a symlink, [`Error::Unpack`] for what the disk refuses,
/// [`Error::Cancelled`]. What was written before stays.
pub fn extract(
    index: &Index,
    frames: &dyn Frames,
    wanted: &[usize],
    dest: &Path,
    options: &ExtractOptions<'_>,
) -> Result<Extracted, Error> {
    run::run(index, frames, wanted, dest, options)
}
