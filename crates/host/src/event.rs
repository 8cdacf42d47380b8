//! What a host says while it applies a manifest: events for the caller, and the line that each leaves in the log.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

/// Which commands of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// After the source was fetched and checked, before it is unpacked.
    Pre,
    /// After dest was synced.
    Post,
    /// After all went well; gets the log on standard input.
    Success,
    /// After a failure from the fetch through `post`; gets the log on standard input.
    Failure,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pre => "pre",
            Self::Post => "post",
            Self::Success => "success",
            Self::Failure => "failure",
        })
    }
}

/// Where a command's output belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Both outputs of a `pre` or `post` command, which stand in the log too; stretcher writes them to stderr.
    Log,
    /// Standard output of a `success` or `failure` command.
    Stdout,
    /// Standard error of a `success` or `failure` command.
    Stderr,
}

/// How the unpacked tree came to dest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Dest was not there: the unpacked directory was renamed to it.
    Renamed,
    /// Dest was brought in line file by file, as `rsync -a --delete` does.
    Synced,
    /// The tree was put together from the host's layers and what was new, and renamed to dest.
    Assembled,
    /// The release was complete in its place already.
    InPlace,
}

/// What the sync did, counted in entries (files, links and directories).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Synced {
    /// How dest was filled.
    pub method: Method,
    /// Entries that were not there.
    pub created: u64,
    /// Files and links that were replaced.
    pub updated: u64,
    /// Entries that were removed.
    pub deleted: u64,
    /// Files and links that were left as they are.
    pub unchanged: u64,
}

/// What happens, as it happens.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A random delay before the manifest is read.
    Delayed {
        /// How long, in seconds.
        seconds: f64,
    },
    /// The manifest is being read.
    ManifestLoading {
        /// Its URL, without credentials and query.
        url: String,
    },
    /// The manifest is read and understood.
    ManifestLoaded {
        /// The source, without credentials and query; none when the manifest has commands alone.
        src: Option<String>,
        /// Where it goes.
        dest: Option<PathBuf>,
        /// The release, when the manifest is one of shipit's.
        release: Option<String>,
        /// Numbers of pre, post, success and failure commands.
        commands: [usize; 4],
    },
    /// An event was handed over again that is not handled again.
    Replayed {
        /// The event's name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// The host's memory of events could not be written: a replay may be handled again.
    NotRemembered {
        /// Why.
        why: String,
    },
    /// Consul was not told how it goes. Said once.
    NotReported {
        /// Why.
        why: String,
    },
    /// Another handler works on the same dest: waiting for it.
    LockWaiting {
        /// What the lock guards.
        dest: PathBuf,
        /// The lock's file.
        lock: PathBuf,
    },
    /// The other handler ended.
    LockTaken {
        /// Seconds waited.
        waited_seconds: f64,
    },
    /// What a killed handler left was removed.
    LeftoverRemoved {
        /// What it was.
        path: PathBuf,
    },
    /// The source is being fetched.
    Fetching {
        /// Its URL, without credentials and query.
        url: String,
        /// Bytes announced.
        total: Option<u64>,
    },
    /// More of the source came; at most ten a second.
    FetchProgress {
        /// Bytes so far.
        done: u64,
        /// Bytes announced.
        total: Option<u64>,
    },
    /// The source is there and is what the manifest names.
    Fetched {
        /// Bytes.
        bytes: u64,
        /// Seconds it took.
        seconds: f64,
        /// md5, sha1, sha256 or sha512.
        algorithm: &'static str,
        /// Lower-case hex.
        checksum: String,
    },
    /// The release stands complete in its place: nothing is fetched.
    ReleaseComplete {
        /// Where.
        path: PathBuf,
    },
    /// What the release needs was held against what the host has.
    LayersFound {
        /// Layers that the host does not hold whole, the code's included.
        new: u64,
        /// All layers.
        total: u64,
        /// Bytes of the frames to be fetched.
        fetch_bytes: u64,
        /// The artifact's size.
        artifact_bytes: u64,
    },
    /// The frames that the host lacked are there.
    FetchedFrames {
        /// How many.
        frames: u64,
        /// Bytes received.
        bytes: u64,
        /// Seconds it took.
        seconds: f64,
    },
    /// A layer on the host is not as it was put there; it is made again.
    LayerDamaged {
        /// Its name.
        layer: String,
        /// Where its files stand.
        path: PathBuf,
        /// How many of its entries are missing or differ.
        entries: u64,
    },
    /// A layer that no release uses was removed.
    LayerRemoved {
        /// Where it stood.
        path: PathBuf,
    },
    /// The release cannot be put together by its difference: the whole artifact is fetched.
    WholeInstead {
        /// Why.
        reason: String,
    },
    /// A command begins.
    CommandStarted {
        /// Its phase.
        phase: Phase,
        /// Which of them, from 1.
        index: usize,
        /// How many the phase has.
        of: usize,
        /// The whole command, values of secrets masked.
        command: String,
    },
    /// A command wrote something.
    Output {
        /// The command's phase.
        phase: Phase,
        /// Where it belongs.
        stream: Stream,
        /// The bytes, cut anywhere; serialised as text, what is not UTF-8 replaced.
        #[serde(serialize_with = "lossy")]
        data: Vec<u8>,
    },
    /// A command ended.
    CommandEnded {
        /// Its phase.
        phase: Phase,
        /// Which of them, from 1.
        index: usize,
        /// "exit status 0", "killed by signal 9".
        status: String,
        /// Whether it ended well.
        ok: bool,
        /// Seconds it took.
        seconds: f64,
    },
    /// A command left a process behind that holds its output open; it was not waited for.
    OutputAbandoned {
        /// The command's phase.
        phase: Phase,
        /// Which of them, from 1.
        index: usize,
    },
    /// The archive is being unpacked.
    Unpacking {
        /// Into this temporary directory.
        dir: PathBuf,
    },
    /// The archive is unpacked.
    Unpacked {
        /// Entries.
        entries: u64,
        /// Bytes of the files.
        bytes: u64,
    },
    /// Dest is being filled.
    Syncing {
        /// Dest.
        dest: PathBuf,
    },
    /// One entry of dest changed; only when the request asks for it.
    Changed {
        /// `new`, `updated` or `deleting`.
        how: &'static str,
        /// The path below dest.
        path: PathBuf,
    },
    /// Dest holds the tree.
    Synced(Synced),
    /// A temporary directory could not be removed.
    NotRemoved {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// All through `post` went well; the `success` commands follow.
    Succeeded,
    /// Something failed; the `failure` commands follow.
    Failed {
        /// The error and its causes.
        error: String,
    },
    /// A `success` or `failure` command failed, which changes nothing.
    HandlerFailed {
        /// `success` or `failure`.
        phase: Phase,
        /// The error and its causes.
        error: String,
    },
}

fn lossy<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(data))
}

impl Event {
    /// The line that the event leaves in the log that `success` and `failure` get; none for what is not logged.
    pub(crate) fn log_line(&self) -> Option<String> {
        Some(match self {
            Self::Delayed { seconds } => format!("Sleeping {seconds:.1}s"),
            Self::ManifestLoading { url } => format!("Loading manifest: {url}"),
            Self::ManifestLoaded {
                src: Some(src),
                dest: Some(dest),
                ..
            } => {
                format!("Executing manifest: {src} to {}", dest.display())
            }
            Self::ManifestLoaded { .. } => "Executing manifest: commands only".to_owned(),
            Self::Replayed { name, why } => format!("Nothing to do for the event {name}: {why}"),
            Self::NotRemembered { why } => format!("Could not note the event: {why}"),
            Self::NotReported { why } => format!("Not reported to Consul: {why}"),
            Self::LockWaiting { dest, .. } => format!("Waiting for another handler on {}", dest.display()),
            Self::LockTaken { waited_seconds } => {
                format!("The other handler ended after {waited_seconds:.1}s")
            }
            Self::LeftoverRemoved { path } => {
                format!("Removed what a killed handler left: {}", path.display())
            }
            Self::Fetching { url, .. } => format!("Loading URL {url}"),
            Self::Fetched {
                bytes,
                seconds,
                checksum,
                ..
            } => {
                format!("Fetched {bytes} bytes in {seconds:.1}s\nChecksum ok: {checksum}")
            }
            Self::ReleaseComplete { path } => format!("{} is complete: nothing is fetched", path.display()),
            Self::LayersFound {
                new,
                total,
                fetch_bytes,
                artifact_bytes,
            } => {
                format!("{new} of {total} layers new: fetching {fetch_bytes} of {artifact_bytes} bytes")
            }
            Self::FetchedFrames {
                frames,
                bytes,
                seconds,
            } => {
                format!("Fetched {frames} frames, {bytes} bytes in {seconds:.1}s")
            }
            Self::LayerDamaged { layer, path, entries } => format!(
                "{}: {entries} of the entries of the layer {layer} not as put there; making it again",
                path.display()
            ),
            Self::LayerRemoved { path } => format!("Removed the unused layer {}", path.display()),
            Self::WholeInstead { reason } => format!("Fetching the whole artifact: {reason}"),
            Self::CommandStarted { command, .. } => format!("invoking command: {command}"),
            Self::OutputAbandoned { phase, index } => {
                format!(
                    "{phase} command {index} left a process that holds its output open; going on without it"
                )
            }
            Self::Unpacking { dir } => format!("Extract archive to {}", dir.display()),
            Self::Unpacked { entries, bytes } => format!("Extracted {entries} entries, {bytes} bytes"),
            Self::Syncing { dest } => format!("Syncing to {}", dest.display()),
            Self::Changed { how, path } => format!("{how} {}", path.display()),
            Self::Synced(done) => format!(
                "Synced: {} new, {} updated, {} deleted, {} unchanged",
                done.created, done.updated, done.deleted, done.unchanged
            ),
            Self::NotRemoved { path, reason } => format!("Could not remove {}: {reason}", path.display()),
            Self::Succeeded => "Deploy manifest succeeded.".to_owned(),
            Self::Failed { error } => format!("Deploy manifest failed: {error}"),
            Self::HandlerFailed { phase, error } => format!("{phase} command failed: {error}"),
            Self::FetchProgress { .. } | Self::Output { .. } | Self::CommandEnded { .. } => return None,
        })
    }
}
