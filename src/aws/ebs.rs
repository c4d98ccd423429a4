//! The EBS direct APIs: snapshots written and read block by block.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use crate::aws::client::Asked;
use crate::aws::client::Aws;
use crate::aws::fault::Refusal;
use crate::aws::place::Service;
use crate::calls::CompleteSnapshot;
use crate::calls::NotYet;
use crate::calls::StartSnapshot;
use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Bucket;
use crate::http::Method;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;

/// A snapshot that was started.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Started {
    /// Its id.
    pub snapshot_id: String,
    /// Its state: `completed` if the same client token made it before.
    pub status: String,
}

/// A snapshot that blocks are put into.
#[derive(Debug)]
pub struct Pending {
    /// Its id.
    pub snapshot_id: String,
    /// The pace of puts: one for each snapshot, since EBS has a limit for each.
    pub bucket: Bucket,
    /// What puts may be refused with while the snapshot is new.
    pub not_yet: NotYet,
    /// When it was started.
    pub since: std::time::SystemTime,
}

impl Pending {
    fn not_yet(&self) -> (&'static [&'static str], std::time::SystemTime) {
        let time = Duration::from_secs(self.not_yet.seconds);
        (self.not_yet.errors, self.since.checked_add(time).unwrap_or(self.since))
    }
}

pub(super) fn strange(call: &str, what: &str) -> Error {
    Error::new(Kind::Io, format!("the answer to {call} is not {what}"))
}

impl Aws<'_, '_> {
    /// Starts a snapshot; asked again, it answers with the same one.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a refusal.
    pub fn start_snapshot(&self, region: &str, call: &StartSnapshot) -> Result<Started> {
        let name = "StartSnapshot";
        let body = serde_json::to_vec(call).expect("plain data always serialises");
        let mut asked = Asked::new(Service::Ebs, region, name, Method::Post, "/snapshots");
        asked.headers.push(("Content-Type", "application/json".to_owned()));
        asked.body = Cow::Owned(body);
        let answer = self.ask(&asked)?;
        let started: Started =
            serde_json::from_slice(&answer.body).map_err(|_| strange(name, "a snapshot"))?;
        if !is_id(&started.snapshot_id, "snap-") {
            return Err(strange(name, "the id of a snapshot"));
        }
        Ok(started)
    }

    /// Puts a block, whole.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer; a refusal.
    pub fn put_block(
        &self,
        region: &str,
        pending: &Pending,
        index: u32,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<()> {
        let path = format!("/snapshots/{}/blocks/{index}", pending.snapshot_id);
        let mut asked = Asked::new(Service::Ebs, region, "PutSnapshotBlock", Method::Put, path);
        asked.headers = vec![
            ("Content-Type", "application/octet-stream".to_owned()),
            ("x-amz-Data-Length", BLOCK_SIZE.to_string()),
            ("x-amz-Checksum", digest.base64()),
            ("x-amz-Checksum-Algorithm", "SHA256".to_owned()),
        ];
        asked.body = Cow::Borrowed(bytes);
        asked.has_checksum = true;
        asked.bucket = Some(&pending.bucket);
        asked.not_yet = Some(pending.not_yet());
        let answer = self.ask(&asked)?;
        match answer.headers.get("x-amz-checksum") {
            Some(found) if found != digest.base64() => {
                let text = format!(
                    "EBS took block {index} with the checksum {found}, expected {}",
                    digest.base64()
                );
                Err(Error::new(Kind::Mismatch, text))
            }
            _ => Ok(()),
        }
    }

    /// Says that all blocks were put. A refusal is returned as such: an earlier request may have been heard.
    ///
    /// # Errors
    ///
    /// `Io` if there is no answer.
    pub fn complete_snapshot(
        &self,
        region: &str,
        pending: &Pending,
        call: &CompleteSnapshot,
    ) -> Result<Result<(), Refusal>> {
        let path = format!("/snapshots/completion/{}", pending.snapshot_id);
        let mut asked = Asked::new(Service::Ebs, region, "CompleteSnapshot", Method::Post, path);
        asked.headers = vec![
            ("x-amz-ChangedBlocksCount", call.changed_blocks_count.to_string()),
            ("x-amz-Checksum", call.checksum.clone()),
            ("x-amz-Checksum-Algorithm", call.checksum_algorithm.to_owned()),
            ("x-amz-Checksum-Aggregation-Method", call.checksum_aggregation_method.to_owned()),
        ];
        asked.not_yet = Some(pending.not_yet());
        Ok(self.try_ask(&asked)?.map(drop))
    }

    /// Reads a block, whole, and returns its bytes with their digest, which is that which EBS says.
    ///
    /// # Errors
    ///
    /// `Mismatch` if the bytes are not those that EBS says; `Io` if there is no answer; a refusal.
    pub fn get_block(
        &self,
        region: &str,
        snapshot_id: &str,
        index: u32,
        token: &str,
    ) -> Result<(Vec<u8>, Digest)> {
        let name = "GetSnapshotBlock";
        let path = format!("/snapshots/{snapshot_id}/blocks/{index}");
        let mut asked = Asked::new(Service::Ebs, region, name, Method::Get, path);
        asked.query.push(("blockToken", token.to_owned()));
        let answer = self.ask(&asked)?;
        if answer.body.len() != BLOCK_LEN {
            let text = format!(
                "block {index} of {snapshot_id} has {} bytes, expected {BLOCK_LEN}",
                answer.body.len()
            );
            return Err(Error::new(Kind::Mismatch, text));
        }
        let found = sha256(&answer.body);
        let said = answer.headers.get("x-amz-checksum").and_then(Digest::from_base64);
        if said != Some(found) {
            let text =
                format!("block {index} of {snapshot_id} does not have the checksum that EBS says");
            return Err(Error::new(Kind::Mismatch, text));
        }
        Ok((answer.body, found))
    }
}

/// Tells whether a text is an id of EC2's: what a service answers becomes a part of paths and of file names.
#[must_use]
pub fn is_id(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    (1..=40).contains(&digits.len())
        && digits.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_prefix_and_hexadecimal_digits() {
        assert!(is_id("snap-0a1b", "snap-") && is_id("ami-0", "ami-"));
        for text in ["snap-", "snap-0A", "snap-../x", "ami-0", "", "snap-0 "] {
            assert!(!is_id(text, "snap-"), "{text}");
        }
    }
}
