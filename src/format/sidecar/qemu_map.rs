//! The list of extents that `qemu-img map --output=json` prints.
//!
//! ```text
//! [{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true,
//!    "compressed": false, "offset": 327680}, ...]
//!
//! start, length   bytes of the volume
//! depth           layer of a chain of images that has them; not looked at
//! present         whether a layer has them at all
//! zero            whether they read as zeros
//! data            whether they are stored
//! offset          where in the file; only if they lie there as they are
//! ```

use std::io::BufWriter;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;

use thiserror::Error;

use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::format::parsed::Holes;
use crate::format::sidecar::Says;
use crate::units::ExtentKind;
use crate::volume::MAX_RUNS;
use crate::volume::Place;
use crate::volume::ReadVolume;
use crate::volume::Volume;
use crate::volume::extents;

/// Bytes to a multiple of which qemu rounds the size of an image up.
const SECTOR_SIZE: u64 = 512;

/// What is wrong with a list of extents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QemuMapFault {
    /// There are too many extents.
    #[error("there are {found} extents, expected at most {max_runs}", max_runs = MAX_RUNS)]
    Rows {
        /// How many there are.
        found: usize,
    },
    /// An extent ends past 2^64.
    #[error("the extent at byte {start} ends past 2^64")]
    Overflow {
        /// Byte at which it starts.
        start: u64,
    },
    /// An extent starts before the one above it ends.
    #[error("an extent starts at byte {start}, expected {expected}: it overlaps the one above")]
    Overlap {
        /// Byte at which it starts.
        start: u64,
        /// Byte at which the one above ends.
        expected: u64,
    },
    /// An extent starts after the one above it ends.
    #[error("an extent starts at byte {start}, expected {expected}: it leaves a gap")]
    Gap {
        /// Byte at which it starts.
        start: u64,
        /// Byte at which the one above ends.
        expected: u64,
    },
    /// The extents do not end with the volume.
    #[error("the extents end at byte {found}, expected {expected}, the end of the volume")]
    End {
        /// Byte at which they end.
        found: u64,
        /// Size of the volume.
        expected: u64,
    },
}

impl Fault for QemuMapFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Rows { .. } => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// One extent, as qemu-img tells it. Fields that we do not know are passed over.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Row {
    start: u64,
    length: u64,
    #[serde(default)]
    depth: u64,
    /// Told by qemu-img 6.1 and later.
    present: Option<bool>,
    zero: bool,
    data: bool,
    offset: Option<u64>,
}

impl Row {
    fn present(&self) -> bool {
        self.present.unwrap_or(self.data || self.offset.is_some())
    }
}

/// A list of extents, checked: they tile the bytes from 0 on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuMap {
    rows: Vec<Row>,
    end: u64,
}

impl QemuMap {
    /// Parses and checks the list.
    ///
    /// # Errors
    ///
    /// `Corrupt` for whatever breaks the format, `Limit` over [`MAX_RUNS`] extents.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let rows: Vec<Row> = serde_json::from_slice(bytes)
            .map_err(|e| Error::corrupt(format!("it is not a JSON list of extents: {e}")))?;
        Ok(Self::check(rows)?)
    }

    fn check(rows: Vec<Row>) -> Result<Self, QemuMapFault> {
        if rows.len() > MAX_RUNS {
            return Err(QemuMapFault::Rows { found: rows.len() });
        }
        let mut end = 0;
        for &Row { start, length, .. } in &rows {
            if start < end {
                return Err(QemuMapFault::Overlap { start, expected: end });
            }
            if start > end {
                return Err(QemuMapFault::Gap { start, expected: end });
            }
            end = start.checked_add(length).ok_or(QemuMapFault::Overflow { start })?;
        }
        Ok(Self { rows, end })
    }

    /// Tells whether the list is that of a raw file: all of it is there, and where it stands.
    ///
    /// In another format the first bytes of the file are a header, so the extent at byte 0 of the
    /// volume cannot lie at byte 0 of the file.
    fn is_of_raw(&self) -> bool {
        self.rows.iter().all(|row| row.present() && row.depth == 0 && row.offset == Some(row.start))
    }

    /// Says what each byte of a volume of `size` bytes is.
    pub(super) fn says(&self, size: u64) -> Result<Vec<(Range<u64>, Says)>> {
        // qemu-img tells a raw file of an odd size as if it went on to the end of its sector.
        if self.end < size || self.end > size.next_multiple_of(SECTOR_SIZE) {
            return Err(QemuMapFault::End { found: self.end, expected: size }.into());
        }
        let raw = self.is_of_raw();
        let said = |row: &Row| match (row.data, row.zero) {
            (false, true) if raw || !row.present() => Says::Hole,
            (false, true) => Says::Zero,
            (false, false) if !row.present() => Says::Hole,
            _ => Says::Written,
        };
        // Cannot overflow: the sum was checked.
        let cut = |row: &Row| row.start.min(size)..row.start.strict_add(row.length).min(size);
        Ok(self
            .rows
            .iter()
            .map(|row| (cut(row), said(row)))
            .filter(|(range, _)| !range.is_empty())
            .collect())
    }
}

/// What one row says beside its place.
#[allow(clippy::struct_excessive_bools, reason = "they are qemu-img's own columns")]
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags {
    present: bool,
    zero: bool,
    data: bool,
    offset: Option<u64>,
    compressed: bool,
}

/// Bytes that are stored, as one knows them without looking at their place.
const STORED: Flags =
    Flags { present: true, zero: false, data: true, compressed: false, offset: None };

/// Writes the extents of a volume in the very shape of `qemu-img map --output=json`.
///
/// What a row is like follows from the format, which says where holes are, and not from which rows there are: in
/// raw files and those like them a hole is present, at its offset; in others it is not present and has none. An
/// offset is given where the image is one file and holds the bytes as they are. Written zeros are present; in
/// raw files they are data that is zero, so that they are told from holes.
///
/// # Errors
///
/// `Io` if `out` cannot be written.
pub fn write_qemu_map(volume: &Volume, holes: Holes, out: &mut dyn Write) -> Result<()> {
    let map = volume.map();
    let runs = || map.within(0..map.size());
    let mut sources = runs().filter_map(|(_, place)| match place {
        Place::Stored { source, .. } => Some(source),
        _ => None,
    });
    let first = sources.next();
    let single = sources.all(|source| Some(source) == first);
    let behind = |at: u64| match holes {
        Holes::InFile(start) => at.checked_add(start).filter(|_| single),
        Holes::Absent => None,
    };
    let in_file = holes != Holes::Absent;
    let flags = |range: &Range<u64>, place| match place {
        Place::Packed { .. } => Flags { compressed: true, ..STORED },
        Place::Stored { offset, .. } => Flags { offset: single.then_some(offset), ..STORED },
        Place::Fill(_) => STORED,
        Place::Zero => Flags { zero: true, data: in_file, offset: behind(range.start), ..STORED },
        Place::Hole | Place::Backing => {
            let offset = behind(range.start);
            Flags { present: in_file, zero: true, data: false, offset, ..STORED }
        }
    };
    write_rows(runs().map(|(range, place)| Ok((range.clone(), flags(&range, place)))), out)
}

/// As [`write_qemu_map`], for a volume of which only the extents are known: a snapshot of a bundle.
///
/// # Errors
///
/// As reading the volume's extents; `Io` if `out` cannot be written.
pub fn write_qemu_extents(volume: &dyn ReadVolume, out: &mut dyn Write) -> Result<()> {
    let rows = extents(volume).map(|extent| {
        let extent = extent?;
        let flags = match extent.kind {
            ExtentKind::Data => STORED,
            ExtentKind::Zero => Flags { zero: true, data: false, ..STORED },
            ExtentKind::Hole => Flags { present: false, zero: true, data: false, ..STORED },
        };
        Ok((extent.range, flags))
    });
    write_rows(rows, out)
}

/// Writes rows, joined where they are alike.
fn write_rows(
    rows: impl Iterator<Item = Result<(Range<u64>, Flags)>>,
    out: &mut dyn Write,
) -> Result<()> {
    let mut out = BufWriter::new(out);
    let failed = |e| Error::io("write", Path::new("standard output"), e);
    let mut row = |range: &Range<u64>, flags: Flags, behind: &str| {
        let Flags { present, zero, data, compressed, offset } = flags;
        let lead = if range.start == 0 { "[" } else { "" };
        let length = range.end.strict_sub(range.start);
        write!(
            out,
            "{lead}{{ \"start\": {}, \"length\": {length}, \"depth\": 0, \"present\": {present}, \
             \"zero\": {zero}, \"data\": {data}, \"compressed\": {compressed}",
            range.start
        )?;
        if let Some(offset) = offset {
            write!(out, ", \"offset\": {offset}")?;
        }
        write!(out, "}}{behind}")?;
        if behind.starts_with(']') { out.flush() } else { Ok(()) }
    };
    let mut held: Option<(Range<u64>, Flags)> = None;
    for next in rows {
        let (range, next) = next?;
        match &mut held {
            // Fills of different words are one row: it says nothing of what they hold.
            Some((last, alike)) if *alike == next && next.offset.is_none() => {
                last.end = range.end;
            }
            _ => {
                if let Some((last, flags)) = held.replace((range, next)) {
                    row(&last, flags, ",\n").map_err(failed)?;
                }
            }
        }
    }
    // A volume has a byte at least.
    held.take().map_or(Ok(()), |(last, flags)| row(&last, flags, "]\n")).map_err(failed)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::io::ReadAt;
    use crate::volume::RunMap;

    fn row(start: u64, length: u64) -> Row {
        Row {
            start,
            length,
            depth: 0,
            present: Some(true),
            zero: false,
            data: true,
            offset: Some(start),
        }
    }

    fn says(rows: Vec<Row>, size: u64) -> Vec<(Range<u64>, Says)> {
        QemuMap::check(rows).unwrap().says(size).unwrap()
    }

    /// Each check, tripped by one row.
    #[test]
    fn a_list_that_does_not_tile_is_refused() {
        use QemuMapFault as F;
        let check = |rows: &[Row]| QemuMap::check(rows.to_vec()).map(|map| map.end);
        assert_eq!(check(&[row(0, 5), row(5, 5)]), Ok(10));
        let overlap = Err(F::Overlap { start: 4, expected: 5 });
        assert_eq!(check(&[row(0, 5), row(4, 5)]), overlap);
        assert_eq!(check(&[row(0, 5), row(6, 5)]), Err(F::Gap { start: 6, expected: 5 }));
        assert_eq!(check(&[row(0, 5), row(5, u64::MAX)]), Err(F::Overflow { start: 5 }));
        let map = QemuMap::check(vec![row(0, 1024)]).unwrap();
        for size in [1024, 1000, 513] {
            assert_eq!(map.says(size).unwrap(), [(0..size, Says::Written)]);
        }
        for size in [512, 1025] {
            assert_eq!(map.says(size).unwrap_err().kind(), Kind::Corrupt);
        }
        for text in ["", "{}", "[1]", "[{}]", "[{\"start\": -1}]", "start 0 length 1"] {
            let error = QemuMap::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt);
            assert!(error.to_string().contains("JSON"));
        }
    }

    #[test]
    fn depth_is_bounded_and_unknown_fields_are_passed_over() {
        let rows = "[{\"start\":0,\"length\":9,\"zero\":true,\"data\":false,\"x\":{\"y\":[1]}}]";
        assert_eq!(QemuMap::parse(rows.as_bytes()).unwrap().end, 9);
        let deep = format!("[{{\"x\":{}", "[".repeat(1_000_000));
        assert_eq!(QemuMap::parse(deep.as_bytes()).unwrap_err().kind(), Kind::Corrupt);
    }

    /// What qemu-img 10.0.2 printed of a raw file with a hole.
    #[test]
    fn zeros_of_a_raw_file_are_a_hole() {
        let hole = Row { zero: true, data: false, ..row(5, 5) };
        let written = (0..5, Says::Written);
        assert_eq!(says(vec![row(0, 5), hole], 10), [written.clone(), (5..10, Says::Hole)]);
        // Without the field, from before qemu-img 6.1.
        let hole = Row { present: None, ..hole };
        assert_eq!(says(vec![row(0, 5), hole], 10), [written, (5..10, Says::Hole)]);
    }

    /// What qemu-img 10.0.2 printed of a qcow2 file: clusters of data, not there, and of zeros with
    /// and without a place in the file.
    #[test]
    fn zeros_of_a_qcow2_file_are_written_and_what_is_not_there_is_a_hole() {
        let rows = vec![
            Row { offset: Some(100), ..row(0, 5) },
            Row { present: Some(false), zero: true, data: false, offset: None, ..row(5, 5) },
            Row { zero: true, data: false, offset: None, ..row(10, 5) },
            Row { zero: true, data: false, offset: Some(200), ..row(15, 5) },
            Row { offset: None, depth: 1, ..row(20, 5) },
        ];
        let expected = [Says::Written, Says::Hole, Says::Zero, Says::Zero, Says::Written];
        let told: Vec<_> = says(rows, 25).into_iter().map(|(_, said)| said).collect();
        assert_eq!(told, expected);
    }

    /// All of it is there, but not where it stands: no raw file.
    #[test]
    fn a_zero_cluster_is_written_even_where_no_cluster_is_missing() {
        let zero = Row { zero: true, data: false, ..row(5, 5) };
        let moved = Row { offset: Some(100), ..row(0, 5) };
        let below = Row { depth: 1, ..row(0, 5) };
        for first in [moved, below] {
            assert_eq!(says(vec![first, zero], 10)[1], (5..10, Says::Zero));
        }
    }

    fn text(map: RunMap, holes: Holes) -> String {
        let source = || -> Arc<dyn ReadAt> { Arc::new(vec![0; 100]) };
        let mut out = Vec::new();
        write_qemu_map(
            &Volume::new(map, vec![source().into(), source().into()]).unwrap(),
            holes,
            &mut out,
        )
        .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_raw_volume_is_told_in_the_words_of_qemu_img() {
        let mut map = RunMap::default();
        map.push(10, Place::Stored { source: 0, offset: 0 });
        map.push(5, Place::Hole);
        assert_eq!(
            text(map, Holes::InFile(0)),
            "[{ \"start\": 0, \"length\": 10, \"depth\": 0, \"present\": true, \"zero\": false, \
             \"data\": true, \"compressed\": false, \"offset\": 0},\n\
             { \"start\": 10, \"length\": 5, \"depth\": 0, \"present\": true, \"zero\": true, \
             \"data\": false, \"compressed\": false, \"offset\": 10}]\n"
        );
    }

    #[test]
    fn the_three_states_come_back() {
        let mut map = RunMap::default();
        map.push(10, Place::Stored { source: 0, offset: 40 });
        map.push(8, Place::Fill(*b"abcd"));
        map.push(8, Place::Fill(*b"wxyz"));
        map.push(5, Place::Zero);
        map.push(5, Place::Hole);
        let text = text(map, Holes::Absent);
        assert_eq!(text.lines().count(), 4, "fills join: {text}");
        let read = QemuMap::parse(text.as_bytes()).unwrap();
        assert_eq!(
            read.says(36).unwrap(),
            [
                (0..10, Says::Written),
                (10..26, Says::Written),
                (26..31, Says::Zero),
                (31..36, Says::Hole)
            ]
        );
    }

    /// A volume without data is written like any other.
    #[test]
    fn what_a_hole_is_like_follows_from_the_format() {
        let all = |place, holes| {
            let mut map = RunMap::default();
            map.push(10, place);
            text(map, holes)
        };
        for (place, holes, present, data, offset) in [
            (Place::Hole, Holes::Absent, false, false, None),
            (Place::Hole, Holes::InFile(0), true, false, Some(0)),
            (Place::Hole, Holes::InFile(7), true, false, Some(7)),
            (Place::Zero, Holes::Absent, true, false, None),
            (Place::Zero, Holes::InFile(7), true, true, Some(7)),
        ] {
            let rows: Vec<Row> = serde_json::from_str(&all(place, holes)).unwrap();
            let row = Row { present: Some(present), zero: true, data, offset, ..row(0, 10) };
            assert_eq!(rows, [row], "{place:?}, {holes:?}");
        }
    }

    #[test]
    fn offsets_are_left_out_where_there_are_several_files() {
        let mut map = RunMap::default();
        map.push(10, Place::Stored { source: 0, offset: 40 });
        map.push(10, Place::Stored { source: 1, offset: 40 });
        assert!(!text(map, Holes::InFile(0)).contains("offset"));
    }
}
