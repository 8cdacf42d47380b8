//! What goes from the board: old reports of a node, asks of nodes that are no more, and all that is about releases that
//! are no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ConsulBoard;
use crate::board::Error;
use crate::consul::{KvEntry, Op};
use crate::report::Asked;

/// Of how many releases a node's reports stay when it is asked for another one: everybody who follows a role reads all of its reports
/// each time, and a node is deployed some thousand times in a year.
const KEPT: usize = 5;
/// How long tidying up may take, where nothing else is waited for either.
const TIDYING: Duration = Duration::from_secs(5);

impl ConsulBoard {
    /// Removes what is not needed any more once this was asked of these nodes of a role; as far as Consul lets it.
    pub(super) async fn forget_old(&self, role: &str, asked: &Asked, nodes: &[String]) {
        // Where no node is asked by its name, none has a history to be kept short.
        if nodes.is_empty() {
            return;
        }
        let both = async {
            let (_, _) = tokio::join!(
                self.forget_oldest(role, &asked.release),
                self.forget_gone(role, asked, nodes)
            );
        };
        let _ = tokio::time::timeout(TIDYING, both).await;
    }

    /// Removes what a role's nodes said long ago, but nothing about the release that is asked for now.
    async fn forget_oldest(&self, role: &str, asked: &str) -> Result<(), Error> {
        let client = self.hosts.within(TIDYING);
        let keys = self.keys(role);
        let prefix = keys.reports();
        // The names alone say whether there is anything to do, and most often there is not.
        if !is_crowded(&prefix, &client.kv_keys(&prefix).await?) {
            return Ok(());
        }
        let reports = client.kv_list(&prefix, None).await?;
        let ops: Vec<Op> = outdated(&prefix, &reports.entries, asked)
            .into_iter()
            .flat_map(|(node, release)| {
                [keys.report(node, release), keys.log(node, release)].map(|key| Op::Delete { key })
            })
            .collect();
        let doing = format!("forgetting old reports of {role} of {}", self.what());
        client.write_all(&doing, &ops).await?;
        Ok(())
    }

    /// Removes what was asked of nodes that are neither asked now nor in the catalog any more.
    async fn forget_gone(&self, role: &str, asked: &Asked, nodes: &[String]) -> Result<(), Error> {
        let client = self.hosts.within(TIDYING);
        let keys = self.keys(role);
        let prefix = keys.asks();
        let asks = client.kv_list(&prefix, None).await?.entries;
        let now: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
        // A kick may have asked nodes in an earlier wave.
        let earlier = |entry: &&KvEntry| ask_of(entry).is_none_or(|other| other.kick != asked.kick);
        let is_other = |entry: &&KvEntry| {
            let node = entry.key.strip_prefix(&prefix);
            node.is_some_and(|node| !now.contains(node))
        };
        let others: Vec<&KvEntry> = asks.iter().filter(earlier).filter(is_other).collect();
        if others.is_empty() {
            return Ok(());
        }
        let known: BTreeSet<String> = client.nodes().await?.into_iter().collect();
        // One that is back by now may have been asked again, by whoever has the lock then: only what was read goes.
        for ask in others {
            let node = ask.key.strip_prefix(&prefix).unwrap_or_default();
            if !known.contains(node) {
                client.kv_delete(&ask.key, Some(ask.modify_index)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn delete_releases(&self, releases: &[String]) -> Result<u64, Error> {
        let gone: BTreeSet<&str> = releases.iter().map(String::as_str).collect();
        let mut ops = Vec::new();
        for area in ["reports", "logs"] {
            let prefix = format!("shipit/{area}/{}/{}/", self.app, self.stage);
            let keys = self.hosts.kv_keys(&prefix).await?;
            let of_gone = |key: &String| {
                let last = key.rsplit_once('/').map(|(_, release)| release);
                last.is_some_and(|release| gone.contains(release))
            };
            ops.extend(keys.into_iter().filter(of_gone).map(|key| Op::Delete { key }));
        }
        let doing = format!("forgetting reports of {}", self.what());
        self.hosts.write_all(&doing, &ops).await?;
        Ok(ops.len() as u64 + self.delete_asks(&gone).await?)
    }

    /// Removes asks for releases that are no more. A kick may ask for another one at the same time: that ask stays.
    async fn delete_asks(&self, gone: &BTreeSet<&str>) -> Result<u64, Error> {
        let prefix = format!("shipit/asks/{}/{}/", self.app, self.stage);
        let mut deleted = 0;
        for entry in self.hosts.kv_list(&prefix, None).await?.entries {
            let of_gone = ask_of(&entry).is_some_and(|asked| gone.contains(asked.release.as_str()));
            if of_gone
                && self
                    .client
                    .kv_delete(&entry.key, Some(entry.modify_index))
                    .await?
            {
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// What a key asks for; nothing when it is no ask.
fn ask_of(entry: &KvEntry) -> Option<Asked> {
    Asked::parse(std::str::from_utf8(&entry.value).ok()?)
}

/// The node and the release of a report's key.
fn node_and_release<'a>(prefix: &str, key: &'a str) -> Option<(&'a str, &'a str)> {
    key.strip_prefix(prefix)?.rsplit_once('/')
}

/// Whether a node has more reports than stay.
fn is_crowded(prefix: &str, keys: &[String]) -> bool {
    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, _) in keys.iter().filter_map(|key| node_and_release(prefix, key)) {
        *nodes.entry(node).or_default() += 1;
    }
    nodes.values().any(|count| *count > KEPT)
}

/// The nodes and releases of those reports that are not among their node's newest: a release's age says nothing, for a
/// rollback is a new report about an old one.
fn outdated<'a>(prefix: &str, reports: &'a [KvEntry], asked: &str) -> Vec<(&'a str, &'a str)> {
    let mut nodes: BTreeMap<&str, Vec<(u64, &str)>> = BTreeMap::new();
    for report in reports {
        if let Some((node, release)) = node_and_release(prefix, &report.key) {
            nodes
                .entry(node)
                .or_default()
                .push((report.modify_index, release));
        }
    }
    let mut outdated = Vec::new();
    for (node, mut reports) in nodes {
        reports.sort_unstable();
        reports.truncate(reports.len().saturating_sub(KEPT));
        let releases = reports.into_iter().map(|(_, release)| release);
        outdated.extend(
            releases
                .filter(|release| *release != asked)
                .map(|release| (node, release)),
        );
    }
    outdated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(at: usize) -> String {
        format!("2026112{at}T100000Z-0000001")
    }

    fn report(node: &str, at: usize, index: u64) -> KvEntry {
        KvEntry {
            key: format!("p/{node}/{}", release(at)),
            modify_index: index,
            ..KvEntry::default()
        }
    }

    #[test]
    fn a_nodes_oldest_reports_are_outdated_and_no_other_nodes() {
        // The oldest release was reported last: it was gone back to.
        let mut reports: Vec<KvEntry> = (1..KEPT + 3).map(|at| report("web1", at, at as u64)).collect();
        reports.push(report("web1", 0, 100));
        reports.push(report("web10", 0, 1));
        reports.push(KvEntry {
            key: "p/stray".to_owned(),
            ..KvEntry::default()
        });
        let outdated = |asked: &str| -> Vec<(String, String)> {
            outdated("p/", &reports, asked)
                .into_iter()
                .map(|(node, release)| (node.to_owned(), release.to_owned()))
                .collect()
        };
        let of = |at: usize| ("web1".to_owned(), release(at));
        assert_eq!(outdated("none"), [of(1), of(2), of(3)]);
        assert_eq!(outdated(&release(2)), [of(1), of(3)]);
    }

    #[test]
    fn what_there_is_to_forget_is_seen_by_the_names() {
        let mut keys: Vec<String> = (0..KEPT).map(|at| report("web1", at, 0).key).collect();
        keys.push(report("web10", 0, 0).key);
        keys.push("p/stray".to_owned());
        assert!(!is_crowded("p/", &keys));
        keys.push(report("web1", KEPT, 0).key);
        assert!(is_crowded("p/", &keys));
    }
}
