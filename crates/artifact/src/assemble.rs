//! Assembles an artifact: the sealed layers one after the other, then the code, then the record beside it. The code is
//! listed and compressed while the layers are loaded and copied.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};

use crate::artifact::{Artifact, index_path, record_path};
use crate::copy::copy_layer;
use crate::entries::{add_parents, check_claims, list, topmost};
use crate::error::Error;
use crate::event::Event;
use crate::format::FORMAT_VERSION;
use crate::hash::{Sha256Writer, sha256};
use crate::index::Index;
use crate::layer::{LayerKind, LayerPlan, PackOptions, SealedLayer};
use crate::pack::{Packed, Packing, pack};
use crate::partial::{Partial, write_whole};
use crate::path::EntryPath;
use crate::record::{Record, RecordDraft, RecordLayer};
use crate::reuse::Older;
use crate::tree::TreeEntry;

/// Writes the artifact, its indexes and last its record into `out_dir`, and names them by their digests:
/// `<sha256>.tar.zst` or `.tar.gz`, `indexes/<index sha256>`, `<sha256>.json`. Nothing of it is seen before it is whole.
///
/// The code carries tar's end blocks. A path that two layers hold is refused by name. When the same artifact is there with
/// a record for the same app and revision, that record stays.
pub fn assemble(
    layers: &[SealedLayer],
    code: &LayerPlan<'_>,
    draft: RecordDraft,
    out_dir: &Path,
    options: &PackOptions<'_>,
) -> Result<Artifact, Error> {
    check_kinds(layers, code, options)?;
    let (sealed, mut entries) = load_and_list(layers, code, options)?;
    let claims: Vec<(&str, Vec<EntryPath>)> = layers
        .iter()
        .zip(&sealed)
        .map(|(layer, loaded)| (layer.name.as_str(), loaded.claims.clone()))
        .collect();
    check_claims(&claims, &code.name, &entries)?;
    add_parents(&mut entries, &claims);

    let partial = Partial::create(out_dir)?;
    let path = partial.path().to_path_buf();
    let mut out = Sha256Writer::new(partial);
    let packing = Packing {
        layer: code,
        entries: &entries,
        older: &Older::none(),
        out: &path,
    };
    let copy = |out: &mut Sha256Writer<Partial>| {
        let rows = layers.iter().map(|layer| copy_layer(layer, out, &path, options));
        rows.collect::<Result<Vec<_>, _>>()
            .map(|rows| (rows, out.written()))
    };
    let (packed, (mut rows, offset)) = pack(&packing, &mut out, options, copy)?;
    let (row, stored) = code_row(code, &packed, offset, &path)?;
    rows.push(row);
    let (partial, digest, size) = out.finish();
    let record = Record {
        format: FORMAT_VERSION,
        app: draft.app,
        revision: draft.revision,
        compression: options.compression,
        sha256: digest.to_string(),
        size,
        layers: rows,
        steps: draft.steps,
        tools: draft.tools,
    };
    let indexes = sealed
        .into_iter()
        .map(|loaded| loaded.stored)
        .chain([stored])
        .collect();
    options.check_cancel()?;
    finish(partial, record, indexes, out_dir, options)
}

/// Loads the sealed layers' indexes while the code is listed.
fn load_and_list(
    layers: &[SealedLayer],
    code: &LayerPlan<'_>,
    options: &PackOptions<'_>,
) -> Result<(Vec<Loaded>, Vec<TreeEntry>), Error> {
    let load_all = || layers.iter().map(load).collect::<Result<Vec<_>, _>>();
    if options.jobs.get() == 1 || layers.is_empty() {
        return Ok((load_all()?, list(code, options)?));
    }
    thread::scope(|scope| {
        let loading = thread::Builder::new()
            .name("index".to_owned())
            .spawn_scoped(scope, load_all);
        let entries = list(code, options);
        let sealed = match loading.map(ScopedJoinHandle::join) {
            Ok(Ok(sealed)) => sealed,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => load_all(),
        };
        Ok((sealed?, entries?))
    })
}

/// The code's row of the record, and its index as stored.
fn code_row(
    code: &LayerPlan<'_>,
    packed: &Packed,
    offset: u64,
    path: &Path,
) -> Result<(RecordLayer, Vec<u8>), Error> {
    let index = &packed.index;
    let stored = index.to_bytes().map_err(|source| Error::Index {
        path: path.to_path_buf(),
        source,
    })?;
    let row = RecordLayer {
        name: code.name.clone(),
        kind: code.kind,
        key: code.key.clone(),
        offset,
        size: index.size(),
        sha256: packed.sha256.to_string(),
        index_sha256: sha256(&stored).to_string(),
        entries: index.entries().len() as u64,
        unpacked_size: index.unpacked_size(),
    };
    Ok((row, stored))
}

fn check_kinds(layers: &[SealedLayer], code: &LayerPlan<'_>, options: &PackOptions<'_>) -> Result<(), Error> {
    let refuse = |layer: &str, why: &str| {
        Err(Error::Layer {
            layer: layer.to_owned(),
            why: why.to_owned(),
        })
    };
    if code.kind != LayerKind::Code {
        return refuse(&code.name, "the last layer has to be the code");
    }
    for layer in layers {
        if layer.kind != LayerKind::Dependencies {
            return refuse(&layer.name, "only the last layer can be the code");
        }
        if layer.compression != options.compression {
            return refuse(
                &layer.name,
                "it was sealed with another compression than the artifact's",
            );
        }
    }
    Ok(())
}

/// What is needed of a sealed layer's index.
struct Loaded {
    /// Its topmost paths.
    claims: Vec<EntryPath>,
    /// Its stored bytes.
    stored: Vec<u8>,
}

/// A sealed layer's index, checked against what was said of it.
fn load(layer: &SealedLayer) -> Result<Loaded, Error> {
    let stored = fs::read(&layer.index).map_err(|source| Error::io("read", &layer.index, source))?;
    let differs = |why: &str| Error::Differs {
        path: layer.index.clone(),
        why: why.to_owned(),
    };
    if sha256(&stored).to_string() != layer.index_sha256 {
        return Err(differs("its digest is not the one it was sealed with"));
    }
    let index = Index::parse(&stored).map_err(|source| Error::Index {
        path: layer.index.clone(),
        source,
    })?;
    if index.size() != layer.size || index.kind() != layer.kind || index.compression() != layer.compression {
        return Err(differs("it belongs to another layer"));
    }
    let claims = topmost(index.entries().iter().map(|entry| &entry.path));
    Ok(Loaded { claims, stored })
}

fn finish(
    partial: Partial,
    record: Record,
    indexes: Vec<Vec<u8>>,
    out_dir: &Path,
    options: &PackOptions<'_>,
) -> Result<Artifact, Error> {
    let path = out_dir.join(record.file_name());
    let there = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == record.size);
    // Renamed even over the same artifact: the bytes are the same, and a damaged file is mended.
    partial.finish(&path)?;
    let mut index_paths: Vec<PathBuf> = Vec::with_capacity(indexes.len());
    for (layer, stored) in record.layers.iter().zip(indexes) {
        let path = index_path(out_dir, &layer.index_sha256);
        write_whole(&path, &stored)?;
        index_paths.push(path);
    }
    let record_path = record_path(out_dir, &record.sha256);
    let kept = kept_record(&record_path, &record);
    let reused = there && kept.is_some();
    let (record, record_bytes) = match kept {
        Some(kept) => kept,
        None => {
            let failed = |source| Error::Record {
                path: record_path.clone(),
                source,
            };
            let bytes = record.to_bytes().map_err(failed)?;
            write_whole(&record_path, &bytes)?;
            (record, bytes)
        }
    };
    let (sha256_of_artifact, size) = (record.sha256.clone(), record.size);
    (options.on_event)(Event::ArtifactWritten {
        sha256: sha256_of_artifact,
        size,
        reused,
    });
    let record_sha256 = sha256(&record_bytes).to_string();
    Ok(Artifact {
        path,
        record_path,
        record_sha256,
        record,
        indexes: index_paths,
    })
}

/// The record that is there already, when it speaks of the same artifact, app and revision: other tool versions that gave
/// the same bytes make no other record.
fn kept_record(path: &Path, new: &Record) -> Option<(Record, Vec<u8>)> {
    let bytes = fs::read(path).ok()?;
    let old = Record::parse(&bytes).ok()?;
    let same = old.app == new.app
        && old.revision == new.revision
        && old.sha256 == new.sha256
        && old.size == new.size
        && old.compression == new.compression
        && old.layers == new.layers;
    same.then_some((old, bytes))
}
