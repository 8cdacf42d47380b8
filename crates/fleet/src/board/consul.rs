//! The board of a stage that has Consul: its lock is a key that a session holds, its reports are keys that hosts write.
//!
//! The session ends when nobody renews it, and the key goes with it; a manual lock is the same key without a session. What
//! decides about a lock is read consistently. Elections of a leader and agents that start again are waited for by the client.

mod asks;
mod forget;
mod lock;
mod reports;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Attempt, Board, Cursor, Error, Grip, Held, Holder, HostLog};
use crate::consul::Client;
use crate::report::{Asked, Found, Report, RoleKeys};

/// How long a session stands that is not renewed: the shortest that Consul allows. It takes up to twice as long to notice.
const TTL: Duration = Duration::from_secs(10);

/// The board of one stage, in Consul's key-value store.
#[derive(Debug)]
pub struct ConsulBoard {
    client: Client,
    /// Where the hosts are that are asked, and that report.
    hosts: Client,
    app: String,
    stage: String,
    /// When reports may be read again: see [`reports`].
    rested: Mutex<Instant>,
    /// Whether somebody had the lock when it was last tried: see [`lock`].
    contended: AtomicBool,
}

impl ConsulBoard {
    /// The board of a stage; nothing is sent yet.
    pub fn new(client: Client, app: impl Into<String>, stage: impl Into<String>) -> Self {
        Self {
            hosts: client.clone(),
            client,
            app: app.into(),
            stage: stage.into(),
            rested: Mutex::new(Instant::now()),
            contended: AtomicBool::new(false),
        }
    }

    /// With hosts in another datacenter, which report there. The lock stays where it is: a stage has one.
    #[must_use]
    pub fn of_hosts_in(mut self, datacenter: &str) -> Self {
        self.hosts = self.client.in_datacenter(datacenter);
        self
    }

    fn keys<'a>(&'a self, role: &'a str) -> RoleKeys<'a> {
        RoleKeys {
            app: &self.app,
            stage: &self.stage,
            role,
        }
    }

    /// For errors.
    fn what(&self) -> String {
        format!("{} in {}", self.app, self.stage)
    }
}

#[async_trait]
impl Board for ConsulBoard {
    fn ttl(&self) -> Duration {
        TTL
    }

    async fn try_lock(&self, holder: &Holder) -> Result<Attempt, Error> {
        self.try_to_lock(holder).await
    }

    async fn renew(&self, grip: &mut Grip) -> Result<(), Error> {
        self.renew_session(grip).await
    }

    async fn release(&self, grip: Grip) -> Result<(), Error> {
        self.end_session(&grip.token).await
    }

    async fn lock_by_hand(&self, holder: &Holder, instead_of: Option<Grip>) -> Result<Option<Held>, Error> {
        match instead_of {
            None => self.put_manual(holder).await,
            Some(grip) => self.turn_manual(holder, &grip).await,
        }
    }

    async fn break_lock(&self, held: &Held) -> Result<(), Error> {
        self.delete_lock(held).await
    }

    async fn held(&self) -> Result<Option<Held>, Error> {
        Ok(self.look().await?.map(|(held, _)| held))
    }

    async fn ask(&self, role: &str, asked: &Asked, nodes: &[String]) -> Result<Cursor, Error> {
        self.write_asks(role, asked, nodes).await
    }

    async fn tidy(&self, role: &str, asked: &Asked, nodes: &[String]) {
        self.forget_old(role, asked, nodes).await;
    }

    async fn asked(&self, role: &str) -> Result<BTreeMap<String, Asked>, Error> {
        self.read_asks(role).await
    }

    async fn reports(
        &self,
        role: &str,
        seen: Option<Cursor>,
        wait: Duration,
    ) -> Result<(Vec<Found>, Cursor), Error> {
        self.wait_for_reports(role, seen, wait).await
    }

    async fn put_report(
        &self,
        role: &str,
        node: &str,
        release: &str,
        report: &Report,
        log: Option<&str>,
    ) -> Result<(), Error> {
        self.write_report(&self.keys(role), (node, release), report, log)
            .await
    }

    async fn log(&self, role: &str, node: &str, release: Option<&str>) -> Result<Option<HostLog>, Error> {
        self.read_log(role, node, release).await
    }

    async fn forget(&self, releases: &[String]) -> Result<u64, Error> {
        self.delete_releases(releases).await
    }
}
