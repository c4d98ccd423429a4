//! Tar archives by position: which members there are, and where the bytes of each lie.
//!
//! Sparse members are read in all forms that GNU tar has: old GNU, PAX 0.0, 0.1 and 1.0. See
//! `docs/formats/tar-sparse.md`.

pub mod fault;
pub mod layout;
mod limits;
mod member;
mod number;
mod pax;
mod stream;
#[cfg(test)]
mod tests;
mod write;

use std::mem::take;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::io::ReadAt;
use crate::io::read_vec;
use crate::tar::fault::TarFault;
use crate::tar::layout::Header;
use crate::tar::layout::OldMap;
use crate::tar::layout::RECORD_LEN;
use crate::tar::layout::RECORD_SIZE;
use crate::tar::layout::Records;
use crate::tar::layout::Sparse;
use crate::tar::layout::SparseMap;
use crate::tar::layout::TextMap;
use crate::tar::layout::text;
use crate::tar::limits::MAX_MEMBERS;
use crate::tar::limits::MAX_RECORDS_LEN;

pub use pax::MemberKind;
pub use pax::PaxMember;
pub use pax::padding;
pub use stream::Found;
pub use stream::StreamMember;
pub use stream::StreamReader;
pub use write::MAX_NAME_LEN;
pub use write::align;
pub use write::end_len;
pub use write::sparse_header;
pub use write::stored_len;

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, as the archive has it.
    pub name: String,
    /// Byte of the archive at which its header is.
    pub header_at: u64,
    /// Byte of the archive at which its stored bytes are: the data of its segments, one behind the
    /// other, if it is sparse.
    pub offset: u64,
    /// Stored bytes.
    pub stored_len: u64,
    /// Its map, if it is sparse.
    pub sparse: Option<SparseMap>,
}

impl Member {
    /// Returns the bytes of the file, holes among them.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.sparse.as_ref().map_or(self.stored_len, |map| map.size)
    }
}

/// Lists the files of an archive, in order. Whatever is not a file is passed over.
///
/// # Errors
///
/// `Corrupt`, `Unsupported` or `Limit`, at the byte of the member's header; `Io`.
pub fn members(archive: &dyn ReadAt) -> Result<Vec<Member>> {
    let mut walk = Walk { archive, at: 0, may_be_cut: false };
    let mut members = Vec::new();
    loop {
        let Some(member) = walk.next()? else { return Ok(members) };
        if members.len() >= MAX_MEMBERS {
            return Err(Error::from(TarFault::Members).at(member.header_at));
        }
        members.push(member);
    }
}

/// Lists the names of the first files of an archive, `most` of them, as far as the bytes go; the last may
/// be of a file that is cut. Damage ends the list.
///
/// # Errors
///
/// `Io` if the archive cannot be read.
pub fn first_names(archive: &dyn ReadAt, most: usize) -> Result<Vec<String>> {
    let mut walk = Walk { archive, at: 0, may_be_cut: true };
    let mut names = Vec::new();
    while names.len() < most && walk.at < archive.len() {
        match walk.next() {
            Ok(Some(member)) => names.push(member.name),
            Err(error) if matches!(error.kind(), Kind::Io | Kind::Interrupted) => {
                return Err(error);
            }
            Ok(None) | Err(_) => break,
        }
    }
    Ok(names)
}

/// What stands at a place of an archive.
enum Entry {
    File(Member),
    Other,
    End,
}

/// Where in an archive a reader is.
struct Walk<'a> {
    archive: &'a dyn ReadAt,
    at: u64,
    /// Whether the archive may end inside a file.
    may_be_cut: bool,
}

impl Walk<'_> {
    fn record(&mut self) -> Result<[u8; RECORD_LEN]> {
        let mut record = [0; RECORD_LEN];
        if self.archive.len().saturating_sub(self.at) < RECORD_SIZE {
            return Err(TarFault::Short.into());
        }
        self.archive.read_exact_at(&mut record, self.at)?;
        self.at = self.at.strict_add(RECORD_SIZE);
        Ok(record)
    }

    /// Takes `len` bytes and what they are padded with, and returns where they start.
    fn pass(&mut self, len: u64) -> Result<u64> {
        let start = self.at;
        let end = start.checked_add(len).filter(|end| *end <= self.archive.len());
        let end = end.ok_or(TarFault::Short)?;
        // The padding of the last member may be missing.
        self.at = end.next_multiple_of(RECORD_SIZE).min(self.archive.len());
        Ok(start)
    }

    /// Takes records or a long name that belong to the next member.
    fn annex(&mut self, len: u64) -> Result<Vec<u8>> {
        if len > MAX_RECORDS_LEN {
            return Err(TarFault::Long { found: len }.into());
        }
        let start = self.pass(len)?;
        read_vec(self.archive, start, len)
    }

    /// Returns the next file; `None` at the end.
    fn next(&mut self) -> Result<Option<Member>> {
        loop {
            let at = self.at;
            // GNU tar too takes an archive without the records of zeros at its end.
            if at == self.archive.len() {
                return Ok(None);
            }
            match self.entry().map_err(|e| e.at(at))? {
                Entry::File(member) => return Ok(Some(member)),
                Entry::Other => {}
                Entry::End => return Ok(None),
            }
        }
    }

    /// Reads what stands from here on, with the records and names in front of it.
    fn entry(&mut self) -> Result<Entry> {
        let mut long_name = None;
        let mut records = Records::default();
        loop {
            let header_at = self.at;
            let record = self.record()?;
            let Some(header) = Header::parse(&record)? else { return Ok(Entry::End) };
            let size = records.size.unwrap_or(header.size);
            match header.type_flag {
                // Solaris has its own letter.
                b'x' | b'X' => records = Records::parse(&self.annex(header.size)?)?,
                b'L' => long_name = Some(text(&self.annex(header.size)?)),
                b'g' => Records::parse(&self.annex(header.size)?)?.check_global()?,
                // The name of a link.
                b'K' => drop(self.annex(header.size)?),
                b'0' | 0 | b'7' | b'S' => {
                    let name = records.name().map(str::to_owned).or(take(&mut long_name));
                    let name = name.unwrap_or_else(|| header.name.clone());
                    let sparse = self.sparse(&record, header.type_flag, &records, size)?;
                    let (sparse, stored_len) = match sparse {
                        // The map in front counts as stored.
                        Some((map, front)) => {
                            let stored = size.checked_sub(front).ok_or(TarFault::Short)?;
                            map.check_stored(stored)?;
                            (Some(map), stored)
                        }
                        None => (None, size),
                    };
                    let offset = self.at;
                    match self.pass(stored_len) {
                        Err(_) if self.may_be_cut => self.at = self.archive.len(),
                        passed => drop(passed?),
                    }
                    let member = Member { name, header_at, offset, stored_len, sparse };
                    return Ok(Entry::File(member));
                }
                // Folders, devices, pipes, links and labels have no bytes. Whether any that they are said to
                // have are passed over is not the same with all readers.
                b'1'..=b'6' | b'V' if size == 0 => return Ok(Entry::Other),
                found @ (b'1'..=b'6' | b'V') => return Err(TarFault::Sized { found }.into()),
                found => return Err(TarFault::TypeFlag { found }.into()),
            }
        }
    }

    /// Reads a member's map, and returns with it the bytes that it took of those stored.
    fn sparse(
        &mut self,
        header: &[u8; RECORD_LEN],
        type_flag: u8,
        records: &Records,
        size: u64,
    ) -> Result<Option<(SparseMap, u64)>> {
        if type_flag == b'S' {
            let mut old = OldMap::parse(header)?;
            while old.goes_on {
                old.extend(&self.record()?)?;
            }
            return Ok(Some((old.map, 0)));
        }
        match records.sparse()? {
            None => Ok(None),
            Some(Sparse::Known(map)) => Ok(Some((map, 0))),
            Some(Sparse::InFront { size: file_size }) => {
                let start = self.at;
                let mut text = TextMap::new(file_size);
                loop {
                    let goes_on = text.extend(&self.record()?)?;
                    // Cannot underflow: it only goes up.
                    let front = self.at.strict_sub(start);
                    if !goes_on {
                        return Ok(Some((text.finish(), front)));
                    }
                    if front >= size {
                        return Err(TarFault::Short.into());
                    }
                }
            }
        }
    }
}
