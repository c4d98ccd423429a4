//! LVM2: where the logical volumes of a physical volume lie. Only linear ones can be looked into.

mod layout;
mod text;

use std::ops::Range;

use crate::error::Fault;
use crate::error::Kind;
use crate::guest::failure::Failure;
use crate::guest::failure::FileSystemFault;
use crate::guest::failure::Outcome;
use crate::guest::failure::Problem;
use crate::guest::lvm::layout::LABEL_SECTORS;
use crate::guest::lvm::layout::Label;
use crate::guest::lvm::layout::Place;
use crate::guest::lvm::layout::SECTOR_LEN;
use crate::guest::lvm::layout::area;
use crate::guest::lvm::layout::damaged;
use crate::guest::lvm::layout::is_label;
use crate::guest::lvm::layout::sum;
use crate::guest::lvm::text::Section;
use crate::guest::lvm::text::Value;
use crate::guest::slice::Slice;

/// The name of a physical volume, as `blkid` has it.
pub(super) const NAME: &str = "LVM2_member";

/// Most logical volumes and segments of a group.
const MAX_SEGMENTS: usize = 1 << 16;

/// A logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logical {
    /// Group and volume.
    pub(super) name: String,
    /// Bytes of the physical volume, in the order of the logical one; or why it cannot be looked into.
    pub(super) pieces: Result<Vec<Range<u64>>, FileSystemFault>,
    /// Whether the group has a volume that is not linear: a snapshot reads blocks that are free in its origin.
    pub(super) is_shared: bool,
}

/// Returns the logical volumes on a physical one, in the order of the metadata; none if it belongs to no group.
///
/// # Errors
///
/// A fault if the metadata are damaged; an error if the volume cannot be read.
pub(super) fn volumes(slice: &Slice<'_>) -> Outcome<Vec<Logical>> {
    let Some(label) = label(slice)? else {
        return Err(damaged("a physical volume has no label"));
    };
    let mut last = None;
    for (offset, len) in label.areas.iter().copied() {
        let header = slice.bytes(offset, SECTOR_LEN)?;
        match area(&header, offset, len).map(|place| (place, offset)) {
            Ok((Some(place), offset)) => {
                return group(&read(slice, offset, len, place)?, &label, slice.len());
            }
            Ok((None, _)) => {}
            Err(failure) => last = Some(failure),
        }
    }
    last.map_or(Ok(Vec::new()), Err)
}

fn label(slice: &Slice<'_>) -> Outcome<Option<Label>> {
    for number in 0..LABEL_SECTORS {
        let sector = slice.bytes(number.strict_mul(SECTOR_LEN), SECTOR_LEN)?;
        if is_label(&sector) {
            return Label::parse(&sector, number).map(Some);
        }
    }
    Ok(None)
}

/// Reads the text of a metadata area, which goes on behind the area's header where it meets the end.
fn read(slice: &Slice<'_>, offset: u64, len: u64, place: Place) -> Outcome<Section> {
    let first = place.len.min(len.strict_sub(place.offset));
    let Some(start) = offset.checked_add(place.offset) else {
        return Err(damaged("the text of a metadata area lies outside it"));
    };
    let mut bytes = slice.bytes(start, first)?;
    let rest = place.len.strict_sub(first);
    bytes.extend(slice.bytes(offset.saturating_add(SECTOR_LEN), rest)?);
    if sum(&bytes) != place.sum {
        return Err(damaged("the checksum of a volume group's text is wrong"));
    }
    let text = std::str::from_utf8(&bytes).ok().and_then(text::parse);
    text.ok_or_else(|| damaged("the text of a volume group is impossible"))
}

/// Returns the logical volumes of the group that a text describes, for a physical volume of `len` bytes.
fn group(text: &Section, label: &Label, len: u64) -> Outcome<Vec<Logical>> {
    let broken = || damaged("the text of a volume group is impossible");
    let (name, group) = text.sections().next().ok_or_else(broken)?;
    let extent = group.number("extent_size").and_then(|it| it.checked_mul(SECTOR_LEN));
    let extent_len = extent.filter(|it| *it > 0).ok_or_else(broken)?;
    let plain = |id: &str| id.bytes().filter(|byte| *byte != b'-').collect::<Vec<_>>();
    let mut devices = group.section("physical_volumes").ok_or_else(broken)?.sections();
    let own = devices.find(|(_, it)| it.text("id").is_some_and(|id| plain(id) == label.uuid));
    let (own, device) = own.ok_or_else(broken)?;
    let start = device.number("pe_start").and_then(|it| it.checked_mul(SECTOR_LEN));
    let room = Room { own, start: start.ok_or_else(broken)?, extent_len, len };
    let Some(all) = group.section("logical_volumes") else { return Ok(Vec::new()) };
    let mut found: Vec<Logical> = Vec::new();
    let mut taken: Vec<Range<u64>> = Vec::new();
    let mut is_shared = false;
    for (volume, section) in all.sections() {
        let pieces = match room.pieces(section) {
            Ok(pieces) => Ok(pieces),
            Err(Failure::Fault(fault)) if fault.kind() == Kind::Unsupported => Err(fault),
            Err(failure) => return Err(failure),
        };
        if let Ok(pieces) = &pieces {
            taken.extend(pieces.iter().cloned());
        }
        is_shared |= pieces.is_err();
        if taken.len() > MAX_SEGMENTS || found.len() > MAX_SEGMENTS {
            return Err(damaged("a volume group has over 65,536 segments"));
        }
        // Parts of others, as the copies of a mirror, are not for themselves.
        let status = section.list("status").unwrap_or_default();
        if status.iter().any(|it| matches!(it, Value::Text(text) if text == "VISIBLE")) {
            found.push(Logical { name: format!("{name}/{volume}"), pieces, is_shared });
        }
    }
    for volume in &mut found {
        volume.is_shared = is_shared;
    }
    taken.sort_by_key(|range| range.start);
    if taken.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err(damaged("two logical volumes lie at one place"));
    }
    Ok(found)
}

/// What is needed to turn extents into bytes.
struct Room<'a> {
    own: &'a str,
    start: u64,
    extent_len: u64,
    len: u64,
}

impl Room<'_> {
    fn pieces(&self, volume: &Section) -> Outcome<Vec<Range<u64>>> {
        let broken = || damaged("a logical volume is impossible");
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let mut next = 0_u64;
        for (_, segment) in volume.sections() {
            let (Some(first), Some(count)) =
                (segment.number("start_extent"), segment.number("extent_count"))
            else {
                continue;
            };
            if segment.text("type") != Some("striped") || segment.number("stripe_count") != Some(1)
            {
                let text = "a logical volume that is not linear is not looked into";
                return Err(Problem::Unsupported.text(text));
            }
            let [Value::Text(device), Value::Number(at)] =
                segment.list("stripes").unwrap_or_default()
            else {
                return Err(broken());
            };
            if device != self.own {
                let text = "a logical volume that spans several devices is not looked into";
                return Err(Problem::Unsupported.text(text));
            }
            if first != next || count == 0 {
                return Err(broken());
            }
            next = next.checked_add(count).ok_or_else(broken)?;
            let start = at.checked_mul(self.extent_len).and_then(|it| it.checked_add(self.start));
            let len = count.checked_mul(self.extent_len);
            let end = start.zip(len).and_then(|(start, len)| start.checked_add(len));
            let (Some(start), Some(end)) = (start, end.filter(|end| *end <= self.len)) else {
                return Err(damaged("a logical volume lies outside its physical volume"));
            };
            match pieces.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => pieces.push(start..end),
            }
        }
        if pieces.is_empty() { Err(broken()) } else { Ok(pieces) }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::single_range_in_vec_init)]
mod tests;
