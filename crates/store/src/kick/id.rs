//! A kick's id: when, and a random part.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::layout::bad;
use crate::release_id::{stamp, stamped};

/// How many random hexadecimal digits tell kicks of one second apart.
const RANDOM: usize = 8;

/// `<UTC yyyymmddThhmmssZ>-<8 hexadecimal digits>`. Sorted as text, ids are sorted by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KickId(String);

impl KickId {
    /// A new id at `time` (unix seconds).
    ///
    /// # Errors
    /// The time is none that has a year of four digits.
    pub fn new(time: i64) -> Result<Self, Error> {
        let stamp = stamp(time).ok_or_else(|| bad("the time", &time.to_string(), "it is out of range"))?;
        Ok(Self(format!("{stamp}-{:08x}", fastrand::u32(..))))
    }

    /// Reads an id, strictly.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match stamped(text, RANDOM) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(bad(
                "the kick id",
                text,
                "an id looks like 20261121T134515Z-5e1f00aa",
            )),
        }
    }

    /// Its time in unix seconds.
    pub fn time(&self) -> i64 {
        stamped(&self.0, RANDOM).unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KickId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KickId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for KickId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<KickId> for String {
    fn from(id: KickId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sorted_by_time_and_read_strictly() {
        let early = KickId::new(1_700_000_000).unwrap();
        let late = KickId::new(1_700_000_001).unwrap();
        assert!(early < late && early.time() == 1_700_000_000);
        assert_eq!(KickId::parse(early.as_str()).unwrap(), early);
        for wrong in [
            "",
            "20261121T134515Z",
            "20261121T134515Z-5e1f00a",
            "20261121T134515Z-5E1F00AA",
            "x-5e1f00aa",
        ] {
            KickId::parse(wrong).unwrap_err();
        }
    }
}
