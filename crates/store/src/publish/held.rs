//! Which bytes of an artifact the store holds already: those of layers and frames with the same digest, in earlier artifacts of
//! the app or in shared layers, at whatever offset. A few documents are read for it, never an artifact.
//!
//! What is found is a claim. That the copied bytes are the right ones is compared when the artifact is made of them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use shipit_artifact::{Digest, Index, LayerKind, Record, RecordLayer};
use tokio::task::JoinSet;

use super::Run;
use super::check::LARGEST_RECORD;
use crate::shared::{LARGEST_ABOUT, LARGEST_INDEX, SharedLayer};
use crate::{Error, Event, Held, Release, ReleaseId, Store, layout, release, retry};

/// How many releases of the stage are looked at.
const NEWEST: usize = 3;

/// How many other stages are looked at when this one has no release yet.
const STAGES: usize = 32;

/// Smaller layers' indexes are not read: no part could be copied.
const WORTH_AN_INDEX: u64 = 5 << 20;

/// An earlier artifact.
struct Earlier {
    key: String,
    record: Record,
}

impl Run<'_> {
    /// The runs of the artifact's bytes that can be copied. None when it is there already, and when looking for them fails,
    /// which is said.
    pub(super) async fn held(&self) -> Vec<Held> {
        let mut held = Vec::new();
        if let Err(error) = self.look(&mut held).await {
            self.input.store.on_event().emit(Event::NotCopied {
                key: self.artifact_key.clone(),
                why: retry::reason(&error),
            });
            held.clear();
        }
        held
    }

    async fn look(&self, held: &mut Vec<Held>) -> Result<(), Error> {
        if self.input.store.head(&self.artifact_key).await?.is_some() {
            return Ok(());
        }
        let earlier = self.earlier().await?;
        let mut missing = Vec::new();
        for (number, row) in self.input.artifact.record.layers.iter().enumerate() {
            match whole(&earlier, row) {
                Some(run) => held.push(run),
                None => missing.push(number),
            }
        }
        for number in missing {
            match self.in_shared(number).await? {
                Some(run) => held.push(run),
                None => held.extend(self.in_frames(number, &earlier).await?),
            }
        }
        Ok(())
    }

    /// The newest artifacts of the stage, or of the other stages when it has none, newest first.
    async fn earlier(&self) -> Result<Vec<Earlier>, Error> {
        let (store, app, stage) = (self.input.store, self.input.app, self.input.stage);
        let mut releases = release::releases(store, app, stage, Some(NEWEST)).await?;
        if releases.is_empty() {
            releases = newest_of_stages(store, app).await?;
        }
        let mut found: Vec<Earlier> = Vec::new();
        for release in releases {
            let known = found
                .iter()
                .any(|known| known.record.sha256 == release.artifact.sha256);
            if !known && let Some(earlier) = earlier(store, app, &release).await? {
                found.push(earlier);
            }
        }
        Ok(found)
    }

    /// A whole layer in its shared form.
    async fn in_shared(&self, number: usize) -> Result<Option<Held>, Error> {
        let (store, app) = (self.input.store, self.input.app);
        let row = &self.input.artifact.record.layers[number];
        let Some(layer) = row.key.as_deref().filter(|_| self.input.shared) else {
            return Ok(None);
        };
        let key = layout::shared_layer_key(app, layer)?;
        let refused = |why| {
            let url = store.url_of(&key);
            store.on_event().emit(Event::LayerRefused { url, why });
        };
        let about = match store.get_bytes(&key, LARGEST_ABOUT).await {
            Ok(stored) => SharedLayer::parse(&stored.bytes, layer),
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(Error::Corrupt { why, .. }) => Err(why),
            Err(error) => return Err(error),
        };
        match about {
            Ok(about) if (about.sha256.as_str(), about.size) == (row.sha256.as_str(), row.size) => {
                Ok(Some(Held {
                    key: layout::shared_frames_key(app, layer, &row.sha256)?,
                    from: 0,
                    at: at(row),
                }))
            }
            Ok(_) => {
                store.on_event().emit(Event::LayerDiffers {
                    layer: row.name.clone(),
                    url: store.url_of(&key),
                });
                Ok(None)
            }
            Err(why) => {
                refused(why);
                Ok(None)
            }
        }
    }

    /// The frames of a layer that an earlier artifact holds, by the indexes.
    async fn in_frames(&self, number: usize, earlier: &[Earlier]) -> Result<Vec<Held>, Error> {
        let artifact = self.input.artifact;
        let row = &artifact.record.layers[number];
        if row.size < WORTH_AN_INDEX {
            return Ok(Vec::new());
        }
        let path = &artifact.indexes[number];
        let own = tokio::fs::read(path)
            .await
            .map_err(|source| Error::io("read", path, source))?;
        let Some(own) = parsed(own.into()).await? else {
            return Ok(Vec::new());
        };
        let mut best = Vec::new();
        for earlier in earlier {
            let Some(old) = counterpart(&artifact.record, row, &earlier.record) else {
                continue;
            };
            let Some(index) = self.index(old).await? else {
                continue;
            };
            let found = same_frames(&own, row, &index, old, &earlier.key);
            if bytes_of(&found) > bytes_of(&best) {
                best = found;
            }
            // An older one hardly holds more.
            if bytes_of(&best) > row.size / 2 {
                break;
            }
        }
        Ok(best)
    }

    /// The index of a stored layer; nothing when it is gone or not what it should be.
    async fn index(&self, row: &RecordLayer) -> Result<Option<Index>, Error> {
        let key = layout::index_key(self.input.app, &row.index_sha256)?;
        match self.input.store.get_bytes(&key, LARGEST_INDEX).await {
            Ok(stored) if shipit_artifact::sha256(&stored.bytes).to_string() == row.index_sha256 => {
                parsed(stored.bytes).await
            }
            Ok(_) | Err(Error::NotFound { .. } | Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// A layer of the artifact that an earlier one has as a whole.
fn whole(earlier: &[Earlier], row: &RecordLayer) -> Option<Held> {
    earlier.iter().find_map(|earlier| {
        let same = |old: &&RecordLayer| old.sha256 == row.sha256 && old.size == row.size;
        let old = earlier.record.layers.iter().find(same)?;
        Some(Held {
            key: earlier.key.clone(),
            from: old.offset,
            at: at(row),
        })
    })
}

/// The earlier layer that may have some of the frames: that of the same step, or of the same commit's code. The code of
/// another commit has other times, and so no frame of it is the same.
fn counterpart<'a>(record: &Record, row: &RecordLayer, old: &'a Record) -> Option<&'a RecordLayer> {
    let may = |found: &&RecordLayer| {
        let code = row.kind == LayerKind::Code && old.revision == record.revision;
        found.kind == row.kind && (code || (row.kind != LayerKind::Code && found.name == row.name))
    };
    if record.compression != old.compression {
        return None;
    }
    old.layers.iter().find(may)
}

fn same_frames(own: &Index, row: &RecordLayer, old: &Index, old_row: &RecordLayer, key: &str) -> Vec<Held> {
    let places: HashMap<&Digest, (u64, u32)> = old
        .frames()
        .iter()
        .map(|frame| (&frame.sha256, (frame.offset, frame.size)))
        .collect();
    let runs = own.frames().iter().filter_map(|frame| {
        let (offset, size) = places.get(&frame.sha256)?;
        let begin = row.offset + frame.offset;
        (*size == frame.size).then(|| Held {
            key: key.to_owned(),
            from: old_row.offset + offset,
            at: begin..begin + u64::from(frame.size),
        })
    });
    runs.collect()
}

fn bytes_of(held: &[Held]) -> u64 {
    held.iter().map(|run| run.at.end - run.at.start).sum()
}

fn at(row: &RecordLayer) -> Range<u64> {
    row.offset..row.offset + row.size
}

async fn parsed(stored: bytes::Bytes) -> Result<Option<Index>, Error> {
    let parsed = tokio::task::spawn_blocking(move || Index::parse(&stored).ok()).await;
    parsed.map_err(|source| Error::Task { source })
}

/// A release's artifact; nothing when its record is gone or not the one that the release names.
async fn earlier(store: &Store, app: &str, release: &Release) -> Result<Option<Earlier>, Error> {
    let sha256 = &release.artifact.sha256;
    let Ok(key) = layout::record_key(app, sha256) else {
        return Ok(None);
    };
    let stored = match store.get_bytes(&key, LARGEST_RECORD).await {
        Ok(stored) => stored.bytes,
        Err(Error::NotFound { .. } | Error::Corrupt { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    if shipit_artifact::sha256(&stored).to_string() != release.artifact.record_sha256 {
        return Ok(None);
    }
    let Some(record) = Record::parse(&stored)
        .ok()
        .filter(|record| record.sha256 == *sha256)
    else {
        return Ok(None);
    };
    Ok(Some(Earlier {
        key: layout::artifact_key(app, sha256, record.compression.extension())?,
        record,
    }))
}

/// The newest releases of the app in any stage.
async fn newest_of_stages(store: &Store, app: &str) -> Result<Vec<Release>, Error> {
    let stages = store.list_children(&layout::stages_prefix(app)?).await?;
    let mut newest: BTreeMap<ReleaseId, String> = BTreeMap::new();
    let stages: Vec<_> = stages.into_iter().take(STAGES).collect();
    for some in stages.chunks(store.at_once()) {
        let mut looking = JoinSet::new();
        for stage in some {
            let (store, app, stage) = (store.clone(), app.to_owned(), stage.clone());
            looking.spawn(async move {
                let ids = release::ids(&store, &app, &stage).await?;
                Ok::<_, Error>(ids.into_iter().next().map(|id| (id, stage)))
            });
        }
        while let Some(found) = looking.join_next().await {
            newest.extend(found.map_err(|source| Error::Task { source })??);
        }
    }
    let mut releases = Vec::new();
    for stage in newest.into_values().rev().take(NEWEST) {
        releases.extend(release::releases(store, app, &stage, Some(1)).await?);
    }
    Ok(releases)
}
