//! The hosts of a deploy: Consul's client, events, and the transports that reach hosts.
//!
//! Two ways lead a manifest's URL to a role's hosts: [`consul`] fires an event that their watches wait for, [`exec`]
//! runs one command per host. [`event`] has what both ends agree on: an event's name, and what a handler reads.
//!
//! Not here: following the manifest (shipit-host), and where it is stored (shipit-store).

#![forbid(unsafe_code)]

pub mod consul;
pub mod event;
pub mod exec;
mod secret;

pub use secret::Secret;
