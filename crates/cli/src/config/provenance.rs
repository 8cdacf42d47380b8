//! Where each value of the settled config came from.

use std::collections::BTreeMap;

use serde::Serialize;

use super::setting::Origin;

/// Origins by dotted key (`role.web.dest`, `build.step[0].run`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Provenance {
    origins: BTreeMap<String, Origin>,
}

impl Provenance {
    /// Notes a key's origin; the last note counts.
    pub fn note(&mut self, key: impl Into<String>, origin: Origin) {
        self.origins.insert(key.into(), origin);
    }

    /// A key's origin: its own, else that of the nearest key it lies under or, for a table, of its first key; else the
    /// default.
    pub fn of(&self, key: &str) -> Origin {
        let inside = format!("{key}.");
        if !self.origins.contains_key(key)
            && let Some((_, origin)) = self
                .origins
                .range(inside.clone()..)
                .next()
                .filter(|(at, _)| at.starts_with(&inside))
        {
            return origin.clone();
        }
        let mut key = key;
        loop {
            if let Some(origin) = self.origins.get(key) {
                return origin.clone();
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return Origin::Default,
            }
        }
    }
}
