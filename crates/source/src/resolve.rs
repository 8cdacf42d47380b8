//! From what a user typed to a commit: the remotes in order, and the mirror when none of them answers.

use std::sync::atomic::AtomicBool;

use shipit_artifact::with_causes;

use crate::commit::Commit;
use crate::error::{Error, Unreached};
use crate::event::Event;
use crate::lack::Lack;
use crate::local::{self, Answer};
use crate::mirror::Mirror;
use crate::mirrored::{Mirrored, Sought};
use crate::options::SourceOptions;
use crate::remote::Remote;
use crate::revision::{Base, Revision};
use crate::transport::{Failure, Wire};

pub(crate) fn resolve(
    options: &SourceOptions,
    revision: &str,
    cancel: &AtomicBool,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Commit, Error> {
    let revision = Revision::parse(revision)?;
    let first_mirrored = options
        .remotes
        .iter()
        .find(|remote| !matches!(remote, Remote::Path(_)));
    let mut search = Search {
        options,
        revision: &revision,
        on_event,
        lacking: vec![],
        similar: vec![],
        advice: None,
        failed: vec![],
    };
    let Some(first_mirrored) = first_mirrored else {
        for remote in &options.remotes {
            if let Some(commit) = search.local(remote)? {
                return Ok(commit);
            }
        }
        return Err(search.error());
    };
    let mirror = Mirror::lock(&options.mirror, cancel, on_event)?;
    let wire = Wire {
        source: options,
        mirror: &mirror,
        cancel,
        on_event,
    };
    let mut mirrored = Mirrored::open(&wire, &revision)?;
    if let Some(id) = mirrored.at_hand() {
        return mirrored.commit(id, first_mirrored);
    }
    for remote in &options.remotes {
        let found = match remote {
            Remote::Path(_) => search.local(remote)?,
            _ => search.mirrored(&mut mirrored, remote)?,
        };
        if let Some(commit) = found {
            return Ok(commit);
        }
    }
    search.stale(&mirrored)
}

/// What the remotes said so far.
struct Search<'a> {
    options: &'a SourceOptions,
    revision: &'a Revision,
    on_event: &'a (dyn Fn(Event) + Sync),
    /// Remotes that answered and do not have it.
    lacking: Vec<String>,
    similar: Vec<String>,
    advice: Option<String>,
    /// Remotes that gave nothing.
    failed: Vec<(Unreached, Option<Error>)>,
}

impl Search<'_> {
    fn local(&mut self, remote: &Remote) -> Result<Option<Commit>, Error> {
        let Remote::Path(path) = remote else {
            return Ok(None);
        };
        match local::resolve(path, self.revision, self.on_event) {
            Ok(Answer::Commit(commit)) => Ok(Some(commit)),
            Ok(Answer::Lacks(lack)) => {
                self.lacks(remote, lack);
                Ok(None)
            }
            // One repository that is not there is no reason to give up on a list.
            Err(error @ (Error::Repository { .. } | Error::Owner { .. }))
                if self.options.remotes.len() > 1 =>
            {
                let reason = with_causes(&error);
                self.failed(remote, reason, Some(error));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn mirrored(&mut self, mirrored: &mut Mirrored<'_>, remote: &Remote) -> Result<Option<Commit>, Error> {
        let name = remote.to_string();
        match mirrored.seek(remote) {
            Ok(Sought::Found(id)) => mirrored.commit(id, remote).map(Some),
            Ok(Sought::Ambiguous(candidates)) => Err(Error::Ambiguous {
                revision: self.revision.given.clone(),
                candidates,
            }),
            Ok(Sought::Lacking(lack)) => {
                self.lacks(remote, lack);
                Ok(None)
            }
            // A key that is not the server's may be an attack: nothing is taken from elsewhere in silence.
            Err(Failure::HostKey { reason, advice } | Failure::OtherKeyTypes { reason, advice }) => {
                Err(Error::HostKey {
                    remote: name,
                    reason,
                    advice,
                })
            }
            Err(Failure::Auth(reason)) => {
                let error = Error::Auth {
                    remote: name,
                    reason: reason.clone(),
                };
                self.failed(remote, format!("it refused access: {reason}"), Some(error));
                Ok(None)
            }
            Err(Failure::Unreachable(reason) | Failure::NotGiven(reason) | Failure::Absent(reason)) => {
                self.failed(remote, reason, None);
                Ok(None)
            }
            // With an empty mirror too: the damage is on the other side.
            Err(Failure::Damaged(reason)) => {
                self.failed(
                    remote,
                    format!("what it sends does not fit together: {reason}"),
                    None,
                );
                Ok(None)
            }
            Err(Failure::Other(error)) => Err(error),
        }
    }

    fn lacks(&mut self, remote: &Remote, lack: Lack) {
        let (remote, revision) = (remote.to_string(), self.revision.given.clone());
        self.lacking.push(match lack.why {
            Some(why) => format!("{remote} ({why})"),
            None => remote.clone(),
        });
        self.similar.extend(lack.similar);
        self.advice = self.advice.take().or(lack.advice);
        (self.on_event)(Event::RemoteLacks { remote, revision });
    }

    fn failed(&mut self, remote: &Remote, reason: String, error: Option<Error>) {
        let remote = remote.to_string();
        (self.on_event)(Event::RemoteFailed {
            remote: remote.clone(),
            reason: reason.clone(),
        });
        self.failed.push((Unreached { remote, reason }, error));
    }

    /// The mirror's last known value, when no remote answered at all. One that refused the credentials did answer.
    fn stale(self, mirrored: &Mirrored<'_>) -> Result<Commit, Error> {
        let answered = !self.lacking.is_empty() || self.failed.iter().any(|(_, error)| error.is_some());
        if answered {
            return Err(self.error());
        }
        for remote in self
            .options
            .remotes
            .iter()
            .filter(|remote| !matches!(remote, Remote::Path(_)))
        {
            let known = match mirrored.last_known(remote) {
                Sought::Found(id) => id,
                Sought::Ambiguous(candidates) => {
                    return Err(Error::Ambiguous {
                        revision: self.revision.given.clone(),
                        candidates,
                    });
                }
                Sought::Lacking(_) => continue,
            };
            let seen = mirrored.seen(remote);
            let revision = self.revision.given.clone();
            (self.on_event)(Event::StaleMirror {
                revision,
                id: known.to_string(),
                seen,
            });
            return mirrored.commit(known, remote);
        }
        Err(self.error())
    }

    fn error(mut self) -> Error {
        let revision = self.revision.given.clone();
        // The one remote's own error says more than a list of one.
        if self.lacking.is_empty()
            && let Some(at) = self.failed.iter().position(|(_, error)| error.is_some())
            && let Some(error) = self.failed.swap_remove(at).1
        {
            return error;
        }
        let unreached = self.failed.into_iter().map(|(unreached, _)| unreached).collect();
        if self.lacking.is_empty() {
            return Error::Unreachable { revision, unreached };
        }
        let mut similar = self.similar;
        let mut seen = std::collections::HashSet::new();
        similar.retain(|name| seen.insert(name.clone()));
        if matches!(self.revision.base, Base::Id(_)) {
            similar.clear();
        }
        Error::NotFound {
            revision,
            searched: self.lacking,
            unreached,
            similar,
            advice: self.advice,
        }
    }
}
