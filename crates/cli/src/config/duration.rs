//! Durations as the config writes them: `90s`, `10m`, `1h30m`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration of the config, at least one second long unless zero is allowed by its key. It prints as the config
/// writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// Seconds of each unit, greatest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// The longest duration that the config takes: a year. More is a slip of the unit.
const LONGEST: u64 = 366 * 86_400;

impl Span {
    /// A duration of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The duration for the standard library.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Reads `90s`, `10m`, `1h30m`, `2d`.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("it is empty".to_owned());
        }
        if rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("it has no unit: write \"{rest}s\" or \"{rest}m\""));
        }
        let mut total: u64 = 0;
        let mut units = UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let number: u64 = rest[..digits]
                .parse()
                .map_err(|_| format!("`{rest}` does not start with a number"))?;
            let letters = rest[digits..]
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(rest.len() - digits);
            let unit = &rest[digits..digits + letters];
            let Some((_, seconds)) = units.find(|(name, _)| *name == unit) else {
                return Err(if UNITS.iter().any(|(name, _)| *name == unit) {
                    format!("`{unit}` stands out of order: days, hours, minutes, seconds, each once")
                } else {
                    format!("`{unit}` is no unit: s, m, h and d are")
                });
            };
            total = number
                .checked_mul(*seconds)
                .and_then(|more| total.checked_add(more))
                .unwrap_or(u64::MAX);
            rest = &rest[digits + letters..];
        }
        if total > LONGEST {
            return Err("it is longer than a year".to_owned());
        }
        Ok(Self::seconds(total))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, seconds) in UNITS {
            if rest >= seconds {
                write!(f, "{}{name}", rest / seconds)?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn reads_and_prints_the_same() {
        for text in ["1s", "90m", "1h30m", "2d", "1d2h3m4s", "0s"] {
            let span = Span::parse(text).unwrap();
            assert_eq!(Span::parse(&span.to_string()).unwrap(), span, "{text}");
        }
        assert_eq!(Span::parse("90m").unwrap().to_string(), "1h30m");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("", "it is empty"),
            ("10", "it has no unit: write \"10s\" or \"10m\""),
            ("10 minutes", "` minutes` is no unit: s, m, h and d are"),
            ("m10", "`m10` does not start with a number"),
            (
                "10s1m",
                "`m` stands out of order: days, hours, minutes, seconds, each once",
            ),
            (
                "99999999999999999999s",
                "`99999999999999999999s` does not start with a number",
            ),
            ("367d", "it is longer than a year"),
        ] {
            assert_eq!(Span::parse(text).unwrap_err(), message, "{text}");
        }
    }
}
