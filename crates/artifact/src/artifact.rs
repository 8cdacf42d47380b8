//! A complete artifact on disk: the tarball, its record, its layers' indexes. Loads one and verifies it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::hash::{Digest, Sha256Reader, sha256};
use crate::index::Index;
use crate::record::{Record, RecordLayer};

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

/// Where the record of an artifact lies in `dir`.
pub(crate) fn record_path(dir: &Path, sha256: &str) -> PathBuf {
    dir.join(format!("{sha256}.json"))
}

/// Where an index lies in `dir`.
pub(crate) fn index_path(dir: &Path, index_sha256: &str) -> PathBuf {
    dir.join("indexes").join(index_sha256)
}

impl Artifact {
    /// Loads the artifact that has this SHA-256 from `dir`. Checks that all its files are there and the tarball has its
    /// size; [`Artifact::verify`] checks the bytes.
    pub fn open(dir: &Path, sha256_hex: &str) -> Result<Self, Error> {
        let missing = || Error::NoArtifact {
            sha256: sha256_hex.to_owned(),
            dir: dir.to_path_buf(),
        };
        let digest: Digest = sha256_hex.parse().map_err(|_| missing())?;
        let record_path = record_path(dir, &digest.to_string());
        let bytes = match fs::read(&record_path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
            Err(error) => return Err(Error::io("read", &record_path, error)),
        };
        let record = Record::parse(&bytes).map_err(|source| Error::Record {
            path: record_path.clone(),
            source,
        })?;
        if record.sha256 != sha256_hex {
            let why = format!("it is the record of {}", record.sha256);
            return Err(Error::Differs {
                path: record_path,
                why,
            });
        }
        let path = dir.join(record.file_name());
        let size = fs::metadata(&path)
            .map_err(|source| Error::io("read", &path, source))?
            .len();
        if size != record.size {
            let why = format!("it has {size} bytes, and its record says {}", record.size);
            return Err(Error::Differs { path, why });
        }
        let indexes: Vec<_> = record
            .layers
            .iter()
            .map(|layer| index_path(dir, &layer.index_sha256))
            .collect();
        for path in &indexes {
            fs::metadata(path).map_err(|source| Error::io("read", path, source))?;
        }
        Ok(Self {
            path,
            record_path,
            record_sha256: sha256(&bytes).to_string(),
            record,
            indexes,
        })
    }

    /// The index of a layer, checked against the record. `layer` counts from 0.
    pub fn index(&self, layer: usize) -> Result<Index, Error> {
        let (Some(path), Some(row)) = (self.indexes.get(layer), self.record.layers.get(layer)) else {
            let why = format!("it has no layer {layer}");
            return Err(Error::Differs {
                path: self.record_path.clone(),
                why,
            });
        };
        let differs = |why: &str| Error::Differs {
            path: path.clone(),
            why: why.to_owned(),
        };
        let stored = fs::read(path).map_err(|source| Error::io("read", path, source))?;
        if sha256(&stored).to_string() != row.index_sha256 {
            return Err(differs("its digest is not its name"));
        }
        let index = Index::parse(&stored).map_err(|source| Error::Index {
            path: path.clone(),
            source,
        })?;
        let says = (
            index.compression(),
            index.kind(),
            index.size(),
            index.unpacked_size(),
        );
        let bound = (self.record.compression, row.kind, row.size, row.unpacked_size);
        if says != bound || index.entries().len() as u64 != row.entries {
            return Err(differs(
                "it is not the index of the layer that the record binds to it",
            ));
        }
        Ok(index)
    }

    /// Reads everything once and compares each digest: the artifact's, each layer's, each frame's, each index's.
    pub fn verify(&self, cancel: &AtomicBool) -> Result<(), Error> {
        let file = File::open(&self.path).map_err(|source| Error::io("read", &self.path, source))?;
        let mut whole = Sha256Reader::new(file);
        for (number, row) in self.record.layers.iter().enumerate() {
            let index = self.index(number)?;
            self.verify_layer(&mut whole, row, &index, cancel)?;
        }
        let rest = whole
            .read(&mut [0])
            .map_err(|source| Error::io("read", &self.path, source))?;
        let (_, digest, _) = whole.finish();
        if rest != 0 || digest.to_string() != self.record.sha256 {
            return Err(self.differs("its digest is not its name".to_owned()));
        }
        Ok(())
    }

    fn verify_layer(
        &self,
        whole: &mut dyn Read,
        row: &RecordLayer,
        index: &Index,
        cancel: &AtomicBool,
    ) -> Result<(), Error> {
        let mut layer = Sha256Reader::new(whole);
        let mut stored = Vec::new();
        for (number, frame) in index.frames().iter().enumerate() {
            if cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            stored.resize(frame.size as usize, 0);
            layer
                .read_exact(&mut stored)
                .map_err(|source| Error::io("read", &self.path, source))?;
            if sha256(&stored) != frame.sha256 {
                let name = &row.name;
                return Err(self.differs(format!("the frame {number} of the layer {name} was changed")));
            }
        }
        if layer.finish().1.to_string() != row.sha256 {
            return Err(self.differs(format!("the layer {} was changed", row.name)));
        }
        Ok(())
    }

    fn differs(&self, why: String) -> Error {
        Error::Differs {
            path: self.path.clone(),
            why,
        }
    }
}
