//! EBS direct: the six operations of `ebs` 2019-11-02, strict.

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;

use crate::ami::Tag;
use crate::ami::is_account;
use crate::digest::Digest;
use crate::digest::sha256;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ebs_error::Done;
use crate::serve::aws::ebs_error::EbsError;
use crate::serve::aws::ebs_error::check_id;
use crate::serve::aws::ebs_error::index_of;
use crate::serve::aws::ebs_error::sse;
use crate::serve::aws::ebs_error::visible;
use crate::serve::aws::ebs_read::changed;
use crate::serve::aws::ebs_read::get;
use crate::serve::aws::ebs_read::list;
use crate::serve::aws::server::Server;
use crate::serve::aws::server::have_passed;
use crate::serve::aws::state::Once;
use crate::serve::aws::state::Snap;
use crate::serve::aws::state::SnapshotState;
use crate::serve::http::Answer;
use crate::serve::http::Request;
use crate::serve::http::decoded;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;

/// Largest volume, in GiB.
const MOST_GIB: u64 = 65_536;

/// An operation and what its path names.
enum Operation<'a> {
    Start,
    Put(&'a str, &'a str),
    Complete(&'a str),
    List(&'a str),
    Changed(&'a str),
    Get(&'a str, &'a str),
}

impl<'a> Operation<'a> {
    fn of(method: &str, parts: &[&'a str]) -> Option<Self> {
        Some(match (method, parts) {
            ("POST", ["snapshots"]) => Self::Start,
            ("POST", ["snapshots", "completion", id]) => Self::Complete(id),
            ("PUT", ["snapshots", id, "blocks", index]) => Self::Put(id, index),
            ("GET", ["snapshots", id, "blocks"]) => Self::List(id),
            ("GET", ["snapshots", id, "changedblocks"]) => Self::Changed(id),
            ("GET", ["snapshots", id, "blocks", index]) => Self::Get(id, index),
            _ => return None,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Start => "StartSnapshot",
            Self::Put(..) => "PutSnapshotBlock",
            Self::Complete(_) => "CompleteSnapshot",
            Self::List(_) => "ListSnapshotBlocks",
            Self::Changed(_) => "ListChangedBlocks",
            Self::Get(..) => "GetSnapshotBlock",
        }
    }
}

/// Answers a request, and says which operation it was.
pub(super) fn answer(
    server: &Server<'_>,
    caller: &Caller,
    request: &Request,
) -> (&'static str, Answer) {
    let path = decoded(request.path.trim_matches('/'), false);
    let parts: Vec<&str> = path.split('/').collect();
    let Some(operation) = Operation::of(&request.method, &parts) else {
        let kind = "UnknownOperationException".to_owned();
        let message = format!("there is no operation {} {}", request.method, request.path);
        return ("unknown", EbsError { status: 404, kind, reason: None, message }.answer());
    };
    let name = operation.name();
    if let Some(fault) = server.fault(name) {
        let error = EbsError {
            status: fault.status,
            kind: fault.code,
            reason: None,
            message: fault.message,
        };
        return (name, error.answer());
    }
    let done = match operation {
        Operation::Start => start(server, caller, request),
        Operation::Put(id, index) => put(server, caller, request, id, index),
        Operation::Complete(id) => complete(server, caller, request, id),
        Operation::List(id) => list(server, caller, request, id),
        Operation::Changed(id) => changed(server, caller, request, id),
        Operation::Get(id, index) => get(server, caller, request, id, index),
    };
    (
        name,
        done.unwrap_or_else(|error| {
            server.tell_own(name, error.status, &error.message);
            error.answer()
        }),
    )
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Start {
    volume_size: Option<i64>,
    parent_snapshot_id: Option<String>,
    tags: Option<Vec<Tag>>,
    description: Option<String>,
    client_token: Option<String>,
    encrypted: Option<bool>,
    kms_key_arn: Option<String>,
    timeout: Option<i64>,
}

impl Start {
    fn check(&self, server: &Server<'_>) -> Result<u64, EbsError> {
        let gib = self.volume_size.and_then(|it| u64::try_from(it).ok()).unwrap_or(0);
        if !(1..=MOST_GIB).contains(&gib) {
            let text = format!("VolumeSize must be from 1 to {MOST_GIB} GiB");
            return Err(EbsError::invalid("INVALID_VOLUME_SIZE", text));
        }
        if gib.strict_mul(1 << 30) > server.most_size() {
            return Err(EbsError {
                status: 402,
                kind: "ServiceQuotaExceededException".to_owned(),
                reason: Some("DEPENDENCY_SERVICE_QUOTA_EXCEEDED"),
                message: format!(
                    "the server takes volumes of at most {} bytes",
                    server.most_size()
                ),
            });
        }
        let too_long = |text: &Option<String>, most: usize| {
            text.as_ref().is_some_and(|it| it.chars().count() > most)
        };
        if too_long(&self.description, 255) {
            return Err(EbsError::parameter("Description has more than 255 characters"));
        }
        let token = self.client_token.as_deref().unwrap_or("x");
        if token.is_empty() || token.chars().count() > 255 || token.contains(char::is_whitespace) {
            let text = "ClientToken must have 1 to 255 characters and no white space";
            return Err(EbsError::parameter(text));
        }
        let tags = self.tags.as_deref().unwrap_or_default();
        let keys: std::collections::BTreeSet<&str> = tags.iter().map(|tag| &*tag.key).collect();
        let bad = |tag: &Tag| {
            tag.key.is_empty()
                || tag.key.chars().count() > 127
                || tag.value.chars().count() > 255
                || tag.is_of_aws()
        };
        if tags.len() > 50 || keys.len() != tags.len() || tags.iter().any(bad) {
            let text = "at most 50 tags, with keys of 1 to 127 characters that are unique and do not begin \
                        with aws:, and values of at most 255";
            return Err(EbsError::invalid("INVALID_TAG", text));
        }
        if self.timeout.is_some_and(|it| !(10..=4320).contains(&it)) {
            return Err(EbsError::parameter("Timeout must be from 10 to 4320 minutes"));
        }
        if let Some(arn) = &self.kms_key_arn {
            let parts: Vec<&str> = arn.splitn(6, ':').collect();
            let is_key = matches!(parts[..], ["arn", partition, "kms", _, account, key]
                if partition.starts_with("aws") && is_account(account) && key.starts_with("key/"));
            if !is_key || arn.len() > 2048 {
                return Err(EbsError::parameter("KmsKeyArn is not the ARN of a key"));
            }
            if self.encrypted != Some(true) && self.parent_snapshot_id.is_none() {
                let text = "KmsKeyArn needs Encrypted to be true";
                return Err(EbsError::invalid("INVALID_DEPENDENCY_REQUEST", text));
            }
        }
        if self.encrypted.is_some() && self.parent_snapshot_id.is_some() {
            let text = "Encrypted and ParentSnapshotId cannot be given together";
            return Err(EbsError::parameter(text));
        }
        Ok(gib)
    }
}

fn start(server: &Server<'_>, caller: &Caller, request: &Request) -> Done {
    let asked: Start = serde_json::from_slice(&request.body)
        .map_err(|e| EbsError::parameter(format!("the body is not that of StartSnapshot: {e}")))?;
    let gib = asked.check(server)?;
    let now = server.now();
    let mut state = server.state();
    let plain: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let token = asked
        .client_token
        .as_ref()
        .map(|token| format!("{} {} StartSnapshot {token}", caller.account, caller.region));
    if let Some(once) = token.as_ref().and_then(|token| state.once.get(token)) {
        if once.asked != sha256(plain.to_string().as_bytes()) {
            return Err(EbsError {
                status: 409,
                kind: "ConflictException".to_owned(),
                reason: None,
                message: "the client token was used with other parameters".to_owned(),
            });
        }
        if let Some(snap) = state.snapshots.get(&once.id) {
            return Ok(started(&once.id, snap));
        }
    }
    let parent = match &asked.parent_snapshot_id {
        None => None,
        Some(id) => {
            check_id(id)?;
            let parent = visible(&state.snapshots, caller, id)?;
            if parent.state != SnapshotState::Completed {
                let text = format!("The snapshot '{id}' is not completed.");
                return Err(EbsError::invalid("INVALID_DEPENDENCY_REQUEST", text));
            }
            if parent.gib > gib {
                let text = format!("VolumeSize must be at least the parent's, {} GiB", parent.gib);
                return Err(EbsError::invalid("INVALID_VOLUME_SIZE", text));
            }
            Some((id.clone(), parent.clone()))
        }
    };
    let id = server.new_id("snap");
    let inherited = parent.as_ref().map(|(_, parent)| parent);
    let snap = Snap {
        owner: caller.account.clone(),
        region: caller.region.clone(),
        state: SnapshotState::Pending,
        message: String::new(),
        description: asked.description.unwrap_or_default(),
        gib,
        started: now,
        touched: now,
        timeout: asked.timeout.and_then(|it| u64::try_from(it).ok()).unwrap_or(60),
        closed: false,
        kms_key: asked.kms_key_arn.or_else(|| inherited?.kms_key.clone()),
        encrypted: asked.encrypted.unwrap_or(false) || inherited.is_some_and(|it| it.encrypted),
        lineage: inherited.map_or_else(|| id.clone(), |it| it.lineage.clone()),
        parent: parent.map(|(id, _)| id),
        stored: None,
        root: None,
        tags: asked.tags.unwrap_or_default(),
        shared: std::collections::BTreeSet::default(),
    };
    server.open_spool(&id)?;
    let answer = started(&id, &snap);
    state.snapshots.insert(id.clone(), snap);
    if let Some(token) = token {
        let asked = sha256(plain.to_string().as_bytes());
        state.once.insert(token, Once { asked, id: id.clone() });
    }
    if let Err(error) = server.save(&mut state) {
        // Nobody hears of it.
        let _ = server.drop_spool(&id);
        return Err(error.into());
    }
    Ok(answer)
}

fn started(id: &str, snap: &Snap) -> Answer {
    let mut body = json!({
        "SnapshotId": id,
        "OwnerId": snap.owner,
        "Status": snap.state.name(),
        "StartTime": snap.started,
        "VolumeSize": snap.gib,
        "BlockSize": BLOCK_SIZE,
        "Description": snap.description,
        "Tags": snap.tags,
        "SseType": sse(snap),
    });
    if let Some(parent) = &snap.parent {
        body["ParentSnapshotId"] = Value::from(parent.as_str());
    }
    if let Some(key) = &snap.kms_key {
        body["KmsKeyArn"] = Value::from(key.as_str());
    }
    Answer::new(201, "application/json", body.to_string())
}

/// Checks that blocks may be put, and records that its writer is alive.
fn touch(server: &Server<'_>, caller: &Caller, id: &str) -> Result<u64, EbsError> {
    check_id(id)?;
    let now = server.now();
    let mut state = server.state();
    let hidden = server.hidden_after_start();
    visible(&state.snapshots, caller, id)?;
    let snap = state.snapshots.get_mut(id).ok_or_else(|| EbsError::no_snapshot(id))?;
    // To read is not to write.
    if snap.owner != caller.account {
        return Err(EbsError::denied(caller, id));
    }
    if !have_passed(hidden, snap.started, now) {
        return Err(EbsError::no_snapshot(id));
    }
    if snap.state != SnapshotState::Pending || snap.closed {
        let text = format!("The snapshot '{id}' is not in the 'pending' state.");
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", text));
    }
    snap.touched = now;
    Ok(snap.gib)
}

fn put(server: &Server<'_>, caller: &Caller, request: &Request, id: &str, index: &str) -> Done {
    check_id(id)?;
    let index = index_of(index, MOST_GIB)?;
    // Before the look at the snapshot: a request that completes it then sees that a block is under way.
    let _alone = server.alone(id, index).ok_or_else(|| {
        let text = format!("block {index} is being written by another request");
        EbsError::invalid("CONFLICTING_BLOCK_UPDATE", text)
    })?;
    let gib = touch(server, caller, id)?;
    index_of(&index.to_string(), gib)?;
    let header = |name: &str| request.header(name).unwrap_or_default();
    if header("x-amz-data-length") != "524288" {
        return Err(EbsError::parameter("x-amz-Data-Length must be 524288"));
    }
    if header("x-amz-checksum-algorithm") != "SHA256" {
        return Err(EbsError::parameter("x-amz-Checksum-Algorithm must be SHA256"));
    }
    let checksum = Digest::from_base64(header("x-amz-checksum"))
        .ok_or_else(|| EbsError::parameter("x-amz-Checksum is not a SHA-256 in base64"))?;
    if let Some(progress) = request.header("x-amz-progress")
        && !progress.parse::<u8>().is_ok_and(|it| it <= 100)
    {
        return Err(EbsError::parameter("x-amz-Progress must be from 0 to 100"));
    }
    if request.body.len() != BLOCK_LEN {
        let text = format!("the block has {} bytes, expected {BLOCK_LEN}", request.body.len());
        return Err(EbsError::invalid("INVALID_BLOCK", text));
    }
    let found = sha256(&request.body);
    if found != checksum {
        let text = format!("the block's checksum is {}, not {}", found.base64(), checksum.base64());
        return Err(EbsError::invalid("INVALID_BLOCK", text));
    }
    let spool = server.spool(id).ok_or_else(|| EbsError::no_snapshot(id))?;
    spool.put(index, found, &request.body)?;
    Ok(Answer::new(201, "application/json", "{}")
        .with("x-amz-Checksum", checksum.base64())
        .with("x-amz-Checksum-Algorithm", "SHA256"))
}

fn complete(server: &Server<'_>, caller: &Caller, request: &Request, id: &str) -> Done {
    touch(server, caller, id)?;
    let count = request.header("x-amz-changedblockscount");
    let count = count.and_then(|it| it.parse::<u64>().ok());
    let count = count.ok_or_else(|| EbsError::parameter("x-amz-ChangedBlocksCount is missing"))?;
    let checksum = match request.header("x-amz-checksum") {
        None => None,
        Some(text) => Some(
            Digest::from_base64(text)
                .ok_or_else(|| EbsError::parameter("x-amz-Checksum is not a SHA-256 in base64"))?,
        ),
    };
    for (name, expected) in
        [("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-aggregation-method", "LINEAR")]
    {
        if request.header(name).is_some_and(|it| it != expected) {
            return Err(EbsError::parameter(format!("{name} must be {expected}")));
        }
    }
    let mut state = server.state();
    // Puts that were let in before may still be under way: they are answered first.
    if server.is_busy(id) {
        let text = format!("blocks of '{id}' are still being written");
        return Err(EbsError::invalid("CONFLICTING_BLOCK_UPDATE", text));
    }
    let spool = server.spool(id).ok_or_else(|| EbsError::no_snapshot(id))?;
    let Some(snap) = state.snapshots.get_mut(id).filter(|it| !it.closed) else {
        return Err(EbsError::no_snapshot(id));
    };
    snap.closed = true;
    let found = spool.count();
    // EBS answers first and finds out later.
    if found != count {
        snap.message = format!("ChangedBlocksCount is {count}, but {found} blocks were written");
    } else if let Some(expected) = checksum
        && spool.linear() != expected
    {
        let linear = spool.linear().base64();
        snap.message =
            format!("the aggregate of the checksums is {linear}, not {}", expected.base64());
    }
    server.save(&mut state)?;
    drop(state);
    server.finish(id);
    Ok(Answer::new(202, "application/json", json!({ "Status": "pending" }).to_string()))
}
