//! Where keys come from, in the order of AWS's own tools: the environment, the shared files, a program that the profile
//! names, the address that a container is given, and the metadata service of an instance.

use std::net::IpAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroize as _;
use zeroize::Zeroizing;

use crate::ami::Time;
use crate::aws::credentials::Credentials;
use crate::aws::credentials::check;
use crate::aws::fault::AwsFault;
use crate::aws::ini::Section;
use crate::aws::ini::words;
use crate::aws::place::Service;
use crate::aws::place::endpoint;
use crate::aws::profile::Environment;
use crate::aws::profile::Profile;
use crate::aws::profile::read;
use crate::aws::role::Role;
use crate::aws::role::Sts;
use crate::error::Result;
use crate::http::Method;
use crate::work::Watch;

/// Seconds before the end of a key's life in which it is replaced.
const REFRESH_SECONDS: u64 = 300;

/// Most bytes of a document with a key, and of a container's token.
const MAX_DOCUMENT_LEN: u64 = 64 << 10;

/// How long an address that gives keys may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long STS may take.
const STS_PATIENCE: Duration = Duration::from_secs(10);

/// The address of containers' credentials on ECS.
const ECS: &str = "http://169.254.170.2";

/// The address of the metadata service.
const IMDS: &str = "http://169.254.169.254";

/// Seconds for which a token of the metadata service is good.
const IMDS_TOKEN_SECONDS: &str = "21600";

/// Members that say that a profile's keys come another way, and what that is.
const OTHER_WAYS: &[(&str, &str)] = &[
    ("sso_session", "SSO"),
    ("sso_start_url", "SSO"),
    ("login_session", "a login of the console"),
];

/// Most profiles that follow each other by `source_profile`.
const MAX_PROFILES: usize = 8;

/// A request to an address that gives keys.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// What is wanted.
    pub method: Method,
    /// The address.
    pub url: &'a str,
    /// Headers.
    pub headers: &'a [(&'a str, &'a str)],
    /// What is sent.
    pub body: &'a [u8],
    /// How long it may take.
    pub patience: Duration,
    /// Whether plain HTTP is spoken with other machines too.
    pub insecure: bool,
}

/// What asks an address that gives keys. No secret that passes may be traced.
pub trait Web: Send + Sync {
    /// Returns the status, and the body up to that many bytes.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer.
    fn ask(&self, ask: &Ask<'_>, most: u64, watch: &dyn Watch)
    -> Result<(u16, Zeroizing<Vec<u8>>)>;
}

/// Where keys come from.
#[derive(Clone, Debug)]
enum Source {
    Environment,
    Files { profile: Profile, of_credentials: bool },
    Process { command: Zeroizing<String> },
    Container { url: String },
    Instance { url: String },
    Role { role: Role, by: By },
}

/// By what a role is assumed.
#[derive(Clone, Debug)]
enum By {
    /// Other keys.
    Keys(Box<Source>),
    /// A token in a file that may be replaced at any time.
    Token(PathBuf),
}

/// The keys of a run, which are replaced before they expire.
pub struct Keys {
    environment: Environment,
    profile: Profile,
    source: Source,
    sts: Sts,
    web: Box<dyn Web>,
    current: Mutex<Option<Credentials>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// What a program, a container or an instance answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    version: Option<u64>,
    code: Option<String>,
    message: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<Secret>,
    session_token: Option<Secret>,
    token: Option<Secret>,
    expiration: Option<String>,
}

/// A text that is wiped when it is dropped.
struct Secret(Zeroizing<String>);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self(Zeroizing::new(text)))
    }
}

impl Keys {
    /// Finds where the keys of a run come from. `is_asked` says that the request itself named the profile, so that keys of
    /// the environment do not count.
    ///
    /// # Errors
    ///
    /// `NoCredentials` if there is no such place; `Way` if the profile's keys come a way that is not known here; `Address` if a
    /// container's address is not one that gives keys.
    pub fn find(
        environment: Environment,
        profile: Profile,
        is_asked: bool,
        web: Box<dyn Web>,
    ) -> Result<Self, AwsFault> {
        let source = source(&environment, &profile, is_asked)?;
        let region = "us-east-1".to_owned();
        let url = endpoint(Service::Sts, &region, None, &environment, &profile)?;
        let sts = Sts { region, url, insecure: false };
        Ok(Self { environment, profile, source, sts, web, current: Mutex::new(None) })
    }

    /// Says where roles are assumed: in that region, at the endpoint that is asked for.
    ///
    /// # Errors
    ///
    /// As [`endpoint`].
    pub fn in_region(
        mut self,
        region: &str,
        asked: Option<&str>,
        insecure: bool,
    ) -> Result<Self, AwsFault> {
        let url = endpoint(Service::Sts, region, asked, &self.environment, &self.profile)?;
        self.sts = Sts { region: region.to_owned(), url, insecure };
        Ok(self)
    }

    /// Returns the key to sign with at `now`.
    ///
    /// # Errors
    ///
    /// `Invalid` or `Io` if what gives keys gives none.
    pub fn get(&self, now: Time, watch: &dyn Watch) -> Result<Credentials> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now.unix_seconds();
        let left = |it: &Credentials| it.expires().map(|at| at.saturating_sub(now));
        if let Some(known) = &*current
            && left(known).is_none_or(|left| left > REFRESH_SECONDS)
        {
            return Ok(known.clone());
        }
        match (self.fetch(&self.source, now, watch), &*current) {
            (Ok(new), _) => Ok(current.insert(new).clone()),
            // What gives keys may be away for a moment, and the old one is still good.
            (Err(_), Some(known)) if left(known).is_some_and(|left| left > 0) => Ok(known.clone()),
            (Err(error), _) => Err(error),
        }
    }

    /// Drops the key that is known, since a service says that it has expired. Returns whether there may be another one.
    #[must_use]
    pub fn expired(&self) -> bool {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        *current = None;
        !matches!(self.source, Source::Environment | Source::Files { .. })
    }

    /// Asks a place for its key, at `now` in seconds since 1970.
    fn fetch(&self, source: &Source, now: u64, watch: &dyn Watch) -> Result<Credentials> {
        match source {
            Source::Environment => {
                let get = |name| self.environment.get(name);
                let pair = (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY"));
                pair_of(pair.0, pair.1, get("AWS_SESSION_TOKEN"), "the environment")
            }
            Source::Files { profile, of_credentials } => {
                let section = if *of_credentials { &profile.credentials } else { &profile.config };
                let get = |name| text(section, name);
                let from = format!("the profile {:?}", profile.name);
                let pair = (get("aws_access_key_id"), get("aws_secret_access_key"));
                let token = get("aws_session_token").or_else(|| get("aws_security_token"));
                pair_of(pair.0, pair.1, token, &from)
            }
            Source::Process { command } => by_process(command),
            Source::Container { url } => self.of_container(url, watch),
            Source::Instance { url } => self.of_instance(url, watch),
            Source::Role { role, by } => self.by_role(role, by, now, watch),
        }
    }

    fn of_container(&self, url: &str, watch: &dyn Watch) -> Result<Credentials> {
        let from = "the container's address";
        let token = match self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(path) => {
                let bytes = Zeroizing::new(read(Path::new(path), MAX_DOCUMENT_LEN)?);
                let text = String::from_utf8_lossy(&bytes).trim().to_owned();
                Some(Zeroizing::new(text))
            }
            None => self
                .environment
                .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
                .map(|it| Zeroizing::new(it.to_owned())),
        };
        if token.as_ref().is_some_and(|it| it.chars().any(char::is_control)) {
            return Err(AwsFault::unsound(from, "the authorization token has control characters"));
        }
        let mut headers = vec![("Accept", "application/json")];
        headers.extend(token.as_ref().map(|token| ("Authorization", token.as_str())));
        let ask = Ask {
            method: Method::Get,
            url,
            headers: &headers,
            body: &[],
            patience: PATIENCE,
            insecure: true,
        };
        answered(&self.web.ask(&ask, MAX_DOCUMENT_LEN, watch)?, from)
    }

    fn by_role(&self, role: &Role, by: &By, now: u64, watch: &dyn Watch) -> Result<Credentials> {
        let request = match by {
            By::Keys(source) => role.by_keys(&self.sts, &self.fetch(source, now, watch)?, now)?,
            By::Token(path) => {
                let bytes = Zeroizing::new(read(path, MAX_DOCUMENT_LEN)?);
                role.by_token(&self.sts, String::from_utf8_lossy(&bytes).trim(), now)
            }
        };
        let headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let ask = Ask {
            method: Method::Post,
            url: &request.url,
            headers: &headers,
            body: &request.body,
            patience: STS_PATIENCE,
            insecure: self.sts.insecure,
        };
        let (status, answer) = self.web.ask(&ask, MAX_DOCUMENT_LEN, watch)?;
        role.taken(request.call, &self.sts, status, &answer)
    }

    /// Asks the metadata service, by its second version alone: a token first.
    fn of_instance(&self, url: &str, watch: &dyn Watch) -> Result<Credentials> {
        let from = "the metadata service";
        let ask = |method, path: &str, headers: &[(&str, &str)]| {
            let url = format!("{url}{path}");
            let (patience, insecure) = (PATIENCE, true);
            let ask = Ask { method, url: &url, headers, body: &[], patience, insecure };
            let (status, body) = self.web.ask(&ask, MAX_DOCUMENT_LEN, watch)?;
            if status != 200 {
                return Err(AwsFault::unsound(from, &format!("{path} is answered with {status}")));
            }
            Ok(body)
        };
        let life = ("X-aws-ec2-metadata-token-ttl-seconds", IMDS_TOKEN_SECONDS);
        let none = |_| {
            let looked =
                "the environment, the shared files, a container's address and the metadata service";
            AwsFault::NoCredentials { looked: looked.to_owned() }
        };
        let token = ask(Method::Put, "/latest/api/token", &[life]).map_err(none)?;
        let token = Zeroizing::new(String::from_utf8_lossy(&token).trim().to_owned());
        let headers = [("X-aws-ec2-metadata-token", token.as_str())];
        let roles = "/latest/meta-data/iam/security-credentials/";
        let role = ask(Method::Get, roles, &headers)?;
        let role = String::from_utf8_lossy(&role).lines().next().unwrap_or_default().to_owned();
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"+=,.@-_".contains(&it);
        if role.is_empty() || !role.bytes().all(plain) {
            return Err(AwsFault::unsound(from, "the instance has no role"));
        }
        let body = ask(Method::Get, &format!("{roles}{role}"), &headers)?;
        answered(&(200, body), from)
    }
}

fn text<'a>(section: &'a Section, name: &str) -> Option<&'a str> {
    section.get(name).map(|it| it.as_str()).filter(|it| !it.is_empty())
}

/// Takes a key that is written down.
fn pair_of(
    id: Option<&str>,
    secret: Option<&str>,
    token: Option<&str>,
    from: &str,
) -> Result<Credentials> {
    let (Some(id), Some(secret)) = (id, secret) else {
        return Err(AwsFault::unsound(
            from,
            "it has an access key ID without a secret key, or the reverse",
        ));
    };
    check(id, secret, token, from)?;
    Ok(Credentials::new(id, secret, token))
}

/// Finds where the keys of a run come from.
fn source(
    environment: &Environment,
    profile: &Profile,
    is_asked: bool,
) -> Result<Source, AwsFault> {
    let get = |name| environment.get(name);
    if !is_asked && of_environment(environment) {
        return Ok(Source::Environment);
    }
    let web_identity = get("AWS_WEB_IDENTITY_TOKEN_FILE").filter(|_| !is_asked);
    let has_role = profile.get("role_arn").is_some();
    if !has_role && let (Some(file), Some(arn)) = (web_identity, get("AWS_ROLE_ARN")) {
        let session = get("AWS_ROLE_SESSION_NAME").map(str::to_owned);
        let role = Role { arn: arn.to_owned(), session, external_id: None, seconds: None };
        return Ok(Source::Role { role, by: By::Token(file.into()) });
    }
    if let Some(found) = of_profile(environment, profile, &mut Vec::new())? {
        return Ok(found);
    }
    if let Some(container) = of_container(environment)? {
        return Ok(container);
    }
    if environment.is_true("AWS_EC2_METADATA_DISABLED") {
        let looked = "the environment, the shared files and a container's address; the metadata service is \
                      switched off by AWS_EC2_METADATA_DISABLED";
        return Err(AwsFault::NoCredentials { looked: looked.to_owned() });
    }
    Ok(of_instance(environment))
}

fn of_environment(environment: &Environment) -> bool {
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .iter()
        .any(|name| environment.get(name).is_some())
}

/// Finds what a profile says of its keys, if it says anything. `passed` has the profiles that led here by `source_profile`.
fn of_profile(
    environment: &Environment,
    profile: &Profile,
    passed: &mut Vec<String>,
) -> Result<Option<Source>, AwsFault> {
    let has = |section: &Section| {
        ["aws_access_key_id", "aws_secret_access_key"].iter().any(|it| text(section, it).is_some())
    };
    let files = |of_credentials| Source::Files { profile: profile.clone(), of_credentials };
    // A profile that is its own source is one whose keys stand beside the role.
    let is_own = passed.last() == Some(&profile.name);
    if !is_own && let Some(arn) = profile.get("role_arn") {
        return of_role(environment, profile, arn, passed).map(Some);
    }
    if has(&profile.credentials) {
        return Ok(Some(files(true)));
    }
    if let Some(command) = profile.get("credential_process") {
        return Ok(Some(Source::Process { command: Zeroizing::new(command.to_owned()) }));
    }
    if has(&profile.config) {
        return Ok(Some(files(false)));
    }
    match OTHER_WAYS.iter().find(|(name, _)| profile.get(name).is_some()) {
        Some((_, way)) => Err(AwsFault::Way { name: profile.name.clone(), way }),
        None => Ok(None),
    }
}

/// Finds whose keys assume the role of a profile.
fn of_role(
    environment: &Environment,
    profile: &Profile,
    arn: &str,
    passed: &mut Vec<String>,
) -> Result<Source, AwsFault> {
    let fault = |why: String| AwsFault::RoleProfile { name: profile.name.clone(), why };
    if profile.get("mfa_serial").is_some() {
        return Err(AwsFault::Way {
            name: profile.name.clone(),
            way: "a role that asks for a code",
        });
    }
    let by = if let Some(file) = profile.get("web_identity_token_file") {
        By::Token(file.into())
    } else if let Some(name) = profile.get("source_profile") {
        passed.push(profile.name.clone());
        if passed.len() > MAX_PROFILES || name != profile.name && passed.iter().any(|it| it == name)
        {
            return Err(fault(format!("its source_profile leads around: {}", passed.join(", "))));
        }
        let source = profile.other(name)?;
        let found = of_profile(environment, &source, passed)?;
        let none = || fault(format!("its source_profile {name:?} has no credentials"));
        By::Keys(Box::new(found.ok_or_else(none)?))
    } else {
        let found = match profile.get("credential_source") {
            Some("Environment") => Some(Source::Environment),
            Some("EcsContainer") => of_container(environment)?,
            Some("Ec2InstanceMetadata") => Some(of_instance(environment)),
            Some(other) => return Err(fault(format!("credential_source {other:?} is not known"))),
            None => {
                let why = "it has a role_arn without source_profile, credential_source or \
                           web_identity_token_file";
                return Err(fault(why.to_owned()));
            }
        };
        let found = found.ok_or_else(|| fault("there is no container's address".to_owned()))?;
        By::Keys(Box::new(found))
    };
    let text = |name| profile.get(name).map(str::to_owned);
    let seconds = match profile.get("duration_seconds").map(str::parse) {
        None => None,
        Some(Ok(seconds)) => Some(seconds),
        Some(Err(_)) => return Err(fault("its duration_seconds is not a number".to_owned())),
    };
    let role = Role {
        arn: arn.to_owned(),
        session: text("role_session_name"),
        external_id: text("external_id"),
        seconds,
    };
    Ok(Source::Role { role, by })
}

fn of_container(environment: &Environment) -> Result<Option<Source>, AwsFault> {
    if let Some(path) = environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
        let url = format!("{ECS}{path}");
        if !path.starts_with('/') {
            return Err(AwsFault::Address { url });
        }
        return Ok(Some(Source::Container { url }));
    }
    if let Some(url) = environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
        check_address(url)?;
        return Ok(Some(Source::Container { url: url.to_owned() }));
    }
    Ok(None)
}

fn of_instance(environment: &Environment) -> Source {
    let get = |name| environment.get(name);
    let url = match (
        get("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"),
    ) {
        (Some(url), _) => url.trim_end_matches('/').to_owned(),
        (None, Some(mode)) if mode.eq_ignore_ascii_case("ipv6") => {
            "http://[fd00:ec2::254]".to_owned()
        }
        _ => IMDS.to_owned(),
    };
    Source::Instance { url }
}

/// Checks the address of a container's credentials: whatever stands there gets a token and gives a key.
fn check_address(url: &str) -> Result<(), AwsFault> {
    let fault = || AwsFault::Address { url: without_secrets(url) };
    if url.starts_with("https://") {
        return Ok(());
    }
    let rest = url.strip_prefix("http://").ok_or_else(fault)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<IpAddr>().ok();
    let loopback = host == "localhost" || address.is_some_and(|it| it.is_loopback());
    let known = ["169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    let known = known.iter().any(|it| it.parse().ok() == address && address.is_some());
    if (loopback || known) && !authority.contains('@') { Ok(()) } else { Err(fault()) }
}

/// Returns an address without what can be secret in it: a user with a password, and a query.
fn without_secrets(url: &str) -> String {
    let (plain, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    let start = plain.find("://").map_or(0, |at| at.strict_add(3));
    let (scheme, rest) = plain.split_at(start);
    let end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest[..end].rfind('@') {
        Some(at) => format!("...{}", &rest[at..]),
        None => rest.to_owned(),
    };
    format!("{scheme}{rest}{}", if query.is_empty() { "" } else { "?..." })
}

/// Reads what an address gave.
fn answered((status, body): &(u16, Zeroizing<Vec<u8>>), from: &str) -> Result<Credentials> {
    if *status != 200 {
        return Err(AwsFault::unsound(from, &format!("it answered {status}")));
    }
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|_| AwsFault::unsound(from, "its answer is not credentials in JSON"))?;
    taken(&answer, from)
}

fn taken(answer: &Answer, from: &str) -> Result<Credentials> {
    if let Some(code) = answer.code.as_deref().filter(|it| *it != "Success") {
        let message = answer.message.as_deref().unwrap_or_default();
        return Err(AwsFault::unsound(from, &format!("{code} {message}")));
    }
    let (Some(id), Some(secret)) = (&answer.access_key_id, &answer.secret_access_key) else {
        return Err(AwsFault::unsound(from, "its answer has no AccessKeyId or no SecretAccessKey"));
    };
    let token = answer.session_token.as_ref().or(answer.token.as_ref()).map(|it| it.0.as_str());
    let secret = secret.0.as_str();
    check(id, secret, token, from)?;
    let expires = match &answer.expiration {
        None => None,
        Some(text) => Some(
            text.parse::<Time>()
                .map_err(|_| {
                    AwsFault::unsound(from, &format!("its Expiration is {text:?}, expected a time"))
                })?
                .unix_seconds(),
        ),
    };
    Ok(Credentials::new(id, secret, token).until(expires))
}

/// Runs the program that a profile names, and reads the key that it prints.
fn by_process(command: &str) -> Result<Credentials> {
    let words = words(command);
    let Some((program, arguments)) = words.split_first() else {
        return Err(AwsFault::unsound("credential_process", "it names no program"));
    };
    let from = format!("the program {program:?} of credential_process");
    #[expect(
        clippy::disallowed_methods,
        reason = "the user's profile names the program that has the key"
    )]
    let mut process = Command::new(program);
    process.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit());
    let mut done = process.output().map_err(|e| AwsFault::unsound(&from, &e.to_string()))?;
    let read = if done.status.success() {
        serde_json::from_slice::<Answer>(&done.stdout)
            .map_err(|_| AwsFault::unsound(&from, "its output is not credentials in JSON"))
    } else {
        Err(AwsFault::unsound(&from, &format!("it ended with {}", done.status)))
    };
    done.stdout.zeroize();
    let answer = read?;
    if answer.version != Some(1) {
        return Err(AwsFault::unsound(&from, "the Version in its output is not 1"));
    }
    taken(&answer, &from)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::sync::Arc;

    use crate::error::Error;
    use crate::error::Kind;
    use crate::work::Unwatched;

    /// Answers by a list, and writes down what was asked.
    #[derive(Clone, Default)]
    struct Fake {
        answers: Arc<Mutex<Vec<(u16, String)>>>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Fake {
        fn of(answers: &[(u16, &str)]) -> Self {
            let answers = answers.iter().rev().map(|(a, b)| (*a, (*b).to_owned())).collect();
            Self { answers: Arc::new(Mutex::new(answers)), asked: Arc::default() }
        }
    }

    impl Web for Fake {
        fn ask(&self, ask: &Ask<'_>, _: u64, _: &dyn Watch) -> Result<(u16, Zeroizing<Vec<u8>>)> {
            let headers: Vec<String> =
                ask.headers.iter().map(|(a, b)| format!("{a}={b}")).collect();
            let body = String::from_utf8_lossy(ask.body);
            let line = format!("{} {} {}{body}", ask.method.name(), ask.url, headers.join(" "));
            self.asked.lock().unwrap().push(line);
            match self.answers.lock().unwrap().pop() {
                Some((status, body)) => Ok((status, Zeroizing::new(body.into_bytes()))),
                None => Err(Error::new(Kind::Io, "nobody answers")),
            }
        }
    }

    const NOW: &str = "2026-11-30T00:00:00Z";

    fn keys(vars: &[(&str, &str)], fake: &Fake) -> Result<Keys> {
        let environment = Environment::of(vars);
        let profile = Profile::read(&environment, None)?;
        Ok(Keys::find(environment, profile, false, Box::new(fake.clone()))?)
    }

    fn got(keys: &Keys) -> Result<Credentials> {
        keys.get(NOW.parse().unwrap(), &Unwatched)
    }

    #[test]
    fn the_environment_comes_first_and_must_be_whole() {
        let fake = Fake::default();
        let vars = [
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_SESSION_TOKEN", "t"),
        ];
        let found = got(&keys(&vars, &fake).unwrap()).unwrap();
        assert_eq!((found.key_id(), found.secret(), found.token()), ("A", "s", Some("t")));
        for half in [&vars[..1], &vars[1..2]] {
            let error = got(&keys(half, &fake).unwrap()).unwrap_err();
            assert!(error.to_string().contains("without a secret key"), "{error}");
        }
        let broken = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s\u{1}x")];
        let error = got(&keys(&broken, &fake).unwrap()).unwrap_err().to_string();
        assert!(error.contains("characters") && !error.contains('\u{1}'), "{error}");
    }

    #[test]
    fn a_profile_has_a_key_or_a_program_or_a_way_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (fake, home) = (Fake::default(), folder.path().to_str().unwrap());
        let write = |name: &str, text: &str| {
            fs::create_dir_all(folder.path().join(".aws")).unwrap();
            fs::write(folder.path().join(".aws").join(name), text).unwrap();
        };
        let of = |profile: &str| {
            keys(&[("HOME", home), ("AWS_PROFILE", profile)], &fake).and_then(|it| got(&it))
        };
        let program = "sh -c \"echo '{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"P\\\",\
                       \\\"SecretAccessKey\\\":\\\"p\\\",\\\"Expiration\\\":\\\"2026-11-30T01:00:00Z\\\"}'\"";
        write("credentials", "[plain]\naws_access_key_id=C\naws_secret_access_key=c\n");
        write(
            "config",
            &format!(
                "[profile plain]\nregion=x\n[profile inside]\naws_access_key_id=I\naws_secret_access_key=i\n\
                 [profile program]\ncredential_process = {program}\n[profile no]\ncredential_process = false\n\
                 [profile sso]\nsso_session = s\n[profile code]\nrole_arn = arn\nsource_profile = plain\n\
                 mfa_serial = arn\n"
            ),
        );
        assert_eq!(of("plain").unwrap().key_id(), "C");
        assert_eq!(of("inside").unwrap().key_id(), "I");
        let found = of("program").unwrap();
        assert_eq!((found.key_id(), found.expires()), ("P", Some(1_796_000_400)));
        assert!(of("no").unwrap_err().to_string().contains("ended with"));
        for (profile, way) in [("sso", "SSO"), ("code", "a role that asks for a code")] {
            let fault = AwsFault::Way { name: profile.to_owned(), way };
            assert_eq!(of(profile).unwrap_err().to_string(), fault.to_string());
        }
    }

    #[test]
    fn a_container_is_asked_at_addresses_that_give_keys_alone() {
        let body = r#"{"AccessKeyId":"A","SecretAccessKey":"s","Token":"t","Expiration":"2026-11-30T00:04:00Z"}"#;
        let fake = Fake::of(&[(200, body), (200, &body.replace("\"A\"", "\"B\"")), (503, "")]);
        let vars = [
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"),
            ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "secret"),
        ];
        let keys = keys(&vars, &fake).unwrap();
        assert_eq!(got(&keys).unwrap().key_id(), "A");
        // It expires within five minutes, so it is asked again; who cannot answer then changes nothing.
        assert_eq!(got(&keys).unwrap().key_id(), "B");
        assert_eq!(got(&keys).unwrap().key_id(), "B");
        let asked = fake.asked.lock().unwrap().clone();
        let first = "GET http://169.254.170.2/v2/x Accept=application/json Authorization=secret";
        assert_eq!((asked.len(), asked[0].as_str()), (3, first));
        for good in [
            "https://anywhere.example/x",
            "http://localhost:8080/x",
            "http://127.0.0.9/x",
            "http://[::1]:1/x",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::23]/v1/credentials",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for bad in [
            "http://169.254.169.254/x",
            "http://evil.example/x",
            "http://localhost@evil.example/x",
            "http://127.0.0.1@evil.example/",
            "http://localhost.evil.example/",
            "ftp://localhost/",
            "localhost",
        ] {
            let url = without_secrets(bad);
            assert_eq!(check_address(bad), Err(AwsFault::Address { url }), "{bad}");
        }
        for (url, shown) in [
            ("http://u:hush@evil.example/x?token=hush", "http://...@evil.example/x?..."),
            ("http://u:hush@evil.example", "http://...@evil.example"),
            ("u:hush@evil.example/a@b", "...@evil.example/a@b"),
            ("http://evil.example/a@b#hush", "http://evil.example/a@b?..."),
        ] {
            let text = check_address(url).unwrap_err().to_string();
            assert!(text.starts_with(&format!("{shown} is not")), "{text}");
        }
    }

    #[test]
    fn an_instance_is_asked_with_a_token_and_only_as_the_last() {
        let body = r#"{"Code":"Success","AccessKeyId":"A","SecretAccessKey":"s","Token":"t"}"#;
        let fake = Fake::of(&[(200, "TOKEN"), (200, "role\n"), (200, body)]);
        let one = keys(&[], &fake).unwrap();
        assert_eq!(got(&one).unwrap().token(), Some("t"));
        let asked = fake.asked.lock().unwrap().clone();
        assert_eq!(
            asked,
            [
                "PUT http://169.254.169.254/latest/api/token X-aws-ec2-metadata-token-ttl-seconds=21600",
                "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/ X-aws-ec2-metadata-token=TOKEN",
                "GET http://169.254.169.254/latest/meta-data/iam/security-credentials/role X-aws-ec2-metadata-token=TOKEN",
            ]
        );
        let off = keys(&[("AWS_EC2_METADATA_DISABLED", "TRUE")], &fake).unwrap_err();
        assert!(off.to_string().contains("switched off"), "{off}");
        let away = got(&keys(&[], &Fake::default()).unwrap()).unwrap_err();
        assert!(away.to_string().starts_with("no AWS credentials were found"), "{away}");
        let no_role = Fake::of(&[(200, "TOKEN"), (200, "")]);
        let error = got(&keys(&[], &no_role).unwrap()).unwrap_err();
        assert!(error.to_string().contains("no role"), "{error}");
        let refused = r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no"}"#;
        let fake = Fake::of(&[(200, "TOKEN"), (200, "role"), (200, refused)]);
        let error = got(&keys(&[], &fake).unwrap()).unwrap_err();
        assert!(error.to_string().contains("AssumeRoleUnauthorizedAccess"), "{error}");
    }

    const ASSUMED: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
                           <Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>x/+</SecretAccessKey>\
                           <SessionToken>tok</SessionToken><Expiration>2026-11-30T01:00:00Z</Expiration>\
                           </Credentials></AssumeRoleResult></AssumeRoleResponse>";

    #[test]
    fn a_role_is_assumed_by_the_keys_that_its_profile_names() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        fs::create_dir(folder.path().join(".aws")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(".aws").join(name), text);
        write("credentials", "[plain]\naws_access_key_id=C\naws_secret_access_key=c\n").unwrap();
        let config = "[profile role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = plain\n\
                      external_id = e x\nduration_seconds = 900\nrole_session_name = me\n\
                      [profile chain]\nrole_arn = arn:second\nsource_profile = role\n\
                      [profile own]\nrole_arn = arn:own\nsource_profile = own\n\
                      aws_access_key_id = O\naws_secret_access_key = o\n\
                      [profile env]\nrole_arn = arn:env\ncredential_source = Environment\n\
                      [profile around]\nrole_arn = a\nsource_profile = back\n\
                      [profile back]\nrole_arn = b\nsource_profile = around\n\
                      [profile alone]\nrole_arn = a\n\
                      [profile lost]\nrole_arn = a\nsource_profile = nobody\n\
                      [profile sso]\nsso_session = s\n\
                      [profile over-sso]\nrole_arn = a\nsource_profile = sso\n\
                      [profile empty]\nregion = x\n\
                      [profile over-empty]\nrole_arn = a\nsource_profile = empty\n\
                      [profile other]\nrole_arn = a\ncredential_source = Moon\n";
        write("config", config).unwrap();
        let of = |profile: &str, fake: &Fake| {
            let vars = [("HOME", home), ("AWS_PROFILE", profile)];
            keys(&vars, fake).and_then(|it| got(&it.in_region("eu-west-1", None, false)?))
        };
        let fake = Fake::of(&[(200, ASSUMED)]);
        let found = of("role", &fake).unwrap();
        assert_eq!((found.key_id(), found.secret(), found.token()), ("ASIA", "x/+", Some("tok")));
        assert_eq!(found.expires(), Some(1_796_000_400));
        let asked = fake.asked.lock().unwrap()[0].clone();
        assert!(asked.starts_with("POST https://sts.eu-west-1.amazonaws.com/ "), "{asked}");
        let scope = "Credential=C/20261130/eu-west-1/sts/aws4_request, SignedHeaders=accept;content-type;host;x-amz-date";
        assert!(asked.contains(scope), "{asked}");
        let body = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr&RoleSessionName=me&\
                    DurationSeconds=900&ExternalId=e%20x";
        assert!(asked.ends_with(body), "{asked}");

        // A role that assumes a role signs by the first one's session.
        let fake = Fake::of(&[(200, ASSUMED), (200, &ASSUMED.replace("ASIA", "SECOND"))]);
        assert_eq!(of("chain", &fake).unwrap().key_id(), "SECOND");
        let asked = fake.asked.lock().unwrap().clone();
        assert!(
            asked[0].contains("Credential=C/") && asked[1].contains("Credential=ASIA/"),
            "{asked:?}"
        );
        assert!(asked[1].contains("X-Amz-Security-Token=tok"), "{asked:?}");
        assert!(asked[1].ends_with("&RoleSessionName=amikit-1795996800"), "{asked:?}");

        let fake = Fake::of(&[(200, ASSUMED)]);
        of("own", &fake).unwrap();
        assert!(fake.asked.lock().unwrap()[0].contains("Credential=O/"));

        let vars = [("HOME", home), ("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s")];
        let fake = Fake::of(&[(200, ASSUMED)]);
        let environment = Environment::of(&vars);
        let profile = Profile::read(&environment, Some("env")).unwrap();
        let named = Keys::find(environment, profile, true, Box::new(fake.clone())).unwrap();
        got(&named).unwrap();
        assert!(fake.asked.lock().unwrap()[0].contains("Credential=E/"));

        let none = Fake::default();
        for (profile, expected) in [
            ("around", "its source_profile leads around: around, back"),
            ("alone", "without source_profile, credential_source or web_identity_token_file"),
            ("lost", "there is no profile \"nobody\", the shared files have"),
            ("over-sso", "the profile \"sso\" gets its credentials from SSO"),
            ("over-empty", "its source_profile \"empty\" has no credentials"),
            ("other", "credential_source \"Moon\" is not known"),
        ] {
            let error = of(profile, &none).unwrap_err().to_string();
            assert!(error.contains(expected), "{profile}: {error}");
        }
        let refused = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not \
                       you</Message></Error><RequestId>r1</RequestId></ErrorResponse>";
        let error = of("role", &Fake::of(&[(403, refused)])).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let text =
            "AssumeRole of arn:aws:iam::1:role/r in eu-west-1 was refused: AccessDenied: not you";
        assert!(error.to_string().starts_with(text), "{error}");
        let error = of("role", &Fake::of(&[(200, "<AssumeRoleResponse/>")])).unwrap_err();
        assert!(error.to_string().contains("its answer has no credentials"), "{error}");
    }

    #[test]
    fn a_web_identity_is_a_token_in_a_file_that_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        fs::write(&token, "first.jwt\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let (file, answer) =
            (token.to_str().unwrap(), ASSUMED.replace("AssumeRole", "AssumeRoleWithWebIdentity"));
        let soon = answer.replace("01:00:00", "00:01:00");
        let fake = Fake::of(&[(200, &soon), (200, &answer)]);
        let vars = [
            ("HOME", home),
            ("AWS_ROLE_ARN", "arn:web"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file),
            ("AWS_ROLE_SESSION_NAME", "pod"),
        ];
        let one = keys(&vars, &fake).unwrap();
        assert_eq!(got(&one).unwrap().key_id(), "ASIA");
        fs::write(&token, "second.jwt").unwrap();
        got(&one).unwrap();
        assert!(one.expired());
        let asked = fake.asked.lock().unwrap().clone();
        let body = "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aweb&RoleSessionName=pod&\
                    WebIdentityToken=";
        assert!(asked[0].ends_with(&format!("{body}first.jwt")), "{asked:?}");
        assert!(asked[1].ends_with(&format!("{body}second.jwt")), "{asked:?}");
        // The token is all that is needed.
        assert!(!asked[0].contains("Authorization"), "{asked:?}");
        // A profile that is asked for by its name has the word.
        let environment = Environment::of(&vars);
        let keys = Keys::find(environment, Profile::default(), true, Box::new(Fake::default()));
        assert!(matches!(keys.unwrap().source, Source::Instance { .. }));
        fs::remove_file(&token).unwrap();
        assert!(got(&one).is_err());
    }
}
