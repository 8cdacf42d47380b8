//! Byte rates as a person writes them ("10MB", "1.5 MiB"), read as stretcher reads them, and keeping to one.

use std::time::{Duration, Instant};

/// A byte rate that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BandwidthError {
    /// There is no number in front of the unit.
    #[error("{0:?} does not begin with a number of bytes, as 10MB does")]
    Number(String),
    /// The unit is none of those that are known.
    #[error("{0:?} is no unit of bytes: B, kB, MB, GB, TB, PB, EB or KiB, MiB, GiB, TiB, PiB, EiB")]
    Unit(String),
    /// More than 64 bits hold.
    #[error("{0:?} is too large")]
    TooLarge(String),
    /// Nothing would ever arrive.
    #[error("{0:?} is no bandwidth: nothing would ever arrive")]
    Zero(String),
}

/// Reads a rate in bytes a second: a decimal number, commas between digits allowed, and a unit in any case;
/// `k`, `kB` and so on are powers of 1000, `Ki`, `KiB` and so on powers of 1024, no unit means bytes.
pub fn parse_bandwidth(text: &str) -> Result<u64, BandwidthError> {
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ','))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number
        .replace(',', "")
        .parse()
        .map_err(|_| BandwidthError::Number(text.to_owned()))?;
    let unit = unit.trim().to_lowercase();
    let factor = unit_factor(&unit).ok_or(BandwidthError::Unit(unit))?;
    let bytes = number * factor;
    if bytes >= 2f64.powi(64) {
        return Err(BandwidthError::TooLarge(text.to_owned()));
    }
    if bytes < 1.0 {
        return Err(BandwidthError::Zero(text.to_owned()));
    }
    Ok(bytes as u64)
}

fn unit_factor(unit: &str) -> Option<f64> {
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let (base, prefix) = match unit.strip_suffix('i') {
        Some(prefix) if !prefix.is_empty() => (1024f64, prefix),
        _ => (1000f64, unit),
    };
    let power = ["", "k", "m", "g", "t", "p", "e"]
        .iter()
        .position(|known| *known == prefix)?;
    i32::try_from(power).ok().map(|power| base.powi(power))
}

/// Keeps a stream at a rate: says after each piece how long to wait before the next one.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Option<u64>,
    start: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self {
            rate,
            start: Instant::now(),
            bytes: 0,
        }
    }

    /// Counts `bytes` more and returns the time to wait until they are due; there is no burst at the start.
    pub(crate) fn after(&mut self, bytes: usize) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        self.bytes += bytes as u64;
        let due = Duration::try_from_secs_f64(self.bytes as f64 / rate as f64).unwrap_or(Duration::MAX);
        due.saturating_sub(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_humanize_reads() {
        // Taken from the documented behaviour of ParseBytes: units in any case, SI and IEC, commas, fractions.
        for (text, bytes) in [
            ("42", 42),
            ("42B", 42),
            ("42 MB", 42_000_000),
            ("42 mib", 44_040_192),
            ("42 MiB", 44_040_192),
            ("42M", 42_000_000),
            ("42 mi", 44_040_192),
            ("1,005.03 MB", 1_005_030_000),
            ("12.5 Kb", 12_500),
            ("1k", 1000),
            ("2 kB", 2000),
            ("3EB", 3_000_000_000_000_000_000),
        ] {
            assert_eq!(parse_bandwidth(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_rate() {
        assert!(matches!(parse_bandwidth(""), Err(BandwidthError::Number(_))));
        assert!(matches!(parse_bandwidth("MB"), Err(BandwidthError::Number(_))));
        assert!(matches!(parse_bandwidth("-1MB"), Err(BandwidthError::Number(_))));
        assert!(matches!(parse_bandwidth("10 MB/s"), Err(BandwidthError::Unit(_))));
        assert!(matches!(parse_bandwidth("10 ib"), Err(BandwidthError::Unit(_))));
        assert!(matches!(parse_bandwidth("10 bb"), Err(BandwidthError::Unit(_))));
        assert!(matches!(
            parse_bandwidth("84 EB"),
            Err(BandwidthError::TooLarge(_))
        ));
        assert!(matches!(parse_bandwidth("0"), Err(BandwidthError::Zero(_))));
    }

    #[test]
    fn a_paced_stream_waits_and_an_unpaced_one_does_not() {
        let (begun, whole) = (Instant::now(), Duration::from_millis(500));
        let mut pace = Pace::new(Some(1000));
        let wait = pace.after(500);
        // Less what has passed since.
        assert!(wait <= whole && wait + begun.elapsed() >= whole, "{wait:?}");
        assert_eq!(Pace::new(None).after(1 << 40), Duration::ZERO);
    }
}
