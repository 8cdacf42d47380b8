//! Takes the files of one layer from what the host has: other layers, by hard link, and releases, by a copy whose
//! content is checked.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, OnceLock};

use shipit_artifact::{Digest, EntryPath, Index, IndexEntry, LayerKind, Record, Root, StoredIndex, sha256};

use super::hand::{Hand, groups, parallel, root};
use super::places::{Places, is_digest, is_real_dir};
use super::take::{AtHand, Modes, Ways, copy_checked, put, stat, untouched};
use crate::error::Error;

/// So many layers are looked through at most, the newest first.
const MOST_LAYERS: usize = 128;

/// A tree on the host that may hold wanted files.
pub(crate) struct Source {
    root: Root,
    /// Where it stands what the tree holds, where that is known.
    index: Option<IndexFile>,
    /// A layer, which nobody but us writes to: taken by stat and hard link.
    layer: bool,
}

/// An index on the host. It is read when it is needed, and not held: there may be as many as there are layers.
struct IndexFile {
    path: PathBuf,
    /// It counts only when it has this digest.
    sha256: Option<String>,
}

impl Source {
    /// Whether it is the layer of this index.
    pub(crate) fn is_layer(&self, index_sha256: &str) -> bool {
        let named = self.index.as_ref().and_then(|index| index.sha256.as_deref());
        self.layer && named == Some(index_sha256)
    }
}

impl IndexFile {
    fn read(&self) -> Option<StoredIndex> {
        let bytes = fs::read(&self.path).ok()?;
        let named = self.sha256.as_ref();
        named
            .is_none_or(|named| sha256(&bytes).to_string() == *named)
            .then(|| StoredIndex::unpack(&bytes).ok())
            .flatten()
    }
}

/// Where a wanted file may be had.
struct Candidate {
    source: usize,
    path: EntryPath,
}

/// The layers on the host, the newest first.
pub(crate) fn layers(places: &Places) -> Vec<Source> {
    let made = |name: &String| {
        let meta = places.layer(name).join("index").symlink_metadata();
        meta.and_then(|meta| meta.modified()).ok()
    };
    let mut names: Vec<_> = fs::read_dir(places.layers())
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_digest(name) && is_real_dir(&places.layer(name).join("files")))
        .map(|name| (Reverse(made(&name)), name))
        .collect();
    names.sort();
    let source = |(_, name): (_, String)| {
        let dir = places.layer(&name);
        Some(Source {
            root: Root::open(&dir.join("files")).ok()?,
            index: Some(IndexFile {
                path: dir.join("index"),
                sha256: Some(name),
            }),
            layer: true,
        })
    };
    names.into_iter().take(MOST_LAYERS).filter_map(source).collect()
}

/// The release in service, and what a killed apply of this one left in its place; with the index of their code where it
/// was kept.
pub(crate) fn releases(places: &Places) -> Vec<Source> {
    let mut names: Vec<_> = places.in_service().into_iter().collect();
    if !names.contains(&places.release) {
        names.push(places.release.clone());
    }
    let source = |name: &String| {
        let dir = places.release_dir(name);
        let root = is_real_dir(&dir).then(|| Root::open(&dir).ok()).flatten()?;
        Some(Source {
            root,
            index: code_index(places, name),
            layer: false,
        })
    };
    names.iter().filter_map(source).collect()
}

/// The index of a release's code. What it says is only a guess at what stands there, so nothing need be proved of it.
fn code_index(places: &Places, release: &str) -> Option<IndexFile> {
    let record = Record::parse(&fs::read(places.record(release)).ok()?).ok()?;
    let code = record.layers.iter().find(|row| row.kind == LayerKind::Code)?;
    Some(IndexFile {
        path: places.layer(&code.index_sha256).join("index"),
        sha256: None,
    })
}

/// One thread's hands on the sources and on the tree.
struct Hands<'h> {
    sources: Vec<Hand<'h>>,
    into: Hand<'h>,
    at_hand: AtHand,
}

/// What is taken, and into which tree.
pub(crate) struct Gather<'a> {
    pub(crate) index: &'a Index,
    /// The files, by number.
    pub(crate) files: &'a [usize],
    pub(crate) sources: &'a [&'a Source],
    /// Holds the files' directories already.
    pub(crate) into: &'a Path,
    pub(crate) reflink: bool,
    pub(crate) jobs: NonZeroUsize,
    pub(crate) cancel: &'a AtomicBool,
}

impl Gather<'_> {
    /// Takes what can be taken; hands back the numbers of the files that were not to be had.
    pub(crate) fn run(&self) -> Result<Vec<usize>, Error> {
        if self.sources.is_empty() || self.files.is_empty() {
            return Ok(self.files.to_vec());
        }
        let candidates = OnceLock::new();
        let into = root(self.into)?;
        let lacking = Mutex::new(Vec::new());
        let groups = groups(self.index, self.files);
        parallel(
            self.jobs,
            self.cancel,
            &groups,
            || Hands {
                sources: self
                    .sources
                    .iter()
                    .map(|source| Hand::new(&source.root))
                    .collect(),
                into: Hand::new(&into),
                at_hand: AtHand::default(),
            },
            |hands, group| {
                // Another directory may have other rules.
                hands.at_hand.modes = Modes::default();
                for number in &group.entries {
                    let entry = &self.index.entries()[*number];
                    if self.take(entry, &candidates, hands)? {
                        continue;
                    }
                    if let Ok(mut lacking) = lacking.lock() {
                        lacking.push(*number);
                    }
                }
                Ok(())
            },
        )?;
        let mut lacking = lacking.into_inner().unwrap_or_default();
        lacking.sort_unstable();
        Ok(lacking)
    }

    /// Where the wanted files may be had. One index after the other, until each has a place.
    fn candidates(&self) -> HashMap<Digest, Vec<Candidate>> {
        let wanted: HashSet<_> = self
            .files
            .iter()
            .filter_map(|number| self.index.entries()[*number].content().copied())
            .collect();
        let mut found: HashMap<Digest, Vec<Candidate>> = HashMap::with_capacity(wanted.len());
        for (source, of) in self.sources.iter().enumerate() {
            if found.len() == wanted.len() {
                break;
            }
            let Some(index) = of.index.as_ref().and_then(IndexFile::read) else {
                continue;
            };
            let rows = index.rows().into_iter().flat_map(|(_, rows)| rows);
            for row in rows.map_while(Result::ok) {
                let Some(digest) = row.content.filter(|digest| wanted.contains(digest)) else {
                    continue;
                };
                let places = found.entry(digest).or_default();
                // One from each source will do.
                if places.last().is_none_or(|last| last.source != source)
                    && let Ok(path) = EntryPath::new(row.path)
                {
                    places.push(Candidate { source, path });
                }
            }
        }
        found
    }

    fn take(
        &self,
        entry: &IndexEntry,
        candidates: &OnceLock<HashMap<Digest, Vec<Candidate>>>,
        hands: &mut Hands<'_>,
    ) -> Result<bool, Error> {
        // What a release has at the same path is likely the same, whoever put it there: where most of it is, no index has to be
        // read. What a layer has comes at less, so that is looked for before.
        let by_path_first = self.sources.iter().all(|source| !source.layer);
        if by_path_first && self.take_same_path(entry, hands)? {
            return Ok(true);
        }
        let candidates = candidates.get_or_init(|| self.candidates());
        let known = entry.content().and_then(|digest| candidates.get(digest));
        for candidate in known.into_iter().flatten() {
            // One at its own path is tried with the other releases' before or behind this.
            let of_release = !self.sources[candidate.source].layer;
            let same_path = of_release && candidate.path == entry.path;
            if !same_path && self.from(entry, candidate.source, &candidate.path, hands)? {
                return Ok(true);
            }
        }
        Ok(!by_path_first && self.take_same_path(entry, hands)?)
    }

    /// Takes what a release has at the entry's own path.
    fn take_same_path(&self, entry: &IndexEntry, hands: &mut Hands<'_>) -> Result<bool, Error> {
        for source in 0..self.sources.len() {
            if !self.sources[source].layer && self.from(entry, source, &entry.path, hands)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn from(
        &self,
        entry: &IndexEntry,
        source: usize,
        path: &EntryPath,
        hands: &mut Hands<'_>,
    ) -> Result<bool, Error> {
        let Ok(from) = hands.sources[source].parent(path) else {
            return Ok(false);
        };
        let to = hands.into.parent(&entry.path);
        let failed =
            |error: io::Error| Error::disk("putting in place", self.into.join(entry.path.as_path()), error);
        let to = to.map_err(failed)?;
        if !self.sources[source].layer {
            let at_hand = &mut hands.at_hand;
            return copy_checked(from, path.file_name(), to, entry, self.reflink, at_hand).map_err(failed);
        }
        let uid = rustix::process::geteuid().as_raw();
        let fits = stat(from, path.file_name()).is_ok_and(|stat| untouched(&stat, entry, uid));
        if !fits {
            return Ok(false);
        }
        let ways = Ways {
            reflink: false,
            hard: true,
        };
        put(from, path.file_name(), to, entry, ways).map_err(failed)?;
        Ok(true)
    }
}
