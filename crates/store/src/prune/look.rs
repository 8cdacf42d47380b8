//! What lies in the store: every stage's releases, what is live, the history of kicks, and the bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::PruneInput;
use crate::kick::{self, Kick};
use crate::live::{self, Damaged, Pointer};
use crate::{Error, ErrorKind, Meta, Release, ReleaseId, Store, layout, release, retry};

/// What was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Every stage of the app in this store, by name.
    pub stages: BTreeMap<String, SeenStage>,
    /// What lies under `artifacts/<app>/`.
    pub artifacts: Vec<Meta>,
    /// What lies under `indexes/<app>/`.
    pub indexes: Vec<Meta>,
    /// What lies under `layers/<app>/`.
    pub layers: Vec<Meta>,
    /// Releases that cannot be read, and so may refer to anything: why.
    pub unreadable: Vec<String>,
}

/// What was found of a stage.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenStage {
    /// Its releases, newest first.
    pub releases: Vec<Release>,
    /// Each release.json as it is stored, to be put back.
    pub documents: BTreeMap<ReleaseId, Bytes>,
    /// What lies under `releases/<app>/<stage>/`; of a stage that is pruned alone.
    pub objects: Vec<Meta>,
    /// The release that is live, by role.
    pub live: BTreeMap<String, String>,
    /// Where nobody knows which one is, by role: what lies there in its place.
    pub damaged: BTreeMap<String, Damaged>,
    /// SHA-256 of the artifacts that new hosts fetch: the release of a live manifest may be gone.
    pub live_artifacts: BTreeSet<String>,
    /// Its kicks, newest first; likewise.
    pub kicks: Vec<Kick>,
    /// What lies under `kicks/<app>/<stage>/`; likewise.
    pub kick_objects: Vec<Meta>,
}

/// Reads it all.
pub(super) async fn look(input: &PruneInput<'_>) -> Result<Seen, Error> {
    let (store, app) = (input.store, input.app);
    let there = store.list_children(&layout::stages_prefix(app)?).await?;
    let live = store.list_children(&layout::lives_prefix(app)?).await?;
    let names = there.into_iter().chain(live);
    let names: BTreeSet<String> = names.chain(input.stages.keys().cloned()).collect();
    let mut seen = Seen::default();
    for name in names {
        // What no stage can be called is none of ours.
        let Ok(prefix) = layout::releases_prefix(app, &name) else {
            continue;
        };
        let mut stage = SeenStage::default();
        seen.unreadable
            .extend(stage.releases_of(store, app, &name).await?);
        if input.stages.contains_key(&name) {
            stage.objects = store.list(&prefix).await?;
            stage.kick_objects = store.list(&layout::kicks_prefix(app, &name)?).await?;
            stage.moving(store, app, &name).await?;
        } else {
            stage.live(store, app, &name).await?;
        }
        seen.stages.insert(name, stage);
    }
    seen.artifacts = store.list(&layout::artifacts_prefix(app)?).await?;
    seen.indexes = store.list(&layout::indexes_prefix(app)?).await?;
    seen.layers = store.list(&layout::layers_prefix(app)?).await?;
    Ok(seen)
}

impl Seen {
    /// What is live and cannot be told, with the way out.
    pub(super) fn damaged(&self) -> impl Iterator<Item = String> {
        let of_stage = |(stage, seen): (&String, &SeenStage)| {
            let stage = stage.clone();
            let line = move |(role, damaged): (&String, &Damaged)| {
                format!(
                    "{} is no live manifest of {role} in {stage} ({}), so all releases of that role stay: a kick of the whole role \
                     replaces it",
                    damaged.url, damaged.why
                )
            };
            seen.damaged.iter().map(line).collect::<Vec<_>>()
        };
        self.stages.iter().flat_map(of_stage)
    }

    /// Looks again at what a kick changes.
    pub(super) async fn again(&mut self, input: &PruneInput<'_>) -> Result<(), Error> {
        for name in input.stages.keys() {
            if let Some(stage) = self.stages.get_mut(name) {
                stage.moving(input.store, input.app, name).await?;
            }
        }
        Ok(())
    }
}

impl SeenStage {
    /// Reads the releases, and gives why some cannot be.
    async fn releases_of(&mut self, store: &Store, app: &str, stage: &str) -> Result<Vec<String>, Error> {
        let mut unreadable = Vec::new();
        let ids = release::ids(store, app, stage).await?;
        for some in ids.chunks(store.at_once()) {
            let mut reading = JoinSet::new();
            for id in some {
                let (store, app, stage, id) = (store.clone(), app.to_owned(), stage.to_owned(), id.clone());
                reading.spawn(async move { release::read_with_bytes(&store, &app, &stage, &id).await });
            }
            while let Some(read) = reading.join_next().await {
                match read.map_err(|source| Error::Task { source })? {
                    Ok(Some((release, bytes))) => {
                        self.documents.insert(release.id.clone(), bytes);
                        self.releases.push(release);
                    }
                    Ok(None) => {}
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        unreadable.push(retry::reason(&error));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.releases.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(unreadable)
    }

    /// Reads what is live.
    async fn live(&mut self, store: &Store, app: &str, stage: &str) -> Result<(), Error> {
        (self.live, self.live_artifacts, self.damaged) = Default::default();
        for (role, pointer) in live::all(store, app, stage).await? {
            match pointer {
                Pointer::Nothing => {}
                Pointer::Live(live) => {
                    self.live_artifacts.extend(checksum(&live.manifest));
                    self.live.insert(role, live.release);
                }
                Pointer::Damaged(damaged) => drop(self.damaged.insert(role, damaged)),
            }
        }
        Ok(())
    }

    /// Reads what is live, and the kicks: of those that were read before only what had not ended.
    async fn moving(&mut self, store: &Store, app: &str, stage: &str) -> Result<(), Error> {
        self.live(store, app, stage).await?;
        if self.kicks.is_empty() {
            self.kicks = kick::list(store, app, stage, None, None).await?;
            return Ok(());
        }
        self.kicks.retain(|kick| kick.ended.is_some());
        let known: BTreeSet<_> = self.kicks.iter().map(|kick| kick.started.kick.clone()).collect();
        for id in kick::ids(store, app, stage).await? {
            if !known.contains(&id) {
                self.kicks.extend(kick::read(store, app, stage, &id).await?);
            }
        }
        self.kicks.sort_by(|a, b| b.started.kick.cmp(&a.started.kick));
        Ok(())
    }
}

/// SHA-256 of the artifact that a manifest names.
fn checksum(manifest: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(manifest).ok()?;
    // What a host's environment decides gets some value: it does not decide this.
    let text = shipit_manifest::host_template(text, &|_| Some("/host".to_owned())).ok()?;
    shipit_manifest::parse(&text).ok()?.checksum
}
