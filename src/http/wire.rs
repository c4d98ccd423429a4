//! Requests over sockets, by ureq: HTTP/1.1 over TCP and TLS, directly or through a proxy.

use std::cell::Cell;
use std::cell::RefCell;
use std::io;
use std::io::Read;

use ureq::Agent;
use ureq::Proxy;
use ureq::SendBody;
use ureq::Timeout;
use ureq::http;
use ureq::tls::PemItem;
use ureq::tls::RootCerts;
use ureq::tls::TlsConfig;
use ureq::tls::parse_pem;
use ureq::unversioned::transport::DefaultConnector;

use crate::error::Error;
use crate::error::Result;
use crate::http::headers::Headers;
use crate::http::lookup::Lookup;
use crate::http::lookup::NoAddress;
use crate::http::message::Body;
use crate::http::message::Cut;
use crate::http::message::Limits;
use crate::http::message::Method;
use crate::http::message::Phase;
use crate::http::message::Reply;
use crate::http::message::Request;
use crate::http::message::Wire;

/// Length from which on a body waits for the service to agree: one that is refused need not be sent, and its answer
/// is not lost in a connection that the service closes meanwhile.
const ASK_FIRST_LEN: u64 = 1 << 20;

/// Most bytes of the head of an answer.
const MOST_HEAD: usize = 64 << 10;

/// Bytes of a connection's two buffers. With ureq's own of 128 KiB each, the 64 connections of an upload have 16 MiB.
const BUFFER_LEN: usize = 64 << 10;

/// What rustls says of an answer to its first message that is not TLS.
const NOT_TLS: &str = "received corrupt message";

/// Sockets, and the proxies between us and them.
#[derive(Debug)]
pub(super) struct Sockets {
    /// For this machine and its link: nothing that is meant for them, as a token for keys, goes anywhere else.
    direct: Agent,
    secure: Agent,
    plain: Agent,
}

impl Sockets {
    pub(super) fn new(user_agent: &str, roots: Option<&[u8]>, connections: usize) -> Result<Self> {
        let tls = TlsConfig::builder().root_certs(root_certs(roots)?).build();
        let agent = |proxy: Option<Proxy>| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(user_agent)
                .accept_encoding("identity")
                .max_response_header_size(MOST_HEAD)
                .input_buffer_size(BUFFER_LEN)
                .output_buffer_size(BUFFER_LEN)
                .max_idle_connections(connections)
                .max_idle_connections_per_host(connections)
                .tls_config(tls.clone())
                .proxy(proxy);
            Agent::with_parts(config.build(), DefaultConnector::new(), Lookup)
        };
        let secure = proxy(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
        // Not HTTP_PROXY: a web server's program gets the header `Proxy` of a request under that name.
        let plain = proxy(&["http_proxy", "ALL_PROXY", "all_proxy"])?;
        Ok(Self { direct: agent(None), secure: agent(secure), plain: agent(plain) })
    }

    fn agent(&self, request: &Request<'_>) -> &Agent {
        match () {
            () if request.url.is_loopback() || request.url.is_link_local() => &self.direct,
            () if request.url.is_secure() => &self.secure,
            () => &self.plain,
        }
    }
}

/// Reads the authorities to trust.
fn root_certs(pem: Option<&[u8]>) -> Result<RootCerts> {
    let Some(pem) = pem else {
        return Ok(RootCerts::WebPki);
    };
    let mut roots = Vec::new();
    for item in parse_pem(pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => roots.push(certificate),
            Ok(_) => {}
            Err(error) => {
                return Err(Error::invalid(format!(
                    "the authorities to trust are not PEM: {error}"
                )));
            }
        }
    }
    if roots.is_empty() {
        return Err(Error::invalid(
            "the authorities to trust are none, expected certificates in PEM",
        ));
    }
    Ok(roots.into())
}

/// Takes the first proxy that the environment names.
fn proxy(names: &[&str]) -> Result<Option<Proxy>> {
    let values = names.iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let Some((name, value)) = values.into_iter().find(|(_, value)| !value.is_empty()) else {
        return Ok(None);
    };
    let wrong = |_| {
        // Not its value: there can be a password in it.
        Error::invalid(format!(
            "{name} of the environment is not a proxy, expected http://HOST:PORT"
        ))
    };
    let typed = Proxy::new(&value).map_err(wrong)?;
    let mut built = Proxy::builder(typed.protocol()).host(typed.host()).port(typed.port());
    if let (Some(user), Some(password)) = (typed.username(), typed.password()) {
        built = built.username(user).password(password);
    }
    let not = ["NO_PROXY", "no_proxy"].iter().find_map(|it| std::env::var(it).ok());
    for host in not.iter().flat_map(|it| it.split(',')).map(str::trim).filter(|it| !it.is_empty()) {
        built = built.no_proxy(host);
    }
    built.build().map(Some).map_err(wrong)
}

/// Reads the body of a request for ureq, and remembers what went wrong on our side.
struct Sending<'a> {
    body: &'a Body<'a>,
    at: &'a Cell<u64>,
    failed: &'a RefCell<Option<Error>>,
    sent: &'a dyn Fn(u64),
}

impl Read for Sending<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.body.read_at(self.at.get(), buf) {
            Ok(len) => {
                let len_sent = u64::try_from(len).expect("memory is under 2^64 bytes");
                self.at.set(self.at.get().saturating_add(len_sent));
                (self.sent)(len_sent);
                Ok(len)
            }
            Err(error) => {
                *self.failed.borrow_mut() = Some(error);
                Err(io::Error::other("the body of the request cannot be read"))
            }
        }
    }
}

impl Wire for Sockets {
    fn exchange(
        &self,
        request: &Request<'_>,
        limits: &Limits,
        sent: &dyn Fn(u64),
    ) -> Result<Result<Reply, Cut>> {
        let mut head =
            http::Request::builder().method(request.method.name()).uri(request.url.to_string());
        for (name, value) in request.headers.iter() {
            head = head.header(name, value);
        }
        let brings = matches!(request.method, Method::Put | Method::Post | Method::Patch)
            || !request.body.is_empty();
        if brings {
            head = head.header("Content-Length", request.body.len());
        }
        if request.body.len() >= ASK_FIRST_LEN {
            head = head.header("Expect", "100-continue");
        }
        let (at, failed) = (Cell::new(0), RefCell::new(None));
        let mut sending = Sending { body: &request.body, at: &at, failed: &failed, sent };
        let agent = self.agent(request);
        let answered = if brings {
            run(agent, head, SendBody::from_reader(&mut sending), limits)
        } else {
            run(agent, head, SendBody::none(), limits)
        };
        if let Some(error) = failed.take() {
            return Err(error);
        }
        Ok(match answered {
            Ok(answer) => {
                let (head, body) = answer.into_parts();
                let mut headers = Headers::new();
                for (name, value) in &head.headers {
                    headers.add(name.as_str(), String::from_utf8_lossy(value.as_bytes()));
                }
                let body = Box::new(body.into_reader());
                Ok(Reply { status: head.status.as_u16(), headers, body })
            }
            Err(error) => {
                let all_sent = at.get() >= request.body.len();
                let phase = if all_sent { Phase::FirstByte } else { Phase::Send };
                Err(cut(&error, phase))
            }
        })
    }

    fn abort(&self) {
        for agent in [&self.direct, &self.secure, &self.plain] {
            agent.clone().shutdown();
        }
    }
}

/// Sends a request within its limits.
fn run(
    agent: &Agent,
    head: http::request::Builder,
    body: SendBody<'_>,
    limits: &Limits,
) -> Result<http::Response<ureq::Body>, ureq::Error> {
    let timeouts = limits.timeouts;
    let whole = agent
        .configure_request(head.body(body)?)
        .timeout_global(Some(limits.whole))
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_recv_response(Some(timeouts.first_byte))
        .timeout_per_read(Some(timeouts.stall.max(timeouts.first_byte)))
        .timeout_per_write(Some(timeouts.stall))
        .build();
    agent.run(whole)
}

/// Says how far an exchange came, and whether another can come further.
fn cut(error: &ureq::Error, phase: Phase) -> Cut {
    use ureq::Error as E;
    let (phase, may_repeat) = match error {
        E::HostNotFound => (Phase::Resolve, false),
        E::Timeout(Timeout::Resolve) => (Phase::Resolve, true),
        E::Timeout(Timeout::Connect) | E::ConnectionFailed | E::ConnectProxyFailed(_) => {
            (Phase::Connect, true)
        }
        E::Timeout(Timeout::RecvResponse) => (Phase::FirstByte, true),
        E::Tls(_) | E::Rustls(_) | E::Pem(_) | E::TlsRequired => (Phase::Tls, false),
        E::Io(error) if NoAddress::of(error).is_some() => {
            (Phase::Resolve, NoAddress::of(error).is_some_and(NoAddress::may_pass))
        }
        // Plain HTTP, as a rule: an answer to what is not HTTP.
        E::Io(error) if error.to_string().starts_with(NOT_TLS) => (Phase::NoTls, false),
        // So rustls wraps what it says of a certificate.
        E::Io(error) if error.kind() == io::ErrorKind::InvalidData => (Phase::Tls, false),
        E::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => (Phase::Connect, true),
        E::Timeout(_) | E::Io(_) | E::BodyStalled => (phase, true),
        // An answer that is not HTTP stays so.
        _ => (phase, false),
    };
    let mut cause = match error {
        E::Io(error) => error.to_string(),
        E::Rustls(error) => error.to_string(),
        E::HostNotFound => "there is no such host".to_owned(),
        E::Timeout(_) => "it took too long".to_owned(),
        other => other.to_string(),
    };
    if cause.contains("Expired") || cause.contains("NotValidYet") || cause.contains("not valid yet")
    {
        cause.push_str(" (or this machine's clock is wrong)");
    }
    let is_closed = matches!(error, E::Io(error) if matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof
    ));
    Cut { phase, cause, may_repeat, is_closed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_certificate_or_name_is_not_tried_again() {
        let invalid =
            io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate: Expired");
        let found = cut(&ureq::Error::Io(invalid), Phase::FirstByte);
        assert_eq!((found.phase, found.may_repeat), (Phase::Tls, false));
        assert!(found.cause.ends_with("(or this machine's clock is wrong)"), "{}", found.cause);
        assert!(!cut(&ureq::Error::HostNotFound, Phase::FirstByte).may_repeat);
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let found = cut(&ureq::Error::Io(reset), Phase::Send);
        assert_eq!((found.phase, found.may_repeat, found.is_closed), (Phase::Send, true, true));
    }

    #[test]
    fn authorities_are_certificates_in_pem() {
        root_certs(None).unwrap();
        root_certs(Some(b"")).unwrap_err();
        root_certs(Some(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"))
            .unwrap_err();
    }
}
