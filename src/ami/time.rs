//! Moments in UTC, to the second, as EC2 writes them.

use std::fmt;
use std::str::FromStr;

use jiff::Span;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::ami::AmiFault;

/// A second of the years 1970 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Timestamp);

/// Seconds of a minute, which is how exact EC2 keeps a time.
const MINUTE: u64 = 60;

impl Time {
    /// Returns the moment that many seconds after 1970; `None` past the year 9999.
    #[must_use]
    pub fn from_unix_seconds(unix_seconds: u64) -> Option<Self> {
        Timestamp::from_second(i64::try_from(unix_seconds).ok()?).ok().map(Self)
    }

    /// Returns the seconds since 1970.
    #[must_use]
    pub fn unix_seconds(self) -> u64 {
        u64::try_from(self.0.as_second()).expect("no moment before 1970 is made")
    }

    /// Returns the moment some years later; from the 29th of February it may be the 28th.
    #[must_use]
    pub fn plus_years(self, years: u64) -> Option<Self> {
        let span = Span::new().try_years(i64::try_from(years).ok()?).ok()?;
        let later = self.0.to_zoned_datetime(TimeZone::UTC).checked_add(span).ok()?;
        Some(Self(later.timestamp()))
    }

    /// Returns the day, as in `2026-11-24`.
    #[must_use]
    pub fn day(self) -> String {
        self.0.to_zoned_datetime(TimeZone::UTC).date().to_string()
    }

    /// Tells whether the moment is the start of a minute.
    #[must_use]
    pub fn is_whole_minute(self) -> bool {
        self.unix_seconds().is_multiple_of(MINUTE)
    }

    /// Returns the nearest minute, which is what EC2 makes of a time.
    #[must_use]
    pub fn nearest_minute(self) -> Self {
        // Far below 2^64: it ends with the year 9999.
        let seconds = self.unix_seconds().strict_add(MINUTE / 2);
        let start = seconds.strict_sub(seconds % MINUTE);
        Self::from_unix_seconds(start).unwrap_or(self)
    }
}

impl FromStr for Time {
    type Err = AmiFault;

    fn from_str(text: &str) -> Result<Self, AmiFault> {
        let fault = || AmiFault::Time { found: text.to_owned() };
        let exact: Timestamp = text.parse().map_err(|_| fault())?;
        // EC2 counts minutes, so a fraction of a second says nothing.
        let seconds = u64::try_from(exact.as_second()).map_err(|_| fault())?;
        Self::from_unix_seconds(seconds).ok_or_else(fault)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
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
            (253_402_207_200, "9999-12-30T22:00:00Z"),
        ];
        for (seconds, text) in known {
            assert_eq!(Time::from_unix_seconds(seconds).unwrap().to_string(), text);
            assert_eq!(text.parse::<Time>().unwrap().unix_seconds(), seconds);
        }
        for text in [
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:00.000Z",
            "2023-11-14T22:13:00.999Z",
            "2023-11-14T22:13:00+00:00",
            "2023-11-14T23:13:00+01:00",
        ] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), "2023-11-14T22:13:00Z");
        }
    }

    #[test]
    fn a_text_that_is_not_a_moment_is_refused() {
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-02-29T00:00Z",
            "2023-13-01T00:00Z",
            "2023-00-01T00:00Z",
            "1969-12-31T00:00Z",
            "2023-11-14T24:00Z",
            "2023-11-14T22:13:20[Europe/Berlin]",
            "2023-11-14T2:13Z",
            "10000-01-01T00:00Z",
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
        assert_eq!(after("2024-02-29T10:00Z", 1).as_deref(), Some("2025-02-28T10:00:00Z"));
        assert_eq!(after("9999-01-01T00:00Z", 1), None);
        assert_eq!(after("2026-11-24T10:00Z", u64::MAX), None);
    }

    #[test]
    fn a_time_is_rounded_to_the_nearest_minute() {
        for (text, rounded) in [
            ("2026-11-24T10:00:29Z", "2026-11-24T10:00:00Z"),
            ("2026-11-24T10:00:41Z", "2026-11-24T10:01:00Z"),
            ("2026-12-31T23:59:30Z", "2027-01-01T00:00:00Z"),
            ("2026-11-24T10:00:00Z", "2026-11-24T10:00:00Z"),
        ] {
            let time: Time = text.parse().unwrap();
            assert_eq!(time.is_whole_minute(), text == rounded);
            assert_eq!(time.nearest_minute().to_string(), rounded);
        }
    }
}
