//! Memory maps, and the one place that owns the question of bus errors.
//!
//! If a mapped file is truncated, touching the lost pages raises `SIGBUS`, and the process dies by default. A program that
//! calls [`catch_bus_errors`] lives on: the handler puts a page of zeros under the address, and the checksums that guard every
//! mapped structure turn the zeros into an ordinary error.
#![allow(unsafe_code, reason = "memory maps cannot be made without")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use memmap2::Mmap;
use memmap2::MmapOptions;

/// Most maps at one time; a file over that is read into memory instead.
const SLOT_COUNT: usize = 1024;

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

/// A range of a file as a slice of memory.
#[derive(Debug)]
pub(in crate::io) struct Map {
    map: Mmap,
    slot: usize,
}

impl Map {
    /// Maps `len` bytes of a file, from `offset` on, which lie inside it; `None` if there are too many maps already.
    ///
    /// # Errors
    ///
    /// Whatever the system refuses.
    pub(in crate::io) fn new(file: &File, offset: u64, len: usize) -> io::Result<Option<Self>> {
        let Some(slot) = take_slot() else { return Ok(None) };
        // SAFETY: the range lies inside the file as it was at opening, and the map is
        // private and never written through. If another process writes to the file, the
        // bytes can change between two reads: every reader copies a field out once, uses
        // the copy, and checks it by checksum or digest, so no promise rests on two equal
        // reads. If the file is cut, the handler below keeps the pages readable.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file) };
        let map = map.inspect_err(|_| SLOTS[slot].end.store(0, Ordering::Release))?;
        let start = map.as_ptr().addr();
        SLOTS[slot].start.store(start, Ordering::Release);
        SLOTS[slot].end.store(start.strict_add(len), Ordering::Release);
        Ok(Some(Self { map, slot }))
    }

    /// Tells whether a part of the bytes could not be read, so that zeros stand in its place.
    pub(in crate::io) fn is_lost(&self) -> bool {
        SLOTS[self.slot].lost.load(Ordering::Acquire)
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        SLOTS[self.slot].end.store(0, Ordering::Release);
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

/// Makes a cut file under a map zeros instead of the end of the process.
///
/// # Errors
///
/// Whatever the system refuses.
pub(in crate::io) fn catch_bus_errors() -> io::Result<()> {
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
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
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
mod tests {
    use super::*;

    /// The test of a file that is cut stands with [`Mapped`](crate::io::Mapped).
    #[test]
    fn a_map_that_is_dropped_gives_its_slot_back() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        for _ in 0..=SLOT_COUNT {
            let map = Map::new(&file, 4096, 4096).unwrap().unwrap();
            assert!(!map.is_lost() && map.iter().all(|byte| *byte == 0));
        }
    }
}
