//! Requests and answers of HTTP/1.1, with a limit on everything.

use std::io;
use std::io::Read;
use std::io::Write;
use std::time::Duration;
use std::time::Instant;

use crate::serve::socket::Socket;

/// Most bytes of a request's first line and headers.
const MOST_HEAD: usize = 16 << 10;

/// Most headers of a request.
const MOST_HEADERS: usize = 64;

/// Longest time for a request to come, from its first byte on.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// Longest time between two requests of a connection.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// Longest time that a peer may take to take an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Most bytes of a body that is copied behind its head.
const SMALL: usize = 32 << 10;

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A request.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path, as it was sent.
    pub(super) path: String,
    /// What follows the question mark, as it was sent.
    pub(super) query: String,
    /// Names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// Returns the value of a header, if it is there.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(it, _)| it == name);
        found.next().map(|(_, value)| value.as_str())
    }

    /// Returns the decoded value of a parameter of the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        form(&self.query).into_iter().find(|(it, _)| it == name).map(|(_, value)| value)
    }
}

/// Why no request could be read.
#[derive(Debug)]
pub(super) enum Bad {
    /// The peer is gone, or was silent too long.
    Gone,
    /// It sent something that is answered with this status, and then the connection ends.
    Refused(u16, &'static str),
}

impl From<io::Error> for Bad {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("Content-Type", content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        400 => "Bad Request",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// A connection: what was read of the next request stays in it.
pub(super) struct Connection<'a> {
    socket: &'a Socket,
    read: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(socket: &'a Socket) -> Self {
        Self { socket, read: Vec::new() }
    }

    fn fill(&mut self, wait: Duration) -> Result<(), Bad> {
        if wait.is_zero() {
            return Err(Bad::Gone);
        }
        self.socket.set_timeouts(Some(wait), ANSWER_TIME)?;
        let before = self.read.len();
        self.read.resize(before.strict_add(PIECE), 0);
        let count = loop {
            match (&mut &*self.socket).read(&mut self.read[before..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        self.read.truncate(before.strict_add(*count.as_ref().unwrap_or(&0)));
        match count {
            Ok(0) | Err(_) => Err(Bad::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Reads the next request, of which the body may have as many bytes as `most` says for its head.
    pub(super) fn next(&mut self, most: impl Fn(&Request) -> usize) -> Result<Request, Bad> {
        let mut until: Option<Instant> = None;
        let (mut request, head_len, len) = loop {
            if let Some(found) = parse_head(&self.read)? {
                break found;
            }
            if self.read.len() > MOST_HEAD {
                return Err(Bad::Refused(431, "the headers are too long"));
            }
            let wait = until.map_or(IDLE_TIME, |it| it.saturating_duration_since(Instant::now()));
            self.fill(wait)?;
            until.get_or_insert_with(later);
        };
        if len > most(&request) {
            return Err(Bad::Refused(413, "the body is too long"));
        }
        if request.header("expect").is_some_and(|it| it.eq_ignore_ascii_case("100-continue")) {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let end = head_len.strict_add(len);
        self.read.reserve(end.saturating_sub(self.read.len()));
        let until = until.unwrap_or_else(later);
        while self.read.len() < end {
            self.fill(until.saturating_duration_since(Instant::now()))?;
        }
        // What was read of the next request stays; the body is not copied.
        let next = self.read.split_off(end);
        request.body = std::mem::replace(&mut self.read, next).split_off(head_len);
        Ok(request)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.set_timeouts(Some(IDLE_TIME), ANSWER_TIME)?;
        (&mut &*self.socket).write_all(bytes)
    }

    /// Sends an answer; `last` says that the connection ends with it.
    pub(super) fn answer(&mut self, answer: &Answer, last: bool) -> io::Result<()> {
        let Answer { status, headers, body } = answer;
        let mut bytes = format!("HTTP/1.1 {status} {}\r\n", reason(*status));
        for (name, value) in headers {
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            bytes.extend([*name, ": ", &value, "\r\n"]);
        }
        let connection = if last { "close" } else { "keep-alive" };
        let len = body.len().to_string();
        bytes.extend(["Content-Length: ", &len, "\r\nConnection: ", connection, "\r\n\r\n"]);
        if body.len() <= SMALL {
            // In one piece, for one packet.
            let mut bytes = bytes.into_bytes();
            bytes.extend_from_slice(body);
            return self.write(&bytes);
        }
        self.write(bytes.as_bytes())?;
        self.write(body)
    }
}

fn later() -> Instant {
    Instant::now().checked_add(REQUEST_TIME).expect("half a minute from now")
}

/// Reads the head of a request: the request without its body, the bytes of the head, and those of the body.
fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize, usize)>, Bad> {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let head = &bytes[..bytes.len().min(MOST_HEAD)];
    let len = match parsed.parse(head) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Bad::Refused(431, "there are too many headers"));
        }
        Err(_) => return Err(Bad::Refused(400, "it is not a request of HTTP/1.1")),
    };
    let target = parsed.path.unwrap_or_default();
    // Some clients send the whole address.
    let target = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        ..Request::default()
    };
    let mut length = None;
    for header in parsed.headers.iter() {
        let name = header.name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        match name.as_str() {
            "transfer-encoding" => {
                return Err(Bad::Refused(411, "a body needs a Content-Length"));
            }
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
                let parsed = value.parse::<usize>().ok().filter(|_| digits);
                match (parsed, length) {
                    (Some(len), None) => length = Some(len),
                    (Some(len), Some(before)) if len == before => {}
                    _ => return Err(Bad::Refused(400, "Content-Length is not a number")),
                }
            }
            _ => {}
        }
        request.headers.push((name, value));
    }
    Ok(Some((request, len, length.unwrap_or(0))))
}

/// Takes a form apart, as a query or a body has it.
pub(super) fn form(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name, true), decoded(value, true))
        })
        .collect()
}

/// Decodes what is percent-encoded; what is not stays as it is.
pub(super) fn decoded(text: &str, plus_is_blank: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at.strict_add(1)..at.strict_add(3));
        let code = hex.filter(|_| *byte == b'%').and_then(|hex| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(hex[0])?.strict_mul(16).strict_add(digit(hex[1])?)).ok()
        });
        if let Some(code) = code {
            out.push(code);
            at = at.strict_add(3);
        } else {
            out.push(if *byte == b'+' && plus_is_blank { b' ' } else { *byte });
            at = at.strict_add(1);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes what is not plain, as signatures have it.
pub(super) fn encoded(text: &str, keep_slash: bool) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if plain || keep_slash && byte == b'/' {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes all");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_and_what_is_none_is_refused() {
        let good = b"POST /a/b?x=1&y=%2F HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
        let (request, head, len) = parse_head(good).unwrap().unwrap();
        assert_eq!((request.path.as_str(), head, len), ("/a/b", good.len() - 3, 3));
        assert_eq!(request.parameter("y").as_deref(), Some("/"));
        assert_eq!(request.header("host"), Some("h"));
        for cut in 0..good.len() - 3 {
            assert!(parse_head(&good[..cut]).unwrap().is_none(), "{cut}");
        }
        for bad in [
            "GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +3\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\0\0\0\0",
        ] {
            assert!(matches!(parse_head(bad.as_bytes()), Err(Bad::Refused(..))), "{bad}");
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert!(matches!(parse_head(many.as_bytes()), Err(Bad::Refused(431, _))));
    }

    #[test]
    fn forms_are_taken_apart() {
        let pairs = form("Action=X&Name.1=a%20b+c&Empty=&Flag&%zz=1");
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let expected =
            [("Action", "X"), ("Name.1", "a b c"), ("Empty", ""), ("Flag", ""), ("%zz", "1")];
        assert_eq!(pairs, expected);
        assert_eq!(encoded("a/b c~é", true), "a/b%20c~%C3%A9");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }
}
