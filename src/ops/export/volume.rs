//! The tables of a snapshot and of a pack.

use std::num::NonZero;
use std::sync::Arc;

use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::Block;
use crate::manifest::Manifest;
use crate::pack::Form;
use crate::pack::Pack;
use crate::pack::stored_share;
use crate::tables::Sorter;
use crate::tables::StagedTables;
use crate::tables::Table;
use crate::tables::Value;
use crate::work::Watch;

/// The packs of an AMI, by their digests.
pub(super) type Packs = Vec<(Digest, Arc<Pack>)>;

/// Blocks after which the user may stop a run.
const CHECK_BLOCKS: u32 = 4096;

/// Writes the blocks of a snapshot.
pub(super) fn write_blocks(
    manifest: &Manifest,
    packs: &Packs,
    staged: &mut StagedTables<'_>,
    watch: &dyn Watch,
) -> Result<u64> {
    let root = manifest.root();
    let name = root.hex();
    let mut table = staged.start(Table::Blocks)?;
    manifest.for_each_written(|index, block| {
        if index.0.is_multiple_of(CHECK_BLOCKS) {
            watch.check()?;
        }
        let (state, chunk) = match &block {
            Block::Data(digest) => ("data", Some(digest)),
            Block::Zero | Block::Hole => ("zero", None),
        };
        let stored = chunk.map(|chunk| stored_bytes(chunk, packs)).transpose()?.flatten();
        table.row(&[
            Value::Text(&name),
            Value::Integer(index.0.into()),
            Value::Text(state),
            chunk.map_or(Value::Null, |chunk| Value::Digest(&chunk.0)),
            stored.map_or(Value::Null, |bytes| Value::Integer(bytes.into())),
        ])
    })?;
    staged.end(Table::Blocks, &root, table)
}

/// Returns what a chunk takes in the first pack that has it.
fn stored_bytes(chunk: &Digest, packs: &Packs) -> Result<Option<u32>> {
    for (_, pack) in packs {
        if let Some(entry) = pack.find(chunk)? {
            return Ok(Some(stored_share(pack.group_of(&entry), &entry)));
        }
    }
    Ok(None)
}

/// Writes which chunks a snapshot holds, and in how many blocks.
pub(super) fn write_holders(
    manifest: &Manifest,
    staged: &mut StagedTables<'_>,
    watch: &dyn Watch,
) -> Result<u64> {
    let root = manifest.root();
    let name = root.hex();
    let mut sorter = Sorter::<32>::new(staged.scratch()?);
    manifest.for_each_written(|index, block| {
        if index.0.is_multiple_of(CHECK_BLOCKS) {
            watch.check()?;
        }
        match block {
            Block::Data(digest) => sorter.push(&digest.0),
            Block::Zero | Block::Hole => Ok(()),
        }
    })?;
    let mut table = staged.start(Table::Holders)?;
    let in_order = sorter.finish(watch)?;
    // A row for each run of the same chunk; what is handed over is as large as a share, which is sorted in memory.
    let runs = |chunks: &[[u8; 32]]| {
        let runs = chunks.chunk_by(|a, b| a == b);
        Ok(runs.map(|run| (run[0], run.len())).collect::<Vec<_>>())
    };
    in_order.each_share(NonZero::<usize>::MIN, watch, runs, |runs| {
        for (chunk, count) in runs {
            let count = Value::size(u64::try_from(count).expect("in memory"));
            table.row(&[Value::Digest(&chunk), Value::Text(&name), count])?;
        }
        Ok(())
    })?;
    staged.end(Table::Holders, &root, table)
}

/// Writes what a manifest says of its snapshot.
pub(super) fn write_snapshot(
    manifest: &Manifest,
    parent: Option<&Digest>,
    staged: &mut StagedTables<'_>,
) -> Result<u64> {
    let summary = manifest.summary();
    let mut table = staged.start(Table::Snapshots)?;
    table.row(&[
        Value::Text(&summary.root.hex()),
        parent.map(Digest::hex).as_deref().into(),
        Value::size(summary.volume_size),
        Value::size(summary.counts.data),
        Value::size(summary.counts.zero),
        Value::size(summary.counts.hole),
        Value::Text(&summary.linear.hex()),
    ])?;
    staged.end(Table::Snapshots, &summary.root, table)
}

/// Writes the chunks of a pack.
pub(super) fn write_pack(
    digest: &Digest,
    pack: &Pack,
    staged: &mut StagedTables<'_>,
) -> Result<u64> {
    let name = digest.hex();
    let mut table = staged.start(Table::Chunks)?;
    for number in 0..pack.chunk_count() {
        let entry = pack.entry(number)?;
        let group = pack.group_of(&entry);
        table.row(&[
            Value::Text(&name),
            Value::Digest(&entry.id.0),
            Value::Text(match group.form {
                Form::Whole => "whole",
                Form::Patched => "patched",
            }),
            Value::Integer(stored_share(group, &entry).into()),
        ])?;
    }
    staged.end(Table::Chunks, digest, table)
}
