//! A snapshot under way as a volume: its blocks over those of its parent.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::Snapshot;
use crate::error::Error;
use crate::error::Result;
use crate::serve::aws::spool::Spool;
use crate::serve::aws::spool::Spooled;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;

/// A snapshot under way. Nothing is put into it any more.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) size: u64,
    pub(super) spool: Arc<Spool>,
    pub(super) put: BTreeMap<u32, Spooled>,
    pub(super) parent: Option<Arc<Snapshot>>,
}

impl Blocks {
    /// Returns the part of the parent at `offset`, if the parent reaches there.
    fn inherited(&self, offset: u64) -> Option<&Snapshot> {
        self.parent.as_deref().filter(|parent| offset < parent.size())
    }
}

impl ReadVolume for Blocks {
    fn size(&self) -> u64 {
        self.size
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        if offset >= self.size {
            return Err(Error::invalid(format!("byte {offset} is past the end of the volume")));
        }
        let index = BlockIndex::holding(offset).expect("inside the volume");
        if let Some(spooled) = self.put.get(&index.0) {
            let kind = if spooled.is_zero() { ExtentKind::Zero } else { ExtentKind::Data };
            let end = index.offset().strict_add(BLOCK_SIZE).min(self.size);
            return Ok(Extent { range: offset..end, kind });
        }
        let next = self.put.range(index.0..).next();
        let end = next.map_or(self.size, |(next, _)| BlockIndex(*next).offset()).min(self.size);
        match self.inherited(offset) {
            Some(parent) => {
                let Extent { range, kind } = parent.extent_at(offset)?;
                Ok(Extent { range: offset..range.end.min(end), kind })
            }
            None => Ok(Extent { range: offset..end, kind: ExtentKind::Hole }),
        }
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut rest = buf;
        let mut at = offset;
        let mut plain = vec![0; BLOCK_LEN];
        while !rest.is_empty() {
            let index = BlockIndex::holding(at)
                .ok_or_else(|| Error::invalid("the range ends past the volume"))?;
            let start = usize::try_from(at.strict_sub(index.offset())).expect("in a block");
            let len = BLOCK_LEN.strict_sub(start).min(rest.len());
            let (part, behind) = rest.split_at_mut(len);
            match (self.put.get(&index.0), self.inherited(at)) {
                (Some(spooled), _) => {
                    self.spool.read(spooled, &mut plain)?;
                    part.copy_from_slice(&plain[start..][..len]);
                }
                (None, Some(parent)) => {
                    let there = parent.size().strict_sub(at);
                    let there = usize::try_from(there).unwrap_or(usize::MAX).min(len);
                    parent.read_at(at, &mut part[..there])?;
                    part[there..].fill(0);
                }
                (None, None) => part.fill(0),
            }
            at = at.strict_add(u64::try_from(len).expect("at most a block"));
            rest = behind;
        }
        Ok(())
    }

    fn unit_len(&self) -> usize {
        BLOCK_LEN
    }
}
