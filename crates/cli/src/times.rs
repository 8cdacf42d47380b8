//! Times as people read them: in UTC, for hosts, builders and consoles stand in several zones.

use jiff::Timestamp;

/// `2026-11-21 13:45:15Z`.
pub fn utc(seconds: i64) -> String {
    shown(seconds, "%Y-%m-%d %H:%M:%SZ")
}

/// To the minute: `2026-11-21T13:45Z`.
pub fn minute(seconds: i64) -> String {
    shown(seconds, "%Y-%m-%dT%H:%MZ")
}

/// How long ago: `12s`, `5m`, `3h`, `2d`.
pub fn ago(seconds: i64, now: i64) -> String {
    let past = now.saturating_sub(seconds).max(0);
    match past {
        0..60 => format!("{past}s"),
        60..3600 => format!("{}m", past / 60),
        3600..86_400 => format!("{}h", past / 3600),
        _ => format!("{}d", past / 86_400),
    }
}

fn shown(seconds: i64, form: &str) -> String {
    Timestamp::from_second(seconds)
        .map_or_else(|_| seconds.to_string(), |time| time.strftime(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_and_ages_in_one_unit() {
        assert_eq!(utc(1_795_268_715), "2026-11-21 13:45:15Z");
        assert_eq!(minute(1_795_268_715), "2026-11-21T13:45Z");
        assert_eq!(
            [0, 59, 60, 3_599, 7_200, 200_000].map(|past| ago(0, past)),
            ["0s", "59s", "1m", "59m", "2h", "2d"]
        );
    }
}
