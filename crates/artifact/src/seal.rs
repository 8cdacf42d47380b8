//! Seals a dependency layer when its step ends: its frames and its index into files of their own.

use std::path::Path;

use crate::entries::{list, topmost};
use crate::error::Error;
use crate::hash::sha256;
use crate::layer::{LayerKind, LayerPlan, PackOptions, SealedLayer};
use crate::pack::{Packed, Packing, pack};
use crate::partial::{Partial, write_unsynced};
use crate::reuse::Older;

/// Packs a dependency layer into `dir`: `<sha256>.frames` and `<index sha256>.index`, each whole or not at all. What
/// changes in the tree afterwards is not packed. The files are not synced: a layer's digests are checked whenever it is used.
pub fn seal_layer(plan: &LayerPlan<'_>, dir: &Path, options: &PackOptions<'_>) -> Result<SealedLayer, Error> {
    seal_layer_reusing(plan, dir, &[], options)
}

/// The same, with the same bytes, in less time: frames of older layers whose entries (paths, kinds, sizes, contents) are
/// the same now, at the same level, are taken over. What of the older layers' files is missing or damaged is packed anew.
pub fn seal_layer_reusing(
    plan: &LayerPlan<'_>,
    dir: &Path,
    older: &[&SealedLayer],
    options: &PackOptions<'_>,
) -> Result<SealedLayer, Error> {
    if plan.kind != LayerKind::Dependencies {
        let why = "it is code, and code is packed when the artifact is assembled".to_owned();
        return Err(Error::Layer {
            layer: plan.name.clone(),
            why,
        });
    }
    let entries = list(plan, options)?;
    let older = Older::of(older, plan, options.compression);
    let mut out = Partial::create(dir)?;
    let path = out.path().to_path_buf();
    let packing = Packing {
        layer: plan,
        entries: &entries,
        older: &older,
        out: &path,
    };
    let (
        Packed {
            index,
            sha256: digest,
        },
        (),
    ) = pack(&packing, &mut out, options, |_| Ok(()))?;
    let stored = index.to_bytes().map_err(|source| Error::Index { path, source })?;
    let index_sha256 = sha256(&stored).to_string();
    let sha256 = digest.to_string();
    let frames = dir.join(format!("{sha256}.frames"));
    let index_path = dir.join(format!("{index_sha256}.index"));
    // Whoever uses the layer checks both digests, and what is lost is packed again: nobody waits for the disk here.
    out.finish_unsynced(&frames)?;
    write_unsynced(&index_path, &stored)?;
    Ok(SealedLayer {
        name: plan.name.clone(),
        kind: plan.kind,
        key: plan.key.clone(),
        compression: options.compression,
        level: Some(plan.level),
        frames,
        index: index_path,
        index_sha256,
        sha256,
        size: index.size(),
        entries: entries.len() as u64,
        unpacked_size: index.unpacked_size(),
        paths_claimed: topmost(entries.iter().map(|entry| &entry.path)),
    })
}
