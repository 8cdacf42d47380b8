//! From what was seen to what goes. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::keep::{Reason, StageView, reasons};
use super::look::{Seen, SeenStage};
use super::refer::Records;
use super::{HISTORY_AGE, Kept, PRUNE_AGE, PruneInput, PrunePlan, PrunedRelease, Removal, RemovalKind};
use crate::kick::{Kick, KickId};
use crate::{Meta, Release, ReleaseId};

/// Releases by stage.
pub(super) type Ids = BTreeMap<String, BTreeSet<ReleaseId>>;

/// The releases that stay, of all stages.
pub(super) struct KeptReleases<'a> {
    /// Each with its reasons, which those of stages that are not pruned have none of.
    stays: Vec<(&'a str, &'a Release, BTreeSet<Reason>)>,
    goes: Vec<(&'a str, &'a Release)>,
    /// SHA-256 of the artifacts of live manifests, whatever became of their releases.
    live: BTreeSet<&'a str>,
}

impl KeptReleases<'_> {
    /// SHA-256 of the artifacts that stay.
    pub(super) fn artifacts(&self) -> BTreeSet<&str> {
        let stays = self.stays.iter();
        let stays = stays.map(|(_, release, _)| release.artifact.sha256.as_str());
        stays.chain(self.live.iter().copied()).collect()
    }

    /// What there is to be done about a record that cannot be had: who names it, and how that is mended.
    fn mend(&self, sha256: &str, app: &str) -> String {
        let named = |(_, release, _): &&(&str, &Release, _)| release.artifact.sha256 == sha256;
        let named: Vec<_> = self.stays.iter().filter(named).collect();
        let Some((stage, first, _)) = named.first() else {
            return "a live manifest names it: kick another release of that role".to_owned();
        };
        let all: Vec<String> = named
            .iter()
            .map(|(stage, release, _)| format!("{stage}/{}", release.id))
            .collect();
        let id = &first.id;
        let document = format!("releases/{app}/{stage}/{id}/release.json");
        format!(
            "{} cannot do without: build and publish {} again, which stores it anew, or, when no host is to run it any more, \
             delete {document}{} and prune again",
            all.join(", "),
            first.revision,
            if named.len() > 1 {
                " (and those of the others)"
            } else {
                ""
            }
        )
    }

    /// The releases that go.
    pub(super) fn gone(&self) -> Ids {
        let mut ids = Ids::new();
        for (stage, release) in &self.goes {
            ids.entry((*stage).to_owned())
                .or_default()
                .insert(release.id.clone());
        }
        ids
    }
}

/// Which releases stay, and which go; of `among` alone, where that is given.
pub(super) fn kept<'a>(seen: &'a Seen, input: &PruneInput<'_>, among: Option<&Ids>) -> KeptReleases<'a> {
    let mut kept = KeptReleases {
        stays: Vec::new(),
        goes: Vec::new(),
        live: BTreeSet::new(),
    };
    for (name, stage) in &seen.stages {
        kept.live.extend(stage.live_artifacts.iter().map(String::as_str));
        let keep = input.stages.get(name);
        let mut why = keep.map(|keep| reasons(view(stage, input.locked.contains(name)), *keep, input.now));
        for release in &stage.releases {
            let may_go = among.is_none_or(|among| {
                let ids = among.get(name);
                ids.is_some_and(|ids| ids.contains(&release.id))
            });
            match why.as_mut().map(|why| why.remove(&release.id)) {
                Some(None) if may_go => kept.goes.push((name, release)),
                reasons => {
                    let reasons = reasons.flatten().unwrap_or_default();
                    kept.stays.push((name, release, reasons));
                }
            }
        }
    }
    kept
}

fn view(stage: &SeenStage, locked: bool) -> StageView<'_> {
    StageView {
        releases: &stage.releases,
        live: &stage.live,
        damaged: &stage.damaged,
        kicks: &stage.kicks,
        locked,
    }
}

/// What goes, in order.
pub(super) fn plan(
    seen: &Seen,
    kept: &KeptReleases<'_>,
    records: &Records,
    input: &PruneInput<'_>,
) -> PrunePlan {
    let mut planner = Planner {
        input,
        removals: Vec::new(),
    };
    let gone = kept.gone();
    for (name, stage) in &seen.stages {
        if input.stages.contains_key(name) {
            planner.stage(name, stage, gone.get(name).unwrap_or(&BTreeSet::new()));
        }
    }
    let doubts = planner.bytes(seen, kept, records);
    planner.removals.sort();
    PrunePlan {
        releases: kept.goes.iter().map(|(stage, it)| pruned(stage, it)).collect(),
        kept: kept
            .stays
            .iter()
            .filter(|(stage, ..)| input.stages.contains_key(*stage))
            .map(|(stage, release, why)| Kept {
                release: pruned(stage, release),
                why: why.iter().cloned().collect(),
            })
            .collect(),
        removals: planner.removals,
        doubts,
    }
}

fn pruned(stage: &str, release: &Release) -> PrunedRelease {
    PrunedRelease {
        stage: stage.to_owned(),
        release: release.id.clone(),
        revision: release.revision.clone(),
        time: release.time,
        subject: release.subject.clone(),
    }
}

struct Planner<'a> {
    input: &'a PruneInput<'a>,
    removals: Vec<Removal>,
}

impl Planner<'_> {
    fn goes(&mut self, kind: RemovalKind, meta: &Meta) {
        self.removals.push(Removal {
            kind,
            key: meta.key.clone(),
            bytes: meta.size,
        });
    }

    /// A stage's releases, what cut runs left of others, and the history of kicks.
    fn stage(&mut self, name: &str, stage: &SeenStage, gone: &BTreeSet<ReleaseId>) {
        let prefix = format!("releases/{}/{name}/", self.input.app);
        let complete: BTreeSet<&str> = stage
            .objects
            .iter()
            .filter_map(|meta| meta.key.strip_suffix("/release.json"))
            .collect();
        for meta in &stage.objects {
            let Some((id, file)) = own_part(&meta.key, &prefix) else {
                continue;
            };
            let Ok(id) = ReleaseId::parse(id) else { continue };
            let is_manifest = file.ends_with(".yml");
            if gone.contains(&id) && file == "release.json" {
                self.goes(RemovalKind::Release, meta);
            } else if is_manifest && (gone.contains(&id) || self.is_left(&complete, meta, &prefix, &id)) {
                self.goes(RemovalKind::Manifest, meta);
            }
        }
        self.kicks(name, stage, gone);
    }

    /// Whether an object belongs to no release, and has for a while.
    fn is_left(&self, complete: &BTreeSet<&str>, meta: &Meta, prefix: &str, id: &ReleaseId) -> bool {
        let release = format!("{prefix}{id}");
        !complete.contains(release.as_str()) && !young(meta, self.input.now)
    }

    /// Old kicks of releases that are gone; each role's last one stays.
    fn kicks(&mut self, name: &str, stage: &SeenStage, gone: &BTreeSet<ReleaseId>) {
        let there: BTreeSet<&str> = stage
            .releases
            .iter()
            .filter(|release| !gone.contains(&release.id))
            .map(|release| release.id.as_str())
            .collect();
        let mut roles = BTreeSet::new();
        let mut stays: BTreeMap<&str, bool> = BTreeMap::new();
        for kick in &stage.kicks {
            let Kick { started, .. } = kick;
            let last = roles.insert(started.role.as_str());
            let needed = last || there.contains(started.release.as_str());
            stays.insert(started.kick.as_str(), needed);
        }
        let prefix = format!("kicks/{}/{name}/", self.input.app);
        let started: BTreeSet<&str> = stage
            .kick_objects
            .iter()
            .filter_map(|meta| meta.key.strip_prefix(&prefix)?.strip_suffix("/started.json"))
            .collect();
        for meta in &stage.kick_objects {
            let Some((text, _)) = own_part(&meta.key, &prefix) else {
                continue;
            };
            let Ok(kick) = KickId::parse(text) else { continue };
            // One that began and is not among the kicks cannot be read: it is left to people.
            let known = stays.get(text).copied().unwrap_or(started.contains(text));
            if !known && kick.time() < self.input.now - HISTORY_AGE {
                self.goes(RemovalKind::Kick, meta);
            }
        }
    }

    /// Artifacts, records, indexes and layers that nothing refers to. Gives what could not be told.
    fn bytes(&mut self, seen: &Seen, kept: &KeptReleases<'_>, records: &Records) -> Vec<String> {
        let mut doubts = seen.unreadable.clone();
        doubts.extend(seen.damaged());
        if !doubts.is_empty() {
            return doubts;
        }
        let artifacts = kept.artifacts();
        for meta in &seen.artifacts {
            let Some((sha256, kind)) = artifact_of(&meta.key, self.input.app) else {
                continue;
            };
            if !artifacts.contains(sha256) && !young(meta, self.input.now) {
                self.goes(kind, meta);
            }
        }
        let mut named = Vec::new();
        for sha256 in artifacts {
            match records.artifacts.get(sha256) {
                Some(Ok(record)) => named.push(record),
                Some(Err(why)) => doubts.push(format!("{why}; {}", kept.mend(sha256, self.input.app))),
                None => doubts.push(format!("the record of {sha256} was not read")),
            }
        }
        if !doubts.is_empty() {
            return doubts;
        }
        let mut indexes: BTreeSet<&str> = named
            .iter()
            .flat_map(|it| &it.indexes)
            .map(String::as_str)
            .collect();
        let layers: BTreeSet<&str> = named
            .iter()
            .flat_map(|it| &it.layers)
            .map(String::as_str)
            .collect();
        let left = self.layers(seen, &layers);
        for key in left {
            match records.layers.get(key) {
                Some(Ok(index)) => drop(indexes.insert(index)),
                Some(Err(why)) => doubts.push(why.clone()),
                // Without its document it is no layer, and refers to nothing.
                None => {}
            }
        }
        if doubts.is_empty() {
            self.indexes(seen, &indexes);
        }
        doubts
    }

    /// Gives the layers that stay.
    fn layers<'s>(&mut self, seen: &'s Seen, referred: &BTreeSet<&str>) -> BTreeSet<&'s str> {
        let app = self.input.app;
        let mut stays: BTreeMap<&str, bool> = BTreeMap::new();
        for meta in &seen.layers {
            if let Some(key) = layer_of(&meta.key, app) {
                let stay = referred.contains(key) || young(meta, self.input.now);
                *stays.entry(key).or_default() |= stay;
            }
        }
        for meta in &seen.layers {
            let Some(key) = layer_of(&meta.key, app) else {
                continue;
            };
            if stays.get(key) == Some(&false) {
                let is_about = meta.key.ends_with("/layer.json");
                let kind = if is_about {
                    RemovalKind::Layer
                } else {
                    RemovalKind::Frames
                };
                self.goes(kind, meta);
            }
        }
        stays
            .into_iter()
            .filter(|(_, stays)| *stays)
            .map(|(key, _)| key)
            .collect()
    }

    fn indexes(&mut self, seen: &Seen, referred: &BTreeSet<&str>) {
        let prefix = format!("indexes/{}/", self.input.app);
        for meta in &seen.indexes {
            let sha256 = meta.key.strip_prefix(&prefix).filter(|name| is_digest(name));
            let goes = sha256.is_some_and(|sha256| !referred.contains(sha256));
            if goes && !young(meta, self.input.now) {
                self.goes(RemovalKind::Index, meta);
            }
        }
    }
}

/// Whether an object may belong to something that is being done elsewhere.
pub(super) fn young(meta: &Meta, now: i64) -> bool {
    meta.modified > now - PRUNE_AGE
}

/// `<id>` and `<file>` of a key `<prefix><id>/<file>`.
fn own_part<'k>(key: &'k str, prefix: &str) -> Option<(&'k str, &'k str)> {
    let (id, file) = key.strip_prefix(prefix)?.split_once('/')?;
    (!file.contains('/')).then_some((id, file))
}

/// The SHA-256 in an artifact's or a record's key; nothing of what is neither.
fn artifact_of<'k>(key: &'k str, app: &str) -> Option<(&'k str, RemovalKind)> {
    let name = key.strip_prefix(&format!("artifacts/{app}/"))?;
    let (sha256, extension) = name.split_once('.')?;
    let kind = match extension {
        "tar.zst" | "tar.gz" => RemovalKind::Artifact,
        "json" => RemovalKind::Record,
        _ => return None,
    };
    is_digest(sha256).then_some((sha256, kind))
}

/// The layer key in the key of a shared layer's object; nothing of what is none.
pub(super) fn layer_of<'k>(key: &'k str, app: &str) -> Option<&'k str> {
    let (layer, file) = own_part(key, &format!("layers/{app}/"))?;
    let frames = file.strip_suffix(".frames");
    (file == "layer.json" || frames.is_some_and(is_digest)).then_some(layer)
}

fn is_digest(text: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == 64 && text.bytes().all(hex)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
