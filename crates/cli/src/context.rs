//! What every command is given: settled global options, the environment, the output, the runtime, the interrupt.

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::runtime::Runtime;

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
    // Found once a run; with it the temporary directory, which goes with the run.
    writable_cache: Mutex<Option<(PathBuf, Option<tempfile::TempDir>)>>,
}

/// Whether a place is one that cannot be written to, whoever makes room there.
fn is_closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory
    )
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
            writable_cache: Mutex::new(None),
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
        let mut settled = self.writable_cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((path, _)) = settled.as_ref() {
            return Ok(path.clone());
        }
        let dir = self.cache_directory()?;
        let probed = std::fs::create_dir_all(&dir).and_then(|()| tempfile::tempfile_in(&dir));
        let entry = match probed {
            Err(error) if is_closed(&error) => {
                let temporary = tempfile::Builder::new()
                    .prefix("shipit-cache-")
                    .tempdir()
                    .map_err(|error| CliError::disk("making a temporary directory", error))?;
                self.output.warn(format!(
                    "cannot write to the cache directory {}: {error}; this run goes on with a temporary one, and keeps \
                     nothing for the next (--cache-dir DIR names another)",
                    dir.display()
                ));
                (temporary.path().to_owned(), Some(temporary))
            }
            // A full disk is no reason to fill another one.
            Err(error) => {
                let doing = format!("writing to the cache directory {}", dir.display());
                let hint = match error.kind() {
                    std::io::ErrorKind::AlreadyExists => {
                        "it is no directory; name one by --cache-dir DIR".to_owned()
                    }
                    _ => format!(
                        "make room where {} lies, or name another place by --cache-dir DIR",
                        dir.display()
                    ),
                };
                return Err(CliError::disk(doing, error).hint(hint));
            }
            Ok(_) => (dir, None),
        };
        Ok(settled.insert(entry).0.clone())
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
