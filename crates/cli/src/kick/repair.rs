//! Which hosts a repair tells: those that do not say that they have the release. First the ones that the last kick told; what it
//! was stopped from telling to the others goes to them when that is good, in waves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use shipit_fleet::report::{Found, Said};
use shipit_store::kick::{self, Kick};
use shipit_store::{Action, HostState, Release};

use super::flags::{Course, HostFlags, WaveFlags};
use super::hosts::{self, Listed};
use super::live::{having, newest};
use super::outcome::named;
use super::stage::Stage;
use crate::config::{Batch, Role};
use crate::errors::{CliError, Result};

/// The hosts that lag behind.
pub struct Lagging {
    /// By their names.
    pub names: Vec<String>,
    /// Those of them that were told it, and did not succeed: the others wait until these have.
    pub first: BTreeSet<String>,
    /// How many hosts each wave had of the kick that told them.
    pub batch: Option<Batch>,
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
    let names: Vec<String> = all.into_iter().filter(wanted).collect();
    if names.is_empty() {
        return Ok(Lagging {
            names,
            first: BTreeSet::new(),
            batch: None,
            note,
        });
    }
    let kicked = Kicked::of(stage, &role.name, release)?;
    // Of a kick that was killed nobody knows whom it told, but by what they say.
    let of_cut = |found: &&Found| {
        let kick = found.report.kick.as_ref();
        found.report.state != Said::Succeeded && kick.is_some_and(|kick| kicked.cut.contains(kick))
    };
    let said: BTreeSet<&str> = found
        .iter()
        .filter(of_cut)
        .map(|found| found.node.as_str())
        .collect();
    let first = |name: &&String| kicked.bad.contains(*name) || said.contains(name.as_str());
    Ok(Lagging {
        first: names.iter().filter(first).cloned().collect(),
        batch: kicked.batch,
        names,
        note,
    })
}

/// What the role's last kicks of a release came to.
struct Kicked {
    /// The hosts that were told it and did not succeed.
    bad: BTreeSet<String>,
    batch: Option<Batch>,
    /// Those of them that have no end.
    cut: BTreeSet<String>,
}

impl Kicked {
    /// From the newest kick of the whole role on.
    fn of(stage: &Stage<'_>, role: &str, release: &Release) -> Result<Self> {
        let kicks: RefCell<Vec<Kick>> = RefCell::default();
        let (app, name) = (&stage.config.app, stage.config.stage());
        let last = |kick: &Kick| {
            if kick.started.release == release.id.as_str() {
                kicks.borrow_mut().push(kick.clone());
            }
            kick.started.whole && kick.told_somebody()
        };
        stage.wait(async { Ok(kick::find(&stage.store, app, name, role, None, last).await?) })?;
        Ok(Self::from(kicks.into_inner().as_slice()))
    }
}

impl From<&[Kick]> for Kicked {
    /// Of kicks, newest first: the last word of each host counts.
    fn from(kicks: &[Kick]) -> Self {
        let mut states: BTreeMap<&str, HostState> = BTreeMap::new();
        for (host, end) in kicks
            .iter()
            .filter_map(|kick| kick.ended.as_ref())
            .flat_map(|ended| &ended.hosts)
        {
            states.entry(host).or_insert(end.state);
        }
        let bad = states.iter().filter(|(_, state)| **state != HostState::Succeeded);
        let mut kicked = kicks.iter().filter(|kick| kick.started.action != Action::Repair);
        let batch = kicked.find_map(|kick| kick.started.batch.as_deref());
        Kicked {
            bad: bad.map(|(host, _)| (*host).to_owned()).collect(),
            batch: batch.and_then(|batch| Batch::parse(batch).ok()),
            cut: kicks
                .iter()
                .filter(|kick| kick.ended.is_none())
                .map(|kick| kick.started.kick.to_string())
                .collect(),
        }
    }
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

/// Those of some nodes that Consul knows, and whether their agents live. The catalog is read once: a node that leaves it then has no
/// living agent, and is no error.
pub async fn agents(stage: &Stage<'_>, role: &Role, names: Vec<String>) -> Result<BTreeMap<String, bool>> {
    let client = stage.consul()?;
    let read = async { tokio::try_join!(client.nodes(), client.agent_checks()) };
    let (nodes, checks) = read.await.map_err(|error| {
        CliError::from(error).context(format!("looking for hosts of {} that are still there", role.name))
    })?;
    let nodes: BTreeSet<String> = nodes.into_iter().collect();
    let alive: BTreeSet<&str> = checks
        .iter()
        .filter(|check| check.status != "critical")
        .map(|check| check.node.as_str())
        .collect();
    let known = names.into_iter().filter(|name| nodes.contains(name));
    Ok(known
        .map(|name| {
            let lives = alive.contains(name.as_str());
            (name, lives)
        })
        .collect())
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

#[cfg(test)]
mod tests {
    use shipit_store::{Ended, HostEnd, KICK_VERSION, KickId, KickResult, Started};

    use super::*;

    fn kick(action: Action, batch: Option<&str>, ends: &[(&str, HostState)]) -> Kick {
        let id = KickId::new(1_795_268_715).unwrap();
        let end = |state| HostEnd {
            state,
            reason: None,
            time: None,
        };
        Kick {
            started: Started {
                version: KICK_VERSION,
                kick: id.clone(),
                app: "shop".to_owned(),
                stage: "production".to_owned(),
                role: "web".to_owned(),
                action,
                release: "b".to_owned(),
                revision: String::new(),
                live: None,
                lock: None,
                transport: "exec".to_owned(),
                batch: batch.map(str::to_owned),
                whole: action != Action::Repair,
                followed: true,
                hosts: Vec::new(),
                expected: None,
                who: String::new(),
                reason: None,
                time: 0,
            },
            ended: Some(Ended {
                version: KICK_VERSION,
                kick: id,
                result: KickResult::Failed,
                reason: None,
                moved_live: false,
                once: false,
                once_on: None,
                hosts: ends
                    .iter()
                    .map(|&(host, state)| (host.to_owned(), end(state)))
                    .collect(),
                time: 0,
                seconds: 0.0,
            }),
        }
    }

    #[test]
    fn the_last_word_of_each_host_says_who_was_told_and_is_not_good() {
        use HostState::{Failed, Silent, Started, Succeeded};
        let kicked = kick(
            Action::Kick,
            Some("25%"),
            &[("a", Failed), ("b", Silent), ("c", Started), ("d", Succeeded)],
        );
        let bad = |kicks: &[Kick]| Kicked::from(kicks).bad.into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(bad(std::slice::from_ref(&kicked)), "a b c");
        let mended = kick(Action::Repair, Some("1"), &[("a", Succeeded), ("e", Failed)]);
        let both = [mended, kicked];
        assert_eq!(bad(&both), "b c e");
        assert_eq!(
            Kicked::from(&both[..]).batch,
            Batch::parse("25%").ok(),
            "the kick's"
        );
        let mut killed = kick(Action::Kick, None, &[]);
        killed.ended = None;
        assert_eq!(Kicked::from(std::slice::from_ref(&killed)).cut.len(), 1);
        assert_eq!(bad(&[killed]), "");
    }
}
