//! Errors of EBS direct, and what its operations check alike.

use crate::error::Error;
use crate::serve::aws::access::Caller;
use crate::serve::aws::state::Snap;
use crate::serve::http::Answer;
use serde_json::Value;
use serde_json::json;

/// Blocks of a GiB.
const BLOCKS_OF_GIB: u64 = 2048;

/// An error of EBS.
#[derive(Clone, Debug)]
pub(super) struct EbsError {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) reason: Option<&'static str>,
    pub(super) message: String,
}

impl EbsError {
    pub(super) fn invalid(reason: &'static str, message: impl Into<String>) -> Self {
        let kind = "ValidationException".to_owned();
        Self { status: 400, kind, reason: Some(reason), message: message.into() }
    }

    pub(super) fn parameter(message: impl Into<String>) -> Self {
        Self::invalid("INVALID_PARAMETER_VALUE", message)
    }

    pub(super) fn no_snapshot(id: &str) -> Self {
        Self {
            status: 404,
            kind: "ResourceNotFoundException".to_owned(),
            reason: Some("SNAPSHOT_NOT_FOUND"),
            message: format!("The snapshot '{id}' does not exist."),
        }
    }

    pub(super) fn denied(caller: &Caller, id: &str) -> Self {
        Self {
            status: 403,
            kind: "AccessDeniedException".to_owned(),
            reason: Some("UNAUTHORIZED_ACCOUNT"),
            message: format!("The account {} may not use '{id}'.", caller.account),
        }
    }

    /// Makes the answer.
    pub(super) fn answer(&self) -> Answer {
        let mut body = json!({ "Message": self.message });
        if let Some(reason) = self.reason {
            body["Reason"] = Value::from(reason);
        }
        Answer::new(self.status, "application/json", body.to_string())
            .with("x-amzn-ErrorType", self.kind.clone())
    }
}

impl From<Error> for EbsError {
    fn from(error: Error) -> Self {
        let kind = "InternalServerException".to_owned();
        Self { status: 500, kind, reason: None, message: error.to_string() }
    }
}

/// What an operation returns.
pub(super) type Done = Result<Answer, EbsError>;

/// Checks the form of a snapshot's id.
pub(super) fn check_id(id: &str) -> Result<(), EbsError> {
    let hex = id.strip_prefix("snap-").unwrap_or_default();
    let digits = hex.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
    if hex.is_empty() || !digits || id.len() > 64 {
        let text = format!("'{}' is not the id of a snapshot", id.escape_debug());
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", text));
    }
    Ok(())
}

/// Returns a snapshot that the caller may use.
pub(super) fn visible<'a>(
    snapshots: &'a std::collections::BTreeMap<String, Snap>,
    caller: &Caller,
    id: &str,
) -> Result<&'a Snap, EbsError> {
    let found = snapshots.get(id).filter(|it| it.region == caller.region);
    let found = found.ok_or_else(|| EbsError::no_snapshot(id))?;
    if found.is_for(&caller.account) {
        return Ok(found);
    }
    Err(EbsError::denied(caller, id))
}

/// Reads a block's index.
pub(super) fn index_of(text: &str, gib: u64) -> Result<u32, EbsError> {
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    let index = text.parse::<u32>().ok().filter(|_| digits);
    let index = index.ok_or_else(|| EbsError::parameter("BlockIndex is not a number"))?;
    if u64::from(index) >= gib.strict_mul(BLOCKS_OF_GIB) {
        let text = format!("block {index} is past the end of the volume of {gib} GiB");
        return Err(EbsError::invalid("INVALID_BLOCK", text));
    }
    Ok(index)
}

pub(super) fn sse(snap: &Snap) -> &'static str {
    match (&snap.kms_key, snap.encrypted) {
        (Some(_), _) => "sse-kms",
        (None, true) => "sse-ebs",
        (None, false) => "none",
    }
}
