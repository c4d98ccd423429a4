//! Entries of a page index, and how many of the pages have one.

use xxhash_rust::xxh3::xxh3_64;

use crate::pack::Page;

/// Most entries of an index: 3 GiB of memory. All pages of 1 TiB of data are in it; over that, pages
/// are sampled, and before that, anchors.
const MAX_ENTRIES: u64 = 1 << 28;

/// Anchors that a page has on average, generously.
const ANCHORS_A_PAGE: u64 = 3;

/// Bits by which anchors are sampled at most; more would find nothing.
const MOST_ANCHOR_SAMPLING: u8 = 5;

/// Bits of a key. The lowest tells a page's key from an anchor's.
pub(super) const KEY_BITS: u32 = 62;

/// An entry: 62 bits of key, and 34 bits of page number, the highest bits first.
pub(super) type Entry = [u32; 3];

/// What identifies a page's content, or an anchor's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

impl Key {
    pub(super) fn of_page(page: &[u8]) -> Self {
        Self((xxh3_64(page) >> 2) & !1)
    }

    pub(super) fn of_anchor(hash: u64) -> Self {
        Self((hash >> 2) | 1)
    }

    /// Tells whether an index sampled by `bits` has the key.
    pub(super) fn is_sampled(self, bits: u8) -> bool {
        self.0 >> 1 & (1_u64 << bits).strict_sub(1) == 0
    }

    #[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "bits are cut")]
    pub(super) fn entry(self, page: Page) -> Entry {
        [(self.0 >> 30) as u32, (self.0 << 2) as u32 | (page >> 32) as u32, page as u32]
    }
}

pub(super) fn key_of(entry: Entry) -> Key {
    Key(u64::from(entry[0]) << 30 | u64::from(entry[1] >> 2))
}

pub(super) fn page_of(entry: Entry) -> Page {
    u64::from(entry[1] & 3) << 32 | u64::from(entry[2])
}

/// How many of the keys an index has: one in two to the power of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sampling {
    pub(super) pages: u8,
    /// `None` if it has no anchors.
    pub(super) anchors: Option<u8>,
}

impl Sampling {
    /// Returns what an index of a base with so many pages of data can hold.
    pub(super) fn of(pages: u64) -> Self {
        let mut sampling = Self { pages: 0, anchors: Some(0) };
        while pages >> sampling.pages > MAX_ENTRIES {
            sampling.pages = sampling.pages.strict_add(1);
        }
        let room = MAX_ENTRIES.strict_sub(pages >> sampling.pages);
        let anchors = pages.saturating_mul(ANCHORS_A_PAGE);
        sampling.anchors = (0..=MOST_ANCHOR_SAMPLING).find(|bits| anchors >> bits <= room);
        sampling
    }
}
