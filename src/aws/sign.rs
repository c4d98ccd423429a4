//! Signatures of requests: AWS Signature Version 4.
//!
//! What is signed is the method, path, query, all headers that are there, and the SHA-256 of the body or the word
//! that says that the body is not signed. The host is always among the headers.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::ami::Time;
use crate::aws::credentials::Credentials;
use crate::digest::Digest;
use crate::digest::hmac;
use crate::digest::sha256;
use crate::http::escaped;

/// Headers that proxies and clients may change on the way, which are never signed.
const NEVER_SIGNED: &[&str] = &[
    "authorization",
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "x-amzn-trace-id",
];

/// What stands in the place of the digest of a body that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The body of a request, as far as its signature is concerned.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// The signature is over these bytes, too.
    Signed(&'a [u8]),
    /// The signature is over bytes that have this digest, too.
    Digest(&'a Digest),
    /// The body has a checksum of its own in a header that is signed.
    Unsigned,
}

/// A request that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// Its method, in capitals.
    pub method: &'a str,
    /// Host, with the port unless it is that of the scheme.
    pub host: &'a str,
    /// Path as it is sent.
    pub path: &'a str,
    /// Query as it is sent, without the question mark.
    pub query: &'a str,
    /// Headers that the request has.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body.
    pub payload: Payload<'a>,
}

/// What a signature is for.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region.
    pub region: &'a str,
    /// The service, as signatures call it.
    pub service: &'a str,
}

/// Returns the headers that sign a request, which are added to those that it has. A name that it has already
/// is replaced.
#[must_use]
pub fn sign(
    request: &Unsigned<'_>,
    scope: Scope<'_>,
    credentials: &Credentials,
    now: Time,
) -> Vec<(&'static str, Zeroizing<String>)> {
    let stamp: String = now.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    let day = stamp.get(..8).unwrap_or(&stamp).to_owned();
    let payload = match request.payload {
        Payload::Signed(bytes) => sha256(bytes).hex(),
        Payload::Digest(digest) => digest.hex(),
        Payload::Unsigned => UNSIGNED.to_owned(),
    };
    let mut added = vec![("X-Amz-Date", Zeroizing::new(stamp.clone()))];
    if let Some(token) = credentials.token() {
        added.push(("X-Amz-Security-Token", Zeroizing::new(token.to_owned())));
    }
    let of_s3 = scope.service == "s3";
    if of_s3 || matches!(request.payload, Payload::Unsigned) {
        added.push(("X-Amz-Content-SHA256", Zeroizing::new(payload.clone())));
    }
    let mut headers: Vec<(String, Zeroizing<String>)> = Vec::new();
    let replaced = |name: &str| added.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
    let kept = request.headers.iter().filter(|(name, _)| !replaced(name));
    let all = kept
        .map(|(name, value)| (*name, *value))
        .chain(added.iter().map(|(name, value)| (*name, value.as_str())))
        .chain([("host", request.host)]);
    for (name, value) in all {
        let name = name.to_ascii_lowercase();
        let words: Vec<&str> = value.split_whitespace().collect();
        let value = words.join(" ");
        if NEVER_SIGNED.contains(&name.as_str()) || name == "host" && headers_have(&headers, "host")
        {
            continue;
        }
        match headers.iter_mut().find(|(it, _)| *it == name) {
            Some((_, before)) => {
                before.push(',');
                before.push_str(&value);
            }
            None => headers.push((name, Zeroizing::new(value))),
        }
    }
    headers.sort_by(|(a, _), (b, _)| a.cmp(b));
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let mut canonical = Zeroizing::new(String::new());
    let path = if of_s3 { request.path.to_owned() } else { escaped(&plain(request.path), true) };
    write!(canonical, "{}\n{path}\n{}\n", request.method, in_order(request.query))
        .expect("a string takes all");
    for (name, value) in &headers {
        writeln!(canonical, "{name}:{}", value.as_str()).expect("a string takes all");
    }
    write!(canonical, "\n{names}\n{payload}").expect("a string takes all");
    let Scope { region, service } = scope;
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text =
        format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha256(canonical.as_bytes()).hex());
    let secret = Zeroizing::new(format!("AWS4{}", credentials.secret()));
    let mut key = Zeroizing::new(hmac(secret.as_bytes(), day.as_bytes()).0);
    for part in [region, service, "aws4_request"] {
        key = Zeroizing::new(hmac(&*key, part.as_bytes()).0);
    }
    let signature = hmac(&*key, text.as_bytes()).hex();
    let id = credentials.key_id();
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}"
    );
    added.push(("Authorization", Zeroizing::new(authorization)));
    added
}

fn headers_have(headers: &[(String, Zeroizing<String>)], name: &str) -> bool {
    headers.iter().any(|(it, _)| it == name)
}

/// Returns a path without empty parts and dots: what every service but S3 signs.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    let last = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("/{}{last}", parts.join("/"))
}

/// Returns a query with its pairs in order.
fn in_order(query: &str) -> String {
    let mut pairs: Vec<(&str, &str)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(token: Option<&str>, payload: Payload<'_>) -> Vec<(&'static str, Zeroizing<String>)> {
        let credentials =
            Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token);
        let request = Unsigned {
            method: "GET",
            host: "example.amazonaws.com",
            path: "/",
            query: "Param2=value2&Param1=value1",
            headers: &[("User-Agent", "amikit"), ("Expect", "100-continue")],
            payload,
        };
        let scope = Scope { region: "us-east-1", service: "service" };
        sign(&request, scope, &credentials, "2015-08-30T12:36:00Z".parse().unwrap())
    }

    /// `get-vanilla-query-order-key-case` of the suite that AWS publishes.
    #[test]
    fn a_request_of_the_published_suite_is_signed_as_there() {
        let added = signed(None, Payload::Signed(b""));
        let names: Vec<_> = added.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["X-Amz-Date", "Authorization"]);
        assert_eq!(
            added[1].1.as_str(),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
    }

    #[test]
    fn tokens_and_unsigned_bodies_are_said_and_signed() {
        let added = signed(Some("token"), Payload::Unsigned);
        let value = |name: &str| added.iter().find(|it| it.0 == name).map(|it| it.1.as_str());
        assert_eq!(value("X-Amz-Security-Token"), Some("token"));
        assert_eq!(value("X-Amz-Content-SHA256"), Some("UNSIGNED-PAYLOAD"));
        let names = "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,";
        assert!(value("Authorization").unwrap().contains(names));
    }

    #[test]
    fn paths_lose_their_dots_and_queries_their_order() {
        for (path, expected) in
            [("", "/"), ("/", "/"), ("//a/./b/../c/", "/a/c/"), ("/a//b", "/a/b"), ("/..", "/")]
        {
            assert_eq!(plain(path), expected, "{path}");
        }
        assert_eq!(in_order("b=2&a&b=1&&c=x=y"), "a=&b=1&b=2&c=x=y");
    }
}
