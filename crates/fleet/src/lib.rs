//! The hosts of a deploy: Consul's client, events, and the transports that reach hosts.
//!
//! Two ways lead a manifest's URL to a role's hosts: [`consul`] fires an event that their watches wait for, [`exec`]
//! runs one command per host. [`event`] has what both ends agree on: an event's name, and what a handler reads; [`report`], what
//! a host says about a release. [`board`] is where a stage's lock and its hosts' reports stand: in Consul, or in the store.
//! [`follow`] waits for the reports of the hosts that a kick told.
//!
//! [`hosts`] finds the hosts that a role has, [`filters`] makes the events that reach some of them alone.
//! [`notify`] tells others how a deploy ended.
//!
//! Not here: following the manifest (shipit-host), where it is stored, and the history of kicks (shipit-store).

#![forbid(unsafe_code)]

pub mod board;
pub mod consul;
pub mod event;
pub mod exec;
pub mod filters;
pub mod follow;
pub mod hosts;
pub mod lock;
pub mod notify;
pub mod probe;
pub mod report;
mod secret;

pub use secret::Secret;
