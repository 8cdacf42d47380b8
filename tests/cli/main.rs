//! The built binary, as its users run it: the whole job against real servers, and what it says to bad input.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

mod aged;
mod bad_input;
mod cached;
mod commits;
mod diff;
mod edits;
mod explained;
mod faults;
mod fleet;
mod history;
mod installers;
mod kicks;
mod kicks_asked;
mod kicks_back;
mod kicks_consul;
mod kicks_killed;
mod kicks_lock;
mod kicks_many;
mod kicks_nodes;
mod kicks_once;
mod kicks_replay;
mod kicks_waves;
mod kicks_ways;
mod killed;
mod layers;
mod limits;
mod lost;
mod notices;
mod outage;
mod plain;
mod project;
mod promote;
mod prune;
mod prune_faults;
mod releases;
mod secrets;
mod small;
mod status;
mod stops;
mod strace;
mod trees;
mod victims;
mod warm;
mod whole_job;
