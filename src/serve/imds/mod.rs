//! EC2's metadata service, version 2, for the guest of `boot`: `docs/formats/boot.md`.

mod http;
mod tree;

use std::io::Read;
use std::io::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

use crate::error::Error;
use crate::error::Result;
use crate::serve::imds::http::Answer;
use crate::serve::imds::http::Request;
use crate::serve::imds::http::read_request;
use crate::serve::imds::http::refuse;
use crate::serve::imds::http::respond;
use crate::serve::imds::tree::answer;
use crate::serve::listener::Listener;
use crate::serve::socket::Socket;
use crate::work::Watch;

pub use tree::Facts;

/// Most connections at a time: further ones are closed at once, and clients try again.
const MOST_CONNECTIONS: usize = 16;

/// Longest time for one request to come, and for its answer to be taken.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Most requests of one connection.
const MOST_REQUESTS: usize = 10_000;

/// How often the wish to stop is looked at.
const TURN: Duration = Duration::from_millis(100);

/// Longest life of a token, in seconds.
const LONGEST_TTL: u64 = 21_600;

/// Most tokens that are good at a time: the oldest makes room.
const MOST_TOKENS: usize = 256;

/// The service.
#[derive(Debug)]
pub struct Imds {
    facts: Facts,
    tokens: Mutex<Vec<(String, Instant)>>,
    /// What was asked for, each path once, in the order of first use.
    asked: Mutex<Vec<String>>,
    open: AtomicUsize,
}

/// Most paths that are kept for a report.
const MOST_ASKED: usize = 500;

impl Imds {
    /// Makes a service that answers with these facts.
    #[must_use]
    pub fn new(facts: Facts) -> Self {
        Self { facts, tokens: Mutex::default(), asked: Mutex::default(), open: AtomicUsize::new(0) }
    }

    /// Returns the paths that were answered, each once.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers until `watch` says to stop.
    ///
    /// # Errors
    ///
    /// `Io` if the system refuses further connections. No client's failure is one of the service.
    pub fn serve(&self, listener: &Listener, watch: &dyn Watch) -> Result<()> {
        thread::scope(|scope| {
            loop {
                if watch.stopped() {
                    return Ok(());
                }
                let peer = match listener.accept(TURN) {
                    Ok(Some(peer)) => peer,
                    Ok(None) => continue,
                    Err(e) => {
                        return Err(Error::io("accept a connection on", "the socket".as_ref(), e));
                    }
                };
                if self.open.fetch_add(1, Ordering::Relaxed) >= MOST_CONNECTIONS {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                let spawned = thread::Builder::new().spawn_scoped(scope, move || {
                    self.meet(&peer, watch);
                    self.open.fetch_sub(1, Ordering::Relaxed);
                });
                if spawned.is_err() {
                    self.open.fetch_sub(1, Ordering::Relaxed);
                }
            }
        })
    }

    fn meet(&self, socket: &Socket, watch: &dyn Watch) {
        for _ in 0..MOST_REQUESTS {
            let mut timed =
                Timed { socket, until: Instant::now().checked_add(REQUEST_TIME), watch };
            match read_request(&mut timed) {
                Ok(Some(request)) => {
                    let (answer, is_last) = self.answer(&request);
                    if respond(&mut timed, &request, &answer, is_last).is_err() || is_last {
                        break;
                    }
                }
                Ok(None) => break,
                Err(status) => {
                    let _ = refuse(&mut timed, status);
                    break;
                }
            }
        }
        socket.shutdown(std::net::Shutdown::Both);
    }

    /// Answers a request, and says whether it is the connection's last.
    fn answer(&self, request: &Request) -> (Answer, bool) {
        let path = request.path.trim_end_matches('/');
        let answer = match request.method.as_str() {
            "PUT" if path == "/latest/api/token" => self.token(request),
            "PUT" => Answer::status(403),
            "GET" | "HEAD" if !self.is_good(request.header("x-aws-ec2-metadata-token")) => {
                Answer::status(401)
            }
            "GET" | "HEAD" => match answer(&self.facts, &request.path) {
                Some(body) => {
                    self.note(&request.path);
                    Answer { status: 200, body, ttl: None }
                }
                None => Answer::status(404),
            },
            _ => Answer::status(405),
        };
        (answer, request.closes())
    }

    fn note(&self, path: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() < MOST_ASKED && !asked.iter().any(|known| known == path) {
            asked.push(path.to_owned());
        }
    }

    fn token(&self, request: &Request) -> Answer {
        // EC2 gives none to what a proxy has passed on.
        if request.header("x-forwarded-for").is_some() {
            return Answer::status(403);
        }
        let ttl = request.header("x-aws-ec2-metadata-token-ttl-seconds");
        let ttl: Option<u64> = ttl.and_then(|text| text.parse().ok());
        let Some(ttl) = ttl.filter(|ttl| (1..=LONGEST_TTL).contains(ttl)) else {
            return Answer::status(400);
        };
        let mut random = [0_u8; 32];
        if getrandom::fill(&mut random).is_err() {
            return Answer::status(500);
        }
        let token = URL_SAFE.encode(random);
        let Some(until) = Instant::now().checked_add(Duration::from_secs(ttl)) else {
            return Answer::status(500);
        };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= MOST_TOKENS {
            tokens.remove(0);
        }
        tokens.push((token.clone(), until));
        Answer { status: 200, body: token.into_bytes(), ttl: Some(ttl) }
    }

    fn is_good(&self, token: Option<&str>) -> bool {
        let Some(token) = token else { return false };
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        tokens.retain(|(_, until)| *until > now);
        tokens.iter().any(|(known, _)| known == token)
    }
}

/// A stream on which a request may take until a moment, in however many pieces it comes.
struct Timed<'a> {
    socket: &'a Socket,
    until: Option<Instant>,
    watch: &'a dyn Watch,
}

impl Timed<'_> {
    fn left(&self) -> std::io::Result<Duration> {
        let now = Instant::now();
        let left = self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if left.is_zero() || self.watch.stopped() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        // In short turns, so that a wish to stop is seen.
        Ok(left.min(Duration::from_millis(500)))
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        loop {
            self.socket.set_timeouts(Some(self.left()?), REQUEST_TIME)?;
            match (&mut &*self.socket).read(buf) {
                Err(e) if is_turn(&e) => {}
                other => return other,
            }
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let left = self.left()?;
        self.socket.set_timeouts(Some(left), REQUEST_TIME)?;
        (&mut &*self.socket).write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn is_turn(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
