//! The config: `shipit.toml` found, read, checked, a stage laid over it, and settled into one typed value.
//!
//! The order is: the text with its spans (`text`), the check of every table against the file's types (`file`,
//! `check`), the stage's keys laid over the base (`layers`), and the settled value (`settled`). Nothing is fetched,
//! opened or run here, and no environment variable is read except through the function that the caller hands in.

mod duration;
mod error;
mod names;
mod provenance;
mod request;
mod setting;
mod settled;

pub use duration::Span;
pub use error::{ConfigError, Invalid, Lint, Problem};
pub use provenance::Provenance;
pub use request::{ConfigRequest, Override, StageChoice};
pub use setting::{EnvRef, Origin, Resolved, Secret, Setting};
pub use settled::{
    Build, Compression, Consul, Exec, Fetch, Filter, Kick, Layout, Role, Settled, Source, Step,
    Store, Test, Tool, Transport,
};
