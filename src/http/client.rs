//! Sends requests until they are answered.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::SystemTime;

use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::bounded;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::http::call::Call;
use crate::http::call::Outcome;
use crate::http::call::Verdict;
use crate::http::headers::Headers;
use crate::http::message::Cut;
use crate::http::message::Limits;
use crate::http::message::Method;
use crate::http::message::Request;
use crate::http::message::Timeouts;
use crate::http::message::Wire;
use crate::http::redact;
use crate::http::response::Answer;
use crate::http::response::Response;
use crate::http::response::broken;
use crate::http::said::answered;
use crate::http::skew::Skew;
use crate::http::url::Url;
use crate::http::wire::Sockets;
use crate::http::world::System;
use crate::http::world::World;
use crate::work::Retry;
use crate::work::Trace;
use crate::work::Watch;
use crate::work::spawn;

/// Longest pause before another attempt. More than that and the user thinks that nothing happens.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// Pause before the second attempt at most; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause that a service can ask for.
const LONGEST_WISH: Duration = Duration::from_mins(1);

/// Bytes of an error's body that are looked at to judge it.
const ERROR_LEN: usize = 64 << 10;

/// Time between two looks at whether the user stops.
const LOOK: Duration = Duration::from_millis(100);

/// How long, and how often, a call fails before the user hears of it: most of what fails works a moment later.
const FIRST_WORD: Duration = Duration::from_secs(2);
const FIRST_TOLD: u32 = 3;

/// Least time between two times that the user hears of calls that fail: all of them may, at once.
const BETWEEN_WORDS: Duration = Duration::from_secs(5);

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it calls itself.
    pub user_agent: String,
    /// How long single waits may be.
    pub timeouts: Timeouts,
    /// Whether plain HTTP is spoken with other machines too.
    pub insecure: bool,
    /// Where requests and answers are traced.
    pub trace: Option<Trace>,
    /// PEM of the authorities to trust, in the place of those that browsers trust.
    pub roots: Option<Vec<u8>>,
    /// Connections that are kept open.
    pub connections: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_agent: concat!("amikit/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            insecure: false,
            trace: None,
            roots: None,
            connections: 8,
        }
    }
}

/// A client of any number of services, for any number of threads.
pub struct Client<'w> {
    wire: Box<dyn Wire>,
    world: Box<dyn World>,
    watch: &'w dyn Watch,
    options: Options,
    stopped: Arc<AtomicBool>,
    count: AtomicU64,
    /// When the user last heard of a call that fails.
    told: Mutex<Option<Duration>>,
}

/// Runs something with a client, whose waiting ends once `watch` says to stop.
///
/// # Errors
///
/// `Invalid` if the authorities or a proxy of the environment cannot be read; else that which `run` returns.
pub fn connected<R>(
    options: Options,
    watch: &dyn Watch,
    run: impl FnOnce(&Client<'_>) -> Result<R>,
) -> Result<R> {
    let wire = Sockets::new(&options.user_agent, options.roots.as_deref(), options.connections)?;
    let client = Client::over(wire, System::default(), options, watch);
    thread::scope(|scope| {
        let (run_ends, ended) = bounded::<()>(0);
        let looker = &client;
        spawn(scope, move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
                if looker.watch.stopped() {
                    looker.stopped.store(true, Ordering::Relaxed);
                    looker.wire.abort();
                    break;
                }
            }
        })?;
        let result = run(&client);
        drop(run_ends);
        result
    })
}

impl<'w> Client<'w> {
    /// Makes a client over any wire and in any world; who stops the run is heard between attempts only.
    #[must_use]
    pub fn over(
        wire: impl Wire + 'static,
        world: impl World + 'static,
        options: Options,
        watch: &'w dyn Watch,
    ) -> Self {
        Self {
            wire: Box::new(wire),
            world: Box::new(world),
            watch,
            options,
            stopped: Arc::default(),
            count: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// Returns who follows the run.
    #[must_use]
    pub fn watch(&self) -> &'w dyn Watch {
        self.watch
    }

    /// Returns the date and time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.world.now()
    }

    /// Waits.
    ///
    /// # Errors
    ///
    /// `Interrupted` if the user stops.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        if !time.is_zero() {
            self.world.sleep(time, &|| self.is_stopped());
        }
        self.check()
    }

    /// Sends a call until it is answered, and returns the answer, whatever its status, with its body still to be
    /// read. A redirect is an answer like any other.
    ///
    /// # Errors
    ///
    /// `Invalid` if the address is not encrypted and must be; `Io` if there is no answer after all attempts;
    /// `Interrupted` if the user stops; that which reading the request's body, or `prepare`, returns.
    pub fn send(&self, call: &Call<'_>) -> Result<Response> {
        self.run(call, |response| Ok(Ok(response)))
    }

    /// As [`Client::send`], and an answer is one only with its whole body.
    ///
    /// # Errors
    ///
    /// As [`Client::send`]; `Limit` if the body has more than `limit` bytes.
    pub fn fetch(&self, call: &Call<'_>, limit: u64) -> Result<Answer> {
        self.run(call, |mut response| {
            let body = response.whole(limit)?;
            let Response { status, headers, url, skew, .. } = response;
            Ok(body.map(|body| Answer { status, headers, url, skew, body }))
        })
    }

    /// As [`Client::send`], and follows at most `most` redirects, for a call that reads. What is secret goes to
    /// nobody but the first host.
    ///
    /// # Errors
    ///
    /// As [`Client::send`]; `Invalid` if a redirect leads nowhere, in a circle, or from HTTPS to plain HTTP.
    pub fn follow(&self, call: &Call<'_>, most: u32) -> Result<Response> {
        let mut call = call.clone();
        for _ in 0..=most {
            let response = self.send(&call)?;
            if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let from = &call.request.url;
            let wrong = |text: String| {
                Error::invalid(format!("cannot {}: {} {text}", call.what, from.origin()))
            };
            let location = response.headers.get("location");
            let location = location.ok_or_else(|| wrong("redirects without a Location".into()))?;
            let to = from.join(location).map_err(|e| wrong(format!("redirects, and {e}")))?;
            if from.is_secure() && !to.is_secure() {
                return Err(wrong(format!("redirects to {}, without TLS", to.origin())));
            }
            if to.origin() != from.origin() {
                let secret = |name: &str| {
                    let name = name.to_ascii_lowercase();
                    name.contains("auth") || name.contains("token") || name == "cookie"
                };
                let names: Vec<_> =
                    call.request.headers.iter().map(|(name, _)| name.to_owned()).collect();
                for name in names.into_iter().filter(|it| secret(it)) {
                    call.request.headers.remove(&name);
                }
                call.prepare = None;
            }
            call.request.url = to;
        }
        let text = format!("cannot {}: over {most} redirects, the last one to", call.what);
        Err(Error::invalid(format!("{text} {}", call.request.url.origin())))
    }

    /// Sends a call once, whatever comes of it, for a caller who knows what another time would do.
    ///
    /// # Errors
    ///
    /// As [`Client::send`], but for an exchange that breaks off: that is the result.
    pub fn once(&self, call: &Call<'_>) -> Result<Result<Response, Cut>> {
        self.check_address(&call.request.url)?;
        self.check()?;
        if let Some(bucket) = call.bucket {
            self.sleep(bucket.take(self.world.ticks()))?;
        }
        self.attempt(call, &AtomicU64::new(0))
    }

    /// Waits as long as [`Client::send`] does after so many attempts, for a caller who repeats more than one call: what they
    /// do, after "cannot", and who did not do it, why.
    ///
    /// # Errors
    ///
    /// `Interrupted` if the user stops.
    pub fn back_off(&self, attempts: u32, call: &str, reason: &str) -> Result<()> {
        let pause = self.pause(attempts, None);
        self.tell(call, || reason.to_owned(), attempts, pause);
        self.sleep(pause)
    }

    /// Tells the user that something is tried again, unless something else was a moment ago.
    fn tell(&self, call: &str, reason: impl FnOnce() -> String, attempts: u32, pause: Duration) {
        let now = self.world.ticks();
        {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_some_and(|it| now.saturating_sub(it) < BETWEEN_WORDS) {
                return;
            }
            *told = Some(now);
        }
        self.watch.retries(&Retry { call: call.to_owned(), reason: reason(), attempts, pause });
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.watch.stopped()
    }

    fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Tries until an attempt is the result; `finish` makes of an answer what is wanted, which may break off.
    fn run<R: HasHead>(
        &self,
        call: &Call<'_>,
        finish: impl Fn(Response) -> Result<Result<R, Cut>>,
    ) -> Result<R> {
        self.check_address(&call.request.url)?;
        let began = self.world.ticks();
        let heard = AtomicU64::new(0);
        // What the service said when it last refused. A connection that breaks then does not say why.
        let mut refused = None;
        for attempt in 1_u32.. {
            self.check()?;
            if let Some(bucket) = call.bucket {
                self.sleep(bucket.take(self.world.ticks()))?;
            }
            let (outcome, verdict) = match self.attempt(call, &heard)? {
                Ok(mut response) => {
                    if response.status >= 400 {
                        response.peek(ERROR_LEN)?;
                    }
                    let (status, headers) = (response.status, &response.headers);
                    let body = response.peeked();
                    let verdict = (call.judge)(&Outcome::Answer { status, headers, body });
                    if verdict != Verdict::Take {
                        refused = Some(answered(status, headers, body));
                    }
                    match finish(response)? {
                        Ok(result) => (Ok(result), verdict),
                        Err(cut) => {
                            let verdict = (call.judge)(&Outcome::Cut(&cut));
                            (Err(cut), verdict)
                        }
                    }
                }
                Err(cut) => {
                    let verdict = (call.judge)(&Outcome::Cut(&cut));
                    (Err(cut), verdict)
                }
            };
            let now = self.world.ticks();
            if let (Verdict::Throttled, Some(bucket)) = (verdict, call.bucket) {
                bucket.throttled(now);
            }
            let waited = now.saturating_sub(began);
            let url = &call.request.url;
            let late = waited >= call.patience.deadline;
            if verdict == Verdict::Take || late || attempt >= call.patience.attempts {
                return outcome.map_err(|cut| broken(&call.what, url, &cut, refused.as_deref()));
            }
            let wish = outcome.as_ref().ok().and_then(|it| it.head().number("retry-after"));
            let pause = self.pause(attempt, wish);
            self.trace(|| {
                let why = match &outcome {
                    Ok(answer) => format!("status {}", answer.status()),
                    Err(cut) => cut.to_string(),
                };
                format!("{}: {why}; again in {} ms", call.what, pause.as_millis())
            });
            // That EBS throttles puts is a part of every upload.
            let is_usual = verdict == Verdict::Throttled && call.bucket.is_some();
            if waited >= FIRST_WORD || attempt >= FIRST_TOLD && !is_usual {
                let reason = || match (&outcome, &refused) {
                    (Ok(_), Some(refused)) => format!("{} {refused}", url.origin()),
                    (Err(cut), _) => format!("{}: {cut}", url.origin()),
                    (Ok(answer), None) => format!("{} answered {}", url.origin(), answer.status()),
                };
                self.tell(&call.what, reason, attempt, pause);
            }
            drop(outcome);
            self.sleep(pause)?;
        }
        unreachable!("attempts end before the numbers do")
    }

    /// Refuses to send anything in the clear where others could listen.
    fn check_address(&self, url: &Url) -> Result<()> {
        if url.is_secure() || url.is_loopback() || self.options.insecure {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "{} is not encrypted, and anybody on the way could read it",
            url.origin()
        ))
        .advise(Advice::Give { setting: Setting::InsecureEndpoint, example: "".into() }))
    }

    /// Sends a request once.
    fn attempt(&self, call: &Call<'_>, heard: &AtomicU64) -> Result<Result<Response, Cut>> {
        let mut request: Request<'_> = call.request.clone();
        if let Some(prepare) = call.prepare {
            prepare(&mut request, self.world.now())?;
        }
        let number = self.count.fetch_add(1, Ordering::Relaxed).strict_add(1);
        self.trace(|| {
            let (url, headers) = (redact::address(&request.url), redact::headers(&request.headers));
            format!(
                "{number} > {} {url}{headers} {} bytes",
                request.method.name(),
                request.body.len()
            )
        });
        let sent = AtomicU64::new(0);
        let hear = |bytes: u64| {
            let sent = sent.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
            let before = heard.fetch_max(sent, Ordering::Relaxed);
            if let (Some(progress), Some(more @ 1..)) = (call.progress, sent.checked_sub(before)) {
                progress(more);
            }
        };
        let limits = Limits { timeouts: self.options.timeouts, whole: call.patience.whole };
        let began = self.world.ticks();
        let reply = self.wire.exchange(&request, &limits, &hear);
        let took = self.world.ticks().saturating_sub(began).as_millis();
        let reply = match reply {
            Ok(reply) => reply,
            Err(_) if self.is_stopped() => return Err(Error::interrupted()),
            Err(error) => return Err(error),
        };
        self.trace(|| match &reply {
            Ok(reply) => {
                let headers = redact::headers(&reply.headers);
                format!("{number} < {} after {took} ms{headers}", reply.status)
            }
            Err(cut) => format!("{number} < {cut} after {took} ms"),
        });
        Ok(match reply {
            Ok(reply) => {
                let skew = Skew::of(&reply.headers, self.world.now());
                let has_body = request.method != Method::Head;
                let (what, url) = (&call.what, &request.url);
                Ok(Response::new(reply, what, url, has_body, skew, &self.stopped))
            }
            Err(_) if self.is_stopped() => return Err(Error::interrupted()),
            Err(cut) => Err(cut),
        })
    }

    /// Returns how long to wait after so many attempts: any time up to a bound that doubles, so that those who were
    /// refused together do not come back together.
    fn pause(&self, attempts: u32, wish: Option<u64>) -> Duration {
        let factor = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let bound = FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE);
        let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        // The high half of the product is below its first factor.
        let drawn = u128::from(millis.saturating_add(1)).strict_mul(self.world.random().into());
        let drawn = u64::try_from(drawn >> 64).expect("the high half of 128 bits is 64");
        let wish = wish.map_or(Duration::ZERO, Duration::from_secs).min(LONGEST_WISH);
        Duration::from_millis(drawn).max(wish)
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.options.trace {
            trace.line(&line());
        }
    }
}

/// What an answer is known by, whole or not.
trait HasHead {
    fn status(&self) -> u16;
    fn head(&self) -> &Headers;
}

impl HasHead for Response {
    fn status(&self) -> u16 {
        self.status
    }

    fn head(&self) -> &Headers {
        &self.headers
    }
}

impl HasHead for Answer {
    fn status(&self) -> u16 {
        self.status
    }

    fn head(&self) -> &Headers {
        &self.headers
    }
}

impl fmt::Debug for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
