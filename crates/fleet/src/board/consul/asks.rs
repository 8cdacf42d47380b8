//! What is asked of hosts. A value that is no ask is left out.

use std::collections::BTreeMap;

use super::ConsulBoard;
use crate::board::{Cursor, Error};
use crate::consul::Op;
use crate::report::Asked;

impl ConsulBoard {
    pub(super) async fn write_asks(
        &self,
        role: &str,
        asked: &Asked,
        nodes: &[String],
    ) -> Result<Cursor, Error> {
        if nodes.is_empty() {
            return self.ask_whoever_is_there(role).await;
        }
        let keys = self.keys(role);
        let value = asked.to_value().into_bytes();
        let ops: Vec<Op> = nodes
            .iter()
            .map(|node| Op::Set {
                key: keys.ask(node),
                value: value.clone(),
            })
            .collect();
        let doing = format!("noting what is asked of {role} of {}", self.what());
        Ok(Cursor(self.hosts.write_all(&doing, &ops).await?))
    }

    /// Hosts that are not known by name answer without a kick. Asks of an earlier one must not stand: hosts would take this
    /// kick for that one where both are of the same release.
    async fn ask_whoever_is_there(&self, role: &str) -> Result<Cursor, Error> {
        let keys = self.keys(role);
        let asks = self.hosts.kv_keys(&keys.asks()).await?;
        let ops: Vec<Op> = asks.into_iter().map(|key| Op::Delete { key }).collect();
        let doing = format!("removing what was asked before of {role} of {}", self.what());
        self.hosts.write_all(&doing, &ops).await?;
        Ok(Cursor(self.hosts.kv_list(&keys.reports(), None).await?.index))
    }

    pub(super) async fn read_asks(&self, role: &str) -> Result<BTreeMap<String, Asked>, Error> {
        let prefix = self.keys(role).asks();
        let list = self.hosts.kv_list(&prefix, None).await?;
        let asked = list.entries.into_iter().filter_map(|entry| {
            let node = entry.key.strip_prefix(&prefix)?.to_owned();
            Some((node, Asked::parse(std::str::from_utf8(&entry.value).ok()?)?))
        });
        Ok(asked.collect())
    }
}
