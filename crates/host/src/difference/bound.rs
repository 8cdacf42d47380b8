//! The record that the manifest binds and the indexes that the record binds, read: each index is held against the record's row.
//!
//! Where they come from is not decided here but in [`super::find`].

use std::fs;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

use shipit_artifact::{
    Digest, Index, IndexEntry, IndexHead, LayerKind, Limits, Record, RecordLayer, StoredIndex, sha256,
};

use super::lack::Lack;
use super::places::Places;
use crate::error::Error;

/// So many entries at most have the tables that are unpacked before they are needed: some 40 MB.
const AHEAD: u64 = 300_000;

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

/// One layer, whose index may still be to be read.
#[derive(Debug)]
pub(crate) enum Layer {
    /// It was read.
    Read(BoundLayer),
    /// It may not be needed: the layer may stand in its place, to be linked as a whole. With its table, where that was unpacked
    /// while there was nothing else to do.
    Stored(StoredLayer, Option<StoredIndex>),
}

impl<L> Bound<L> {
    /// The same with other layers.
    pub(crate) fn with<M>(self, layers: Vec<M>) -> Bound<M> {
        Bound {
            record: self.record,
            record_bytes: self.record_bytes,
            layers,
            total: self.total,
            fetched: self.fetched,
            limits: self.limits,
        }
    }

    /// Refuses layers that hold more than an archive may.
    pub(crate) fn limit<'a>(&self, layers: impl IntoIterator<Item = &'a BoundLayer>) -> Result<(), Lack> {
        within_limits(layers, self.limits)
    }
}

impl StoredLayer {
    pub(crate) fn is_code(&self) -> bool {
        self.row.kind == LayerKind::Code
    }

    /// The index as a table, whose head has to be what the record says.
    pub(crate) fn unpack(&self, record: &Record) -> Result<StoredIndex, Lack> {
        let index = StoredIndex::unpack(&self.index_bytes).map_err(|error| wrong(&self.row, error))?;
        let (head, _) = index.rows().map_err(|error| wrong(&self.row, error))?;
        self.holds(&head, record).map(|()| index)
    }

    /// Reads the index, and holds it against the record's row, which names its digest.
    pub(crate) fn read(self, record: &Record) -> Result<BoundLayer, Lack> {
        let index = Index::parse(&self.index_bytes).map_err(|error| wrong(&self.row, error))?;
        let head = IndexHead {
            compression: index.compression(),
            kind: index.kind(),
            size: index.size(),
            unpacked_size: index.unpacked_size(),
            entries: index.entries().len(),
        };
        self.holds(&head, record)?;
        Ok(BoundLayer { stored: self, index })
    }

    /// Why its index cannot be used.
    pub(crate) fn wrong(&self, why: impl std::fmt::Display) -> Lack {
        wrong(&self.row, why)
    }

    fn holds(&self, head: &IndexHead, record: &Record) -> Result<(), Lack> {
        let row = &self.row;
        let says = (head.compression, head.kind, head.size, head.unpacked_size);
        let bound = (record.compression, row.kind, row.size, row.unpacked_size);
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

/// The record and the indexes as stored: each has its digest, and the indexes are still to be read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) record: Record,
    pub(super) record_bytes: Vec<u8>,
    pub(super) layers: Vec<StoredLayer>,
    pub(super) limits: Limits,
    /// Bytes of them that were fetched.
    pub(super) fetched: u64,
}

impl Found {
    /// Reads the indexes but those that `may_stay` stored. As soon as that of the code is read, `work` gets it; with more than one
    /// job the others, which may be many times as large, are read meanwhile.
    pub(crate) fn read<T>(
        mut self,
        jobs: NonZeroUsize,
        may_stay: impl Fn(&StoredLayer) -> bool + Sync,
        work: impl FnOnce(&Record, &BoundLayer) -> Result<T, Lack>,
    ) -> Result<(Bound<Layer>, T), Lack> {
        let total = total(&self.record, &self.record_bytes, &self.layers);
        let code = self.layers.pop_if(|layer| layer.is_code());
        let code = code.ok_or_else(|| Lack::whole("the record names no code"))?;
        let (record, limits) = (&self.record, self.limits);
        let others = Others {
            left: Mutex::new(self.layers),
            record,
            may_stay,
        };
        let (others, code, done) = thread::scope(|scope| {
            let beside = if jobs.get() > 1 && !others.are_none() {
                // Without a thread it takes longer, that is all.
                let reading = thread::Builder::new().spawn_scoped(scope, || others.read(AHEAD));
                reading.ok()
            } else {
                None
            };
            let code = code.read(record)?;
            within_limits([&code], limits)?;
            let done = work(record, &code)?;
            let others = match beside {
                Some(reading) => reading
                    .join()
                    .map_err(|_| Lack::whole("the thread that read the indexes ended"))?,
                None => others.read(0),
            };
            Ok::<_, Lack>((others?, code, done))
        })?;
        let mut layers = others;
        layers.push(Layer::Read(code));
        let bound = Bound {
            layers,
            record: self.record,
            record_bytes: self.record_bytes,
            total,
            fetched: self.fetched,
            limits,
        };
        Ok((bound, done))
    }

    /// Reads all indexes.
    pub(crate) fn read_all(self) -> Result<Bound, Lack> {
        let total = total(&self.record, &self.record_bytes, &self.layers);
        let record = &self.record;
        let layers = self.layers.into_iter().map(|layer| layer.read(record));
        Ok(Bound {
            layers: layers.collect::<Result<_, _>>()?,
            record: self.record,
            record_bytes: self.record_bytes,
            total,
            fetched: self.fetched,
            limits: self.limits,
        })
    }
}

/// Layers beside the code, whose indexes are to be read once.
struct Others<'a, F> {
    left: Mutex<Vec<StoredLayer>>,
    record: &'a Record,
    may_stay: F,
}

impl<F: Fn(&StoredLayer) -> bool> Others<'_, F> {
    fn are_none(&self) -> bool {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Reads the indexes but those that may stay stored, of which the first with no more than `ahead` entries in all are unpacked.
    fn read(&self, mut ahead: u64) -> Result<Vec<Layer>, Lack> {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let mut one = |layer: StoredLayer| {
            if !(self.may_stay)(&layer) {
                return layer.read(self.record).map(Layer::Read);
            }
            let rest = ahead.checked_sub(layer.row.entries);
            ahead = rest.unwrap_or(ahead);
            let table = rest.map(|_| layer.unpack(self.record)).transpose()?;
            Ok(Layer::Stored(layer, table))
        };
        left.into_iter().map(&mut one).collect()
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
    let found = Found {
        record,
        record_bytes,
        layers,
        limits: Limits::default(),
        fetched: 0,
    };
    found.read_all()
}

fn total(record: &Record, record_bytes: &[u8], layers: &[StoredLayer]) -> u64 {
    let documents = layers.iter().map(|layer| layer.index_bytes.len());
    let documents: usize = documents.chain([record_bytes.len()]).sum();
    record.size + documents as u64
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
