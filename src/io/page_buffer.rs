//! A buffer for the bytes of an image.

use std::ops::Deref;
use std::ops::DerefMut;

/// Bytes of a page: what buffers are aligned to.
const PAGE_LEN: usize = 4096;

/// Bytes that begin at a page.
///
/// The kernel copies from its page cache to a place that is aligned as the cache is much faster than
/// to one that is not: `pread` of 256 KiB into a page-aligned buffer ran at 1.4 times the speed of one
/// into what the allocator gives for it, which begins 16 bytes behind a page.
#[derive(Debug, Default)]
pub struct PageBuffer {
    /// Has room for `len` bytes from the first page on.
    room: Vec<u8>,
    start: usize,
    len: usize,
}

impl PageBuffer {
    /// Returns `len` bytes, all zero.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let mut buffer = Self::default();
        buffer.resize(len);
        buffer
    }

    /// Makes it `len` bytes long. What the bytes are then is not said: they are to be overwritten.
    pub fn resize(&mut self, len: usize) {
        if self.start.strict_add(len) > self.room.len() {
            // Not grown in place: it would be copied, and lie elsewhere.
            self.room = vec![0; len.strict_add(PAGE_LEN)];
            self.start = self.room.as_ptr().align_offset(PAGE_LEN).min(PAGE_LEN);
        }
        self.len = len;
    }
}

impl Deref for PageBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room[self.start..self.start.strict_add(self.len)]
    }
}

impl DerefMut for PageBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start.strict_add(self.len)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_begins_at_a_page_and_is_as_long_as_it_was_asked_to_be() {
        let mut buffer = PageBuffer::default();
        assert!(buffer.is_empty());
        for len in [1, 0, 4096, 4097, 3, 2 << 20, 5] {
            buffer.resize(len);
            assert_eq!(buffer.len(), len);
            assert!(len == 0 || buffer.as_ptr().addr().is_multiple_of(PAGE_LEN), "{len} bytes");
            buffer.fill(7);
        }
        assert!(crate::digest::is_zero(&PageBuffer::zeroed(70_000)));
    }
}
