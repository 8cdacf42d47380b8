//! Consul's HTTP API, as far as a deploy needs it: firing an event, and asking whether there is a cluster.
//!
//! A 200 for an event means accepted by the agent, not delivered to a host. What the environment says (CONSUL_HTTP_ADDR
//! and its like) is settled by the caller into a [`ConsulConfig`].

mod client;
mod config;
mod error;
mod request;

pub use client::Client;
pub use config::{Address, ConsulConfig, Tls};
pub use error::{Error, ErrorKind};
pub use request::{EventId, EventRequest, TooLong, any_of, exact, preflight};
