//! The hot path: a volume to blocks, blocks to states and chunk ids, chunks to groups.
//!
//! Blocks are worked on side by side and handed over in order, so what comes out is the same at any
//! number of threads. Each worker copies a block once, piece by piece, into a buffer of its own, and
//! tests, hashes and stores that copy: what was hashed is what is stored, and a piece is still in the
//! processor's cache when its digest is made.

mod blocks;
mod grouping;
mod jobs;
mod options;
mod storing;

use crate::chunking::blocks::Looked;
use crate::chunking::blocks::Looker;
use crate::chunking::blocks::MOST_BLOCKS;
use crate::chunking::jobs::Job;
use crate::chunking::jobs::stream_jobs;
use crate::chunking::jobs::volume_jobs;
use crate::digest::Lanes;
use crate::error::Result;
use crate::units::ExtentKind;
use crate::volume::check_size;
use crate::work::Buffers;
use crate::work::in_order;

pub use options::Options;
pub use options::Patcher;
pub use options::Sink;
pub use options::Source;
pub use options::States;
pub use options::Store;

/// Most blocks of a job whose chunks are stored: two mebibytes of plain bytes a worker. Hashing is
/// a small part of that work, so more lanes would only take memory.
const MOST_STORED_BLOCKS: usize = 4;

/// Cuts `source` into blocks, hands each to `sink`, and returns the volume's size in bytes.
///
/// # Errors
///
/// `Io`, `Corrupt` or `Mismatch` if the source cannot be read; `Invalid` if it is empty; `Limit`
/// over 64 TiB; `Interrupted` on request; and whatever `sink` returns.
pub fn run(source: Source<'_>, options: &Options<'_>, sink: &mut dyn Sink) -> Result<u64> {
    let buffers = Buffers::default();
    match source {
        Source::Volume(volume) => {
            check_size(volume.size())?;
            let jobs = volume_jobs(volume, options.blocks_a_job());
            run_jobs(jobs, options, &buffers, sink)?;
            volume.check_unchanged()?;
            Ok(volume.size())
        }
        Source::Stream(stream) => {
            let mut size = 0;
            let most = options.blocks_a_job();
            let jobs = stream_jobs(&mut *stream, most, &buffers, &mut size, options.watch);
            run_jobs(jobs, options, &buffers, sink)?;
            stream.check_unchanged()?;
            check_size(size)?;
            Ok(size)
        }
    }
}

fn run_jobs<'a>(
    jobs: impl Iterator<Item = Result<Job<'a>>>,
    options: &Options<'_>,
    buffers: &Buffers,
    sink: &mut dyn Sink,
) -> Result<()> {
    if let Some(store) = &options.store {
        return storing::run(jobs, options, store, buffers, sink);
    }
    let work = |looker: &mut Looker<'_>, job| looker.look(job);
    in_order(
        options.threads,
        options.watch,
        jobs,
        || Ok(Looker::new(false, buffers)),
        work,
        |looked| {
            let bytes = match looked {
                Looked::Run { kind, count, bytes } => {
                    sink.run(options.states.apply(kind), count)?;
                    bytes
                }
                Looked::Blocks { ids, bytes, .. } => {
                    for id in ids {
                        match id {
                            Some(id) => sink.data(id)?,
                            None => sink.run(options.states.apply(ExtentKind::Zero), 1)?,
                        }
                    }
                    bytes
                }
            };
            options.watch.advance(bytes);
            Ok(())
        },
    )
}

impl Options<'_> {
    /// Returns how many blocks one job takes.
    fn blocks_a_job(&self) -> usize {
        let most = if self.store.is_some() { MOST_STORED_BLOCKS } else { MOST_BLOCKS };
        Lanes::preferred().clamp(1, most)
    }
}

#[cfg(test)]
mod tests;
