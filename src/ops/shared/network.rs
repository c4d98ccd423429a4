//! How verbs reach other machines, and what they say where they cannot.

use std::num::NonZero;
#[cfg(feature = "network")]
use std::path::Path;

#[cfg(not(feature = "network"))]
use crate::error::Advice;
#[cfg(not(feature = "network"))]
use crate::error::Error;
#[cfg(not(feature = "network"))]
use crate::error::Kind;
use crate::error::Result;
#[cfg(feature = "network")]
use crate::http;
#[cfg(feature = "network")]
use crate::http::Client;
#[cfg(feature = "network")]
use crate::ops::shared::recipe::read_small;
use crate::work::Trace;
#[cfg(feature = "network")]
use crate::work::Watch;

/// Blobs of an AMI that are sent or fetched at once.
pub const DEFAULT_BLOBS_AT_ONCE: NonZero<usize> = NonZero::new(4).expect("it is four");

/// How a verb talks to other machines.
#[derive(Clone, Debug, Default)]
pub struct NetworkOptions {
    /// Where requests and answers are traced, without secrets.
    pub trace: Option<Trace>,
    /// Whether plain HTTP is spoken with other machines too.
    pub insecure: bool,
}

/// Most bytes of a file of authorities: ten times what browsers trust.
#[cfg(feature = "network")]
const MAX_ROOTS_LEN: u64 = 4 << 20;

/// Runs something with a client that behaves as the user wants it.
///
/// # Errors
///
/// As [`http::connected`]; `Io` or `Limit` if the authorities that the environment names cannot be read.
#[cfg(feature = "network")]
pub(in crate::ops) fn connected<R>(
    options: &NetworkOptions,
    connections: usize,
    watch: &dyn Watch,
    run: impl FnOnce(&Client<'_>) -> Result<R>,
) -> Result<R> {
    trusting(roots(None, watch)?, options, connections, watch, run)
}

/// Reads the authorities to trust: those of a file, else those that the environment names for all programs.
///
/// # Errors
///
/// `Io` or `Limit` if they cannot be read.
#[cfg(feature = "network")]
pub(in crate::ops) fn roots(named: Option<&Path>, watch: &dyn Watch) -> Result<Option<Vec<u8>>> {
    let named = named.map(Path::to_owned);
    let for_all = || std::env::var_os("SSL_CERT_FILE").filter(|it| !it.is_empty()).map(Into::into);
    named.or_else(for_all).map(|path| read_small(&path, MAX_ROOTS_LEN, watch)).transpose()
}

/// As [`connected`], with the authorities of [`roots`].
///
/// # Errors
///
/// As [`http::connected`].
#[cfg(feature = "network")]
pub(in crate::ops) fn trusting<R>(
    roots: Option<Vec<u8>>,
    options: &NetworkOptions,
    connections: usize,
    watch: &dyn Watch,
    run: impl FnOnce(&Client<'_>) -> Result<R>,
) -> Result<R> {
    let options = http::Options {
        insecure: options.insecure,
        trace: options.trace.clone(),
        roots,
        connections,
        ..http::Options::default()
    };
    http::connected(options, watch, run)
}

/// Makes the error of a verb that this build cannot do.
///
/// # Errors
///
/// `Unsupported`.
#[cfg(not(feature = "network"))]
pub fn missing<R>(verb: &str) -> Result<R> {
    let text = format!("this amikit was built without a network, which {verb} needs");
    Err(Error::new(Kind::Unsupported, text)
        .advise(Advice::Build { feature: "network", instead: "" }))
}
