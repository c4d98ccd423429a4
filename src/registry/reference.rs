//! `HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]`: what names something in a registry.

use std::fmt;

use crate::digest::Digest;
use crate::error::Error;
use crate::error::Result;
use crate::http::Url;

/// Tag where none is given.
const LATEST: &str = "latest";

/// Most characters of a path: registries have no common limit, and no reasonable path is longer.
const MOST_PATH: usize = 255;

/// Most characters of a tag.
const MOST_TAG: usize = 128;

/// Docker Hub under the name that users give it, and where its registry is.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Something in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Host and port, as typed.
    pub host: String,
    /// The repository.
    pub path: String,
    /// The tag, if one is given.
    pub tag: Option<String>,
    /// The digest of the manifest, if it is given.
    pub digest: Option<Digest>,
}

impl Reference {
    /// Reads a reference. Its host has to be there: what names none means another registry to each tool.
    ///
    /// # Errors
    ///
    /// `Invalid`, with what is wrong.
    pub fn parse(typed: &str) -> Result<Self> {
        let wrong = |what: &str| {
            Error::invalid(format!(
                "the reference {typed:?} {what}, expected HOST[:PORT]/PATH[:TAG][@sha256:DIGEST]"
            ))
        };
        if typed.contains("://") {
            return Err(wrong("has a scheme"));
        }
        let (named, digest) = match typed.split_once('@') {
            None => (typed, None),
            Some((named, digest)) => {
                let digest = digest.strip_prefix("sha256:").and_then(Digest::from_hex);
                (named, Some(digest.ok_or_else(|| wrong("has a digest that is not SHA-256"))?))
            }
        };
        let (host, rest) = named.split_once('/').unwrap_or((named, ""));
        let is_host = host.contains(['.', ':']) || host == "localhost";
        if !is_host || rest.is_empty() {
            return Err(wrong("names neither a registry nor a repository"));
        }
        let (path, tag) = match rest.rsplit_once(':') {
            None => (rest, None),
            Some((path, tag)) => (path, Some(tag.to_owned())),
        };
        if path.len() > MOST_PATH || !path.split('/').all(is_component) {
            return Err(wrong("has a wrong path"));
        }
        if tag.as_deref().is_some_and(|it| !is_tag(it)) {
            return Err(wrong("has a wrong tag"));
        }
        Url::parse(&format!("https://{host}/")).map_err(|_| wrong("has a wrong host"))?;
        Ok(Self { host: host.to_owned(), path: path.to_owned(), tag, digest })
    }

    /// Returns what the manifest is asked for by: its digest, else its tag, else `latest`.
    #[must_use]
    pub fn target(&self) -> String {
        match (self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => LATEST.to_owned(),
        }
    }

    /// Returns the tag that a manifest gets: the one that is given, or `latest` where no digest is either.
    #[must_use]
    pub fn pushed_tag(&self) -> Option<String> {
        match (&self.tag, self.digest) {
            (Some(tag), _) => Some(tag.clone()),
            (None, None) => Some(LATEST.to_owned()),
            (None, Some(_)) => None,
        }
    }

    /// Returns where the registry is, spoken to with TLS or without.
    ///
    /// # Errors
    ///
    /// Never, since the host was read as a part of an address before.
    pub fn url(&self, secure: bool) -> Result<Url> {
        let host = if self.host == HUB.0 { HUB.1 } else { &self.host };
        Url::parse(&format!("{}://{host}/", if secure { "https" } else { "http" }))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@sha256:{digest}"))
    }
}

/// Lower-case words, joined by `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit();
    let mut separator = String::new();
    let mut after_word = false;
    for byte in text.bytes() {
        if is_word(byte) {
            let joins = matches!(separator.as_str(), "." | "_" | "__")
                || separator.bytes().all(|it| it == b'-');
            if !joins || !after_word && !separator.is_empty() {
                return false;
            }
            separator.clear();
            after_word = true;
        } else if b"._-".contains(&byte) {
            separator.push(char::from(byte));
        } else {
            return false;
        }
    }
    after_word && separator.is_empty()
}

fn is_tag(text: &str) -> bool {
    let first = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    let other = |it: u8| first(it) || it == b'.' || it == b'-';
    let mut bytes = text.bytes();
    text.len() <= MOST_TAG && bytes.next().is_some_and(first) && bytes.all(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";

    #[test]
    fn a_reference_comes_out_as_it_went_in() {
        for (typed, target) in [
            ("registry.example/web".to_owned(), "latest".to_owned()),
            ("localhost/web:v1".to_owned(), "v1".to_owned()),
            ("127.0.0.1:5000/a/b--c/d__e.f_g:V_1.2-3".to_owned(), "V_1.2-3".to_owned()),
            ("[::1]:5000/a:b".to_owned(), "b".to_owned()),
            (format!("r.example:5000/a@sha256:{HEX}"), format!("sha256:{HEX}")),
            (format!("r.example/a:v1@sha256:{HEX}"), format!("sha256:{HEX}")),
        ] {
            let reference = Reference::parse(&typed).unwrap();
            assert_eq!((reference.to_string(), reference.target()), (typed, target));
        }
        let tag = |typed: &str| Reference::parse(typed).unwrap().pushed_tag();
        assert_eq!(tag("r.example/a").as_deref(), Some("latest"));
        assert_eq!(tag(&format!("r.example/a@sha256:{HEX}")), None);
        let hub = Reference::parse("docker.io/library/web").unwrap();
        assert_eq!(hub.url(true).unwrap().to_string(), "https://registry-1.docker.io/");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for typed in [
            "",
            "web",
            "web:v1",
            "library/web",
            "registry.example",
            "registry.example/",
            "https://registry.example/web",
            "registry.example/Web",
            "registry.example/a//b",
            "registry.example/-a",
            "registry.example/a-",
            "registry.example/a___b",
            "registry.example/a..b",
            "registry.example/a b",
            "registry.example/../../etc",
            "registry.example/a:",
            "registry.example/a:-v1",
            "registry.example/a:v1/b",
            "registry.example/a@sha256:12",
            "registry.example/a@md5:d41d8cd98f00b204e9800998ecf8427e",
            "user@registry.example/a",
            "registry.example:99999/a",
            "reg:istry:1/a",
        ] {
            Reference::parse(typed).expect_err(typed);
        }
    }
}
