//! From a plain tar stream to the volume that is in it.

use crate::digest::is_zero;
use crate::error::Result;
use crate::instance_store::fault::PayloadFault;
use crate::io::WriteAt;
use crate::tar::Found;
use crate::tar::StreamMember;
use crate::tar::StreamReader;
use crate::tar::layout::RECORD_LEN;
use crate::tar::layout::RECORD_SIZE;

/// Most bytes behind the end of an archive; tar fills up blocks of 10 KiB.
const MAX_PADDING: u64 = 1 << 20;

/// What an archive turned out to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Bytes of the volume.
    pub size: u64,
    /// Bytes of it that are stored.
    pub stored: u64,
    /// Whether the archive tells holes from zeros.
    pub tells_holes: bool,
}

#[derive(Debug)]
enum At {
    /// Before the volume.
    Before,
    /// In its data: segments that are done, bytes of the next one that are done, and bytes to come
    /// with padding.
    Data { member: StreamMember, segment: usize, done: u64, left: u64 },
    /// Behind the volume.
    Behind,
    /// Behind the end of the archive, by that many bytes.
    End(u64),
}

/// Takes a tar stream in pieces and writes the one file in it, holes kept.
pub(super) struct Extractor<'a> {
    to: Option<&'a dyn WriteAt>,
    size: u64,
    reader: StreamReader,
    /// Bytes of a record that is not whole yet.
    record: Vec<u8>,
    at: At,
    extracted: Extracted,
}

impl<'a> Extractor<'a> {
    /// Expects a volume of `size` bytes, to be written to `to` or only to be checked.
    pub(super) fn new(size: u64, to: Option<&'a dyn WriteAt>) -> Self {
        let (reader, record) = (StreamReader::default(), Vec::with_capacity(RECORD_LEN));
        Self { to, size, reader, record, at: At::Before, extracted: Extracted::default() }
    }

    /// Takes the next bytes, and returns how many bytes of the volume they settled.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<u64> {
        let mut settled = 0_u64;
        while !bytes.is_empty() {
            let taken = match &mut self.at {
                At::Before | At::Behind => {
                    let take = RECORD_LEN.strict_sub(self.record.len()).min(bytes.len());
                    self.record.extend_from_slice(&bytes[..take]);
                    if self.record.len() == RECORD_LEN {
                        settled = settled.strict_add(self.record()?);
                    }
                    take
                }
                At::Data { .. } => {
                    let (take, data) = self.data(bytes)?;
                    settled = settled.strict_add(data);
                    take
                }
                At::End(len) => {
                    *len = len.saturating_add(u64::try_from(bytes.len()).expect("a length"));
                    if !is_zero(bytes) {
                        return Err(PayloadFault::Trailing.into());
                    }
                    if *len > MAX_PADDING {
                        return Err(PayloadFault::Long.into());
                    }
                    bytes.len()
                }
            };
            bytes = &bytes[taken..];
        }
        Ok(settled)
    }

    /// Ends the stream.
    pub(super) fn finish(self) -> Result<Extracted> {
        match self.at {
            At::End(_) => Ok(self.extracted),
            _ => Err(PayloadFault::Short.into()),
        }
    }

    /// Takes the record that is whole, and returns the bytes of holes that it settled.
    fn record(&mut self) -> Result<u64> {
        let record = std::mem::take(&mut self.record);
        let record = record.first_chunk().expect("it is whole");
        match self.reader.push(record)? {
            Found::Nothing => {}
            Found::Member(_) if matches!(self.at, At::Behind) => {
                return Err(PayloadFault::Second.into());
            }
            Found::Member(member) => return self.begin(member),
            Found::End if matches!(self.at, At::Before) => return Err(PayloadFault::Short.into()),
            Found::End => self.at = At::End(0),
        }
        Ok(0)
    }

    fn begin(&mut self, member: StreamMember) -> Result<u64> {
        let found = member.map.size;
        if found != self.size {
            return Err(PayloadFault::Size { found, expected: self.size }.into());
        }
        let (_, before_last) = member.map.segments.split_last().unzip();
        let before_last: &[_] = before_last.unwrap_or_default();
        if !before_last.iter().all(|it| it.len.is_multiple_of(RECORD_SIZE)) {
            return Err(PayloadFault::HalfRecord.into());
        }
        self.extracted = Extracted {
            size: found,
            stored: member.stored_len,
            tells_holes: member.is_sparse || member.stored_len == 0,
        };
        if let Some(to) = self.to {
            to.set_size(found)?;
            let mut at = 0;
            for it in &member.map.segments {
                if it.offset > at {
                    to.make_hole_at(it.offset.strict_sub(at), at)?;
                }
                // Checked with the map: segments lie inside the file.
                at = it.offset.strict_add(it.len);
            }
            if found > at {
                to.make_hole_at(found.strict_sub(at), at)?;
            }
        }
        let holes = found.strict_sub(member.stored_len);
        let left = member.padded_len();
        self.at =
            if left == 0 { At::Behind } else { At::Data { member, segment: 0, done: 0, left } };
        Ok(holes)
    }

    /// Takes bytes of the volume or its padding; returns how many, and how many were the volume's.
    fn data(&mut self, bytes: &[u8]) -> Result<(usize, u64)> {
        let At::Data { member, segment, done, left } = &mut self.at else {
            unreachable!("the caller looked")
        };
        let all = u64::try_from(bytes.len()).expect("a length");
        let Some(place) = member.map.segments.get(*segment) else {
            let take = all.min(*left);
            *left = left.strict_sub(take);
            if *left == 0 {
                self.at = At::Behind;
            }
            return Ok((usize::try_from(take).expect("at most the piece"), 0));
        };
        let take = all.min(place.len.strict_sub(*done));
        let taken = usize::try_from(take).expect("at most the piece");
        if let Some(to) = self.to {
            to.write_all_at(&bytes[..taken], place.offset.strict_add(*done))?;
        }
        *done = done.strict_add(take);
        *left = left.strict_sub(take);
        if *done == place.len {
            (*segment, *done) = (segment.strict_add(1), 0);
        }
        if *left == 0 {
            self.at = At::Behind;
        }
        Ok((taken, take))
    }
}
