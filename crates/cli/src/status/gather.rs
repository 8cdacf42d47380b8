//! Fetching what is known of a role's hosts, once or again and again.
//!
//! Reports and asks are read whenever a report is newer; what changes seldom, such as the expected hosts, the live release and
//! the ends of kicks, every [`REFRESH`] at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use shipit_fleet::board::{Board as _, Cursor, StoreBoard};
use shipit_fleet::hosts::{self, Error as HostsError, Expected};
use shipit_fleet::report::{Asked, Found};
use shipit_store::kick::{self, Kick, KickId};
use shipit_store::layout;
use shipit_store::live::{self, Pointer};

use super::outage::Outage;
use super::{HostStatus, Known};
use crate::config::{Role, Transport};
use crate::errors::{CliError, Kind, Result};
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
    /// The store's board, once a kick went without Consul: it remembers what it has read.
    without_consul: Option<StoreBoard>,
    /// Kicks by exec that are known to have had Consul.
    with_consul: BTreeSet<KickId>,
    /// Whether it was said that the store cannot be read.
    unread: bool,
    /// The kick of which it was said that it told hosts by other names.
    elsewhere: Option<String>,
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
            without_consul: None,
            with_consul: BTreeSet::new(),
            unread: false,
            elsewhere: None,
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
            Ok(()) => self.unread = false,
            // What hosts reported stands elsewhere, and is not worth less.
            Err(error) if self.stage.config.uses_consul() && !is_stopped(&error) => {
                if !std::mem::replace(&mut self.unread, true) {
                    self.stage.warn(format!(
                        "what is live, and how the kicks before ended, is not known anew: {}",
                        error.chain().join(": ")
                    ));
                }
            }
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
        if config.uses_consul() {
            self.read_outage(&kicks).await?;
        }
        let ended = kicks
            .into_iter()
            .filter_map(|kick| Some((kick.started.kick.to_string(), kick.ended?)));
        self.known.ended = ended.collect();
        Ok(())
    }

    /// What hosts said to kicks that went without Consul, when there is any.
    async fn read_outage(&mut self, kicks: &[Kick]) -> Result<()> {
        let (config, store) = (self.stage.config, &self.stage.store);
        if self.without_consul.is_none() && self.went_without(kicks).await? {
            let board = StoreBoard::new(store, &config.app, config.stage()).map_err(CliError::from)?;
            self.without_consul = Some(board);
        }
        if let Some(board) = &self.without_consul {
            let (reports, _) = board.reports(&self.role.name, None, Duration::ZERO).await?;
            self.outage = Outage::new(reports);
        }
        Ok(())
    }

    /// Whether one of these kicks went without Consul: its reports lie beside it in the store.
    async fn went_without(&mut self, kicks: &[Kick]) -> Result<bool> {
        let (config, store) = (self.stage.config, &self.stage.store);
        let all = layout::kicks_prefix(&config.app, config.stage())?;
        for kick in kicks.iter().filter(|kick| kick.started.transport == "exec") {
            let id = &kick.started.kick;
            let known = Some(id.to_string());
            if self.with_consul.contains(id) || self.reports.iter().any(|found| found.report.kick == known) {
                continue;
            }
            let objects = store.list(&format!("{all}{id}/")).await?;
            let own = |key: &str| key.ends_with("/started.json") || key.ends_with("/ended.json");
            if objects.iter().any(|object| !own(&object.key)) {
                return Ok(true);
            }
            if kick.ended.is_some() {
                self.with_consul.insert(id.clone());
            }
        }
        Ok(false)
    }

    /// Puts what hosts said together: on the board, and to kicks that went without Consul while it was down.
    fn merge(&mut self) {
        self.known.reports = self.outage.reports(&self.reports);
        self.known.asked = self.outage.asked(&self.asked);
        let Some((kick, hosts)) = self.outage.elsewhere(&self.known) else {
            return;
        };
        if self.elsewhere.as_ref() != Some(&kick) {
            let (role, flag) = (&self.role.name, self.stage.flag());
            self.stage.warn(format!(
                "{role} was kicked without Consul since ({kick}), by other names of its hosts than Consul has ({}): what is shown of \
                 Consul's nodes may be older; `shipit repair {role}{flag}` asks them anew",
                hosts.join(", ")
            ));
            self.elsewhere = Some(kick);
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

fn is_stopped(error: &CliError) -> bool {
    matches!(error.kind(), Kind::Interrupted | Kind::Terminated)
}
