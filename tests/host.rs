//! A host against the real stretcher and the real rsync: same manifest, same outcome, same files on disk; and what is
//! done to a host that must not harm it.
//!
//! Every test runs the library's `apply` in this process, or in a copy of it that can be killed.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that fails panics"
)]

#[path = "host/binary.rs"]
mod binary;
#[path = "host/by_difference.rs"]
mod by_difference;
#[path = "host/cases.rs"]
mod cases;
#[path = "host/corpus.rs"]
mod corpus;
#[path = "host/fallback.rs"]
mod fallback;
#[path = "host/faults.rs"]
mod faults;
#[path = "host/filters.rs"]
mod filters;
#[path = "host/followed.rs"]
mod followed;
#[path = "host/hostile.rs"]
mod hostile;
#[path = "host/kills.rs"]
mod kills;
#[path = "host/layers.rs"]
mod layers;
#[path = "host/live.rs"]
mod live;
#[path = "host/manifests.rs"]
mod manifests;
#[path = "host/releases.rs"]
mod releases;
#[path = "host/replays.rs"]
mod replays;
#[path = "host/reports.rs"]
mod reports;
#[path = "host/setup.rs"]
mod setup;
#[path = "host/shop.rs"]
mod shop;
#[path = "host/support.rs"]
mod support;
