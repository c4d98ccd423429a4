//! A request together with what makes it worth repeating.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;
use std::time::SystemTime;

use crate::error::Result;
use crate::http::bucket::Bucket;
use crate::http::headers::Headers;
use crate::http::message::Cut;
use crate::http::message::Request;

/// How long and how often something is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Most attempts.
    pub attempts: u32,
    /// Most time of one attempt, its body included.
    pub whole: Duration,
    /// Time after which no further attempt is begun.
    pub deadline: Duration,
}

impl Default for Patience {
    /// Six attempts, which with the pauses between them bridge most restarts of a service.
    fn default() -> Self {
        let hour = Duration::from_hours(1);
        Self { attempts: 6, whole: hour, deadline: hour.saturating_mul(2) }
    }
}

/// What came of one attempt.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// The service answered.
    Answer {
        /// The status.
        status: u16,
        /// The headers.
        headers: &'a Headers,
        /// The first 64 KiB of the body where the status is 400 or more; else nothing.
        body: &'a [u8],
    },
    /// There was no answer, or not all of one.
    Cut(&'a Cut),
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the result.
    Take,
    /// Try again, after a pause.
    Again,
    /// Try again, after a pause, and let everybody at this service be slower.
    Throttled,
}

/// What is repeated where nobody knows the service better: broken connections, and the statuses that say "later".
#[must_use]
pub fn usual(outcome: &Outcome<'_>) -> Verdict {
    match *outcome {
        Outcome::Cut(cut) if cut.may_repeat => Verdict::Again,
        Outcome::Answer { status: 408 | 500 | 502 | 504, .. } => Verdict::Again,
        Outcome::Answer { status: 429 | 503, .. } => Verdict::Throttled,
        _ => Verdict::Take,
    }
}

/// Changes a request right before it is sent, as a signature does, which has the time in it.
pub type Prepare<'a> = &'a (dyn Fn(&mut Request<'_>, SystemTime) -> Result<()> + Sync);

/// A request that may be sent several times.
#[derive(Clone)]
pub struct Call<'a> {
    /// What it does, after "cannot": `put a block`.
    pub what: Cow<'a, str>,
    /// The request.
    pub request: Request<'a>,
    /// How long and how often it is tried.
    pub patience: Patience,
    /// Judges each attempt.
    pub judge: &'a (dyn Fn(&Outcome<'_>) -> Verdict + Sync),
    /// Changes a copy of the request before each attempt.
    pub prepare: Option<Prepare<'a>>,
    /// Where an attempt draws its token.
    pub bucket: Option<&'a Bucket>,
    /// Hears of bytes of the body when they are sent for the first time.
    pub progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

impl<'a> Call<'a> {
    /// Makes a call that is repeated as [`usual`].
    #[must_use]
    pub fn new(what: impl Into<Cow<'a, str>>, request: Request<'a>) -> Self {
        Self {
            what: what.into(),
            request,
            patience: Patience::default(),
            judge: &usual,
            prepare: None,
            bucket: None,
            progress: None,
        }
    }
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("what", &self.what)
            .field("request", &self.request)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::Phase;

    #[test]
    fn what_says_later_is_repeated_and_what_says_no_is_not() {
        let headers = Headers::new();
        let of = |status| usual(&Outcome::Answer { status, headers: &headers, body: &[] });
        for status in [408, 500, 502, 504] {
            assert_eq!(of(status), Verdict::Again, "{status}");
        }
        for status in [429, 503] {
            assert_eq!(of(status), Verdict::Throttled, "{status}");
        }
        for status in [200, 201, 202, 206, 301, 307, 400, 401, 403, 404, 409, 413, 416, 501, 505] {
            assert_eq!(of(status), Verdict::Take, "{status}");
        }
        let cut = |may_repeat| {
            let cause = String::new();
            Cut { phase: Phase::Tls, cause, may_repeat, is_closed: false }
        };
        assert_eq!(usual(&Outcome::Cut(&cut(true))), Verdict::Again);
        assert_eq!(usual(&Outcome::Cut(&cut(false))), Verdict::Take);
    }
}
