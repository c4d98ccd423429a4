//! A registry that is talked to: addresses, tokens, and what a refusal means.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Answer;
use crate::http::Body;
use crate::http::Call;
use crate::http::Client;
use crate::http::Cut;
use crate::http::Headers;
use crate::http::Method;
use crate::http::Outcome;
use crate::http::Patience;
use crate::http::Phase;
use crate::http::Request;
use crate::http::Response;
use crate::http::Skew;
use crate::http::Url;
use crate::http::Verdict;
use crate::http::answered;
use crate::http::escaped;
use crate::http::usual;
use crate::registry::challenge;
use crate::registry::challenge::Challenge;
use crate::registry::credentials::Credentials;
use crate::registry::reference::Reference;

/// Most redirects of a read: to a mirror, and from there to where its bytes are.
const MOST_REDIRECTS: u32 = 5;

/// How often a call asks for a new token: one may have expired, and one more while a blob was sent.
const MOST_RENEWALS: u32 = 3;

/// Most bytes of a token and what is said with it.
const MAX_TOKEN_LEN: u64 = 1 << 20;

/// Most bytes of the explanation of a refusal.
pub(super) const MAX_REFUSAL_LEN: u64 = 64 << 10;

/// What is wanted of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Pull,
    /// To write.
    Push,
}

/// A repository of a registry.
#[derive(Debug)]
pub struct Registry<'a> {
    client: &'a Client<'a>,
    base: Url,
    repository: String,
    scopes: Vec<String>,
    credentials: Option<Credentials>,
    authorization: Mutex<Authorization>,
}

/// What is sent to prove who we are; each new one has the next number.
#[derive(Default)]
struct Authorization {
    number: u64,
    header: Option<String>,
}

impl std::fmt::Debug for Authorization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authorization({})", self.number)
    }
}

/// What can be a refusal for want of a token.
trait Answered {
    fn head(&self) -> Option<(u16, &Headers, &Url)>;
}

impl Answered for Response {
    fn head(&self) -> Option<(u16, &Headers, &Url)> {
        Some((self.status, &self.headers, &self.url))
    }
}

impl Answered for Answer {
    fn head(&self) -> Option<(u16, &Headers, &Url)> {
        Some((self.status, &self.headers, &self.url))
    }
}

impl<A: Answered> Answered for Result<A, Cut> {
    fn head(&self) -> Option<(u16, &Headers, &Url)> {
        self.as_ref().ok()?.head()
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Registry<'a> {
    /// Makes a session with the registry at `base`. Nothing is sent yet.
    #[must_use]
    pub fn new(
        client: &'a Client<'a>,
        base: Url,
        repository: &str,
        access: Access,
        mount_from: &[String],
        credentials: Option<Credentials>,
    ) -> Self {
        let actions = if access == Access::Push { "pull,push" } else { "pull" };
        let own = format!("repository:{repository}:{actions}");
        let others = mount_from.iter().map(|it| format!("repository:{it}:pull"));
        Self {
            client,
            base,
            repository: repository.to_owned(),
            scopes: std::iter::once(own).chain(others).collect(),
            credentials,
            authorization: Mutex::default(),
        }
    }

    /// Finds out how the registry is spoken to: with TLS; without only where `may_be_plain`, or on this machine, and it answers
    /// something that is not TLS. On this machine it may close the connection as well: a server that closes what it has not read
    /// to the end takes back its own answer. Any other failure, as a certificate that is not trusted, is an error.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer, or nothing that is agreed on.
    pub fn base_of(client: &Client<'_>, reference: &Reference, may_be_plain: bool) -> Result<Url> {
        let secure = reference.url(true)?;
        if !(may_be_plain || secure.is_loopback()) {
            return Ok(secure);
        }
        let speaks_no_tls = AtomicBool::new(false);
        let judge = |outcome: &Outcome<'_>| match outcome {
            Outcome::Answer { .. } => Verdict::Take,
            Outcome::Cut(cut) => {
                if cut.phase == Phase::NoTls || (cut.is_closed && secure.is_loopback()) {
                    speaks_no_tls.store(true, Ordering::Relaxed);
                    return Verdict::Take;
                }
                usual(outcome)
            }
        };
        let mut call =
            Call::new("ask the registry", Request::new(Method::Get, secure.join("/v2/")?));
        call.patience = Patience { whole: Duration::from_secs(20), ..call.patience };
        call.judge = &judge;
        match client.send(&call) {
            Ok(_) => Ok(secure),
            Err(_) if speaks_no_tls.load(Ordering::Relaxed) => reference.url(false),
            Err(error) => Err(error),
        }
    }

    /// Says that what is sent can be read and changed on the way, if it can.
    #[must_use]
    pub fn note_on_plain(&self) -> Option<String> {
        let is_safe = self.base.is_secure() || self.base.is_loopback();
        (!is_safe).then(|| {
            let origin = self.origin();
            format!("{origin} does not speak TLS: others could read and change what was sent")
        })
    }

    /// Returns the client.
    #[must_use]
    pub fn client(&self) -> &'a Client<'a> {
        self.client
    }

    /// Returns who is talked to, for messages.
    #[must_use]
    pub fn origin(&self) -> String {
        self.base.origin()
    }

    /// Starts a request for something of the repository.
    pub(super) fn request<'b>(&self, method: Method, path: &str) -> Result<Request<'b>> {
        let repository = escaped(&self.repository, true);
        Ok(Request::new(method, self.base.join(&format!("/v2/{repository}/{path}"))?))
    }

    /// Sends a call until it is answered, with a token if one is needed.
    pub(super) fn send(&self, call: &Call<'_>) -> Result<Response> {
        self.authorized(call, |call| self.client.send(call))
    }

    /// As [`Registry::send`], and the body is read whole.
    pub(super) fn fetch(&self, call: &Call<'_>, limit: u64) -> Result<Answer> {
        self.authorized(call, |call| self.client.fetch(call, limit))
    }

    /// As [`Registry::send`], and redirects are followed.
    pub(super) fn follow(&self, call: &Call<'_>) -> Result<Response> {
        self.authorized(call, |call| self.client.follow(call, MOST_REDIRECTS))
    }

    /// Sends a call once, but for tokens.
    pub(super) fn once(&self, call: &Call<'_>) -> Result<Result<Response, Cut>> {
        self.authorized(call, |call| self.client.once(call))
    }

    fn authorized<R: Answered>(
        &self,
        call: &Call<'_>,
        run: impl Fn(&Call<'_>) -> Result<R>,
    ) -> Result<R> {
        let mut call = call.clone();
        // An upload may go elsewhere, where our token is nobody's business.
        let is_ours = call.request.url.origin() == self.base.origin();
        let mut renewals = 0;
        loop {
            let (number, header) = self.authorization();
            if let Some(header) = header.filter(|_| is_ours) {
                call.request.headers.set("Authorization", header);
            }
            let answer = run(&call)?;
            let challenge = match answer.head() {
                Some((401, headers, url)) if url.origin() == self.base.origin() => {
                    challenge::parse(headers.all("www-authenticate"))
                }
                _ => return Ok(answer),
            };
            let Some(challenge) = challenge.filter(|_| is_ours && renewals < MOST_RENEWALS) else {
                return Ok(answer);
            };
            renewals = renewals.strict_add(1);
            if !self.renew(number, &challenge)? {
                return Ok(answer);
            }
        }
    }

    fn authorization(&self) -> (u64, Option<String>) {
        let known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        (known.number, known.header.clone())
    }

    /// Gets what a challenge asks for, unless another thread has got it since `number` was refused. Returns `false` if
    /// there is nothing else to try.
    fn renew(&self, number: u64, challenge: &Challenge) -> Result<bool> {
        let mut known = self.authorization.lock().unwrap_or_else(PoisonError::into_inner);
        if known.number != number {
            return Ok(true);
        }
        let header = match (challenge, &self.credentials) {
            (Challenge::Basic, Some(Credentials::User { name, password })) => {
                let header = basic(name, password);
                if known.header.as_ref() == Some(&header) {
                    return Ok(false);
                }
                header
            }
            (Challenge::Basic, _) => return Ok(false),
            (Challenge::Bearer { realm, service, scope }, _) => {
                format!("Bearer {}", self.token(realm, service.as_deref(), scope.as_deref())?)
            }
        };
        *known = Authorization { number: number.strict_add(1), header: Some(header) };
        Ok(true)
    }

    /// Buys a token for what we do, and for what is asked for besides.
    fn token(&self, realm: &str, service: Option<&str>, scope: Option<&str>) -> Result<String> {
        let from = self.origin();
        let realm = Url::parse(realm).map_err(|e| {
            Error::corrupt(format!("{from} names an invalid address for tokens: {e}"))
        })?;
        if self.base.is_secure() && !realm.is_secure() {
            let to = realm.origin();
            return Err(Error::invalid(format!(
                "{from} sends us for a token to {to}, without TLS"
            )));
        }
        let mut scopes: Vec<&str> = self.scopes.iter().map(String::as_str).collect();
        let covered = |it: &&str| {
            let name = it.rsplit_once(':').map_or(*it, |(name, _)| name);
            self.scopes.iter().any(|own| own.rsplit_once(':').is_some_and(|(own, _)| own == name))
        };
        scopes.extend(scope.iter().flat_map(|it| it.split(' ')).filter(|it| !covered(it)));
        let mut request = match &self.credentials {
            Some(Credentials::Identity(token)) => {
                let mut form = vec![
                    ("grant_type", "refresh_token"),
                    ("client_id", "amikit"),
                    ("refresh_token", token),
                ];
                let all = scopes.join(" ");
                form.push(("scope", &all));
                form.extend(service.map(|it| ("service", it)));
                let pair =
                    |(name, value): &(&str, &str)| format!("{name}={}", escaped(value, false));
                let form: Vec<_> = form.iter().map(pair).collect();
                let mut request = Request::new(Method::Post, realm);
                request.headers.set("Content-Type", "application/x-www-form-urlencoded");
                request.body = Body::Bytes(form.join("&").into_bytes().into());
                request
            }
            other => {
                let mut url = realm;
                if let Some(service) = service {
                    url = url.with_query("service", service);
                }
                for scope in scopes {
                    url = url.with_query("scope", scope);
                }
                let mut request = Request::new(Method::Get, url);
                if let Some(Credentials::User { name, password }) = other {
                    request.headers.set("Authorization", basic(name, password));
                }
                request
            }
        };
        request.headers.set("Accept", "application/json");
        let call = Call::new(format!("get a token for {from}"), request);
        let answer = self.client.fetch(&call, MAX_TOKEN_LEN)?;
        if answer.status != 200 {
            return Err(self.refusal(&call.what, &answer));
        }
        let token = serde_json::from_slice(&answer.body).ok();
        let token = token.and_then(|it: Token| it.token.or(it.access_token));
        let fits = |it: &String| !it.is_empty() && it.bytes().all(|it| it.is_ascii_graphic());
        token.filter(fits).ok_or_else(|| {
            Error::corrupt(format!("{} gives no token for {from}", answer.url.origin()))
        })
    }

    /// Makes the error of an answer that is not the wanted one.
    pub(super) fn refused(&self, what: &str, response: Response) -> Error {
        let (status, headers, url) =
            (response.status, response.headers.clone(), response.url.clone());
        let skew = response.skew;
        // What cannot be read explains nothing.
        let body = response.bytes(MAX_REFUSAL_LEN).unwrap_or_default();
        self.refusal(what, &Answer { status, headers, url, skew, body })
    }

    /// As [`Registry::refused`], of an answer that was read.
    pub(super) fn refusal(&self, what: &str, answer: &Answer) -> Error {
        let host = answer.url.origin();
        if matches!(answer.status, 401 | 403)
            && let Some(skew) = answer.skew.filter(Skew::is_large)
        {
            return skew.error(&host);
        }
        let answered = answered(answer.status, &answer.headers, &answer.body);
        let text = format!("cannot {what}: {host} {answered}");
        match answer.status {
            401 | 403 => Error::invalid(text).advise(format!(
                "log in with `docker login` or `podman login`, as someone who may use {}",
                self.repository
            )),
            429 => Error::new(Kind::Io, text).advise("try again later"),
            400..=499 => Error::invalid(text),
            300..=399 => Error::new(Kind::Unsupported, text),
            _ => Error::new(Kind::Io, text),
        }
    }

    /// Makes the error of a registry that does not say, or keep, what it must.
    pub(super) fn lies(&self, text: &str) -> Error {
        Error::new(Kind::Mismatch, format!("{} {text}", self.origin()))
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}
