//! Addresses: the part of RFC 3986 that services use.

use std::fmt;
use std::fmt::Write;
use std::net::IpAddr;

use crate::error::Error;
use crate::error::Result;

/// Longest address that is taken, in bytes: services answer with some that carry their whole state.
const MOST_BYTES: usize = 16 << 10;

/// An address of a service: `http` or `https`, a host, a path and a query; never a user, never a fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    /// Lower case; an IPv6 address without its brackets.
    host: String,
    port: u16,
    /// Begins with `/`.
    path: String,
    /// Without its `?`.
    query: Option<String>,
}

impl Url {
    /// Reads an absolute address.
    ///
    /// # Errors
    ///
    /// `Invalid` if it is not one of `http` or `https`, or has characters that an address cannot have.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |what: &str| {
            // Not the whole text: a user in it would come with a password.
            Error::invalid(format!("an address {what}, expected http[s]://HOST[:PORT]/PATH"))
        };
        if text.len() > MOST_BYTES {
            return Err(wrong("is longer than 16 KiB"));
        }
        if !text.bytes().all(|it| it.is_ascii_graphic()) {
            return Err(wrong("has a space, a control character or one that is not ASCII"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong(&format!("has the scheme {scheme:?}"))),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        if authority.contains('@') {
            return Err(wrong("has a user"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("has a wrong port"))?;
        if !is_host(host) {
            return Err(wrong(&format!("has the host {host:?}")));
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (rest, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Ok(Self { secure, host, port: port.unwrap_or(if secure { 443 } else { 80 }), path, query })
    }

    /// Returns where a `Location` of an answer from here leads to.
    ///
    /// # Errors
    ///
    /// As [`Url::parse`].
    pub fn join(&self, location: &str) -> Result<Self> {
        let whole = if location.contains("://") && !location.starts_with(['/', '?']) {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("{}:{location}", self.scheme())
        } else if location.starts_with('/') {
            format!("{}{location}", self.origin())
        } else if location.starts_with('?') {
            format!("{}{}{location}", self.origin(), self.path)
        } else {
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{}{folder}/{location}", self.origin())
        };
        Self::parse(&whole)
    }

    /// Returns `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    /// Tells whether what goes there is encrypted.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Returns the host, in lower case; an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns host and port as the `Host` header has them: the port only where it is not the usual one.
    #[must_use]
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Returns scheme, host and port: who is talked to.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }

    /// Returns the path, which begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Returns the same address with one more parameter, which is escaped.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        let more = format!("{}={}", escaped(name, false), escaped(value, false));
        self.query = Some(match self.query {
            Some(query) if !query.is_empty() => format!("{query}&{more}"),
            _ => more,
        });
        self
    }

    /// Tells whether only this machine is there: what goes there cannot be overheard.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
    }

    /// Tells whether it is an address of this link alone, as those where instances and containers get their keys: nothing
    /// that stands elsewhere, as a proxy, knows what is there.
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        // That of Amazon's is not link-local by its number, and is by its use.
        let amazon = |it: &std::net::Ipv6Addr| it.segments()[..2] == [0xfd00, 0x0ec2];
        match self.host.parse() {
            Ok(IpAddr::V4(address)) => address.is_link_local(),
            Ok(IpAddr::V6(address)) => address.is_unicast_link_local() || amazon(&address),
            Err(_) => false,
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(f, "?{query}"))
    }
}

/// Without the query, which can be a secret.
impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

/// Splits `HOST[:PORT]`; `None` if the port is not one.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let after = authority.rfind(']').map_or(0, |it| it.strict_add(1));
    match authority.get(after..)?.rsplit_once(':') {
        None => Some((authority, None)),
        Some((_, port)) => {
            let host = authority.get(..authority.len().checked_sub(port.len().checked_add(1)?)?)?;
            let digits = port.bytes().all(|it| it.is_ascii_digit());
            let port = digits.then(|| port.parse().ok()).flatten().filter(|it| *it > 0)?;
            Some((host, Some(port)))
        }
    }
}

/// Tells whether a text can be a host: a name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(text: &str) -> bool {
    if let Some(inside) = text.strip_prefix('[') {
        return inside.strip_suffix(']').is_some_and(|it| matches!(it.parse(), Ok(IpAddr::V6(_))));
    }
    let fits = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(fits)
}

/// Returns a text with all but unreserved characters percent-encoded; with `path`, slashes stay.
#[must_use]
pub fn escaped(text: &str, path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || path && byte == b'/' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn addresses_of_this_link_are_known() {
        for (text, is_local) in [
            ("http://169.254.169.254/latest", true),
            ("http://169.254.170.2/v2/x", true),
            ("http://[fd00:ec2::254]/", true),
            ("http://[fe80::1]/", true),
            ("http://[fd00:ec3::254]/", false),
            ("http://169.255.0.1/", false),
            ("http://127.0.0.1/", false),
            ("http://169.254.169.254.example/", false),
        ] {
            assert_eq!(url(text).is_link_local(), is_local, "{text}");
        }
    }

    #[test]
    fn an_address_comes_out_as_it_went_in() {
        for text in [
            "https://registry.example/v2/",
            "http://127.0.0.1:5000/v2/a/blobs/uploads/?x=1&_state=a%2Bb",
            "https://[::1]:8443/",
            "http://localhost/a?",
        ] {
            assert_eq!(url(text).to_string(), text);
        }
        assert_eq!(
            url("HTTPS://Registry.Example:443?x=1#y").to_string(),
            "https://registry.example/?x=1"
        );
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "registry.example/v2/",
            "ftp://a/",
            "https:///x",
            "https://user:secret@host/",
            "https://a b/",
            "https://a\n/",
            "https://h\u{f6}st/",
            "https://host:0/",
            "https://host:65536/",
            "https://host:+1/",
            "https://[::1/",
            "https://[1.2.3.4]/",
            "https://a/\u{7f}",
        ] {
            let error = Url::parse(text).expect_err(text);
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_location_may_be_relative_in_four_ways() {
        let from = url("https://host:5000/v2/a/blobs/uploads/?x=1");
        for (location, to) in [
            ("https://other/b?c", "https://other/b?c"),
            ("//other/b", "https://other/b"),
            ("/v2/b?u=http://x", "https://host:5000/v2/b?u=http://x"),
            ("?y=2", "https://host:5000/v2/a/blobs/uploads/?y=2"),
            ("id?y", "https://host:5000/v2/a/blobs/uploads/id?y"),
        ] {
            assert_eq!(from.join(location).unwrap().to_string(), to, "{location}");
        }
        from.join("/a b").unwrap_err();
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for text in ["http://localhost/", "http://127.9.0.1:1/", "http://[::1]/"] {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in [
            "http://localhost.example/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://127.0.0.1.example/",
        ] {
            assert!(!url(text).is_loopback(), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_escaped() {
        let with =
            url("https://h/p").with_query("digest", "sha256:ab").with_query("from", "a/b c+d");
        assert_eq!(with.query(), Some("digest=sha256%3Aab&from=a%2Fb%20c%2Bd"));
        assert_eq!(escaped("a/b c", true), "a/b%20c");
    }
}
