//! Applies a release by its difference from what the host has: layers that it holds are not fetched, of a changed layer only the
//! frames with new files.
//!
//! For shipit's own manifests with `layout = "releases"`. All of it happens beside what is in service, in `.layers/.new`, and
//! before `pre`: the record is found (`find`, `others`, `bound`), each layer on the host is looked at (`look`, `lookers`, `check`) while files of the
//! code that the host has are taken (`gather`, `take`), the frames of the others fetched (`fetch`) and extracted, layers renamed into their
//! places (`layer`), and the tree put together (`assemble`). What is missing or wrong is a [`Lack`], and the whole
//! artifact is fetched instead.
//!
//! Not done here: the manifest's commands, the switch, the fallback itself.

mod assemble;
mod bound;
mod check;
mod fetch;
mod find;
mod finish;
mod gate;
mod gather;
mod hand;
mod known;
mod lack;
mod layer;
mod look;
mod lookers;
mod others;
mod places;
mod prune;
mod take;
mod write_out;

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use shipit_artifact::{Limits, RecordLayer};
use shipit_manifest::{Layout, Link, Manifest};
use shipit_store::{ArtifactUrl, FetchRetry, Fetcher};

pub(crate) use assemble::{kept as kept_entries, target as layer_link, topmost};
pub(crate) use bound::{Bound, Found, kept as kept_bound};
use bound::{FoundCode, StoredLayer};
pub(crate) use fetch::{FetchRequest, Part, fetch};
pub(crate) use gate::Gate;
pub(crate) use hand::{DIRECTORY, Group, groups, parallel, root};
pub(crate) use lack::Lack;
pub(crate) use places::{Places, write_whole};
pub(crate) use prune::prune;

use crate::error::Error;
use crate::event::Event;
use crate::filter::Filter;
use crate::log::Recorder;
use crate::plan::{Strategy, Whole, rules};
use layer::{Held, Wanted};
use others::Others;
pub(crate) use others::others;
use write_out::Writing;

/// A release that can be applied by difference, as far as its manifest tells.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) places: Places,
    url: ArtifactUrl,
    artifact_sha256: String,
    record_sha256: String,
    link: Link,
    filter: Filter,
    excludes: Vec<String>,
    dest_mode: u32,
}

/// The places of a manifest of shipit's own with releases, whose dest is where the release waits.
pub(crate) fn of_releases(manifest: &Manifest, whole: &Whole) -> Option<Places> {
    let named_so = |release: &str| whole.dest.file_name().and_then(|name| name.to_str()) == Some(release);
    places_of(manifest).filter(|places| whole.incoming && named_so(&places.release))
}

/// The places of a manifest of shipit's own with releases.
pub(crate) fn places_of(manifest: &Manifest) -> Option<Places> {
    let binding = manifest.shipit.as_ref()?;
    let dest = PathBuf::from(binding.dest.as_deref()?);
    (binding.layout == Layout::Releases && dest.is_absolute()).then(|| Places {
        dest,
        release: binding.release.clone(),
    })
}

/// What the blocking parts share.
pub(crate) struct Setting<'a> {
    pub(crate) places: &'a Places,
    pub(crate) jobs: NonZeroUsize,
    pub(crate) cancel: &'a AtomicBool,
    /// Files of `.layers` can share blocks with others.
    pub(crate) reflink: bool,
}

/// What the host lends to the blocking parts.
pub(crate) struct Means<'a> {
    pub(crate) jobs: NonZeroUsize,
    pub(crate) cancel: &'a AtomicBool,
    pub(crate) recorder: &'a Recorder,
}

/// A release whose code is at hand as far as the host has it.
#[derive(Debug)]
pub(crate) struct Begun {
    found: FoundCode,
    /// What is left to be done of the code.
    wanted: Wanted,
    reflink: bool,
    /// Of what stands in the tree already.
    writing: Option<Writing>,
}

/// What of the release is at hand, and what is not.
#[derive(Debug)]
pub(crate) struct Gathered {
    bound: Bound<Held>,
    /// What is left to be done of the code.
    code: Wanted,
    /// The frames to be fetched, by offset.
    pub(crate) parts: Vec<Part>,
    /// How many layers of all, the code's included, the host did not have.
    pub(crate) layers_new: usize,
    reflink: bool,
    /// Of what stands in the tree already.
    writing: Option<Writing>,
}

/// A release whose tree waits at [`Places::tree`].
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) record_bytes: Vec<u8>,
    pub(crate) artifact_bytes: u64,
    /// The artifact, its record and its indexes.
    pub(crate) total_bytes: u64,
    pub(crate) fetched_bytes: u64,
    pub(crate) layers_new: usize,
    pub(crate) layers: usize,
    pub(crate) entries: u64,
}

impl Difference {
    /// What stands in the way, as far as the manifest tells, is the error.
    pub(crate) fn of(manifest: &Manifest, whole: &Whole, places: Places) -> Result<Self, Lack> {
        let binding = manifest.shipit.as_ref();
        let record_sha256 = binding.and_then(|binding| binding.record_sha256.as_deref());
        let link = binding.map(|binding| binding.link).unwrap_or_default();
        let Strategy::Rsync {
            excludes,
            exclude_from: None,
        } = &whole.strategy
        else {
            return Err(Lack::whole("the manifest names exclude_from or sync_strategy"));
        };
        let record_sha256 = record_sha256.ok_or_else(|| Lack::whole("the manifest binds no record"))?;
        let url = ArtifactUrl::parse(&whole.src).ok_or_else(|| {
            Lack::whole("beside src nothing can be found: it is not the URL of an artifact in a store")
        })?;
        if url.sha256() != whole.expected {
            return Err(Lack::whole("src and checksum name different artifacts"));
        }
        Ok(Self {
            artifact_sha256: whole.expected.clone(),
            places,
            url,
            record_sha256: record_sha256.to_owned(),
            link,
            filter: rules(Filter::default(), excludes)?,
            excludes: excludes.clone(),
            dest_mode: whole.dest_mode,
        })
    }

    /// Finds the record and the code's index.
    pub(crate) async fn find(
        &self,
        fetcher: &Fetcher,
        retry: FetchRetry,
        limits: Limits,
    ) -> Result<Found, Lack> {
        let wanted = find::Wanted {
            url: &self.url,
            artifact_sha256: &self.artifact_sha256,
            record_sha256: &self.record_sha256,
            limits,
            retry,
        };
        find::find(&wanted, &self.places, fetcher).await
    }

    /// Fetches a layer's index.
    pub(crate) async fn index(
        &self,
        row: &RecordLayer,
        fetcher: &Fetcher,
        retry: FetchRetry,
    ) -> Result<StoredLayer, Lack> {
        find::fetch(row, &self.url, retry, fetcher).await
    }

    /// Finds and reads the record and all indexes.
    pub(crate) async fn find_all(
        &self,
        fetcher: &Fetcher,
        retry: FetchRetry,
        limits: Limits,
    ) -> Result<Bound, Lack> {
        let found = self.find(fetcher, retry, limits).await?;
        let fetch = async |row: &RecordLayer| self.index(row, fetcher, retry).await;
        let others = others(found.others(), &self.places, fetch, StoredLayer::read).await?;
        Ok(found.read()?.with(others, |code| code))
    }

    /// Takes what releases have of the code, and makes everything ready for the other layers, which need not be known yet. The caller
    /// holds dest's lock.
    pub(crate) fn begin(&self, found: Found, means: &Means<'_>) -> Result<Begun, Lack> {
        self.places.prepare()?;
        let reflink = take::can_reflink(&self.places.new_dir());
        let setting = self.setting(means, reflink);
        let tree = self.places.tree();
        fs::create_dir(&tree).map_err(|error| Error::disk("making the directory", &tree, error))?;
        let found = found.read()?;
        let releases = gather::releases(&self.places);
        let wanted = self.gather_code(&found, &releases, &setting)?;
        // Without a release to take from, nothing stands in the tree that could be on its way to the disk meanwhile. To begin
        // sooner takes longer: what makes files then waits for what writes them.
        let takes = !releases.is_empty();
        let writing = takes.then(|| Writing::begin(&tree)).transpose()?;
        Ok(Begun {
            found,
            wanted,
            reflink,
            writing,
        })
    }

    /// Takes what the host has of the `others`, and tells which frames it lacks.
    pub(crate) fn gather(
        &self,
        begun: Begun,
        others: Others<Held>,
        means: &Means<'_>,
    ) -> Result<Gathered, Lack> {
        let Begun {
            found,
            wanted: code,
            reflink,
            writing,
        } = begun;
        let bound = found.with(others, Held::There);
        let bound = self.gather_layers(bound, &self.setting(means, reflink))?;
        let (mut parts, mut layers_new) = (Vec::new(), 0);
        for (number, held) in bound.layers.iter().enumerate() {
            match held {
                Held::Making(layer, wanted) => {
                    layers_new += 1;
                    parts.extend(layer::parts(number, layer, wanted));
                }
                Held::There(layer) if layer.stored.is_code() => {
                    let known = self.places.layer(&layer.stored.row.index_sha256).exists();
                    layers_new += usize::from(!known);
                    parts.extend(layer::parts(number, layer, &code));
                }
                Held::There(_) | Held::Linked(..) => {}
            }
        }
        Ok(Gathered {
            bound,
            code,
            parts,
            layers_new,
            reflink,
            writing,
        })
    }

    fn setting<'s>(&'s self, means: &Means<'s>, reflink: bool) -> Setting<'s> {
        Setting {
            places: &self.places,
            jobs: means.jobs,
            cancel: means.cancel,
            reflink,
        }
    }

    /// Takes what releases have of the code into the tree, and tells what is left.
    fn gather_code(
        &self,
        found: &FoundCode,
        releases: &[gather::Source],
        setting: &Setting<'_>,
    ) -> Result<Wanted, Lack> {
        let tree = self.places.tree();
        let index = &found.code.index;
        let kept = assemble::kept(index, &self.filter);
        let mut code = layer::take(index, &kept, &[releases.iter().collect()], &tree, setting)?;
        known::write(index, &found.record.revision, &mut code.entries, &tree)?;
        Ok(code)
    }

    /// Takes what the host has of the layers that are not there.
    fn gather_layers(&self, mut bound: Bound<Held>, setting: &Setting<'_>) -> Result<Bound<Held>, Lack> {
        // Of one that stays stored the files are there already.
        bound.limit(bound.layers.iter().filter_map(|held| match held {
            Held::There(layer) | Held::Making(layer, _) => Some(layer),
            Held::Linked(..) => None,
        }))?;
        // Looked for once, and only when a layer is new.
        let mut sources = None;
        for held in &mut bound.layers {
            if let Held::Making(layer, wanted) = held {
                let sources = sources.get_or_insert_with(|| {
                    let mut all = gather::layers(&self.places);
                    all.extend(gather::releases(&self.places));
                    all
                });
                *wanted = layer::begin(layer, sources, setting)?;
            }
        }
        Ok(bound)
    }
}

impl Gathered {
    /// What is about to happen.
    pub(crate) fn event(&self) -> Event {
        Event::LayersFound {
            new: self.layers_new as u64,
            total: self.bound.layers.len() as u64,
            fetch_bytes: self.parts.iter().map(|part| part.size).sum(),
            artifact_bytes: self.bound.record.size,
        }
    }
}
