//! What is sent, what comes back, and who carries it.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::time::Duration;

use crate::error::Result;
use crate::http::headers::Headers;
use crate::http::url::Url;
use crate::io::ReadAt;

/// What a request wants of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of HTTP")]
pub enum Method {
    Get,
    Head,
    Put,
    Post,
    Patch,
    Delete,
}

impl Method {
    /// Returns the name as HTTP has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// What a request brings: known in length, and there to be read again when it has to be sent again.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Nothing.
    None,
    /// Bytes in memory.
    Bytes(Cow<'a, [u8]>),
    /// Bytes of something that is read by position.
    Part {
        /// What they are a part of.
        of: &'a dyn ReadAt,
        /// Which part; it lies within `of`.
        range: Range<u64>,
    },
}

impl Body<'_> {
    /// Returns the length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Bytes(bytes) => u64::try_from(bytes.len()).expect("memory is under 2^64 bytes"),
            Self::Part { range, .. } => range.end.saturating_sub(range.start),
        }
    }

    /// Tells whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads bytes from `offset` on and returns how many; 0 at the end.
    ///
    /// # Errors
    ///
    /// As [`ReadAt::read_exact_at`].
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let left = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let buf = &mut buf[..len];
        match self {
            Self::None => {}
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let from = bytes.get(start..).unwrap_or_default();
                buf.copy_from_slice(&from[..len]);
            }
            // Cannot overflow: within the range, which is within the source.
            Self::Part { of, range } => of.read_exact_at(buf, range.start.strict_add(offset))?,
        }
        Ok(len)
    }
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// What it wants.
    pub method: Method,
    /// Of what.
    pub url: Url,
    /// `Host`, `Content-Length`, `User-Agent` and `Expect` are added where they are missing.
    pub headers: Headers,
    /// What it brings.
    pub body: Body<'a>,
}

impl Request<'_> {
    /// Makes a request without headers and body.
    #[must_use]
    pub fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: Headers::new(), body: Body::None }
    }
}

/// How long a single wait may be.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection, its name looked up and TLS agreed.
    pub connect: Duration,
    /// For the first byte of the answer once all is sent. A registry digests a whole blob before it answers.
    pub first_byte: Duration,
    /// For each read and write of a body.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_mins(2),
            stall: Duration::from_mins(1),
        }
    }
}

/// Limits of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long single waits may be.
    pub timeouts: Timeouts,
    /// How long all of it may take, the body of the answer included.
    pub whole: Duration,
}

/// The head of an answer, with its body still to be read.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Box<dyn Read + Send>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

/// How far an exchange was when it ended without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The name was looked up.
    Resolve,
    /// The connection was made.
    Connect,
    /// TLS was agreed.
    Tls,
    /// What answered does not speak TLS.
    NoTls,
    /// The request was sent.
    Send,
    /// All was sent, and the answer had not begun.
    FirstByte,
    /// The body of the answer was read.
    Body,
}

/// An exchange that ended without an answer, or before the answer's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How far it was.
    pub phase: Phase,
    /// What the system said.
    pub cause: String,
    /// Whether another try can end otherwise. It cannot where a name or a certificate is wrong.
    pub may_repeat: bool,
    /// Whether the other side closed the connection.
    pub is_closed: bool,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.phase {
            Phase::Resolve => "cannot look up the name",
            Phase::Connect => "cannot connect",
            Phase::Tls => "cannot agree on TLS",
            Phase::NoTls => "it does not speak TLS",
            Phase::Send => "the connection broke while the request was sent",
            Phase::FirstByte => "no answer",
            Phase::Body => "the answer broke off",
        };
        write!(f, "{when}: {}", self.cause)
    }
}

/// Carries a request to its service and brings the head of the answer. It repeats nothing and follows nothing.
pub trait Wire: Send + Sync {
    /// Sends a request; `sent` hears of bytes of the body as they go out. How far it came, if there is no answer.
    ///
    /// # Errors
    ///
    /// That which reading the body of the request returns, or a request that cannot be written as HTTP.
    fn exchange(
        &self,
        request: &Request<'_>,
        limits: &Limits,
        sent: &dyn Fn(u64),
    ) -> Result<Result<Reply, Cut>>;

    /// Breaks whatever is under way: the user stops.
    fn abort(&self) {}
}
