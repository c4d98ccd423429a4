//! An open NTFS: its table of files, and values read through their runs.

use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::file::About;
use crate::guest::file::Caution;
use crate::guest::ntfs::layout::Attribute;
use crate::guest::ntfs::layout::BITMAP;
use crate::guest::ntfs::layout::Body;
use crate::guest::ntfs::layout::Boot;
use crate::guest::ntfs::layout::DATA;
use crate::guest::ntfs::layout::LIST;
use crate::guest::ntfs::layout::Record;
use crate::guest::ntfs::layout::SECTOR;
use crate::guest::ntfs::layout::VOLUME;
use crate::guest::ntfs::layout::VOLUME_NAME;
use crate::guest::ntfs::layout::damaged;
use crate::guest::ntfs::layout::is_boot;
use crate::guest::ntfs::layout::number_of;
use crate::guest::ntfs::layout::utf8;
use crate::guest::owner::FileId;
use crate::guest::owner::Owner;
use crate::guest::slice::Slice;

pub(super) const MFT: u64 = 0;
const LOG: u64 = 2;
const VOLUME_FILE: u64 = 3;
pub(super) const BITMAP_FILE: u64 = 6;

/// Most bytes of the list of a file's attributes, and most records that it may name.
const MAX_LIST_LEN: u64 = 256 << 10;
const MAX_RECORDS: usize = 8192;

/// Most runs of one value: 4 Mi of them are 160 MiB.
const MAX_RUNS: usize = 4 << 20;

/// Most bytes of a value that is read whole: the bitmap of 256 TiB is read in parts.
const MAX_VALUE_LEN: u64 = 64 << 20;

/// An open file system.
#[derive(Debug)]
pub(super) struct Ntfs<'a> {
    pub(super) slice: Slice<'a>,
    pub(super) boot: Boot,
    pub(super) about: About,
    /// The table of files, and which of its records are in use.
    pub(super) mft: Value,
    pub(super) in_use: Value,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) size: u64,
    /// Bytes that were written; the rest is zeros.
    pub(super) written: u64,
    pub(super) flags: u16,
    pub(super) place: Place,
}

/// Where a value is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Here(Vec<u8>),
    /// Byte of the value, byte of the partition unless it is a hole, and length: they follow each other.
    Runs(Vec<(u64, Option<u64>, u64)>),
}

/// Tells whether a slice holds one.
pub(in crate::guest) fn is_one(slice: &Slice<'_>) -> Outcome<bool> {
    Ok(slice.len() >= 512 && is_boot(&slice.bytes(0, 512)?))
}

/// Opens it; how much is free is left to what reads the bitmap.
pub(super) fn open(slice: Slice<'_>) -> Outcome<Ntfs<'_>> {
    let boot = Boot::parse(&slice.bytes(0, 512)?, slice.len())?;
    let about = About {
        name: "ntfs",
        uuid: Some(format!("{:016X}", boot.serial)),
        size: boot.clusters.strict_mul(boot.cluster_len),
        block_len: boot.cluster_len,
        grain: boot.cluster_len,
        ..About::default()
    };
    let none = Value { size: 0, written: 0, flags: 0, place: Place::Here(Vec::new()) };
    let mut ntfs = Ntfs { slice, boot, about, mft: none.clone(), in_use: none };
    ntfs.open_table()?;
    ntfs.open_volume()?;
    Ok(ntfs)
}

impl Ntfs<'_> {
    /// Finds the table of files: its record stands in it, and may go on in others.
    fn open_table(&mut self) -> Outcome<()> {
        let Some(start) = self.boot.span(self.boot.mft, 1).map(|it| it.start) else {
            return Err(damaged("the table of files lies outside it"));
        };
        let bytes = self.slice.bytes(start, self.boot.record_len)?;
        let Some(first) = Record::parse(&bytes, MFT)? else {
            return Err(damaged("the table of files is not in use"));
        };
        let own = first.attributes.clone();
        self.mft = self.value_of(&own, DATA, &[], true)?;
        let all = self.with_list(first)?;
        self.mft = self.value_of(&all, DATA, &[], false)?;
        self.in_use = self.value_of(&all, BITMAP, &[], false)?;
        Ok(())
    }

    /// Reads what the volume says of itself.
    fn open_volume(&mut self) -> Outcome<()> {
        let record = self.record(VOLUME_FILE)?;
        if let Some(label) = record.value(VOLUME_NAME) {
            self.about.label = utf8(label);
        }
        let Some(facts) = record.value(VOLUME).filter(|facts| facts.len() >= 12) else {
            return Err(damaged("the volume's own record is impossible"));
        };
        if facts[8] != 3 {
            let version = u32::from(facts[8]) << 8 | u32::from(facts[9]);
            self.about.cautions.push(Caution::Feature("version", version));
        }
        // Dirty, to be resized, upgraded, repaired or checked.
        if field::u16_le(facts, 10) & 0xff != 0 || !self.log_is_clean()? {
            self.about.cautions.push(Caution::Dirty);
        }
        Ok(())
    }

    /// Tells whether the log says that nothing is to be done.
    fn log_is_clean(&self) -> Outcome<bool> {
        let log = self.value_of(&self.attributes(LOG)?, DATA, &[], false)?;
        let mut best: Option<(u64, bool)> = None;
        for at in [0, 4096] {
            if log.size < 8192 {
                return Ok(false);
            }
            let page = self.read(&log, at, 4096)?;
            if page.iter().all(|byte| *byte == 0xff) && at == 0 {
                return Ok(true);
            }
            let start = usize::from(field::u16_le(&page, 24));
            let area =
                page.get(start..start.strict_add(16)).filter(|_| start < SECTOR.strict_sub(16));
            let Some(area) = area.filter(|_| &page[..4] == b"RSTR") else { continue };
            let has_clients = field::u16_le(area, 12) != u16::MAX;
            let is_clean = !has_clients || field::u16_le(area, 14) & 2 != 0;
            let lsn = field::u64_le(area, 0);
            if best.is_none_or(|(last, _)| lsn > last) {
                best = Some((lsn, is_clean));
            }
        }
        Ok(best.is_some_and(|(_, is_clean)| is_clean))
    }

    /// Returns how many records the table has.
    pub(super) fn records(&self) -> u64 {
        self.mft.size.strict_div(self.boot.record_len)
    }

    /// Reads a record that must be in use.
    pub(super) fn record(&self, number: u64) -> Outcome<Record> {
        let owner = Owner::File(FileId(number));
        if number >= self.records() {
            return Err(damaged("no file record has this number").of(owner));
        }
        let at = number.strict_mul(self.boot.record_len);
        let bytes = self.read(&self.mft, at, self.boot.record_len)?;
        let record = Record::parse(&bytes, number).map_err(|failure| failure.of(owner))?;
        record.ok_or_else(|| damaged("a file record is not in use").of(owner))
    }

    /// Returns all attributes of a file, wherever they stand.
    pub(super) fn attributes(&self, number: u64) -> Outcome<Vec<Attribute>> {
        self.with_list(self.record(number)?)
    }

    /// Adds the attributes of the records that a record's list names.
    pub(super) fn with_list(&self, base: Record) -> Outcome<Vec<Attribute>> {
        let number = base.number;
        let mut all = base.attributes;
        if !all.iter().any(|it| it.kind == LIST) {
            return Ok(all);
        }
        let list = self.value_of(&all, LIST, &[], false)?;
        if list.size > MAX_LIST_LEN {
            return Err(Problem::Limit.text("the list of a file's attributes is over 256 KiB long"));
        }
        let bytes = self.read(&list, 0, list.size)?;
        let mut rest = &bytes[..];
        let mut others = Vec::new();
        while rest.len() >= 26 {
            let len = usize::from(field::u16_le(rest, 4));
            let other = number_of(field::u64_le(rest, 16));
            if len < 26 || len > rest.len() {
                return Err(damaged("the list of a file's attributes is impossible"));
            }
            if other != number && !others.contains(&other) {
                others.push(other);
            }
            if others.len() > MAX_RECORDS {
                return Err(Problem::Limit.text("a file has over 8,192 records"));
            }
            rest = &rest[len..];
        }
        for other in others {
            // Parts of the table's own map may stand behind others: they come in order.
            if number == MFT && other >= self.records() {
                return Err(damaged("the table of files is mapped by records outside it"));
            }
            let record = self.record(other)?;
            if record.base != number {
                return Err(damaged("a file record belongs to another file"));
            }
            all.extend(record.attributes);
        }
        Ok(all)
    }

    /// Puts the parts of a value together. `part` is content with the first of them.
    pub(super) fn value_of(
        &self,
        all: &[Attribute],
        kind: u32,
        name: &[u8],
        part: bool,
    ) -> Outcome<Value> {
        let mut parts: Vec<&Attribute> =
            all.iter().filter(|it| it.kind == kind && it.name == name).collect();
        parts.sort_by_key(|it| match it.body {
            Body::Here(_) => 0,
            Body::Runs { first, .. } => first,
        });
        let Some(head) = parts.first() else {
            return Err(damaged("a file lacks an attribute"));
        };
        let flags = head.flags;
        let (size, written) = match &head.body {
            Body::Here(bytes) => {
                let size = u64::try_from(bytes.len()).expect("at most a record");
                return Ok(Value { size, written: size, flags, place: Place::Here(bytes.clone()) });
            }
            Body::Runs { size, written, .. } => (*size, *written),
        };
        let cluster_len = self.boot.cluster_len;
        let mut next = 0_u64;
        let mut runs: Vec<(u64, Option<u64>, u64)> = Vec::new();
        for it in &parts {
            let Body::Runs { first, runs: own, .. } = &it.body else {
                return Err(damaged("a value is in two places"));
            };
            if *first != next {
                return Err(damaged("a value has gaps"));
            }
            for run in own {
                let place = match run.cluster {
                    Some(cluster) => match self.boot.span(cluster, run.count) {
                        Some(bytes) => Some(bytes.start),
                        None => return Err(damaged("a run lies outside it")),
                    },
                    None => None,
                };
                let start = next.checked_mul(cluster_len);
                let len = run.count.checked_mul(cluster_len);
                let (Some(start), Some(len)) = (start, len) else {
                    return Err(damaged("a value is impossibly long"));
                };
                runs.push((start, place, len));
                next = next.strict_add(run.count);
                if runs.len() > MAX_RUNS {
                    return Err(Problem::Limit.text("a file has over 4,194,304 runs"));
                }
            }
            if part {
                break;
            }
        }
        let room = next.checked_mul(cluster_len);
        if written > size || room.is_none_or(|room| room < size && !part) {
            return Err(damaged("a value is longer than its runs"));
        }
        // Until the table's map is whole, no more of it can be read than is mapped.
        let size = size.min(room.unwrap_or(0));
        Ok(Value { size, written: written.min(size), flags, place: Place::Runs(runs) })
    }

    /// Reads a part of a value.
    pub(super) fn read(&self, value: &Value, offset: u64, len: u64) -> Outcome<Vec<u8>> {
        let end = offset.checked_add(len).filter(|end| *end <= value.size && len <= MAX_VALUE_LEN);
        let (Some(end), Ok(room)) = (end, usize::try_from(len)) else {
            return Err(damaged("a value is shorter than what points into it"));
        };
        let mut bytes = vec![0; room];
        let in_bytes = |at: u64| usize::try_from(at.strict_sub(offset)).expect("inside the bytes");
        match &value.place {
            Place::Here(here) => {
                let start = usize::try_from(offset).expect("at most a record");
                bytes.copy_from_slice(&here[start..start.strict_add(room)]);
            }
            Place::Runs(runs) => {
                let end = end.min(value.written);
                let first = runs.partition_point(|(start, ..)| *start <= offset).saturating_sub(1);
                for (start, place, len) in &runs[first..] {
                    let from = offset.max(*start);
                    let to = end.min(start.strict_add(*len));
                    if *start >= end {
                        break;
                    }
                    let (Some(place), true) = (place, from < to) else { continue };
                    let at = place.strict_add(from.strict_sub(*start));
                    self.slice.read(at, &mut bytes[in_bytes(from)..in_bytes(to)])?;
                }
            }
        }
        Ok(bytes)
    }
}
