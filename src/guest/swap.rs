//! Swap space.
//!
//! ```text
//! at the end of the first page (of 4, 8, 16, 32 or 64 KiB): "SWAPSPACE2", or what a system that sleeps
//!   puts there instead
//! 1024 4 version 1    1028 4 last page    1036 16 UUID    1052 16 label
//! ```

use crate::error::Result;
use crate::field;
use crate::guest::failure::Outcome;
use crate::guest::layout::guid_bytes;
use crate::guest::slice::Slice;

const MAGIC: &[u8; 10] = b"SWAPSPACE2";

/// What stands there while a system sleeps.
const ASLEEP: [&[u8]; 5] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001", b"TuxOnIce"];

/// Swap space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swap {
    /// Bytes of a page.
    pub page_len: u64,
    /// Bytes of it, at most those of the partition.
    pub size: u64,
    /// UUID.
    pub uuid: String,
    /// Label, without padding.
    pub label: Vec<u8>,
    /// Whether it holds the memory of a system that sleeps.
    pub is_hibernated: bool,
}

/// Finds swap space.
pub(super) fn find(slice: &Slice<'_>) -> Result<Option<Swap>> {
    Ok(look(slice)?)
}

fn look(slice: &Slice<'_>) -> Outcome<Option<Swap>> {
    for shift in 12..=16 {
        let page_len = 1_u64 << shift;
        if slice.len() < page_len {
            break;
        }
        let magic = slice.bytes(page_len.strict_sub(10), 10)?;
        let is_hibernated = ASLEEP.iter().any(|asleep| magic.starts_with(asleep));
        if magic != MAGIC && !is_hibernated {
            continue;
        }
        let head = slice.bytes(1024, 44)?;
        let pages = u64::from(field::u32_le(&head, 4)).strict_add(1);
        let label = &head[28..44];
        let label_len = label.iter().position(|byte| *byte == 0).unwrap_or(label.len());
        return Ok(Some(Swap {
            page_len,
            size: pages.strict_mul(page_len).min(slice.len()),
            uuid: guid_bytes(&field::array(&head, 12)),
            label: label[..label_len].to_vec(),
            is_hibernated,
        }));
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::guest::Owner;
    use crate::guest::samples::mutants_at;

    /// What `mkswap` writes on pages of 4 KiB: version, last page, UUID, label and magic.
    fn space(pages: u32) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(pages).unwrap() * 4096];
        bytes[1024] = 1;
        bytes[1028..1032].copy_from_slice(&(pages - 1).to_le_bytes());
        bytes[1036..1052].fill(0xab);
        bytes[1052..1056].copy_from_slice(b"swap");
        bytes[4086..4096].copy_from_slice(MAGIC);
        bytes
    }

    /// There is no checksum, so that any number may be what was meant. But the first page is never free, what is behind
    /// the space is not either, and where the memory of a sleeping system is, nothing is.
    #[test]
    fn mutants_of_metadata_are_refused_or_right() {
        let bytes = space(300);
        let places: Vec<usize> = (1024..1068).chain(4080..4096).collect();
        mutants_at(bytes, &places, (400, "swap"), &|guest| {
            let owners = guest.owners().unwrap();
            let Some(part) = guest.parts.first() else { return false };
            let end = part.range.end;
            let all: Vec<_> = owners.within(0..end).collect();
            let tiles = all.windows(2).all(|it| it[0].0.end == it[1].0.start)
                && all.first().is_some_and(|it| it.0.start == 0)
                && all.last().is_some_and(|it| it.0.end == end);
            let free = |at: u64| {
                let mut there = owners.within(at..at + 1);
                matches!(there.next(), Some((_, _, Owner::Swap | Owner::Free)))
            };
            !tiles || free(0) || free(4095)
        });
    }
}
