//! The layers' indexes on their way into an artifact's directory: written early, beside all else, so that the disk has
//! them when the artifact is whole; named then.

use std::fs;
use std::path::{Path, PathBuf};

use crate::artifact::index_path;
use crate::entries::topmost_by;
use crate::error::Error;
use crate::hash::sha256;
use crate::index_codec::IndexError;
use crate::index_table::{Table, inflate};
use crate::layer::SealedLayer;
use crate::partial::{Partial, sync_directory, written_in};
use crate::path::EntryPath;

/// An index that is written and has no name yet. Removed when it is dropped before [`place_all`].
pub(crate) struct StagedIndex {
    partial: Partial,
    path: PathBuf,
}

/// Writes an index, as stored, and begins to bring it to the disk.
pub(crate) fn stage(stored: &[u8], index_sha256: &str, out_dir: &Path) -> Result<StagedIndex, Error> {
    let path = index_path(out_dir, index_sha256);
    // Not in the directory of the indexes, which is not made for an artifact that comes to nothing.
    let mut partial = written_in(out_dir, &path, stored)?;
    partial.begin_sync()?;
    Ok(StagedIndex { partial, path })
}

/// The same with a sealed layer's index, checked against what was said of it.
pub(crate) fn stage_sealed(layer: &SealedLayer, out_dir: &Path) -> Result<StagedIndex, Error> {
    let stored = fs::read(&layer.index).map_err(|source| Error::io("read", &layer.index, source))?;
    let differs = |why: &str| Error::Differs {
        path: layer.index.clone(),
        why: why.to_owned(),
    };
    if sha256(&stored).to_string() != layer.index_sha256 {
        return Err(differs("its digest is not the one it was sealed with"));
    }
    let says = says(&stored, layer).map_err(|source| Error::Index {
        path: layer.index.clone(),
        source,
    })?;
    match says {
        Says::AnotherLayer => Err(differs("it belongs to another layer")),
        Says::OtherPaths => Err(differs("its paths are not those that the layer claims")),
        Says::ThisLayer => stage(&stored, &layer.index_sha256, out_dir),
    }
}

/// Names them all, and makes that last.
pub(crate) fn place_all(staged: Vec<StagedIndex>) -> Result<Vec<PathBuf>, Error> {
    let mut paths: Vec<PathBuf> = Vec::with_capacity(staged.len());
    let directory = staged.first().and_then(|index| index.path.parent());
    if let Some(directory) = directory {
        fs::create_dir_all(directory)
            .map_err(|source| Error::io("create the directory", directory, source))?;
    }
    for StagedIndex { partial, path } in staged {
        partial.place(&path)?;
        paths.push(path);
    }
    if let Some(directory) = paths.first().and_then(|path| path.parent()) {
        sync_directory(directory)?;
    }
    Ok(paths)
}

/// Whose index it is.
enum Says {
    ThisLayer,
    AnotherLayer,
    OtherPaths,
}

/// Looks at no more than what the artifact depends on. Its digest binds all else, which was looked at when the layer was
/// sealed or fetched: another whole [`crate::Index`] would cost more than copying the layer.
fn says(stored: &[u8], layer: &SealedLayer) -> Result<Says, IndexError> {
    let unpacked = inflate(stored)?;
    let mut table = Table::begin(&unpacked)?;
    let mut size = 0_u64;
    for _ in 0..table.frames {
        size += u64::from(table.frame()?.size);
    }
    let is = (table.kind, table.compression, size, table.entries as u64);
    let mut ended = None;
    let paths = (0..table.entries).map_while(|_| match table.entry() {
        Ok(row) => Some(row.path),
        Err(error) => {
            ended = Some(error);
            None
        }
    });
    let topmost = topmost_by(paths, |path| path);
    if let Some(error) = ended {
        return Err(error);
    }
    table.end()?;
    if is != (layer.kind, layer.compression, layer.size, layer.entries) {
        return Ok(Says::AnotherLayer);
    }
    let claimed = layer.paths_claimed.iter().map(EntryPath::as_bytes);
    if topmost.into_iter().eq(claimed) {
        Ok(Says::ThisLayer)
    } else {
        Ok(Says::OtherPaths)
    }
}
