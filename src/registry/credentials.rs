//! Who we are, as docker and podman keep it: `docs/formats/registry.md`, "Who we are".

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::error::Error;
use crate::error::Result;
use crate::registry::reference::Reference;

/// What proves who we are.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    User {
        /// The user.
        name: String,
        /// The password.
        password: String,
    },
    /// A token that buys tokens.
    Identity(String),
}

/// Without what is secret.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User { name, .. } => write!(f, "User({name:?})"),
            Self::Identity(_) => f.write_str("Identity"),
        }
    }
}

/// Asks a helper, `docker-credential-NAME`, for a host; gives `None` if it knows nothing of that.
pub type Helper<'a> = &'a dyn Fn(&str, &str) -> Result<Option<Vec<u8>>>;

/// What is there may be `null` everywhere, as docker reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    #[serde(rename = "credHelpers")]
    helpers: Option<BTreeMap<String, Option<String>>>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity: Option<String>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "Username", default)]
    name: String,
    #[serde(rename = "Secret", default)]
    secret: String,
}

/// What a helper gives as the user of a token.
const TOKEN_USER: &str = "<token>";

/// Where docker keeps what is for Docker Hub.
const HUB: (&str, &str) = ("docker.io", "https://index.docker.io/v1/");

/// Finds what a config file has for a registry: by a helper for it alone, by the helper for all, or in the file.
///
/// # Errors
///
/// `Corrupt` if the file, or what a helper says, is not as docker writes it; what the helper returns.
pub fn find_credentials(
    config: &[u8],
    reference: &Reference,
    ask: Helper<'_>,
) -> Result<Option<Credentials>> {
    // Where it is wrong is not said: an error of the parser can show what stands there.
    let config: Config = serde_json::from_slice(config).map_err(|e| {
        Error::corrupt(format!("it is not JSON as docker keeps it, in line {}", e.line()))
    })?;
    let keys = keys(reference);
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let helpers = config.helpers.unwrap_or_default();
    let own = names.iter().find_map(|key| Some((helpers.get(*key)?.as_ref(), *key)));
    let for_all = || {
        let server = if reference.host == HUB.0 { HUB.1 } else { reference.host.as_str() };
        Some((config.store.as_ref(), server))
    };
    // One without a name is none: the file has what is for this registry.
    if let Some((Some(helper), server)) = own.or_else(for_all)
        && !helper.is_empty()
        && let Some(answer) = ask_helper(helper, server, ask)?
    {
        return Ok(Some(answer));
    }
    let auths = config.auths.unwrap_or_default();
    let exact = names.iter().flat_map(|key| {
        let key = bare(key);
        auths.iter().filter(move |(name, _)| bare(name) == key)
    });
    // What docker finds in the end: an address stands for its host, whatever its path.
    let of_host = auths.iter().filter(|(name, _)| host_of(name) == Some(reference.host.as_str()));
    for (_, entry) in exact.chain(of_host) {
        if let Some(entry) = entry
            && let Some(found) = entry_credentials(entry)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Returns the host of a name that is an address.
fn host_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"))?;
    rest.split('/').next()
}

/// Returns the names under which a registry can stand, the most particular first: podman keeps them for parts of a
/// registry, too.
fn keys(reference: &Reference) -> Vec<String> {
    let mut keys = vec![format!("{}/{}", reference.host, reference.path)];
    while let Some((shorter, _)) = keys.last().and_then(|it| it.rsplit_once('/')) {
        keys.push(shorter.to_owned());
    }
    if reference.host == HUB.0 {
        keys.extend([HUB.1.to_owned(), "index.docker.io".to_owned()]);
    }
    keys
}

/// Returns a name without what older versions of docker wrote around it.
fn bare(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key)
}

fn entry_credentials(entry: &Entry) -> Result<Option<Credentials>> {
    if let Some(token) = entry.identity.as_ref().filter(|it| !it.is_empty()) {
        return Ok(Some(Credentials::Identity(token.clone())));
    }
    let there = |it: &Option<String>| it.clone().filter(|it| !it.is_empty());
    let Some(auth) = there(&entry.auth) else {
        let pair = there(&entry.username).zip(there(&entry.password));
        return Ok(pair.map(|(name, password)| Credentials::User { name, password }));
    };
    // `base64` ends its lines, and breaks long ones.
    let auth: String = auth.split(['\r', '\n']).map(str::trim).collect();
    let decoded = STANDARD.decode(&auth).ok().and_then(|it| String::from_utf8(it).ok());
    let decoded = decoded.as_deref().and_then(|it| it.split_once(':'));
    let (name, password) = decoded
        .ok_or_else(|| Error::corrupt("an \"auth\" in it is not base64 of USER:PASSWORD"))?;
    let password = password.trim_end_matches('\0').to_owned();
    Ok(Some(Credentials::User { name: name.to_owned(), password }))
}

fn ask_helper(helper: &str, server: &str, ask: Helper<'_>) -> Result<Option<Credentials>> {
    // It becomes the name of a program.
    let fits = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
    if helper.is_empty() || !helper.bytes().all(fits) {
        return Err(Error::corrupt("it names a credential helper that cannot be a program"));
    }
    let Some(said) = ask(helper, server)? else { return Ok(None) };
    let answer: Answer = serde_json::from_slice(&said).map_err(|_| {
        Error::corrupt(format!("the answer of docker-credential-{helper} is not JSON"))
    })?;
    Ok(match answer {
        Answer { secret, .. } if secret.is_empty() => None,
        Answer { name, secret } if name == TOKEN_USER => Some(Credentials::Identity(secret)),
        Answer { name, secret } => Some(Credentials::User { name, password: secret }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::unnecessary_wraps, reason = "it is what a search returns")]
    fn user(name: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::User { name: name.into(), password: password.into() })
    }

    fn find(config: &str, typed: &str) -> Option<Credentials> {
        let helper = |name: &str, server: &str| {
            Ok(match (name, server) {
                ("own", "r.example") => Some(br#"{"Username":"o","Secret":"p"}"#.to_vec()),
                ("all", "r.example") => Some(br#"{"Username":"<token>","Secret":"t"}"#.to_vec()),
                ("all", "https://index.docker.io/v1/") => {
                    Some(br#"{"Username":"hub","Secret":"p"}"#.to_vec())
                }
                _ => None,
            })
        };
        let reference = Reference::parse(typed).unwrap();
        find_credentials(config.as_bytes(), &reference, &helper).unwrap()
    }

    #[test]
    fn a_file_is_read_as_docker_and_podman_write_it() {
        // u:p, v:q:r and w:x in base64.
        let config = r#"{"auths": {
            "r.example": {"auth": "dTpw"},
            "r.example/team": {"auth": "djpxOnI="},
            "https://old.example/v1/": {"auth": "dzp4"},
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "empty.example": {},
            "token.example:5000": {"auth": "dTpw", "identitytoken": "t"}
        }, "HttpHeaders": {"a": "b"}}"#;
        assert_eq!(find(config, "r.example/web"), user("u", "p"));
        assert_eq!(find(config, "r.example/team/web"), user("v", "q:r"));
        assert_eq!(find(config, "r.example/teams/web"), user("u", "p"));
        assert_eq!(find(config, "old.example/web"), user("w", "x"));
        assert_eq!(find(config, "docker.io/library/web"), user("u", "p"));
        assert_eq!(find(config, "token.example:5000/a"), Some(Credentials::Identity("t".into())));
        for typed in ["empty.example/a", "token.example/a", "other.example/r.example"] {
            assert_eq!(find(config, typed), None, "{typed}");
        }
    }

    /// As people and their tools write them by hand, and docker takes them.
    #[test]
    fn whatever_docker_takes_is_taken() {
        for (config, typed) in [
            (r#"{"auths": {"r.example": {"auth": "dTpw\n"}}}"#, "r.example/web"),
            (r#"{"auths": {"r.example": {"auth": "dT\r\npw\r\n"}}}"#, "r.example/web"),
            (r#"{"auths": {"r.example": {"username": "u", "password": "p"}}}"#, "r.example/web"),
            (
                r#"{"auths": {"r.example": {"username": "x", "password": "y", "auth": "dTpw"}}}"#,
                "r.example/web",
            ),
            (r#"{"auths": {"https://r.example/v2/team/": {"auth": "dTpw"}}}"#, "r.example/web"),
            (r#"{"auths": {"http://r.example:5000": {"auth": "dTpw"}}}"#, "r.example:5000/web"),
            (
                r#"{"auths": {"https://index.docker.io/v1/access": {"auth": "dTpw"},
                "docker.io": {"auth": "dTpw"}}}"#,
                "docker.io/library/web",
            ),
            (
                r#"{"auths": {"r.example/a": null, "r.example": {"auth": "dTpw", "email": null}},
                "credHelpers": null, "credsStore": null}"#,
                "r.example/a",
            ),
            (r#"{"auths": {"r.example": {"auth": "dTpw"}}, "credsStore": ""}"#, "r.example/web"),
            (
                r#"{"auths": {"r.example": {"auth": "dTpw"}}, "credHelpers": {"r.example": ""},
                "credsStore": "all"}"#,
                "r.example/web",
            ),
        ] {
            assert_eq!(find(config, typed), user("u", "p"), "{config}");
        }
        for config in [
            r#"{"auths": null}"#,
            "{}",
            r#"{"auths": {"r.example": null}}"#,
            r#"{"auths": {"r.example": {"username": "u"}}}"#,
            r#"{"auths": {"https://other.example/r.example": {"auth": "dTpw"}}}"#,
            r#"{"auths": {"r.example/team": {"auth": "dTpw"}}}"#,
        ] {
            assert_eq!(find(config, "r.example/web"), None, "{config}");
        }
    }

    #[test]
    fn helpers_come_before_the_file_and_the_particular_one_first() {
        let config = r#"{"auths": {"r.example": {}, "b.example": {"auth": "dTpw"}},
            "credHelpers": {"r.example": "own"}, "credsStore": "all"}"#;
        assert_eq!(find(config, "r.example/web"), user("o", "p"));
        assert_eq!(find(config, "docker.io/a/b"), user("hub", "p"));
        assert_eq!(find(config, "b.example/web"), user("u", "p"), "the helper knows nothing");
        let config = r#"{"credsStore": "all"}"#;
        assert_eq!(find(config, "r.example/web"), Some(Credentials::Identity("t".into())));
    }

    #[test]
    fn what_is_wrong_is_said_without_what_stands_there() {
        let reference = Reference::parse("r.example/a").unwrap();
        let none = |_: &str, _: &str| Ok(None);
        for config in [
            r#"{"auths": {"r.example": {"auth": "hush"}}}"#,
            r#"{"auths": {"r.example": {"auth": 17}}, "hush"#,
            r#"{"auths": {"r.example": "hush"}}"#,
            r#"{"credHelpers": {"r.example": "../../bin/hush"}}"#,
        ] {
            let error = find_credentials(config.as_bytes(), &reference, &none).unwrap_err();
            assert!(!error.to_string().contains("hush"), "{error}");
        }
        let noise = |_: &str, _: &str| Ok(Some(b"hush".to_vec()));
        let config = br#"{"credsStore": "x"}"#;
        let error = find_credentials(config, &reference, &noise).unwrap_err();
        assert!(!error.to_string().contains("hush"), "{error}");
        assert_eq!(format!("{:?}", user("u", "hush").unwrap()), "User(\"u\")");
    }
}
