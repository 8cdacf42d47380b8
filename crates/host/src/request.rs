//! What the caller settles before a manifest is applied, and what it gets back.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use shipit_artifact::Limits;
use shipit_fleet::consul::ConsulConfig;
use shipit_fleet::event::Heard;

use crate::event::Synced;

/// How to apply a manifest. Nothing of it is read from the process: the cli settles all of it.
#[derive(Debug, Clone)]
pub struct ApplyRequest {
    /// The manifest's URL: file, http, https or s3.
    pub manifest_url: String,
    /// The whole environment: what `env` and `must_env` of the manifest see and what commands get. PATH must be in it.
    pub environment: Vec<(OsString, OsString)>,
    /// Where commands run; absolute. stretcher runs them in its own working directory.
    pub working_dir: PathBuf,
    /// Where the archive and its unpacked tree stand until they are in dest; absolute, exists. On dest's file system a
    /// new dest is filled by one rename. What a killed handler left there for the same dest is removed.
    pub temp_dir: PathBuf,
    /// Where the locks stand, one small file per dest, never removed; absolute, made when missing (mode 0700). Not in
    /// a synced tree. All handlers of a host that write to one dest must name the same directory.
    pub lock_dir: PathBuf,
    /// How long to wait for another handler on the same dest; `None` waits as long as it takes.
    pub lock_wait: Option<Duration>,
    /// How often reading the manifest and its source is tried again when it failed in a way that may pass.
    pub retry: u32,
    /// How long to wait before trying again.
    pub retry_wait: Duration,
    /// The time for fetching the source, repetitions included; `None` is no limit.
    pub timeout: Option<Duration>,
    /// The event that brought the manifest's URL; none when it came in another way. What was handled before is not handled again.
    pub event: Option<Heard>,
    /// The host's own Consul agent, to which a manifest that asks for it is reported. Without it the manifest's own commands report.
    pub consul: Option<ConsulConfig>,
    /// Sleep for a random time below this first.
    pub random_delay: Duration,
    /// The most bytes a second of the source's download; see [`crate::parse_bandwidth`].
    pub max_bandwidth: Option<u64>,
    /// Name each changed path of dest by an event and in the log, as `rsync -v` does.
    pub verbose: bool,
    /// What an archive may hold.
    pub limits: Limits,
    /// How many threads fetch, decode and write.
    pub jobs: NonZeroUsize,
}

/// How many layers of a release the host did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayersNew {
    /// Layers that were not there, the code's included.
    pub new: u64,
    /// All layers.
    pub total: u64,
}

/// What was done.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Applied {
    /// SHA-256 of the manifest as it was read, lower-case hex.
    pub manifest_sha256: String,
    /// The release, when the manifest is one of shipit's.
    pub release: Option<String>,
    /// The app, when the manifest is one of shipit's.
    pub app: Option<String>,
    /// The role, when the manifest is one of shipit's.
    pub role: Option<String>,
    /// The stage, when the manifest is one of shipit's.
    pub stage: Option<String>,
    /// Where the source went; none when the manifest has commands alone.
    pub dest: Option<PathBuf>,
    /// Bytes that were fetched: of the source, of its record and its indexes.
    pub fetched_bytes: u64,
    /// The source's size; none when it was not looked at.
    pub artifact_bytes: Option<u64>,
    /// What a host that has nothing would fetch, in bytes: the source, its record and its indexes; none when it was not looked at.
    pub total_bytes: Option<u64>,
    /// How many layers were new; none when the whole source was fetched or nothing was needed.
    pub layers: Option<LayersNew>,
    /// What the sync did; none when the manifest has commands alone.
    pub synced: Option<Synced>,
    /// Why nothing was done: an event was handed over again.
    pub replay: Option<String>,
    /// Why a `success` command failed. As in stretcher the manifest counts as applied.
    pub success_failure: Option<String>,
    /// Seconds from the manifest's URL to the end.
    pub seconds: f64,
}
