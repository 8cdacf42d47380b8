//! The order in which a manifest is followed, which is stretcher's, and what runs when something fails.
//!
//! The network is waited for asynchronously; all that touches the disk or runs commands is one blocking piece at a time.

mod by_difference;
mod cancel;
mod loading;
mod told;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use shipit_manifest::Manifest;
use shipit_store::{Fetcher, redacted};

use crate::command::Runner;
use crate::download::{DownloadRequest, Downloaded, download};
use crate::error::Error;
use crate::event::{Event, Phase, Synced};
use crate::filter::Filter;
use crate::lock::{DestLock, LockRequest};
use crate::log::{OnEvent, Recorder};
use crate::mask::Mask;
use crate::plan::{Plan, Strategy, Whole, bad_rule, guarded, rules};
use crate::report::Reporter;
use crate::request::{Applied, ApplyRequest, LayersNew};
use crate::stage::{Stage, remove_leftovers};
use crate::sync::{SyncRequest, mv, survey, sync};
use crate::{archive, lock};

use cancel::{CancelOnDrop, delay};
use loading::say_loaded;

pub(crate) use cancel::or_cancelled;
pub use loading::manifest_sha256;
pub(crate) use loading::{Loaded, load, retry};

/// What all parts of one apply share.
struct Host {
    request: ApplyRequest,
    recorder: Recorder,
    cancel: Arc<AtomicBool>,
    mask: Mask,
    manifest: Manifest,
    /// Tells Consul how it goes, when the manifest asks for that.
    reporter: Option<Reporter>,
    /// What commands get beyond the request's environment, once it is known.
    environment: OnceLock<Vec<(OsString, OsString)>>,
    /// Here, so that it outlives the blocking pieces of an apply that was dropped.
    lock: OnceLock<DestLock>,
}

/// Follows the manifest at `request.manifest_url`, as stretcher does; docs/stretcher-compatibility.md has the
/// differences.
///
/// Must run in a tokio runtime with timers and I/O. Setting `cancel` ends it soon: commands get TERM and, five seconds
/// later, KILL. Dropping the future sets `cancel` too; what is then running ends by itself.
///
/// # Errors
/// All of [`Error`]. When the manifest could not be loaded, the lock was not got, or it was cancelled, no command was
/// run for that; after any other error the `failure` commands were.
pub async fn apply(
    request: ApplyRequest,
    fetcher: &Fetcher,
    cancel: Arc<AtomicBool>,
    on_event: OnEvent,
) -> Result<Applied, Error> {
    let guard = CancelOnDrop::new(cancel.clone());
    let result = unless_cancelled_inside(request, fetcher, cancel, on_event).await;
    guard.disarm();
    result
}

async fn unless_cancelled_inside(
    request: ApplyRequest,
    fetcher: &Fetcher,
    cancel: Arc<AtomicBool>,
    on_event: OnEvent,
) -> Result<Applied, Error> {
    let start = Instant::now();
    let recorder = Recorder::new(on_event);
    delay(request.random_delay, &cancel, &recorder).await?;
    let loaded = or_cancelled(&cancel, load(&request, fetcher, &recorder)).await?;
    let Loaded {
        mut manifest,
        mask,
        sha256,
    } = loaded;
    let reporter = Reporter::of(&request, &mut manifest);
    say_loaded(&manifest, &mask, &recorder);
    let host = Arc::new(Host {
        request,
        recorder,
        cancel,
        mask,
        manifest,
        reporter,
        environment: OnceLock::new(),
        lock: OnceLock::new(),
    });
    let followed = host.clone().follow(fetcher).await;
    if let Err(error) = &followed {
        host.tell_end(Some(error)).await;
    }
    let followed = followed?;
    let binding = host.manifest.shipit.as_ref();
    Ok(Applied {
        manifest_sha256: sha256,
        release: binding.map(|binding| binding.release.clone()),
        app: binding.map(|binding| binding.app.clone()),
        role: binding.map(|binding| binding.role.clone()),
        stage: binding.map(|binding| binding.stage.clone()),
        dest: followed
            .done
            .synced
            .and(host.manifest.dest.as_ref())
            .map(PathBuf::from),
        fetched_bytes: followed.done.fetched_bytes,
        artifact_bytes: followed.done.artifact_bytes,
        total_bytes: followed.done.total_bytes,
        layers: followed.done.layers,
        synced: followed.done.synced,
        replay: followed.replay,
        success_failure: followed.success_failure,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// What came of a manifest.
#[derive(Debug, Default)]
struct Followed {
    done: Done,
    replay: Option<String>,
    success_failure: Option<String>,
}

/// What came of a manifest up to its `post`.
#[derive(Debug, Default)]
struct Done {
    fetched_bytes: u64,
    artifact_bytes: Option<u64>,
    total_bytes: Option<u64>,
    layers: Option<LayersNew>,
    synced: Option<Synced>,
}

/// Runs a blocking piece to its end.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal {
        what: error.to_string(),
    })?
}

impl Host {
    async fn follow(self: Arc<Self>, fetcher: &Fetcher) -> Result<Followed, Error> {
        self.clone().take_lock().await?;
        if let Some(replay) = self.clone().remember().await? {
            return Ok(Followed {
                replay: Some(replay),
                ..Followed::default()
            });
        }
        self.tell_begin().await;
        let done = match self.clone().deploy(fetcher).await {
            Ok(done) => done,
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            Err(error) => return Err(self.failed(error).await),
        };
        self.clone().remember_end().await?;
        self.recorder.say(Event::Succeeded);
        self.tell_end(None).await;
        let success_failure = self.clone().handle(Phase::Success).await?;
        self.prune().await?;
        Ok(Followed {
            done,
            replay: None,
            success_failure,
        })
    }

    async fn take_lock(self: Arc<Self>) -> Result<(), Error> {
        let dest = self.manifest.src.as_ref().and_then(|_| guarded(&self.manifest));
        let Some(dest) = dest else { return Ok(()) };
        blocking(move || {
            let request = LockRequest {
                dir: &self.request.lock_dir,
                dest: &dest,
                wait: self.request.lock_wait,
            };
            let lock = lock::take(&request, &self.cancel, &self.recorder)?;
            self.lock.set(lock).map_err(|_| Error::Internal {
                what: "the lock was taken twice".to_owned(),
            })
        })
        .await
    }

    /// All that a failure of which runs the `failure` commands.
    async fn deploy(self: Arc<Self>, fetcher: &Fetcher) -> Result<Done, Error> {
        let plan = Plan::of(&self.manifest).map_err(|error| error.masked(&self.mask))?;
        let whole = match plan {
            Plan::Whole(whole) => Arc::new(*whole),
            Plan::Commands => {
                let run = move || {
                    self.runner()
                        .run_logged(Phase::Pre, &self.manifest.commands.pre)?;
                    self.runner()
                        .run_logged(Phase::Post, &self.manifest.commands.post)
                };
                return blocking(run).await.map(|()| Done::default());
            }
        };
        if let Some(done) = self.by_difference(&whole, fetcher).await? {
            return Ok(done);
        }
        let request = DownloadRequest {
            whole: &whole,
            url: self.shown(&whole),
            temp_dir: &self.request.temp_dir,
            retry: retry(&self.request),
            timeout: self.request.timeout,
            max_bandwidth: self.request.max_bandwidth,
        };
        let downloaded = or_cancelled(&self.cancel, download(&request, fetcher, &self.recorder)).await?;
        let bytes = downloaded.bytes;
        let synced = blocking(move || self.whole(&whole, downloaded)).await?;
        Ok(Done {
            fetched_bytes: bytes,
            artifact_bytes: Some(bytes),
            total_bytes: Some(bytes),
            layers: None,
            synced: Some(synced),
        })
    }

    fn whole(&self, whole: &Whole, downloaded: Downloaded) -> Result<Synced, Error> {
        let key = self.lock.get().map(DestLock::key).unwrap_or_default();
        remove_leftovers(&self.request.temp_dir, key, &self.recorder)?;
        let stage = Stage::new(&self.request.temp_dir, key)?;
        self.runner()
            .run_logged(Phase::Pre, &self.manifest.commands.pre)?;
        self.unpack(whole, downloaded, &stage)?;
        let synced = self.sync(whole, &stage)?;
        self.recorder.say(Event::Synced(synced));
        self.runner()
            .run_logged(Phase::Post, &self.manifest.commands.post)?;
        stage.remove(&self.recorder);
        Ok(synced)
    }

    fn unpack(&self, whole: &Whole, downloaded: Downloaded, stage: &Stage) -> Result<(), Error> {
        self.recorder.say(Event::Unpacking { dir: stage.tree() });
        let request = archive::UnpackRequest {
            url: self.shown(whole),
            into: &stage.tree(),
            limits: self.request.limits,
            mode: whole.dest_mode,
        };
        archive::unpack(downloaded.file, &request, &self.cancel, &self.recorder)
    }

    fn sync(&self, whole: &Whole, stage: &Stage) -> Result<Synced, Error> {
        let tree = stage.tree();
        self.recorder.say(Event::Syncing {
            dest: whole.dest.clone(),
        });
        let Strategy::Rsync {
            excludes,
            exclude_from,
        } = &whole.strategy
        else {
            return mv(&tree, &whole.dest, survey(&tree)?);
        };
        let mut filter = Filter::default();
        if let Some(name) = exclude_from {
            let text = archive::read_inside(&tree, name)?;
            filter
                .add_file(&text)
                .map_err(|bad| bad_rule("exclude_from", &bad))?;
        }
        let filter = rules(filter, excludes)?;
        let request = SyncRequest {
            tree: &tree,
            dest: &whole.dest,
            survey: survey(&tree)?,
            filter: &filter,
            incoming: whole.incoming,
            verbose: self.request.verbose,
        };
        sync(&request, &self.cancel, &self.recorder)
    }

    /// The source as it may be shown.
    fn shown(&self, whole: &Whole) -> String {
        self.mask.hide(&redacted(&whole.src))
    }

    fn runner(&self) -> Runner<'_> {
        Runner {
            environment: self.environment.get().unwrap_or(&self.request.environment),
            working_dir: &self.request.working_dir,
            cancel: &self.cancel,
            recorder: &self.recorder,
            mask: &self.mask,
        }
    }

    /// Runs the `failure` commands and hands the error back.
    async fn failed(self: Arc<Self>, error: Error) -> Error {
        self.recorder.say(Event::Failed {
            error: self.mask.hide(&error.with_causes()),
        });
        self.tell_end(Some(&error)).await;
        // What becomes of these commands changes nothing; it was said.
        match self.handle(Phase::Failure).await {
            Err(Error::Cancelled) => Error::Cancelled,
            _ => error,
        }
    }

    /// Runs the commands of `success` or `failure`; why one failed is said and handed back, and is no error.
    async fn handle(self: Arc<Self>, phase: Phase) -> Result<Option<String>, Error> {
        blocking(move || {
            let commands = &self.manifest.commands;
            let list = if phase == Phase::Success {
                &commands.success
            } else {
                &commands.failure
            };
            match self.runner().run_with_log(phase, list) {
                Ok(()) => Ok(None),
                Err(Error::Cancelled) => Err(Error::Cancelled),
                Err(error) => {
                    let error = self.mask.hide(&error.with_causes());
                    self.recorder.say(Event::HandlerFailed {
                        phase,
                        error: error.clone(),
                    });
                    Ok(Some(error))
                }
            }
        })
        .await
    }
}
