//! Memory maps of our own files, and the one place that owns the question of bus errors.
//!
//! Only manifests and pack indexes are mapped: they are looked into at a few places, while an image
//! is read whole. If a mapped file is truncated, touching the lost pages raises `SIGBUS`, and
//! the process dies by default. A program that calls [`catch_bus_errors`] lives on: the handler puts
//! a page of zeros under the address, and the checksums that guard every mapped structure turn the
//! zeros into an ordinary error.
#![allow(unsafe_code, reason = "memory maps cannot be made without")]

use std::io;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use memmap2::Mmap;
use memmap2::MmapOptions;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::read_vec;

/// Most maps at one time; a file over that is read into memory instead.
const SLOT_COUNT: usize = 1024;

/// Shortest file that is worth a map, in bytes.
const SHORTEST_MAP: u64 = 64 << 10;

/// A mapped range of addresses; `end` 0 means that the slot is free.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Whether the handler had to put zeros somewhere in the range.
    lost: AtomicBool,
}

/// The ranges that the handler answers for. A plain table, because a signal handler may take no
/// lock and allocate nothing.
static SLOTS: [Slot; SLOT_COUNT] = [const {
    Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), lost: AtomicBool::new(false) }
}; SLOT_COUNT];

/// Marks a slot that is being filled: no address lies in it.
const TAKEN: usize = usize::MAX;

#[derive(Debug)]
enum Bytes {
    Mapped { map: Mmap, slot: usize },
    Owned(Vec<u8>),
}

/// A range of a file as a slice of memory.
#[derive(Debug)]
pub struct Mapped(Bytes);

impl Mapped {
    /// Makes `len` bytes of `input`, from `offset` on, readable as memory.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the file ends before that, `Io` if the system refuses.
    pub fn new(input: &Input, offset: u64, len: u64) -> Result<Self> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= input.len());
        if let Some(file) = input.regular_file()
            && inside
            && len >= SHORTEST_MAP
        {
            let len = usize::try_from(len)
                .map_err(|_| Error::corrupt("the range is larger than memory").at(offset))?;
            if let Some(slot) = take_slot() {
                // SAFETY: the range lies inside the file as it was at opening, and the map is
                // private and never written through. If another process writes to the file, the
                // bytes can change between two reads: every reader copies a field out once, uses
                // the copy, and checks it by checksum or digest, so no promise rests on two equal
                // reads. If the file is cut, the handler below keeps the pages readable.
                let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file) };
                let map = map.map_err(|e| {
                    SLOTS[slot].end.store(0, Ordering::Release);
                    Error::io("map", input.path(), e)
                })?;
                let start = map.as_ptr().addr();
                SLOTS[slot].start.store(start, Ordering::Release);
                SLOTS[slot].end.store(start.strict_add(len), Ordering::Release);
                return Ok(Self(Bytes::Mapped { map, slot }));
            }
        }
        read_vec(input, offset, len).map(|bytes| Self(Bytes::Owned(bytes)))
    }

    /// Fails if a part of the bytes could not be read, so that zeros stand in its place. A caller that looks
    /// for something and does not find it has to ask.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn check(&self) -> Result<()> {
        match self.0 {
            Bytes::Mapped { slot, .. } if SLOTS[slot].lost.load(Ordering::Acquire) => {
                let text = "a part of it cannot be read, or was cut off while it was read";
                Err(Error::new(Kind::Io, text))
            }
            _ => Ok(()),
        }
    }

    /// Decides who is to blame for bytes that are not intact: returns the failure of [`Mapped::check`] if there
    /// is one, else `error`.
    #[must_use]
    pub fn blame(&self, error: Error) -> Error {
        self.check().err().unwrap_or(error)
    }
}

impl From<Vec<u8>> for Mapped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Owned(bytes))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped { map, .. } => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if let Bytes::Mapped { slot, .. } = self.0 {
            SLOTS[slot].end.store(0, Ordering::Release);
        }
    }
}

/// Takes a free slot of the table.
fn take_slot() -> Option<usize> {
    SLOTS.iter().position(|slot| {
        let taken =
            slot.end.compare_exchange(0, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if taken {
            // Until the range is known, the slot holds the empty one at the top.
            slot.start.store(TAKEN, Ordering::Release);
            slot.lost.store(false, Ordering::Release);
        }
        taken
    })
}

/// Makes a cut file under a map an ordinary error instead of the end of the process.
///
/// For a program to call once, early. It replaces the process's handler of `SIGBUS`; for an address
/// outside our maps it puts the default back, so that the signal ends the process as ever.
///
/// # Errors
///
/// `Io` if the system refuses the handler.
pub fn catch_bus_errors() -> Result<()> {
    // SAFETY: all bytes zero is a valid `sigaction`; each field that matters is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
    action.sa_sigaction = {
        // The one conversion that has no other spelling: a function to its address.
        #[allow(clippy::as_conversions)]
        let address = handler as libc::sighandler_t;
        address
    };
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` is a whole `sigaction` whose handler has the form that `SA_SIGINFO` asks for
    // and calls only what is allowed in a handler; no old action is asked for.
    let failed = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } != 0;
    if failed {
        return Err(Error::io(
            "handle bus errors in",
            "this process".as_ref(),
            io::Error::last_os_error(),
        ));
    }
    Ok(())
}

/// The handler: a page of zeros under an address of ours, death for any other.
extern "C" fn on_bus_error(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    _context: *mut libc::c_void,
) {
    // SAFETY: the kernel passes a valid `siginfo_t` to a handler that was set with `SA_SIGINFO`, and
    // for `SIGBUS` its address field is the set one.
    let address = unsafe { (*info).si_addr() }.addr();
    let ours = SLOTS.iter().any(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        let end = slot.end.load(Ordering::Acquire);
        let inside = start <= address && address < end;
        if inside {
            slot.lost.store(true, Ordering::Release);
        }
        inside
    });
    // Every supported system has pages of a power of two of at least this size; a larger page only
    // means that the handler runs again for the next part.
    let page = address & !0xfff;
    // SAFETY: `mmap` is a plain system call here. The page lies in a range that one of our live,
    // read-only maps covers, so replacing it touches nobody else's memory; the slice over it stays
    // readable, and reads zeros.
    let mapped = ours
        && unsafe {
            libc::mmap(
                ptr::without_provenance_mut(page),
                0x1000,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            ) != libc::MAP_FAILED
        };
    if !mapped {
        // SAFETY: setting the default action is allowed in a handler; the fault then comes again
        // and ends the process, as it would have without us.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::io::Write;

    #[test]
    fn a_file_cut_under_its_map_reads_as_zeros() {
        catch_bus_errors().unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let input = Input::open(file.path()).unwrap();
        let mapped = Mapped::new(&input, 4096, (1 << 20) - 4096).unwrap();
        assert!(matches!(mapped.0, Bytes::Mapped { .. }));
        assert!(mapped.iter().all(|byte| *byte == 7));
        let damage = || mapped.blame(Error::corrupt("the digest is wrong")).kind();
        assert_eq!(damage(), Kind::Corrupt);
        file.as_file().set_len(8192).unwrap();
        assert_eq!(mapped[0], 7);
        assert_eq!(damage(), Kind::Corrupt);
        assert!(mapped[4096..].iter().all(|byte| *byte == 0));
        // Now it is not known what the file has there.
        assert_eq!(damage(), Kind::Io);
        drop(mapped);
        assert!(
            SLOTS.iter().all(|slot| slot.end.load(Ordering::Relaxed) == 0
                || slot.start.load(Ordering::Relaxed) != 0)
        );
    }

    #[test]
    fn a_range_past_the_end_is_refused() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[1; 100]).unwrap();
        let input = Input::open(file.path()).unwrap();
        assert!(Mapped::new(&input, 50, 51).is_err());
        assert!(Mapped::new(&input, u64::MAX, 2).is_err());
        assert_eq!(&*Mapped::new(&input, 50, 50).unwrap(), &[1; 50]);
    }
}
