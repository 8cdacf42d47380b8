//! What can go wrong with a store, a URL or a publish, as one type with kinds that callers can act on.
//!
//! The exit codes and the rendering are the caller's; no secret (credentials, a URL's query) ever gets in here.

mod hint;

use std::path::PathBuf;
use std::time::Duration;

use crate::lock::Holder;

/// A cause of unknown type, kept as the error's source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The group that an error belongs to; a caller decides its exit code and whether to go on by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A URL, key, name or setting that can never work.
    Usage,
    /// The object, or the release, is not there.
    NotFound,
    /// The bucket, or the store's directory, is not there.
    NoBucket,
    /// No credentials, or ones that the server does not accept.
    Credentials,
    /// The credentials are fine, and may not do this.
    Denied,
    /// The bucket is in another region, or the clock is off, or the endpoint is not an S3 server.
    Setup,
    /// Not reachable, timed out, or failing on the server's side, after all retries.
    Unreachable,
    /// An immutable object is there already with other content.
    Different,
    /// A conditional write met an object that somebody else had changed.
    Changed,
    /// Content that is not what it should be: a checksum, a length, a document that does not parse.
    Corrupt,
    /// The local disk: full, not permitted, not readable.
    Local,
    /// A manifest could not be rendered, or is not one that may be uploaded.
    Manifest,
    /// Somebody else has the lock, or it was lost.
    Locked,
    /// Answered in a way that shipit does not know.
    Server,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A store's URL that is none.
    #[error("{url:?} is not the URL of a store: {why}")]
    BadStoreUrl {
        /// As given, without credentials.
        url: String,
        /// Why not.
        why: String,
    },
    /// A setting of the store that cannot work.
    #[error("the store's settings cannot be used: {why}")]
    BadOptions {
        /// Why not.
        why: String,
    },
    /// A URL that nothing can be read from.
    #[error("cannot read {url:?}: {why}")]
    BadSource {
        /// As given, without credentials and query.
        url: String,
        /// Why not.
        why: String,
    },
    /// A key that a store cannot hold.
    #[error("the key {key:?} cannot be used in a store: {why}")]
    BadKey {
        /// The key.
        key: String,
        /// Why not.
        why: String,
    },
    /// A name (app, stage, role, release id, digest) that cannot be part of a key.
    #[error("{what} {name:?} cannot be used: {why}")]
    BadName {
        /// Which name.
        what: &'static str,
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
    /// The object is not there.
    #[error("{url} does not exist")]
    NotFound {
        /// The object.
        url: String,
    },
    /// The asked range lies outside of the object.
    #[error("bytes {start} to {end} of {url} were asked for, and it has {size}")]
    OutOfRange {
        /// The object.
        url: String,
        /// First byte asked for.
        start: u64,
        /// One past the last byte asked for.
        end: u64,
        /// The object's size as far as known.
        size: String,
    },
    /// The bucket is not there.
    #[error("the bucket {bucket:?} does not exist{at}")]
    NoBucket {
        /// The bucket.
        bucket: String,
        /// ` at <endpoint>`, or nothing on AWS.
        at: String,
    },
    /// The store's directory is not there.
    #[error("the store {store} is not there: {why}")]
    NoDirectory {
        /// The store.
        store: String,
        /// How.
        why: &'static str,
    },
    /// No credentials were found.
    #[error("no AWS credentials were found while {doing}")]
    NoCredentials {
        /// What was being done, to what.
        doing: String,
        /// What the provider said, where it says more than that it has none.
        source: Option<BoxError>,
    },
    /// The credentials were not accepted.
    #[error("{code}: the credentials were not accepted while {doing}")]
    BadCredentials {
        /// What was being done, to what.
        doing: String,
        /// The server's code.
        code: String,
    },
    /// Not permitted.
    #[error("{action} on {url} was denied{detail}")]
    Denied {
        /// The action's name as policies have it, as `s3:PutObject`.
        action: &'static str,
        /// The object or bucket.
        url: String,
        /// What the server said, with a leading `: `, or nothing.
        detail: String,
    },
    /// The bucket is in another region.
    #[error("the bucket {bucket:?} is not in the region {region:?}{right}")]
    WrongRegion {
        /// The bucket.
        bucket: String,
        /// The region that was used.
        region: String,
        /// ` but in <region>`, or nothing when the server did not tell.
        right: String,
        /// The right region, when the server told.
        expected: Option<String>,
    },
    /// The clock differs too much from the server's.
    #[error("the server refused {doing} because this machine's clock differs from its own")]
    ClockSkew {
        /// What was being done, to what.
        doing: String,
    },
    /// Not reachable, after all retries.
    #[error("no answer while {doing} ({attempts} {})", if *attempts == 1 { "attempt" } else { "attempts" })]
    Unreachable {
        /// What was being done, to what.
        doing: String,
        /// How often it was tried.
        attempts: u32,
        /// The last cause.
        source: BoxError,
    },
    /// Nothing moved for too long.
    #[error("nothing was received or sent for {} s while {doing}", after.as_secs())]
    Stalled {
        /// What was being done, to what.
        doing: String,
        /// For how long.
        after: Duration,
    },
    /// The server failed or refused, after all retries.
    #[error("the server answered {status} {code} while {doing}{detail}")]
    Server {
        /// What was being done, to what.
        doing: String,
        /// The HTTP status, 0 when there was none.
        status: u16,
        /// The server's code, or the status in words.
        code: String,
        /// What the server said, with a leading `: `, or nothing.
        detail: String,
        /// Whether it is the kind of answer that may pass.
        passing: bool,
    },
    /// The request could not even be made.
    #[error("the request could not be made while {doing}")]
    Request {
        /// What was being done, to what.
        doing: String,
        /// Why not.
        source: BoxError,
    },
    /// An immutable object is there already with other content.
    #[error("{url} exists already with other content ({detail})")]
    Different {
        /// The object.
        url: String,
        /// How they differ.
        detail: String,
    },
    /// A conditional write met another state.
    #[error("{url} was changed by somebody else")]
    Changed {
        /// The object.
        url: String,
    },
    /// Content that is not what it should be.
    #[error("{url} is not what it should be: {why}")]
    Corrupt {
        /// The object, or the local file.
        url: String,
        /// How.
        why: String,
    },
    /// A local file that is to be published, and is not what its record says.
    #[error("{path} is not what it should be: {why}")]
    DamagedFile {
        /// The file, or `(memory)`.
        path: String,
        /// How.
        why: String,
    },
    /// The local disk.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb, as `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A release is named that is not there.
    #[error("no release {id} of {app} in {stage} in {store}")]
    NoRelease {
        /// The store.
        store: String,
        /// The app.
        app: String,
        /// The stage.
        stage: String,
        /// The id, or `at all`.
        id: String,
        /// The ids of the newest that are there, newest first.
        newest: Vec<String>,
    },
    /// A manifest could not be rendered.
    #[error("cannot render the manifest of role {role}")]
    Render {
        /// The role.
        role: String,
        /// Why not.
        source: BoxError,
    },
    /// A rendered manifest that may not be uploaded.
    #[error("the manifest of role {role} cannot be published: {}", problems.join("; "))]
    BadManifest {
        /// The role.
        role: String,
        /// Each thing that is wrong with it.
        problems: Vec<String>,
    },
    /// Too many releases in the seconds that follow.
    #[error("no free release id for {app} in {stage} from {from} on ({tried} seconds tried)")]
    NoFreeId {
        /// The app.
        app: String,
        /// The stage.
        stage: String,
        /// The first id tried.
        from: String,
        /// How many were tried.
        tried: u32,
    },
    /// Somebody has the lock.
    #[error("{what} is locked by {}", holder.who)]
    Locked {
        /// What is locked.
        what: String,
        /// Who has it, since when, what for.
        holder: Box<Holder>,
    },
    /// A lock that was ours is not any more.
    #[error("the lock of {what} was lost: {why}")]
    LockLost {
        /// What was locked.
        what: String,
        /// How.
        why: String,
        /// Who has it now, when that is known.
        now: Option<Box<Holder>>,
    },
    /// A task ended in a way that it never should.
    #[error("a task of the store ended early")]
    Task {
        /// How.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// The group that it belongs to.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::BadStoreUrl { .. }
            | Self::BadOptions { .. }
            | Self::BadSource { .. }
            | Self::BadKey { .. }
            | Self::BadName { .. } => ErrorKind::Usage,
            Self::NotFound { .. } | Self::NoRelease { .. } => ErrorKind::NotFound,
            Self::NoBucket { .. } | Self::NoDirectory { .. } => ErrorKind::NoBucket,
            Self::NoCredentials { .. } | Self::BadCredentials { .. } => ErrorKind::Credentials,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::WrongRegion { .. } | Self::ClockSkew { .. } | Self::Request { .. } => ErrorKind::Setup,
            Self::Unreachable { .. } | Self::Stalled { .. } => ErrorKind::Unreachable,
            Self::Server { passing: true, .. } => ErrorKind::Unreachable,
            Self::Server { .. } | Self::NoFreeId { .. } | Self::Task { .. } => ErrorKind::Server,
            Self::Different { .. } => ErrorKind::Different,
            Self::Changed { .. } => ErrorKind::Changed,
            Self::Corrupt { .. } | Self::DamagedFile { .. } | Self::OutOfRange { .. } => ErrorKind::Corrupt,
            Self::Io { .. } => ErrorKind::Local,
            Self::Locked { .. } | Self::LockLost { .. } => ErrorKind::Locked,
            Self::Render { .. } | Self::BadManifest { .. } => ErrorKind::Manifest,
        }
    }

    /// Whether trying again may help: only what a network or a busy server explains.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Stalled { .. } | Self::Server { passing: true, .. }
        )
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}
