//! Names of hosts, looked up in a thread that may be left behind when it takes too long.
//!
//! As ureq does it, but for one thing: where the system has no more threads, that is an error and not a panic.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::mpsc::sync_channel;
use std::thread;

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::time::Duration;

/// Looks names up.
#[derive(Debug)]
pub(super) struct Lookup;

impl Resolver for Lookup {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let in_time = NextTimeout { after: Duration::NotHappening, ..timeout };
        if timeout.after.is_not_happening() || is_address(uri.host().unwrap_or_default()) {
            return look_up(uri, config, in_time);
        }
        let (send, receive) = sync_channel(1);
        let (uri, config) = (uri.clone(), config.clone());
        let look = move || {
            // Nobody listens any more if it took too long.
            let _ = send.send(look_up(&uri, &config, in_time));
        };
        thread::Builder::new().name("look-up".to_owned()).spawn(look).map_err(Error::Io)?;
        receive.recv_timeout(*timeout.after).unwrap_or_else(|error| {
            Err(match error {
                RecvTimeoutError::Timeout => Error::Timeout(timeout.reason),
                RecvTimeoutError::Disconnected => {
                    Error::Io(io::Error::other("the look-up of the name ended without an answer"))
                }
            })
        })
    }
}

fn look_up(uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
    DefaultResolver::default().resolve(uri, config, timeout).map_err(|error| match error {
        Error::Io(error) => {
            let text = error.to_string();
            let text = text.strip_prefix(SAID_BEFORE).unwrap_or(&text).to_owned();
            Error::Io(io::Error::new(error.kind(), NoAddress(text)))
        }
        other => other,
    })
}

/// What the standard library says before what the system says.
const SAID_BEFORE: &str = "failed to lookup address information: ";

/// Why a name has no address, in the system's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoAddress(String);

impl NoAddress {
    /// Returns the reason, if that is why an exchange failed.
    pub(super) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Tells whether the next look can find one: the system says so in words alone, glibc's or musl's.
    pub(super) fn may_pass(&self) -> bool {
        ["Temporary", "Try again"].iter().any(|it| self.0.starts_with(it))
    }
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoAddress {}

/// Tells whether a host is an address, for which nobody is asked.
fn is_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time;

    use ureq::Timeout;

    fn resolve(uri: &str, after: Duration) -> Result<Vec<String>, Error> {
        let timeout = NextTimeout { after, reason: Timeout::Resolve, ..NextTimeout::default() };
        let found = Lookup.resolve(&uri.parse().unwrap(), &Config::default(), timeout)?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn addresses_are_taken_as_they_are_and_names_are_looked_up() {
        for after in [Duration::NotHappening, Duration::from_secs(30)] {
            assert_eq!(resolve("http://127.0.0.1:81/x", after).unwrap(), ["127.0.0.1:81"]);
            assert_eq!(resolve("https://[::1]/", after).unwrap(), ["[::1]:443"]);
            let found = resolve("http://localhost:5000/", after).unwrap();
            assert!(found.iter().all(|it| it.ends_with(":5000")) && !found.is_empty(), "{found:?}");
        }
    }

    #[test]
    fn a_name_that_has_no_address_is_known_as_that() {
        // This top-level domain is reserved for names that do not exist.
        let error = resolve("https://no-such-host.invalid/", Duration::from_secs(30)).unwrap_err();
        match error {
            Error::Io(error) => assert!(NoAddress::of(&error).is_some(), "{error:?}"),
            Error::HostNotFound | Error::Timeout(_) => {}
            other => panic!("{other:?}"),
        }
        let why = |text: &str| NoAddress(text.to_owned());
        assert!(!why("Name or service not known").may_pass());
        assert!(why("Temporary failure in name resolution").may_pass());
    }

    #[test]
    fn a_look_up_that_takes_too_long_is_left() {
        let no_time = Duration::Exact(time::Duration::ZERO);
        assert!(matches!(resolve("http://localhost/", no_time), Err(Error::Timeout(_)) | Ok(_)));
        // An address takes none.
        assert_eq!(resolve("http://127.0.0.1:81/x", no_time).unwrap(), ["127.0.0.1:81"]);
    }
}
