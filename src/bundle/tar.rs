//! The ustar archive around the one-file form of a bundle: just what that form needs.
//!
//! ```text
//! offset size field      value
//!      0  100 name
//!    100    8 mode       octal digits, then NUL
//!    108    8 uid        likewise
//!    116    8 gid        likewise
//!    124   12 size       likewise
//!    136   12 mtime      likewise
//!    148    8 chksum     six octal digits, NUL, space: the sum of the header's bytes, these as spaces
//!    156    1 typeflag   '0' (or NUL) a file, '5' a folder
//!    257    6 magic      "ustar" and NUL (POSIX), or a space (GNU)
//!    263    2 version    "00", or a space and NUL
//!    345  155 prefix     in front of the name and a slash, where it is not empty
//! ```
//!
//! Source: POSIX.1-2017, `pax`, "ustar Interchange Format".

use std::fmt;

use crate::digest::Digest;
use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::io::read_vec;

/// Bytes of a header, and what members are padded to.
pub(super) const RECORD_LEN: usize = 512;

/// [`RECORD_LEN`] as an offset.
pub(super) const RECORD_SIZE: u64 = 512;

/// Most members that are read: two for each pack of the largest volume.
const MAX_MEMBERS: usize = 1 << 18;

/// What is wrong with an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TarFault {
    /// A header has no ustar magic.
    Magic,
    /// A header's checksum does not fit it.
    Checksum,
    /// A number is not octal.
    Number,
    /// A member is neither a file nor a folder.
    TypeFlag {
        /// Flag found.
        found: u8,
    },
    /// A name is not text.
    Name,
    /// The archive ends before a member does.
    Short,
    /// There are more members than are read.
    Members,
    /// A name is not one of a bundle's files.
    Stranger,
    /// The two records of zeros at the end are not there, or something is behind them.
    End,
}

impl fmt::Display for TarFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic => write!(f, "the tar header lacks the magic of ustar"),
            Self::Checksum => write!(f, "the tar header's checksum does not fit it"),
            Self::Number => write!(f, "a number of the tar header is not octal"),
            Self::TypeFlag { found } => write!(
                f,
                "the tar member is of type {:?}, expected a plain file or folder",
                char::from(found)
            ),
            Self::Name => write!(f, "the tar member's name is not UTF-8"),
            Self::Short => write!(f, "the tar archive ends inside a member"),
            Self::Stranger => write!(f, "the tar member is no file of a bundle"),
            Self::End => write!(f, "the tar archive does not end in two records of zeros"),
            Self::Members => write!(f, "the tar archive has over {MAX_MEMBERS} members"),
        }
    }
}

impl std::error::Error for TarFault {}

impl Fault for TarFault {
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
/// below 8 GiB.
pub(super) fn header(name: &str, size: u64) -> [u8; RECORD_LEN] {
    let mut bytes = [0; RECORD_LEN];
    let mut put = |at: usize, text: &[u8]| bytes[at..][..text.len()].copy_from_slice(text);
    assert!(name.len() <= 100 && size < 1 << 33, "{name} of {size} bytes");
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

/// A member: its name, and where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Reads a header. `None` is the record of zeros that ends an archive.
fn parse(bytes: &[u8; RECORD_LEN]) -> Result<Option<(String, u64, u8)>, TarFault> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    if !matches!(&bytes[257..263], b"ustar\0" | b"ustar ") {
        return Err(TarFault::Magic);
    }
    let spaces = 8 * u32::from(b' ');
    let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|byte| u32::from(*byte)).sum();
    if octal(&bytes[148..156])? != u64::from(sum.strict_add(spaces)) {
        return Err(TarFault::Checksum);
    }
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8(field[..end].to_vec()).map_err(|_| TarFault::Name)
    };
    let mut name = text(&bytes[..100])?;
    // GNU's own headers keep times where POSIX has the prefix.
    if bytes[262] == 0 && bytes[345] != 0 {
        name = format!("{}/{name}", text(&bytes[345..500])?);
    }
    Ok(Some((name, octal(&bytes[124..136])?, bytes[156])))
}

fn octal(field: &[u8]) -> Result<u64, TarFault> {
    let text = std::str::from_utf8(field).map_err(|_| TarFault::Number)?;
    let digits = text.trim_matches(['\0', ' ']);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| u64::from_str_radix(digits, 8).ok()).flatten().ok_or(TarFault::Number)
}

/// Checks that only zeros follow from byte `at` on, two records of them or more.
fn check_end(archive: &dyn ReadAt, at: u64) -> Result<()> {
    /// Most padding: tar itself fills up blocks of twenty records.
    const MOST: u64 = 1 << 20;
    let len = archive.len().strict_sub(at);
    let fault = || Error::from(TarFault::End).at(at);
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
pub(super) fn is_bundle(archive: &dyn ReadAt) -> Result<bool> {
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
pub(super) fn members(archive: &dyn ReadAt) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    let mut at = 0;
    loop {
        let mut record = [0; RECORD_LEN];
        archive.read_exact_at(&mut record, at)?;
        let parsed = parse(&record).map_err(|fault| Error::from(fault).at(at))?;
        let Some((name, size, flag)) = parsed else {
            check_end(archive, at)?;
            return Ok(members);
        };
        let offset = at.strict_add(RECORD_SIZE);
        let end = size
            .checked_next_multiple_of(RECORD_SIZE)
            .and_then(|padded| offset.checked_add(padded))
            .filter(|end| *end <= archive.len());
        let Some(end) = end else { return Err(Error::from(TarFault::Short).at(at)) };
        match flag {
            b'0' | 0 => {
                let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
                if !is_bundles(&name) {
                    return Err(Error::from(TarFault::Stranger).at(at));
                }
                members.push(Member { name, offset, size });
            }
            b'5' => {}
            found => return Err(Error::from(TarFault::TypeFlag { found }).at(at)),
        }
        if members.len() > MAX_MEMBERS {
            return Err(Error::from(TarFault::Members).at(at));
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
                bytes[148..156].fill(b' ');
                let sum: u32 = bytes[..512].iter().map(|byte| u32::from(*byte)).sum();
                bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            members(&bytes).unwrap_err().to_string()
        };
        for (at, value, mend, text) in [
            (257, &b"vstar"[..], true, "magic"),
            (0, b"x", false, "checksum"),
            (124, b"9", true, "octal"),
            (124, b"           ", true, "octal"),
            (124, b"77777777777", true, "ends inside"),
            (156, b"2", true, "type '2'"),
            (0, b"\xff\xfe", true, "UTF-8"),
        ] {
            let error = trip(at, value, mend);
            assert!(error.contains(text), "{error}");
        }
    }
}
