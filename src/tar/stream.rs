//! An archive read in order, one record after the other: for those that no file holds as they are.

use std::mem::take;

use crate::tar::fault::TarFault;
use crate::tar::layout::Header;
use crate::tar::layout::OldMap;
use crate::tar::layout::RECORD_LEN;
use crate::tar::layout::RECORD_SIZE;
use crate::tar::layout::Records;
use crate::tar::layout::Segment;
use crate::tar::layout::Sparse;
use crate::tar::layout::SparseMap;
use crate::tar::layout::TextMap;
use crate::tar::layout::text;
use crate::tar::limits::MAX_RECORDS_LEN;

/// A file that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamMember {
    /// Its name, as the archive has it.
    pub name: String,
    /// Bytes that follow, without padding: the data of its segments, one behind the other.
    pub stored_len: u64,
    /// Where its data lies in the file.
    pub map: SparseMap,
    /// Whether the archive tells its holes: in a plain member, zeros may be either.
    pub is_sparse: bool,
}

impl StreamMember {
    /// Returns the bytes that follow, with the padding behind them.
    #[must_use]
    pub fn padded_len(&self) -> u64 {
        // Checked when the member was found.
        self.stored_len.next_multiple_of(RECORD_SIZE)
    }
}

/// What a [`StreamReader`] has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing yet.
    Nothing,
    /// A file: its [`StreamMember::padded_len`] bytes come before the next record.
    Member(StreamMember),
    /// The end of the archive. What follows is padding.
    End,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Header,
    /// Collecting records or a name that belong to the next member.
    Annex {
        flag: u8,
        bytes: Vec<u8>,
        len: usize,
    },
    Old {
        name: String,
        stored: u64,
        old: OldMap,
    },
    Text {
        name: String,
        left: u64,
        text: TextMap,
    },
    End,
}

/// Finds the members of an archive in the records that it is given.
#[derive(Clone, Debug, Default)]
pub struct StreamReader {
    state: State,
    records: Records,
    long_name: Option<String>,
}

impl StreamReader {
    /// Takes the next record.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the archive.
    pub fn push(&mut self, record: &[u8; RECORD_LEN]) -> Result<Found, TarFault> {
        match take(&mut self.state) {
            State::Header => self.header(record),
            State::Annex { flag, mut bytes, len } => {
                let rest = len.strict_sub(bytes.len()).min(RECORD_LEN);
                bytes.extend_from_slice(&record[..rest]);
                if bytes.len() < len {
                    self.state = State::Annex { flag, bytes, len };
                } else {
                    self.annex(flag, &bytes)?;
                }
                Ok(Found::Nothing)
            }
            State::Old { name, stored, mut old } => {
                old.extend(record)?;
                self.old(name, stored, old)
            }
            State::Text { name, left, mut text } => {
                let left = left.checked_sub(RECORD_SIZE).ok_or(TarFault::Short)?;
                if text.extend(record)? {
                    self.state = State::Text { name, left, text };
                    return Ok(Found::Nothing);
                }
                sparse(name, left, text.finish())
            }
            State::End => {
                self.state = State::End;
                Ok(Found::End)
            }
        }
    }

    fn header(&mut self, record: &[u8; RECORD_LEN]) -> Result<Found, TarFault> {
        let Some(header) = Header::parse(record)? else {
            self.state = State::End;
            return Ok(Found::End);
        };
        match header.type_flag {
            flag @ (b'x' | b'X' | b'g' | b'L' | b'K') => {
                let short = Some(header.size).filter(|len| *len <= MAX_RECORDS_LEN);
                let len = short.and_then(|len| usize::try_from(len).ok());
                let len = len.ok_or(TarFault::Long { found: header.size })?;
                if len > 0 {
                    self.state = State::Annex { flag, bytes: Vec::new(), len };
                }
                Ok(Found::Nothing)
            }
            b'0' | 0 | b'7' | b'S' => self.file(header, record),
            found => Err(TarFault::TypeFlag { found }),
        }
    }

    /// Keeps what is about the next member.
    fn annex(&mut self, flag: u8, bytes: &[u8]) -> Result<(), TarFault> {
        match flag {
            b'x' | b'X' => self.records = Records::parse(bytes)?,
            b'g' => Records::parse(bytes)?.check_global()?,
            b'L' => self.long_name = Some(text(bytes)),
            _ => {}
        }
        Ok(())
    }

    fn file(&mut self, header: Header, record: &[u8; RECORD_LEN]) -> Result<Found, TarFault> {
        let records = take(&mut self.records);
        let long_name = self.long_name.take();
        let name = records.name().map(str::to_owned).or(long_name).unwrap_or(header.name);
        let stored = records.size.unwrap_or(header.size);
        if stored > MAX_STORED {
            return Err(TarFault::Number);
        }
        if header.type_flag == b'S' {
            return self.old(name, stored, OldMap::parse(record)?);
        }
        match records.sparse()? {
            None => {
                let whole = Segment { offset: 0, len: stored };
                let segments = if stored > 0 { vec![whole] } else { Vec::new() };
                let map = SparseMap { size: stored, segments };
                let member = StreamMember { name, stored_len: stored, map, is_sparse: false };
                Ok(Found::Member(member))
            }
            Some(Sparse::Known(map)) => sparse(name, stored, map),
            Some(Sparse::InFront { size }) => {
                self.state = State::Text { name, left: stored, text: TextMap::new(size) };
                Ok(Found::Nothing)
            }
        }
    }

    fn old(&mut self, name: String, stored: u64, old: OldMap) -> Result<Found, TarFault> {
        if old.goes_on {
            self.state = State::Old { name, stored, old };
            return Ok(Found::Nothing);
        }
        sparse(name, stored, old.map)
    }
}

/// Most stored bytes of a member: with padding they still are a number.
const MAX_STORED: u64 = u64::MAX >> 1;

fn sparse(name: String, stored_len: u64, map: SparseMap) -> Result<Found, TarFault> {
    map.check_stored(stored_len)?;
    Ok(Found::Member(StreamMember { name, stored_len, map, is_sparse: true }))
}
