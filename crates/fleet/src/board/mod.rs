//! Where a stage's lock and its hosts' reports stand: [`Board`], in Consul or in the store.
//!
//! The config settles which of the two a stage has. Not here: when to lock and how long to wait for it, what a kick does
//! with reports, and the history, which lies in the store either way.

mod consul;
mod error;
mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;

pub use consul::ConsulBoard;
pub use error::{Error, ErrorKind};
pub use shipit_store::Holder;
use shipit_store::lock::Moment;
pub use store::StoreBoard;

use crate::report::{Asked, Found, Report};

/// A lock that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Who, and what for.
    #[serde(flatten)]
    pub holder: Holder,
    /// What [`Board::break_lock`] compares: Consul's ModifyIndex, the store's etag.
    #[serde(skip)]
    pub version: String,
}

/// The right to renew and release a lock that was taken: Consul's session, the store's etag.
#[derive(Debug)]
pub struct Grip {
    pub(crate) token: String,
    pub(crate) holder: Holder,
    pub(crate) taken: Moment,
}

impl Grip {
    /// Who holds it.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// When the request began that took it: from then on its time runs.
    pub fn taken(&self) -> Moment {
        self.taken
    }
}

/// What came of one attempt to take a lock.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Taken(Grip),
    /// Somebody has it.
    Held(Box<Held>),
}

/// How far a reader has seen the reports of a role; only for equality, and to be handed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cursor(pub u64);

/// The end of what a host's deploy printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HostLog {
    /// The release that it is about.
    pub release: String,
    /// The text, at most [`crate::report::LOG_LIMIT`] bytes.
    pub text: String,
}

/// One stage's lock, and the reports of its hosts. Errors name what was being done and to what.
#[async_trait]
pub trait Board: Send + Sync {
    /// How long a lock stands that its holder does not renew; it is renewed three times as often.
    fn ttl(&self) -> Duration;

    /// Tries once to take the stage's lock, for a holder that renews it.
    async fn try_lock(&self, holder: &Holder) -> Result<Attempt, Error>;

    /// Renews a lock; [`Error::Lost`] when it is not ours any more.
    async fn renew(&self, grip: &mut Grip) -> Result<(), Error>;

    /// Gives a lock back; one that was lost meanwhile is success.
    async fn release(&self, grip: Grip) -> Result<(), Error>;

    /// Sets a manual lock, which nothing renews: on a free stage, or in place of the lock that is held.
    async fn lock_by_hand(&self, holder: &Holder, instead_of: Option<Grip>) -> Result<Option<Held>, Error>;

    /// Ends a lock that was looked at before; [`Error::Changed`] when another one stands there now.
    async fn break_lock(&self, held: &Held) -> Result<(), Error>;

    /// Who holds the stage's lock.
    async fn held(&self) -> Result<Option<Held>, Error>;

    /// Notes what a kick asks of nodes, before they are told; with none, of whoever is there, and what was asked before stands no
    /// more. Reports that are newer than the cursor returned may be answers.
    async fn ask(&self, role: &str, asked: &Asked, nodes: &[String]) -> Result<Cursor, Error>;

    /// Removes what the board keeps of a role and needs no more once this was asked of these nodes. What stays is only slow to
    /// read, so this comes when the nodes have been told, and what fails of it is for nobody.
    async fn tidy(&self, _role: &str, _asked: &Asked, _nodes: &[String]) {}

    /// What was last asked of each of a role's nodes.
    async fn asked(&self, role: &str) -> Result<BTreeMap<String, Asked>, Error>;

    /// The reports of a role, all of those that a node and a release have; waits for as long as nothing is newer than
    /// `seen`, but no longer than `wait`.
    async fn reports(
        &self,
        role: &str,
        seen: Option<Cursor>,
        wait: Duration,
    ) -> Result<(Vec<Found>, Cursor), Error>;

    /// Writes a report for a host that cannot do so itself, with the end of its log.
    async fn put_report(
        &self,
        role: &str,
        node: &str,
        release: &str,
        report: &Report,
        log: Option<&str>,
    ) -> Result<(), Error>;

    /// The end of a host's log: of a release, or of the one that it reported last.
    async fn log(&self, role: &str, node: &str, release: Option<&str>) -> Result<Option<HostLog>, Error>;

    /// Removes reports, logs and asks of releases that are no more; how many entries.
    async fn forget(&self, releases: &[String]) -> Result<u64, Error>;
}
