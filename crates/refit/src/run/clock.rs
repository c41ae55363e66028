//! Time of day, as run records write it.

use std::time::{SystemTime, UNIX_EPOCH};

/// The current time in UTC, such as `2026-03-01T08:05:09Z` (RFC 3339, whole seconds).
pub fn now() -> String {
    // A clock before 1970 is a broken clock, not a reason to fail a run.
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| passed.as_secs());
    rfc3339(seconds)
}

/// `seconds` since the start of 1970 in UTC, as RFC 3339 writes it.
///
/// ```
/// assert_eq!(refit::run::rfc3339(951_782_400), "2000-02-29T00:00:00Z");
/// ```
pub fn rfc3339(seconds: u64) -> String {
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
///
/// Counts from 0000-03-01, so that the leap day is the last of its year: a year starts every 365.2425 days, and the
/// months from March on have 31, 30, 31, 30, 31 days and repeat, which `(5 m + 2) / 153` inverts.
fn civil(days: u64) -> (u64, u64, u64) {
    const FROM_MARCH_0000: u64 = 719_468;
    const ERA: u64 = 146_097; // days of 400 years
    let days = days + FROM_MARCH_0000;
    let (era, of_era) = (days / ERA, days % ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants_are_written_as_the_calendar_says() {
        // From `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_599, "1972-02-28T23:59:59Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"), // 2100 has no leap day
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_its_predecessor() {
        let mut before = civil(0);
        for days in 1..146_097 {
            let today = civil(days);
            let next_day = (before.0, before.1, before.2 + 1);
            let new_month = (before.0, before.1 + 1, 1);
            let new_year = (before.0 + 1, 1, 1);
            assert!(
                today == next_day || today == new_month || today == new_year,
                "{today:?}"
            );
            assert!(today.2 <= 31 && today.1 <= 12);
            before = today;
        }
        assert_eq!(before, (2369, 12, 31));
    }
}
