//! Manifests come back as they were built, and nothing else is believed.
#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::error::Kind;
use crate::io::testing::Memory;
use crate::units::BLOCK_LEN;
use crate::units::BLOCK_SIZE;

pub(crate) fn encode(blocks: &[Block], size: u64) -> Vec<u8> {
    let memory = Memory::default();
    let mut builder = Builder::new(&memory);
    for block in blocks {
        match block {
            Block::Data(digest) => builder.push_data(digest).unwrap(),
            other => builder.push_run(other.kind(), 1).unwrap(),
        }
    }
    builder.finish(size).unwrap();
    memory.into_bytes()
}

pub(crate) fn decode(bytes: Vec<u8>) -> Result<Manifest> {
    Manifest::new(bytes.into())
}

fn data(seed: u64) -> Block {
    Block::Data(sha256(&seed.to_le_bytes()))
}

/// Blocks that are mostly in runs, so that whole groups are of one kind too.
fn random_blocks(seed: u64) -> Vec<Block> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let mut blocks = Vec::new();
    for _ in 0..=below(9) {
        let kind = below(3);
        let longest = [3, 1500, 4000][usize::try_from(below(3)).unwrap()];
        for _ in 0..=below(longest) {
            blocks.push(match kind {
                0 => data(below(1 << 40)),
                1 => Block::Zero,
                _ => Block::Hole,
            });
        }
    }
    blocks
}

#[test]
fn random_manifests_come_back() {
    for seed in 1..=60 {
        let blocks = random_blocks(seed);
        let size = u64::try_from(blocks.len()).unwrap() * BLOCK_SIZE - seed;
        let manifest = decode(encode(&blocks, size)).unwrap();
        manifest.verify().unwrap();
        assert_eq!(manifest.volume_size(), size);
        for (index, block) in (0..).zip(&blocks) {
            assert_eq!(manifest.block(BlockIndex(index)).unwrap(), *block, "seed {seed}, {index}");
        }
        let mut written = Vec::new();
        let visit = |index: BlockIndex, block| {
            written.push((index.0, block));
            Ok(())
        };
        manifest.for_each_written(visit).unwrap();
        let expected: Vec<_> =
            (0..).zip(blocks).filter(|(_, block)| *block != Block::Hole).collect();
        assert_eq!(written, expected, "seed {seed}");
    }
}

#[test]
fn runs_and_single_blocks_give_the_same_bytes() {
    let blocks = [vec![Block::Hole; 3000], vec![Block::Zero; 2000], vec![Block::Hole; 5]].concat();
    let memory = Memory::default();
    let mut builder = Builder::new(&memory);
    builder.push_run(ExtentKind::Hole, 3000).unwrap();
    builder.push_run(ExtentKind::Zero, 2000).unwrap();
    builder.push_run(ExtentKind::Hole, 5).unwrap();
    builder.finish(5005 * BLOCK_SIZE).unwrap();
    assert_eq!(encode(&blocks, 5005 * BLOCK_SIZE), memory.into_bytes());
}

/// The vectors that were run against EBS clients: `facts` of the LINEAR aggregate.
#[test]
fn linear_is_the_aggregate_that_ebs_wants() {
    let (a, b) = (sha256(&vec![b'A'; BLOCK_LEN]), sha256(&vec![b'B'; BLOCK_LEN]));
    assert_eq!(zero_block_digest().base64(), "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE=");
    assert_eq!(a.base64(), "X3om4deM0XGxqrAgjaEz6ZbHUoW5SqjvBsZXjqCyaQM=");
    assert_eq!(b.base64(), "VYVKaxMUjkI3pChWZwHsZlXoW5S8NjlaHQLH6fnM6s8=");
    let linear = |zero| {
        let mut blocks = vec![Block::Hole; 8];
        (blocks[0], blocks[3], blocks[7]) = (Block::Data(a), zero, Block::Data(b));
        decode(encode(&blocks, 8 * BLOCK_SIZE)).unwrap().header().linear.base64()
    };
    assert_eq!(linear(Block::Zero), "674e4dnNzz7UCdkVsWlb7bmKd4rpW8aEngI6g0m+rLk=");
    assert_eq!(linear(Block::Hole), "y70dliekiWXwOuHPNk95FPMloOXDcF2KlCJ45WXZyH4=");
    let nothing = decode(encode(&[Block::Hole], 1)).unwrap().header().linear.base64();
    assert_eq!(nothing, "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
}

#[test]
fn the_root_depends_on_size_content_and_states() {
    let root = |blocks: &[Block], size| decode(encode(blocks, size)).unwrap().root();
    let roots = [
        root(&[data(1), Block::Zero, Block::Hole], 3 * BLOCK_SIZE),
        root(&[data(1), Block::Zero, Block::Hole], 3 * BLOCK_SIZE - 1),
        root(&[data(2), Block::Zero, Block::Hole], 3 * BLOCK_SIZE),
        root(&[data(1), Block::Hole, Block::Hole], 3 * BLOCK_SIZE),
        root(&[data(1), Block::Hole, Block::Zero], 3 * BLOCK_SIZE),
        root(&[data(1), Block::Zero, Block::Zero], 3 * BLOCK_SIZE),
    ];
    for (i, root) in roots.iter().enumerate() {
        assert!(!roots[..i].contains(root), "{i}");
    }
}

#[test]
fn every_prefix_is_refused() {
    let bytes = encode(&[data(1), Block::Zero, Block::Hole], 3 * BLOCK_SIZE);
    for end in 0..bytes.len() {
        assert!(decode(bytes[..end].to_vec()).is_err(), "{end}");
    }
    assert!(decode([&bytes[..], b"x"].concat()).is_err());
    assert!(decode(bytes).is_ok());
}

/// Every single bit of a manifest is guarded: at opening, or when its group is looked at.
#[test]
fn every_flipped_bit_is_found() {
    let bytes = encode(&[data(1), Block::Zero, Block::Hole, data(2)], 4 * BLOCK_SIZE);
    for at in 0..bytes.len() {
        // The zeros of the header and the padding are many and alike.
        if bytes[at] == 0 && at % 37 != 0 {
            continue;
        }
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            let found = decode(bad).and_then(|manifest| manifest.verify());
            assert!(found.is_err(), "byte {at}, bit {bit}");
        }
    }
}

/// Headers that are wrong and carry the right checksum: each check has a case that trips it.
#[test]
fn a_header_that_lies_is_named() {
    let good = encode(&[data(1), Block::Zero, Block::Hole], 3 * BLOCK_SIZE);
    let trip = |at: usize, value: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        let crc = crc32(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
        let error = decode(bytes).unwrap_err();
        (error.kind(), error.to_string())
    };
    let cases: [(usize, &[u8], Kind, &str); 14] = [
        (0, b"\x89AMP", Kind::Corrupt, "magic"),
        (8, &[2, 0], Kind::Unsupported, "major version is 2, expected 1"),
        (12, &[4], Kind::Unsupported, "incompatible features are 0x4"),
        (20, &[2], Kind::Unsupported, "algorithm is 2"),
        (24, &[0, 0, 16, 0], Kind::Unsupported, "block size is 1048576"),
        (28, &[2], Kind::Corrupt, "a table of 2 entries"),
        (28, &[0xff; 4], Kind::Corrupt, "a table of 4294967295 entries"),
        (32, &[0; 8], Kind::Corrupt, "volume size is 0"),
        (32, &[0xff; 8], Kind::Limit, "volume size is 18446744073709551615"),
        (40, &[2], Kind::Corrupt, "counts add up to 4 blocks, expected 3"),
        (64, &[1], Kind::Corrupt, "table"),
        (72, &[1], Kind::Corrupt, "the file has 8256 bytes"),
        (80, &[1, 2, 3, 4], Kind::Corrupt, "root"),
        (200, &[1], Kind::Corrupt, "padding"),
    ];
    for (at, value, kind, text) in cases {
        let found = trip(at, value);
        assert_eq!(found.0, kind, "{}", found.1);
        assert!(found.1.contains(text), "{}", found.1);
    }
}

/// Every header byte set to values that break careless readers, its checksum made right: an error
/// or a manifest that can be walked, never a panic.
#[test]
fn hostile_headers_never_panic() {
    let good = encode(&[data(1), Block::Zero, Block::Hole], 3 * BLOCK_SIZE);
    let table = usize::try_from(decode(good.clone()).unwrap().header().table_offset).unwrap();
    for at in (0..160).chain(table..good.len()) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let crc = crc32(&bytes[table..]);
            bytes[144..148].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32(&bytes[..4092]);
            bytes[4092..4096].copy_from_slice(&crc.to_le_bytes());
            if let Ok(manifest) = decode(bytes) {
                let _ = manifest.verify();
                let _ = manifest.block(BlockIndex(manifest.block_count() - 1));
            }
        }
    }
}
