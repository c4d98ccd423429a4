//! A snapshot as a volume: blocks read side by side into a file without a name.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::aws::BlockList;
use crate::aws::ListedBlock;
use crate::error::Error;
use crate::error::Result;
use crate::io::Scratch;
use crate::io::WriteAt as _;
use crate::manifest::zero_block_digest;
use crate::ops::fetch::request::FetchedVolume;
use crate::ops::fetch::request::Fetching;
use crate::ops::fetch::request::OverBase;
use crate::ops::shared::mapping::OpenedMapping;
use crate::ops::shared::open::OpenedVolume;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::in_order;

/// Bytes of a GiB.
const GIB: u64 = 1 << 30;

impl Fetching<'_> {
    /// Reads a snapshot into a file without a name, as many blocks at a time as there are connections.
    pub(super) fn read_volume(
        &self,
        device: &str,
        snapshot_id: &str,
        base: Option<&OverBase>,
    ) -> Result<(OpenedMapping, FetchedVolume)> {
        let name = PathBuf::from(snapshot_id);
        let scratch = Scratch::create()?;
        let read = Blocks::default();
        let first = base.map(|it| it.snapshot_id.as_str());
        let list = RefCell::new(BlockList::new(self.aws, self.region, snapshot_id, first, 0));
        self.watch.begin(None);
        let jobs = std::iter::from_fn(|| list.borrow_mut().next());
        let fetch = |block: ListedBlock| {
            // A block that only the base has is a hole here.
            let Some(token) = block.block_token else { return Ok((block.block_index, None)) };
            let (bytes, digest) =
                self.aws.get_block(self.region, snapshot_id, block.block_index, &token)?;
            let is_zero = digest == zero_block_digest();
            if !is_zero {
                scratch.write_all_at(&bytes, BlockIndex(block.block_index).offset())?;
            }
            self.watch.advance(BLOCK_SIZE);
            Ok((block.block_index, Some(is_zero)))
        };
        in_order(
            self.request.connections,
            self.watch,
            jobs,
            || Ok(()),
            |(), block| fetch(block),
            |(index, kind)| {
                read.add(index, kind);
                Ok(())
            },
        )?;
        let gib = list.into_inner().gib();
        let size = gib.checked_mul(GIB).filter(|it| *it > 0).ok_or_else(|| {
            Error::invalid(format!("{snapshot_id} has {gib} GiB, expected a volume's size"))
        })?;
        let mut kinds = read.into_inner();
        let read_blocks = u64::try_from(kinds.values().flatten().count()).expect("memory");
        let base_blocks = match base {
            Some(base) => self.copy_base(base, snapshot_id, &scratch, &mut kinds)?,
            None => 0,
        };
        let volume = laid_down(scratch, &kinds, size, &name)?;
        let mapping = OpenedMapping {
            device: device.to_owned(),
            named: name.clone(),
            source: OpenedVolume::unsealed(&name, volume, Vec::new()),
            free: None,
        };
        let fetched = FetchedVolume {
            device: device.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            base_id: first.map(str::to_owned),
            read_blocks,
            base_blocks,
            volume_size_bytes: size,
        };
        Ok((mapping, fetched))
    }
}

/// Blocks that were read: whether they are zeros; nothing for a hole.
#[derive(Default)]
struct Blocks(Mutex<BTreeMap<u32, Option<bool>>>);

impl Blocks {
    fn add(&self, index: u32, kind: Option<bool>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(index, kind);
    }

    fn into_inner(self) -> BTreeMap<u32, Option<bool>> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a volume of blocks in a file.
fn laid_down(
    scratch: Scratch,
    kinds: &BTreeMap<u32, Option<bool>>,
    size: u64,
    name: &Path,
) -> Result<Volume> {
    let input = scratch.into_sparse_input(size, name)?;
    let mut map = RunMap::default();
    let mut at = 0_u64;
    for (index, kind) in kinds {
        let range = BlockIndex(*index).range(size);
        let Some(is_zero) = kind else { continue };
        if BlockIndex(*index).offset() >= size {
            let text = format!("block {index} is past the end of the volume of {size} bytes");
            return Err(Error::corrupt(text).in_file(name));
        }
        if range.start > at {
            map.push(range.start.strict_sub(at), Place::Hole);
        }
        let len = range.end.strict_sub(range.start);
        let stored = Place::Stored { source: 0, offset: range.start };
        map.push(len, if *is_zero { Place::Zero } else { stored });
        at = range.end;
    }
    if at < size {
        map.push(size.strict_sub(at), Place::Hole);
    }
    Volume::new(map, vec![Arc::new(input).into()])
}
