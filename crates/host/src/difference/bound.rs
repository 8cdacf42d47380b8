//! The record that the manifest binds and the indexes that the record binds, read: each index is held against the record's row.
//!
//! Where they come from is not decided here but in [`super::find`] and [`super::others`].

use std::fs;

use shipit_artifact::{
    Compression, Digest, Index, IndexEntry, IndexHead, LayerKind, Limits, Record, RecordLayer, StoredIndex,
    sha256,
};

use super::lack::Lack;
use super::others::Others;
use super::places::Places;
use crate::error::Error;

/// An artifact as its record and indexes describe it.
#[derive(Debug)]
pub(crate) struct Bound<L = BoundLayer> {
    pub(crate) record: Record,
    pub(crate) record_bytes: Vec<u8>,
    pub(crate) layers: Vec<L>,
    /// Bytes of all that describes and makes the artifact.
    pub(crate) total: u64,
    /// Bytes of records and indexes that were fetched.
    pub(crate) fetched: u64,
    limits: Limits,
}

/// One layer.
#[derive(Debug)]
pub(crate) struct BoundLayer {
    pub(crate) stored: StoredLayer,
    pub(crate) index: Index,
}

/// One layer as the record names it.
#[derive(Debug)]
pub(crate) struct StoredLayer {
    pub(crate) row: RecordLayer,
    /// The index as stored.
    pub(crate) index_bytes: Vec<u8>,
    /// The layer's place on the host holds just that index.
    pub(crate) index_kept: bool,
}

impl<L> Bound<L> {
    /// Refuses layers that hold more than an archive may.
    pub(crate) fn limit<'a>(&self, layers: impl IntoIterator<Item = &'a BoundLayer>) -> Result<(), Lack> {
        within_limits(layers, self.limits)
    }
}

impl StoredLayer {
    pub(crate) fn is_code(&self) -> bool {
        self.row.kind == LayerKind::Code
    }

    /// The index as a table, whose head has to be what the record says, of `compression` too.
    pub(crate) fn unpack(&self, compression: Compression) -> Result<StoredIndex, Lack> {
        let index = StoredIndex::unpack(&self.index_bytes).map_err(|error| wrong(&self.row, error))?;
        let (head, _) = index.rows().map_err(|error| wrong(&self.row, error))?;
        self.holds(&head, compression).map(|()| index)
    }

    /// Reads the index, and holds it against the record's row, which names its digest.
    pub(crate) fn read(self, compression: Compression) -> Result<BoundLayer, Lack> {
        let index = Index::parse(&self.index_bytes).map_err(|error| wrong(&self.row, error))?;
        let head = IndexHead {
            compression: index.compression(),
            kind: index.kind(),
            size: index.size(),
            unpacked_size: index.unpacked_size(),
            entries: index.entries().len(),
        };
        self.holds(&head, compression)?;
        Ok(BoundLayer { stored: self, index })
    }

    /// Why its index cannot be used.
    pub(crate) fn wrong(&self, why: impl std::fmt::Display) -> Lack {
        wrong(&self.row, why)
    }

    fn holds(&self, head: &IndexHead, compression: Compression) -> Result<(), Lack> {
        let row = &self.row;
        let says = (head.compression, head.kind, head.size, head.unpacked_size);
        let bound = (compression, row.kind, row.size, row.unpacked_size);
        if says == bound && head.entries as u64 == row.entries {
            Ok(())
        } else {
            Err(wrong(
                row,
                "it is not that of the layer that the record binds to it",
            ))
        }
    }
}

/// The record, and the code's index as stored; each has its digest.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) record: Record,
    pub(super) record_bytes: Vec<u8>,
    pub(super) code: StoredLayer,
    pub(super) limits: Limits,
    /// Bytes of them that were fetched.
    pub(super) fetched: u64,
}

/// The same with the code's index read.
#[derive(Debug)]
pub(crate) struct FoundCode {
    pub(super) record: Record,
    record_bytes: Vec<u8>,
    pub(super) code: BoundLayer,
    limits: Limits,
    fetched: u64,
}

/// The layers of a record beside its code.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(super) rows: Vec<RecordLayer>,
    pub(super) compression: Compression,
}

impl Found {
    /// The layers that are still to be found.
    pub(crate) fn others(&self) -> Rows {
        let others = self.record.layers.split_last();
        Rows {
            rows: others.map_or_else(Vec::new, |(_, others)| others.to_vec()),
            compression: self.record.compression,
        }
    }

    pub(crate) fn read(self) -> Result<FoundCode, Lack> {
        if !self.code.is_code() {
            return Err(no_code());
        }
        let code = self.code.read(self.record.compression)?;
        within_limits([&code], self.limits)?;
        Ok(FoundCode {
            record: self.record,
            record_bytes: self.record_bytes,
            code,
            limits: self.limits,
            fetched: self.fetched,
        })
    }
}

impl FoundCode {
    /// With the `others`, and what `code` makes of the code.
    pub(crate) fn with<L>(self, others: Others<L>, code: impl FnOnce(BoundLayer) -> L) -> Bound<L> {
        let documents = self.record_bytes.len() + self.code.stored.index_bytes.len();
        let mut layers = others.layers;
        layers.push(code(self.code));
        Bound {
            total: self.record.size + documents as u64 + others.index_bytes,
            layers,
            record: self.record,
            record_bytes: self.record_bytes,
            fetched: self.fetched + others.fetched,
            limits: self.limits,
        }
    }
}

/// The indexes that the host kept of a record that it kept.
pub(crate) fn kept(places: &Places, record: Record, record_bytes: Vec<u8>) -> Result<Bound, Lack> {
    let mut layers = Vec::with_capacity(record.layers.len());
    for row in &record.layers {
        let path = places.layer(&row.index_sha256).join("index");
        let index_bytes = fs::read(&path).map_err(|error| Error::disk("reading", &path, error))?;
        layers.push(StoredLayer {
            row: row.clone(),
            index_bytes: bound_by(row, index_bytes)?,
            index_kept: true,
        });
    }
    let code = layers.pop().ok_or_else(no_code)?;
    let found = Found {
        record,
        record_bytes,
        code,
        limits: Limits::default(),
        fetched: 0,
    };
    let compression = found.record.compression;
    let others = Others {
        index_bytes: layers.iter().map(|layer| layer.index_bytes.len() as u64).sum(),
        fetched: 0,
        layers: layers
            .into_iter()
            .map(|layer| layer.read(compression))
            .collect::<Result<_, _>>()?,
    };
    Ok(found.read()?.with(others, |code| code))
}

pub(super) fn has_digest(row: &RecordLayer, bytes: &[u8]) -> bool {
    let named: Option<Digest> = row.index_sha256.parse().ok();
    named == Some(sha256(bytes))
}

/// The stored index, when it has the digest that the record's row names.
pub(super) fn bound_by(row: &RecordLayer, bytes: Vec<u8>) -> Result<Vec<u8>, Lack> {
    if has_digest(row, &bytes) {
        Ok(bytes)
    } else {
        Err(wrong(row, "its digest is not the one that the record binds"))
    }
}

pub(super) fn no_code() -> Lack {
    Lack::whole("the record names no code")
}

fn wrong(row: &RecordLayer, why: impl std::fmt::Display) -> Lack {
    Lack::whole(format!("the index of the layer {}: {why}", row.name))
}

fn within_limits<'a>(layers: impl IntoIterator<Item = &'a BoundLayer>, limits: Limits) -> Result<(), Lack> {
    let (mut entries, mut bytes) = (0_u64, Some(0_u64));
    for layer in layers {
        entries += layer.index.entries().len() as u64;
        let mut sizes = layer.index.entries().iter().map(IndexEntry::size);
        bytes = bytes.and_then(|bytes| sizes.try_fold(bytes, u64::checked_add));
    }
    match bytes {
        Some(bytes) if bytes <= limits.bytes && entries <= limits.entries => Ok(()),
        _ => Err(Lack::whole(format!(
            "it holds {entries} entries, or more bytes than an archive may"
        ))),
    }
}
