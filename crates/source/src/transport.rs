//! Talking to a remote: which program does it, what is asked, how it fails. What is asked when is decided in `resolve`.

mod git;
mod helper;
mod libgit2;

use std::sync::atomic::AtomicBool;

use git2::Oid;

use crate::error::Error;
use crate::event::Event;
use crate::known_hosts;
use crate::mirror::Mirror;
use crate::options::{Fetch, SourceOptions};
use crate::remote::Remote;

/// A ref that a remote advertises.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub name: String,
    /// The commit where the remote says so (an annotated tag's target), else whatever the ref holds.
    pub id: Oid,
}

/// How much history a fetch brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// One commit without its parents.
    One,
    /// What is missing; single commits stay single.
    Missing,
    /// Everything, also behind commits that were fetched alone.
    Everything,
}

/// One fetch.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub refspecs: Vec<String>,
    pub depth: Depth,
    pub prune: bool,
    /// For people: a commit id, a ref's name, `all branches and tags`.
    pub what: String,
}

/// Why a remote gave nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It did not answer, or broke off, or has no such repository.
    Unreachable(String),
    Auth(String),
    HostKey {
        reason: String,
        advice: String,
    },
    /// libssh2 was shown a key of a type that known_hosts has no key of.
    OtherKeyTypes {
        reason: String,
        advice: String,
    },
    /// The server does not hand this object out; it may have it.
    NotGiven(String),
    /// The server has no such object, by its own word.
    Absent(String),
    /// The mirror's objects do not fit together.
    Damaged(String),
    /// Nothing to do with the remote.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// What every exchange with remotes needs.
pub(crate) struct Wire<'a> {
    pub source: &'a SourceOptions,
    pub mirror: &'a Mirror,
    pub cancel: &'a AtomicBool,
    pub on_event: &'a (dyn Fn(Event) + Sync),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Libgit2,
    Git,
}

impl Wire<'_> {
    /// The refs that a remote has.
    pub(crate) fn list(&self, remote: &Remote) -> Result<Vec<Head>, Failure> {
        self.with(remote, "its branches and tags", false, |program| match program {
            Program::Libgit2 => libgit2::list(self, remote),
            Program::Git => git::list(self, remote),
        })
    }

    /// Fetches into the mirror.
    pub(crate) fn fetch(&self, remote: &Remote, request: &Request) -> Result<(), Failure> {
        self.with(
            remote,
            &request.what,
            request.depth == Depth::One,
            |program| match program {
                Program::Libgit2 => libgit2::fetch(self, remote, request),
                Program::Git => git::fetch(self, remote, request),
            },
        )
    }

    /// Whether one commit can be fetched alone at all: libgit2 cannot over `file://`.
    pub(crate) fn knows_depth(&self, remote: &Remote) -> bool {
        !(matches!(remote, Remote::File(_)) && self.program(remote) == Program::Libgit2)
    }

    /// With `Fetch::Auto`, what libgit2 is unable to do falls to the git program; without one, libgit2's failure stands.
    fn with<T>(
        &self,
        remote: &Remote,
        what: &str,
        shallow: bool,
        run: impl Fn(Program) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let announce = |with| {
            (self.on_event)(Event::Fetching {
                remote: remote.to_string(),
                what: what.to_owned(),
                shallow,
                with,
            });
        };
        let program = self.program(remote);
        announce(if program == Program::Git { "git" } else { "libgit2" });
        let first = run(program);
        let unable = matches!(first, Err(Failure::NotGiven(_) | Failure::OtherKeyTypes { .. }));
        if program == Program::Git || self.source.fetch != Fetch::Auto || !unable {
            return first;
        }
        announce("git");
        match run(Program::Git) {
            Err(Failure::Other(Error::Program { .. })) => first,
            second => second,
        }
    }

    fn program(&self, remote: &Remote) -> Program {
        match (self.source.fetch, remote) {
            (Fetch::Libgit2, _) => Program::Libgit2,
            (Fetch::Cli, _) | (Fetch::Auto, Remote::File(_) | Remote::Ssh { user: None, .. }) => Program::Git,
            (Fetch::Auto, Remote::Ssh { host, .. })
                if known_hosts::config_mentions(&self.source.ssh_configs, host) =>
            {
                Program::Git
            }
            (Fetch::Auto, _) => Program::Libgit2,
        }
    }
}

/// Puts what a tag's `^{}` line says in the tag's place.
fn peeled(listed: Vec<(String, Oid)>) -> Vec<Head> {
    let mut heads: Vec<Head> = Vec::with_capacity(listed.len());
    for (name, id) in listed {
        match (name.strip_suffix("^{}"), heads.last_mut()) {
            (Some(tag), Some(last)) if last.name == tag => last.id = id,
            (Some(_), _) => {}
            (None, _) => heads.push(Head { name, id }),
        }
    }
    heads
}

/// A message without what could be a credential: a user's own git config may put one into URLs.
fn scrubbed(source: &SourceOptions, text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        out.push_str(head);
        let end = tail
            .find(|c: char| c == '/' || c.is_whitespace() || "'\"".contains(c))
            .unwrap_or(tail.len());
        rest = match tail[..end].rfind('@') {
            Some(user_end) => {
                out.push_str("***");
                &tail[user_end..]
            }
            None => tail,
        };
    }
    out.push_str(rest);
    match &source.credentials.token {
        Some(token) if !token.secret.reveal().is_empty() => out.replace(token.secret.reveal(), "***"),
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Secret, Token};

    #[test]
    fn messages_lose_credentials() {
        let mut source = SourceOptions::new(vec![], "mirror".into());
        let token = Token {
            username: "u".into(),
            secret: Secret::new("s3cr3t"),
            hosts: vec![],
        };
        source.credentials.token = Some(token);
        let text =
            "fatal: unable to access 'https://bob:pw@host.example/a.git/': s3cr3t; see http://x.example/@y";
        let expected =
            "fatal: unable to access 'https://***@host.example/a.git/': ***; see http://x.example/@y";
        assert_eq!(scrubbed(&source, text), expected);
    }

    #[test]
    fn tags_are_peeled() {
        let id = |digit: &str| Oid::from_str(&digit.repeat(40)).unwrap();
        let listed = vec![
            ("refs/heads/main".to_owned(), id("1")),
            ("refs/tags/v1".to_owned(), id("2")),
            ("refs/tags/v1^{}".to_owned(), id("3")),
        ];
        let heads = peeled(listed);
        assert_eq!(heads.len(), 2);
        assert_eq!(
            heads[1],
            Head {
                name: "refs/tags/v1".into(),
                id: id("3")
            }
        );
    }
}
