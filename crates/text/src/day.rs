//! The day that chat templates are told.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Utc};
use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

/// A moment of a day; what templates ask for by `strftime_now`.
///
/// ```
/// let day: refit_text::Day = "2026-02-03".parse()?;
/// assert_eq!(day.format("%d %B %Y").unwrap(), "03 February 2026");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(NaiveDateTime);

impl Day {
    /// This moment, in UTC.
    pub fn now() -> Self {
        Self(Utc::now().naive_utc())
    }

    /// The moment in the words of `strftime`; `None` where the format is none.
    pub fn format(&self, format: &str) -> Option<String> {
        let mut text = String::new();
        write!(text, "{}", self.0.format(format)).ok()?;
        Some(text)
    }
}

/// `2026-02-03`: the midnight with which the day begins.
impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d");
        let day = day.map_err(|_| "expected a day such as 2026-02-03".to_owned())?;
        Ok(Self(day.and_time(NaiveTime::MIN)))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.date())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_none_is_refused_and_so_is_another_day() {
        let day: Day = "2026-02-03".parse().unwrap();
        assert_eq!(day.format("%Q"), None);
        assert_eq!(day.to_string(), "2026-02-03");
        for bad in ["", "2026-02-30", "03.02.2026", "today"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert!(Day::now().format("%Y").unwrap().as_str() >= "2026");
    }
}
