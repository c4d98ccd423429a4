//! Headers of tar archives, and the maps of sparse members. Pure.
//!
//! ```text
//! offset size field       value
//!      0  100 name
//!    124   12 size        octal digits; or the first byte is 0x80 and the rest a big-endian number
//!    148    8 chksum      octal: the sum of the header's bytes, these as spaces
//!    156    1 typeflag    '0' or NUL a file; 'S' a sparse file (old GNU); 'x', 'g' records (PAX);
//!                         'L' the name of the next member (GNU)
//!    257    6 magic       "ustar" and NUL (POSIX), or a space (GNU); anything in the oldest headers
//!    345  155 prefix      POSIX: in front of the name and a slash
//!    386   96 sp          old GNU: four entries of offset and numbytes, 12 bytes each
//!    482    1 isextended  old GNU: 1 if a record of 21 entries follows, with a flag at its byte 504
//!    483   12 realsize    old GNU: bytes of the file with its holes
//! ```
//!
//! Sources: POSIX.1-2017, `pax`; GNU tar 1.34, `tar.h` and the manual's "Storing Sparse Files".

use std::fmt::Write;

use crate::field;
use crate::tar::fault::TarFault;
use crate::tar::limits::MAX_SEGMENTS;
use crate::tar::number::checksum as checksum_of;
use crate::tar::number::number;

/// Bytes of a header, and what members are padded to.
pub const RECORD_LEN: usize = 512;

/// [`RECORD_LEN`] as an offset.
pub const RECORD_SIZE: u64 = 512;

/// Tells whether a record is a header: its checksum fits. Headers older than POSIX have no magic.
#[must_use]
pub fn is_header(bytes: &[u8; RECORD_LEN]) -> bool {
    checksum_of(&bytes[148..156]).is_ok_and(|sum| sums(bytes).contains(&Some(sum)))
}

/// Tells whether a record has the magic of POSIX's or GNU's headers.
#[must_use]
pub fn has_magic(bytes: &[u8; RECORD_LEN]) -> bool {
    matches!(&bytes[257..263], b"ustar\0" | b"ustar ")
}

/// A header of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name, with the prefix in front.
    pub name: String,
    /// Bytes that follow.
    pub size: u64,
    /// Kind of the member.
    pub type_flag: u8,
}

impl Header {
    /// Reads a header. `None` is the record of zeros that ends an archive.
    ///
    /// # Errors
    ///
    /// `Magic`, `Checksum` or `Number`.
    pub fn parse(bytes: &[u8; RECORD_LEN]) -> Result<Option<Self>, TarFault> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !is_header(bytes) {
            let has_magic = has_magic(bytes);
            return Err(if has_magic { TarFault::Checksum } else { TarFault::Magic });
        }
        let mut name = text(&bytes[..100]);
        // GNU's own headers keep other things where POSIX has the prefix.
        if bytes[257..].starts_with(b"ustar\0") && bytes[345] != 0 {
            name = format!("{}/{name}", text(&bytes[345..500]));
        }
        let mut type_flag = bytes[156];
        // Headers older than POSIX have no flag for folders.
        if matches!(type_flag, 0 | b'0') && name.ends_with('/') {
            type_flag = b'5';
        }
        Ok(Some(Self { name, size: number(&bytes[124..136])?, type_flag }))
    }
}

/// Returns the sums of a header's bytes, those of the checksum as spaces: of unsigned bytes, as POSIX has
/// it, and of signed ones, as some old tars made it. All readers take either.
fn sums(bytes: &[u8; RECORD_LEN]) -> [Option<u64>; 2] {
    let unsigned = u64::from(checksum(bytes));
    let rest = bytes[..148].iter().chain(&bytes[156..]);
    // 512 bytes at most, so no sum overflows.
    let high: u64 = rest.map(|byte| if *byte < 0x80 { 0 } else { 256 }).sum();
    [Some(unsigned), unsigned.checked_sub(high)]
}

fn checksum(bytes: &[u8; RECORD_LEN]) -> u32 {
    let spaces = 8 * u32::from(b' ');
    let rest = bytes[..148].iter().chain(&bytes[156..]);
    rest.map(|byte| u32::from(*byte)).sum::<u32>().strict_add(spaces)
}

/// Returns the header of a plain file.
///
/// # Panics
///
/// If the name has over 100 bytes.
#[must_use]
pub fn encode(name: &str, size: u64) -> [u8; RECORD_LEN] {
    let mut bytes = [0; RECORD_LEN];
    assert!(name.len() <= 100, "a name of {} bytes", name.len());
    let mut put = |at: usize, text: &[u8]| field::put_bytes(&mut bytes, at, text);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(136, b"00000000000\0");
    put(156, b"0");
    put(257, b"ustar\x0000");
    put_number(&mut bytes[124..136], size);
    seal(&mut bytes);
    bytes
}

/// Writes the checksum of a header that is otherwise done.
pub fn seal(bytes: &mut [u8; RECORD_LEN]) {
    let sum = checksum(bytes);
    field::put_bytes(bytes, 148, format!("{sum:06o}\0 ").as_bytes());
}

/// Writes a number of 12 bytes: octal, or GNU's binary form where that has too few digits.
pub(super) fn put_number(field: &mut [u8], value: u64) {
    const OCTAL_END: u64 = 1 << 33;
    if value < OCTAL_END {
        field::put_bytes(field, 0, format!("{value:011o}\0").as_bytes());
    } else {
        field::put_bytes(field, 0, &[0x80, 0, 0, 0]);
        field::put_u64_be(field, 4, value);
    }
}

/// Reads a name up to the first NUL. Bytes that are not UTF-8 come out as `\ooo`, as tar lists them: a
/// name is only compared with others, and need not be text.
#[must_use]
pub fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let mut text = String::new();
    for chunk in field[..end].utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            write!(text, "\\{byte:03o}").expect("a string takes all");
        }
    }
    text
}

/// Reads a decimal number as PAX writes it.
fn decimal(text: &str) -> Result<u64, TarFault> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten().ok_or(TarFault::Number)
}

/// Data of a sparse file: where it lies in the file, not in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// A sparse file, whatever form its map has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMap {
    /// Bytes of the file, holes among them.
    pub size: u64,
    /// Its data, ascending; all else is holes.
    pub segments: Vec<Segment>,
}

impl SparseMap {
    /// Adds a segment; one of no bytes only marks the end of the file.
    ///
    /// # Errors
    ///
    /// `Map` or `Segments`.
    fn push(&mut self, offset: u64, len: u64) -> Result<(), TarFault> {
        // Cannot overflow: it was checked when it was added.
        let before = self.segments.last().map_or(0, |last| last.offset.strict_add(last.len));
        let end = offset.checked_add(len).ok_or(TarFault::Map)?;
        if offset < before || end > self.size {
            return Err(TarFault::Map);
        }
        if self.segments.len() >= MAX_SEGMENTS {
            return Err(TarFault::Segments);
        }
        if len > 0 {
            self.segments.push(Segment { offset, len });
        }
        Ok(())
    }

    /// Checks that `stored` bytes are the data of the map.
    ///
    /// # Errors
    ///
    /// `Stored` or `HalfRecord`.
    pub fn check_stored(&self, stored: u64) -> Result<(), TarFault> {
        // GNU tar fills up each segment to whole records, and others do not.
        let (_, before_last) = self.segments.split_last().unzip();
        let before_last: &[Segment] = before_last.unwrap_or_default();
        if !before_last.iter().all(|segment| segment.len.is_multiple_of(RECORD_SIZE)) {
            return Err(TarFault::HalfRecord);
        }
        // Cannot overflow: the segments lie apart in a file of 2^64 bytes at most.
        let found = self.segments.iter().map(|segment| segment.len).sum();
        if found == stored { Ok(()) } else { Err(TarFault::Stored { found, expected: stored }) }
    }
}

/// An old GNU map that is being read: the header has four entries, the records behind it 21 each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldMap {
    /// What was read so far.
    pub map: SparseMap,
    /// Whether a further record follows.
    pub goes_on: bool,
}

impl OldMap {
    /// Reads the part in the header.
    ///
    /// # Errors
    ///
    /// `Number`, or as the map has it.
    pub fn parse(header: &[u8; RECORD_LEN]) -> Result<Self, TarFault> {
        let map = SparseMap { size: number(&header[483..495])?, segments: Vec::new() };
        let mut old = Self { map, goes_on: false };
        old.entries(&header[386..482], header[482])?;
        Ok(old)
    }

    /// Reads a record behind the header.
    ///
    /// # Errors
    ///
    /// As [`OldMap::parse`].
    pub fn extend(&mut self, record: &[u8; RECORD_LEN]) -> Result<(), TarFault> {
        self.entries(&record[..504], record[504])
    }

    fn entries(&mut self, entries: &[u8], is_extended: u8) -> Result<(), TarFault> {
        self.goes_on = is_extended != 0;
        for entry in entries.as_chunks::<24>().0 {
            // An entry that is not filled in is the last; GNU tar looks at the length, libarchive at the
            // offset.
            match (entry[0], entry[12]) {
                (0, 0) => break,
                (0, _) | (_, 0) => return Err(TarFault::Entry),
                _ => {}
            }
            self.map.push(number(&entry[..12])?, number(&entry[12..])?)?;
        }
        Ok(())
    }
}

/// What PAX records say of the member that follows, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Name.
    pub path: Option<String>,
    /// Bytes that follow the header.
    pub size: Option<u64>,
    /// Name of a sparse file, which the header has changed.
    sparse_name: Option<String>,
    /// Version of the sparse form, where it is said.
    version: Option<(u64, u64)>,
    /// Bytes of a sparse file, holes among them.
    real_size: Option<u64>,
    /// Numbers of the map: offset, length, and so on.
    map: Vec<u64>,
    /// An offset of version 0.0 that waits for its length.
    has_map: bool,
}

/// How a member is sparse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// Its map stands in front of its data, in text.
    InFront {
        /// Bytes of the file, holes among them.
        size: u64,
    },
    /// Its map is known.
    Known(SparseMap),
}

impl Records {
    /// Reads records: `LEN KEY=VALUE` and a line feed each.
    ///
    /// # Errors
    ///
    /// `Record`, `Number` or `Segments`.
    pub fn parse(mut bytes: &[u8]) -> Result<Self, TarFault> {
        let mut records = Self::default();
        let (mut major, mut minor) = (None, None);
        while !bytes.is_empty() {
            let blank = bytes.iter().position(|byte| *byte == b' ').ok_or(TarFault::Record)?;
            let len = std::str::from_utf8(&bytes[..blank]).map_err(|_| TarFault::Record)?;
            let len = usize::try_from(decimal(len).map_err(|_| TarFault::Record)?)
                .map_err(|_| TarFault::Record)?;
            if len > bytes.len() || len <= blank.strict_add(1) || bytes[len.strict_sub(1)] != b'\n'
            {
                return Err(TarFault::Record);
            }
            let record = &bytes[blank.strict_add(1)..len.strict_sub(1)];
            bytes = &bytes[len..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(TarFault::Record)?;
            let (key, value) = (&record[..equals], &record[equals.strict_add(1)..]);
            let digits = || std::str::from_utf8(value).map_err(|_| TarFault::Number);
            match key {
                b"path" => records.path = Some(text(value)),
                b"size" => records.size = Some(decimal(digits()?)?),
                b"GNU.sparse.name" => records.sparse_name = Some(text(value)),
                b"GNU.sparse.major" => major = Some(decimal(digits()?)?),
                b"GNU.sparse.minor" => minor = Some(decimal(digits()?)?),
                b"GNU.sparse.realsize" | b"GNU.sparse.size" => {
                    records.real_size = Some(decimal(digits()?)?);
                }
                b"GNU.sparse.map" => {
                    let numbers = digits()?.split(',').filter(|number| !number.is_empty());
                    for number in numbers {
                        records.number(decimal(number)?)?;
                    }
                    records.has_map = true;
                }
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    records.number(decimal(digits()?)?)?;
                    records.has_map = true;
                }
                b"GNU.sparse.numblocks" => records.has_map = true,
                _ => {}
            }
        }
        records.version = match (major, minor) {
            (Some(major), minor) => Some((major, minor.unwrap_or(0))),
            (None, _) => None,
        };
        Ok(records)
    }

    /// Checks records that count for all members.
    ///
    /// # Errors
    ///
    /// `Global` if they say what only one of them can have: GNU tar goes by it, and others do not.
    pub fn check_global(&self) -> Result<(), TarFault> {
        let plain = Self::default();
        if *self == plain { Ok(()) } else { Err(TarFault::Global) }
    }

    fn number(&mut self, value: u64) -> Result<(), TarFault> {
        if self.map.len() >= MAX_SEGMENTS.strict_mul(2) {
            return Err(TarFault::Segments);
        }
        self.map.push(value);
        Ok(())
    }

    /// Returns the name that the member has, if the records say it.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.sparse_name.as_deref().or(self.path.as_deref())
    }

    /// Says how the member is sparse; `None` if it is not.
    ///
    /// # Errors
    ///
    /// `SparseVersion`, `Record`, or as the map has it.
    pub fn sparse(&self) -> Result<Option<Sparse>, TarFault> {
        match (self.version, self.real_size) {
            (Some((1, 0)), Some(size)) => Ok(Some(Sparse::InFront { size })),
            (Some((0, 0 | 1)) | None, Some(size)) if self.has_map => {
                let mut map = SparseMap { size, segments: Vec::new() };
                let (pairs, rest) = self.map.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err(TarFault::Record);
                }
                for [offset, len] in pairs {
                    map.push(*offset, *len)?;
                }
                Ok(Some(Sparse::Known(map)))
            }
            (None, _) if !self.has_map => Ok(None),
            (Some((0, 0 | 1) | (1, 0)) | None, _) => Err(TarFault::Record),
            (Some(_), _) => Err(TarFault::SparseVersion),
        }
    }
}

/// A map in text that is being read, record by record: the count of its entries, and then an offset
/// and a length for each, one number a line.
#[derive(Clone, Debug)]
pub struct TextMap {
    map: SparseMap,
    count: Option<u64>,
    offset: Option<u64>,
    done: u64,
    line: Vec<u8>,
}

impl TextMap {
    /// Begins a map of a file of `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        let map = SparseMap { size, segments: Vec::new() };
        Self { map, count: None, offset: None, done: 0, line: Vec::new() }
    }

    /// Reads a record; returns whether a further one belongs to the map.
    ///
    /// # Errors
    ///
    /// `Number`, or as the map has it.
    pub fn extend(&mut self, record: &[u8; RECORD_LEN]) -> Result<bool, TarFault> {
        /// Digits of the largest number.
        const MOST_DIGITS: usize = 20;
        for byte in record {
            if self.count == Some(self.done) {
                return Ok(false);
            }
            if *byte != b'\n' {
                if self.line.len() >= MOST_DIGITS {
                    return Err(TarFault::Number);
                }
                self.line.push(*byte);
                continue;
            }
            let number = std::str::from_utf8(&self.line).map_err(|_| TarFault::Number)?;
            let number = decimal(number)?;
            self.line.clear();
            match (self.count, self.offset.take()) {
                (None, _) => self.count = Some(number),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => {
                    self.map.push(offset, number)?;
                    // Cannot overflow: it stops at the count.
                    self.done = self.done.strict_add(1);
                }
            }
        }
        Ok(self.count != Some(self.done))
    }

    /// Returns the map.
    #[must_use]
    pub fn finish(self) -> SparseMap {
        self.map
    }
}
