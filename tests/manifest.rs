//! The default manifests under the real stretcher: deploys, replays, rollbacks, and kills at any point.
//!
//! A deploy here is what `consul watch` would run: the handler's lock, a temporary directory of its own, and stretcher
//! with the manifest's URL on its standard input.

#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: helpers outside of the test functions, too"
)]

#[path = "manifest/answers.rs"]
mod answers;
#[path = "manifest/host.rs"]
mod host;
#[path = "manifest/kills.rs"]
mod kills;
#[path = "manifest/layouts.rs"]
mod layouts;
#[path = "manifest/logs.rs"]
mod logs;
#[path = "manifest/once.rs"]
mod once;
#[path = "manifest/quoting.rs"]
mod quoting;
#[path = "manifest/releases.rs"]
mod releases;
#[path = "manifest/reports.rs"]
mod reports;
#[path = "manifest/yaml.rs"]
mod yaml;
