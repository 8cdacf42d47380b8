//! Assembles an artifact: the sealed layers one after the other, then the code, then the record beside it. The code is
//! compressed while the layers' indexes are checked and their frames copied, and what is written goes on to the disk meanwhile.

use std::fs;
use std::path::Path;
use std::thread::{self, ScopedJoinHandle};

use crate::artifact::{Artifact, record_path};
use crate::copy::copy_layers;
use crate::entries::{add_parents, check_claims, list};
use crate::error::Error;
use crate::event::Event;
use crate::format::FORMAT_VERSION;
use crate::hash::{Sha256Writer, sha256};
use crate::layer::{LayerKind, LayerPlan, PackOptions, SealedLayer};
use crate::pack::{Packed, Packing, pack};
use crate::partial::{Partial, sync_directory, written};
use crate::path::EntryPath;
use crate::record::{Record, RecordDraft, RecordLayer};
use crate::reuse::Older;
use crate::staged::{StagedIndex, place_all, stage, stage_sealed};

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
    let stage_all = || {
        let staged = layers.iter().map(|layer| stage_sealed(layer, out_dir));
        staged.collect::<Result<Vec<_>, _>>()
    };
    let write = || write_body(layers, code, out_dir, options);
    let (staged, body) = if options.jobs.get() == 1 || layers.is_empty() {
        (stage_all(), write())
    } else {
        beside(stage_all, write)
    };
    let (mut staged, body) = (staged?, body?);
    staged.push(body.code_index);
    let (partial, digest, size) = body.out.finish();
    let record = Record {
        format: FORMAT_VERSION,
        app: draft.app,
        revision: draft.revision,
        compression: options.compression,
        sha256: digest.to_string(),
        size,
        layers: body.rows,
        steps: draft.steps,
        tools: draft.tools,
    };
    options.check_cancel()?;
    finish(partial, record, staged, out_dir, options)
}

/// Does one thing in a thread of its own, where there can be one, and the other in this one.
fn beside<A: Send, B>(one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("index".to_owned());
        let thread = thread.spawn_scoped(scope, &one);
        let other = other();
        match thread.map(ScopedJoinHandle::join) {
            Ok(Ok(one)) => (one, other),
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => (one(), other),
        }
    })
}

/// An artifact's bytes, without a name yet.
struct Body {
    out: Sha256Writer<Partial>,
    /// The layers' rows of the record, the code's last.
    rows: Vec<RecordLayer>,
    code_index: StagedIndex,
}

/// Writes the layers and the code. That the layers' indexes name the paths which the layers claim is
/// [`stage_sealed`]'s to check.
fn write_body(
    layers: &[SealedLayer],
    code: &LayerPlan<'_>,
    out_dir: &Path,
    options: &PackOptions<'_>,
) -> Result<Body, Error> {
    let mut entries = list(code, options)?;
    let claims: Vec<(&str, &[EntryPath])> = layers
        .iter()
        .map(|layer| (layer.name.as_str(), layer.paths_claimed.as_slice()))
        .collect();
    check_claims(&claims, &code.name, &entries)?;
    add_parents(&mut entries, &claims);

    let partial = Partial::create(out_dir)?.synced_along();
    let path = partial.path().to_path_buf();
    let mut out = Sha256Writer::new(partial);
    let packing = Packing {
        layer: code,
        entries: &entries,
        older: &Older::none(),
        out: &path,
    };
    let copy = |out: &mut Sha256Writer<Partial>| {
        let rows = copy_layers(layers, out, &path, options)?;
        Ok((rows, out.written()))
    };
    let (packed, (mut rows, offset)) = pack(&packing, &mut out, options, copy)?;
    // The disk takes the rest while the index is made.
    out.beneath().begin_sync()?;
    let (row, stored) = code_row(code, &packed, offset, &path)?;
    let code_index = stage(&stored, &row.index_sha256, out_dir)?;
    rows.push(row);
    Ok(Body {
        out,
        rows,
        code_index,
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

fn finish(
    partial: Partial,
    record: Record,
    indexes: Vec<StagedIndex>,
    out_dir: &Path,
    options: &PackOptions<'_>,
) -> Result<Artifact, Error> {
    let path = out_dir.join(record.file_name());
    let there = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == record.size);
    let record_path = record_path(out_dir, &record.sha256);
    let kept = kept_record(&record_path, &record);
    let reused = there && kept.is_some();
    let (record, record_bytes, staged) = match kept {
        Some((record, bytes)) => (record, bytes, None),
        None => {
            let failed = |source| Error::Record {
                path: record_path.clone(),
                source,
            };
            let bytes = record.to_bytes().map_err(failed)?;
            let mut staged = written(&record_path, &bytes)?;
            // The disk takes all of them at once.
            staged.begin_sync()?;
            (record, bytes, Some(staged))
        }
    };
    let index_paths = place_all(indexes)?;
    // Renamed even over the same artifact: the bytes are the same, and a damaged file is mended.
    partial.place(&path)?;
    if let Some(staged) = staged {
        staged.place(&record_path)?;
    }
    sync_directory(out_dir)?;
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
