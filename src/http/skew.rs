//! A clock that is wrong, which services answer with refusals that name anything but the clock.

use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

use jiff::fmt::rfc2822::DateTimeParser;

use crate::error::Error;
use crate::error::Kind;
use crate::http::headers::Headers;

/// Difference from which on AWS refuses a signature.
const LARGE: Duration = Duration::from_mins(5);

/// How far this machine's clock is from the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    by: Duration,
    ahead: bool,
}

impl Skew {
    /// Compares the `Date` of an answer with `now`; `None` if it has none.
    #[must_use]
    pub fn of(headers: &Headers, now: SystemTime) -> Option<Self> {
        let date = DateTimeParser::new().parse_timestamp(headers.get("date")?).ok()?;
        let theirs = u64::try_from(date.as_second()).ok()?;
        let theirs = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(theirs))?;
        Some(match now.duration_since(theirs) {
            Ok(by) => Self { by, ahead: true },
            Err(behind) => Self { by: behind.duration(), ahead: false },
        })
    }

    /// Tells whether it is over five minutes: what is signed or dated here is refused there.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.by > LARGE
    }

    /// Makes the error of a request that was refused for this reason.
    #[must_use]
    pub fn error(&self, host: &str) -> Error {
        Error::new(Kind::Invalid, format!("this machine's clock is {self} that of {host}"))
            .advise("set the clock and try again")
    }
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.by.as_secs();
        let (count, unit) = match seconds {
            0..120 => (seconds, "seconds"),
            120..7200 => (seconds.strict_div(60), "minutes"),
            7200..172_800 => (seconds.strict_div(3600), "hours"),
            _ => (seconds.strict_div(86_400), "days"),
        };
        write!(f, "{count} {unit} {}", if self.ahead { "ahead of" } else { "behind" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT.
    const THEN: u64 = 784_111_777;

    fn skew(now: u64) -> Skew {
        let mut headers = Headers::new();
        headers.add("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let now = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(now)).unwrap();
        Skew::of(&headers, now).unwrap()
    }

    #[test]
    fn a_skew_is_named_with_its_direction() {
        for (now, text, large) in [
            (THEN, "0 seconds ahead of", false),
            (THEN.strict_add(300), "5 minutes ahead of", false),
            (THEN.strict_add(17 * 60), "17 minutes ahead of", true),
            (THEN.strict_sub(3 * 3600), "3 hours behind", true),
            (THEN.strict_add(40 * 86_400), "40 days ahead of", true),
        ] {
            let skew = skew(now);
            assert_eq!((skew.to_string().as_str(), skew.is_large()), (text, large));
        }
        assert_eq!(
            skew(THEN.strict_sub(3600)).error("ec2.example").to_string(),
            "this machine's clock is 60 minutes behind that of ec2.example; set the clock and try again"
        );
    }

    #[test]
    fn no_date_or_a_wrong_one_is_no_skew() {
        let mut headers = Headers::new();
        assert_eq!(Skew::of(&headers, SystemTime::UNIX_EPOCH), None);
        headers.add("Date", "yesterday");
        assert_eq!(Skew::of(&headers, SystemTime::UNIX_EPOCH), None);
    }
}
