//! The Consul client and the board against real agents: what is fired arrives where it should, locks hold, reports are seen, and
//! every refusal has its kind. The board's suite is held by the store's boards, too.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: helpers outside of the test functions, too"
)]

#[path = "consul/agents.rs"]
mod agents;
#[path = "consul/allowed.rs"]
mod allowed;
#[path = "consul/board.rs"]
mod board;
#[path = "consul/failures.rs"]
mod failures;
#[path = "consul/faults.rs"]
mod faults;
#[path = "consul/fire.rs"]
mod fire;
#[path = "consul/held.rs"]
mod held;
#[path = "consul/hosts.rs"]
mod hosts;
#[path = "consul/kept.rs"]
mod kept;
#[path = "consul/keys.rs"]
mod keys;
#[path = "consul/many.rs"]
mod many;
#[path = "consul/policies.rs"]
mod policies;
#[path = "consul/secured.rs"]
mod secured;
