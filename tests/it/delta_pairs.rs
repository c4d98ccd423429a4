//! Pairs of volumes as updates make them, for the tests of deltas.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;

use amikit::internals::units::BLOCK_LEN;
use amikit::internals::units::BLOCK_SIZE;

use crate::common::Model;
use crate::common::PAGE;
use crate::common::Random;
use crate::common::State;
use crate::common::data_ranges;
use crate::common::run_well;

/// What can happen to a volume from one release to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happens {
    Nothing,
    NoRelation,
    PagesMove,
    BytesInserted,
    BytesCut,
    Grows,
    Shrinks,
    Zeroed,
    Punched,
    AllHole,
    AllZero,
    SmallEdits,
    BlocksMove,
    FromNothing,
    ManySources,
}

pub(crate) const ALL: [Happens; 15] = [
    Happens::Nothing,
    Happens::NoRelation,
    Happens::PagesMove,
    Happens::BytesInserted,
    Happens::BytesCut,
    Happens::Grows,
    Happens::Shrinks,
    Happens::Zeroed,
    Happens::Punched,
    Happens::AllHole,
    Happens::AllZero,
    Happens::SmallEdits,
    Happens::BlocksMove,
    Happens::FromNothing,
    Happens::ManySources,
];

/// Makes a volume of files: noise, text, runs of one byte, zeros and holes, in pages.
pub(crate) fn volume(random: &mut Random, blocks: usize) -> Model {
    let mut model = Model { bytes: Vec::new(), states: Vec::new(), written: Vec::new() };
    let pages = blocks * (BLOCK_LEN / PAGE);
    while model.written.len() < pages {
        let len = 1 + random.index(90);
        let (content, written) = match random.below(8) {
            0 => (vec![0; len * PAGE], random.below(2) == 0),
            // More than a block of it, so that there are whole blocks of zeros and holes.
            1 => (vec![0; (len + 128) * PAGE], random.below(2) == 0),
            2 => (vec![7; len * PAGE], true),
            3 | 4 => (text(random, len * PAGE), true),
            _ => (random.bytes(len * PAGE), true),
        };
        model.written.resize(model.written.len() + content.len() / PAGE, written);
        model.bytes.extend(content);
    }
    model.bytes.truncate(pages * PAGE);
    let cut = [0, 0, 1, 511, PAGE, 5000, BLOCK_LEN - 1][random.index(7)];
    model.bytes.truncate(model.bytes.len() - cut);
    model.settle()
}

/// Makes something that compresses, but not to nothing.
fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let words: Vec<Vec<u8>> = (0..40).map(|_| random.bytes(7)).collect();
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(&words[random.index(words.len())]);
    }
    bytes.truncate(len);
    bytes
}

/// Returns a range of pages of the model, at most a third of it.
fn pages(random: &mut Random, model: &Model) -> std::ops::Range<usize> {
    let count = model.written.len();
    let start = random.index(count);
    start..(start + 1 + random.index(count / 3 + 1)).min(count)
}

/// Makes pages zeros that are written, or holes.
fn clear(model: &mut Model, pages: std::ops::Range<usize>, written: bool) {
    let end = (pages.end * PAGE).min(model.bytes.len());
    model.bytes[pages.start * PAGE..end].fill(0);
    model.written[pages].fill(written);
}

/// Makes a pair in which `happens` happened.
pub(crate) fn pair(random: &mut Random, blocks: usize, happens: Happens) -> (Model, Model) {
    let old = volume(random, blocks);
    if happens == Happens::FromNothing {
        let holes = Model::of(&vec![None; blocks], 0);
        return (holes, old);
    }
    let new = after(random, &old, happens);
    (old, new)
}

/// Returns what a volume is after `happens`.
pub(crate) fn after(random: &mut Random, old: &Model, happens: Happens) -> Model {
    let mut new = old.clone();
    let len = new.bytes.len();
    match happens {
        Happens::Nothing | Happens::FromNothing => {}
        Happens::NoRelation => {
            let blocks = 1 + random.index(len.div_ceil(BLOCK_LEN));
            new = volume(random, blocks);
        }
        Happens::PagesMove => {
            let by = 1 + random.index(new.written.len());
            let whole = len / PAGE;
            // A volume of less than a page has none to move.
            let by = by % whole.max(1);
            new.bytes[..whole * PAGE].rotate_left(by * PAGE);
            new.written[..whole].rotate_left(by);
        }
        Happens::BytesInserted => {
            let at = random.index(len);
            let count = 1 + random.index(9000);
            let bytes = random.bytes(count);
            new.bytes.splice(at..at, bytes);
        }
        Happens::BytesCut => {
            let at = random.index(len);
            let end = (at + 1 + random.index(9000)).min(len);
            new.bytes.drain(at..end);
        }
        Happens::Grows => {
            let pages = 1 + random.index(400);
            let hole = random.below(2) == 0;
            new.written.resize(new.written.len() + pages, hole);
            let odd = random.index(PAGE);
            new.bytes.resize(len + pages * PAGE - odd, 0);
        }
        Happens::Shrinks => new.bytes.truncate(1 + random.index(len)),
        Happens::Zeroed | Happens::Punched => {
            for _ in 0..3 {
                let pages = pages(random, &new);
                clear(&mut new, pages, happens == Happens::Zeroed);
            }
        }
        Happens::AllHole | Happens::AllZero => {
            let all = 0..new.written.len();
            clear(&mut new, all, happens == Happens::AllZero);
        }
        Happens::SmallEdits => {
            for _ in 0..=random.index(40) {
                let at = random.index(len);
                new.bytes[at] ^= 0x55;
            }
        }
        Happens::BlocksMove => {
            // Whole blocks change places, and some stand twice.
            let whole = len / BLOCK_LEN;
            for _ in 0..whole {
                let (from, to) = (random.index(whole), random.index(whole));
                new.bytes.copy_within(from * BLOCK_LEN..(from + 1) * BLOCK_LEN, to * BLOCK_LEN);
                let pages = BLOCK_LEN / PAGE;
                new.written.copy_within(from * pages..(from + 1) * pages, to * pages);
            }
        }
        Happens::ManySources => {
            // Each page of a block from anywhere: more blocks than one patch may lean on.
            let whole = len / PAGE;
            for to in 0..whole {
                let from = random.index(whole);
                new.bytes[to * PAGE..][..PAGE].copy_from_slice(&old.bytes[from * PAGE..][..PAGE]);
                new.written[to] = old.written[from];
            }
        }
    }
    if new.bytes.is_empty() {
        new.bytes.push(9);
    }
    new.settle()
}

/// Holds an image that was changed block by block to a model. Of a block whose bytes are the same
/// before and after, the file system may keep other pages than a writer of the whole would.
pub(crate) fn check_changed(path: &Path, model: &Model, context: &str) {
    let found = fs::read(path).unwrap();
    assert_eq!(found.len(), model.bytes.len(), "{context}: size");
    let differs = found.iter().zip(&model.bytes).position(|(a, b)| a != b);
    assert!(differs.is_none(), "{context}: byte {differs:?} differs");
    let ranges = data_ranges(path);
    for (number, state) in (0_u64..).zip(&model.states) {
        let (start, end) = (number * BLOCK_SIZE, (number + 1) * BLOCK_SIZE);
        let none = ranges.iter().all(|(from, to)| *to <= start || end <= *from);
        assert_eq!(none, *state == State::Hole, "{context}: block {number} is {state:?}");
    }
}

/// Writes both volumes and packs the old one, as a folder and as an archive.
pub(crate) fn write_pair(here: &Path, old: &Model, new: &Model) {
    old.write(&here.join("old.raw"));
    new.write(&here.join("new.raw"));
    run_well(here, "pack old.raw -o old.ami --name old --level 1");
    run_well(here, "pack old.raw -o old.tar --name old --level 1");
    run_well(here, "snapshot old.raw -o old.snap");
}
