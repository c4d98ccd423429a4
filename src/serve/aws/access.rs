//! Who may ask: no browser, and any caller that signs.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::ami::is_account;
use crate::digest::hmac;
use crate::digest::sha256;
use crate::serve::http::Request;
use crate::serve::http::decoded;
use crate::serve::http::encoded;

/// Who asks, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    /// The account.
    pub(super) account: String,
    /// The region that the request is signed for.
    pub(super) region: String,
    /// The service: `ebs`, `ec2`, `sts` or `s3`.
    pub(super) service: String,
    /// Id of the key.
    pub(super) key: String,
}

/// A key that may sign.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The secret half.
    pub secret: String,
    /// Whose key it is; the server's account for none.
    pub account: Option<String>,
}

/// Why a request is refused before anything of it is looked at: code and sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) &'static str, pub(super) String);

/// What decides who may ask.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// Keys by their ids; any key signs if there are none.
    pub(super) keys: BTreeMap<String, AccessKey>,
    /// The account of callers that are in no other.
    pub(super) account: String,
    /// A name beside those of loopback that a Host header may have.
    pub(super) host: Option<String>,
}

/// Tells whether two texts are equal, in a time that does not say where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

impl Access {
    /// Refuses what a browser sends: a page of anyone's can reach a loopback address.
    fn check_browser(&self, request: &Request) -> Result<(), Refused> {
        let host = request.header("host").unwrap_or_default().to_ascii_lowercase();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let loopback = ["localhost", "127.0.0.1", "::1"].contains(&name)
            || name.ends_with(".localhost")
            || self.host.as_deref() == Some(name);
        let refuse = |what: String| Err(Refused("AccessDenied", what));
        if !loopback {
            return refuse(format!("the Host {host:?} is not a name of this server"));
        }
        for header in ["origin", "sec-fetch-site"] {
            if request.header(header).is_some() {
                return refuse(format!("requests of browsers are refused: {header}"));
            }
        }
        Ok(())
    }

    /// Finds out who asks.
    pub(super) fn admit(&self, request: &Request) -> Result<Caller, Refused> {
        self.check_browser(request)?;
        let Some(authorization) = request.header("authorization") else {
            let text = "Request is missing Authentication Token";
            return Err(Refused("MissingAuthenticationToken", text.to_owned()));
        };
        let incomplete = |what: &str| {
            let text = format!("the Authorization header is not of AWS4-HMAC-SHA256: {what}");
            Refused("IncompleteSignature", text)
        };
        let fields = authorization
            .strip_prefix("AWS4-HMAC-SHA256")
            .ok_or_else(|| incomplete("another algorithm"))?;
        let field = |name: &str| {
            let mut fields = fields.split(',').map(str::trim);
            fields.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
        };
        let credential = field("Credential").ok_or_else(|| incomplete("no Credential"))?;
        let signed = field("SignedHeaders").ok_or_else(|| incomplete("no SignedHeaders"))?;
        let signature = field("Signature").ok_or_else(|| incomplete("no Signature"))?;
        let parts: Vec<&str> = credential.split('/').collect();
        let &[key, date, region, service, "aws4_request"] = &parts[..] else {
            return Err(incomplete("Credential is not KEY/DATE/REGION/SERVICE/aws4_request"));
        };
        let region_like =
            |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if key.is_empty() || !region_like(region) || region.len() > 32 {
            return Err(incomplete("Credential is not KEY/DATE/REGION/SERVICE/aws4_request"));
        }
        let hex = signature.len() == 64 && signature.bytes().all(|it| it.is_ascii_hexdigit());
        if !hex || !signed.split(';').any(|it| it == "host") {
            return Err(incomplete("the signature is not 64 digits, or not over the Host"));
        }
        let mut account = self.account.clone();
        if self.keys.is_empty() {
            // Tests of sharing need accounts, and nobody's keys: an id of twelve digits is one.
            if is_account(key) {
                key.clone_into(&mut account);
            }
        } else {
            let Some(known) = self.keys.get(key) else {
                let text = "AWS was not able to validate the provided access credentials";
                return Err(Refused("AuthFailure", text.to_owned()));
            };
            let scope = [date, region, service];
            if !same(signature.as_bytes(), sign(request, signed, &scope, &known.secret).as_bytes())
            {
                let text = "The request signature we calculated does not match the signature you \
                            provided. Check your AWS Secret Access Key and signing method.";
                return Err(Refused("SignatureDoesNotMatch", text.to_owned()));
            }
            if let Some(own) = &known.account {
                account.clone_from(own);
            }
        }
        Ok(Caller {
            account,
            region: region.to_owned(),
            service: service.to_owned(),
            key: key.to_owned(),
        })
    }
}

/// Returns the signature that the request should have.
fn sign(request: &Request, signed: &str, scope: &[&str; 3], secret: &str) -> String {
    let [date, region, service] = scope;
    // Each service but S3 encodes the path once more.
    let path = encoded(&request.path, true);
    let mut parameters: Vec<(String, String)> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(&decoded(name, false), false), encoded(&decoded(value, false), false))
        })
        .collect();
    parameters.sort();
    let query: Vec<String> = parameters.iter().map(|(a, b)| format!("{a}={b}")).collect();
    let mut headers = String::new();
    for name in signed.split(';') {
        let values: Vec<&str> = request
            .headers
            .iter()
            .filter(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
            .collect();
        let value = values.join(",");
        let value: Vec<&str> = value.split_whitespace().collect();
        writeln!(headers, "{name}:{}", value.join(" ")).expect("a string takes all");
    }
    let payload = match request.header("x-amz-content-sha256") {
        // What is not signed is said so; a digest of the body must be the body's.
        Some("UNSIGNED-PAYLOAD") => "UNSIGNED-PAYLOAD".to_owned(),
        _ => sha256(&request.body).hex(),
    };
    let canonical =
        [request.method.as_str(), &path, &query.join("&"), &headers, signed, &payload].join("\n");
    let time = request.header("x-amz-date").unwrap_or_default();
    let text = format!(
        "AWS4-HMAC-SHA256\n{time}\n{date}/{region}/{service}/aws4_request\n{}",
        sha256(canonical.as_bytes())
    );
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), date.as_bytes());
    for part in [region, service, &"aws4_request"] {
        key = hmac(&key.0, part.as_bytes());
    }
    hmac(&key.0, text.as_bytes()).hex()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let headers = headers.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Request { method: "POST".into(), path: "/".into(), headers, ..Request::default() }
    }

    const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKID/20261129/eu-west-1/ec2/aws4_request, \
                          SignedHeaders=host;x-amz-date, \
                          Signature=0000000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn browsers_strangers_and_the_unsigned_are_refused() {
        let access = Access { account: "123456789012".into(), ..Access::default() };
        let ask = |headers: &[(&str, &str)]| access.admit(&request(headers)).map_err(|it| it.0);
        let caller = ask(&[("host", "localhost:1"), ("authorization", SIGNED)]).unwrap();
        assert_eq!((&*caller.region, &*caller.service), ("eu-west-1", "ec2"));
        for host in ["127.0.0.1", "[::1]:80", "ebs.localhost:80"] {
            ask(&[("host", host), ("authorization", SIGNED)]).unwrap();
        }
        for (headers, code) in [
            (vec![("host", "evil.example"), ("authorization", SIGNED)], "AccessDenied"),
            (vec![("host", "localhost.evil.example"), ("authorization", SIGNED)], "AccessDenied"),
            (vec![("authorization", SIGNED)], "AccessDenied"),
            (
                vec![("host", "localhost"), ("origin", "null"), ("authorization", SIGNED)],
                "AccessDenied",
            ),
            (
                vec![("host", "localhost"), ("sec-fetch-site", "none"), ("authorization", SIGNED)],
                "AccessDenied",
            ),
            (vec![("host", "localhost")], "MissingAuthenticationToken"),
            (vec![("host", "localhost"), ("authorization", "Basic x")], "IncompleteSignature"),
        ] {
            assert_eq!(ask(&headers), Err(code), "{headers:?}");
        }
        let cut = SIGNED.replace("aws4_request", "aws4");
        assert!(ask(&[("host", "localhost"), ("authorization", &cut)]).is_err());
    }

    #[test]
    fn a_key_that_is_known_must_have_signed() {
        let key = AccessKey { secret: "secret".into(), account: Some("210987654321".into()) };
        let access = Access {
            keys: BTreeMap::from([("AKID".to_owned(), key)]),
            account: "123456789012".into(),
            host: None,
        };
        let mut asked = request(&[("host", "localhost"), ("x-amz-date", "20261129T000000Z")]);
        asked.query = "b=%2F&a=1".into();
        let scope = ["20261129", "eu-west-1", "ec2"];
        let right = sign(&asked, "host;x-amz-date", &scope, "secret");
        let header = SIGNED.replace(&"0".repeat(64), &right);
        asked.headers.push(("authorization".into(), header));
        assert_eq!(access.admit(&asked).unwrap().account, "210987654321");
        asked.query = "b=%2F&a=2".into();
        assert_eq!(access.admit(&asked).unwrap_err().0, "SignatureDoesNotMatch");
        asked.headers.last_mut().unwrap().1 = SIGNED.replace("AKID", "OTHER");
        assert_eq!(access.admit(&asked).unwrap_err().0, "AuthFailure");
    }
}
