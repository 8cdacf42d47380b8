//! What hosts report. One node's garbage is not everybody's: a value that is no report is left out.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::ConsulBoard;
use crate::board::{Cursor, Error, HostLog};
use crate::consul::{Blocking, KvEntry, KvList, Op, Read};
use crate::report::{Found, LOG_LIMIT, REPORT_LIMIT, Report, RoleKeys};

/// Consul notices by itself when its index went backwards (it was restored, it forgot) only at the end of a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// After each read the reader rests this many times as long as the read took to be understood: each report of a thousand hosts
/// that start at once would wake it up, and it would read all thousand each time.
const REST: u32 = 15;
/// But no longer than this: a report is to be seen within a second.
const LONGEST_REST: Duration = Duration::from_millis(700);
/// The pause after a wait that ended with nothing new.
const IDLE: Duration = Duration::from_millis(50);

impl ConsulBoard {
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
            let list = self.hosts.kv_list(&prefix, waits.then_some(until)).await?;
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
        self.hosts.write_all(&doing, &ops).await?;
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
                let list = self.hosts.kv_list(&keys.report(node, ""), None).await?;
                let prefix = keys.reports();
                let reports = list.entries.iter().filter_map(|entry| found(&prefix, entry));
                let Some(last) = reports.max_by_key(|found| found.index) else {
                    return Ok(None);
                };
                last.release
            }
        };
        let entry = self.hosts.kv_get(&keys.log(node, &release), Read::Usual).await?;
        Ok(entry.map(|entry| HostLog {
            text: String::from_utf8_lossy(&entry.value).into_owned(),
            release,
        }))
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
