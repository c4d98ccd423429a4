//! A chunk as a patch: copies of base pages, and the rest compressed against pages that resemble it.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::compress::Encoder;
use crate::compress::append_prefixed;
use crate::delta::BaseHints;
use crate::delta::PageIndex;
use crate::delta::entry::Key;
use crate::digest::Digest;
use crate::digest::is_zero;
use crate::error::Result;
use crate::pack::Base;
use crate::pack::GroupId;
use crate::pack::Page;
use crate::pack::Patch;
use crate::pack::patch;
use crate::pack::patch::MAX_GROUPS;
use crate::pack::patch::MAX_PREFIX_PAGES;
use crate::pack::patch::MAX_READS;
use crate::pack::patch::Run;
use crate::pack::patch::Step;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_PAGES;
use crate::units::BlockIndex;
use crate::units::PAGE_LEN;

/// Most literals of a patch that is taken without a look at the whole chunk's frame: the other half of the chunk
/// costs next to nothing.
const SURELY_SMALLER: usize = BLOCK_LEN / 2;

/// Votes of a page that an anchor leads to, against one for a neighbour's neighbour.
const ANCHOR_VOTES: u32 = 4;

/// Votes of a page that the file had at this place before, and half as many for both its neighbours. Of 2, 4 and 8 votes
/// the delta of a Debian volume was smallest with 4 and 8, which were the same within 4 KiB.
const HINT_VOTES: u32 = 4;

/// What is known of a page of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Zero,
    New,
    Base(Page),
}

/// Makes patches over one base.
#[derive(Debug)]
pub struct Patching {
    base: Arc<dyn Base>,
    index: PageIndex,
    hints: BaseHints,
    /// Pages of the base.
    pages: Page,
    level: i32,
}

impl Patching {
    /// Makes patches over `base`, of `pages` pages, with literals compressed at `level`.
    #[must_use]
    pub fn new(base: Arc<dyn Base>, pages: Page, index: PageIndex, level: i32) -> Self {
        Self { base, index, hints: BaseHints::default(), pages, level }
    }

    /// Takes what is known of where the base has what it is to resemble.
    #[must_use]
    pub fn with_hints(self, hints: BaseHints) -> Self {
        Self { hints, ..self }
    }

    /// Returns the index.
    #[must_use]
    pub fn index(&self) -> &PageIndex {
        &self.index
    }

    /// Tells whether a block of the base is the chunk `id`.
    ///
    /// # Errors
    ///
    /// As reading the base.
    pub fn has(&self, id: &Digest) -> Result<bool> {
        self.base.has_chunk(id)
    }

    /// Appends the patch that makes the chunk `plain`, which stands at block `index`, to `out`; returns
    /// `false`, and appends nothing, if the base does not help. `whole` is at the level of groups.
    ///
    /// # Errors
    ///
    /// As reading the base.
    pub fn append(
        &self,
        index: BlockIndex,
        plain: &[u8],
        whole: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let mut found = self.look_up(index, plain)?;
        let mut blocks = Blocks::new(&*self.base);
        blocks.take_copies(&mut found)?;
        let mut literals = Vec::new();
        for run in new_runs(&found) {
            literals.extend_from_slice(pages_of(plain, &run));
        }
        let runs = if literals.is_empty() {
            Vec::new()
        } else {
            self.prefix(index, plain, &found, &mut blocks)?
        };
        if blocks.reads == 0 {
            return Ok(false);
        }
        let mut frame = Vec::new();
        if !literals.is_empty() {
            let prefix = self.read_prefix(&runs)?;
            let mut most = usize::MAX;
            if literals.len() > SURELY_SMALLER {
                let Some(alone) = worth(&prefix, &literals, plain, whole, out)? else {
                    return Ok(false);
                };
                most = alone;
            }
            append_prefixed(self.level, &prefix, &literals, &mut frame)?;
            if frame.len() >= most {
                return Ok(false);
            }
        }
        let groups = u8::try_from(blocks.groups.len()).expect("at most 3");
        let steps = steps(&found);
        Patch { reads: blocks.reads, groups, steps, prefix: runs, frame: &frame }.append(out);
        Ok(true)
    }

    /// Returns the bytes of a prefix.
    fn read_prefix(&self, runs: &[Run]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for run in runs {
            let start = bytes.len();
            let len = usize::try_from(run.count).expect("at most 256").strict_mul(PAGE_LEN);
            bytes.resize(start.strict_add(len), 0);
            self.base.read_pages(run.page, &mut bytes[start..])?;
        }
        Ok(bytes)
    }

    /// Looks up each page of a chunk. What is found was compared byte by byte.
    fn look_up(&self, index: BlockIndex, plain: &[u8]) -> Result<Vec<Found>> {
        let own = u64::from(index.0).strict_mul(BLOCK_PAGES);
        let mut found = Vec::with_capacity(plain.len() / PAGE_LEN);
        // The page behind the last one that was found: files lie in order mostly.
        let mut next = own;
        for (at, page) in (0..).zip(plain.chunks(PAGE_LEN)) {
            let here = if is_zero(page) {
                Found::Zero
            } else {
                let hit = self.index.find(Key::of_page(page));
                let mut base = None;
                if hit.is_some() || !self.index.has_all_pages() {
                    for candidate in
                        [Some(next), Some(own.strict_add(at)), hit].into_iter().flatten()
                    {
                        if self.is_at(page, candidate)? {
                            base = Some(candidate);
                            break;
                        }
                    }
                }
                base.map_or(Found::New, Found::Base)
            };
            if let Found::Base(page) = here {
                next = page;
            }
            next = next.strict_add(1);
            found.push(here);
        }
        Ok(found)
    }

    fn is_at(&self, page: &[u8], place: Page) -> Result<bool> {
        if place >= self.pages {
            return Ok(false);
        }
        let mut there = [0; PAGE_LEN];
        self.base.read_pages(place, &mut there)?;
        Ok(there == page)
    }

    /// Chooses the base's pages that the new ones may resemble, ascending.
    fn prefix(
        &self,
        index: BlockIndex,
        plain: &[u8],
        found: &[Found],
        blocks: &mut Blocks<'_>,
    ) -> Result<Vec<Run>> {
        let mut votes = Votes { pages: self.pages, votes: BTreeMap::new() };
        let own = u64::from(index.0).strict_mul(BLOCK_PAGES);
        for run in new_runs(found) {
            self.index.anchors(pages_of(plain, &run), |_, page| {
                for near in [page.wrapping_sub(1), page, page.strict_add(1)] {
                    votes.add(near, ANCHOR_VOTES);
                }
            });
            let before = run.start.checked_sub(1).map(|at| found[at]);
            let behind = found.get(run.end).copied();
            for (at, step) in run.clone().zip(1..) {
                let here = own.strict_add(u64::try_from(at).expect("below 128"));
                votes.add(here, 1);
                if let Some(page) = self.hints.page(here) {
                    votes.add(page, HINT_VOTES);
                    votes.add(page.wrapping_sub(1), HINT_VOTES / 2);
                    votes.add(page.strict_add(1), HINT_VOTES / 2);
                }
                if let Some(Found::Base(page)) = before {
                    votes.add(page.strict_add(step), 2);
                }
                if let Some(Found::Base(page)) = behind {
                    let len = u64::try_from(run.len()).expect("at most 128");
                    votes.add(page.wrapping_sub(len.strict_add(1)).wrapping_add(step), 2);
                }
            }
        }
        votes.runs(blocks)
    }
}

/// The pages that could be in a prefix, and how much speaks for each.
struct Votes {
    /// Pages of the base.
    pages: Page,
    votes: BTreeMap<Page, u32>,
}

impl Votes {
    fn add(&mut self, page: Page, count: u32) {
        if page < self.pages {
            let votes = self.votes.entry(page).or_default();
            *votes = votes.saturating_add(count);
        }
    }

    /// Returns the best pages that the limits allow, ascending.
    fn runs(self, blocks: &mut Blocks<'_>) -> Result<Vec<Run>> {
        // Blocks first: a page whose block is read anyway costs nothing to read.
        let mut by_block: BTreeMap<u64, u32> = BTreeMap::new();
        for (page, votes) in &self.votes {
            let sum = by_block.entry(page.strict_div(BLOCK_PAGES)).or_default();
            *sum = sum.saturating_add(*votes);
        }
        blocks.take_best(&by_block)?;
        let mut pages: Vec<(u32, Page)> = self
            .votes
            .into_iter()
            .filter(|(page, _)| blocks.taken.contains(&page.strict_div(BLOCK_PAGES)))
            .map(|(page, votes)| (votes, page))
            .collect();
        pages.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        pages.truncate(usize::try_from(MAX_PREFIX_PAGES).expect("256"));
        pages.sort_unstable_by_key(|(_, page)| *page);
        let mut runs: Vec<Run> = Vec::new();
        for (_, page) in pages {
            match runs.last_mut() {
                Some(run) if run.page.strict_add(u64::from(run.count)) == page => {
                    run.count = run.count.strict_add(1);
                }
                _ => runs.push(Run { page, count: 1 }),
            }
        }
        Ok(runs)
    }
}

/// The blocks of the base that a patch depends on, and the chunks and groups that reading them takes.
struct Blocks<'a> {
    base: &'a dyn Base,
    taken: BTreeSet<u64>,
    reads: u8,
    groups: BTreeSet<GroupId>,
}

impl<'a> Blocks<'a> {
    fn new(base: &'a dyn Base) -> Self {
        Self { base, taken: BTreeSet::new(), reads: 0, groups: BTreeSet::new() }
    }

    /// Adds a block that reading takes so many groups for, if the limits allow.
    fn take(&mut self, block: u64, groups: &BTreeSet<GroupId>) -> Result<bool> {
        if self.taken.contains(&block) {
            return Ok(true);
        }
        let new = groups.difference(&self.groups).count();
        let reads = u32::from(self.reads).strict_add(u32::from(self.base.reads(index_of(block))?));
        match u8::try_from(reads) {
            Ok(reads)
                if reads <= MAX_READS
                    && self.groups.len().strict_add(new) <= usize::from(MAX_GROUPS) =>
            {
                self.taken.insert(block);
                self.groups.extend(groups);
                self.reads = reads;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Adds as many blocks as the limits allow, given what speaks for each. The groups that are best
    /// altogether come first, and in them the best blocks; of equals the first.
    fn take_best(&mut self, score: &BTreeMap<u64, u32>) -> Result<()> {
        let mut of_group: BTreeMap<GroupId, u32> = BTreeMap::new();
        let mut blocks = Vec::with_capacity(score.len());
        for (block, score) in score {
            let mut groups = BTreeSet::new();
            self.base.groups(index_of(*block), &mut groups)?;
            for group in &groups {
                let sum = of_group.entry(*group).or_default();
                *sum = sum.saturating_add(*score);
            }
            blocks.push((*score, *block, groups));
        }
        // A block that needs several groups is as good as the worst of them.
        let worth = |groups: &BTreeSet<GroupId>| {
            groups.iter().map(|group| of_group[group]).min().unwrap_or(u32::MAX)
        };
        blocks
            .sort_by(|a, b| worth(&b.2).cmp(&worth(&a.2)).then(b.0.cmp(&a.0)).then(a.1.cmp(&b.1)));
        for (_, block, groups) in blocks {
            self.take(block, &groups)?;
        }
        Ok(())
    }

    /// Keeps the copies out of as many blocks as the limits allow, those with most pages first.
    fn take_copies(&mut self, found: &mut [Found]) -> Result<()> {
        let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
        for found in &*found {
            if let Found::Base(page) = found {
                let count = counts.entry(page.strict_div(BLOCK_PAGES)).or_default();
                *count = count.strict_add(1);
            }
        }
        self.take_best(&counts)?;
        for found in found {
            if let Found::Base(page) = found
                && !self.taken.contains(&page.strict_div(BLOCK_PAGES))
            {
                *found = Found::New;
            }
        }
        Ok(())
    }
}

fn index_of(block: u64) -> BlockIndex {
    BlockIndex(u32::try_from(block).expect("inside the base"))
}

/// Returns what a chunk takes alone at the level of groups, if its literals take less against their prefix at that level.
/// They need not be tried at their own otherwise: most chunks that the base does not help have no page of it, and would
/// take the longest there.
fn worth(
    prefix: &[u8],
    literals: &[u8],
    plain: &[u8],
    whole: &mut Encoder,
    scratch: &mut Vec<u8>,
) -> Result<Option<usize>> {
    let start = scratch.len();
    let alone = whole.append(plain, scratch);
    scratch.truncate(start);
    let against = append_prefixed(whole.level(), prefix, literals, scratch)?;
    scratch.truncate(start);
    Ok((against < alone).then_some(alone))
}

/// Returns the bytes of some pages of a chunk.
fn pages_of<'a>(plain: &'a [u8], pages: &std::ops::Range<usize>) -> &'a [u8] {
    &plain[pages.start.strict_mul(PAGE_LEN)..pages.end.strict_mul(PAGE_LEN)]
}

/// Returns the runs of new pages.
fn new_runs(found: &[Found]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, found) in found.iter().enumerate() {
        if *found == Found::New {
            match runs.last_mut() {
                Some(run) if run.end == at => run.end = at.strict_add(1),
                _ => runs.push(at..at.strict_add(1)),
            }
        }
    }
    runs
}

/// Joins pages of one kind to steps.
fn steps(found: &[Found]) -> Vec<Step> {
    let mut steps = Vec::new();
    for found in found {
        let next = match *found {
            Found::Zero => Step::Zero { count: 1 },
            Found::New => Step::Literal { count: 1 },
            Found::Base(page) => Step::Copy { page, count: 1 },
        };
        patch::push(&mut steps, next);
    }
    steps
}
