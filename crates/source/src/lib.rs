//! The source of a deploy: the mirror of a git repository, a revision in it, the tree of its commit, the export of that
//! tree.
//!
//! [`Source::open`] takes settled [`SourceOptions`], [`Source::resolve`] turns what a user typed into a [`Commit`] (and
//! fetches what is missing), [`Source::tree`] gives the commit's files with the meaning of `git archive`, and
//! [`CommitTree::export`] writes them to a directory.
//!
//! Not done here: nothing is built, packed or published, no branch is followed, and nothing is ever pushed.
//!
//! The environment is not read, with the exceptions that git's nature forces: libgit2 reads the user's git config for
//! `safe.directory`, proxies and `url.*.insteadOf`, and talks to the ssh-agent; the git program gets the environment that
//! [`SourceOptions::git_env`] names.
#![forbid(unsafe_code)]

mod attributes;
mod commit;
mod commit_text;
mod config_text;
mod convert;
mod credentials;
mod date;
mod descent;
mod encoding;
mod error;
mod event;
mod export;
mod git_program;
mod hint;
mod history;
mod known_hosts;
mod lack;
mod large;
mod level;
mod lfs;
mod local;
mod mirror;
mod mirrored;
mod object;
mod options;
mod origin;
mod planned;
mod remote;
mod repository;
mod resolve;
mod revision;
mod revision_file;
mod source;
mod submodule;
mod subst;
mod transport;
mod tree;
mod walk;
mod write;

pub use commit::Commit;
pub use credentials::{Credentials, Secret, Token};
pub use error::{Error, ErrorKind, Unreached};
pub use event::Event;
pub use export::Exported;
pub use history::{Between, History, Side};
pub use options::{Fetch, SourceOptions, Submodules, Timeouts, TreeOptions};
pub use planned::Planned;
pub use remote::{Remote, RemoteError};
pub use source::Source;
pub use tree::CommitTree;
pub use write::WriteOptions;
