//! A release's id: when, and of which revision.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::layout::bad;

/// How many digits of the revision tell releases of one second apart.
const SHORT: usize = 7;

/// `<UTC yyyymmddThhmmssZ>-<first 7 of the revision>`. Sorted as text, ids are sorted by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId(String);

impl ReleaseId {
    /// The id at `time` (unix seconds) of a revision (at least seven hexadecimal digits).
    pub fn new(time: i64, revision: &str) -> Result<Self, Error> {
        let short = revision.get(..SHORT).unwrap_or(revision);
        let stamp = stamp(time).ok_or_else(|| bad("the time", &time.to_string(), "it is out of range"))?;
        Self::parse(&format!("{stamp}-{short}"))
    }

    /// Reads an id, strictly.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match stamped(text, SHORT) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(bad(
                "the release id",
                text,
                "an id looks like 20261121T134515Z-3074f46",
            )),
        }
    }

    /// The same revision, a second later.
    pub fn next_second(&self) -> Result<Self, Error> {
        Self::new(self.time() + 1, &self.0[self.0.len() - SHORT..])
    }

    /// Its time in unix seconds.
    pub fn time(&self) -> i64 {
        stamped(&self.0, SHORT).unwrap_or_default()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ReleaseId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ReleaseId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

impl From<ReleaseId> for String {
    fn from(id: ReleaseId) -> Self {
        id.0
    }
}

pub(crate) fn stamp(seconds: i64) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC);
    // Four digits of the year, or ids would no longer sort by time.
    (1970..=9999)
        .contains(&time.year())
        .then(|| time.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// The unix seconds of an id of a stamp and `digits` lower-case hexadecimal digits; `None` when the text is none. Only what is
/// written again in the same way is one: one release, one spelling.
pub(crate) fn stamped(text: &str, digits: usize) -> Option<i64> {
    let (time, told_apart) = text.split_once('-')?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if told_apart.len() != digits || !told_apart.bytes().all(hex) {
        return None;
    }
    let read = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", time).ok()?;
    let seconds = read.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    (stamp(seconds)? == time).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_utc_second_and_the_revision() {
        let id = ReleaseId::new(1_795_268_715, "3074f4622d1bc2b6b7de1fae7f0e2f8c4f3c3f6d").unwrap();
        assert_eq!(id.as_str(), "20261121T134515Z-3074f46");
        assert_eq!(id.time(), 1_795_268_715);
        assert_eq!(id.next_second().unwrap().as_str(), "20261121T134516Z-3074f46");
        let end = ReleaseId::parse("20261231T235959Z-3074f46").unwrap();
        assert_eq!(end.next_second().unwrap().as_str(), "20270101T000000Z-3074f46");
        assert!(id < end);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "latest",
            "20261121T134515Z",
            "20261121T134515Z-3074F46",
            "20261121T134515Z-3074f4",
            "20261321T134515Z-3074f46",
            "20261121T134560Z-3074f46",
            "2026112T134515Z-3074f46",
            "20261121T134515Z-3074f46 ",
            "../x-3074f46",
        ] {
            assert!(ReleaseId::parse(text).is_err(), "{text:?}");
        }
        assert!(ReleaseId::new(0, "abc").is_err());
        assert!(ReleaseId::new(i64::MAX, "3074f46").is_err());
    }

    #[test]
    fn an_id_is_text_in_json_and_checked_when_read() {
        let id = ReleaseId::parse("20261121T134515Z-3074f46").unwrap();
        assert_eq!(
            serde_json::to_string(&id).unwrap(),
            "\"20261121T134515Z-3074f46\""
        );
        assert!(serde_json::from_str::<ReleaseId>("\"x\"").is_err());
    }
}
