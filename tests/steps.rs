//! The presets with the real tools: bundler, carton, npm and go, each built twice in different directories, with the
//! vendored files compared byte for byte and used as a host would use them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: what fails ends the test"
)]

#[path = "steps/bench.rs"]
mod bench;
#[path = "steps/disk.rs"]
mod disk;
#[path = "steps/go.rs"]
mod go;
#[path = "steps/keys.rs"]
mod keys;
#[path = "steps/npm.rs"]
mod npm;
#[path = "steps/perl.rs"]
mod perl;
#[path = "steps/ruby.rs"]
mod ruby;
#[path = "steps/trials.rs"]
mod trials;
