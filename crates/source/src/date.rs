//! Dates in git's own forms, from unix seconds and a zone as commits write it (`+0930` is 930).

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

struct Civil {
    year: i64,
    month: i64,
    day: i64,
    weekday: &'static str,
    month_name: &'static str,
    clock: String,
}

/// `Wed Nov 15 07:13:20 2023 +0900`
pub(crate) fn normal(time: i64, zone: i32) -> String {
    let c = civil(time, zone);
    format!(
        "{} {} {} {} {} {zone:+05}",
        c.weekday, c.month_name, c.day, c.clock, c.year
    )
}

/// `Wed, 15 Nov 2023 07:13:20 +0900`
pub(crate) fn rfc2822(time: i64, zone: i32) -> String {
    let c = civil(time, zone);
    format!(
        "{}, {} {} {} {} {zone:+05}",
        c.weekday, c.day, c.month_name, c.year, c.clock
    )
}

/// `2023-11-15 07:13:20 +0900`
pub(crate) fn iso(time: i64, zone: i32) -> String {
    let c = civil(time, zone);
    format!("{:04}-{:02}-{:02} {} {zone:+05}", c.year, c.month, c.day, c.clock)
}

/// `2023-11-15T07:13:20+09:00`; `Z` for UTC, as git has written it since 2.45.
pub(crate) fn iso_strict(time: i64, zone: i32) -> String {
    let c = civil(time, zone);
    let sign = if zone < 0 { '-' } else { '+' };
    let end = match zone.abs() {
        0 => "Z".to_owned(),
        zone => format!("{sign}{:02}:{:02}", zone / 100, zone % 100),
    };
    format!("{:04}-{:02}-{:02}T{}{end}", c.year, c.month, c.day, c.clock)
}

/// `2023-11-15`
pub(crate) fn short(time: i64, zone: i32) -> String {
    let c = civil(time, zone);
    format!("{:04}-{:02}-{:02}", c.year, c.month, c.day)
}

/// Days are counted in eras of 400 years that begin on the first of March.
fn civil(time: i64, zone: i32) -> Civil {
    let zone = i64::from(zone);
    let local = time.saturating_add((zone / 100 * 60 + zone % 100) * 60);
    let days = local.div_euclid(86_400);
    let second = local.rem_euclid(86_400);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil {
        year,
        month,
        day,
        weekday: name(&DAYS, (days + 4).rem_euclid(7)),
        month_name: name(&MONTHS, month - 1),
        clock: format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60),
    }
}

fn name(names: &[&'static str], at: i64) -> &'static str {
    usize::try_from(at)
        .ok()
        .and_then(|at| names.get(at).copied())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(normal(1_700_000_000, 900), "Wed Nov 15 07:13:20 2023 +0900");
        assert_eq!(rfc2822(1_700_000_000, -330), "Tue, 14 Nov 2023 18:43:20 -0330");
        assert_eq!(iso_strict(1_700_000_000, 930), "2023-11-15T07:43:20+09:30");
        assert_eq!(iso_strict(1_700_000_000, 0), "2023-11-14T22:13:20Z");
        assert_eq!(short(951_782_400, 0), "2000-02-29");
        assert_eq!(iso(-1, 0), "1969-12-31 23:59:59 +0000");
    }
}
