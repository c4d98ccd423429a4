#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::compress::append_prefixed;

/// Random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn count(&mut self, end: u32) -> u32 {
        u32::try_from(self.below(end.into())).unwrap()
    }

    /// Returns the first of `count` pages: near others, anywhere, or at the very end.
    fn page(&mut self, count: u32) -> Page {
        let last = MAX_PAGE - u64::from(count);
        match self.below(4) {
            0 => self.below(300),
            1 => last,
            _ => self.below(last + 1),
        }
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut left = PAGES;
        let mut steps = Vec::new();
        while left > 0 {
            let count = 1 + self.count(left.min(40));
            left -= count;
            steps.push(match self.below(4) {
                0 => Step::Zero { count },
                1 => Step::Literal { count },
                _ => Step::Copy { page: self.page(count), count },
            });
        }
        steps
    }

    fn prefix(&mut self) -> Vec<Run> {
        let mut left = self.count(MAX_PREFIX_PAGES + 1);
        let mut runs = Vec::new();
        while left > 0 {
            let count = 1 + self.count(left);
            left -= count;
            runs.push(Run { page: self.page(count), count });
        }
        runs
    }

    fn patch<'a>(&mut self, frame: &'a [u8]) -> Patch<'a> {
        let steps = self.steps();
        let literal = steps.iter().any(|step| matches!(step, Step::Literal { .. }));
        let reads = u8::try_from(1 + self.below(MAX_READS.into())).unwrap();
        let prefix = if literal { self.prefix() } else { Vec::new() };
        let groups = u8::try_from(self.below(u64::from(MAX_GROUPS) + 1)).unwrap();
        Patch { reads, groups, steps, prefix, frame: if literal { frame } else { &[] } }
    }
}

fn stored(patch: &Patch<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    patch.append(&mut bytes);
    bytes
}

/// A patch of one step of each kind, with a prefix.
fn sound() -> Vec<u8> {
    stored(&Patch {
        reads: 2,
        groups: 1,
        steps: vec![
            Step::Copy { page: 1000, count: 60 },
            Step::Literal { count: 3 },
            Step::Zero { count: 5 },
            Step::Copy { page: 2, count: 60 },
        ],
        prefix: vec![Run { page: 7, count: 2 }, Run { page: 1059, count: 1 }],
        frame: b"frame",
    })
}

#[test]
fn what_was_appended_is_parsed() {
    for seed in 0..20_000 {
        let patch = Random(seed).patch(b"some frame");
        let bytes = stored(&patch);
        assert_eq!(Patch::parse(&bytes), Ok(patch), "seed {seed}");
    }
}

#[test]
fn every_cut_and_every_tail_is_refused() {
    for seed in 0..200 {
        let bytes = stored(&Random(seed).patch(b"some frame"));
        for len in 0..bytes.len() {
            assert_eq!(Patch::parse(&bytes[..len]), Err(PatchFault::Frame), "seed {seed}, {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Patch::parse(&longer), Err(PatchFault::Frame), "seed {seed}");
    }
}

/// Each check of `parse`, tripped by one changed field.
#[test]
fn a_broken_field_is_named() {
    let cases: [(usize, &[u8], PatchFault); 13] = [
        (0, &[0x52], PatchFault::Frame),
        (4, &[0], PatchFault::Frame),
        (7, &[0xff], PatchFault::Frame),
        (8, &[0], PatchFault::Reads { found: 0 }),
        (8, &[33], PatchFault::Reads { found: 33 }),
        (9, &[4], PatchFault::Groups { found: 4 }),
        (10, &[4], PatchFault::Literals { found: 3, expected: 4 }),
        (12, &[1, 1], PatchFault::Prefix { found: 257 }),
        // One page of the prefix too few, and one too many.
        (12, &[1], PatchFault::Prefix { found: 2 }),
        (12, &[4], PatchFault::Steps),
        (14, &[0xff, 0xff], PatchFault::Steps),
        (14, &[0], PatchFault::Steps),
        // The first step has another kind, which no step has.
        (16, &[0xef], PatchFault::Steps),
    ];
    assert_eq!(sound()[16..18], [0xee, 0x01], "the first token takes two bytes");
    for (at, changed, fault) in cases {
        let mut bytes = sound();
        bytes[at..at + changed.len()].copy_from_slice(changed);
        assert_eq!(Patch::parse(&bytes), Err(fault), "byte {at}: {changed:?}");
    }
}

/// Builds a patch out of a header and the bytes of its steps, sound or not.
fn raw(literals: u16, prefix_pages: u16, steps: &[u8], frame: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    field::put_u32_le(&mut bytes, 0, PATCH_FRAME);
    let body_len = HEADER_LEN - 8 + steps.len() + frame.len();
    field::put_u32_le(&mut bytes, 4, u32::try_from(body_len).unwrap());
    bytes[8] = 1;
    field::put_u16_le(&mut bytes, 10, literals);
    field::put_u16_le(&mut bytes, 12, prefix_pages);
    field::put_u16_le(&mut bytes, 14, u16::try_from(steps.len()).unwrap());
    [&bytes, steps, frame].concat()
}

fn fault(bytes: &[u8]) -> Option<PatchFault> {
    Patch::parse(bytes).err()
}

#[test]
fn each_number_has_one_form() {
    // 128 pages of zeros: a count of 127, and kind 0.
    assert_eq!(fault(&raw(0, 0, &[0xfc, 0x03], &[])), None);
    assert_eq!(fault(&raw(0, 0, &[0xfc, 0x83, 0x00], &[])), Some(PatchFault::Steps));
    assert_eq!(fault(&raw(0, 0, &[0xfc, 0x83, 0x80, 0x00], &[])), Some(PatchFault::Steps));
    // More than five bytes of one number.
    assert_eq!(fault(&raw(0, 0, &[0xff; 9], &[])), Some(PatchFault::Steps));
    assert_eq!(fault(&raw(0, 0, &[0xfc, 0xff, 0xff, 0xff, 0xff, 1], &[])), Some(PatchFault::Steps));
    // The largest number of five bytes is more pages than a chunk has.
    let most = raw(0, 0, &[0xfc, 0xff, 0xff, 0xff, 0x7f], &[]);
    assert!(matches!(fault(&most), Some(PatchFault::Pages { .. } | PatchFault::Steps)));
    // 129 pages, 127 pages, and bytes behind the last step.
    let pages = raw(0, 0, &[0x80, 0x04], &[]);
    assert_eq!(fault(&pages), Some(PatchFault::Pages { found: 129 }));
    assert_eq!(fault(&raw(0, 0, &[0xf8, 0x03], &[])), Some(PatchFault::Steps));
    assert_eq!(fault(&raw(0, 0, &[0xfc, 0x03, 0x00], &[])), Some(PatchFault::Steps));
}

#[test]
fn pages_before_the_start_and_behind_the_end_of_all_volumes_are_refused() {
    let copy_all = |zigzag: u64| {
        let mut writer = Writer { bytes: vec![0xfe, 0x03], expected: 0 };
        writer.varint(zigzag);
        raw(0, 0, &writer.bytes, &[])
    };
    let last = MAX_PAGE - 128;
    assert_eq!(fault(&copy_all(last << 1)), None);
    assert_eq!(fault(&copy_all((last + 1) << 1)), Some(PatchFault::Page));
    // One page before the start.
    assert_eq!(fault(&copy_all(1)), Some(PatchFault::Page));
    assert_eq!(fault(&copy_all((1 << 35) - 1)), Some(PatchFault::Page));
    assert_eq!(fault(&copy_all((1 << 35) - 2)), Some(PatchFault::Page));
    assert_eq!(fault(&copy_all(1 << 35)), Some(PatchFault::Steps));
}

#[test]
fn literals_and_their_frame_go_together() {
    // 128 literal pages: a count of 127, and kind 1.
    assert_eq!(fault(&raw(128, 0, &[0xfd, 0x03], b"x")), None);
    assert_eq!(fault(&raw(128, 0, &[0xfd, 0x03], &[])), Some(PatchFault::Content));
    assert_eq!(fault(&raw(0, 0, &[0xfc, 0x03], b"x")), Some(PatchFault::Content));
    // A prefix that nothing is compressed against.
    assert_eq!(fault(&raw(0, 1, &[0xfc, 0x03, 0, 0], &[])), Some(PatchFault::Content));
    let literals = PatchFault::Literals { found: 128, expected: 127 };
    assert_eq!(fault(&raw(127, 0, &[0xfd, 0x03], b"x")), Some(literals));
}

/// Whatever is accepted is the only way to say it; nothing panics.
#[test]
fn any_bytes_are_refused_or_come_back_the_same() {
    let check = |bytes: &[u8], context: &str| {
        let Ok(patch) = Patch::parse(bytes) else { return 0 };
        assert_eq!(stored(&patch), bytes, "{context}");
        let pages: u32 = patch.steps.iter().map(|step| step.count()).sum();
        assert_eq!(pages, PAGES, "{context}");
        1
    };
    // Every byte of a sound patch, header and steps, as each value.
    let bytes = sound();
    for at in 0..bytes.len() {
        for value in 0..=255 {
            let mut bytes = bytes.clone();
            bytes[at] = value;
            check(&bytes, &format!("byte {at} is {value}"));
        }
    }
    let mut accepted = 0;
    for seed in 0..50_000 {
        let mut random = Random(seed);
        let mut bytes = if seed % 2 == 0 {
            stored(&random.patch(b"frame"))
        } else {
            let len = random.below(60);
            let steps: Vec<u8> =
                (0..len).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
            raw(u16::try_from(random.below(200)).unwrap(), 0, &steps, b"frame")
        };
        for _ in 0..random.below(4) {
            let at = usize::try_from(random.below(u64::try_from(bytes.len()).unwrap())).unwrap();
            bytes[at] ^= 1 << random.below(8);
        }
        accepted += check(&bytes, &format!("seed {seed}"));
    }
    assert!(accepted > 1000, "{accepted} accepted: hardly anything was put to the test");
}

/// A base whose page `n` is filled with the lower bytes of `n`.
#[expect(clippy::unnecessary_wraps, reason = "what a patch is applied with")]
fn read_base(page: Page, pages: &mut [u8]) -> Result<()> {
    for (page, bytes) in (page..).zip(pages.chunks_mut(PAGE_LEN)) {
        bytes.as_chunks_mut::<8>().0.fill(page.to_le_bytes());
    }
    Ok(())
}

fn base_pages(page: Page, count: u32) -> Vec<u8> {
    let mut bytes = vec![0; bytes_of(count)];
    read_base(page, &mut bytes).unwrap();
    bytes
}

#[test]
fn applied_is_what_the_steps_say() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let patch = random.patch(b"not yet");
        let count = patch.steps.iter().map(|step| match step {
            Step::Literal { count } => *count,
            _ => 0,
        });
        let literals: Vec<u8> = (0..bytes_of(count.sum()))
            .map(|at| u8::try_from(at / 64 % 251).unwrap() ^ u8::try_from(random.below(2)).unwrap())
            .collect();
        let prefix: Vec<u8> =
            patch.prefix.iter().flat_map(|run| base_pages(run.page, run.count)).collect();
        let mut frame = Vec::new();
        if !literals.is_empty() {
            append_prefixed(3, &prefix, &literals, &mut frame).unwrap();
        }
        let patch = Patch { frame: &frame, ..patch };
        let mut rest = &literals[..];
        let mut expected = Vec::new();
        for step in &patch.steps {
            match *step {
                Step::Zero { count } => expected.resize(expected.len() + bytes_of(count), 0),
                Step::Copy { page, count } => expected.extend(base_pages(page, count)),
                Step::Literal { count } => {
                    let (here, behind) = rest.split_at(bytes_of(count));
                    expected.extend(here);
                    rest = behind;
                }
            }
        }
        let bytes = stored(&patch);
        let parsed = Patch::parse(&bytes).unwrap();
        // Neither the scratch nor the chunk need be empty.
        let (mut scratch, mut plain) = (vec![9; 100], vec![9; BLOCK_LEN]);
        parsed.apply(&mut read_base, &mut scratch, &mut plain).unwrap();
        assert!(plain == expected, "seed {seed}");

        // A frame that is cut, or of other bytes, is refused or makes other bytes: no panic, and
        // no more than its own pages.
        if frame.is_empty() {
            continue;
        }
        for len in [0, 1, frame.len() / 2, frame.len() - 1] {
            let cut = Patch { frame: &frame[..len], ..parsed.clone() };
            assert!(cut.apply(&mut read_base, &mut scratch, &mut plain).is_err(), "seed {seed}");
        }
        let double = [&frame[..], &frame[..]].concat();
        let longer = Patch { frame: &double, ..parsed.clone() };
        assert!(longer.apply(&mut read_base, &mut scratch, &mut plain).is_err(), "seed {seed}");
        for _ in 0..50 {
            let at = usize::try_from(random.below(u64::try_from(frame.len()).unwrap())).unwrap();
            let mut flipped = frame.clone();
            flipped[at] ^= 1 << random.below(8);
            let flipped = Patch { frame: &flipped, ..parsed.clone() };
            let _ = flipped.apply(&mut read_base, &mut scratch, &mut plain);
        }
    }
}

#[test]
fn a_base_that_cannot_be_read_fails_the_patch() {
    let bytes = raw(0, 0, &[0xfe, 0x03, 0x00], &[]);
    let patch = Patch::parse(&bytes).unwrap();
    let mut read = |_: Page, _: &mut [u8]| Err(Error::corrupt("no such page"));
    let error = patch.apply(&mut read, &mut Vec::new(), &mut vec![0; BLOCK_LEN]).unwrap_err();
    assert_eq!(error.to_string(), "no such page");
}
