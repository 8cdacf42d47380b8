//! How two releases' artifacts differ, by their records and indexes: files, layers, sizes. No artifact is read for it.
//!
//! A file is changed when its content, its mode or its kind is another; its time is not looked at, for code carries that of its
//! commit. Not here: the commits between them.

use std::collections::BTreeMap;

use serde::Serialize;
use shipit_artifact::{EntryPath, Index, IndexEntry, IndexKind, LayerKind, Record, RecordLayer};

use crate::publish::LARGEST_RECORD;
use crate::shared::{LARGEST_ABOUT, LARGEST_INDEX, SharedLayer};
use crate::{Error, Release, Store, layout};

/// What an artifact holds.
#[derive(Debug)]
pub struct Contents {
    record: Record,
    layers: Vec<(Index, Option<u64>)>,
}

/// How something differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// The second alone has it.
    Added,
    /// Both have it, and it is not the same.
    Changed,
    /// The first alone has it.
    Removed,
    /// Both have it, and it is the same.
    Same,
}

/// A file or symlink that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDifference {
    /// Its path, printable.
    pub path: String,
    /// How.
    pub how: How,
    /// The name of the layer that it is in; in the second where both have it.
    pub layer: String,
    /// Its size in the first, in bytes.
    pub from: Option<u64>,
    /// Its size in the second, in bytes.
    pub to: Option<u64>,
}

/// One layer in two artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerDifference {
    /// Its name.
    pub name: String,
    /// What it holds: dependencies or code.
    pub kind: LayerKind,
    /// How.
    pub how: How,
    /// What it is in the first.
    pub from: Option<LayerSide>,
    /// What it is in the second.
    pub to: Option<LayerSide>,
    /// Files and symlinks that the second alone has there.
    pub added: usize,
    /// Files and symlinks that are not the same.
    pub changed: usize,
    /// Files and symlinks that the first alone has there.
    pub removed: usize,
}

/// A layer of one artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerSide {
    /// Its layer key; code has none.
    pub key: Option<String>,
    /// Its size as stored, in bytes.
    pub size: u64,
    /// Its size as a tar stream, in bytes.
    pub unpacked_size: u64,
    /// How many entries it has.
    pub entries: u64,
    /// How many packages, where that is known.
    pub packages: Option<u64>,
}

/// How two artifacts differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The size of the first, in bytes.
    pub from_size: u64,
    /// The size of the second, in bytes.
    pub to_size: u64,
    /// All layers of both, in the order of the second; those that are gone come last.
    pub layers: Vec<LayerDifference>,
    /// Files and symlinks that differ, sorted by path.
    pub files: Vec<FileDifference>,
}

/// Reads what a release's artifact holds.
///
/// # Errors
/// [`Error::Corrupt`] when its documents are not what they should be; else the store's.
pub async fn contents(store: &Store, release: &Release) -> Result<Contents, Error> {
    let key = layout::record_key(&release.app, &release.artifact.sha256)?;
    let corrupt = |url: &str, why: String| Error::Corrupt {
        url: store.url_of(url),
        why,
    };
    let stored = store.get_bytes(&key, LARGEST_RECORD).await?.bytes;
    let record = Record::parse(&stored).map_err(|error| corrupt(&key, error.to_string()))?;
    let mut layers = Vec::new();
    for layer in &record.layers {
        let key = layout::index_key(&release.app, &layer.index_sha256)?;
        let stored = store.get_bytes(&key, LARGEST_INDEX).await?.bytes;
        if shipit_artifact::sha256(&stored).to_string() != layer.index_sha256 {
            let why = "it does not have the digest that it is named by";
            return Err(corrupt(&key, why.to_owned()));
        }
        let index = Index::parse(&stored).map_err(|error| corrupt(&key, error.to_string()))?;
        layers.push((index, packages(store, &release.app, layer).await?));
    }
    Ok(Contents { record, layers })
}

/// How many packages a layer holds, where a shared layer of the same bytes tells.
async fn packages(store: &Store, app: &str, layer: &RecordLayer) -> Result<Option<u64>, Error> {
    let Some(key) = &layer.key else { return Ok(None) };
    match store
        .get_bytes(&layout::shared_layer_key(app, key)?, LARGEST_ABOUT)
        .await
    {
        Ok(stored) => {
            let shared = SharedLayer::parse(&stored.bytes, key).ok();
            let same = shared.filter(|shared| shared.sha256 == layer.sha256);
            Ok(same.and_then(|shared| shared.packages))
        }
        Err(Error::NotFound { .. } | Error::Corrupt { .. } | Error::Denied { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// From the first to the second.
pub fn compare(from: &Contents, to: &Contents) -> Difference {
    let files = files(from, to);
    let mut layers: Vec<LayerDifference> = Vec::new();
    for at in 0..to.layers.len() {
        let name = &to.record.layers[at].name;
        let before = from.record.layers.iter().position(|layer| layer.name == *name);
        layers.push(layer(before.map(|before| (from, before)), Some((to, at)), &files));
    }
    for (at, row) in from.record.layers.iter().enumerate() {
        if !to.record.layers.iter().any(|layer| layer.name == row.name) {
            layers.push(layer(Some((from, at)), None, &files));
        }
    }
    Difference {
        from_size: from.record.size,
        to_size: to.record.size,
        layers,
        files,
    }
}

fn layer(
    from: Option<(&Contents, usize)>,
    to: Option<(&Contents, usize)>,
    files: &[FileDifference],
) -> LayerDifference {
    let side = |(contents, at): (&Contents, usize)| {
        let row = &contents.record.layers[at];
        LayerSide {
            key: row.key.clone(),
            size: row.size,
            unpacked_size: row.unpacked_size,
            entries: row.entries,
            packages: contents.layers[at].1,
        }
    };
    let row = |(contents, at): (&'_ Contents, usize)| contents.record.layers[at].clone();
    let (before, after) = (from.map(row), to.map(row));
    let how = match (&before, &after) {
        (None, _) => How::Added,
        (_, None) => How::Removed,
        (Some(before), Some(after)) if before.sha256 == after.sha256 => How::Same,
        _ => How::Changed,
    };
    let named = after.or(before);
    let (name, kind) = named.map_or_else(|| (String::new(), LayerKind::Code), |row| (row.name, row.kind));
    let count = |how| {
        let own = files.iter().filter(|file| file.layer == name);
        own.filter(|file| file.how == how).count()
    };
    LayerDifference {
        how,
        from: from.map(side),
        to: to.map(side),
        added: count(How::Added),
        changed: count(How::Changed),
        removed: count(How::Removed),
        name,
        kind,
    }
}

/// A file or symlink, and the layer that it is in.
type Found<'a> = (&'a IndexEntry, &'a str);

fn files(from: &Contents, to: &Contents) -> Vec<FileDifference> {
    let (from, to) = (all(from), all(to));
    let mut files = Vec::new();
    let mut push = |path: &EntryPath, before: Option<Found<'_>>, after: Option<Found<'_>>| {
        let how = match (before, after) {
            (None, _) => How::Added,
            (_, None) => How::Removed,
            (Some((before, _)), Some((after, _))) if before.kind == after.kind => return,
            _ => How::Changed,
        };
        files.push(FileDifference {
            path: path.to_string(),
            how,
            layer: after
                .or(before)
                .map_or_else(String::new, |(_, layer)| layer.to_owned()),
            from: before.map(|(entry, _)| entry.size()),
            to: after.map(|(entry, _)| entry.size()),
        });
    };
    for (path, after) in &to {
        push(path, from.get(*path).copied(), Some(*after));
    }
    for (path, before) in &from {
        if !to.contains_key(*path) {
            push(path, Some(*before), None);
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The files and symlinks of all layers, by path.
fn all(contents: &Contents) -> BTreeMap<&EntryPath, Found<'_>> {
    let mut all = BTreeMap::new();
    for ((index, _), row) in contents.layers.iter().zip(&contents.record.layers) {
        let files = index.entries().iter();
        let files = files.filter(|entry| entry.kind != IndexKind::Directory);
        all.extend(files.map(|entry| (&entry.path, (entry, row.name.as_str()))));
    }
    all
}
