//! The default manifests under the real stretcher: deploys, replays, rollbacks, and kills at any point.
//!
//! A deploy here is what `consul watch` would run: the handler's lock, a temporary directory of its own, and stretcher
//! with the manifest's URL on its standard input.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "test code: it reads the environment and prints"
)]

#[path = "manifest/host.rs"]
mod host;
#[path = "manifest/kills.rs"]
mod kills;
#[path = "manifest/layouts.rs"]
mod layouts;
#[path = "manifest/quoting.rs"]
mod quoting;
#[path = "manifest/releases.rs"]
mod releases;
