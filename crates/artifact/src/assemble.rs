//! Assembles an artifact: the sealed layers one after the other, then the code, then the record beside it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::artifact::{Artifact, index_path, record_path};
use crate::entries::{add_parents, check_claims, list, topmost};
use crate::error::Error;
use crate::event::Event;
use crate::format::FORMAT_VERSION;
use crate::hash::{Sha256Writer, sha256};
use crate::index::Index;
use crate::layer::{LayerKind, LayerPlan, PackOptions, SealedLayer};
use crate::pack::pack;
use crate::partial::{Partial, write_whole};
use crate::path::EntryPath;
use crate::record::{Record, RecordDraft, RecordLayer};
use crate::tree::TreeEntry;

/// How much of a sealed layer is copied at once.
const CHUNK: usize = 1 << 20;

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
    let sealed = layers.iter().map(load).collect::<Result<Vec<_>, _>>()?;
    let claims: Vec<(&str, Vec<EntryPath>)> = layers
        .iter()
        .zip(&sealed)
        .map(|(layer, (index, _))| {
            (
                layer.name.as_str(),
                topmost(index.entries().iter().map(|entry| &entry.path)),
            )
        })
        .collect();
    let mut entries = list(code, options)?;
    check_claims(&claims, &code.name, &entries)?;
    add_parents(&mut entries, &claims);

    let partial = Partial::create(out_dir)?;
    let path = partial.path().to_path_buf();
    let mut out = Sha256Writer::new(partial);
    let mut rows = Vec::with_capacity(layers.len() + 1);
    for layer in layers {
        rows.push(copy_layer(layer, &mut out, &path, options)?);
    }
    let (row, stored) = pack_code(code, &entries, &mut out, &path, options)?;
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
        .map(|(_, stored)| stored)
        .chain([stored])
        .collect();
    options.check_cancel()?;
    finish(partial, record, indexes, out_dir, options)
}

/// Packs the code behind the layers; its row of the record, and its index as stored.
fn pack_code(
    code: &LayerPlan<'_>,
    entries: &[TreeEntry],
    out: &mut Sha256Writer<Partial>,
    path: &Path,
    options: &PackOptions<'_>,
) -> Result<(RecordLayer, Vec<u8>), Error> {
    let offset = out.written();
    let mut both = Sha256Writer::new(out);
    let index = pack(code, entries, &mut both, path, options)?;
    let (_, sha256_of_code, size) = both.finish();
    let stored = index.to_bytes().map_err(|source| Error::Index {
        path: path.to_path_buf(),
        source,
    })?;
    let row = RecordLayer {
        name: code.name.clone(),
        kind: code.kind,
        key: code.key.clone(),
        offset,
        size,
        sha256: sha256_of_code.to_string(),
        index_sha256: sha256(&stored).to_string(),
        entries: entries.len() as u64,
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

/// A sealed layer's index, checked against what was said of it, and its stored bytes.
fn load(layer: &SealedLayer) -> Result<(Index, Vec<u8>), Error> {
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
    Ok((index, stored))
}

fn copy_layer(
    layer: &SealedLayer,
    out: &mut dyn CountingWrite,
    out_path: &Path,
    options: &PackOptions<'_>,
) -> Result<RecordLayer, Error> {
    let offset = out.count();
    let read_failed = |source| Error::io("read", &layer.frames, source);
    let mut frames = File::open(&layer.frames).map_err(read_failed)?;
    let mut both = Sha256Writer::new(out);
    let mut chunk = vec![0; CHUNK];
    loop {
        options.check_cancel()?;
        let got = frames.read(&mut chunk).map_err(read_failed)?;
        if got == 0 {
            break;
        }
        both.write_all(&chunk[..got])
            .map_err(|source| Error::io("write", out_path, source))?;
    }
    let (_, digest, size) = both.finish();
    if size != layer.size || digest.to_string() != layer.sha256 {
        let why = "it changed since it was sealed".to_owned();
        return Err(Error::Differs {
            path: layer.frames.clone(),
            why,
        });
    }
    (options.on_event)(Event::LayerCopied {
        layer: layer.name.clone(),
        size,
    });
    Ok(RecordLayer {
        name: layer.name.clone(),
        kind: layer.kind,
        key: layer.key.clone(),
        offset,
        size,
        sha256: layer.sha256.clone(),
        index_sha256: layer.index_sha256.clone(),
        entries: layer.entries,
        unpacked_size: layer.unpacked_size,
    })
}

/// A writer that knows how much went through it.
trait CountingWrite: Write {
    fn count(&self) -> u64;
}

impl<W: Write> CountingWrite for Sha256Writer<W> {
    fn count(&self) -> u64 {
        self.written()
    }
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
