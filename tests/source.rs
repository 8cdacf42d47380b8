//! The source of a deploy against real git: repositories over HTTP, ssh, `file://` and paths, and exports compared with
//! `git archive`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "test code: it reads the environment and prints, and what goes wrong ends the test"
)]

#[path = "source/archive.rs"]
mod archive;
#[path = "source/between.rs"]
mod between;
#[path = "source/export.rs"]
mod export;
#[path = "source/faults.rs"]
mod faults;
#[path = "source/lacks.rs"]
mod lacks;
#[path = "source/names.rs"]
mod names;
#[path = "source/parts.rs"]
mod parts;
#[path = "source/planned.rs"]
mod planned;
#[path = "source/remotes.rs"]
mod remotes;
#[path = "source/silent.rs"]
mod silent;
#[path = "source/ssh.rs"]
mod ssh;
#[path = "source/subst.rs"]
mod subst;
#[path = "source/support.rs"]
mod support;
#[path = "source/tokens.rs"]
mod tokens;
