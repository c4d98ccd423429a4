//! Roles: keys of a session, which STS gives for other keys or for a token of someone whom the account trusts.

use serde_json::Value;
use zeroize::Zeroizing;

use crate::ami::Time;
use crate::aws::credentials::Credentials;
use crate::aws::credentials::check;
use crate::aws::encode::form;
use crate::aws::fault::AwsFault;
use crate::aws::fault::Refusal;
use crate::aws::sign::Payload;
use crate::aws::sign::Scope;
use crate::aws::sign::Unsigned;
use crate::aws::sign::sign;
use crate::aws::xml;
use crate::error::Error;
use crate::error::Result;
use crate::http::Method;
use crate::http::Url;

/// Where roles are assumed.
#[derive(Clone, Debug)]
pub(super) struct Sts {
    /// The region that requests are signed for.
    pub(super) region: String,
    /// The endpoint.
    pub(super) url: String,
    /// Whether plain HTTP is spoken with other machines too.
    pub(super) insecure: bool,
}

/// A role that is assumed.
#[derive(Clone, Debug)]
pub(super) struct Role {
    /// Its name.
    pub(super) arn: String,
    /// What the session is called.
    pub(super) session: Option<String>,
    /// What the owner of the role wants to hear.
    pub(super) external_id: Option<String>,
    /// How long the keys are good.
    pub(super) seconds: Option<u32>,
}

/// What STS is asked.
pub(super) struct Assuming {
    /// The call.
    pub(super) call: &'static str,
    pub(super) url: String,
    pub(super) headers: Vec<(&'static str, Zeroizing<String>)>,
    pub(super) body: Zeroizing<Vec<u8>>,
}

impl Role {
    fn asked(
        &self,
        sts: &Sts,
        call: &'static str,
        own: Option<(&str, &str)>,
        now: u64,
    ) -> Assuming {
        let session = self.session.clone().unwrap_or_else(|| format!("amikit-{now}"));
        let mut pairs = vec![
            ("Action".to_owned(), call.to_owned()),
            ("Version".to_owned(), "2011-06-15".to_owned()),
            ("RoleArn".to_owned(), self.arn.clone()),
            ("RoleSessionName".to_owned(), session),
        ];
        pairs.extend(self.seconds.map(|it| ("DurationSeconds".to_owned(), it.to_string())));
        pairs.extend(self.external_id.clone().map(|it| ("ExternalId".to_owned(), it)));
        pairs.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let kind = "application/x-www-form-urlencoded; charset=utf-8";
        Assuming {
            call,
            url: format!("{}/", sts.url),
            headers: vec![
                ("Accept", Zeroizing::new("text/xml".to_owned())),
                ("Content-Type", Zeroizing::new(kind.to_owned())),
            ],
            body: Zeroizing::new(form(&pairs).into_bytes()),
        }
    }

    /// Asks by a token, at `now` in seconds since 1970. The token is all that is needed.
    pub(super) fn by_token(&self, sts: &Sts, token: &str, now: u64) -> Assuming {
        self.asked(sts, "AssumeRoleWithWebIdentity", Some(("WebIdentityToken", token)), now)
    }

    /// Asks by other keys, at `now` in seconds since 1970.
    ///
    /// # Errors
    ///
    /// `Invalid` if the endpoint is not an address, or the clock is past the year 9999.
    pub(super) fn by_keys(&self, sts: &Sts, keys: &Credentials, now: u64) -> Result<Assuming> {
        let mut asked = self.asked(sts, "AssumeRole", None, now);
        let url = Url::parse(&asked.url)?;
        let headers: Vec<(&str, &str)> =
            asked.headers.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let unsigned = Unsigned {
            method: Method::Post.name(),
            host: &url.authority(),
            path: url.path(),
            query: "",
            headers: &headers,
            payload: Payload::Signed(&asked.body),
        };
        let now = Time::from_unix_seconds(now)
            .ok_or_else(|| Error::invalid("this machine's clock is past the year 9999"))?;
        let added = sign(&unsigned, Scope { region: &sts.region, service: "sts" }, keys, now);
        asked.headers.extend(added);
        Ok(asked)
    }

    /// Reads what STS answers.
    ///
    /// # Errors
    ///
    /// A refusal; `Io` if it is not an answer of STS's.
    pub(super) fn taken(
        &self,
        call: &str,
        sts: &Sts,
        status: u16,
        answer: &[u8],
    ) -> Result<Credentials> {
        let from = format!("{call} of {}", self.arn);
        let mut parsed = xml::parse(answer).map_or(Value::Null, |(_, value)| value);
        if status != 200 {
            let text = |name: &str| {
                let found = parsed.pointer(&format!("/Error/{name}")).and_then(Value::as_str);
                found.unwrap_or_default().to_owned()
            };
            let code = Some(text("Code")).filter(|it| !it.is_empty());
            let request_id = parsed["RequestId"].as_str().map(str::to_owned);
            return Err(Error::from(Refusal {
                call: from,
                region: sts.region.clone(),
                status,
                code: code.unwrap_or_else(|| format!("HTTP {status}")),
                reason: None,
                message: text("Message"),
                request_id,
            }));
        }
        // Moved out of the answer, so that they are wiped.
        let mut take = |name: &str| {
            let place = parsed.pointer_mut(&format!("/{call}Result/Credentials/{name}"))?;
            match place.take() {
                Value::String(text) => Some(Zeroizing::new(text)),
                _ => None,
            }
        };
        let all = (take("AccessKeyId"), take("SecretAccessKey"), take("SessionToken"));
        let (Some(id), Some(secret), Some(token)) = all else {
            return Err(AwsFault::unsound(&from, "its answer has no credentials"));
        };
        let expires = take("Expiration").and_then(|it| it.parse::<Time>().ok());
        let expires = expires
            .ok_or_else(|| AwsFault::unsound(&from, "its answer does not say when they expire"))?;
        check(&id, &secret, Some(&token), &from)?;
        Ok(Credentials::new(&id, &secret, Some(&token)).until(Some(expires.unix_seconds())))
    }
}
