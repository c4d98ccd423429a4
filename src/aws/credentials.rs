//! Keys that sign requests.

use std::fmt;

use zeroize::Zeroizing;

use crate::aws::fault::AwsFault;
use crate::error::Result;

/// A key: its id, its secret half, and the token of a session if it is one of a session. Wiped when dropped, and
/// never shown.
#[derive(Clone)]
pub struct Credentials {
    key_id: String,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
    expires: Option<u64>,
}

impl Credentials {
    /// Takes a key that does not expire.
    #[must_use]
    pub fn new(key_id: &str, secret: &str, token: Option<&str>) -> Self {
        Self {
            key_id: key_id.to_owned(),
            secret: Zeroizing::new(secret.to_owned()),
            token: token.map(|it| Zeroizing::new(it.to_owned())),
            expires: None,
        }
    }

    /// Says when the key expires, in seconds since 1970.
    #[must_use]
    pub fn until(mut self, expires: Option<u64>) -> Self {
        self.expires = expires;
        self
    }

    /// Returns the id, which is public.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the secret half.
    #[must_use]
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns the token of the session.
    #[must_use]
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_ref().map(|it| it.as_str())
    }

    /// Returns when the key expires, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        self.expires
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// Refuses what would break a header.
pub(super) fn check(id: &str, secret: &str, token: Option<&str>, from: &str) -> Result<()> {
    let broken =
        |text: &str| text.chars().any(|it| it.is_control() || it.is_whitespace() || !it.is_ascii());
    if id.contains('/') || broken(id) || broken(secret) || token.is_some_and(broken) {
        return Err(AwsFault::unsound(from, "the key has characters that keys cannot have"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_a_secret() {
        let shown =
            format!("{:?}", Credentials::new("AKID", "wJalr", Some("tok3n")).until(Some(7)));
        assert!(shown.contains("AKID"), "{shown}");
        assert!(!shown.contains("wJalr") && !shown.contains("tok3n"), "{shown}");
    }
}
