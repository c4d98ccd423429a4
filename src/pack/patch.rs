//! Patched chunks: what a chunk shares with the pages of a base, and the rest. Pure.
//!
//! The byte table stands in `docs/formats/patch.md`.

use std::fmt;

use crate::compress::MAX_PREFIXED_LEN;
use crate::compress::decode_prefixed;
use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::units::BLOCK_LEN;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::PAGE_LEN;
use crate::units::PAGE_SIZE;

/// Pages of a chunk.
pub const PAGES: u32 = 128;

/// Most chunks of the base, and of its bases in turn, that one patched chunk may need: decoding one
/// takes about half a millisecond, and any block of a volume must be there in 20.
pub const MAX_READS: u8 = 32;

/// Most groups of the base's packs, and of its bases' packs, that one patched chunk may need:
/// decompressing one takes up to 25 milliseconds.
pub const MAX_GROUPS: u8 = 3;

/// Most pages of a prefix: one mebibyte, what the window holds beside the chunk.
pub const MAX_PREFIX_PAGES: u32 = 256;

/// Pages of the largest base.
const MAX_PAGE: u64 = MAX_VOLUME_SIZE / PAGE_SIZE;

/// Bytes of the frame that holds a patch, before its steps.
const HEADER_LEN: usize = 16;

/// The skippable frame that holds a patch.
const PATCH_FRAME: u32 = 0x184d_2a53;

/// Most bytes of a varint: 35 bits, for a page number and its sign.
const MAX_VARINT_LEN: usize = 5;

/// Number of a page of the base, from 0.
pub type Page = u64;

/// One step on the way through a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pages of zeros.
    Zero {
        /// How many.
        count: u32,
    },
    /// Pages that the patch brings.
    Literal {
        /// How many.
        count: u32,
    },
    /// Pages of the base.
    Copy {
        /// The first of them.
        page: Page,
        /// How many.
        count: u32,
    },
}

impl Step {
    fn count(self) -> u32 {
        match self {
            Self::Zero { count } | Self::Literal { count } | Self::Copy { count, .. } => count,
        }
    }
}

/// Adds a step to those of a chunk, joined to the last one where it goes on.
pub fn push(steps: &mut Vec<Step>, next: Step) {
    match (steps.last_mut(), next) {
        (Some(Step::Zero { count }), Step::Zero { count: more })
        | (Some(Step::Literal { count }), Step::Literal { count: more }) => {
            *count = count.strict_add(more);
        }
        (Some(Step::Copy { page, count }), Step::Copy { page: from, count: more })
            if page.strict_add(u64::from(*count)) == from =>
        {
            *count = count.strict_add(more);
        }
        _ => steps.push(next),
    }
}

/// Returns the literal pages of some steps.
fn literal_pages(steps: &[Step]) -> u32 {
    let counts = steps.iter().map(|step| match step {
        Step::Literal { count } => *count,
        Step::Zero { .. } | Step::Copy { .. } => 0,
    });
    counts.sum()
}

/// Pages of the base that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub page: Page,
    /// How many.
    pub count: u32,
}

/// What is wrong with a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatchFault {
    /// It is not exactly one skippable frame of the right number.
    Frame,
    /// The chunks that it needs are none, or over the limit.
    Reads {
        /// Value found.
        found: u8,
    },
    /// The groups that it needs are over the limit.
    Groups {
        /// Value found.
        found: u8,
    },
    /// The steps end early, or go on.
    Steps,
    /// The steps do not make one chunk.
    Pages {
        /// Pages found.
        found: u32,
    },
    /// The literal steps are not as many pages as the header says.
    Literals {
        /// Pages found.
        found: u32,
        /// Pages that the header says.
        expected: u32,
    },
    /// The prefix is over the limit, or not as many pages as the header says.
    Prefix {
        /// Pages found.
        found: u32,
    },
    /// A page is past the largest volume, or before its start.
    Page,
    /// Literal pages without a frame, or a frame without any.
    Content,
}

impl fmt::Display for PatchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Frame => write!(f, "the stored bytes are not exactly one patch"),
            Self::Reads { found } => {
                write!(f, "the patch needs {found} base chunks, expected 1 to {MAX_READS}")
            }
            Self::Groups { found } => {
                write!(f, "the patch needs {found} base groups, expected at most {MAX_GROUPS}")
            }
            Self::Steps => write!(f, "the patch's steps do not end where they must"),
            Self::Pages { found } => {
                write!(f, "the patch's steps make {found} pages, expected {PAGES}")
            }
            Self::Literals { found, expected } => {
                write!(f, "the patch's steps have {found} literal pages, expected {expected}")
            }
            Self::Prefix { found } => {
                write!(f, "the patch's prefix has {found} pages, expected as many as it says")
            }
            Self::Page => write!(f, "the patch names a page outside any volume"),
            Self::Content => write!(f, "the patch's literal pages and their frame do not agree"),
        }
    }
}

impl std::error::Error for PatchFault {}

impl Fault for PatchFault {
    fn kind(&self) -> Kind {
        Kind::Corrupt
    }
}

/// A patch, parsed and checked in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch<'a> {
    /// Chunks of the base, and of its bases in turn, that it needs.
    pub reads: u8,
    /// Groups of packs that these are in; 0 where the base was an image.
    pub groups: u8,
    /// The steps; they make one chunk.
    pub steps: Vec<Step>,
    /// The pages that the literals are compressed against.
    pub prefix: Vec<Run>,
    /// The frame of the literals, empty if there are none.
    pub frame: &'a [u8],
}

impl<'a> Patch<'a> {
    /// Reads a chunk's stored bytes as a patch.
    ///
    /// # Errors
    ///
    /// Names the first thing that is wrong.
    pub fn parse(stored: &'a [u8]) -> Result<Self, PatchFault> {
        if stored.len() < HEADER_LEN || field::u32_le(stored, 0) != PATCH_FRAME {
            return Err(PatchFault::Frame);
        }
        let body_len = usize::try_from(field::u32_le(stored, 4)).map_err(|_| PatchFault::Frame)?;
        if body_len.checked_add(8) != Some(stored.len()) {
            return Err(PatchFault::Frame);
        }
        let reads = stored[8];
        if !(1..=MAX_READS).contains(&reads) {
            return Err(PatchFault::Reads { found: reads });
        }
        let groups = stored[9];
        if groups > MAX_GROUPS {
            return Err(PatchFault::Groups { found: groups });
        }
        let literals = u32::from(field::u16_le(stored, 10));
        let prefix_pages = u32::from(field::u16_le(stored, 12));
        let steps_len = usize::from(field::u16_le(stored, 14));
        if prefix_pages > MAX_PREFIX_PAGES {
            return Err(PatchFault::Prefix { found: prefix_pages });
        }
        let (steps, frame) =
            stored[HEADER_LEN..].split_at_checked(steps_len).ok_or(PatchFault::Steps)?;
        let mut reader = Reader { bytes: steps, expected: 0 };
        let patch = Self {
            reads,
            groups,
            steps: reader.steps(literals)?,
            prefix: reader.prefix(prefix_pages)?,
            frame,
        };
        if !reader.bytes.is_empty() {
            return Err(PatchFault::Steps);
        }
        if (literals == 0) != frame.is_empty() || (literals == 0 && prefix_pages > 0) {
            return Err(PatchFault::Content);
        }
        Ok(patch)
    }

    /// Appends the patch's stored form to `out`.
    ///
    /// # Panics
    ///
    /// If it is over a limit: the caller keeps to them.
    pub fn append(&self, out: &mut Vec<u8>) {
        let literals = literal_pages(&self.steps);
        let prefix_pages: u32 = self.prefix.iter().map(|run| run.count).sum();
        assert!((1..=MAX_READS).contains(&self.reads) && prefix_pages <= MAX_PREFIX_PAGES);
        assert!(self.groups <= MAX_GROUPS, "{} groups", self.groups);
        let mut writer = Writer { bytes: Vec::new(), expected: 0 };
        for step in &self.steps {
            writer.step(*step);
        }
        for run in &self.prefix {
            writer.varint(u64::from(run.count.strict_sub(1)));
            writer.page(run.page, run.count);
        }
        let mut header = [0; HEADER_LEN];
        let body_len =
            HEADER_LEN.strict_sub(8).strict_add(writer.bytes.len()).strict_add(self.frame.len());
        field::put_u32_le(&mut header, 0, PATCH_FRAME);
        field::put_u32_le(&mut header, 4, u32::try_from(body_len).expect("about a chunk"));
        header[8] = self.reads;
        header[9] = self.groups;
        let small = |count: u32| u16::try_from(count).expect("at most 256");
        field::put_u16_le(&mut header, 10, small(literals));
        field::put_u16_le(&mut header, 12, small(prefix_pages));
        let steps_len = u16::try_from(writer.bytes.len()).expect("at most 384 steps of 10 bytes");
        field::put_u16_le(&mut header, 14, steps_len);
        out.extend_from_slice(&header);
        out.extend_from_slice(&writer.bytes);
        out.extend_from_slice(self.frame);
    }

    /// Iterates over the pages of the base that it reads: the first, and how many follow each other.
    pub fn base_pages(&self) -> impl Iterator<Item = (Page, u32)> + '_ {
        let copies = self.steps.iter().filter_map(|step| match *step {
            Step::Copy { page, count } => Some((page, count)),
            Step::Zero { .. } | Step::Literal { .. } => None,
        });
        copies.chain(self.prefix.iter().map(|run| (run.page, run.count)))
    }

    /// Fills `plain` with the chunk. `read` fills a buffer with pages of the base, from a page on.
    /// The chunk's id is not checked yet.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the literals are damaged, and whatever `read` returns.
    ///
    /// # Panics
    ///
    /// If `plain` is not one chunk.
    pub fn apply(
        &self,
        read: &mut dyn FnMut(Page, &mut [u8]) -> Result<()>,
        scratch: &mut Vec<u8>,
        plain: &mut [u8],
    ) -> Result<()> {
        assert_eq!(plain.len(), BLOCK_LEN, "one chunk");
        scratch.clear();
        let literals = self.literals(read, scratch)?;
        let mut literals = &scratch[literals..];
        let mut rest = plain;
        for step in &self.steps {
            let (part, behind) = rest.split_at_mut(bytes_of(step.count()));
            match *step {
                Step::Zero { .. } => part.fill(0),
                Step::Copy { page, .. } => read(page, part)?,
                Step::Literal { .. } => {
                    let (here, later) = literals.split_at(part.len());
                    part.copy_from_slice(here);
                    literals = later;
                }
            }
            rest = behind;
        }
        Ok(())
    }

    /// Fills `scratch` with the prefix and the literals, and returns where these start.
    fn literals(
        &self,
        read: &mut dyn FnMut(Page, &mut [u8]) -> Result<()>,
        scratch: &mut Vec<u8>,
    ) -> Result<usize> {
        let prefix_len = bytes_of(self.prefix.iter().map(|run| run.count).sum());
        let count = literal_pages(&self.steps);
        scratch.resize(prefix_len.strict_add(bytes_of(count)), 0);
        let (prefix, literals) = scratch.split_at_mut(prefix_len);
        let mut rest = &mut *prefix;
        for run in &self.prefix {
            let (part, behind) = rest.split_at_mut(bytes_of(run.count));
            read(run.page, part)?;
            rest = behind;
        }
        if !literals.is_empty() {
            decode_prefixed(prefix, self.frame, literals)?;
        }
        Ok(prefix_len)
    }
}

/// Returns the bytes of `count` pages.
fn bytes_of(count: u32) -> usize {
    usize::try_from(count).expect("a few hundred").strict_mul(PAGE_LEN)
}

/// The steps under way, read: the page that follows the last one named is expected next.
struct Reader<'a> {
    bytes: &'a [u8],
    expected: Page,
}

impl Reader<'_> {
    fn varint(&mut self) -> Result<u64, PatchFault> {
        let mut value = 0;
        for at in 0..MAX_VARINT_LEN {
            let (first, rest) = self.bytes.split_first().ok_or(PatchFault::Steps)?;
            self.bytes = rest;
            value |= u64::from(first & 0x7f) << at.strict_mul(7);
            if first & 0x80 == 0 {
                // Each number has one form.
                return if at > 0 && *first == 0 { Err(PatchFault::Steps) } else { Ok(value) };
            }
        }
        Err(PatchFault::Steps)
    }

    fn page(&mut self, count: u32) -> Result<Page, PatchFault> {
        let zigzag = self.varint()?;
        let distance = (zigzag >> 1).cast_signed() ^ (zigzag & 1).cast_signed().wrapping_neg();
        let page = self.expected.checked_add_signed(distance).ok_or(PatchFault::Page)?;
        self.expected = page.strict_add(u64::from(count));
        if self.expected > MAX_PAGE { Err(PatchFault::Page) } else { Ok(page) }
    }

    fn steps(&mut self, literals: u32) -> Result<Vec<Step>, PatchFault> {
        let mut steps = Vec::new();
        let (mut done, mut found) = (0_u32, 0_u32);
        while done < PAGES {
            let token = self.varint()?;
            let count = u32::try_from(token >> 2).map_err(|_| PatchFault::Steps)?;
            let count = count.checked_add(1).ok_or(PatchFault::Steps)?;
            done = done.saturating_add(count);
            if done > PAGES {
                return Err(PatchFault::Pages { found: done });
            }
            steps.push(match token & 3 {
                0 => Step::Zero { count },
                1 => Step::Literal { count },
                2 => Step::Copy { page: self.page(count)?, count },
                _ => return Err(PatchFault::Steps),
            });
            match token & 3 {
                2 => {}
                kind => {
                    self.expected = behind(self.expected, count);
                    found = found.strict_add(if kind == 1 { count } else { 0 });
                }
            }
        }
        if found == literals {
            Ok(steps)
        } else {
            Err(PatchFault::Literals { found, expected: literals })
        }
    }

    fn prefix(&mut self, pages: u32) -> Result<Vec<Run>, PatchFault> {
        let mut runs = Vec::new();
        let mut done = 0_u32;
        while done < pages {
            let count = u32::try_from(self.varint()?).unwrap_or(u32::MAX).saturating_add(1);
            done = done.saturating_add(count);
            if done > pages {
                return Err(PatchFault::Prefix { found: done });
            }
            runs.push(Run { page: self.page(count)?, count });
        }
        Ok(runs)
    }
}

/// The steps under way, written.
struct Writer {
    bytes: Vec<u8>,
    expected: Page,
}

impl Writer {
    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.bytes.push(u8::try_from(value & 0x7f | 0x80).expect("8 bits"));
            value >>= 7;
        }
        self.bytes.push(u8::try_from(value).expect("7 bits"));
    }

    fn page(&mut self, page: Page, count: u32) {
        // Both are at most 2^34 and a chunk's pages.
        let distance = page.cast_signed().strict_sub(self.expected.cast_signed());
        self.varint((distance << 1 ^ distance >> 63).cast_unsigned());
        self.expected = page.strict_add(u64::from(count));
    }

    fn step(&mut self, step: Step) {
        let count = u64::from(step.count().strict_sub(1)) << 2;
        match step {
            Step::Zero { .. } => self.varint(count),
            Step::Literal { .. } => self.varint(count | 1),
            Step::Copy { page, .. } => {
                self.varint(count | 2);
                self.page(page, step.count());
                return;
            }
        }
        self.expected = behind(self.expected, step.count());
    }
}

/// Returns the page that is expected behind pages that are not of the base: what is new mostly stands
/// where something old stood. It stays a page that a volume can have, or the end of the largest one,
/// so that the way from it to any other takes 35 bits.
fn behind(expected: Page, count: u32) -> Page {
    expected.strict_add(u64::from(count)).min(MAX_PAGE)
}

const _: () = assert!(
    BLOCK_LEN == 128 * PAGE_LEN && MAX_PREFIXED_LEN >= (128 + 256) * PAGE_LEN,
    "a chunk and the longest prefix fit the window"
);

/// Says that a chunk is patched and nobody knows the base.
#[must_use]
pub(super) fn no_base() -> Error {
    Error::corrupt("the chunk is patched, but its pack does not name a base")
}

#[cfg(test)]
mod tests;
