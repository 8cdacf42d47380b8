//! What a layer is made of and what is left of it once it is sealed.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::event::Event;
use crate::format::{CONTENT_TIME_FIRST, CONTENT_TIME_SPAN};
use crate::hash::Digest;
use crate::path::EntryPath;
use crate::tree::Tree;

/// How frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Zstandard frames: `.tar.zst`.
    Zstd,
    /// Gzip members: `.tar.gz`.
    Gzip,
}

impl Compression {
    /// The file name's extension, without a leading dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Zstd => "tar.zst",
            Self::Gzip => "tar.gz",
        }
    }
}

/// Whether a layer holds what a step vendors, or the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerKind {
    /// What one dependency step vendors.
    Dependencies,
    /// The code: always the last layer, the one with tar's end blocks.
    Code,
}

/// Where an entry's modification time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mtime {
    /// The same for all, in unix seconds; before 1970 becomes 1970. Code carries its commit's time.
    Fixed(i64),
    /// From the entry's own content, between 2000 and 2020: same content, same time.
    FromContent,
}

impl Mtime {
    /// The time of an entry whose content has this digest.
    pub(crate) fn of(self, content: &Digest) -> i64 {
        match self {
            Self::Fixed(seconds) => seconds.max(0),
            Self::FromContent => {
                let mut first = [0; 8];
                first.copy_from_slice(&content.0[..8]);
                CONTENT_TIME_FIRST + (u64::from_be_bytes(first) % CONTENT_TIME_SPAN) as i64
            }
        }
    }
}

/// One layer to be packed.
#[derive(Clone)]
pub struct LayerPlan<'a> {
    /// The name of the step that vendors it, or of the code.
    pub name: String,
    /// What it holds.
    pub kind: LayerKind,
    /// What its content follows from (the digest of lockfile, tool versions …), when it has one.
    pub key: Option<String>,
    /// Its files.
    pub tree: &'a dyn Tree,
    /// Its entries' times.
    pub mtime: Mtime,
    /// The compression level: zstd 1 to 19, gzip 1 to 9. 9 for dependencies and 3 for code is what suits most.
    pub level: i32,
}

/// How to pack.
#[derive(Clone, Copy)]
pub struct PackOptions<'a> {
    /// How frames are compressed; one artifact has one.
    pub compression: Compression,
    /// How many threads read and compress; with one, the calling thread does all of it. The bytes never depend on it.
    pub jobs: NonZeroUsize,
    /// Set from outside, makes the work end soon with [`Error::Cancelled`].
    pub cancel: &'a AtomicBool,
    /// Is told what happens, from the calling thread.
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

impl PackOptions<'_> {
    /// Ends the work when it was cancelled.
    pub(crate) fn check_cancel(&self) -> Result<(), Error> {
        if self.cancel.load(std::sync::atomic::Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}

/// A dependency layer, complete, in files of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedLayer {
    /// The step's name.
    pub name: String,
    /// What it holds.
    pub kind: LayerKind,
    /// What its content follows from.
    pub key: Option<String>,
    /// How its frames are compressed.
    pub compression: Compression,
    /// At which level; `None` when that is not known (a layer from a store whose frames this version would pack otherwise): its
    /// frames are never taken over.
    #[serde(default)]
    pub level: Option<i32>,
    /// The file with its frames, one after the other.
    pub frames: PathBuf,
    /// The file with its index, as stored.
    pub index: PathBuf,
    /// SHA-256 of the index file's bytes.
    pub index_sha256: String,
    /// SHA-256 of the frames file's bytes.
    pub sha256: String,
    /// Size of the frames file in bytes.
    pub size: u64,
    /// How many entries it has.
    pub entries: u64,
    /// Its bytes as a tar stream.
    pub unpacked_size: u64,
    /// Its topmost paths: these and all beneath them are this layer's alone.
    pub paths_claimed: Vec<EntryPath>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::sha256;

    #[test]
    fn times_follow_the_content() {
        assert_eq!(Mtime::Fixed(-5).of(&sha256(b"")), 0);
        assert_eq!(Mtime::Fixed(7).of(&sha256(b"")), 7);
        let of = |content: &[u8]| Mtime::FromContent.of(&sha256(content));
        assert_eq!(of(b"a"), of(b"a"));
        assert_ne!(of(b"a"), of(b"b"));
        // The first 8 bytes of SHA-256("abc") are ba7816bf8f01cfea.
        assert_eq!(
            of(b"abc"),
            946_684_800 + (0xba78_16bf_8f01_cfea_u64 % 631_152_000) as i64
        );
        assert!((946_684_800..1_577_836_800).contains(&of(b"x")));
    }
}
