//! Reading what hosts said out of the newest kicks. All that is read is immutable, so that it is read once; what is asked for
//! again and again is a listing of the kicks, and one of each that may still run.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use shipit_store::kick::{self, KickId, Started};
use shipit_store::{Store, layout};

use super::files::{HostFile, Stored, What};
use super::first_index;
use crate::board::Error;
use crate::report::{Report, Said};

/// How many of a stage's newest kicks are looked at. A host that was told nothing in so many has no state any more.
pub(super) const NEWEST: usize = 50;

/// How many of a stage's newest kicks may still run. A stage is locked while one runs, so it is the newest but for clocks
/// that differ.
const RUNNING: usize = 5;

/// No report is larger: [`crate::report::REPORT_LIMIT`] and what stands beside it.
const LARGEST: u64 = 64 << 10;

/// What is known of one kick.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Nothing when it cannot be read.
    pub(super) started: Option<Started>,
    /// By the node, and whether it is about `once` commands.
    pub(super) reports: BTreeMap<(String, bool), Stored>,
    /// The objects that were read.
    read: BTreeSet<HostFile>,
    /// Whether nothing more will come.
    over: bool,
}

/// A role's kicks, newest first, and whether a report among them was not known at the last look.
pub(super) struct Seen<'a> {
    pub(super) kicks: Vec<(&'a KickId, &'a Known)>,
    pub(super) fresh: bool,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Reading {
    kicks: BTreeMap<KickId, Known>,
    looked: bool,
}

/// Where to look.
pub(super) struct Place<'a> {
    pub(super) store: &'a Store,
    pub(super) app: &'a str,
    pub(super) stage: &'a str,
}

impl Place<'_> {
    /// `kicks/<app>/<stage>/<kick id>/`.
    pub(super) fn prefix(&self, id: &KickId) -> Result<String, Error> {
        Ok(format!("{}{id}/", layout::kicks_prefix(self.app, self.stage)?))
    }

    /// How a kick began.
    async fn kick(&self, id: KickId) -> Result<(KickId, Option<Started>), Error> {
        let kick = kick::read(self.store, self.app, self.stage, &id).await?;
        Ok((id, kick.map(|kick| kick.started)))
    }

    /// A host's report; nothing when it is gone. One that cannot be understood is no reason to know nothing of the other hosts.
    async fn report(&self, started: &Started, file: HostFile) -> Result<(HostFile, Option<Stored>), Error> {
        let key = format!("{}{}", self.prefix(&started.kick)?, file.name());
        let stored = match self.store.get_bytes(&key, LARGEST).await {
            Ok(content) => serde_json::from_slice(&content.bytes)
                .unwrap_or_else(|error| garbled(started, &file, &error.to_string())),
            Err(shipit_store::Error::NotFound { .. }) => return Ok((file, None)),
            Err(shipit_store::Error::Corrupt { why, .. }) => garbled(started, &file, &why),
            Err(error) => return Err(error.into()),
        };
        Ok((file, Some(stored)))
    }

    /// Reads several things, some of them at once.
    async fn several<'a, I, T: Send>(
        &self,
        items: Vec<I>,
        read: impl Fn(I) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<Vec<T>, Error> {
        let reads: Vec<_> = items.into_iter().map(read).collect();
        stream::iter(reads)
            .buffer_unordered(self.store.at_once())
            .try_collect()
            .await
    }
}

impl Reading {
    /// How the newest kicks of a stage began, newest first; those that cannot be read are left out.
    pub(super) async fn started(
        &mut self,
        place: &Place<'_>,
        ids: &[KickId],
    ) -> Result<Vec<&Started>, Error> {
        let unknown: Vec<KickId> = ids
            .iter()
            .filter(|id| !self.kicks.contains_key(id))
            .cloned()
            .collect();
        let found = place.several(unknown, |id| Box::pin(place.kick(id))).await?;
        for (id, kick) in found {
            let known = Known {
                started: kick,
                ..Known::default()
            };
            self.kicks.insert(id, known);
        }
        let known = ids.iter().filter_map(|id| self.kicks.get(id));
        Ok(known.filter_map(|known| known.started.as_ref()).collect())
    }

    /// Looks at a role's newest kicks until each host of the newest one of the whole role has said something; all that was said in them.
    pub(super) async fn look(
        &mut self,
        place: &Place<'_>,
        role: &str,
        once: bool,
    ) -> Result<Seen<'_>, Error> {
        let ids = kick::ids(place.store, place.app, place.stage).await?;
        let newest = &ids[..ids.len().min(NEWEST)];
        let mut fresh = false;
        let mut missing = Missing::default();
        let mut looked = Vec::new();
        'all: for (at, some) in newest.chunks(place.store.at_once()).enumerate() {
            self.started(place, some).await?;
            for (number, id) in some.iter().enumerate() {
                let rank = at * place.store.at_once() + number;
                let Some(known) = self.kicks.get_mut(id) else {
                    continue;
                };
                if known.started.as_ref().is_none_or(|started| started.role != role) {
                    continue;
                }
                fresh |= known.refresh(place, id, rank < RUNNING).await?;
                looked.push(id.clone());
                if missing.without(known, once) {
                    break 'all;
                }
            }
        }
        fresh &= self.looked;
        self.looked = true;
        let known = looked.iter().filter_map(|id| self.kicks.get_key_value(id));
        Ok(Seen {
            kicks: known.collect(),
            fresh,
        })
    }
}

impl Known {
    /// Reads what is new; whether anything was.
    async fn refresh(&mut self, place: &Place<'_>, id: &KickId, may_run: bool) -> Result<bool, Error> {
        if self.over {
            return Ok(false);
        }
        let Some(started) = self.started.as_ref() else {
            return Ok(false);
        };
        let prefix = place.prefix(id)?;
        let mut ended = false;
        let mut wanted: BTreeMap<(String, bool), HostFile> = BTreeMap::new();
        for meta in place.store.list(&prefix).await? {
            let name = meta.key.strip_prefix(&prefix).unwrap_or_default();
            ended |= name == "ended.json";
            let Some(file) = HostFile::parse(name) else {
                continue;
            };
            if file.what == What::Log || self.read.contains(&file) {
                continue;
            }
            // What a host said last is all that counts: `Ended` comes after `Started`.
            let key = (file.node.clone(), file.once);
            let better = wanted.get(&key).is_none_or(|other| other.what < file.what);
            let said = HostFile {
                what: What::Ended,
                ..file.clone()
            };
            if better && !self.read.contains(&said) {
                wanted.insert(key, file);
            }
        }
        let wanted: Vec<HostFile> = wanted.into_values().collect();
        let found = place
            .several(wanted, |file| Box::pin(place.report(started, file)))
            .await?;
        let fresh = !found.is_empty();
        for (file, stored) in found {
            if let Some(stored) = stored {
                self.reports.insert((file.node.clone(), file.once), stored);
            }
            self.read.insert(file);
        }
        self.over = ended || !may_run;
        Ok(fresh)
    }
}

/// What stands for a report that cannot be understood. Nothing says that the host succeeded, so that a repair tells it again.
fn garbled(started: &Started, file: &HostFile, why: &str) -> Stored {
    let state = match file.what {
        What::Started => Said::Started,
        What::Ended | What::Log => Said::Failed,
    };
    Stored {
        release: started.release.clone(),
        index: first_index(&started.kick) + 1,
        report: Report {
            kick: Some(started.kick.to_string()),
            state,
            phase: None,
            time: started.time,
            current: None,
            handler: None,
            message: Some(format!("its report cannot be understood: {why}")),
        },
    }
}

/// The hosts of the newest kick of the whole role of which nothing was found yet.
#[derive(Default)]
struct Missing {
    /// None before that kick was met.
    expected: Option<(BTreeSet<String>, usize)>,
    said: BTreeSet<String>,
}

impl Missing {
    /// Notes a kick, the next older one; whether nothing is missing any more.
    fn without(&mut self, known: &Known, once: bool) -> bool {
        let said = known.reports.keys().filter(|(_, of)| *of == once);
        self.said.extend(said.map(|(node, _)| node.clone()));
        if let Some(started) = known.started.as_ref().filter(|started| started.whole) {
            let names = || started.hosts.iter().cloned().collect();
            self.expected
                .get_or_insert_with(|| (names(), started.expected.unwrap_or_default()));
        }
        match &self.expected {
            // Those commands run on one host.
            _ if once => !self.said.is_empty(),
            Some((names, count)) => self.said.is_superset(names) && self.said.len() >= *count,
            None => false,
        }
    }
}
