//! Files of our own formats as slices of memory.
//!
//! Only manifests and pack indexes are mapped: they are looked into at a few places, while an image is read whole.

use std::ops::Deref;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::io::system;
use crate::io::system::Map;

/// Shortest file that is worth a map, in bytes.
const SHORTEST_MAP: u64 = 64 << 10;

#[derive(Debug)]
enum Bytes {
    Mapped(Map),
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
            let map = Map::new(file, offset, len).map_err(|e| Error::io("map", input.path(), e))?;
            if let Some(map) = map {
                return Ok(Self(Bytes::Mapped(map)));
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
        match &self.0 {
            Bytes::Mapped(map) if map.is_lost() => {
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
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
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
    system::catch_bus_errors()
        .map_err(|e| Error::io("handle bus errors in", "this process".as_ref(), e))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use std::io::Write;

    #[test]
    #[cfg_attr(amikit_plain_io, ignore = "nothing is mapped there")]
    fn a_file_cut_under_its_map_reads_as_zeros() {
        catch_bus_errors().unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&vec![7; 1 << 20]).unwrap();
        let input = Input::open(file.path()).unwrap();
        let mapped = Mapped::new(&input, 4096, (1 << 20) - 4096).unwrap();
        assert!(matches!(mapped.0, Bytes::Mapped(_)));
        assert!(mapped.iter().all(|byte| *byte == 7));
        let damage = || mapped.blame(Error::corrupt("the digest is wrong")).kind();
        assert_eq!(damage(), Kind::Corrupt);
        file.as_file().set_len(8192).unwrap();
        assert_eq!(mapped[0], 7);
        assert_eq!(damage(), Kind::Corrupt);
        assert!(mapped[4096..].iter().all(|byte| *byte == 0));
        // Now it is not known what the file has there.
        assert_eq!(damage(), Kind::Io);
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
