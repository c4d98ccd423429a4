//! What the server is told, and what it tells.

use std::collections::BTreeMap;

use crate::serve::aws::access::AccessKey;
use crate::serve::aws::faults::Faults;

/// Most connections at a time, unless the caller says otherwise.
pub const DEFAULT_CONNECTIONS: usize = 256;

/// What the server is.
#[derive(Debug)]
pub struct Settings {
    /// The account of callers that are in no other, and of what was in the store before.
    pub account: String,
    /// The region of what was in the store before.
    pub region: String,
    /// Keys by their ids; any key signs if there are none.
    pub keys: BTreeMap<String, AccessKey>,
    /// A name beside those of loopback that a Host header may have.
    pub host: Option<String>,
    /// Largest volume that peers may make, in bytes.
    pub max_size: u64,
    /// Most connections at a time.
    pub connections: usize,
    /// What fails on purpose.
    pub faults: Faults,
}

/// What happens, for a log.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call was answered.
    Called {
        /// Number of the connection.
        peer: u64,
        /// The call; `-` for a request that is none.
        call: &'a str,
        /// Status of the answer.
        status: u16,
        /// Milliseconds from the request to the answer.
        milliseconds: u64,
    },
    /// A call failed, and not for what the peer asked: the disk is full, or the store is gone.
    Failed {
        /// The call.
        call: &'a str,
        /// What failed.
        error: &'a str,
    },
    /// A snapshot was made, or not.
    Finished {
        /// Its id.
        snapshot: &'a str,
        /// Why it is in error, if it is.
        error: Option<String>,
    },
}

/// What was served until the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Served {
    /// Connections.
    pub connections: u64,
    /// Calls that were answered.
    pub calls: u64,
    /// Calls that were refused or failed.
    pub refused: u64,
}
