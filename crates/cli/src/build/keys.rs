//! Which of a step's keys says what: that of its packed files, and that of the tree that later steps see.

use std::path::Path;

use shipit_artifact::{DirTree, EntryPath, Kind, Sha256Reader, Sha256Writer, Tree, sha256};
use shipit_steps::{KeyPart, LayerKey, LayerTree, StepKeys};

use super::pack::Packer;
use crate::errors::{CliError, Result};

/// A key as people see it.
pub fn short(key: &LayerKey) -> &str {
    key.key.get(..7).unwrap_or(&key.key)
}

/// Whether any of the layer's files are packed.
pub fn packs(keys: &StepKeys, packer: &Packer<'_>) -> bool {
    !packer.packed(&keys.paths).is_empty()
}

/// The key that says whether the step has to run.
pub fn main_key(keys: &StepKeys, packer: &Packer<'_>) -> (LayerKey, LayerTree) {
    match full_key(keys, packer) {
        Some(full) if !packs(keys, packer) => (full, LayerTree::Full),
        _ => (keys.packed.clone(), LayerTree::Packed),
    }
}

/// The key of the tree that later steps see, where it is not the packed one: also when a part of it lies outside of
/// `build.root`.
pub fn full_key(keys: &StepKeys, packer: &Packer<'_>) -> Option<LayerKey> {
    if keys.full.is_some() {
        return keys.full.clone();
    }
    let outside = |path: &EntryPath| packer.root().is_some_and(|root| !path.starts_with(root));
    if !keys.owned.iter().any(outside) {
        return None;
    }
    let mut parts = keys.packed.parts.clone();
    parts.push(KeyPart {
        name: "tree".to_owned(),
        value: "whole".to_owned(),
    });
    Some(LayerKey {
        key: sha256(format!("{} whole", keys.packed.key).as_bytes()).to_string(),
        parts,
    })
}

/// The key of a layer in which a later step changed these paths: who reads them depends on that too. What was removed has no
/// content; the order of `changes` is that of their names.
pub fn changed_key(key: &LayerKey, root: &Path, changes: &[EntryPath]) -> Result<LayerKey> {
    if changes.is_empty() {
        return Ok(key.clone());
    }
    let tree = DirTree::new(root)?.only(changes.to_vec());
    let mut content = Sha256Writer::new(std::io::sink());
    let mut add = |bytes: &[u8]| {
        // Into a sink, which takes everything.
        let _ = std::io::Write::write_all(&mut content, &(bytes.len() as u64).to_be_bytes());
        let _ = std::io::Write::write_all(&mut content, bytes);
    };
    for path in changes {
        add(path.as_bytes());
    }
    for entry in tree.entries()? {
        add(entry.path.as_bytes());
        match &entry.kind {
            Kind::Directory => add(b"directory"),
            Kind::Symlink { target } => add(target),
            Kind::File { executable } => {
                add(if *executable { b"executable" } else { b"file" });
                let mut file = Sha256Reader::new(tree.open(&entry.path)?);
                std::io::copy(&mut file, &mut std::io::sink())
                    .map_err(|error| CliError::disk(format!("reading {}", entry.path), error))?;
                add(&file.finish().1.0);
            }
        }
    }
    let digest = content.finish().1;
    let mut parts = key.parts.clone();
    parts.push(KeyPart {
        name: "changed by later steps".to_owned(),
        value: format!("sha256:{digest}"),
    });
    Ok(LayerKey {
        key: sha256(format!("{} {digest}", key.key).as_bytes()).to_string(),
        parts,
    })
}
