//! What every command is given: settled global options, the environment, the output, the runtime, the interrupt.

use std::collections::BTreeMap;
use std::future::Future;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::args::Global;
use crate::config::{Resolved, Setting};
use crate::environment::Environment;
use crate::errors::{CliError, Kind, Result};
use crate::interrupt::Interrupt;
use crate::output::Output;

/// More threads than this gain nothing from one disk, and each holds some megabytes.
const MOST_JOBS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// More requests than this gain nothing from one server; an upload holds a part of 8 MiB for each.
const MOST_TRANSFERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(7);

/// Threads for what blocks beneath the network: reading parts, hashing, asking for names. No more than twice the transfers are at
/// it at once; the rest is for what waits for others.
const MOST_BLOCKING: usize = 32;

/// The settled surroundings of one run.
#[derive(Debug)]
pub struct Context {
    /// Global options as given.
    pub global: Global,
    /// The environment at the start.
    pub environment: Environment,
    /// Where data and messages go.
    pub output: Output,
    /// ctrl-C and SIGTERM.
    pub interrupt: Interrupt,
    runtime: Runtime,
    cache_places: Mutex<CachePlaces>,
}

/// Where the caches are, found once a run.
#[derive(Debug, Default)]
struct CachePlaces {
    top: Option<PathBuf>,
    /// By what they are called below the top.
    parts: BTreeMap<PathBuf, PathBuf>,
    /// Stands in for what cannot be written to; goes with the run.
    temporary: Option<tempfile::TempDir>,
}

impl CachePlaces {
    fn temporary(&mut self) -> Result<PathBuf> {
        let made = match self.temporary.take() {
            Some(made) => made,
            None => tempfile::Builder::new()
                .prefix("shipit-cache-")
                .tempdir()
                .map_err(|error| CliError::disk("making a temporary directory", error))?,
        };
        let path = made.path().to_owned();
        self.temporary = Some(made);
        Ok(path)
    }
}

/// Whether a place is one that cannot be written to, whoever makes room there.
fn is_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory
    )
}

/// Whether something can be written into a directory.
fn probe(dir: &Path) -> std::io::Result<()> {
    tempfile::tempfile_in(dir).map(drop)
}

/// As `probe`, for a directory that may not be there yet, and for what another user made in it. With the error, where.
fn probe_part(wanted: &Path) -> std::result::Result<(), (PathBuf, std::io::Error)> {
    let there = wanted.ancestors().find(|path| path.symlink_metadata().is_ok());
    let there = there.unwrap_or(wanted);
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    probe(there).map_err(at(there))?;
    if there != wanted {
        return Ok(());
    }
    let own = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(there).map_err(at(there))?.flatten() {
        let path = entry.path();
        // A step may close what is its own user's; that is made good elsewhere.
        let foreign = path
            .symlink_metadata()
            .is_ok_and(|found| found.is_dir() && found.uid() != own);
        if foreign {
            probe(&path).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// The error of a cache directory that is closed to nobody.
fn no_room(dir: &Path, error: std::io::Error) -> CliError {
    let hint = match error.kind() {
        std::io::ErrorKind::AlreadyExists => "it is no directory; name one by --cache-dir DIR".to_owned(),
        _ => format!(
            "make room where {} lies, or name another place by --cache-dir DIR",
            dir.display()
        ),
    };
    CliError::disk(format!("writing to the cache directory {}", dir.display()), error).hint(hint)
}

impl Context {
    /// Builds the runtime and starts to listen for signals.
    pub fn new(global: &Global, environment: Environment, output: Output) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(MOST_BLOCKING)
            // A sync goes down a tree by calling itself, and an archive may have two thousand directories in each other. What is
            // not used of a stack takes no memory.
            .thread_stack_size(32 << 20)
            .enable_all()
            .thread_name("shipit-net")
            .build()
            .map_err(|error| {
                CliError::from_source(Kind::Internal, error).context("starting the network runtime")
            })?;
        let interrupt = Interrupt::listen(runtime.handle())
            .map_err(|error| CliError::from_source(Kind::Internal, error).context("listening for signals"))?;
        Ok(Context {
            global: global.clone(),
            environment,
            output,
            interrupt,
            runtime,
            cache_places: Mutex::default(),
        })
    }

    /// Runs network work to its end, or until the process is asked to stop: then it is dropped, which cleans up.
    pub fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.interrupt.asked() => Err(self.stopped()),
                result = work => result,
            }
        })
    }

    /// As `block_on`, for work that looks at the interrupt's flag itself and must be let finish its cleaning.
    pub fn block_on_to_the_end<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }

    /// Begins work that goes on beside what this run waits for. It ends with its set.
    pub fn spawn_on(&self, set: &mut JoinSet<()>, work: impl Future<Output = ()> + Send + 'static) {
        set.spawn_on(work, self.runtime.handle());
    }

    /// The error of a run that was asked to stop; `cancelled` is what says so where no signal came.
    pub fn stopped(&self) -> CliError {
        match self.interrupt.signal() {
            Some(asked) => CliError::stopped(asked),
            None => CliError::new(Kind::Internal, "cancelled, though no signal came"),
        }
    }

    /// A value of the config, from the environment where the config says so.
    pub fn value(&self, setting: &Setting) -> Result<Resolved> {
        Ok(setting.resolve(&|name| self.environment.text(name))?)
    }

    /// Where this process stands.
    pub fn working_directory(&self) -> Result<PathBuf> {
        self.environment.working_directory().ok_or_else(|| {
            CliError::new(Kind::Disk, "the working directory does not exist any more")
                .hint("change into a directory that exists, or give --config with an absolute path")
        })
    }

    /// A path as the user gave it, absolute.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf> {
        if path.is_absolute() {
            Ok(path.to_owned())
        } else {
            Ok(self.working_directory()?.join(path))
        }
    }

    /// The directory of mirrors, workspaces and the tools' caches.
    pub fn cache_directory(&self) -> Result<PathBuf> {
        match self
            .global
            .cache_dir
            .clone()
            .or_else(|| self.environment.cache_directory())
        {
            Some(dir) => self.absolute(&dir),
            None => Err(
                CliError::new(Kind::Usage, "there is no place for the cache: HOME is not set")
                    .hint("set HOME, or give --cache-dir DIR"),
            ),
        }
    }

    /// The cache directory, or, where nothing can be written there, a temporary one: the work goes on, and starts from
    /// nothing the next time.
    pub fn writable_cache(&self) -> Result<PathBuf> {
        let mut places = self.cache_places.lock().unwrap_or_else(PoisonError::into_inner);
        self.top(&mut places)
    }

    /// A directory below the cache directory, which need not be there yet; or, where nothing can be written to it, one below a
    /// temporary directory. Another user's build may have made it.
    pub fn writable_part(&self, part: &Path) -> Result<PathBuf> {
        let mut places = self.cache_places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.parts.get(part) {
            return Ok(place.clone());
        }
        let wanted = self.top(&mut places)?.join(part);
        let place = match probe_part(&wanted) {
            Ok(()) => wanted,
            Err((closed, error)) if is_closed(&error) => {
                self.output.warn(format!(
                    "cannot write to {} in the cache directory: {error}; this run uses a temporary directory in place of {}, and \
                     keeps nothing of it for the next (give {0} to the user that builds, or remove it)",
                    closed.display(),
                    wanted.display()
                ));
                places.temporary()?.join(part)
            }
            Err((path, error)) => return Err(no_room(&path, error)),
        };
        places.parts.insert(part.to_owned(), place.clone());
        Ok(place)
    }

    fn top(&self, places: &mut CachePlaces) -> Result<PathBuf> {
        if let Some(top) = &places.top {
            return Ok(top.clone());
        }
        let dir = self.cache_directory()?;
        let top = match std::fs::create_dir_all(&dir).and_then(|()| probe(&dir)) {
            Ok(()) => dir,
            Err(error) if is_closed(&error) => {
                self.output.warn(format!(
                    "cannot write to the cache directory {}: {error}; this run goes on with a temporary one, and keeps \
                     nothing for the next (--cache-dir DIR names another)",
                    dir.display()
                ));
                places.temporary()?
            }
            // A full disk is no reason to fill another one.
            Err(error) => return Err(no_room(&dir, error)),
        };
        Ok(places.top.insert(top).clone())
    }

    /// How many threads work.
    pub fn jobs(&self) -> NonZeroUsize {
        self.global
            .jobs
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(NonZeroUsize::MIN, |jobs| jobs.min(MOST_JOBS))
    }

    /// How many requests for parts of objects are on their way at once: they wait for the network, so twice as many as threads.
    pub fn transfers(&self) -> NonZeroUsize {
        self.jobs()
            .saturating_mul(NonZeroUsize::MIN.saturating_add(1))
            .min(MOST_TRANSFERS)
    }
}
