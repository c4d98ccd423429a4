//! Requests to AWS: signed, repeated as each service wants it, and their refusals named.

use std::borrow::Cow;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;

use serde_json::Value;

use crate::ami::Time;
use crate::aws::fault::Refusal;
use crate::aws::keys::Keys;
use crate::aws::place::Service;
use crate::aws::place::endpoint;
use crate::aws::profile::Environment;
use crate::aws::profile::Profile;
use crate::aws::sign::Payload;
use crate::aws::sign::Scope;
use crate::aws::sign::Unsigned;
use crate::aws::sign::sign;
use crate::aws::xml;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::http::Answer;
use crate::http::Body;
use crate::http::Bucket;
use crate::http::Call;
use crate::http::Client;
use crate::http::Headers;
use crate::http::Method;
use crate::http::Outcome;
use crate::http::Patience;
use crate::http::Request;
use crate::http::Url;
use crate::http::Verdict;
use crate::http::said;
use crate::io::ReadAt;

/// Most bytes of an answer: a page of 10,000 blocks has 3 MiB at most.
const MAX_ANSWER_LEN: u64 = 16 << 20;

/// How long one call is tried. With pauses of 10 s in the mean at the end, a service may refuse for ten minutes; three calls
/// of ten may be throttled, and a million puts still get through.
const PATIENCE: Patience =
    Patience { attempts: 60, whole: Duration::from_mins(2), deadline: Duration::from_mins(15) };

/// How often a call is tried while nothing was answered yet, which takes half a minute at most: a wrong address should be known
/// soon.
const FIRST_ATTEMPTS: u32 = 8;

/// Codes that ask for a slower pace.
const THROTTLED: &[&str] = &[
    "EC2ThrottledException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

/// Codes of EC2 and S3 that pass by themselves: the two conflicts are those of puts on a condition, while something else
/// happens to the same object.
const FOR_A_MOMENT: &[&str] = &[
    "ConditionalRequestConflict",
    "InternalError",
    "InternalFailure",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "Unavailable",
];

/// Codes that say that a key is no longer good.
const EXPIRED: &[&str] = &["ExpiredToken", "ExpiredTokenException", "RequestExpired"];

/// Codes that a wrong clock leads to.
const OF_CLOCKS: &[&str] = &[
    "AuthFailure",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
];

/// AWS, for one run: who asks, and where.
#[derive(Debug)]
pub struct Aws<'c, 'w> {
    pub(super) http: &'c Client<'w>,
    keys: Keys,
    environment: Environment,
    profile: Profile,
    endpoint: Option<String>,
    /// Whether anything was ever answered.
    heard: AtomicBool,
}

/// Bytes that are sent as they are read.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// Where they are.
    pub bytes: &'a dyn ReadAt,
    /// How many.
    pub len: u64,
    /// Their SHA-256.
    pub digest: Digest,
}

/// A call that is about to be made.
pub(super) struct Asked<'a> {
    pub(super) service: Service,
    pub(super) region: &'a str,
    /// The service's name of the call.
    pub(super) call: &'a str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Cow<'a, [u8]>,
    /// What is sent in the place of `body`.
    pub(super) source: Option<Source<'a>>,
    /// Whether the body has a checksum of its own in a header.
    pub(super) has_checksum: bool,
    pub(super) bucket: Option<&'a Bucket>,
    /// What the call may be refused with until then, because a new id is not known everywhere yet.
    pub(super) not_yet: Option<(&'static [&'static str], SystemTime)>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        service: Service,
        region: &'a str,
        call: &'a str,
        method: Method,
        path: impl Into<String>,
    ) -> Self {
        Self {
            service,
            region,
            call,
            method,
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Cow::Borrowed(&[]),
            source: None,
            has_checksum: false,
            bucket: None,
            not_yet: None,
        }
    }
}

impl<'c, 'w> Aws<'c, 'w> {
    /// Takes what a run knows of AWS.
    #[must_use]
    pub fn new(
        http: &'c Client<'w>,
        keys: Keys,
        environment: Environment,
        profile: Profile,
        endpoint: Option<String>,
    ) -> Self {
        Self { http, keys, environment, profile, endpoint, heard: AtomicBool::new(false) }
    }

    /// Returns the client, for its clock and its pauses.
    #[must_use]
    pub fn http(&self) -> &'c Client<'w> {
        self.http
    }

    /// Makes a call, and returns what was answered if that is not a refusal.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a [`Refusal`].
    pub(super) fn ask(&self, asked: &Asked<'_>) -> Result<Answer> {
        self.try_ask(asked)?.map_err(Error::from)
    }

    /// As [`Aws::ask`], and tells refusals from other failures.
    pub(super) fn try_ask(&self, asked: &Asked<'_>) -> Result<Result<Answer, Refusal>> {
        Ok(self.try_ask_with(asked, "")?.0)
    }

    /// As [`Aws::try_ask`], and returns a header of the answer too, also of a refusal.
    pub(super) fn try_ask_with(
        &self,
        asked: &Asked<'_>,
        header: &str,
    ) -> Result<(Result<Answer, Refusal>, Option<String>)> {
        let base = endpoint(
            asked.service,
            asked.region,
            self.endpoint.as_deref(),
            &self.environment,
            &self.profile,
        )?;
        let mut url = Url::parse(&format!("{base}{}", asked.path))?;
        for (name, value) in &asked.query {
            url = url.with_query(name, value);
        }
        let mut request = Request::new(asked.method, url);
        for (name, value) in &asked.headers {
            request.headers.set(name, value.as_str());
        }
        if !asked.body.is_empty() {
            request.body = Body::Bytes(Cow::Borrowed(&asked.body));
        }
        if let Some(Source { bytes, len, .. }) = asked.source {
            request.body = Body::Part { of: bytes, range: 0..len };
        }
        let judge = Judge::new(self, asked);
        let prepare = |request: &mut Request<'_>, now: SystemTime| self.sign(request, asked, now);
        let verdict = |outcome: &Outcome<'_>| judge.verdict(outcome);
        let call = Call {
            what: Cow::Owned(format!("call {} in {}", asked.call, asked.region)),
            request,
            patience: PATIENCE,
            judge: &verdict,
            prepare: Some(&prepare),
            bucket: asked.bucket,
            progress: None,
        };
        let answer = self.http.fetch(&call, MAX_ANSWER_LEN)?;
        let header = answer.headers.get(header).map(str::to_owned);
        if (200..300).contains(&answer.status) {
            return Ok((Ok(answer), header));
        }
        let refusal = refusal(asked, answer.status, &answer.headers, &answer.body);
        match answer.skew {
            Some(skew) if skew.is_large() && refusal.is_one_of(OF_CLOCKS) => {
                Err(skew.error(answer.url.host()))
            }
            _ => Ok((Err(refusal), header)),
        }
    }

    fn sign(&self, request: &mut Request<'_>, asked: &Asked<'_>, now: SystemTime) -> Result<()> {
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let now = Time::from_unix_seconds(seconds)
            .ok_or_else(|| Error::invalid("this machine's clock is past the year 9999"))?;
        let credentials = self.keys.get(now, self.http.watch())?;
        let host = request.url.authority();
        let headers: Vec<(&str, &str)> = request.headers.iter().collect();
        let payload = match &asked.source {
            Some(source) => Payload::Digest(&source.digest),
            None if asked.has_checksum => Payload::Unsigned,
            None => Payload::Signed(&asked.body),
        };
        let unsigned = Unsigned {
            method: request.method.name(),
            host: &host,
            path: request.url.path(),
            query: request.url.query().unwrap_or_default(),
            headers: &headers,
            payload,
        };
        let scope = Scope { region: asked.region, service: asked.service.name() };
        let added = sign(&unsigned, scope, &credentials, now);
        for (name, value) in &added {
            request.headers.set(name, value.as_str());
        }
        Ok(())
    }
}

/// Decides which attempts of a call are followed by another: the table of `docs/formats/publish.md`.
struct Judge<'a> {
    aws: &'a Aws<'a, 'a>,
    asked: &'a Asked<'a>,
    /// Whether an attempt ended without an answer: what it asked for may still be under way.
    unanswered: AtomicBool,
    /// Whether another key was tried.
    renewed: AtomicBool,
    /// Attempts that ended without an answer.
    cuts: AtomicU32,
}

impl<'a> Judge<'a> {
    fn new(aws: &'a Aws<'_, '_>, asked: &'a Asked<'a>) -> Self {
        Self {
            aws,
            asked,
            unanswered: AtomicBool::new(false),
            renewed: AtomicBool::new(false),
            cuts: AtomicU32::new(0),
        }
    }

    fn verdict(&self, outcome: &Outcome<'_>) -> Verdict {
        if matches!(outcome, Outcome::Answer { .. }) {
            self.aws.heard.store(true, Ordering::Relaxed);
        }
        let (status, headers, body) = match *outcome {
            Outcome::Cut(cut) => {
                self.unanswered.store(true, Ordering::Relaxed);
                let cuts = self.cuts.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                let is_there = self.aws.heard.load(Ordering::Relaxed) || cuts < FIRST_ATTEMPTS;
                return if cut.may_repeat && is_there { Verdict::Again } else { Verdict::Take };
            }
            Outcome::Answer { status, .. } if status < 400 => return Verdict::Take,
            Outcome::Answer { status, headers, body } => (status, headers, body),
        };
        let refusal = refusal(self.asked, status, headers, body);
        if status == 429 || refusal.is_one_of(THROTTLED) {
            return Verdict::Throttled;
        }
        // What a service does not have, it will not have in a minute.
        if status >= 500 && status != 501 || refusal.is_one_of(FOR_A_MOMENT) {
            return Verdict::Again;
        }
        if refusal.is_one_of(EXPIRED)
            && !self.renewed.swap(true, Ordering::Relaxed)
            && self.aws.keys.expired()
        {
            return Verdict::Again;
        }
        let not_yet = self
            .asked
            .not_yet
            .is_some_and(|(codes, until)| refusal.is_one_of(codes) && self.aws.http.now() < until);
        if not_yet || self.asked.call == "PutSnapshotBlock" && self.is_passing(&refusal) {
            return Verdict::Again;
        }
        Verdict::Take
    }

    /// Tells whether a put that was refused as wrong is not: EBS did not get all of the body, or an attempt whose answer
    /// was lost still writes the same block.
    fn is_passing(&self, refusal: &Refusal) -> bool {
        refusal.code == "ValidationException"
            && (refusal.message.contains("Failed to read block data")
                || refusal.reason.as_deref() == Some("CONFLICTING_BLOCK_UPDATE")
                    && self.unanswered.load(Ordering::Relaxed))
    }
}

/// Reads what a service says when it refuses.
fn refusal(asked: &Asked<'_>, status: u16, headers: &Headers, body: &[u8]) -> Refusal {
    let mut refusal = Refusal {
        call: asked.call.to_owned(),
        region: asked.region.to_owned(),
        status,
        code: String::new(),
        reason: None,
        message: String::new(),
        request_id: headers
            .get("x-amzn-requestid")
            .or_else(|| headers.get("x-amz-request-id"))
            .map(str::to_owned),
    };
    let text = |value: &Value, names: &[&str]| {
        names.iter().find_map(|name| Some(value.get(*name)?.as_str()?.to_owned()))
    };
    if matches!(asked.service, Service::Ebs | Service::Ssm) {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let code = headers.get("x-amzn-errortype").map(str::to_owned);
        let code = code.or_else(|| text(&body, &["__type", "code"])).unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        code.split(':').next().unwrap_or_default().clone_into(&mut refusal.code);
        refusal.message = text(&body, &["Message", "message"]).unwrap_or_default();
        refusal.reason = text(&body, &["Reason", "reason"]);
    } else if let Some((_, answer)) = xml::parse(body) {
        // EC2 has a list of one error, STS the error alone, and S3 nothing around it.
        let error = answer.pointer("/Errors/Error").or_else(|| answer.get("Error"));
        let error = error.unwrap_or(&answer);
        refusal.code = text(error, &["Code"]).unwrap_or_default();
        refusal.message = text(error, &["Message"]).unwrap_or_default();
        let id = text(&answer, &["RequestID", "RequestId"]);
        refusal.request_id = id.or(refusal.request_id);
    }
    if refusal.message.is_empty() && refusal.code.is_empty() {
        // A proxy or a balancer answers in its own form.
        refusal.message = said(headers, body).unwrap_or_default();
    }
    if refusal.code.is_empty() {
        refusal.code = format!("HTTP {status}");
    }
    refusal
}
