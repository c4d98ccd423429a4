//! Why AWS cannot be asked, or says no.

use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;

/// Why AWS cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AwsFault {
    /// No key was found anywhere.
    #[error("no AWS credentials were found in {looked}")]
    NoCredentials {
        /// Where was looked.
        looked: String,
    },
    /// A profile is named that no file has.
    #[error("there is no profile {name:?}, the shared files have {there}")]
    NoProfile {
        /// The profile.
        name: String,
        /// Those that there are.
        there: String,
    },
    /// A profile gets its keys in a way that only AWS's own tools know.
    #[error("the profile {name:?} gets its credentials from {way}, which amikit does not support")]
    Way {
        /// The profile.
        name: String,
        /// How: the setting that says so.
        way: &'static str,
    },
    /// A profile names a role that cannot be assumed as it says.
    #[error("the profile {name:?} cannot assume its role: {why}")]
    RoleProfile {
        /// The profile.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// What gives keys gave something else.
    #[error("{from} gave no credentials: {why}")]
    Source {
        /// What it is.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// The address of a container's credentials is not one that gives any.
    #[error(
        "{url} is not an address that gives credentials: expected HTTPS, a loopback address, 169.254.170.2, \
         169.254.170.23 or fd00:ec2::23"
    )]
    Address {
        /// The address.
        url: String,
    },
    /// What should be a bucket of S3's is not the name of one.
    #[error(
        "{found:?} is not a bucket, expected BUCKET or BUCKET/PREFIX of letters, digits and '.', '_' or '-'"
    )]
    Bucket {
        /// What it is.
        found: String,
    },
    /// No region is named.
    #[error("no region is set in the request, the environment or the profile")]
    NoRegion,
    /// A region is not the name of one.
    #[error("{found:?} is not the name of a region")]
    Region {
        /// What it is.
        found: String,
    },
    /// A variable asks for endpoints that are not known here.
    #[error("{name} selects endpoints that amikit does not know: set AWS_ENDPOINT_URL instead")]
    Endpoints {
        /// The variable.
        name: &'static str,
    },
}

impl AwsFault {
    /// Says that what gives keys gave something else.
    pub(super) fn unsound(from: &str, why: &str) -> Error {
        Self::Source { from: from.to_owned(), why: why.to_owned() }.into()
    }
}

impl Fault for AwsFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Source { .. } => Kind::Io,
            _ => Kind::Invalid,
        }
    }
}

/// What a service answered instead of doing what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call} in {region} was refused: {code}{}{}", told(.message), shown(.reason.as_deref(), .request_id.as_deref()))]
pub struct Refusal {
    /// The call.
    pub call: String,
    /// The region.
    pub region: String,
    /// Status of HTTP.
    pub status: u16,
    /// The service's name for it.
    pub code: String,
    /// EBS's own reason.
    pub reason: Option<String>,
    /// What the service says to people.
    pub message: String,
    /// Id of the request, for AWS's support.
    pub request_id: Option<String>,
}

fn told(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(": {message}") }
}

fn shown(reason: Option<&str>, request_id: Option<&str>) -> String {
    match (reason, request_id) {
        (Some(reason), _) => format!(" ({reason})"),
        (None, Some(id)) => format!(" (request {id})"),
        (None, None) => String::new(),
    }
}

impl Refusal {
    /// Tells whether it is one of these codes.
    #[must_use]
    pub fn is_one_of(&self, codes: &[&str]) -> bool {
        codes.contains(&self.code.as_str())
    }
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        match self.status {
            // What a service does not have, trying again does not give.
            501 => Kind::Invalid,
            429 | 500.. => Kind::Io,
            _ if self.is_one_of(&["ThrottlingException", "RequestThrottledException"]) => Kind::Io,
            _ => Kind::Invalid,
        }
    }
}
