//! An answer, whose body is read as far as it is wanted and believed as far as it was announced.

use std::fmt;
use std::io;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::http::headers::Headers;
use crate::http::message::Cut;
use crate::http::message::Phase;
use crate::http::message::Reply;
use crate::http::skew::Skew;
use crate::http::url::Url;

/// Bytes that are read at once.
const PIECE_LEN: usize = 64 << 10;

/// An answer, with its body still to be read.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// Who answered.
    pub url: Url,
    /// How far our clock is from theirs, if they say what theirs is.
    pub skew: Option<Skew>,
    what: String,
    body: Box<dyn Read + Send>,
    /// What was read already, to judge the answer.
    peeked: io::Cursor<Vec<u8>>,
    /// Bytes that were read, and that were announced.
    done: u64,
    announced: Option<u64>,
    stopped: Arc<AtomicBool>,
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// Who answered.
    pub url: Url,
    /// How far our clock is from theirs, if they say what theirs is.
    pub skew: Option<Skew>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Takes a reply to what `what` says, of a request to `url`.
    pub(super) fn new(
        reply: Reply,
        what: &str,
        url: &Url,
        has_body: bool,
        skew: Option<Skew>,
        stopped: &Arc<AtomicBool>,
    ) -> Self {
        let none = !has_body || matches!(reply.status, 204 | 304);
        let announced = if none { Some(0) } else { reply.headers.number("content-length") };
        Self {
            status: reply.status,
            headers: reply.headers,
            url: url.clone(),
            skew,
            what: what.to_owned(),
            body: if none { Box::new(io::empty()) } else { reply.body },
            peeked: io::Cursor::default(),
            done: 0,
            announced,
            stopped: Arc::clone(stopped),
        }
    }

    /// Returns how many bytes the body has, if the service said so.
    #[must_use]
    pub fn announced_len(&self) -> Option<u64> {
        self.announced
    }

    /// Reads more of the body and returns how many bytes; 0 at its end.
    ///
    /// # Errors
    ///
    /// `Io` if the connection breaks, also if the body ends before the length that was announced;
    /// `Interrupted` if the user stops.
    pub fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        let peeked = self.peeked.read(buf).unwrap_or(0);
        if peeked > 0 || buf.is_empty() {
            return Ok(peeked);
        }
        self.read_more(buf)?.map_err(|cut| broken(&self.what, &self.url, &cut, None))
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// As [`Response::read`]; `Limit` if it has more than `limit` bytes.
    pub fn bytes(mut self, limit: u64) -> Result<Vec<u8>> {
        self.whole(limit)?.map_err(|cut| broken(&self.what, &self.url, &cut, None))
    }

    /// Reads the whole body, and tells how far that came.
    ///
    /// # Errors
    ///
    /// `Limit` if it has more than `limit` bytes; `Interrupted` if the user stops.
    pub(super) fn whole(&mut self, limit: u64) -> Result<Result<Vec<u8>, Cut>> {
        if self.announced.is_some_and(|it| it > limit) {
            return Err(self.too_long(limit));
        }
        let mut bytes = std::mem::take(&mut self.peeked).into_inner();
        let mut piece = vec![0; PIECE_LEN];
        loop {
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
                return Err(self.too_long(limit));
            }
            match self.read_more(&mut piece)? {
                Ok(0) => return Ok(Ok(bytes)),
                Ok(len) => bytes.extend_from_slice(&piece[..len]),
                Err(cut) => return Ok(Err(cut)),
            }
        }
    }

    fn too_long(&self, limit: u64) -> Error {
        let (what, from) = (&self.what, self.url.origin());
        let text = format!("cannot {what}: {from}: the answer has more than {limit} bytes");
        Error::new(Kind::Limit, text)
    }

    /// Reads the body's beginning without taking it, as far as it can be read.
    ///
    /// # Errors
    ///
    /// `Interrupted` if the user stops.
    pub(super) fn peek(&mut self, most: usize) -> Result<()> {
        let mut bytes = vec![0; most];
        let mut len = 0;
        while len < most {
            match self.read_more(&mut bytes[len..])? {
                Ok(0) | Err(_) => break,
                Ok(more) => len = len.strict_add(more),
            }
        }
        bytes.truncate(len);
        self.peeked = io::Cursor::new(bytes);
        Ok(())
    }

    /// Returns what was read to judge the answer.
    pub(super) fn peeked(&self) -> &[u8] {
        self.peeked.get_ref()
    }

    fn read_more(&mut self, buf: &mut [u8]) -> Result<Result<usize, Cut>> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        let most = self.announced.map_or(u64::MAX, |it| it.saturating_sub(self.done));
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(buf.len());
        let cut = |cause: String| {
            Ok(Err(Cut { phase: Phase::Body, cause, may_repeat: true, is_closed: false }))
        };
        let at = |done: u64, announced: Option<u64>| match announced {
            Some(all) => format!("after {done} of {all} bytes"),
            None => format!("after {done} bytes"),
        };
        if most == 0 && !buf.is_empty() {
            // All that was announced is there. Only a read that finds nothing more tells the connection that it is free for
            // the next request.
            let _ = self.body.read(&mut [0]);
            return Ok(Ok(0));
        }
        match self.body.read(&mut buf[..most]) {
            Ok(0) if most > 0 && self.announced.is_some() => cut(at(self.done, self.announced)),
            Ok(len) => {
                self.done = self.done.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
                Ok(Ok(len))
            }
            Err(_) if self.stopped.load(Ordering::Relaxed) => Err(Error::interrupted()),
            Err(error) => cut(format!("{}: {error}", at(self.done, self.announced))),
        }
    }
}

/// Makes the error of what came to no end. Where the service refused before, with words of its own, these are in it.
pub(super) fn broken(what: &str, url: &Url, cut: &Cut, refused: Option<&str>) -> Error {
    let before = refused.map(|it| format!("; before that it {it}")).unwrap_or_default();
    let error = Error::new(Kind::Io, format!("cannot {what}: {}: {cut}{before}", url.origin()));
    match cut.phase {
        Phase::NoTls => {
            error.advise(Advice::Give { setting: Setting::InsecureEndpoint, example: "".into() })
        }
        Phase::Tls if cut.cause.contains("UnknownIssuer") => {
            error.advise("name the file of the authority that signed it in SSL_CERT_FILE")
        }
        _ => error,
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
