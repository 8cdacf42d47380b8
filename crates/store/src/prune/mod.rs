//! Pruning: which releases, and which bytes, nothing needs any more, and removing them in an order that leaves no half release.
//!
//! What stays is settled by `keep`, without I/O: releases first, then what they refer to. What is not known for certain
//! (a release that cannot be read, a record that is gone) keeps all that it may refer to. The caller holds the lock of
//! publishing, so that nothing is published meanwhile. A kick takes no such lock: what was kicked, or became live, since it was
//! looked at is seen by a second look, before anything goes but the documents that say that a release is there.

mod keep;
mod look;
mod plan;
mod refer;
mod remove;
#[cfg(test)]
pub(crate) mod tests_support;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{Error, ReleaseId, Store};

pub use keep::Reason;
pub use remove::Removed;

use look::Seen;
use refer::Records;

/// What is younger is left alone, in seconds: it may belong to a publish that is under way elsewhere.
pub const PRUNE_AGE: i64 = 60 * 60;

/// How long the history of kicks of releases that are gone is kept, in seconds.
pub const HISTORY_AGE: i64 = 90 * 24 * 60 * 60;

/// What is pruned.
#[derive(Clone, Debug)]
pub struct PruneInput<'a> {
    /// Where.
    pub store: &'a Store,
    /// The app. What belongs to others is not looked at.
    pub app: &'a str,
    /// The stages whose releases are pruned, with how many good ones of each role stay. The releases of all other stages in
    /// the store stay, and what they refer to.
    pub stages: BTreeMap<String, u32>,
    /// The stages of which a kick may be under way: their lock is held, or nobody can tell.
    pub locked: BTreeSet<String>,
    /// Now, in unix seconds.
    pub now: i64,
}

/// A release that goes, or stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrunedRelease {
    /// Its stage.
    pub stage: String,
    /// Its id.
    pub release: ReleaseId,
    /// The full commit id.
    pub revision: String,
    /// When it was published, in unix seconds.
    pub time: i64,
    /// The first line of the commit's message, when it is known.
    pub subject: Option<String>,
}

/// What an object that goes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovalKind {
    /// A release.json: without it there is no release.
    Release,
    /// What else lies under a release's id: manifests, also those that a cut run left.
    Manifest,
    /// The history of a kick.
    Kick,
    /// A shared layer's layer.json: without it there is no such layer.
    Layer,
    /// An artifact's record.
    Record,
    /// A layer's index.
    Index,
    /// A shared layer's frames.
    Frames,
    /// An artifact.
    Artifact,
}

/// An object that goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Removal {
    /// What it is; they go in the order of the kinds.
    pub kind: RemovalKind,
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What goes, in order, and why the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PrunePlan {
    /// The releases that go, newest first within a stage.
    pub releases: Vec<PrunedRelease>,
    /// The releases of the pruned stages that stay, with the reasons.
    pub kept: Vec<Kept>,
    /// The objects that go, in the order in which they do.
    pub removals: Vec<Removal>,
    /// What could not be told, for people: bytes that may be needed stay for it.
    pub doubts: Vec<String>,
}

/// A release that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// Which.
    #[serde(flatten)]
    pub release: PrunedRelease,
    /// Why.
    pub why: Vec<Reason>,
}

impl PrunePlan {
    /// How many bytes go.
    pub fn bytes(&self) -> u64 {
        self.removals.iter().map(|removal| removal.bytes).sum()
    }
}

/// What was looked at, and the plan made of it. Nothing was removed yet.
pub struct Prune<'a> {
    input: PruneInput<'a>,
    seen: Seen,
    records: Records,
    plan: PrunePlan,
}

impl<'a> Prune<'a> {
    /// Looks at the store and plans.
    pub async fn plan(input: PruneInput<'a>) -> Result<Self, Error> {
        let seen = look::look(&input).await?;
        let mut records = Records::default();
        let kept = plan::kept(&seen, &input, None);
        records.read(&input, &seen, &kept).await?;
        let plan = plan::plan(&seen, &kept, &records, &input);
        Ok(Self {
            input,
            seen,
            records,
            plan,
        })
    }

    /// What goes.
    pub fn what(&self) -> &PrunePlan {
        &self.plan
    }
}
