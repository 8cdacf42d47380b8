//! Fetching what is known of a role's hosts, once or again and again.
//!
//! Reports and asks are read whenever a report is newer; what changes seldom, such as the expected hosts, the live release and
//! the ends of kicks, every [`REFRESH`] at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use shipit_fleet::board::{Board as _, Cursor, StoreBoard};
use shipit_fleet::hosts::{self, Error as HostsError, Expected};
use shipit_fleet::report::{Asked, Found};
use shipit_store::kick::{self, Kick};
use shipit_store::live::{self, Pointer};

use super::outage::Outage;
use super::{HostStatus, Known};
use crate::config::{Role, Transport};
use crate::errors::{CliError, Result};
use crate::kick::{HostFlags, Stage, agents, damaged_in_words, wanted};

/// How old what changes seldom may become.
const REFRESH: Duration = Duration::from_secs(5);
/// How many of a role's kicks are looked at for how they ended.
const KICKS: usize = 5;

/// What is known of one role, kept up to date.
pub struct RoleBoard<'a> {
    stage: &'a Stage<'a>,
    role: &'a Role,
    known: Known,
    seen: Option<Cursor>,
    reports: Vec<Found>,
    asked: BTreeMap<String, Asked>,
    outage: Outage,
    refreshed: Option<Instant>,
    /// The etag of what lies in the place of the live manifest and is none.
    damaged: Option<String>,
}

impl<'a> RoleBoard<'a> {
    /// Of a role; nothing is read yet.
    pub fn new(stage: &'a Stage<'a>, role: &'a Role) -> Self {
        RoleBoard {
            stage,
            role,
            known: Known {
                role: role.name.clone(),
                ..Known::default()
            },
            seen: None,
            reports: Vec::new(),
            asked: BTreeMap::new(),
            outage: Outage::default(),
            refreshed: None,
            damaged: None,
        }
    }

    /// The role's name.
    pub fn role(&self) -> &str {
        &self.role.name
    }

    /// The live release.
    pub fn live(&self) -> Option<&str> {
        self.known.live.as_deref()
    }

    /// A line per host.
    pub fn hosts(&self) -> Vec<HostStatus> {
        super::hosts(&self.known)
    }

    /// Reads what is new; waits for a report no longer than `wait`, and not at all the first time.
    pub async fn update(&mut self, wait: Duration) -> Result<()> {
        let board = &self.stage.board;
        let (reports, cursor) = board.reports(&self.role.name, self.seen, wait).await?;
        if self.seen != Some(cursor) {
            self.reports = reports;
            self.asked = board.asked(&self.role.name).await?;
            self.seen = Some(cursor);
            self.merge();
        }
        // Who reported may be all that is known of which hosts there are.
        if self.refreshed.is_none_or(|at| at.elapsed() >= REFRESH) {
            self.refresh().await?;
        }
        Ok(())
    }

    async fn refresh(&mut self) -> Result<()> {
        self.known.expected = self.expected().await?;
        match self.read_store().await {
            Ok(()) => {}
            // What hosts reported stands elsewhere, and is not worth less.
            Err(error) if self.stage.config.uses_consul() => self.stage.context.output.warn_once(format!(
                "what is live, and how the kicks before ended, is not known: {}",
                error.chain().join(": ")
            )),
            Err(error) => return Err(error),
        }
        self.asked = self.stage.board.asked(&self.role.name).await?;
        self.merge();
        self.refreshed = Some(Instant::now());
        Ok(())
    }

    /// What the store knows: the live release, the newest kicks, and what hosts said while Consul was down.
    async fn read_store(&mut self) -> Result<()> {
        let (config, store) = (self.stage.config, &self.stage.store);
        let name = self.role.name.as_str();
        let live = live::read(store, &config.app, config.stage(), name).await?;
        self.known.live = live.release().map(str::to_owned);
        self.warn_of(&live);
        let kicks = kick::list(store, &config.app, config.stage(), Some(name), Some(KICKS)).await?;
        let release = |kick: &Kick| (kick.started.kick.to_string(), kick.started.release.clone());
        self.known.releases = kicks.iter().map(release).collect();
        let by_exec = |kick: &Kick| kick.started.transport == "exec";
        // With Consul at hand such a kick wrote its reports there, and none are found here.
        if config.uses_consul() && kicks.iter().any(by_exec) {
            let board = StoreBoard::new(store, &config.app, config.stage()).map_err(CliError::from)?;
            let (reports, _) = board.reports(name, None, Duration::ZERO).await?;
            self.outage = Outage::new(reports);
        }
        let ended = kicks
            .into_iter()
            .filter_map(|kick| Some((kick.started.kick.to_string(), kick.ended?)));
        self.known.ended = ended.collect();
        Ok(())
    }

    /// Puts what hosts said together: on the board, and to kicks that went without Consul while it was down.
    fn merge(&mut self) {
        self.known.reports = self.outage.reports(&self.reports);
        self.known.asked = self.outage.asked(&self.asked);
        if let Some((kick, hosts)) = self.outage.elsewhere(&self.known) {
            let (role, flag) = (&self.role.name, self.stage.flag());
            self.stage.context.output.warn_once(format!(
                "{role} was kicked without Consul since ({kick}), by other names of its hosts than Consul has ({}): what is shown of \
                 Consul's nodes may be older; `shipit repair {role}{flag}` asks them anew",
                hosts.join(", ")
            ));
        }
    }

    /// Says once that what is live is damaged: what is known of the hosts is shown all the same.
    fn warn_of(&mut self, live: &Pointer) {
        let damaged = match live {
            Pointer::Damaged(damaged) => Some(damaged.etag.clone()),
            _ => None,
        };
        if let (Pointer::Damaged(found), false) = (live, self.damaged == damaged) {
            self.stage.warn(format!(
                "what is live for {0} is not known, and hosts that boot get nothing: {1}; `shipit kick {0}{2}` of all its hosts \
                 replaces it",
                self.role.name,
                damaged_in_words(found),
                self.stage.flag()
            ));
        }
        self.damaged = damaged;
    }

    /// The hosts that the role has, and whether they are up: by its config, or, where that does not name them, those that reported
    /// and that Consul knows. That there are none is no error here: the role may have none yet.
    async fn expected(&self) -> Result<BTreeMap<String, Option<bool>>> {
        if self.stage.config.transport(self.role) == Transport::Exec {
            let hosts = self.role.exec.iter().flat_map(|exec| &exec.hosts);
            return Ok(hosts.map(|host| (host.clone(), None)).collect());
        }
        let wanted = wanted(self.role, &HostFlags::default());
        match hosts::expected(self.stage.consul()?, &wanted).await {
            Ok(Expected { count: Some(_), .. }) | Err(HostsError::Unfiltered { .. }) => {
                let reported = self.known.reports.iter().map(|found| found.node.clone());
                let reported: BTreeSet<String> = reported.collect();
                let agents = agents(self.stage, self.role, reported.into_iter().collect()).await?;
                let alive = |(name, alive)| (name, Some(alive));
                Ok(agents.into_iter().map(alive).collect())
            }
            Ok(Expected { hosts, .. }) => Ok(hosts
                .into_iter()
                .map(|host| (host.name, Some(host.alive)))
                .collect()),
            Err(HostsError::NoMatch { .. }) => Ok(BTreeMap::new()),
            // One of them is gone from the catalog: whether the others are up is not known then.
            Err(HostsError::Unknown { .. }) => {
                let named = wanted.named.into_iter().flatten();
                Ok(named.map(|host| (host, None)).collect())
            }
            Err(error) => Err(error.into()),
        }
    }
}
