//! The Consul client against real agents: what is fired arrives where it should, and every refusal has its kind.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "test code: helpers outside of the test functions, too"
)]

#[path = "consul/agents.rs"]
mod agents;
#[path = "consul/failures.rs"]
mod failures;
#[path = "consul/fire.rs"]
mod fire;
#[path = "consul/secured.rs"]
mod secured;
