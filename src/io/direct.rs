//! Writes past the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::io::system::open_direct;

/// What memory, place and length of a direct write are multiples of, in bytes: the largest block of
/// any disk in use, and a page.
const ALIGNMENT: usize = 4096;

/// Shortest direct write, in bytes. A direct write waits for the disk, so short ones are left to the
/// page cache.
const SHORTEST: usize = 512 << 10;

/// Another handle of an output file, whose writes go from the buffer to the disk.
///
/// An output is on the disk before it has its name, so the page cache cannot save the way there. It
/// costs a copy, and pages: on a virtual machine whose free memory is back with its host, 2 GiB of
/// them took 2 to 5 s, where 2 GiB go to the disk directly in about 1 s.
#[derive(Debug)]
pub(super) struct Direct {
    file: Option<File>,
    /// Whether a write was refused that should have been taken: this file system does not do it.
    refused: AtomicBool,
}

impl Direct {
    /// Opens a file once more, the very file, whatever its name means now. Where that cannot be had, all
    /// is left to the page cache.
    pub(super) fn of(file: &File) -> Self {
        Self { file: open_direct(file), refused: AtomicBool::new(false) }
    }

    /// Writes what it can of the beginning of `bytes` at `offset`, and returns how much that was: a
    /// multiple of a page, or all, or nothing.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let Some(file) = &self.file else { return Ok(0) };
        let place = usize::try_from(offset).unwrap_or(1);
        let aligned = bytes.as_ptr().addr().is_multiple_of(ALIGNMENT)
            && place.is_multiple_of(ALIGNMENT)
            && bytes.len() >= SHORTEST;
        if !aligned || self.refused.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let whole = bytes.len().strict_sub(bytes.len() % ALIGNMENT);
        match file.write_at(&bytes[..whole], offset) {
            // What a short write leaves behind its last page is written again.
            Ok(written) => Ok(written.strict_sub(written % ALIGNMENT)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e)
                if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                self.refused.store(true, Ordering::Relaxed);
                Ok(0)
            }
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::path::PathBuf;

    use crate::io::OutputFile;
    use crate::io::PageBuffer;
    use crate::io::WriteAt;

    /// Folders in memory, and wherever the system has temporary files.
    fn folders() -> Vec<tempfile::TempDir> {
        let places: [PathBuf; 2] = ["/dev/shm".into(), std::env::temp_dir()];
        places.iter().filter_map(|place| tempfile::tempdir_in(place).ok()).collect()
    }

    #[test]
    fn what_is_written_is_there_at_any_place_and_of_any_length() {
        let mut bytes = PageBuffer::zeroed(3 * SHORTEST);
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(at % 251).unwrap();
        }
        for folder in folders() {
            let target = folder.path().join("image");
            for (start, len, offset) in [
                (0, SHORTEST, 0),
                (0, SHORTEST + 1, 4096),
                (0, 2 * SHORTEST + 4095, 1 << 20),
                (4096, SHORTEST - 1, 0),
                (1, SHORTEST, 4096),
                (0, SHORTEST, 512),
                (0, 2 * SHORTEST, 1),
            ] {
                let output = OutputFile::create(&target).unwrap();
                output.set_size(8 << 20).unwrap();
                let written = &bytes[start..start + len];
                output.write_all_at(written, offset).unwrap();
                output.commit().unwrap();
                let mut expected = vec![0; 8 << 20];
                let offset = usize::try_from(offset).unwrap();
                expected[offset..offset + len].copy_from_slice(written);
                assert!(std::fs::read(&target).unwrap() == expected, "{start} {len} {offset}");
            }
        }
    }

    #[test]
    fn only_whole_pages_from_a_page_to_a_page_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image");
        let direct = Direct::of(&File::create(&path).unwrap());
        let bytes = PageBuffer::zeroed(2 * SHORTEST);
        for (start, len, offset) in
            [(1, SHORTEST, 0), (0, SHORTEST - 1, 0), (0, SHORTEST, 512), (0, SHORTEST, 1)]
        {
            assert_eq!(direct.write_at(&bytes[start..start + len], offset).unwrap(), 0);
        }
        // A file system may do none of it.
        let taken = direct.write_at(&bytes[..SHORTEST + 5], 0).unwrap();
        assert!(taken == SHORTEST || taken == 0, "{taken} bytes");
    }

    #[test]
    fn a_file_that_cannot_be_opened_so_is_left_to_the_page_cache() {
        let folder = tempfile::tempdir().unwrap();
        let direct = Direct::of(&File::open(folder.path()).unwrap());
        assert_eq!(direct.write_at(&PageBuffer::zeroed(SHORTEST), 0).unwrap(), 0);
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let direct =
            Direct { file: File::create("/dev/full").ok(), refused: AtomicBool::new(false) };
        if direct.file.is_some() {
            let error = direct.write_at(&PageBuffer::zeroed(SHORTEST), 0).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
