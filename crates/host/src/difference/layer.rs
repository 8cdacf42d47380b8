//! One dependency layer on the host: there and untouched, or made anew beside its place and renamed into it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use shipit_artifact::{EntryPath, ExtractOptions, Index, IndexKind, extract, frames_of};

use super::Setting;
use super::bound::{BoundLayer, StoredLayer};
use super::fetch::{Fetched, Part};
use super::gather::{Gather, Source};
use super::hand::{DIRECTORY, Group, Hand, groups, parallel, root};
use super::lack::Lack;
use super::places::{open_to_all, write_whole};
use super::take::settle;
use crate::error::Error;

/// Directories that one thread takes at once.
const TOGETHER: usize = 64;

/// What is at hand of a layer.
#[derive(Debug)]
pub(crate) enum Held {
    /// It stands in its place, and is linked as a whole: nothing more of it need be known than these directories, its topmost.
    Linked(StoredLayer, Vec<EntryPath>),
    /// It stands in its place. Of code, the index does.
    There(BoundLayer),
    /// It is made anew.
    Making(BoundLayer, Wanted),
}

/// What is left to be done of a tree into which was taken what the host has.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Entries that are extracted: the links, and the files that the host does not have.
    pub(crate) entries: Vec<usize>,
    /// Directories that stand. They get mode and time when all that is in them stands too.
    pub(crate) directories: Vec<usize>,
}

/// Takes what the host has of a layer that is not there, into `.new`; hands back what is left.
pub(crate) fn begin(layer: &BoundLayer, sources: &[Source], setting: &Setting<'_>) -> Result<Wanted, Error> {
    let making = making(layer, setting);
    let files = making.join("files");
    make_dir(&files)?;
    open_to_all(&making)?;
    open_to_all(&files)?;
    let index = &layer.index;
    let all: Vec<_> = (0..index.entries().len()).collect();
    // A damaged one has every file by its index, and most in fact; what it lacks others may have.
    let own = |source: &&Source| source.is_layer(&layer.stored.row.index_sha256);
    let (own, others): (Vec<_>, Vec<_>) = sources.iter().partition(own);
    take(index, &all, &[own, others], &files, setting)
}

/// Makes the directories of the entries `kept` and takes the files that the host has, those that the first of the `sources` lack
/// from the next; hands back what is left.
pub(crate) fn take(
    index: &Index,
    kept: &[usize],
    sources: &[Vec<&Source>],
    into: &Path,
    setting: &Setting<'_>,
) -> Result<Wanted, Error> {
    let mut wanted = Wanted::default();
    if sources.iter().all(Vec::is_empty) {
        wanted.entries = kept.to_vec();
        return Ok(wanted);
    }
    let mut files = Vec::with_capacity(kept.len());
    for number in kept.iter().copied() {
        match index.entries()[number].kind {
            IndexKind::File { .. } => files.push(number),
            IndexKind::Directory => wanted.directories.push(number),
            IndexKind::Symlink { .. } => wanted.entries.push(number),
        }
    }
    make_directories(&groups(index, kept), into, setting)?;
    for sources in sources {
        let gather = Gather {
            index,
            files: &files,
            sources,
            into,
            reflink: setting.reflink,
            jobs: setting.jobs,
            cancel: setting.cancel,
        };
        files = gather.run()?;
    }
    wanted.entries.extend(files);
    wanted.entries.sort_unstable();
    Ok(wanted)
}

/// The frames that the extraction of what is wanted needs.
pub(crate) fn parts(number: usize, layer: &BoundLayer, wanted: &Wanted) -> Vec<Part> {
    let part = |frame: usize| Part {
        layer: number,
        frame,
        offset: layer.stored.row.offset + layer.index.frames()[frame].offset,
        size: layer.index.frames()[frame].size.into(),
    };
    let frames = frames_of(&layer.index, &wanted.entries);
    frames.into_iter().map(part).collect()
}

/// Extracts what is wanted below `into`, where nothing more comes then.
pub(crate) fn fill(
    number: usize,
    layer: &BoundLayer,
    wanted: &Wanted,
    fetched: &Fetched,
    into: &Path,
    setting: &Setting<'_>,
) -> Result<(), Lack> {
    let options = ExtractOptions {
        jobs: setting.jobs,
        cancel: setting.cancel,
        on_event: &|_| {},
    };
    extract(
        &layer.index,
        &fetched.layer(number),
        &wanted.entries,
        into,
        &options,
    )
    .map_err(Lack::artifact)?;
    Ok(settle_directories(
        &layer.index,
        &wanted.directories,
        into,
        setting,
    )?)
}

/// Gives directories that stand below `into` their modes and times. What comes of one does not touch the others.
fn settle_directories(
    index: &Index,
    directories: &[usize],
    into: &Path,
    setting: &Setting<'_>,
) -> Result<(), Error> {
    let root = root(into)?;
    let pieces: Vec<_> = directories.chunks(TOGETHER).collect();
    parallel(
        setting.jobs,
        setting.cancel,
        &pieces,
        || (),
        |(), piece| {
            piece.iter().try_for_each(|number| {
                let entry = &index.entries()[*number];
                let opened = root.open_at(Some(&entry.path), DIRECTORY);
                let settled = opened.and_then(|on| settle(on.as_fd(), entry));
                settled.map_err(|error| {
                    Error::disk("setting mode and time of", into.join(entry.path.as_path()), error)
                })
            })
        },
    )
}

/// Gives a layer that was made its place, with its index; a damaged one there goes.
pub(crate) fn put_in_place(layer: &BoundLayer, setting: &Setting<'_>) -> Result<(), Error> {
    let made = making(layer, setting);
    let dir = setting.places.layer(&layer.stored.row.index_sha256);
    make_dir(&made.join("used"))?;
    write_whole(&made.join("index"), &layer.stored.index_bytes)?;
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

/// Keeps the index of a layer that stands in its place; of the code's, whose files stand in the release alone, it is all that is kept.
pub(crate) fn keep_index(layer: &StoredLayer, setting: &Setting<'_>) -> Result<(), Error> {
    if layer.index_kept {
        return Ok(());
    }
    let dir = setting.places.layer(&layer.row.index_sha256);
    write_whole(&dir.join("index"), &layer.index_bytes)
}

/// Says in a layer that the release uses it.
pub(crate) fn mark(layer: &StoredLayer, setting: &Setting<'_>) -> Result<(), Error> {
    let dir = setting.places.layer(&layer.row.index_sha256);
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
        let pieces: Vec<_> = level.chunks(TOGETHER).collect();
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
    setting.places.new_dir().join(&layer.stored.row.index_sha256)
}

fn make_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|error| Error::disk("making the directory", path, error))
}
