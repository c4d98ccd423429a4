//! What of a buffer goes where in a file.

use std::ops::Range;

use crate::error::Result;
use crate::io::WriteAt;

/// Parts of a buffer, each with its place in the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Writes(Vec<(u64, Range<usize>)>);

impl Writes {
    /// Adds the part `bytes` of the buffer, for byte `at` of the file. Parts that touch in both are one.
    pub(super) fn add(&mut self, at: u64, bytes: Range<usize>) {
        match self.0.last_mut() {
            Some((start, last)) if last.end == bytes.start && end_of(*start, last) == at => {
                last.end = bytes.end;
            }
            _ => self.0.push((at, bytes)),
        }
    }

    /// Writes them all.
    pub(super) fn write(&self, buffer: &[u8], sink: &dyn WriteAt) -> Result<()> {
        self.0.iter().try_for_each(|(at, bytes)| sink.write_all_at(&buffer[bytes.clone()], *at))
    }
}

/// Returns the byte of the file behind a part that starts at byte `at`.
fn end_of(at: u64, bytes: &Range<usize>) -> u64 {
    at.strict_add(u64::try_from(bytes.len()).expect("memory is under 2^64 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_touch_in_the_buffer_and_in_the_file_are_one() {
        let mut writes = Writes::default();
        for (at, bytes) in [(100, 0..10), (110, 10..20), (130, 20..30), (140, 31..40), (50, 40..41)]
        {
            writes.add(at, bytes);
        }
        assert_eq!(writes.0, [(100, 0..20), (130, 20..30), (140, 31..40), (50, 40..41)]);
    }
}
