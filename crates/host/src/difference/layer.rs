//! One dependency layer on the host: there and untouched, or made anew beside its place and renamed into it.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use shipit_artifact::{EntryPath, ExtractOptions, Index, IndexKind, extract, frames_of};

use super::Setting;
use super::bound::BoundLayer;
use super::check::{damaged, rearranged};
use super::fetch::{Fetched, Part};
use super::gather::{Gather, Source};
use super::hand::{Group, Hand, groups, parallel, root};
use super::lack::Lack;
use super::places::{is_real_dir, open_to_all, write_whole};
use crate::error::Error;
use crate::event::Event;

/// What is to be done for a layer.
#[derive(Debug)]
pub(crate) enum State {
    /// It stands in its place.
    There,
    /// It is made anew.
    Making {
        /// Entries that are extracted: all directories and links, and the files that the host does not have.
        wanted: Vec<usize>,
    },
}

/// Whether the layer stands in its place untouched; a damaged one is said. Of one that is `linked` as a whole the directories are
/// looked at, in which nothing more may stand; its files too where another user than root applies, for hooks and mostly the
/// app run as that user then, and can write into them.
pub(crate) fn is_there(layer: &BoundLayer, linked: bool, setting: &Setting<'_>) -> Result<bool, Error> {
    let dir = setting.places.layer(&layer.row.index_sha256);
    if layer.is_code() {
        return Ok(true);
    }
    let files = dir.join("files");
    if !is_real_dir(&files) {
        return Ok(false);
    }
    let mut wrong = 0;
    if linked {
        wrong += rearranged(&files, &layer.index, setting.jobs, setting.cancel)?;
    }
    if !linked || !rustix::process::geteuid().is_root() {
        wrong += damaged(&files, &layer.index, setting.jobs, setting.cancel)?;
    }
    if wrong > 0 {
        setting.recorder.say(Event::LayerDamaged {
            layer: layer.row.name.clone(),
            path: files,
            entries: wrong as u64,
        });
    }
    Ok(wrong == 0)
}

/// Takes what the host has of a layer that is not there, into `.new`.
pub(crate) fn begin(layer: &BoundLayer, sources: &[Source], setting: &Setting<'_>) -> Result<State, Error> {
    let making = making(layer, setting);
    let files = making.join("files");
    make_dir(&files)?;
    open_to_all(&making)?;
    open_to_all(&files)?;
    let index = &layer.index;
    let all: Vec<_> = (0..index.entries().len()).collect();
    let wanted = take(index, &all, sources, &files, setting)?;
    Ok(State::Making { wanted })
}

/// Makes the directories of the entries `kept` and takes the files that the host has; hands back what is left to be extracted.
pub(crate) fn take(
    index: &Index,
    kept: &[usize],
    sources: &[Source],
    into: &Path,
    setting: &Setting<'_>,
) -> Result<Vec<usize>, Error> {
    let is_file = |number: &usize| matches!(index.entries()[*number].kind, IndexKind::File { .. });
    let (files, mut wanted): (Vec<_>, Vec<_>) = kept.iter().copied().partition(is_file);
    if sources.is_empty() {
        return Ok(kept.to_vec());
    }
    make_directories(&groups(index, kept), into, setting)?;
    let gather = Gather {
        index,
        files: &files,
        sources,
        into,
        reflink: setting.reflink,
        jobs: setting.jobs,
        cancel: setting.cancel,
    };
    wanted.extend(gather.run()?);
    wanted.sort_unstable();
    Ok(wanted)
}

/// The frames that the extraction of `wanted` needs.
pub(crate) fn parts(number: usize, layer: &BoundLayer, wanted: &[usize]) -> Vec<Part> {
    let part = |frame: usize| Part {
        layer: number,
        frame,
        offset: layer.row.offset + layer.index.frames()[frame].offset,
        size: layer.index.frames()[frame].size.into(),
    };
    frames_of(&layer.index, wanted).into_iter().map(part).collect()
}

/// Extracts what is wanted below `into`.
pub(crate) fn fill(
    number: usize,
    layer: &BoundLayer,
    wanted: &[usize],
    fetched: &Fetched,
    into: &Path,
    setting: &Setting<'_>,
) -> Result<(), Lack> {
    let options = ExtractOptions {
        jobs: setting.jobs,
        cancel: setting.cancel,
        on_event: &|_| {},
    };
    extract(&layer.index, &fetched.layer(number), wanted, into, &options)
        .map(drop)
        .map_err(Lack::artifact)
}

/// Gives a layer that was made its place, with its index; a damaged one there goes.
pub(crate) fn put_in_place(layer: &BoundLayer, setting: &Setting<'_>) -> Result<(), Error> {
    let made = making(layer, setting);
    let dir = setting.places.layer(&layer.row.index_sha256);
    make_dir(&made.join("used"))?;
    write_whole(&made.join("index"), &layer.index_bytes)?;
    let failed = |error: Errno| Error::disk("putting the layer in place at", &dir, error);
    // Later releases go by size and time: after a power loss, what has its place has to have its bytes too.
    fs::File::open(&made)
        .map_err(|error| Error::disk("opening the directory", &made, error))
        .and_then(|on| {
            rustix::fs::syncfs(on).map_err(|error| Error::disk("writing to the disk", &made, error))
        })?;
    // The marks of the releases that use it stay.
    for entry in fs::read_dir(dir.join("used")).into_iter().flatten().flatten() {
        write_whole(&made.join("used").join(entry.file_name()), &[])?;
    }
    match rustix::fs::renameat_with(CWD, &made, CWD, &dir, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => rustix::fs::rename(&made, &dir).map_err(failed),
        // A file system that cannot exchange: a kill between these leaves none, and the next apply makes it again.
        Err(Errno::INVAL | Errno::NOSYS) => {
            let aside = made.with_extension("old");
            rustix::fs::rename(&dir, aside)
                .and_then(|()| rustix::fs::rename(&made, &dir))
                .map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Says in a layer that the release uses it; of the code's, whose files stand in the release alone, the index is kept.
pub(crate) fn mark(layer: &BoundLayer, setting: &Setting<'_>) -> Result<(), Error> {
    let dir = setting.places.layer(&layer.row.index_sha256);
    let index = dir.join("index");
    if fs::read(&index).ok().as_ref() != Some(&layer.index_bytes) {
        write_whole(&index, &layer.index_bytes)?;
    }
    let used = dir.join("used").join(&setting.places.release);
    if used.exists() {
        return Ok(());
    }
    write_whole(&used, &[])
}

/// Makes the directories of the groups, and those above them: one level after the other, each by all threads.
pub(crate) fn make_directories(groups: &[Group], into: &Path, setting: &Setting<'_>) -> Result<(), Error> {
    let mut levels: Vec<Vec<(&EntryPath, bool)>> = Vec::new();
    for (path, named) in groups
        .iter()
        .filter_map(|group| Some((group.dir.as_ref()?, group.own.is_some())))
    {
        let depth = path.as_bytes().iter().filter(|byte| **byte == b'/').count();
        if levels.len() <= depth {
            levels.resize_with(depth + 1, Vec::new);
        }
        levels[depth].push((path, named));
    }
    let root = root(into)?;
    for level in &levels {
        let pieces: Vec<_> = level.chunks(64).collect();
        let hand = || Hand::new(&root);
        parallel(setting.jobs, setting.cancel, &pieces, hand, |hand, piece| {
            piece.iter().try_for_each(|(path, named)| {
                hand.make_directory(path, *named)
                    .map_err(|error| Error::disk("making the directory", into.join(path.as_path()), error))
            })
        })?;
    }
    Ok(())
}

/// Where a layer is made.
pub(crate) fn making(layer: &BoundLayer, setting: &Setting<'_>) -> PathBuf {
    setting.places.new_dir().join(&layer.row.index_sha256)
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|error| Error::disk("making the directory", path, error))
}
