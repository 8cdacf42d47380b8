//! Where artifacts and releases live: objects in S3 or a directory, the layout of keys, publishing, and reading by URL.
//!
//! Responsible for what is written where and in which order, for nothing being overwritten that is immutable, and for
//! what is read back being what was written. Not responsible for the AWS configuration (handed in), for what a
//! manifest says (rendered by the caller), and for what hosts do with it.

#![forbid(unsafe_code)]

mod artifact_url;
pub mod compare;
mod copy_plan;
mod directory;
mod download;
mod error;
mod event;
mod fetch;
mod key;
pub mod kick;
pub mod layout;
pub mod live;
mod location;
pub mod lock;
mod objects;
pub mod promote;
pub mod prune;
mod publish;
mod release;
mod release_id;
mod retry;
mod s3;
pub mod shared;
mod store;

pub use artifact_url::ArtifactUrl;
pub use copy_plan::Held;
pub use download::Download;
pub use error::{BoxError, Error, ErrorKind};
pub use event::{Event, OnEvent};
pub use fetch::{FetchRetry, Fetcher, FetcherOptions, Ranged, RangesOptions, S3Settings};
pub use kick::{Action, Ended, HostEnd, HostState, KICK_VERSION, KickId, KickResult, OnceEnd, Started};
pub use location::{StoreUrl, redacted};
pub use lock::Holder;
pub use objects::{Body, Content, Meta, Objects, Put, PutOptions, PutOutcome};
pub use publish::{Origin, PublishInput, Published, RenderContext, RenderManifest, RolePlan, publish};
pub use release::{
    PromotedFrom, Release, ReleaseArtifact, ReleaseRef, RoleOnce, RoleRelease, release, releases,
};
pub use release_id::ReleaseId;
pub use retry::RetryPolicy;
pub use s3::{S3Options, Sse};
pub use store::{Store, StoreOptions};
