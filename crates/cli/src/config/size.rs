//! Sizes as the config and flags write them: `500M`, `20G`. Units count by 1,000, as disks are sold and `df -H` shows them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A size of the config. It prints as the config writes it, in the greatest unit that loses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// Bytes of each unit, greatest first.
const UNITS: [(&str, u64); 4] = [
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("K", 1_000),
];

impl Size {
    /// A size in bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// How many bytes it is.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Reads `500M`, `20G`, `20GB`; small letters too.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err("it does not start with a whole number".to_owned());
        }
        let unit = unit.trim_start().to_ascii_uppercase();
        let unit = unit.strip_suffix('B').unwrap_or(&unit);
        if unit.is_empty() {
            return Err(format!("it has no unit: write \"{number}G\" or \"{number}M\""));
        }
        let Some((_, bytes)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is no unit: K, M, G and T are"));
        };
        let number: Option<u64> = number.parse().ok();
        number
            .and_then(|number| number.checked_mul(*bytes))
            .map(Self)
            .ok_or_else(|| "it is larger than any disk".to_owned())
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS
            .iter()
            .find(|(_, bytes)| self.0 >= *bytes && self.0.is_multiple_of(*bytes));
        match unit {
            Some((name, bytes)) => write!(f, "{}{name}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn reads_and_prints_the_same() {
        for (text, bytes, shown) in [
            ("20G", 20_000_000_000, "20G"),
            ("500 mb", 500_000_000, "500M"),
            ("1500M", 1_500_000_000, "1500M"),
            ("1000K", 1_000_000, "1M"),
            ("0G", 0, "0"),
        ] {
            let size = Size::parse(text).unwrap();
            assert_eq!((size.get(), size.to_string().as_str()), (bytes, shown), "{text}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("", "it does not start with a whole number"),
            ("1.5G", "`.5G` is no unit: K, M, G and T are"),
            ("20", "it has no unit: write \"20G\" or \"20M\""),
            ("20GiB", "`GI` is no unit: K, M, G and T are"),
            ("99999999999T", "it is larger than any disk"),
        ] {
            assert_eq!(Size::parse(text).unwrap_err(), message, "{text}");
        }
    }
}
