//! A client of one connection: a request, its answer, and no more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;

use super::model::Refusal;
use super::model::Who;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", text()))
    }

    /// Status, exception and reason, if it is a refusal.
    pub(crate) fn refusal(&self) -> Option<(u16, String, String)> {
        let kind = self.headers.get("x-amzn-errortype")?.clone();
        let reason = self.json()["Reason"].as_str().unwrap_or_default().to_owned();
        Some((self.status, kind, reason))
    }

    /// Holds it to what the model says: a refusal of the same kind, or none.
    #[track_caller]
    pub(crate) fn like<T>(&self, expected: Result<T, Refusal>, what: &str) -> Option<T> {
        let found = self.refusal();
        let found = found.as_ref().map(|(status, kind, reason)| (*status, &**kind, &**reason));
        match expected {
            Ok(value) => {
                assert!(found.is_none() && self.status < 300, "{what}: {found:?}");
                Some(value)
            }
            Err(refusal) => {
                assert_eq!(found, Some(refusal), "{what}: {}", self.status);
                None
            }
        }
    }
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        let stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
        Self::of(stream)
    }

    pub(crate) fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub(crate) fn ask(
        &mut self,
        who: Who,
        service: &str,
        line: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.try_ask((who, service, line), headers, body).unwrap()
    }

    /// As [`Client::ask`], where the server may be too busy.
    pub(crate) fn try_ask(
        &mut self,
        ((account, region), service, line): (Who, &str, &str),
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential={account}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature={}\r\n",
            body.len(),
            "0".repeat(64)
        );
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head += "\r\n";
        self.stream.write_all(head.as_bytes())?;
        self.send(body)
    }

    /// Sends bytes as they are, and reads one answer.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(bytes)?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<Answer> {
        let mut bytes = Vec::new();
        let mut piece = vec![0; 64 << 10];
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|it| it == b"\r\n\r\n") {
                break at;
            }
            let len = self.stream.read(&mut piece)?;
            if len == 0 {
                let text = format!("the connection ended in {:?}", String::from_utf8_lossy(&bytes));
                return Err(io::Error::other(text));
            }
            bytes.extend_from_slice(&piece[..len]);
        };
        let mut body = bytes.split_off(end + 4);
        let head = String::from_utf8(bytes).unwrap();
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let pairs = lines.map(|line| line.split_once(": ").unwrap());
        let headers: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let len: usize = headers["content-length"].parse().unwrap();
        let there = body.len();
        body.resize(len, 0);
        self.stream.read_exact(&mut body[there..])?;
        Ok(Answer { status, headers, body })
    }
}
