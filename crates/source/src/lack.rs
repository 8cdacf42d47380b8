//! Why a repository names no commit by a revision, as far as that can be told, and what to do about it.

use git2::{ObjectType, Oid, Repository};

use crate::revision::{Base, Revision};

/// A repository answered, and has no commit of that name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lack {
    /// Names that are like it, best first.
    pub similar: Vec<String>,
    pub why: Option<String>,
    pub advice: Option<String>,
}

impl Lack {
    /// There is a ref of that name, or an object of that id, which is no commit and tags none.
    pub(crate) fn no_commit(what: &str, kind: ObjectType) -> Self {
        Self::because(
            format!("{what} is a {kind} there"),
            "name a branch, a tag of a commit, or a commit id",
        )
    }

    pub(crate) fn empty() -> Self {
        Self::because(
            "it has no commit yet".to_owned(),
            "make a first commit, and push it if the repository is a server's",
        )
    }

    pub(crate) fn no_ancestor(revision: &Revision) -> Self {
        let base = revision
            .given
            .strip_suffix(&revision.suffix)
            .unwrap_or(&revision.given);
        Self::because(
            format!("{base} is there, but has no {}", revision.suffix),
            "go back by fewer commits, or give the commit's id",
        )
    }

    pub(crate) fn because(why: String, advice: impl Into<String>) -> Self {
        Self {
            similar: Vec::new(),
            why: Some(why),
            advice: Some(advice.into()),
        }
    }
}

/// What the object is that digits name, when it is none that a commit can be had from.
pub(crate) fn other_object(repository: &Repository, revision: &Revision) -> Option<Lack> {
    let id = match &revision.base {
        Base::Id(id) => *id,
        Base::Prefix(digits) => {
            let padded = Oid::from_str(&format!("{digits:0<40}")).ok()?;
            repository.odb().ok()?.exists_prefix(padded, digits.len()).ok()?
        }
        Base::Name(_) => return None,
    };
    let kind = kind(repository, id)?;
    Some(Lack::no_commit(&id.to_string(), kind))
}

/// What an object is, when it is none that a commit can be had from.
pub(crate) fn kind(repository: &Repository, id: Oid) -> Option<ObjectType> {
    let mut object = repository.find_object(id, None).ok()?;
    if object.kind() == Some(ObjectType::Tag) {
        object = object.peel(ObjectType::Any).ok()?;
    }
    object.kind().filter(|kind| *kind != ObjectType::Commit)
}
