//! Seeking one revision at a remote, through the mirror: what is fetched, how deep, and what is tried when a server hands
//! out less than was asked.

use std::cell::RefCell;
use std::collections::HashSet;

use git2::{Oid, Repository};

use crate::commit::Commit;
use crate::error::Error;
use crate::lack::{self, Lack};
use crate::mirror::{full_refspecs, revision_ref};
use crate::remote::Remote;
use crate::repository::{self, Found};
use crate::revision::{Base, Revision};
use crate::transport::{Depth, Failure, Head, Request, Wire};

/// What a remote has of a revision.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sought {
    Found(Oid),
    Ambiguous(Vec<String>),
    Lacking(Lack),
}

/// One revision and the locked mirror.
pub(crate) struct Mirrored<'a> {
    wire: &'a Wire<'a>,
    revision: &'a Revision,
    repository: Repository,
    /// Commits that were found to be whole: the lock is held, so they stay it.
    complete: RefCell<HashSet<Oid>>,
}

impl<'a> Mirrored<'a> {
    pub(crate) fn open(wire: &'a Wire<'a>, revision: &'a Revision) -> Result<Self, Error> {
        let repository = wire.mirror.open(wire.on_event)?;
        Ok(Self {
            wire,
            revision,
            repository,
            complete: RefCell::default(),
        })
    }

    /// The commit that a full id names, when the mirror has all of it: no remote is asked for what cannot change.
    pub(crate) fn at_hand(&self) -> Option<Oid> {
        let Base::Id(id) = self.revision.base else {
            return None;
        };
        let commit = repository::peel(&self.repository, id).filter(|commit| self.is_complete(*commit))?;
        if self.revision.suffix.is_empty() {
            return Some(commit);
        }
        // The history behind a commit that was fetched alone is not there; behind others it cannot change either.
        match self.settle(&[(commit, commit.to_string())]) {
            Ok(Sought::Found(found)) if self.is_complete(found) => Some(found),
            _ => None,
        }
    }

    /// Seeks the revision at a remote. A mirror that seems damaged, twice, is moved aside and made anew; it comes back unless
    /// the new one got the revision: a transfer that breaks off, and a remote that is damaged itself, can look the same.
    pub(crate) fn seek(&mut self, remote: &Remote) -> Result<Sought, Failure> {
        let first = self.seek_once(remote);
        if !matches!(first, Err(Failure::Damaged(_))) {
            return first;
        }
        let reason = match self.seek_once(remote) {
            Err(Failure::Damaged(reason)) => reason,
            other => return other,
        };
        self.repository = self.wire.mirror.move_aside()?;
        self.complete.borrow_mut().clear();
        let again = self.seek_once(remote);
        if matches!(again, Ok(Sought::Found(_) | Sought::Ambiguous(_))) {
            self.wire.mirror.settle(&reason, self.wire.on_event)?;
        } else {
            self.wire.mirror.put_back()?;
            self.complete.borrow_mut().clear();
            self.repository = repository::open_git_dir(&self.wire.mirror.path)?;
        }
        again
    }

    fn seek_once(&mut self, remote: &Remote) -> Result<Sought, Failure> {
        let named = match &self.revision.base {
            Base::Id(id) => {
                if !self.fetch_commit(remote, *id, None)? {
                    let other = lack::other_object(&self.repository, self.revision);
                    return Ok(Sought::Lacking(other.unwrap_or_default()));
                }
                repository::peel(&self.repository, *id)
                    .map(|id| (id, id.to_string()))
                    .into_iter()
                    .collect()
            }
            Base::Name(_) | Base::Prefix(_) => {
                let heads = self.wire.list(remote)?;
                let named = self.fetch_named(remote, &heads)?;
                if named.is_empty() && matches!(self.revision.base, Base::Name(_)) {
                    return Ok(Sought::Lacking(self.no_name(&heads)));
                }
                named
            }
        };
        let needs_history = !self.revision.suffix.is_empty() || matches!(self.revision.base, Base::Prefix(_));
        if needs_history {
            self.fetch_all(remote)?;
            if let [(id, _)] = named.as_slice() {
                self.fetch_history(remote, *id)?;
            }
        }
        // Only objects of the mirror are read here.
        let sought = self
            .settle(&named)
            .map_err(|error| Failure::Damaged(error.message().to_owned()))?;
        self.wire.mirror.prune_revisions(&self.repository);
        match sought {
            Sought::Found(id) if !self.is_complete(id) && !self.fetch_commit(remote, id, None)? => {
                Err(Failure::Damaged(format!("objects of commit {id} are missing")))
            }
            sought => Ok(sought),
        }
    }

    /// Why no ref of the revision's name gave a commit.
    fn no_name(&self, heads: &[Head]) -> Lack {
        if heads.is_empty() {
            return Lack::empty();
        }
        let wanted = self.revision.refs();
        for head in heads.iter().filter(|head| wanted.contains(&head.name)) {
            if let Some(kind) = lack::kind(&self.repository, head.id) {
                return Lack::no_commit(&head.name, kind);
            }
        }
        let names = heads.iter().map(|head| head.name.as_str());
        Lack {
            similar: repository::similar(self.revision, names),
            ..Lack::default()
        }
    }

    /// Fetches what the remote's refs of the revision's name point at, and remembers it.
    fn fetch_named(&mut self, remote: &Remote, heads: &[Head]) -> Result<Vec<(Oid, String)>, Failure> {
        let wanted = self.revision.refs();
        let mut named = Vec::new();
        for head in heads.iter().filter(|head| wanted.contains(&head.name)) {
            if !self.fetch_commit(remote, head.id, Some(&head.name))? {
                if lack::kind(&self.repository, head.id).is_some() {
                    continue;
                }
                return Err(Failure::Unreachable(format!(
                    "it did not hand out {} ({})",
                    head.name, head.id
                )));
            }
            let Some(commit) = repository::peel(&self.repository, head.id) else {
                continue;
            };
            self.wire
                .mirror
                .remember(&self.repository, remote, &head.name, commit)?;
            named.push((commit, format!("{} ({commit})", head.name)));
        }
        Ok(named)
    }

    /// Fetches one commit, alone where that is possible; says whether the mirror has it then. `name` is a ref that is
    /// known to point at it.
    fn fetch_commit(&mut self, remote: &Remote, id: Oid, name: Option<&str>) -> Result<bool, Failure> {
        if self.has(id) {
            return Ok(true);
        }
        match self.fetch_one(remote, &id.to_string(), id) {
            Ok(()) => return Ok(self.has(id)),
            Err(Failure::Absent(_)) if name.is_none() => return Ok(false),
            Err(Failure::NotGiven(_) | Failure::Absent(_)) => {}
            Err(failure) => return Err(failure),
        }
        // The server gives what its refs point at, if nothing else.
        let pointing = match name {
            Some(name) => Some(name.to_owned()),
            None => self
                .wire
                .list(remote)?
                .into_iter()
                .find(|head| head.id == id)
                .map(|head| head.name),
        };
        if let Some(name) = pointing {
            match self.fetch_one(remote, &name, id) {
                Ok(()) | Err(Failure::NotGiven(_) | Failure::Absent(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        if !self.has(id) {
            self.fetch_all(remote)?;
        }
        Ok(self.has(id))
    }

    fn fetch_one(&mut self, remote: &Remote, what: &str, id: Oid) -> Result<(), Failure> {
        // In a mirror with history, a commit alone would cut the history of what comes later.
        let alone = !self.wire.mirror.is_full() && self.wire.knows_depth(remote);
        let request = Request {
            refspecs: vec![format!("+{what}:{}", revision_ref(id))],
            depth: if alone { Depth::One } else { Depth::Missing },
            prune: false,
            what: what.to_owned(),
        };
        self.fetch(remote, &request)
    }

    /// Fetches all branches and tags with their history.
    fn fetch_all(&mut self, remote: &Remote) -> Result<(), Failure> {
        let depth = if self.wire.mirror.is_full() {
            Depth::Missing
        } else {
            Depth::Everything
        };
        let request = Request {
            refspecs: full_refspecs(remote),
            depth,
            prune: true,
            what: "all branches and tags".to_owned(),
        };
        match self.fetch(remote, &request) {
            // A branch `a` that has become `a/b` since the last full fetch blocks the new name.
            Err(Failure::Damaged(_)) if self.wire.mirror.is_full() => {
                self.wire.mirror.drop_full_refs(&self.repository, remote);
                self.fetch(remote, &request)?;
            }
            other => other?,
        }
        self.wire.mirror.mark_full().map_err(Failure::Other)
    }

    /// The history of a commit that no branch or tag has (a pull request's).
    fn fetch_history(&mut self, remote: &Remote, id: Oid) -> Result<(), Failure> {
        if !self.repository.is_shallow() || !self.is_root(id) {
            return Ok(());
        }
        let refspecs = vec![format!("+{id}:{}", revision_ref(id))];
        self.fetch(
            remote,
            &Request {
                refspecs,
                depth: Depth::Everything,
                prune: false,
                what: id.to_string(),
            },
        )
    }

    /// Fetches a commit's history, and the commit itself where it is missing.
    pub(crate) fn deepen(&mut self, remote: &Remote, id: Oid) -> Result<(), Failure> {
        if !self.wire.mirror.is_full() || !self.has(id) {
            self.fetch_all(remote)?;
        }
        if !self.fetch_commit(remote, id, None)? {
            return Err(Failure::Absent(format!("it has no commit {id}")));
        }
        self.fetch_history(remote, id)
    }

    /// Whether the mirror has the commit without its parents.
    fn is_root(&self, id: Oid) -> bool {
        let list = std::fs::read_to_string(self.wire.mirror.path.join("shallow")).unwrap_or_default();
        list.lines().any(|line| line == id.to_string())
    }

    fn fetch(&mut self, remote: &Remote, request: &Request) -> Result<(), Failure> {
        self.wire.fetch(remote, request)?;
        // A fresh handle: packs and shallow commits may have been written by another program.
        self.repository = repository::open_git_dir(&self.wire.mirror.path)?;
        Ok(())
    }

    fn has(&self, id: Oid) -> bool {
        repository::peel(&self.repository, id).is_some_and(|commit| self.is_complete(commit))
    }

    fn is_complete(&self, id: Oid) -> bool {
        if self.complete.borrow().contains(&id) {
            return true;
        }
        let whole = repository::is_complete(&self.repository, id);
        if whole {
            self.complete.borrow_mut().insert(id);
        }
        whole
    }

    fn settle(&self, named: &[(Oid, String)]) -> Result<Sought, git2::Error> {
        Ok(match repository::find(&self.repository, self.revision, named)? {
            Found::One(id) => Sought::Found(id),
            Found::Many(candidates) => Sought::Ambiguous(candidates),
            Found::Nothing if !self.revision.suffix.is_empty() && self.knows_base(named) => {
                Sought::Lacking(Lack::no_ancestor(self.revision))
            }
            Found::Nothing => {
                Sought::Lacking(lack::other_object(&self.repository, self.revision).unwrap_or_default())
            }
        })
    }

    fn knows_base(&self, named: &[(Oid, String)]) -> bool {
        !named.is_empty()
            || matches!(self.revision.base, Base::Id(id) if repository::peel(&self.repository, id).is_some())
    }

    /// What the mirror knows of the revision from earlier fetches.
    pub(crate) fn last_known(&self, remote: &Remote) -> Sought {
        let mirror = self.wire.mirror;
        let names = self.revision.refs().into_iter();
        let known =
            names.filter_map(|name| Some((name.clone(), mirror.recall(&self.repository, remote, &name)?.0)));
        let named: Vec<(Oid, String)> = known.map(|(name, id)| (id, format!("{name} ({id})"))).collect();
        match self.settle(&named) {
            Ok(Sought::Found(id)) if self.is_complete(id) => Sought::Found(id),
            Ok(Sought::Ambiguous(candidates)) => Sought::Ambiguous(candidates),
            _ => Sought::Lacking(Lack::default()),
        }
    }

    /// When a remote last said what the revision's name means.
    pub(crate) fn seen(&self, remote: &Remote) -> Option<i64> {
        let mirror = self.wire.mirror;
        self.revision
            .refs()
            .iter()
            .find_map(|name| mirror.recall(&self.repository, remote, name)?.1)
    }

    pub(crate) fn commit(&self, id: Oid, origin: &Remote) -> Result<Commit, Error> {
        repository::commit(&self.repository, id, origin)
    }
}
