//! Lists of the blocks of snapshots, asked for page by page as they are needed.

use serde::Deserialize;

use crate::aws::client::Asked;
use crate::aws::client::Aws;
use crate::aws::ebs::strange;
use crate::aws::fault::Refusal;
use crate::aws::place::Service;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::http::Method;
use crate::units::BLOCK_SIZE;

/// Most blocks of a page, as EBS has it.
const PAGE_LEN: u64 = 10_000;

/// A block of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListedBlock {
    /// Its index.
    pub block_index: u32,
    /// What it is read by; of the second snapshot, where two are compared. Not there if that has no such block.
    #[serde(alias = "SecondBlockToken")]
    pub block_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default, alias = "ChangedBlocks")]
    blocks: Vec<ListedBlock>,
    volume_size: u64,
    block_size: u64,
    next_token: Option<String>,
}

/// The blocks of a snapshot that were written, or those in which it differs from another one, ascending. Ends after an error.
#[derive(Debug)]
pub struct BlockList<'a> {
    aws: &'a Aws<'a, 'a>,
    region: &'a str,
    snapshot_id: &'a str,
    first: Option<&'a str>,
    /// Lowest block that may follow.
    least: u32,
    waiting: std::vec::IntoIter<ListedBlock>,
    next: Next,
    pages: u64,
    gib: u64,
}

/// What the next page is asked by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// Its first block.
    Block,
    /// The token of the page before.
    Token(String),
    /// There is none.
    End,
}

impl<'a> BlockList<'a> {
    /// Lists the blocks of a snapshot from block `from` on; those in which it differs from `first`, if that is given.
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(
        aws: &'a Aws<'a, 'a>,
        region: &'a str,
        snapshot_id: &'a str,
        first: Option<&'a str>,
        from: u32,
    ) -> Self {
        Self {
            aws,
            region,
            snapshot_id,
            first,
            least: from,
            waiting: Vec::new().into_iter(),
            next: Next::Block,
            pages: 0,
            gib: 0,
        }
    }

    /// Returns how many pages were read.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Returns the size of the volume in GiB, as the last page says it.
    #[must_use]
    pub fn gib(&self) -> u64 {
        self.gib
    }

    fn call(&self) -> &'static str {
        if self.first.is_some() { "ListChangedBlocks" } else { "ListSnapshotBlocks" }
    }

    fn turn(&mut self) -> Result<()> {
        let page = match self.ask()? {
            Ok(page) => page,
            // A page is remembered for an hour. Its first block is asked for instead.
            Err(refusal) if refusal.reason.as_deref() == Some("INVALID_PAGE_TOKEN") => {
                if !matches!(self.next, Next::Token(_)) {
                    return Err(refusal.into());
                }
                self.next = Next::Block;
                self.ask()??
            }
            Err(refusal) => return Err(refusal.into()),
        };
        if page.block_size != BLOCK_SIZE {
            let text = format!("blocks have {} bytes, expected {BLOCK_SIZE}", page.block_size);
            return Err(Error::new(Kind::Unsupported, text));
        }
        let next = page.next_token.map_or(Next::End, Next::Token);
        if next == self.next {
            return Err(strange(self.call(), "the next page of a list"));
        }
        self.next = next;
        self.gib = page.volume_size;
        self.pages = self.pages.saturating_add(1);
        self.waiting = page.blocks.into_iter();
        Ok(())
    }

    fn ask(&self) -> Result<Result<Page, Refusal>> {
        let name = self.call();
        let last = if self.first.is_some() { "changedblocks" } else { "blocks" };
        let path = format!("/snapshots/{}/{last}", self.snapshot_id);
        let mut asked = Asked::new(Service::Ebs, self.region, name, Method::Get, path);
        asked.query.push(("maxResults", PAGE_LEN.to_string()));
        asked.query.extend(self.first.map(|first| ("firstSnapshotId", first.to_owned())));
        match &self.next {
            Next::Token(token) => asked.query.push(("pageToken", token.clone())),
            _ if self.least > 0 => {
                asked.query.push(("startingBlockIndex", self.least.to_string()));
            }
            _ => {}
        }
        let answer = match self.aws.try_ask(&asked)? {
            Ok(answer) => answer,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let page = serde_json::from_slice(&answer.body);
        page.map(Ok).map_err(|_| strange(name, "a list of blocks"))
    }

    fn step(&mut self) -> Result<Option<ListedBlock>> {
        loop {
            if let Some(block) = self.waiting.next() {
                if block.block_index < self.least {
                    return Err(strange(self.call(), "a list of blocks in their order"));
                }
                self.least = block.block_index.saturating_add(1);
                return Ok(Some(block));
            }
            if self.next == Next::End {
                return Ok(None);
            }
            self.turn()?;
        }
    }
}

impl Iterator for BlockList<'_> {
    type Item = Result<ListedBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.step().transpose();
        if matches!(found, Some(Err(_))) {
            (self.next, self.waiting) = (Next::End, Vec::new().into_iter());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_lists_are_read() {
        let text = r#"{"ChangedBlocks":[{"BlockIndex":1,"FirstBlockToken":"a"},
            {"BlockIndex":2,"FirstBlockToken":"a","SecondBlockToken":"b"}],
            "VolumeSize":1,"BlockSize":524288,"ExpiryTime":1.5E9}"#;
        let page: Page = serde_json::from_str(text).unwrap();
        let tokens: Vec<_> = page.blocks.iter().map(|it| it.block_token.as_deref()).collect();
        assert_eq!(tokens, [None, Some("b")]);
        let text = r#"{"Blocks":[{"BlockIndex":1,"BlockToken":"a"}],"VolumeSize":1,"BlockSize":512,"NextToken":"t"}"#;
        let page: Page = serde_json::from_str(text).unwrap();
        assert_eq!((page.blocks.len(), page.next_token.as_deref()), (1, Some("t")));
    }
}
