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
