//! What hosts said while Consul was down, to kicks that went without it: the store has it, and Consul never hears of it.

use std::collections::{BTreeMap, BTreeSet};

use shipit_fleet::report::{Asked, Found};

use super::Known;

/// Reports that stand in the store, of a stage whose board is in Consul.
#[derive(Debug, Default)]
pub struct Outage {
    reports: Vec<Found>,
}

impl Outage {
    /// Of these reports.
    pub fn new(reports: Vec<Found>) -> Self {
        Outage { reports }
    }

    /// Consul's reports, and those of the outage between them where they belong. The index tells nothing but their order then.
    pub fn reports(&self, consul: &[Found]) -> Vec<Found> {
        if self.reports.is_empty() {
            return consul.to_vec();
        }
        let mut merged = consul.to_vec();
        merged.sort_by_key(|found| std::cmp::Reverse(found.index));
        let mut outage: Vec<&Found> = self.reports.iter().collect();
        outage.sort_by_key(|found| found.index);
        for found in outage {
            let at = merged
                .iter()
                .position(|other| other.node == found.node && is_newer(found, other));
            merged.insert(at.unwrap_or(merged.len()), found.clone());
        }
        let count = merged.len() as u64;
        for (found, index) in merged.iter_mut().zip((0..count).rev()) {
            found.index = index;
        }
        merged
    }

    /// What was asked of each host last: in Consul, or by a kick without it.
    pub fn asked(&self, consul: &BTreeMap<String, Asked>) -> BTreeMap<String, Asked> {
        let mut asked = consul.clone();
        for found in &self.reports {
            let Some(kick) = &found.report.kick else { continue };
            if asked.get(&found.node).is_none_or(|other| other.kick < *kick) {
                let ask = Asked {
                    kick: kick.clone(),
                    release: found.release.clone(),
                };
                asked.insert(found.node.clone(), ask);
            }
        }
        asked
    }

    /// The newest kick of the role, when it went without Consul and told hosts by names that none of the role's hosts have, and these.
    pub fn elsewhere(&self, known: &Known) -> Option<(String, Vec<String>)> {
        let (newest, _) = known.releases.last_key_value()?;
        let of_kick = |found: &&Found| found.report.kick.as_ref() == Some(newest);
        let hosts: BTreeSet<&String> = self
            .reports
            .iter()
            .filter(of_kick)
            .map(|found| &found.node)
            .collect();
        let strange = hosts
            .into_iter()
            .filter(|host| !known.expected.contains_key(*host));
        let strange: Vec<String> = strange.cloned().collect();
        (!strange.is_empty()).then(|| (newest.clone(), strange))
    }
}

/// Whether a report of the outage is newer than one of Consul's: by their kicks, whose ids tell their times, else by the hosts' clocks.
fn is_newer(outage: &Found, consul: &Found) -> bool {
    match (&outage.report.kick, &consul.report.kick) {
        (Some(outage), Some(consul)) => outage > consul,
        _ => outage.report.time > consul.report.time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KICKS: [&str; 3] = [
        "20261121T100000Z-00000001",
        "20261121T110000Z-00000002",
        "20261121T120000Z-00000003",
    ];

    fn found(node: &str, kick: Option<usize>, release: &str, index: u64) -> Found {
        Found {
            node: node.to_owned(),
            release: release.to_owned(),
            index,
            report: serde_json::from_value(serde_json::json!({
                "state": "succeeded", "time": 100 + index % 100, "kick": kick.map(|at| KICKS[at])
            }))
            .unwrap(),
        }
    }

    fn order(outage: &Outage, consul: &[Found], node: &str) -> Vec<String> {
        let mut merged = outage.reports(consul);
        merged.sort_by_key(|found| std::cmp::Reverse(found.index));
        let of_node = merged.into_iter().filter(|found| found.node == node);
        of_node.map(|found| found.release).collect()
    }

    #[test]
    fn what_was_said_without_consul_stands_where_its_kick_stands() {
        let store = 1_795_268_715_000_000;
        let outage = Outage::new(vec![
            found("a", Some(1), "two", store),
            found("b", Some(1), "two", store + 1),
        ]);
        let consul = [
            found("a", Some(0), "one", 7),
            found("b", Some(2), "three", 9),
            found("b", Some(0), "one", 8),
        ];
        assert_eq!(order(&outage, &consul, "a"), ["two", "one"]);
        assert_eq!(order(&outage, &consul, "b"), ["three", "two", "one"]);
        // A report that names no kick: by the clocks.
        assert_eq!(
            order(&outage, &[found("a", None, "one", 90)], "a"),
            ["one", "two"]
        );
        assert_eq!(order(&Outage::default(), &consul, "b"), ["three", "one"]);

        let ask = |kick: usize, release: &str| Asked {
            kick: KICKS[kick].to_owned(),
            release: release.to_owned(),
        };
        let asked = BTreeMap::from([("a".to_owned(), ask(0, "one")), ("b".to_owned(), ask(2, "three"))]);
        let asked = outage.asked(&asked);
        assert_eq!((&asked["a"], &asked["b"]), (&ask(1, "two"), &ask(2, "three")));
    }

    #[test]
    fn hosts_that_were_told_by_other_names_are_named() {
        let outage = Outage::new(vec![
            found("a", Some(1), "two", 1),
            found("b.example", Some(1), "two", 2),
        ]);
        let mut known = Known {
            expected: BTreeMap::from([("a".to_owned(), None), ("b".to_owned(), None)]),
            releases: BTreeMap::from([(KICKS[1].to_owned(), "two".to_owned())]),
            ..Known::default()
        };
        let (kick, hosts) = outage.elsewhere(&known).unwrap();
        assert_eq!((kick.as_str(), hosts), (KICKS[1], vec!["b.example".to_owned()]));
        // A kick since then asked all of them.
        known.releases.insert(KICKS[2].to_owned(), "three".to_owned());
        assert_eq!(outage.elsewhere(&known), None);
    }
}
