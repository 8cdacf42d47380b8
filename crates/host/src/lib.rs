//! What a host does with a manifest: fetch, check, unpack, sync, run commands; what stretcher does, in Rust.
//!
//! [`apply()`] takes a manifest's URL and settled options. The order is stretcher's: fetch the source and check it;
//! `pre`; unpack; sync to dest; `post`; then `success`, or `failure` after a failure in any of these, both with the
//! log on standard input. docs/stretcher-compatibility.md lists every difference.
//!
//! [`verify()`] holds the release in service against its indexes.
//!
//! Not done here: reading Consul's event from standard input (shipit-fleet), deciding the exit code (the cli), and
//! what the manifest's own commands do with a release (its template, in shipit-manifest).
//!
//! The modules, in the order in which they come into play: `apply` (the order of things), `plan` (what the manifest
//! asks for), `lock`, `difference` (what the host has is not fetched) or `download`, `stage` (temporary files), `command` with `groups`, `archive`, `sync` with `filter` and `pattern`;
//! `log` carries every event, `report` tells Consul how it goes, `replay` remembers events.

#![forbid(unsafe_code)]

mod apply;
mod archive;
mod bandwidth;
mod checksum;
mod command;
mod difference;
mod download;
mod error;
mod event;
mod filter;
mod groups;
mod lock;
mod log;
mod mask;
mod pattern;
mod plan;
mod replay;
mod report;
mod request;
mod stage;
mod sync;
mod verify;

pub use apply::{apply, manifest_sha256};
pub use bandwidth::{BandwidthError, parse_bandwidth};
pub use error::{Error, ErrorKind};
pub use event::{Event, Method, Phase, Stream, Synced};
pub use log::OnEvent;
pub use request::{Applied, ApplyRequest, LayersNew};
pub use shipit_artifact::Limits;
pub use verify::{Drift, DriftKind, Verified, VerifyTarget, verify};
