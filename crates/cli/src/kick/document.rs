//! What a kick prints: a line per host, or the JSON document, which has what was told whatever came of the rest.

use serde::Serialize;
use shipit_store::{Action, HostState, KickResult, OnceEnd};

use super::course::{Kicked, transport};
use super::outcome::Fired;
use super::plan::Plan;
use super::stage::Stage;
use crate::errors::Result;

/// The document of `--output json` of kick, repair and rollback; docs/json-output.md has its fields.
#[derive(Debug, Serialize)]
pub struct Document {
    app: String,
    stage: String,
    release: Option<String>,
    roles: Vec<RoleReport>,
    not_kicked: Vec<String>,
}

/// One role's kick.
#[derive(Debug, Serialize)]
struct RoleReport {
    role: String,
    action: Action,
    kick: String,
    release: String,
    revision: String,
    manifest_url: String,
    transport: &'static str,
    result: KickResult,
    reason: Option<String>,
    moved_live: bool,
    once: bool,
    once_on: Option<OnceEnd>,
    waves: usize,
    events: Vec<Fired>,
    expected: usize,
    hosts: Vec<HostReport>,
    not_told: Vec<String>,
    seconds: f64,
}

/// One host.
#[derive(Debug, Serialize)]
struct HostReport {
    host: String,
    state: HostState,
    reason: Option<String>,
    time: Option<i64>,
    log: Option<String>,
}

impl Document {
    /// Nothing is kicked yet of these.
    pub fn new(stage: &Stage<'_>, plans: &[Plan<'_>]) -> Self {
        let first = plans.first().map(|plan| &plan.release.id);
        let one = plans.iter().all(|plan| Some(&plan.release.id) == first);
        Document {
            app: stage.config.app.clone(),
            stage: stage.config.stage().to_owned(),
            release: first.filter(|_| one).map(ToString::to_string),
            roles: Vec::new(),
            not_kicked: plans.iter().map(|plan| plan.name().to_owned()).collect(),
        }
    }

    /// A role was kicked: its lines are printed at once.
    pub fn add(&mut self, stage: &Stage<'_>, plan: &Plan<'_>, kicked: &Kicked) -> Result<()> {
        let output = &stage.context.output;
        let progress = &kicked.progress;
        if plan.followed {
            // Of a role that went back by itself, which of a host's lines is of the way back.
            let again = self.roles.iter().any(|report| report.role == plan.name());
            let which = if again { "\trollback" } else { "" };
            for (host, now) in &progress.hosts {
                output.data(format!("{}\t{host}\t{}{which}", plan.name(), now.state.as_str()))?;
            }
        } else {
            for fired in &progress.events {
                output.data(&fired.id)?;
            }
        }
        self.not_kicked.retain(|role| role != plan.name());
        self.roles.push(RoleReport {
            role: plan.name().to_owned(),
            action: plan.action,
            kick: kicked.id.to_string(),
            release: plan.release.id.to_string(),
            revision: plan.release.revision.clone(),
            manifest_url: plan.url.clone(),
            transport: transport(plan),
            result: kicked.result,
            reason: kicked.reason.clone(),
            moved_live: progress.moved_live,
            once: progress.once,
            once_on: progress.once_end(),
            waves: progress.waves,
            events: progress.events.clone(),
            expected: plan.hosts.number(),
            hosts: progress
                .hosts
                .iter()
                .map(|(host, now)| HostReport {
                    host: host.clone(),
                    state: now.state,
                    reason: now.reason.clone(),
                    time: now.time,
                    log: progress.logs.get(host).cloned(),
                })
                .collect(),
            not_told: progress.not_told(plan),
            seconds: kicked.seconds,
        });
        Ok(())
    }

    /// Prints it, where JSON is wanted.
    pub fn print(&self, stage: &Stage<'_>) -> Result<()> {
        stage.context.output.json(self)
    }
}
