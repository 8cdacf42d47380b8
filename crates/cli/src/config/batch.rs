//! How many hosts a wave has, as the config and flags write it: `5`, or `25%` of the role's hosts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The size of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many hosts, at least 1.
    Hosts(u32),
    /// This part of the role's hosts, 1 to 100 percent.
    Percent(u8),
}

impl Batch {
    /// How many hosts one wave has when the role has `hosts`: a part is rounded up, and it is never none.
    pub fn of(self, hosts: usize) -> usize {
        match self {
            Self::Hosts(number) => usize::try_from(number).unwrap_or(usize::MAX).max(1),
            Self::Percent(percent) => hosts.saturating_mul(percent.into()).div_ceil(100).max(1),
        }
    }

    /// Reads `5` or `25%`.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (number, share) = match text.strip_suffix('%') {
            Some(number) => (number.trim_end(), true),
            None => (text, false),
        };
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("it is neither a number nor a part like `25%`".to_owned());
        }
        match (number.parse::<u32>(), share) {
            (Ok(0), _) => Err("a wave has at least one host".to_owned()),
            (Ok(percent @ 1..=100), true) => Ok(Self::Percent(u8::try_from(percent).unwrap_or(100))),
            (_, true) => Err("it is more than 100%".to_owned()),
            (Ok(hosts), false) => Ok(Self::Hosts(hosts)),
            (Err(_), false) => Err("no role has that many hosts".to_owned()),
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hosts(number) => write!(f, "{number}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Hosts(number) => serializer.serialize_u32(*number),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Batch;

    #[test]
    fn a_part_is_rounded_up_and_never_none() {
        for (text, hosts, wave) in [
            ("25%", 8, 2),
            ("25%", 9, 3),
            ("25%", 1, 1),
            ("1%", 10, 1),
            ("100%", 7, 7),
            ("50%", 0, 1),
            ("3", 10, 3),
            ("3", 1, 3),
        ] {
            assert_eq!(Batch::parse(text).unwrap().of(hosts), wave, "{text} of {hosts}");
        }
    }

    #[test]
    fn prints_what_it_reads_and_says_what_is_wrong() {
        for text in ["1", "25%", "100%", "4000000000"] {
            assert_eq!(Batch::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Batch::parse(" 25 % ").unwrap(), Batch::Percent(25));
        for (text, why) in [
            ("", "neither"),
            ("%", "neither"),
            ("-1", "neither"),
            ("+5", "neither"),
            ("half", "neither"),
            ("1.5%", "neither"),
            ("0", "at least one"),
            ("0%", "at least one"),
            ("101%", "more than 100%"),
            ("99999999999%", "more than 100%"),
            ("99999999999", "that many hosts"),
        ] {
            let error = Batch::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
