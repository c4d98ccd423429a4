//! As much of HTTP/1.1 as the metadata service needs: requests without a body, answers with their length.

use std::io;
use std::io::Read;
use std::io::Write;

/// Most bytes of a request.
const MOST_REQUEST: usize = 8 << 10;

/// Most headers of a request.
const MOST_HEADERS: usize = 64;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path, without what stands behind `?`.
    pub(super) path: String,
    headers: Vec<(String, String)>,
    is_old: bool,
}

impl Request {
    /// Returns the value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Tells whether the client wants no further answer on this connection.
    pub(super) fn closes(&self) -> bool {
        let says = |word: &str| {
            self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        says("close") || (self.is_old && !says("keep-alive"))
    }

    fn parse(head: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(head).ok()?;
        let mut lines = text.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let is_known = matches!(version, "HTTP/1.1" | "HTTP/1.0");
        if words.next().is_some() || !is_known || !is_plain(target) || !target.starts_with('/') {
            return None;
        }
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            if headers.len() >= MOST_HEADERS || name.is_empty() || !is_plain(name) {
                return None;
            }
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let path = target.split('?').next().unwrap_or(target).to_owned();
        let (method, is_old) = (method.to_owned(), version == "HTTP/1.0");
        Some(Self { method, path, headers, is_old })
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Seconds that a token is good for.
    pub(super) ttl: Option<u64>,
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self { status, body: phrase(status).as_bytes().to_vec(), ttl: None }
    }
}

/// Reads a request; `None` if the client has closed the connection.
///
/// # Errors
///
/// The status that tells the client what is wrong.
pub(super) fn read_request(from: &mut impl Read) -> Result<Option<Request>, u16> {
    let mut head = Vec::new();
    let mut byte = [0];
    // Requests are a few hundred bytes, and what follows one belongs to the next.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MOST_REQUEST {
            return Err(431);
        }
        match from.read(&mut byte) {
            Ok(0) | Err(_) if head.is_empty() => return Ok(None),
            Ok(0) => return Err(400),
            Ok(_) => head.push(byte[0]),
            Err(_) => return Err(408),
        }
    }
    let request = Request::parse(&head).ok_or(400_u16)?;
    let has_body = request.header("content-length").is_some_and(|len| len != "0")
        || request.header("transfer-encoding").is_some();
    if has_body { Err(413) } else { Ok(Some(request)) }
}

/// Writes an answer.
pub(super) fn respond(
    to: &mut impl Write,
    request: &Request,
    answer: &Answer,
    is_last: bool,
) -> io::Result<()> {
    let Answer { status, body, ttl } = answer;
    let ttl = ttl.map(|ttl| format!("X-Aws-Ec2-Metadata-Token-Ttl-Seconds: {ttl}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nServer: EC2ws\r\n{}{}\r\n",
        phrase(*status),
        body.len(),
        ttl.unwrap_or_default(),
        if is_last { "Connection: close\r\n" } else { "" }
    );
    let mut bytes = head.into_bytes();
    if request.method != "HEAD" {
        bytes.extend(body);
    }
    to.write_all(&bytes)
}

/// Refuses what is not a request, and says that nothing more is heard.
pub(super) fn refuse(to: &mut impl Write, status: u16) -> io::Result<()> {
    let text = phrase(status);
    let head =
        format!("HTTP/1.1 {status} {text}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    to.write_all(head.as_bytes())
}

/// Returns what a status is called.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        _ => "Bad Request",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Request>, u16> {
        read_request(&mut text.as_bytes())
    }

    #[test]
    fn a_request_is_read_up_to_its_end() {
        let text =
            "GET /latest/meta-data?x=1 HTTP/1.1\r\nHost: 169.254.169.254\r\nX-A: b \r\n\r\nGET";
        let request = read(text).unwrap().unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/latest/meta-data"));
        assert_eq!(request.header("x-a"), Some("b"));
        assert!(!request.closes());
        assert!(read("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().closes());
        assert!(read("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap().unwrap().closes());
        assert_eq!(read(""), Ok(None));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET  / HTTP/1.1\r\n\r\n", 400),
            ("GET http://x/ HTTP/1.1\r\n\r\n", 400),
            ("GET /\u{7f} HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 413),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
        ] {
            assert_eq!(read(text), Err(status), "{text:?}");
        }
        assert_eq!(read(&"a".repeat(100_000)), Err(431));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(100));
        assert_eq!(read(&many), Err(400));
    }
}
