//! Holds a release's tree against the indexes of its layers.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use shipit_artifact::{EntryPath, Index, IndexEntry, IndexKind, Root, Sha256Writer};

use super::added::added;
use super::{Drift, DriftKind, Verified};
use crate::difference::{
    Bound, DIRECTORY, Group, Places, groups, kept_entries, layer_link, parallel, root, topmost,
};
use crate::error::Error;
use crate::filter::Filter;

/// What all threads share.
struct Compare<'a> {
    places: &'a Places,
    tree: PathBuf,
    root: Root,
    cancel: &'a AtomicBool,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    entries: u64,
    bytes: u64,
    drift: Vec<Drift>,
    shared: BTreeSet<EntryPath>,
}

pub(super) fn compare(
    places: &Places,
    bound: &Bound,
    filter: &Filter,
    jobs: NonZeroUsize,
    cancel: &AtomicBool,
) -> Result<Verified, Error> {
    let tree = places.release_dir(&places.release);
    let compare = Compare {
        places,
        root: root(&tree)?,
        tree,
        cancel,
        found: Mutex::default(),
    };
    let mut known = BTreeSet::new();
    let mut linked: Vec<(EntryPath, PathBuf)> = Vec::new();
    for layer in &bound.layers {
        let kept = kept_entries(&layer.index, filter);
        known.extend(
            kept.iter()
                .map(|number| layer.index.entries()[*number].path.clone()),
        );
        let tops = compare.linked(&layer.index, &layer.stored.row.index_sha256);
        let files = places.layer(&layer.stored.row.index_sha256).join("files");
        let layer_root = if tops.is_empty() {
            None
        } else {
            Some(root(&files)?)
        };
        let groups = groups(&layer.index, &kept);
        parallel(
            jobs,
            cancel,
            &groups,
            || (),
            |(), group| {
                let in_layer = |dir: &EntryPath| tops.iter().any(|top| dir.starts_with(top));
                let from = match (&layer_root, &group.dir) {
                    (Some(layer_root), Some(dir)) if in_layer(dir) => layer_root,
                    _ => &compare.root,
                };
                compare.group(&layer.index, group, from)
            },
        )?;
        linked.extend(tops.into_iter().map(|top| {
            let at = files.join(top.as_path());
            (top, at)
        }));
    }
    let Found {
        entries,
        bytes,
        mut drift,
        shared,
    } = compare.found.into_inner().unwrap_or_else(PoisonError::into_inner);
    drift.sort();
    let added = added(&compare.tree, &known, &shared, &linked)?;
    Ok(Verified {
        release: places.release.clone(),
        path: compare.tree,
        entries,
        bytes,
        drift,
        added,
        shared: shared.iter().map(ToString::to_string).collect(),
    })
}

impl Compare<'_> {
    /// The topmost directories of a layer that are links to it.
    fn linked(&self, index: &Index, index_sha256: &str) -> Vec<EntryPath> {
        let tops = topmost(index).into_iter().map(|number| &index.entries()[number]);
        tops.filter(|entry| entry.kind == IndexKind::Directory)
            .filter(|entry| {
                let target = std::fs::read_link(self.tree.join(entry.path.as_path()));
                target.is_ok_and(|target| {
                    target.as_os_str().as_bytes() == layer_link(index_sha256, &entry.path)
                })
            })
            .map(|entry| entry.path.clone())
            .collect()
    }

    fn group(&self, index: &Index, group: &Group, from: &Root) -> Result<(), Error> {
        let dir = match from.open_at(group.dir.as_ref(), DIRECTORY) {
            Ok(dir) => dir,
            Err(error) => {
                self.without_directory(index, group, &error);
                return Ok(());
            }
        };
        if let Some(own) = group.own {
            let entry = &index.entries()[own];
            let differs = fstat(&dir).map_or(None, |stat| mode(&stat, entry));
            self.count(entry, 0, differs);
        }
        for number in &group.entries {
            if self.cancel.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let entry = &index.entries()[*number];
            if self.is_shared(&entry.path) {
                continue;
            }
            let differs = self.entry(dir.as_fd(), entry).unwrap_or_else(|error| {
                Some(DriftKind::Unreadable {
                    reason: error.to_string(),
                })
            });
            let bytes = if differs.is_none() { entry.size() } else { 0 };
            self.count(entry, bytes, differs);
        }
        Ok(())
    }

    /// The directory is gone, or is none any more, or is a shared path or below one.
    fn without_directory(&self, index: &Index, group: &Group, error: &io::Error) {
        let above = std::iter::successors(group.dir.clone(), EntryPath::parent);
        if above.into_iter().any(|path| self.is_shared(&path)) {
            return;
        }
        let missing = error.kind() == io::ErrorKind::NotFound;
        for number in group.own.iter().chain(&group.entries) {
            let entry = &index.entries()[*number];
            let own = Some(*number) == group.own;
            let found = self.tree.join(entry.path.as_path()).symlink_metadata();
            let kind = match found {
                Ok(meta) if own && !missing => DriftKind::Type {
                    expected: "a directory",
                    found: name(FileType::from_raw_mode(std::os::unix::fs::MetadataExt::mode(
                        &meta,
                    ))),
                },
                _ => DriftKind::Missing,
            };
            self.count(entry, 0, Some(kind));
        }
    }

    /// Whether a link to the same path below `shared` stands there.
    fn is_shared(&self, path: &EntryPath) -> bool {
        let target = std::fs::read_link(self.tree.join(path.as_path()));
        let shared =
            target.is_ok_and(|target| target == self.places.dest.join("shared").join(path.as_path()));
        if shared {
            self.found().shared.insert(path.clone());
        }
        shared
    }

    fn entry(&self, dir: BorrowedFd<'_>, entry: &IndexEntry) -> io::Result<Option<DriftKind>> {
        let file_name = entry.path.file_name();
        let stat = match statat(dir, file_name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(Some(DriftKind::Missing)),
            stat => stat?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        match (&entry.kind, kind) {
            (IndexKind::Symlink { target }, FileType::Symlink) => {
                let found = readlinkat(dir, file_name, Vec::new())?.into_bytes();
                Ok((found != *target).then(|| DriftKind::Target {
                    found: String::from_utf8_lossy(&found).into_owned(),
                }))
            }
            (IndexKind::File { size, .. }, FileType::RegularFile) => {
                if !u64::try_from(stat.st_size).is_ok_and(|found| found == *size) {
                    return Ok(Some(DriftKind::Content));
                }
                let same = entry.content() == Some(&self.digest(dir, file_name)?);
                Ok(if same {
                    mode(&stat, entry)
                } else {
                    Some(DriftKind::Content)
                })
            }
            (expected, found) => Ok(Some(DriftKind::Type {
                expected: match expected {
                    IndexKind::File { .. } => "a file",
                    IndexKind::Symlink { .. } => "a symlink",
                    IndexKind::Directory => "a directory",
                },
                found: name(found),
            })),
        }
    }

    fn digest(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<shipit_artifact::Digest> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let mut file = File::from(openat(dir, name, flags, Mode::empty())?);
        let mut hash = Sha256Writer::new(io::sink());
        io::copy(&mut file, &mut hash)?;
        Ok(hash.finish().1)
    }

    fn count(&self, entry: &IndexEntry, bytes: u64, differs: Option<DriftKind>) {
        let mut found = self.found();
        found.entries += 1;
        found.bytes += bytes;
        if let Some(kind) = differs {
            found.drift.push(Drift {
                path: entry.path.to_string(),
                kind,
            });
        }
    }

    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn mode(stat: &Stat, entry: &IndexEntry) -> Option<DriftKind> {
    let (expected, found) = (u32::from(entry.mode()), stat.st_mode & 0o7777);
    (expected != found).then(|| DriftKind::Mode {
        expected: format!("{expected:04o}"),
        found: format!("{found:04o}"),
    })
}

fn name(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symlink",
        _ => "a special file",
    }
}
