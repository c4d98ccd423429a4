//! What chunking says of a volume is what the volume's bytes say, one at a time.
#![allow(clippy::arithmetic_side_effects)]

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::RwLock;

use super::*;
use crate::compress::Encoder;
use crate::compress::GroupDecoder;
use crate::digest::Digest;
use crate::digest::sha256;
use crate::error::Kind;
use crate::io::Stream;
use crate::pack::Form;
use crate::pack::Region;
use crate::pack::Stored;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;
use crate::units::BlockIndex;
use crate::units::Extent;
use crate::units::MAX_VOLUME_SIZE;
use crate::units::block_count;
use crate::volume::Place;
use crate::volume::ReadVolume;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::Unwatched;

/// What each block is, and the groups made, in order.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    blocks: Vec<(ExtentKind, Option<Digest>)>,
    groups: Vec<Made>,
}

/// A group: where among the blocks it came, its region, its chunks and its bytes.
#[derive(Debug, PartialEq)]
struct Made {
    behind: usize,
    region: Region,
    form: Form,
    ids: Vec<Digest>,
    bytes: Vec<u8>,
}

impl Sink for Seen {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.blocks.extend((0..count).map(|_| (kind, None)));
        Ok(())
    }

    fn data(&mut self, id: Digest) -> Result<()> {
        self.blocks.push((ExtentKind::Data, Some(id)));
        Ok(())
    }

    fn store(&mut self, region: Region, group: Stored<'_>) -> Result<()> {
        let Stored { form, ids, bytes } = group;
        let (ids, bytes) = (ids.to_vec(), bytes.to_vec());
        self.groups.push(Made { behind: self.blocks.len(), region, form, ids, bytes });
        Ok(())
    }
}

/// How a test stores chunks.
#[derive(Clone, Copy, Default)]
struct How<'a> {
    chunks: u32,
    region: u32,
    patcher: Option<&'a dyn Patcher>,
}

fn chunk(source: Source<'_>, threads: usize, how: Option<How<'_>>, states: States) -> (Seen, u64) {
    let (known, mut seen) = (RwLock::default(), Seen::default());
    let options = Options {
        threads: NonZero::new(threads).unwrap(),
        watch: &Unwatched,
        states,
        store: how.map(|how| Store {
            level: 1,
            group_chunks: how.chunks,
            region_blocks: how.region,
            known: &known,
            patcher: how.patcher,
        }),
    };
    let size = run(source, &options, &mut seen).unwrap();
    (seen, size)
}

/// Returns the chunks of the groups, each decompressed and compared with its id.
fn contents(seen: &Seen) -> Vec<Digest> {
    let (mut decoder, mut plain) = (GroupDecoder::new().unwrap(), Vec::new());
    let mut all = Vec::new();
    for group in seen.groups.iter().filter(|group| group.form == Form::Whole) {
        let len = group.ids.len() * BLOCK_LEN;
        decoder.begin(&group.bytes, len, &mut plain).unwrap();
        decoder.decode(&group.bytes, len, &mut plain, len).unwrap();
        for (chunk, id) in plain.chunks(BLOCK_LEN).zip(&group.ids) {
            assert_eq!(sha256(chunk), *id);
            all.push(*id);
        }
    }
    all
}

/// A volume of random runs, long and short, with written zeros and equal blocks among them.
fn random_volume(seed: u64) -> (Volume, Vec<u8>) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let mut source = vec![0_u8; 6 << 20];
    for byte in &mut source[2 << 20..] {
        *byte = u8::try_from(below(7) * 31).unwrap();
    }
    let mut map = RunMap::default();
    while map.run_count() < 14 {
        let longest = [9000, 3 << 19, 1 << 22][usize::try_from(below(3)).unwrap()];
        let len = below(longest) + 1;
        let places = [
            Place::Stored { source: 0, offset: below((6 << 20) - len) },
            Place::Stored { source: 0, offset: 2 << 20 },
            Place::Fill([1, 2, 3, 4]),
            Place::Zero,
            Place::Hole,
        ];
        let place = places[usize::try_from(below(5)).unwrap()];
        // A run that starts anywhere but at a block edge makes mixed blocks.
        let len = if below(2) == 0 { len.next_multiple_of(BLOCK_SIZE) } else { len };
        map.push(len.min(4 << 20), place);
    }
    let volume = Volume::new(map, vec![Arc::new(source).into()]).unwrap();
    let mut bytes = vec![0; usize::try_from(volume.size()).unwrap()];
    volume.read_at(0, &mut bytes).unwrap();
    (volume, bytes)
}

/// The slow twin: each block by itself, straight from the definition of the states.
fn one_at_a_time(volume: &Volume, bytes: &[u8]) -> Vec<(ExtentKind, Option<Digest>)> {
    (0..block_count(volume.size()))
        .map(|index| {
            let range = BlockIndex(index).range(volume.size());
            let whole = volume.map().within(range.clone());
            let hole = whole.into_iter().all(|(_, place)| place == Place::Hole);
            let (start, end) =
                (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            let mut block = bytes[start..end].to_vec();
            block.resize(BLOCK_LEN, 0);
            if hole {
                (ExtentKind::Hole, None)
            } else if block.iter().all(|byte| *byte == 0) {
                (ExtentKind::Zero, None)
            } else {
                (ExtentKind::Data, Some(sha256(&block)))
            }
        })
        .collect()
}

#[test]
fn random_volumes_are_what_their_bytes_say() {
    for seed in 1..=12 {
        let (volume, bytes) = random_volume(seed);
        let expected = one_at_a_time(&volume, &bytes);
        for threads in [1, 2, 3, 7] {
            let (seen, size) = chunk(Source::Volume(&volume), threads, None, States::default());
            assert_eq!(size, volume.size());
            assert_eq!(seen.blocks, expected, "seed {seed}, {threads} threads");
            assert!(seen.groups.is_empty());
        }
    }
}

/// The slow twin of grouping: new chunks in the order of the volume, so many at a time.
fn groups_of(
    blocks: &[(ExtentKind, Option<Digest>)],
    chunks: usize,
    region: usize,
) -> Vec<Vec<Digest>> {
    let regions = if region == 0 { vec![blocks] } else { blocks.chunks(region).collect() };
    let mut groups = Vec::new();
    for blocks in regions {
        let mut new: Vec<Digest> = Vec::new();
        for id in blocks.iter().filter_map(|(_, id)| *id) {
            if !new.contains(&id) {
                new.push(id);
            }
        }
        groups.extend(new.chunks(chunks).map(<[Digest]>::to_vec));
    }
    groups
}

#[test]
fn groups_are_the_same_at_any_number_of_threads_and_come_back() {
    for seed in 1..=3 {
        let (volume, bytes) = random_volume(seed);
        let expected = one_at_a_time(&volume, &bytes);
        for chunks in [1, 3, 64] {
            let how = Some(How { chunks, ..How::default() });
            let (once, _) = chunk(Source::Volume(&volume), 1, how, States::default());
            assert_eq!(once.blocks, expected, "seed {seed}");
            for threads in [2, 3, 7, 16] {
                let (seen, _) = chunk(Source::Volume(&volume), threads, how, States::default());
                assert!(seen == once, "seed {seed}, {chunks} chunks, {threads} threads");
            }
            let groups: Vec<_> = once.groups.iter().map(|group| group.ids.clone()).collect();
            let size = usize::try_from(chunks).unwrap();
            assert_eq!(groups, groups_of(&expected, size, 0), "seed {seed}, {chunks} chunks");
            assert_eq!(contents(&once), groups.concat());
        }
    }
}

/// Says of some chunks that they are patches, and of some that the base has them.
#[derive(Debug)]
struct SomeOfThem;

impl Patcher for SomeOfThem {
    fn has(&self, _: BlockIndex, id: &Digest) -> Result<bool> {
        Ok(id.0[0].is_multiple_of(5))
    }

    fn append(
        &self,
        _: BlockIndex,
        plain: &[u8],
        _: &mut Encoder,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let id = sha256(plain);
        if id.0[0].is_multiple_of(3) {
            out.extend_from_slice(&id.0[..usize::from(id.0[1] % 32)]);
        }
        Ok(id.0[0].is_multiple_of(3))
    }
}

/// Patches come right behind their blocks, groups behind their last chunk, at any number of threads.
#[test]
fn patches_and_groups_come_in_the_order_of_the_volume() {
    for seed in 1..=4 {
        let (volume, _) = random_volume(seed);
        let how = Some(How { chunks: 3, patcher: Some(&SomeOfThem), ..How::default() });
        let (once, _) = chunk(Source::Volume(&volume), 1, how, States::default());
        for threads in [2, 3, 7] {
            let (seen, _) = chunk(Source::Volume(&volume), threads, how, States::default());
            assert!(seen == once, "seed {seed}, {threads} threads");
        }
        let mut stored: Vec<Digest> = once.groups.iter().flat_map(|it| it.ids.clone()).collect();
        for group in &once.groups {
            let last = group.ids.last().unwrap();
            let place = once.blocks.iter().position(|(_, id)| *id == Some(*last)).unwrap();
            assert!(group.behind > place, "seed {seed}");
            match group.form {
                Form::Patched => {
                    assert!(last.0[0].is_multiple_of(3) && !last.0[0].is_multiple_of(5));
                    assert_eq!(group.bytes, last.0[..usize::from(last.0[1] % 32)]);
                    assert_eq!(group.behind, place + 1, "seed {seed}");
                }
                Form::Whole => assert!(group.ids.iter().all(|id| !id.0[0].is_multiple_of(3))),
            }
        }
        stored.sort();
        let mut needed: Vec<_> = once.blocks.iter().filter_map(|(_, id)| *id).collect();
        needed.retain(|id| !id.0[0].is_multiple_of(5));
        needed.sort();
        needed.dedup();
        assert_eq!(stored, needed, "seed {seed}");
    }
}

/// Regions share nothing: what is stored for one is what a run over it alone stores.
#[test]
fn no_group_and_no_duplicate_crosses_a_region() {
    let mut map = RunMap::default();
    let mut fill = |value: u8, blocks: u64| map.push(blocks * BLOCK_SIZE, Place::Fill([value; 4]));
    // Runs of equal blocks, over the edges of regions of 1,024 blocks.
    for (value, blocks) in [(1, 700), (2, 700), (1, 10), (3, 700), (1, 1)] {
        fill(value, blocks);
    }
    let volume = Volume::new(map, Vec::new()).unwrap();
    let how = Some(How { chunks: 64, region: 1024, patcher: None });
    let (once, _) = chunk(Source::Volume(&volume), 1, how, States::default());
    let (seen, _) = chunk(Source::Volume(&volume), 7, how, States::default());
    assert!(seen == once, "7 threads");
    let groups: Vec<_> = once.groups.iter().map(|it| it.ids.clone()).collect();
    assert_eq!(groups, groups_of(&once.blocks, 64, 1024));
    let sizes: Vec<_> = once.groups.iter().map(|it| (it.region.number, it.ids.len())).collect();
    assert_eq!(sizes, [(0, 2), (1, 3), (2, 2)]);
    assert!(once.groups.iter().all(|it| it.region.blocks == 1024));
    contents(&once);
}

#[test]
fn a_stream_is_the_volume_without_holes() {
    for seed in 1..=4 {
        let (volume, bytes) = random_volume(seed);
        let expected: Vec<_> = one_at_a_time(&volume, &bytes)
            .into_iter()
            .map(|(kind, id)| (if kind == ExtentKind::Hole { ExtentKind::Zero } else { kind }, id))
            .collect();
        for how in [None, Some(How { chunks: 4, ..How::default() })] {
            let reader = Box::new(std::io::Cursor::new(bytes.clone()));
            let mut stream = Stream::new(Path::new("a pipe"), reader);
            let (seen, size) = chunk(Source::Stream(&mut stream), 3, how, States::default());
            assert_eq!(size, volume.size());
            assert_eq!(seen.blocks, expected, "seed {seed}");
        }
    }
}

#[test]
fn states_are_changed_only_on_request() {
    let (volume, bytes) = random_volume(5);
    let as_is = one_at_a_time(&volume, &bytes);
    let kinds = |states| {
        let (seen, _) = chunk(Source::Volume(&volume), 2, None, states);
        seen.blocks.iter().map(|(kind, _)| *kind).collect::<Vec<_>>()
    };
    let changed = |from, to| {
        let change = |(kind, _): &(ExtentKind, _)| if *kind == from { to } else { *kind };
        as_is.iter().map(change).collect::<Vec<_>>()
    };
    let (zero, hole) = (ExtentKind::Zero, ExtentKind::Hole);
    let holes_as_zeros = States { holes_as_zeros: true, ..States::default() };
    assert_eq!(kinds(holes_as_zeros), changed(hole, zero));
    let zeros_as_holes = States { zeros_as_holes: true, ..States::default() };
    assert_eq!(kinds(zeros_as_holes), changed(zero, hole));
}

#[test]
fn an_empty_stream_is_refused() {
    let mut stream = Stream::new(Path::new("a pipe"), Box::new(std::io::empty()));
    let mut seen = Seen::default();
    let options = Options {
        threads: NonZero::new(2).unwrap(),
        watch: &Unwatched,
        states: States::default(),
        store: None,
    };
    let error = run(Source::Stream(&mut stream), &options, &mut seen).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

/// A volume of 64 TiB of holes with three data blocks takes a handful of jobs.
#[test]
fn holes_cost_nothing() {
    #[derive(Debug)]
    struct Counting(Volume, std::sync::atomic::AtomicU64);
    impl ReadVolume for Counting {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn extent_at(&self, offset: u64) -> Result<Extent> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.extent_at(offset)
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.read_at(offset, buf)
        }
    }
    struct Count(u64, u64);
    impl Sink for Count {
        fn run(&mut self, _: ExtentKind, count: u32) -> Result<()> {
            self.0 += u64::from(count);
            Ok(())
        }
        fn data(&mut self, _: Digest) -> Result<()> {
            self.1 += 1;
            Ok(())
        }
    }
    let mut map = RunMap::default();
    for gap in [7 << 40, 20 << 40] {
        map.push(gap, Place::Hole);
        map.push(BLOCK_SIZE, Place::Fill([1, 2, 3, 4]));
    }
    map.push(MAX_VOLUME_SIZE - map.size() - 1, Place::Hole);
    map.push(1, Place::Fill([9; 4]));
    let volume = Counting(Volume::new(map, Vec::new()).unwrap(), 0.into());
    let mut count = Count(0, 0);
    let options = Options {
        threads: NonZero::new(2).unwrap(),
        watch: &Unwatched,
        states: States::default(),
        store: None,
    };
    run(Source::Volume(&volume), &options, &mut count).unwrap();
    assert_eq!((count.0, count.1), ((1 << 27) - 3, 3));
    let calls = volume.1.into_inner();
    assert!(calls < 60, "{calls} calls");
}

/// Whatever is read was told of before, so that a disk fetches it meanwhile.
#[test]
fn all_that_is_read_was_told_of() {
    #[derive(Debug)]
    struct Telling(Volume, std::sync::Mutex<Vec<std::ops::Range<u64>>>);
    impl ReadVolume for Telling {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn extent_at(&self, offset: u64) -> Result<Extent> {
            self.0.extent_at(offset)
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            let end = offset + u64::try_from(buf.len()).unwrap();
            let told = self.1.lock().unwrap().iter().any(|it| it.start <= offset && end <= it.end);
            assert!(told, "bytes {offset} to {end} are read and were not told of");
            self.0.read_at(offset, buf)
        }
        fn will_need(&self, range: std::ops::Range<u64>) {
            self.1.lock().unwrap().push(range);
        }
    }
    for seed in 1..=12 {
        let (volume, _) = random_volume(seed);
        for how in [None, Some(How { chunks: 5, ..How::default() })] {
            let expected = chunk(Source::Volume(&volume), 2, how, States::default());
            let telling = Telling(volume.clone(), std::sync::Mutex::default());
            assert!(chunk(Source::Volume(&telling), 2, how, States::default()) == expected);
        }
    }
}

/// What is unpacked a block at a time is asked for by whole blocks, and each of them once.
#[test]
fn large_units_are_read_once() {
    #[derive(Debug)]
    struct InUnits(Volume, std::sync::Mutex<Vec<(u64, usize)>>);
    impl ReadVolume for InUnits {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn extent_at(&self, offset: u64) -> Result<Extent> {
            self.0.extent_at(offset)
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
            self.1.lock().unwrap().push((offset, buf.len()));
            self.0.read_at(offset, buf)
        }
        fn unit_len(&self) -> usize {
            BLOCK_LEN
        }
    }
    for seed in 1..=12 {
        let (volume, _) = random_volume(seed);
        for how in [None, Some(How { chunks: 5, ..How::default() })] {
            let expected = chunk(Source::Volume(&volume), 2, how, States::default());
            let units = InUnits(volume.clone(), std::sync::Mutex::default());
            let found = chunk(Source::Volume(&units), 2, how, States::default());
            assert!(found == expected, "seed {seed}");
            let mut reads = units.1.into_inner().unwrap();
            reads.sort_unstable();
            let mut at = 0;
            for (offset, len) in reads {
                let end = offset + u64::try_from(len).unwrap();
                assert!(offset >= at, "seed {seed}: byte {offset} is read again");
                assert!(offset.is_multiple_of(BLOCK_SIZE), "seed {seed}: byte {offset}");
                assert!(end.is_multiple_of(BLOCK_SIZE) || end == volume.size(), "seed {seed}");
                at = end;
            }
        }
    }
}
