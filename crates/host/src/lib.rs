//! What a host does with a manifest: fetch, check, unpack, sync, run commands; what stretcher does, in Rust.
//!
//! [`apply`](ApplyRequest) takes a manifest's URL and settled options. The order is stretcher's: fetch the source and check it;
//! `pre`; unpack; sync to dest; `post`; then `success`, or `failure` after a failure in any of these, both with the
//! log on standard input. docs/stretcher-compatibility.md lists every difference.
//!
//! Not done here: reading Consul's event from standard input (shipit-fleet), deciding the exit code (the cli), and
//! what the manifest's own commands do with a release (its template, in shipit-manifest).
//!
//! Modules: [`checksum`], [`bandwidth`]; the types are in [`request`], [`event`] and [`error`].

mod bandwidth;
mod checksum;
mod error;
mod event;
mod request;

pub use bandwidth::{BandwidthError, parse_bandwidth};
pub use error::{Cause, Error, ErrorKind};
pub use event::{Event, Method, Phase, Stream, Synced};
pub use request::{Applied, ApplyRequest, Limits};
