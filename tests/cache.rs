//! The layer cache on real file systems, full ones and read-only ones, and `shipit cache`.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: what fails ends the test"
)]

#[path = "cache/command.rs"]
mod command;
#[path = "cache/disks.rs"]
mod disks;
#[path = "cache/processes.rs"]
mod processes;
#[path = "cache/setup.rs"]
mod setup;
