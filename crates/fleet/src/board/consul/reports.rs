//! What is asked of hosts and what they report. One node's garbage is not everybody's: a value that is no report or no ask is
//! left out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::ConsulBoard;
use crate::board::{Cursor, Error, HostLog};
use crate::consul::{Blocking, KvEntry, KvList, Op, Read};
use crate::report::{Asked, Found, LOG_LIMIT, REPORT_LIMIT, Report, RoleKeys};

/// Consul notices by itself when its index went backwards (it was restored, it forgot) only at the end of a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// After each read the reader rests this many times as long as the read took to be understood: each report of a thousand hosts
/// that start at once would wake it up, and it would read all thousand each time.
const REST: u32 = 15;
/// But no longer than this: a report is to be seen within a second.
const LONGEST_REST: Duration = Duration::from_millis(700);
/// Of how many releases a node's reports stay when it is asked for another one: everybody who follows a role reads all of its reports
/// each time, and a node is deployed some thousand times in a year.
const KEPT: usize = 5;
/// The pause after a wait that ended with nothing new.
const IDLE: Duration = Duration::from_millis(50);

impl ConsulBoard {
    pub(super) async fn write_asks(
        &self,
        role: &str,
        asked: &Asked,
        nodes: &[String],
    ) -> Result<Cursor, Error> {
        let keys = self.keys(role);
        let value = asked.to_value().into_bytes();
        let ops: Vec<Op> = nodes
            .iter()
            .map(|node| Op::Set {
                key: keys.ask(node),
                value: value.clone(),
            })
            .collect();
        if ops.is_empty() {
            return Ok(Cursor(self.client.kv_list(&keys.reports(), None).await?.index));
        }
        let doing = format!("noting what is asked of {role} of {}", self.what());
        let cursor = Cursor(self.client.write_all(&doing, &ops).await?);
        // What stays too long is only slow: no kick fails for it.
        let _ = self.forget_oldest(role).await;
        Ok(cursor)
    }

    /// Removes what a role's nodes said of releases long gone by: the oldest by their ids, which begin with the time.
    async fn forget_oldest(&self, role: &str) -> Result<(), Error> {
        let keys = self.keys(role);
        let prefix = keys.reports();
        let reports = self.client.kv_keys(&prefix).await?;
        let ops: Vec<Op> = outdated(&prefix, &reports)
            .into_iter()
            .flat_map(|(node, release)| {
                [keys.report(node, release), keys.log(node, release)].map(|key| Op::Delete { key })
            })
            .collect();
        let doing = format!("forgetting old reports of {role} of {}", self.what());
        if !ops.is_empty() {
            self.client.write_all(&doing, &ops).await?;
        }
        Ok(())
    }

    pub(super) async fn read_asks(&self, role: &str) -> Result<BTreeMap<String, Asked>, Error> {
        let prefix = self.keys(role).asks();
        let list = self.client.kv_list(&prefix, None).await?;
        let asked = list.entries.into_iter().filter_map(|entry| {
            let node = entry.key.strip_prefix(&prefix)?.to_owned();
            Some((node, Asked::parse(std::str::from_utf8(&entry.value).ok()?)?))
        });
        Ok(asked.collect())
    }

    pub(super) async fn wait_for_reports(
        &self,
        role: &str,
        seen: Option<Cursor>,
        wait: Duration,
    ) -> Result<(Vec<Found>, Cursor), Error> {
        let begin = Instant::now();
        let prefix = self.keys(role).reports();
        let mut index = seen.map_or(0, |seen| seen.0);
        loop {
            let mut left = wait.saturating_sub(begin.elapsed());
            let waits = seen.is_some() && !left.is_zero();
            if waits {
                left -= self.rest(left).await;
            }
            // Consul adds up to a sixteenth to what it is asked to wait.
            let until = Blocking {
                index,
                wait: (left * 15 / 16).min(LONGEST_WAIT),
            };
            let list = self.client.kv_list(&prefix, waits.then_some(until)).await?;
            let (found, newest) = self.understand(&prefix, &list);
            let news = newest > seen.map_or(0, |seen| seen.0) || list.index < index;
            let over = begin.elapsed() + until.wait / 8 >= wait;
            if !waits || news || over {
                return Ok((found, Cursor(list.index)));
            }
            // Woken up by what is no report, or one that went: no reason to ask at once again and again.
            index = list.index;
            tokio::time::sleep(IDLE).await;
        }
    }

    /// Waits until reports may be read again, but no longer than `most`; how long it waited.
    async fn rest(&self, most: Duration) -> Duration {
        let until = *self.rested.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = until.saturating_duration_since(Instant::now()).min(most);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        rest
    }

    /// Reads the reports among keys; the greatest index with them.
    fn understand(&self, prefix: &str, list: &KvList) -> (Vec<Found>, u64) {
        let begin = Instant::now();
        let reports = list.entries.iter().filter_map(|entry| found(prefix, entry));
        let found: Vec<Found> = reports.collect();
        let newest = found.iter().map(|found| found.index).max().unwrap_or_default();
        let rest = ((list.understood_in + begin.elapsed()) * REST).min(LONGEST_REST);
        *self.rested.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + rest;
        (found, newest)
    }

    pub(super) async fn write_report(
        &self,
        keys: &RoleKeys<'_>,
        (node, release): (&str, &str),
        report: &Report,
        log: Option<&str>,
    ) -> Result<(), Error> {
        let mut ops = vec![Op::Set {
            key: keys.report(node, release),
            value: report_value(report)?,
        }];
        ops.extend(log.map(|log| Op::Set {
            key: keys.log(node, release),
            value: tail(log).into(),
        }));
        let doing = format!("writing the report of {node}, {} of {}", keys.role, self.what());
        self.client.write_all(&doing, &ops).await?;
        Ok(())
    }

    pub(super) async fn read_log(
        &self,
        role: &str,
        node: &str,
        release: Option<&str>,
    ) -> Result<Option<HostLog>, Error> {
        let keys = self.keys(role);
        let release = match release {
            Some(release) => release.to_owned(),
            None => {
                let list = self.client.kv_list(&keys.report(node, ""), None).await?;
                let prefix = keys.reports();
                let reports = list.entries.iter().filter_map(|entry| found(&prefix, entry));
                let Some(last) = reports.max_by_key(|found| found.index) else {
                    return Ok(None);
                };
                last.release
            }
        };
        let entry = self.client.kv_get(&keys.log(node, &release), Read::Usual).await?;
        Ok(entry.map(|entry| HostLog {
            text: String::from_utf8_lossy(&entry.value).into_owned(),
            release,
        }))
    }

    pub(super) async fn delete_releases(&self, releases: &[String]) -> Result<u64, Error> {
        let gone: BTreeSet<&str> = releases.iter().map(String::as_str).collect();
        let mut ops = Vec::new();
        for area in ["reports", "logs"] {
            let prefix = format!("shipit/{area}/{}/{}/", self.app, self.stage);
            let keys = self.client.kv_keys(&prefix).await?;
            let of_gone = |key: &String| {
                let last = key.rsplit_once('/').map(|(_, release)| release);
                last.is_some_and(|release| gone.contains(release))
            };
            ops.extend(keys.into_iter().filter(of_gone).map(|key| Op::Delete { key }));
        }
        let doing = format!("forgetting reports of {}", self.what());
        self.client.write_all(&doing, &ops).await?;
        Ok(ops.len() as u64)
    }
}

/// The report of one key under a role's prefix.
fn found(prefix: &str, entry: &KvEntry) -> Option<Found> {
    let (node, release) = entry.key.strip_prefix(prefix)?.rsplit_once('/')?;
    Some(Found {
        node: node.to_owned(),
        release: release.to_owned(),
        index: entry.modify_index,
        report: serde_json::from_slice(&entry.value).ok()?,
    })
}

/// The nodes and releases of those keys of reports that are not among the newest of their node.
fn outdated<'a>(prefix: &str, keys: &'a [String]) -> Vec<(&'a str, &'a str)> {
    let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for key in keys {
        if let Some((node, release)) = key.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('/')) {
            nodes.entry(node).or_default().push(release);
        }
    }
    let mut outdated = Vec::new();
    for (node, mut releases) in nodes {
        releases.sort_unstable();
        releases.truncate(releases.len().saturating_sub(KEPT));
        outdated.extend(releases.into_iter().map(|release| (node, release)));
    }
    outdated
}

/// A report's JSON, its message cut until it fits.
fn report_value(report: &Report) -> Result<Vec<u8>, Error> {
    let json = |report: &Report| {
        serde_json::to_vec(report).map_err(|error| Error::Corrupt {
            what: "a report".to_owned(),
            why: error.to_string(),
        })
    };
    let mut report = report.clone();
    let mut value = json(&report)?;
    while let Some(message) = report.message.as_mut().filter(|text| !text.is_empty()) {
        if value.len() <= REPORT_LIMIT {
            break;
        }
        // A character may take up to six bytes in JSON: what is cut is at least a sixth of what is too much.
        let over = (value.len() - REPORT_LIMIT).div_ceil(6);
        let keep = message.floor_char_boundary(message.len().saturating_sub(over));
        message.truncate(keep);
        value = json(&report)?;
    }
    Ok(value)
}

/// The end of a log, as much as is kept of one.
fn tail(log: &str) -> &str {
    &log[log.ceil_char_boundary(log.len().saturating_sub(LOG_LIMIT))..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Said;

    #[test]
    fn a_nodes_oldest_reports_are_outdated_and_no_other_nodes() {
        let key = |node: &str, at: usize| format!("p/{node}/2026112{at}T100000Z-0000001");
        let mut keys: Vec<String> = (0..KEPT + 2).rev().map(|at| key("web1", at)).collect();
        keys.push(key("web10", 0));
        keys.push("p/stray".to_owned());
        let first = |at: usize| ("web1", key("", at).trim_start_matches("p//").to_owned());
        let found: Vec<(&str, String)> = outdated("p/", &keys)
            .into_iter()
            .map(|(node, release)| (node, release.to_owned()))
            .collect();
        assert_eq!(found, [first(0), first(1)]);
    }

    #[test]
    fn what_is_too_long_is_cut() {
        for text in ["x".repeat(5000), "\u{1}é".repeat(2000)] {
            let report = Report {
                kick: Some("20261121T134515Z-5e1f00aa".to_owned()),
                state: Said::Failed,
                phase: None,
                time: 1,
                current: None,
                handler: None,
                message: Some(text.clone()),
            };
            let value = report_value(&report).unwrap();
            assert!(value.len() <= REPORT_LIMIT && value.len() > REPORT_LIMIT - 12);
            let back: Report = serde_json::from_slice(&value).unwrap();
            assert!(text.starts_with(&back.message.unwrap()));
        }
        let log = "é".repeat(LOG_LIMIT);
        assert_eq!(tail(&log).len(), LOG_LIMIT);
        assert_eq!(tail("short"), "short");
        let odd = format!("{}x", "é".repeat(LOG_LIMIT));
        assert_eq!(tail(&odd).len(), LOG_LIMIT - 1);
    }
}
