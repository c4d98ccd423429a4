//! Packed units: unpacked into memory that a thread borrows.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::compress::Unpacker;
use crate::error::Error;
use crate::error::Result;
use crate::io::ReadAt;
use crate::volume::Unit;

/// Which unit: the source and where its packed bytes start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) source: u16,
    pub(super) offset: u64,
}

/// A context and the unit that it unpacked last.
#[derive(Debug, Default)]
struct Lent {
    unpacker: Unpacker,
    packed: Vec<u8>,
    unit: Vec<u8>,
    key: Option<Key>,
}

/// The contexts of a volume, each lent to one thread at a time.
#[derive(Debug, Default)]
pub(super) struct Units(Mutex<Vec<Lent>>);

impl Units {
    /// Fills `buf` with the bytes of a unit from byte `skip` on.
    pub(super) fn read(
        &self,
        source: &dyn ReadAt,
        unit: Unit,
        key: Key,
        packed_len: u32,
        skip: u32,
        buf: &mut [u8],
    ) -> Result<()> {
        let mut lent =
            self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let read = lent.read(source, unit, key, packed_len, skip, buf);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(lent);
        read
    }
}

impl Lent {
    fn read(
        &mut self,
        source: &dyn ReadAt,
        unit: Unit,
        key: Key,
        packed_len: u32,
        skip: u32,
        buf: &mut [u8],
    ) -> Result<()> {
        let skip = usize::try_from(skip).expect("inside a unit");
        let unit_len = usize::try_from(unit.len).expect("at most 2 MiB");
        if self.key != Some(key) {
            // What a source says of a packed length is a bound, and may pass its end.
            let there = source.len().saturating_sub(key.offset);
            let len = usize::try_from(there.min(u64::from(packed_len))).expect("at most 4 MiB");
            self.packed.resize(len, 0);
            source.read_exact_at(&mut self.packed, key.offset)?;
            let whole = buf.len() == unit_len;
            self.unit.resize(unit_len, 0);
            let target = if whole { &mut *buf } else { &mut self.unit[..] };
            self.key = None;
            self.unpacker
                .unpack(unit.codec, &self.packed, target)
                .map_err(|fault| Error::from(fault).at(key.offset))?;
            if whole {
                return Ok(());
            }
            self.key = Some(key);
        }
        buf.copy_from_slice(&self.unit[skip..][..buf.len()]);
        Ok(())
    }
}
