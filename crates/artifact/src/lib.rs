//! The artifact of a deploy: trees, frames, layers, indexes, the record, unpacking.
//!
//! An artifact is one ordinary tarball whose bytes depend on the packed files and the format version alone. This
//! crate writes one from [`Tree`]s (a directory, a commit, a [`Selection`] of either) by [`seal_layer`] and [`assemble`],
//! takes unchanged frames of older layers over ([`seal_layer_reusing`]), loads one back ([`Artifact`], [`Record`],
//! [`Index`]), unpacks any tarball into a directory that it cannot leave ([`unpack`]), and writes chosen entries of a layer
//! out of its frames ([`extract()`]). The form is described byte by byte in `docs/artifact-format.md`.
//!
//! Not done here: deciding which files make a layer, running the commands that vendor them, storing or fetching
//! anything, checking a downloaded tarball against its checksum.

#![forbid(unsafe_code)]

mod artifact;
mod assemble;
mod beneath;
mod compress;
mod content;
mod copy;
mod dir_tree;
mod dispatch;
mod entries;
mod error;
mod event;
mod extract;
mod format;
mod frames;
mod globs;
mod hash;
mod header;
mod index;
mod index_codec;
mod index_rows;
mod index_table;
#[cfg(test)]
mod index_tests;
mod layer;
mod pack;
#[cfg(test)]
mod pack_tests;
mod partial;
mod path;
mod pieces;
mod read;
mod record;
mod reuse;
mod rules;
mod seal;
mod selection;
mod staged;
mod tree;
mod unpack;
mod walk;
mod whole;

pub use artifact::Artifact;
pub use assemble::assemble;
pub use beneath::Root;
pub use dir_tree::DirTree;
pub use error::{Error, ErrorKind, with_causes};
pub use event::{Event, SkipReason};
pub use extract::{ExtractOptions, Extracted, FileFrames, Frames, extract, frames_of};
pub use format::FORMAT_VERSION;
pub use globs::GlobError;
pub use hash::{Digest, DigestParseError, Sha256Reader, Sha256Writer, hex, sha256};
pub use index::{Frame, Index, IndexEntry, IndexKind, Location};
pub use index_codec::IndexError;
pub use index_rows::{IndexHead, IndexRow, IndexRows, RowKind, StoredIndex};
pub use layer::{Compression, LayerKind, LayerPlan, Mtime, PackOptions, SealedLayer};
pub use path::{EntryPath, PathError};
pub use record::{Record, RecordDraft, RecordError, RecordLayer, RecordStep, Tool};
pub use seal::{seal_layer, seal_layer_reusing};
pub use selection::Selection;
pub use tree::{Kind, Tree, TreeEntry, TreeError};
pub use unpack::{Limits, UnpackOptions, Unpacked, unpack};
pub use whole::WholeCheck;
