//! The whole loop over a cluster of real Consul agents, whose hosts run `consul watch` with the real stretcher or with
//! `shipit apply`: what a kick says when hosts, the leader, the store or the kick itself fail on the way.
//!
//! A start of a cluster takes seconds, so that a test goes through several faults with one.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

#[path = "cluster/acl.rs"]
mod acl;
#[path = "cluster/deadline.rs"]
mod deadline;
#[path = "cluster/host.rs"]
mod host;
#[path = "cluster/kicks.rs"]
mod kicks;
#[path = "cli/project.rs"]
#[expect(dead_code, reason = "the target cli uses all of it")]
mod project;
#[path = "cluster/replays.rs"]
mod replays;
#[path = "cluster/shop.rs"]
mod shop;
#[path = "cluster/store.rs"]
mod store;
#[path = "cluster/waves.rs"]
mod waves;
