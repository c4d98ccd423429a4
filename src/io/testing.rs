//! Files in memory and counters of calls, for the tests of other rooms.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::error::Result;
use crate::io::ReadAt;
use crate::io::WriteAt;

/// An output in memory, for formats that write every byte: asking for a hole is a fault of the test.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Vec<u8>>);

impl Memory {
    /// Returns what was written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WriteAt for Memory {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = usize::try_from(offset).unwrap();
        let end = start.strict_add(bytes.len());
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
        Ok(())
    }

    fn make_hole_at(&self, len: u64, offset: u64) -> Result<()> {
        unreachable!("a hole of {len} bytes at byte {offset}, and the format has none")
    }

    fn set_size(&self, size: u64) -> Result<()> {
        let size = usize::try_from(size).unwrap();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).resize(size, 0);
        Ok(())
    }
}

/// A source in memory that counts how often it is read.
#[derive(Debug)]
pub(crate) struct Counted(Vec<u8>, AtomicU64);

impl Counted {
    /// Takes the bytes of the source.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes, AtomicU64::new(0))
    }

    /// Returns how often it was read.
    pub(crate) fn reads(&self) -> u64 {
        self.1.load(Ordering::Relaxed)
    }
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        ReadAt::len(&self.0)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.read_exact_at(buf, offset)
    }
}
