//! An apply whose release is put together from what the host has; falls back to the whole artifact.

use std::sync::Arc;

use shipit_artifact::RecordLayer;
use shipit_store::Fetcher;

use super::{Done, Host, blocking, or_cancelled, retry};
use crate::difference::{
    Difference, FetchRequest, Gate, Lack, Means, Ready, of_releases, others, places_of, prune,
};
use crate::download::within;
use crate::error::Error;
use crate::event::{Event, Method, Phase, Synced};
use crate::lock::DestLock;
use crate::plan::Whole;
use crate::request::LayersNew;
use crate::stage::remove_leftovers;

impl Host {
    /// Nothing when the whole artifact is needed.
    pub(super) async fn by_difference(
        self: &Arc<Self>,
        whole: &Arc<Whole>,
        fetcher: &Fetcher,
    ) -> Result<Option<Done>, Error> {
        let host = self.clone();
        let Some(places) = of_releases(&self.manifest, whole) else {
            return Ok(None);
        };
        if places.is_complete() {
            self.recorder.say(Event::ReleaseComplete {
                path: places.release_dir(&places.release),
            });
            return blocking(move || host.in_place()).await.map(Some);
        }
        let difference = match Difference::of(&self.manifest, whole, places) {
            Ok(difference) => Arc::new(difference),
            Err(lack) => return self.whole_instead(lack).map(|()| None),
        };
        let ready = match self.prepare(&difference, whole, fetcher).await {
            Ok(ready) => ready,
            Err(lack) => {
                let places = difference.clone();
                // What is left there goes at the next apply at the latest.
                let cleared = blocking(move || places.places.clear()).await;
                if let (Err(error), Lack::Ends(_)) = (cleared, &lack) {
                    self.recorder.say(Event::NotRemoved {
                        path: difference.places.new_dir(),
                        reason: error.with_causes(),
                    });
                }
                return self.whole_instead(lack).map(|()| None);
            }
        };
        let dest = whole.clone();
        let done = blocking(move || {
            let done = host.switch(&difference, &ready, &dest);
            if done.is_err() {
                // The first error is the one to tell.
                let _ = difference.places.clear();
            }
            done
        });
        done.await.map(Some)
    }

    /// Removes the layers that no release uses any more.
    pub(super) async fn prune(self: Arc<Self>) -> Result<(), Error> {
        blocking(move || {
            if let Some(places) = places_of(&self.manifest) {
                prune(&places, &self.recorder);
            }
            Ok(())
        })
        .await
    }

    fn whole_instead(&self, lack: Lack) -> Result<(), Error> {
        match lack {
            Lack::Ends(error) => Err(error),
            Lack::Whole(reason) => {
                self.recorder.say(Event::WholeInstead {
                    reason: self.mask.hide(&reason),
                });
                Ok(())
            }
        }
    }

    async fn prepare(
        self: &Arc<Self>,
        difference: &Arc<Difference>,
        whole: &Whole,
        fetcher: &Fetcher,
    ) -> Result<Ready, Lack> {
        let (request, shown) = (&self.request, self.shown(whole));
        let retry = retry(request);
        let finding = async { Ok(difference.find(fetcher, retry, request.limits).await) };
        let found = or_cancelled(&self.cancel, within(request.timeout, &shown, finding)).await??;
        // Layers are looked at while the code is copied, which waits for the disk now and then. With one job alone one comes after
        // the other.
        let beside = request.jobs.get() > 1;
        let (gate, rows) = (Arc::new(Gate::default()), found.others());
        let (host, of, shut) = (self.clone(), difference.clone(), gate.clone());
        let look = move |layer, compression| of.look(layer, compression, &host.means(), &shut);
        let fetch = async |row: &RecordLayer| {
            let fetching = async { Ok(difference.index(row, fetcher, retry).await) };
            or_cancelled(&self.cancel, within(request.timeout, &shown, fetching)).await?
        };
        let others = Box::pin(others(rows, &difference.places, fetch, look));
        let (host, of, opener) = (self.clone(), difference.clone(), gate.opener());
        let begun = blocking(move || {
            let _opened_at_the_end = opener;
            Ok(of.begin(found, &host.means()))
        });
        let (begun, others) = if beside {
            let (begun, others) = tokio::join!(begun, others);
            (begun??, others?)
        } else {
            (begun.await??, others.await?)
        };
        let (host, of) = (self.clone(), difference.clone());
        let gathered = blocking(move || Ok(of.gather(begun, others, &host.means())));
        let gathered = gathered.await??;
        self.recorder.say(gathered.event());
        let dir = difference.places.new_dir();
        let wanted = FetchRequest {
            src: &whole.src,
            url: shown.clone(),
            parts: &gathered.parts,
            dir: &dir,
            jobs: request.jobs,
            retry,
            max_bandwidth: request.max_bandwidth,
        };
        let fetched = async { Ok(crate::difference::fetch(&wanted, fetcher, &self.recorder).await) };
        let fetched = or_cancelled(&self.cancel, within(request.timeout, &shown, fetched)).await??;
        let (host, of) = (self.clone(), difference.clone());
        let ready = blocking(move || Ok(of.finish(gathered, &fetched, &host.means())));
        ready.await?
    }

    fn means(&self) -> Means<'_> {
        Means {
            jobs: self.request.jobs,
            cancel: &self.cancel,
            recorder: &self.recorder,
        }
    }

    /// The release is complete in its place: the manifest's commands see to the rest.
    fn in_place(&self) -> Result<Done, Error> {
        self.runner()
            .run_logged(Phase::Pre, &self.manifest.commands.pre)?;
        let synced = synced(Method::InPlace, 0);
        self.recorder.say(Event::Synced(synced));
        self.runner()
            .run_logged(Phase::Post, &self.manifest.commands.post)?;
        Ok(Done {
            synced: Some(synced),
            ..Done::default()
        })
    }

    fn switch(&self, difference: &Difference, ready: &Ready, whole: &Whole) -> Result<Done, Error> {
        let key = self.lock.get().map(DestLock::key).unwrap_or_default();
        remove_leftovers(&self.request.temp_dir, key, &self.recorder)?;
        self.runner()
            .run_logged(Phase::Pre, &self.manifest.commands.pre)?;
        self.recorder.say(Event::Syncing {
            dest: whole.dest.clone(),
        });
        difference.bring(ready, &whole.dest)?;
        let synced = synced(Method::Assembled, ready.entries);
        self.recorder.say(Event::Synced(synced));
        self.runner()
            .run_logged(Phase::Post, &self.manifest.commands.post)?;
        Ok(Done {
            fetched_bytes: ready.fetched_bytes,
            artifact_bytes: Some(ready.artifact_bytes),
            total_bytes: Some(ready.total_bytes),
            layers: Some(LayersNew {
                new: ready.layers_new as u64,
                total: ready.layers as u64,
            }),
            synced: Some(synced),
        })
    }
}

fn synced(method: Method, created: u64) -> Synced {
    Synced {
        method,
        created,
        updated: 0,
        deleted: 0,
        unchanged: 0,
    }
}
