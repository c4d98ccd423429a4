//! Moments in UTC, to the second, as EC2 writes them.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::ami::AmiFault;

/// A second of the years 1970 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    unix_seconds: u64,
}

/// First second of the year 10000.
const END: u64 = 253_402_300_800;

const DAY: u64 = 86_400;

impl Time {
    /// Returns the moment that many seconds after 1970; `None` past the year 9999.
    #[must_use]
    pub fn from_unix_seconds(unix_seconds: u64) -> Option<Self> {
        (unix_seconds < END).then_some(Self { unix_seconds })
    }

    /// Returns the seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        self.unix_seconds
    }

    /// Returns the moment some years later; the 29th of February becomes the 1st of March.
    #[must_use]
    pub fn plus_years(self, years: u64) -> Option<Self> {
        let (year, month, day) = civil(self.unix_seconds / DAY);
        let days = days_of(year.checked_add(years)?, month, day)?;
        Self::from_unix_seconds(days.checked_mul(DAY)?.checked_add(self.unix_seconds % DAY)?)
    }

    /// Returns the day, as in `2026-11-24`.
    #[must_use]
    pub fn day(self) -> String {
        let (year, month, day) = civil(self.unix_seconds / DAY);
        format!("{year:04}-{month:02}-{day:02}")
    }

    /// Tells whether the moment is the start of a minute.
    #[must_use]
    pub fn is_whole_minute(self) -> bool {
        self.unix_seconds.is_multiple_of(60)
    }
}

/// Tells whether a year of the Gregorian calendar has 366 days.
fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts the days from 1970-01-01 to a day that is given as year, month and day; a day one past
/// its month is the first of the next.
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Below 4 million: the years are at most 9999.
    let mut days = day.strict_sub(1);
    for before in 1970..year {
        days = days.strict_add(if is_leap(before) { 366 } else { 365 });
    }
    for before in 1..month {
        days = days.strict_add(days_in(year, before));
    }
    Some(days)
}

/// Turns days since 1970-01-01 into year, month and day.
fn civil(days: u64) -> (u64, u64, u64) {
    let (mut year, mut rest) = (1970, days);
    loop {
        let len = if is_leap(year) { 366 } else { 365 };
        if rest < len {
            break;
        }
        (year, rest) = (year.strict_add(1), rest.strict_sub(len));
    }
    let mut month = 1;
    while rest >= days_in(year, month) {
        (month, rest) = (month.strict_add(1), rest.strict_sub(days_in(year, month)));
    }
    (year, month, rest.strict_add(1))
}

/// Reads a number of exactly `len` digits.
fn digits(text: &str, len: usize) -> Option<u64> {
    let all = text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

fn parse(text: &str) -> Option<Time> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?;
    let (date, clock) = text.split_once('T')?;
    let mut parts = date.split('-');
    let (year, month, day) =
        (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    // A fraction of a second says nothing: EC2 counts minutes.
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut units = clock.split(':');
    let (hour, minute) = (digits(units.next()?, 2)?, digits(units.next()?, 2)?);
    let second = units.next().map_or(Some(0), |text| digits(text, 2))?;
    let possible = parts.next().is_none()
        && units.next().is_none()
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !possible {
        return None;
    }
    // Each unit was just bounded.
    let seconds = hour.strict_mul(3600).strict_add(minute.strict_mul(60)).strict_add(second);
    Time::from_unix_seconds(days_of(year, month, day)?.strict_mul(DAY).strict_add(seconds))
}

impl FromStr for Time {
    type Err = AmiFault;

    fn from_str(text: &str) -> Result<Self, AmiFault> {
        parse(text).ok_or_else(|| AmiFault::Time { found: text.to_owned() })
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_day = self.unix_seconds % DAY;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}Z", self.day())
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back_as_they_are_written() {
        let known = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (END.strict_sub(1), "9999-12-31T23:59:59Z"),
        ];
        for (seconds, text) in known {
            assert_eq!(Time::from_unix_seconds(seconds).unwrap().to_string(), text);
            assert_eq!(text.parse::<Time>().unwrap().unix_seconds(), seconds);
        }
        for text in ["2023-11-14T22:13Z", "2023-11-14T22:13:00.000Z", "2023-11-14T22:13:00+00:00"] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), "2023-11-14T22:13:00Z");
        }
    }

    #[test]
    fn what_is_no_moment_in_utc_is_refused() {
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-02-29T00:00Z",
            "2023-13-01T00:00Z",
            "2023-00-01T00:00Z",
            "1969-12-31T00:00Z",
            "2023-11-14T24:00Z",
            "2023-11-14T22:13:20+01:00",
            "2023-11-14T2:13Z",
            "+023-11-14T22:13Z",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }

    #[test]
    fn years_are_added_by_the_calendar() {
        let after = |text: &str, years| {
            text.parse::<Time>().unwrap().plus_years(years).map(|time| time.to_string())
        };
        assert_eq!(after("2026-11-24T10:00Z", 2).as_deref(), Some("2028-11-24T10:00:00Z"));
        assert_eq!(after("2024-02-29T10:00Z", 1).as_deref(), Some("2025-03-01T10:00:00Z"));
        assert_eq!(after("9999-01-01T00:00Z", 1), None);
    }
}
