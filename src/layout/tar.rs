//! The tar archive around the one-file form of a bundle: plain members, each a file of the bundle, and
//! nothing else. Headers are those of [`crate::tar`].

use std::fmt;

use crate::digest::Digest;
use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::tar::layout;
use crate::tar::layout::Header;
use crate::tar::layout::RECORD_LEN;
pub(crate) use crate::tar::layout::RECORD_SIZE;

/// Most members that are read: two for each pack of the largest volume.
const MAX_MEMBERS: usize = 1 << 18;

/// What is wrong with the archive of a bundle, beside its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveFault {
    /// A member is neither a file nor a folder.
    TypeFlag {
        /// Flag found.
        found: u8,
    },
    /// The archive ends before a member does.
    Short,
    /// There are more members than are read.
    Members,
    /// A name is not one of a bundle's files.
    Stranger,
    /// The two records of zeros at the end are not there, or something is behind them.
    End,
}

impl fmt::Display for ArchiveFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TypeFlag { found } => write!(
                f,
                "the tar member is of type {:?}, expected a plain file or folder",
                char::from(found)
            ),
            Self::Short => write!(f, "the tar archive ends inside a member"),
            Self::Stranger => write!(f, "the tar member is not a file of a bundle"),
            Self::End => write!(f, "the tar archive does not end in two records of zeros"),
            Self::Members => write!(f, "the tar archive has over {MAX_MEMBERS} members"),
        }
    }
}

impl std::error::Error for ArchiveFault {}

impl Fault for ArchiveFault {
    fn kind(&self) -> Kind {
        match self {
            Self::TypeFlag { .. } => Kind::Unsupported,
            Self::Members => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// Returns the header of a member.
///
/// # Panics
///
/// If the name or the size does not fit: a bundle's names are of 77 bytes at most, and a blob is
/// below 8 GiB, so that every tar reads it.
pub(crate) fn header(name: &str, size: u64) -> [u8; RECORD_LEN] {
    assert!(size < 1 << 33, "{name} of {size} bytes");
    layout::encode(name, size)
}

/// A member: its name, and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// Checks that only zeros follow from byte `at` on, two records of them or more.
fn check_end(archive: &dyn ReadAt, at: u64) -> Result<()> {
    /// Most padding: tar itself fills up blocks of twenty records.
    const MOST: u64 = 1 << 20;
    let len = archive.len().strict_sub(at);
    let fault = || Error::from(ArchiveFault::End).at(at);
    if !(2 * RECORD_SIZE..=MOST).contains(&len) {
        return Err(fault());
    }
    if is_zero(&read_vec(archive, at, len)?) { Ok(()) } else { Err(fault()) }
}

/// Tells whether a bundle has a file of this name.
fn is_bundles(name: &str) -> bool {
    let blob = name.strip_prefix("blobs/sha256/").and_then(Digest::from_hex).is_some();
    blob || matches!(name, "oci-layout" | "index.json")
}

/// Tells whether an archive begins with a file of a bundle, or holds the one that every bundle has.
///
/// Nothing but the first name is believed at first: a damaged bundle is one all the same.
pub(crate) fn is_bundle(archive: &dyn ReadAt) -> Result<bool> {
    let mut record = [0; RECORD_LEN];
    if archive.len() < RECORD_SIZE {
        return Ok(false);
    }
    archive.read_exact_at(&mut record, 0)?;
    if !matches!(&record[257..263], b"ustar\0" | b"ustar ") {
        return Ok(false);
    }
    let end = record[..100].iter().position(|byte| *byte == 0).unwrap_or(100);
    let name = std::str::from_utf8(&record[..end]).unwrap_or_default();
    let plain = |name: &str| name.strip_prefix("./").unwrap_or(name).to_owned();
    if is_bundles(&plain(name)) {
        return Ok(true);
    }
    let is_layout = |member: &crate::tar::Member| plain(&member.name) == "oci-layout";
    Ok(crate::tar::members(archive).is_ok_and(|members| members.iter().any(is_layout)))
}

/// Lists the files of an archive.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit`, at the offset of the member's header; `Io`.
pub(crate) fn members(archive: &dyn ReadAt) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let mut record = [0; RECORD_LEN];
        archive.read_exact_at(&mut record, at)?;
        let header = Header::parse(&record).map_err(|fault| Error::from(fault).at(at))?;
        let Some(Header { name, size, type_flag }) = header else {
            check_end(archive, at)?;
            return Ok(members);
        };
        let offset = at.strict_add(RECORD_SIZE);
        let end = size
            .checked_next_multiple_of(RECORD_SIZE)
            .and_then(|padded| offset.checked_add(padded))
            .filter(|end| *end <= archive.len());
        let Some(end) = end else { return Err(Error::from(ArchiveFault::Short).at(at)) };
        match type_flag {
            b'0' | 0 => {
                let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
                if !is_bundles(&name) {
                    return Err(Error::from(ArchiveFault::Stranger).at(at));
                }
                members.push(Member { name, offset, size });
            }
            b'5' => {}
            found => return Err(Error::from(ArchiveFault::TypeFlag { found }).at(at)),
        }
        if members.len() > MAX_MEMBERS {
            return Err(Error::from(ArchiveFault::Members).at(at));
        }
        at = end;
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut bytes = header("oci-layout", 3).to_vec();
        bytes.extend_from_slice(b"abc");
        bytes.resize(1024, 0);
        bytes.extend_from_slice(&header("index.json", 0));
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    #[test]
    fn members_come_back() {
        let members = members(&archive()).unwrap();
        let expected = [("oci-layout", 512, 3), ("index.json", 1536, 0)];
        let expected =
            expected.map(|(name, offset, size)| Member { name: name.into(), offset, size });
        assert_eq!(members, expected);
    }

    #[test]
    fn every_prefix_that_loses_a_member_is_refused() {
        let bytes = archive();
        for end in 0..bytes.len() {
            assert!(members(&bytes[..end].to_vec()).is_err(), "{end}");
        }
    }

    /// Each check, tripped by changed bytes; the checksum is made right where it is not the point.
    #[test]
    fn a_broken_header_is_named() {
        let trip = |at: usize, value: &[u8], mend: bool| {
            let mut bytes = archive();
            bytes[at..at + value.len()].copy_from_slice(value);
            if mend {
                layout::seal(bytes.first_chunk_mut().unwrap());
            }
            members(&bytes).unwrap_err().to_string()
        };
        for (at, value, mend, text) in [
            (257, &b"vstar"[..], false, "magic"),
            (0, b"x", false, "checksum"),
            (124, b"9", true, "octal"),
            // As other readers take it: blanks are 0, so the next header is looked for too early.
            (124, b"           ", true, "magic"),
            (124, b"77777777777", true, "ends inside"),
            (156, b"2", true, "type '2'"),
        ] {
            let error = trip(at, value, mend);
            assert!(error.contains(text), "{at} {value:?}: {error}");
        }
    }
}
