//! From the crates' events to lines and bars: one reporter per crate. What is a warning, what is news, what is only a bar's
//! progress is decided here.

mod artifact;
mod exec;
mod host;
mod kick;
mod source;
mod steps;
mod store;

pub use artifact::Artifact;
pub use exec::{Exec, result};
pub use host::Host;
pub use kick::{Kick, last_lines};
pub use source::Source;
pub use steps::{Steps, step_failed};
pub use store::Store;
