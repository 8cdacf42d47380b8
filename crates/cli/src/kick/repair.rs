//! Which hosts a repair tells: those that do not say that they have the release.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shipit_fleet::hosts::{Wanted, expected};
use shipit_fleet::report::Found;
use shipit_store::Release;

use super::flags::{Course, HostFlags, WaveFlags};
use super::hosts::{self, Listed};
use super::live::{having, newest};
use super::outcome::named;
use super::stage::Stage;
use crate::config::Role;
use crate::errors::Result;

/// The hosts that lag behind.
pub struct Lagging {
    /// By their names.
    pub names: Vec<String>,
    /// What is to be known of hosts that cannot be told.
    pub note: Option<String>,
}

/// The role's hosts whose newest report is not of this release's success, or those `among` some. Of hosts that are known by number
/// alone, those that ever reported are known by their names, and those of them that are still there are told.
pub fn lagging(
    stage: &Stage<'_>,
    role: &Role,
    release: &Release,
    waves: &WaveFlags,
    flags: &HostFlags,
    among: Option<&BTreeSet<String>>,
) -> Result<Lagging> {
    let course = Course::new(waves, stage.config, role);
    hosts::refuse_dc(role, &course, waves)?;
    let listed: Listed = hosts::listed(stage, role, &course, flags, true)?;
    let (found, _) =
        stage.wait(async { Ok(stage.board.reports(&role.name, None, Duration::ZERO).await?) })?;
    let has: BTreeSet<String> = having(&found, release.id.as_str());
    let (all, note) = match listed.count {
        None => (listed.names(), None),
        Some(count) => {
            let there = still_there(stage, role, &found)?;
            let note = there.note(role, count, among.is_some());
            (there.names, note)
        }
    };
    let wanted = |name: &String| !has.contains(name) && among.is_none_or(|among| among.contains(name));
    let names = all.into_iter().filter(wanted).collect();
    Ok(Lagging { names, note })
}

/// The nodes that ever reported.
struct There {
    /// Those that Consul knows, and whose agents live.
    names: Vec<String>,
    /// The others. An autoscaler's hosts come and go, and nobody waits for one that is gone.
    gone: Vec<String>,
}

fn still_there(stage: &Stage<'_>, role: &Role, found: &[Found]) -> Result<There> {
    let reported: Vec<String> = newest(found)
        .into_iter()
        .map(|found| found.node.clone())
        .collect();
    let alive = stage.wait(agents(stage, role, reported.clone()))?;
    let (names, gone) = reported
        .into_iter()
        .partition(|name| alive.get(name) == Some(&true));
    Ok(There { names, gone })
}

/// Those of some nodes that Consul knows, and whether their agents live.
pub async fn agents(stage: &Stage<'_>, role: &Role, names: Vec<String>) -> Result<BTreeMap<String, bool>> {
    let client = stage.consul()?;
    let nodes: BTreeSet<String> = client.nodes().await?.into_iter().collect();
    let known: Vec<String> = names.into_iter().filter(|name| nodes.contains(name)).collect();
    if known.is_empty() {
        return Ok(BTreeMap::new());
    }
    let wanted = Wanted {
        what: format!("role {}", role.name),
        named: Some(known),
        ..Wanted::default()
    };
    let found = expected(client, &wanted).await?;
    let alive = found.hosts.into_iter().map(|host| (host.name, host.alive));
    Ok(alive.collect())
}

impl There {
    fn note(&self, role: &Role, count: usize, some_alone: bool) -> Option<String> {
        let mut notes = Vec::new();
        if !self.gone.is_empty() {
            notes.push(format!(
                "left out, for Consul knows no living agent there: {}",
                named(&self.gone)
            ));
        }
        if !some_alone && count > self.names.len() {
            notes.push(format!(
                "{count} hosts are expected, and {} that ever reported are there: the others cannot be told by their names",
                self.names.len()
            ));
        }
        (!notes.is_empty()).then(|| format!("{}: {}", role.name, notes.join("; ")))
    }
}
