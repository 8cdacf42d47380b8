//! The entry: opening a source, resolving a revision, taking the tree of its commit.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use crate::commit::Commit;
use crate::error::Error;
use crate::event::Event;
use crate::history::Between;
use crate::object;
use crate::options::{SourceOptions, TreeOptions};
use crate::remote::Remote;
use crate::tree::CommitTree;

/// One repository, at its remotes and in its mirror.
#[derive(Debug)]
pub struct Source {
    options: SourceOptions,
}

impl Source {
    /// Checks the options. Nothing is fetched or written yet.
    ///
    /// # Errors
    /// [`Error::NoRemote`], [`Error::PlainToken`].
    pub fn open(mut options: SourceOptions) -> Result<Self, Error> {
        object::leave_checks_to_us();
        if options.remotes.is_empty() {
            return Err(Error::NoRemote);
        }
        if let Some(token) = &mut options.credentials.token {
            if token.hosts.is_empty() {
                let own = options
                    .remotes
                    .iter()
                    .filter(|remote| matches!(remote, Remote::Http(_)));
                token.hosts = own.filter_map(Remote::host).collect();
            }
            let token = &*token;
            if let Some(plain) = options
                .remotes
                .iter()
                .find(|remote| token.names(remote) && !remote.is_protected())
            {
                return Err(Error::PlainToken {
                    remote: plain.to_string(),
                });
            }
        }
        Ok(Self { options })
    }

    /// Turns a revision into a commit whose objects are all at hand, fetching what is missing: a full or short commit id, a
    /// branch, a tag, `HEAD`, `refs/…`, `pull/N/head`, with `~n` and `^n` behind it if need be.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], [`Error::Unreachable`], [`Error::HostKey`], [`Error::Auth`] and others.
    pub fn resolve(
        &self,
        revision: &str,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Commit, Error> {
        crate::resolve::resolve(&self.options, revision, cancel, on_event)
    }

    /// The commits that lie between two revisions (full ids), at most `limit` of each side. They are read where they are at
    /// hand: in a repository on this machine, or in the mirror, whose history is fetched when it has single commits alone.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and what goes wrong on this machine. That the commits are not to be had is
    /// [`Between::Unknown`].
    pub fn between(
        &self,
        (from, to): (&str, &str),
        limit: usize,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<Between, Error> {
        crate::history::between(&self.options, (from, to), limit, cancel, on_event)
    }

    /// The subjects of those of the revisions (full ids) that are at hand. Nothing is fetched, nobody is asked.
    pub fn subjects(&self, revisions: &[String]) -> BTreeMap<String, String> {
        crate::history::subjects(&self.options, revisions)
    }

    /// The commit's files, with the meaning of `git archive`. Submodules and LFS files are fetched here, if they are on.
    ///
    /// # Errors
    /// What the commit holds and shipit refuses ([`Error::LfsPointers`], [`Error::Placeholder`], [`Error::UnsafePath`] …),
    /// and the errors of fetching.
    pub fn tree(
        &self,
        commit: &Commit,
        options: TreeOptions,
        cancel: &AtomicBool,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<CommitTree, Error> {
        CommitTree::build(&self.options, commit, options, cancel, on_event)
    }
}
