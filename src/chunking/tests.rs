//! What chunking says of a volume is what the volume's bytes say, one at a time.
#![allow(clippy::arithmetic_side_effects)]

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::compress::Decoder;
use crate::digest::sha256;
use crate::error::Kind;
use crate::units::Extent;
use crate::volume::Place;
use crate::volume::RunMap;
use crate::volume::Volume;
use crate::work::Unwatched;

/// What each block is, and the frames made, in order.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    blocks: Vec<(ExtentKind, Option<Digest>)>,
    frames: Vec<(Digest, Vec<u8>)>,
}

/// A sink that remembers as a bundle does.
struct Recorder<'a> {
    seen: Seen,
    known: &'a RwLock<KnownChunks>,
}

impl Sink for Recorder<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.seen.blocks.extend((0..count).map(|_| (kind, None)));
        Ok(())
    }

    fn data(&mut self, id: Digest, stored: Option<Stored<'_>>) -> Result<()> {
        let frame = stored.map(|stored| stored.bytes);
        self.seen.blocks.push((ExtentKind::Data, Some(id)));
        let mut known = self.known.write().unwrap();
        if let Some(frame) = frame
            && !known.contains(&id)
        {
            known.insert(id);
            self.seen.frames.push((id, frame.to_vec()));
        }
        Ok(())
    }
}

fn chunk(source: Source<'_>, threads: usize, level: Option<i32>, states: States) -> (Seen, u64) {
    let known = RwLock::default();
    let mut recorder = Recorder { seen: Seen::default(), known: &known };
    let options = Options {
        threads: NonZero::new(threads).unwrap(),
        watch: &Unwatched,
        states,
        store: level.map(|level| Store { level, known: &known, patcher: None }),
    };
    let size = run(source, &options, &mut recorder).unwrap();
    (recorder.seen, size)
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
            assert!(seen.frames.is_empty());
        }
    }
}

#[test]
fn frames_are_the_same_at_any_number_of_threads_and_come_back() {
    for seed in 1..=3 {
        let (volume, bytes) = random_volume(seed);
        let (once, _) = chunk(Source::Volume(&volume), 1, Some(1), States::default());
        assert_eq!(once.blocks, one_at_a_time(&volume, &bytes), "seed {seed}");
        for threads in [2, 3, 7] {
            let (seen, _) = chunk(Source::Volume(&volume), threads, Some(1), States::default());
            assert!(seen == once, "seed {seed}, {threads} threads");
        }
        let mut decoder = Decoder::new().unwrap();
        let mut plain = vec![0; BLOCK_LEN];
        for (id, frame) in &once.frames {
            decoder.decode(frame, &mut plain).unwrap();
            assert_eq!(sha256(&plain), *id);
        }
        let mut ids: Vec<_> = once.blocks.iter().filter_map(|(_, id)| *id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), once.frames.len(), "each chunk has one frame");
    }
}

#[test]
fn a_stream_is_the_volume_without_holes() {
    for seed in 1..=4 {
        let (volume, bytes) = random_volume(seed);
        let expected: Vec<_> = one_at_a_time(&volume, &bytes)
            .into_iter()
            .map(|(kind, id)| (if kind == ExtentKind::Hole { ExtentKind::Zero } else { kind }, id))
            .collect();
        for level in [None, Some(1)] {
            let reader = Box::new(std::io::Cursor::new(bytes.clone()));
            let mut stream = Stream::new(Path::new("a pipe"), reader);
            let (seen, size) = chunk(Source::Stream(&mut stream), 3, level, States::default());
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
    let known = RwLock::default();
    let mut recorder = Recorder { seen: Seen::default(), known: &known };
    let options = Options {
        threads: NonZero::new(2).unwrap(),
        watch: &Unwatched,
        states: States::default(),
        store: None,
    };
    let error = run(Source::Stream(&mut stream), &options, &mut recorder).unwrap_err();
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
        fn data(&mut self, _: Digest, _: Option<Stored<'_>>) -> Result<()> {
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
        for level in [None, Some(1)] {
            let expected = chunk(Source::Volume(&volume), 2, level, States::default());
            let units = InUnits(volume.clone(), std::sync::Mutex::default());
            let found = chunk(Source::Volume(&units), 2, level, States::default());
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
