//! A complete artifact on disk: the tarball, its record, its layers' indexes.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::layer::PackOptions;
use crate::record::Record;

/// An artifact with its record and indexes, as [`crate::assemble`] leaves them.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// The tarball.
    pub path: PathBuf,
    /// The record's file.
    pub record_path: PathBuf,
    /// SHA-256 of the record's bytes.
    pub record_sha256: String,
    /// The record.
    pub record: Record,
    /// The index files, in the order of the layers.
    pub indexes: Vec<PathBuf>,
}
