//! A wire without a socket and a world without time, for tests of whatever speaks HTTP.

use std::fmt;
use std::io;
use std::io::Read;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use crate::error::Result;
use crate::http::headers::Headers;
use crate::http::message::Cut;
use crate::http::message::Limits;
use crate::http::message::Method;
use crate::http::message::Phase;
use crate::http::message::Reply;
use crate::http::message::Request;
use crate::http::message::Wire;
use crate::http::url::Url;
use crate::http::world::World;

/// A request as the service sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What it wants.
    pub method: Method,
    /// Of what.
    pub url: Url,
    /// Its headers.
    pub headers: Headers,
    /// All that it brings.
    pub body: Vec<u8>,
}

/// A wire whose other end is a function.
pub struct FakeWire<F>(F);

impl<F: Fn(Seen) -> Result<Reply, Cut> + Send + Sync> FakeWire<F> {
    /// Makes a wire to a function.
    pub fn new(service: F) -> Self {
        Self(service)
    }
}

impl<F> fmt::Debug for FakeWire<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeWire")
    }
}

impl<F: Fn(Seen) -> Result<Reply, Cut> + Send + Sync> Wire for FakeWire<F> {
    fn exchange(
        &self,
        request: &Request<'_>,
        _: &Limits,
        sent: &dyn Fn(u64),
    ) -> Result<Result<Reply, Cut>> {
        let mut body = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            let at = u64::try_from(body.len()).expect("memory is under 2^64 bytes");
            let len = request.body.read_at(at, &mut piece)?;
            if len == 0 {
                break;
            }
            body.extend_from_slice(&piece[..len]);
            sent(u64::try_from(len).expect("memory is under 2^64 bytes"));
        }
        let (url, headers) = (request.url.clone(), request.headers.clone());
        Ok((self.0)(Seen { method: request.method, url, headers, body }))
    }
}

/// Makes a reply.
///
/// # Errors
///
/// Never: it is what a service of [`FakeWire`] returns.
pub fn reply(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, Cut> {
    let mut all = Headers::new();
    for (name, value) in headers {
        all.add(name, *value);
    }
    if all.get("content-length").is_none() {
        all.add("Content-Length", body.len().to_string());
    }
    Ok(Reply { status, headers: all, body: Box::new(io::Cursor::new(body.to_vec())) })
}

/// Makes a body that never ends.
#[must_use]
pub fn endless() -> Box<dyn Read + Send> {
    Box::new(io::repeat(b' '))
}

/// Makes a broken connection.
#[must_use]
pub fn broken(phase: Phase) -> Cut {
    Cut { phase, cause: "connection reset".to_owned(), may_repeat: true, is_closed: true }
}

/// A world whose time passes by sleeping, and whose chance is always the greatest.
#[derive(Debug, Default)]
pub struct FakeWorld {
    passed: Mutex<Duration>,
    naps: Mutex<Vec<Duration>>,
}

impl FakeWorld {
    /// Returns how long each sleep was.
    #[must_use]
    pub fn naps(&self) -> Vec<Duration> {
        self.naps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        *passed = passed.saturating_add(time);
    }
}

impl World for FakeWorld {
    fn now(&self) -> SystemTime {
        let noon = Duration::from_hours(500_000);
        SystemTime::UNIX_EPOCH.checked_add(noon.saturating_add(self.ticks())).expect("it is soon")
    }

    fn ticks(&self) -> Duration {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep(&self, time: Duration, stopped: &dyn Fn() -> bool) {
        if !stopped() {
            self.naps.lock().unwrap_or_else(PoisonError::into_inner).push(time);
            self.pass(time);
        }
    }

    fn random(&self) -> u64 {
        u64::MAX
    }
}
