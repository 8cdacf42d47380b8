//! Consul's HTTP API, as far as a deploy needs it: events, keys and values, sessions, and which nodes there are.
//!
//! A 200 for an event means accepted by the agent, not delivered to a host. What the environment says (CONSUL_HTTP_ADDR
//! and its like) is settled by the caller into a [`ConsulConfig`]. What the keys mean is not known here.

mod call;
mod catalog;
mod client;
mod config;
mod error;
mod kv;
mod request;
mod session;
mod tls;
mod txn;
mod wait;

pub use catalog::{AGENT_CHECK, AgentSelf, Check, ServiceNode};
pub use client::Client;
pub use config::{Address, ConsulConfig, Tls};
pub use error::{Error, ErrorKind};
pub use kv::{Blocking, KvEntry, KvList, Read};
pub(crate) use request::escape;
pub use request::{EventId, EventRequest, TooLong, exact, preflight};
pub use txn::{Op, Txn};
pub use wait::{OnWait, Waiting};
