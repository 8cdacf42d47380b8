//! Where stored frames come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::Error;
use crate::index::Frame;

/// Gives the stored bytes of a layer's frames. Asked by several threads at once, for each frame once, in about the order of
/// their numbers: who asks for a frame has begun on all that come before it.
pub trait Frames: Sync {
    /// The stored bytes of the frame `number`, which is `frame` in the layer's index. They are checked by who asks.
    ///
    /// # Errors
    /// When they cannot be had.
    fn stored(&self, number: usize, frame: &Frame) -> io::Result<Vec<u8>>;
}

/// Frames in a local file: a sealed layer's frames, or an artifact in which the layer begins at some offset.
#[derive(Debug)]
pub struct FileFrames {
    file: File,
    offset: u64,
}

impl FileFrames {
    /// Opens the file in which the layer begins at `offset`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be opened.
    pub fn open(path: &Path, offset: u64) -> Result<Self, Error> {
        let file = File::open(path).map_err(|source| Error::io("read", path, source))?;
        Ok(Self::new(file, offset))
    }

    /// The same with a file that is open already.
    pub fn new(file: File, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl Frames for FileFrames {
    fn stored(&self, _: usize, frame: &Frame) -> io::Result<Vec<u8>> {
        let mut stored = vec![0; frame.size as usize];
        self.file.read_exact_at(&mut stored, self.offset + frame.offset)?;
        Ok(stored)
    }
}
