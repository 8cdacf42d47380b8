//! Removing what was planned: first the documents that say that something is there, then a second look, the bytes last.

use std::sync::Mutex;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::plan::{self, Ids};
use super::{Prune, PrunePlan, PrunedRelease, Removal, RemovalKind};
use crate::{Error, Event, PutOptions, ReleaseId, layout};

/// What was removed so far; it tells so too when the removing ends early.
#[derive(Debug, Default)]
pub struct Removed(Mutex<Vec<Removal>>);

impl Removed {
    /// The objects, in the order in which they went.
    pub fn objects(&self) -> Vec<Removal> {
        self.0.lock().map(|all| all.clone()).unwrap_or_default()
    }

    /// How many bytes they had.
    pub fn bytes(&self) -> u64 {
        self.objects().iter().map(|object| object.bytes).sum()
    }

    fn note(&self, removal: &Removal) {
        if let Ok(mut all) = self.0.lock() {
            all.push(removal.clone());
        }
    }

    fn forget(&self, key: &str) {
        if let Ok(mut all) = self.0.lock() {
            all.retain(|object| object.key != key);
        }
    }
}

impl Prune<'_> {
    /// Removes what was planned, and notes each thing in `removed`. Gives the releases that went. Ended early, by an error or by
    /// dropping the future, it leaves no half release, and another prune removes the rest.
    pub async fn remove(mut self, removed: &Removed) -> Result<Vec<PrunedRelease>, Error> {
        let first = ids(&self.plan);
        self.all_of(&[RemovalKind::Release], removed).await?;
        if !first.is_empty() {
            self.look_again(&first, removed).await?;
        }
        let rest = [
            RemovalKind::Manifest,
            RemovalKind::Kick,
            RemovalKind::Layer,
            RemovalKind::Record,
            RemovalKind::Index,
            RemovalKind::Frames,
            RemovalKind::Artifact,
        ];
        self.all_of(&rest, removed).await?;
        Ok(self.plan.releases)
    }

    /// Plans anew with what was kicked, or became live, meanwhile.
    async fn look_again(&mut self, first: &Ids, removed: &Removed) -> Result<(), Error> {
        self.seen.again(&self.input).await?;
        let kept = plan::kept(&self.seen, &self.input, Some(first));
        self.records.read(&self.input, &self.seen, &kept).await?;
        let second = plan::plan(&self.seen, &kept, &self.records, &self.input);
        let still = ids(&second);
        for (stage, ids) in first {
            for id in ids {
                if !still.get(stage).is_some_and(|still| still.contains(id)) {
                    self.put_back(stage, id, removed).await?;
                }
            }
        }
        self.plan = second;
        Ok(())
    }

    /// A release that is needed after all: everything else of it is still there.
    async fn put_back(&self, stage: &str, id: &ReleaseId, removed: &Removed) -> Result<(), Error> {
        let seen = self.seen.stages.get(stage);
        let Some(document) = seen.and_then(|seen| seen.documents.get(id)) else {
            return Ok(());
        };
        let key = layout::release_key(self.input.app, stage, id)?;
        let options = PutOptions {
            content_type: Some("application/json".into()),
            sha256: None,
        };
        let body = Bytes::clone(document).into();
        self.input.store.put_if_absent(&key, body, &options).await?;
        removed.forget(&key);
        self.input.store.on_event().emit(Event::ReleaseKept {
            release: id.to_string(),
        });
        Ok(())
    }

    /// Removes the objects of these kinds, one kind after the other.
    async fn all_of(&self, kinds: &[RemovalKind], removed: &Removed) -> Result<(), Error> {
        for kind in kinds {
            let some: Vec<&Removal> = self.plan.removals.iter().filter(|it| it.kind == *kind).collect();
            for few in some.chunks(self.input.store.at_once()) {
                self.few(few, removed).await?;
            }
        }
        Ok(())
    }

    /// Several at once; of those that were begun the end is waited for, whatever becomes of one.
    async fn few(&self, few: &[&Removal], removed: &Removed) -> Result<(), Error> {
        let mut running = JoinSet::new();
        for removal in few {
            let (store, removal) = (self.input.store.clone(), (*removal).clone());
            running.spawn(async move {
                let deleted = store.delete(&removal.key).await;
                (removal, deleted)
            });
        }
        let mut failed = None;
        while let Some(done) = running.join_next().await {
            match done.map_err(|source| Error::Task { source })? {
                (removal, Ok(())) => {
                    removed.note(&removal);
                    self.input.store.on_event().emit(Event::Removed {
                        key: removal.key,
                        bytes: removal.bytes,
                    });
                }
                (_, Err(error)) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

fn ids(plan: &PrunePlan) -> Ids {
    let mut ids = Ids::new();
    for release in &plan.releases {
        ids.entry(release.stage.clone())
            .or_default()
            .insert(release.release.clone());
    }
    ids
}
