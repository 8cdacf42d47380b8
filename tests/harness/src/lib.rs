//! The real parts that the tests run against: servers started on addresses of their own and gone afterwards,
//! repositories and package sources made on the spot, and a way to run programs and look at how they ended.
//!
//! `tests/testbed/install.sh` installs the parts; this crate finds and starts them. It replaces none of them:
//! where a part is missing, it panics with what to do, and never skips.
//!
//! Everything here is blocking and panics when the testbed itself fails. What the product does wrong comes
//! back as a value, for the test to judge.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "this crate is test code: it reads the environment, prints, and a part that fails ends the test"
)]

mod cgi;
mod chunks;
mod cmd;
mod consul;
mod fault;
mod files;
pub mod fixtures;
mod git_http;
pub mod http;
mod pipes;
pub mod ports;
mod process;
pub mod procs;
mod proxy;
mod ran;
mod relay;
mod s3;
mod serve;
mod spawner;
mod sshd;
mod tmp;
mod tmpfs;
mod tools;
mod wait;

pub use cmd::Cmd;
pub use consul::{ConsulAgent, ConsulCluster};
pub use fault::Fault;
pub use files::FileServer;
pub use fixtures::repo::{Repo, git_env};
pub use git_http::{GitHttp, GitHttpOptions};
pub use process::Process;
pub use proxy::{Count, FaultProxy, Seen};
pub use ran::Ran;
pub use rustix::process::Signal;
pub use s3::S3Server;
pub use sshd::{SshAgent, Sshd};
pub use tmp::{Tmp, random_hex};
pub use tmpfs::Tmpfs;
pub use tools::Testbed;
pub use wait::{until, wait_for};
