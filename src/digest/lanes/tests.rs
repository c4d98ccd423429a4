//! One suite, run over each engine this processor has; the `sha2` crate is the judge.

#![allow(clippy::arithmetic_side_effects)]

use sha2::Digest as _;

use crate::digest::Digest;
use crate::digest::lanes::Engine;
use crate::digest::lanes::Lanes;

/// A small generator of bytes and lengths: xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`, or 0.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit.max(1)
    }

    /// `count` streams of `len` bytes: no word of one is the same word of another.
    fn streams(&mut self, count: usize, len: usize) -> Vec<Vec<u8>> {
        let mut streams = vec![Vec::with_capacity(len); count];
        for _ in 0..len / 4 {
            let word = u32::try_from(self.next() >> 32).unwrap();
            for (stream, number) in streams.iter_mut().zip(0..) {
                stream.extend_from_slice(&(word ^ (number * 0x0101_0101)).to_be_bytes());
            }
        }
        streams
    }
}

fn judge(stream: &[u8]) -> Digest {
    Digest(sha2::Sha256::digest(stream).into())
}

fn finish(lanes: &mut Lanes, count: usize) -> Vec<Digest> {
    let mut digests = vec![Digest([0; 32]); count];
    lanes.finish(&mut digests);
    digests
}

/// Compares one update, or those that end at `cuts`, with the judge.
fn check(engine: Engine, streams: &[Vec<u8>], cuts: &[usize]) {
    let len = streams.first().map_or(0, Vec::len);
    let mut lanes = Lanes::with_engine(engine, streams.len());
    let mut start = 0;
    for &end in cuts.iter().chain([&len]) {
        let pieces: Vec<_> = streams.iter().map(|stream| &stream[start..end]).collect();
        lanes.update(&pieces);
        start = end;
    }
    let digests = finish(&mut lanes, streams.len());
    for (number, (digest, stream)) in digests.iter().zip(streams).enumerate() {
        let count = streams.len();
        assert_eq!(*digest, judge(stream), "{engine:?}, stream {number} of {count}, {len} bytes");
    }
}

#[test]
fn the_portable_engine_comes_first_and_the_best_one_is_there() {
    assert_eq!(Engine::available().next(), Some(Engine::Portable));
    assert!(Engine::best().is_available());
    assert_eq!(Lanes::preferred(), Engine::best().streams());
}

/// Vectors of FIPS 180-4 whose text is shorter than a block: the block with its padding is put
/// through an engine by hand.
#[test]
fn short_vectors_of_the_standard() {
    let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    let cases: [(&[u8], &str); 3] = [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (two_blocks, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
    ];
    for (text, hex) in cases {
        let mut padded = text.to_vec();
        padded.push(0x80);
        while padded.len() % 64 != 56 {
            padded.push(0);
        }
        padded.extend_from_slice(&(u64::try_from(text.len()).unwrap() * 8).to_be_bytes());
        for engine in Engine::available() {
            for count in [1, 2, 3, 4, 5, 8] {
                let mut states = vec![super::INITIAL; count];
                engine.compress(&mut states, |_| padded.as_chunks().0);
                for state in states {
                    let found = super::digest(&state);
                    assert_eq!(found.hex(), hex, "{engine:?}, {text:?}");
                }
            }
        }
    }
}

/// A million is a multiple of 64, so this vector goes the public way.
#[test]
fn a_million_times_a() {
    let text = vec![b'a'; 1_000_000];
    for engine in Engine::available() {
        for count in [1, 8] {
            let mut lanes = Lanes::with_engine(engine, count);
            lanes.update(&vec![&text[..]; count]);
            for digest in finish(&mut lanes, count) {
                assert_eq!(
                    digest.hex(),
                    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
                );
            }
        }
    }
}

#[test]
fn any_count_of_streams_and_any_length_in_blocks() {
    for count in 0..=40 {
        for len in [0, 64, 128, 192, 4096] {
            let seed = 1 + u64::try_from(count * 10_000 + len).unwrap();
            println!("seed {seed}");
            let streams = Random(seed).streams(count, len);
            Engine::available().for_each(|engine| check(engine, &streams, &[]));
        }
    }
}

#[test]
fn a_snapshot_block_and_a_tail() {
    let streams = Random(7).streams(9, (512 << 10) + 64);
    Engine::available().for_each(|engine| check(engine, &streams, &[512 << 10]));
}

#[test]
fn many_updates_equal_one() {
    for seed in 1..=60 {
        println!("seed {seed}");
        let mut random = Random(seed);
        let blocks = random.below(200);
        let count = random.below(20);
        let streams = random.streams(count, blocks * 64);
        let mut cuts: Vec<_> =
            (0..random.below(12)).map(|_| random.below(blocks + 1) * 64).collect();
        cuts.sort_unstable();
        Engine::available().for_each(|engine| check(engine, &streams, &cuts));
    }
}

/// Each single bit of a block reaches the digest of its stream and of no other.
#[test]
fn each_bit_of_each_stream_counts() {
    let streams = Random(11).streams(8, 128);
    for engine in Engine::available() {
        for bit in 0..128 * 8 {
            let mut changed = streams.clone();
            changed[bit % 8][bit / 8] ^= 1 << (bit / 8 % 8);
            check(engine, &changed, &[64]);
        }
    }
}

#[test]
fn finished_and_reset_lanes_start_anew() {
    for engine in Engine::available() {
        let mut lanes = Lanes::with_engine(engine, 3);
        let empty = vec![judge(b""); 3];
        assert_eq!(finish(&mut lanes, 3), empty, "{engine:?}");
        lanes.update(&[&[1; 64], &[2; 64], &[3; 64]]);
        assert_ne!(finish(&mut lanes, 3), empty, "{engine:?}");
        assert_eq!(finish(&mut lanes, 3), empty, "{engine:?}");
        lanes.update(&[&[1; 64], &[2; 64], &[3; 64]]);
        lanes.reset(9);
        assert_eq!(finish(&mut lanes, 9), vec![judge(b""); 9], "{engine:?}");
    }
}

#[test]
#[should_panic(expected = "whole blocks")]
fn a_piece_that_is_no_multiple_of_64_is_refused() {
    Lanes::new(1).update(&[&[0; 65]]);
}

#[test]
#[should_panic(expected = "pieces of one length")]
fn pieces_of_two_lengths_are_refused() {
    Lanes::new(2).update(&[&[0; 64], &[0; 128]]);
}

#[test]
#[should_panic(expected = "one piece for each stream")]
fn a_piece_too_few_is_refused() {
    Lanes::new(2).update(&[&[0; 64]]);
}
