//! How chunks are grouped and compressed, and what memory that takes.

use std::num::NonZero;

use crate::compress::LEVELS;
use crate::compress::encoder_memory;
use crate::error::Error;
use crate::error::Result;
use crate::pack::DEFAULT_GROUP_SIZE;
use crate::pack::DEFAULT_LEVEL;
use crate::pack::DEFAULT_LEVEL_OVER_BASE;
use crate::pack::group_chunks;
use crate::pack::layout::REGION_GRAIN;
use crate::units::BLOCK_SIZE;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::format_size;

/// Memory that a run may take, and more for each thread that the user asks for.
const MEMORY: u64 = 64 << 20;
const MEMORY_A_THREAD: u64 = 96 << 20;

/// Groups that are not one thread's: the open one, and one that waits to be stored.
const SHARED_GROUPS: u64 = 2;

/// How chunks are grouped and compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Compression level of zstd, 1 to 22; `None` for 2, and for 3 over a base: what a delta brings is little, and
    /// is sent.
    pub level: Option<i32>,
    /// Plain bytes of a group: a multiple of 512 KiB, at most 64 MiB.
    pub size: u64,
    /// Bytes of the regions that the volume is packed in, a multiple of 512 MiB; `None` for one region.
    pub region: Option<u64>,
}

impl Default for Groups {
    fn default() -> Self {
        Self { level: None, size: DEFAULT_GROUP_SIZE, region: None }
    }
}

impl Groups {
    /// Checks that each value is one that a pack can have.
    ///
    /// # Errors
    ///
    /// `Invalid`, naming the first that is not.
    pub fn check(&self) -> Result<()> {
        if let Some(level) = self.level
            && !LEVELS.contains(&level)
        {
            let text = format!("compression level is {level}, expected {LEVELS:?}");
            return Err(Error::invalid(text));
        }
        self.chunks()?;
        self.region_blocks().map(drop)
    }

    /// Returns the level of groups, over a base or without one.
    pub(in crate::ops) fn level(&self, over_base: bool) -> i32 {
        let default = if over_base { DEFAULT_LEVEL_OVER_BASE } else { DEFAULT_LEVEL };
        self.level.unwrap_or(default)
    }

    /// Returns the chunks of a group.
    pub(in crate::ops) fn chunks(&self) -> Result<u32> {
        group_chunks(self.size).ok_or_else(|| {
            Error::invalid(format!(
                "a group is {}, expected a multiple of 512KiB up to 64MiB",
                format_size(self.size)
            ))
        })
    }

    /// Returns the blocks of a region, or 0 if there is one.
    pub(in crate::ops) fn region_blocks(&self) -> Result<u32> {
        let Some(region) = self.region else { return Ok(0) };
        let grain = u64::from(REGION_GRAIN).strict_mul(BLOCK_SIZE);
        let fits = region > 0 && region <= MAX_VOLUME_SIZE && region.is_multiple_of(grain);
        let blocks = u32::try_from(region.strict_div(BLOCK_SIZE)).ok().filter(|_| fits);
        blocks.ok_or_else(|| {
            Error::invalid(format!(
                "a region is {}, expected a multiple of 512MiB up to 64TiB",
                format_size(region)
            ))
        })
    }

    /// Returns what one thread needs: a group, its frame, and the encoder.
    fn memory_a_thread(&self) -> u64 {
        self.size.strict_mul(2).strict_add(encoder_memory(self.level(true)))
    }

    /// Returns how many of `wanted` threads may compress, so that memory stays in the bounds that levels up to
    /// 12 and groups up to 32 MiB keep to at any number of threads. One may, whatever it takes.
    #[must_use]
    pub fn threads(&self, wanted: NonZero<usize>) -> NonZero<usize> {
        let count = u64::try_from(wanted.get()).unwrap_or(u64::MAX);
        let room = MEMORY.saturating_add(MEMORY_A_THREAD.saturating_mul(count));
        let left = room.saturating_sub(self.size.strict_mul(SHARED_GROUPS));
        let fit = left.strict_div(self.memory_a_thread());
        let fit = usize::try_from(fit).unwrap_or(usize::MAX).min(wanted.get());
        NonZero::new(fit).unwrap_or(NonZero::<usize>::MIN)
    }

    /// Says what memory a run takes, if it has to make do with fewer threads than `wanted`.
    #[must_use]
    pub fn note(&self, wanted: NonZero<usize>) -> Option<String> {
        let threads = self.threads(wanted);
        (threads < wanted).then(|| {
            let level = self.level.map(|level| format!("level {level} with "));
            format!(
                "{}groups of {} take {} of memory a thread: {threads} of {wanted} threads compress",
                level.unwrap_or_default(),
                format_size(self.size),
                format_size(self.memory_a_thread()),
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn groups(level: i32, size: u64) -> Groups {
        Groups { level: Some(level), size, region: None }
    }

    #[test]
    fn all_threads_work_at_levels_up_to_12_and_groups_up_to_32_mib() {
        for level in 1..=12 {
            for size in [1 << 19, 4 << 20, 32 << 20] {
                for threads in [1, 2, 3, 7, 16, 200] {
                    let threads = NonZero::new(threads).unwrap();
                    let groups = groups(level, size);
                    assert_eq!(groups.threads(threads), threads, "level {level}, {size} bytes");
                    assert_eq!(groups.note(threads), None);
                }
            }
        }
    }

    #[test]
    fn beyond_that_fewer_do_and_that_is_said() {
        let sixteen = NonZero::new(16).unwrap();
        let (threads, note) =
            (groups(19, 32 << 20).threads(sixteen), groups(19, 32 << 20).note(sixteen).unwrap());
        assert!(threads.get() < 16 && threads.get() > 4, "{threads}");
        assert!(note.contains("level 19") && note.contains("of 16 threads"), "{note}");
        assert!(groups(22, 64 << 20).threads(sixteen) < threads);
        assert_eq!(groups(22, 64 << 20).threads(NonZero::<usize>::MIN).get(), 1);
    }

    #[test]
    fn what_a_pack_cannot_have_is_refused() {
        for size in [0, 1, (1 << 19) + 1, 64 << 20 | 1, 65 << 20] {
            assert!(groups(2, size).check().is_err(), "{size}");
        }
        for level in [0, 23, -1] {
            assert!(groups(level, 32 << 20).check().is_err(), "{level}");
        }
        for region in [0, 1 << 20, 513 << 20, 128 << 40] {
            let groups = Groups { region: Some(region), ..Groups::default() };
            assert!(groups.check().is_err(), "{region}");
        }
        for region in [512 << 20, 1 << 30, 64 << 40] {
            let groups = Groups { region: Some(region), ..Groups::default() };
            assert!(groups.check().is_ok(), "{region}");
        }
    }
}
