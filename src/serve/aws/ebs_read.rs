//! EBS direct: reading snapshots.

use serde_json::Value;
use serde_json::json;

use crate::digest::sha256;
use crate::manifest::Block;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ebs_error::Done;
use crate::serve::aws::ebs_error::EbsError;
use crate::serve::aws::ebs_error::check_id;
use crate::serve::aws::ebs_error::index_of;
use crate::serve::aws::ebs_error::visible;
use crate::serve::aws::server::Server;
use crate::serve::aws::state::Snap;
use crate::serve::aws::state::SnapshotState;
use crate::serve::aws::tokens::TokenFault;
use crate::serve::http::Answer;
use crate::serve::http::Request;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::volume::ReadVolume;

/// Seconds for which a token of a block is good: seven days.
const BLOCK_TOKEN_TIME: u64 = 7 * 24 * 3600;

/// Seconds for which a token of a page is good.
const PAGE_TOKEN_TIME: u64 = 3600;

/// Opens a snapshot that can be read.
fn readable(
    server: &Server<'_>,
    caller: &Caller,
    id: &str,
) -> Result<(Snap, std::sync::Arc<crate::bundle::Snapshot>), EbsError> {
    check_id(id)?;
    let snap = visible(&server.state().snapshots, caller, id)?.clone();
    if snap.state != SnapshotState::Completed {
        let text = format!("The snapshot '{id}' is not in the 'completed' state.");
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", text));
    }
    if snap.owner != caller.account && snap.shared.contains("all") {
        return Err(EbsError::invalid("INVALID_SNAPSHOT_ID", "public snapshots cannot be read"));
    }
    let Some(stored) = &snap.stored else { return Err(EbsError::no_snapshot(id)) };
    let opened = server.open(stored)?;
    Ok((snap, opened))
}

fn most_results(request: &Request) -> Result<usize, EbsError> {
    let Some(text) = request.parameter("maxResults") else { return Ok(1000) };
    match text.parse::<usize>() {
        Ok(count @ 1..=10_000) => Ok(count.max(100)),
        _ => Err(EbsError::parameter("MaxResults must be from 100 to 10000")),
    }
}

/// Returns the block at which a page begins.
fn first_of(server: &Server<'_>, request: &Request, what: &str) -> Result<u64, EbsError> {
    if let Some(token) = request.parameter("pageToken") {
        let found = server.tokens.open(what, &token, server.now());
        return found.map_err(|fault| {
            let text = match fault {
                TokenFault::Wrong => "the page token is not one of this list",
                TokenFault::Expired => "the page token has expired",
            };
            EbsError::invalid("INVALID_PAGE_TOKEN", text)
        });
    }
    match request.parameter("startingBlockIndex") {
        None => Ok(0),
        Some(text) => {
            text.parse().map_err(|_| EbsError::parameter("StartingBlockIndex is not a number"))
        }
    }
}

/// What a list returns beside its blocks.
fn page(
    server: &Server<'_>,
    snap: &Snap,
    name: &str,
    blocks: &[Value],
    next: Option<String>,
) -> Answer {
    let mut body = json!({
        name: blocks,
        "ExpiryTime": server.now().saturating_add(server.block_token_time()),
        "VolumeSize": snap.gib,
        "BlockSize": BLOCK_SIZE,
    });
    if let Some(next) = next {
        body["NextToken"] = Value::from(next);
    }
    Answer::new(200, "application/json", body.to_string())
}

fn block_token(server: &Server<'_>, id: &str, index: u32) -> String {
    let until = server.now().saturating_add(server.block_token_time());
    server.tokens.make(&format!("block {id}"), u64::from(index), until, server.nonce())
}

fn page_token(server: &Server<'_>, what: &str, next: u64) -> String {
    let until = server.now().saturating_add(server.page_token_time());
    server.tokens.make(what, next, until, server.nonce())
}

/// The first block at or after `at` that was written, if there is one.
fn next_written(
    snapshot: &crate::bundle::Snapshot,
    at: u64,
) -> Result<Option<(u32, Block)>, EbsError> {
    let manifest = snapshot.manifest();
    let mut at = at;
    while at < u64::from(manifest.block_count()) {
        let index = BlockIndex(u32::try_from(at).expect("inside the largest volume"));
        match manifest.block(index)? {
            Block::Hole => at = u64::from(manifest.run_at(index)?.1.0),
            block => return Ok(Some((index.0, block))),
        }
    }
    Ok(None)
}

pub(super) fn list(server: &Server<'_>, caller: &Caller, request: &Request, id: &str) -> Done {
    let (snap, snapshot) = readable(server, caller, id)?;
    let most = most_results(request)?;
    let what = format!("list {id}");
    let mut at = first_of(server, request, &what)?;
    let mut blocks = Vec::new();
    let mut next = None;
    while let Some((index, _)) = next_written(&snapshot, at)? {
        if blocks.len() >= server.page_len(most) {
            next = Some(page_token(server, &what, u64::from(index)));
            break;
        }
        let token = block_token(server, id, index);
        blocks.push(json!({ "BlockIndex": index, "BlockToken": token }));
        at = u64::from(index).strict_add(1);
    }
    Ok(page(server, &snap, "Blocks", &blocks, next))
}

pub(super) fn changed(server: &Server<'_>, caller: &Caller, request: &Request, id: &str) -> Done {
    let (snap, second) = readable(server, caller, id)?;
    let first_id = request.parameter("firstSnapshotId");
    let first = match &first_id {
        None => None,
        Some(first_id) => {
            let (first, opened) = readable(server, caller, first_id)?;
            if first.lineage != snap.lineage {
                let text = "The snapshots are not related.";
                return Err(EbsError::invalid("UNRELATED_SNAPSHOTS", text));
            }
            Some((first_id.clone(), opened))
        }
    };
    let most = most_results(request)?;
    let what = format!("changed {} {id}", first_id.as_deref().unwrap_or("-"));
    let mut at = first_of(server, request, &what)?;
    let (mut blocks, mut next) = (Vec::new(), None);
    loop {
        let new = next_written(&second, at)?;
        let old = match &first {
            Some((_, first)) => next_written(first, at)?,
            None => None,
        };
        let index = match (old, new) {
            (None, None) => break,
            (Some((index, _)), None) | (None, Some((index, _))) => index,
            (Some((a, _)), Some((b, _))) => a.min(b),
        };
        let old = old.filter(|(at, _)| *at == index).map(|(_, block)| block);
        let new = new.filter(|(at, _)| *at == index).map(|(_, block)| block);
        at = u64::from(index).strict_add(1);
        if old == new {
            continue;
        }
        if blocks.len() >= server.page_len(most) {
            next = Some(page_token(server, &what, u64::from(index)));
            break;
        }
        let mut entry = json!({ "BlockIndex": index });
        if let (Some(_), Some((first_id, _))) = (old, &first) {
            entry["FirstBlockToken"] = Value::from(block_token(server, first_id, index));
        }
        if new.is_some() {
            entry["SecondBlockToken"] = Value::from(block_token(server, id, index));
        }
        blocks.push(entry);
    }
    Ok(page(server, &snap, "ChangedBlocks", &blocks, next))
}

pub(super) fn get(
    server: &Server<'_>,
    caller: &Caller,
    request: &Request,
    id: &str,
    index: &str,
) -> Done {
    let (snap, snapshot) = readable(server, caller, id)?;
    let index = index_of(index, snap.gib)?;
    let token = request.parameter("blockToken").unwrap_or_default();
    let refused = |text: &str| EbsError::invalid("INVALID_BLOCK_TOKEN", text);
    match server.tokens.open(&format!("block {id}"), &token, server.now()) {
        Ok(found) if found == u64::from(index) => {}
        Err(TokenFault::Expired) => return Err(refused("the block token has expired")),
        _ => return Err(refused("the block token is not one of this block")),
    }
    let mut block = vec![0; BLOCK_LEN];
    let start = BlockIndex(index).offset();
    let there = snapshot.size().saturating_sub(start).min(BLOCK_SIZE);
    let len = usize::try_from(there).expect("at most a block");
    snapshot.read_at(start, &mut block[..len])?;
    let checksum = match snapshot.manifest().block(BlockIndex(index))? {
        Block::Data(id) => id,
        Block::Zero | Block::Hole => sha256(&block),
    };
    Ok(Answer::new(200, "application/octet-stream", block)
        .with("x-amz-Data-Length", BLOCK_SIZE.to_string())
        .with("x-amz-Checksum", checksum.base64())
        .with("x-amz-Checksum-Algorithm", "SHA256"))
}

impl Server<'_> {
    fn block_token_time(&self) -> u64 {
        self.faults.block_token_seconds.unwrap_or(BLOCK_TOKEN_TIME)
    }

    fn page_token_time(&self) -> u64 {
        self.faults.page_token_seconds.unwrap_or(PAGE_TOKEN_TIME)
    }

    /// Returns how many blocks a page has; now and then none, if that is asked for.
    fn page_len(&self, most: usize) -> usize {
        if self.faults.short_pages { most.min(7) } else { most }
    }
}
