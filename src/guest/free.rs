//! Which bytes of a volume may be left out: what is proven to be free, and nothing else.

use std::ops::Range;

use crate::error::Result;
use crate::guest::file::Caution;
use crate::guest::owner::Owner;
use crate::guest::ranges::Ranges;
use crate::guest::survey::Guest;
use crate::guest::systems::Found;
use crate::guest::verity;
use crate::volume::ReadVolume;

/// Version of the rules by which bytes are called free. It changes whenever the same volume would give
/// other bytes.
pub const RULES_VERSION: u32 = 1;

/// GPT attribute of a partition that must not be written.
const READ_ONLY: u64 = 1 << 60;

/// What may be left out of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Droppable {
    /// Bytes of the volume that are proven to be free.
    pub free: Ranges,
    /// Why free bytes of a partition are kept all the same, one sentence each.
    pub kept: Vec<String>,
    /// What the user should hear beside that.
    pub notes: Vec<String>,
}

/// Finds what may be left out of a volume.
///
/// # Errors
///
/// If the volume cannot be read; what is damaged or not known is kept.
pub fn droppable(volume: &dyn ReadVolume) -> Result<Droppable> {
    let guest = Guest::open(volume)?;
    let owners = guest.owners()?;
    let mut found = Droppable::default();
    // These are about all of the volume.
    let mut all = verity::find(volume, &guest, &owners)?
        .map(|sign| format!("dm-verity hashes free blocks too: {sign}"));
    let sleeps = |part: &crate::guest::survey::Part<'_>| matches!(&part.found, Found::Swap(swap) if swap.is_hibernated);
    if all.is_none() && guest.parts.iter().any(sleeps) {
        all = Some(Caution::Hibernated.to_string());
    }
    for (index, part) in guest.parts.iter().enumerate() {
        let name = match (&part.logical, part.number) {
            (Some(logical), _) => format!("logical volume {}", logical.name),
            (None, Some(number)) => format!("partition {number}"),
            (None, None) => "the volume".into(),
        };
        let has_free = part.system().is_some() || matches!(part.found, Found::Swap(_));
        let reasons = all.iter().chain(&owners.parts[index].refusals);
        if part.found.name().is_some() {
            found
                .kept
                .extend(reasons.map(|reason| format!("{name}: free blocks are kept: {reason}")));
        }
        let table = guest.layout.partitions.iter().find(|it| Some(it.number) == part.number);
        if has_free && table.is_some_and(|it| it.identity.attributes & READ_ONLY != 0) {
            found.notes.push(format!("{name} is marked read-only: check that nothing hashes it"));
        }
    }
    if all.is_some() {
        return Ok(found);
    }
    for section in &owners.sections {
        let Some(part) = section.part.filter(|part| owners.parts[*part].refusals.is_empty()) else {
            continue;
        };
        let swap = matches!(guest.parts[part].found, Found::Swap(_));
        for (range, owner) in section.map.within(0..section.map.size()) {
            if owner == Owner::Free || swap && owner == Owner::Swap {
                let base = section.range.start;
                let in_volume: Range<u64> =
                    range.start.strict_add(base)..range.end.strict_add(base);
                found.free.push(in_volume);
            }
        }
    }
    Ok(found)
}
