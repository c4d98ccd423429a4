//! Packs give back the chunks that went in, and nothing else is believed.
#![allow(clippy::arithmetic_side_effects)]

use std::sync::Arc;
use std::sync::Mutex;

use super::*;
use crate::compress::GroupEncoder;
use crate::digest::Digest;
use crate::digest::crc32;
use crate::digest::sha256;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::io::Input;
use crate::io::OutputFile;
use crate::io::ReadAt;
use crate::pack::layout::ENTRY_LEN;
use crate::pack::layout::FOOTER_LEN;
use crate::pack::layout::GROUP_LEN;
use crate::pack::layout::HEADER_LEN;
use crate::units::BLOCK_LEN;

/// A chunk that compresses, and is like no other.
fn chunk(seed: u8) -> Vec<u8> {
    let mut plain = vec![seed; BLOCK_LEN];
    for (word, number) in plain.chunks_mut(64).zip(0_u32..) {
        word[..4].copy_from_slice(&(number / 3 * u32::from(seed)).to_le_bytes());
    }
    plain
}

fn id(seed: u8) -> Digest {
    sha256(&chunk(seed))
}

/// Writes a pack of groups of chunks and returns its bytes.
fn pack_of(groups: &[&[u8]]) -> Vec<u8> {
    pack_with(groups, Region::default(), |_| {})
}

fn pack_with(groups: &[&[u8]], region: Region, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pack");
    let out = OutputFile::create(&path).unwrap();
    let mut writer = PackWriter::new(region);
    for seeds in groups {
        let plain: Vec<u8> = seeds.iter().flat_map(|seed| chunk(*seed)).collect();
        let ids: Vec<_> = seeds.iter().map(|seed| id(*seed)).collect();
        let mut frame = Vec::new();
        GroupEncoder::new(2, plain.len())
            .unwrap()
            .encode(&plain, &mut frame, &mut || Ok(()))
            .unwrap();
        change(&mut frame);
        writer.append(&out, Stored { form: Form::Whole, ids: &ids, bytes: &frame }).unwrap();
    }
    let finished = writer.finish(&out).unwrap();
    out.commit().unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(finished.digest, sha256(&bytes));
    assert_eq!(usize::try_from(finished.file_len), Ok(bytes.len()));
    bytes
}

fn open(bytes: &[u8]) -> Result<Pack> {
    let len = u64::try_from(bytes.len()).unwrap();
    Pack::open(Arc::new(Input::memory("pack", bytes.to_vec())), 0, len)
}

#[test]
fn chunks_come_back_whatever_their_order() {
    let chunks = Chunks::new(vec![
        Arc::new(open(&pack_of(&[b"AB", b"C", b"DEFG"])).unwrap()),
        Arc::new(open(&pack_of(&[b"H"])).unwrap()),
    ]);
    let mut reader = chunks.reader();
    for order in [&b"CAB"[..], b"GFEDCBAH", b"ABCDEFGH", b"EEA", b"HHB"] {
        let ids: Vec<_> = order.iter().map(|seed| id(*seed)).collect();
        let mut plain = vec![0; ids.len() * BLOCK_LEN];
        chunks.read(&ids, &mut plain, &mut reader).unwrap();
        let expected: Vec<u8> = order.iter().flat_map(|seed| chunk(*seed)).collect();
        assert!(plain == expected, "{order:?}");
    }
    let mut part = [0; 100];
    chunks.read_part(&id(b'F'), 70_000, &mut part, &mut reader).unwrap();
    assert_eq!(part, chunk(b'F')[70_000..70_100]);
    let mut plain = chunk(0);
    let missing = chunks.read(&[sha256(b"")], &mut plain, &mut reader).unwrap_err();
    assert!(missing.to_string().contains("none of the bundle's packs"), "{missing}");
}

/// Many threads, in order and at random, out of a cache that cannot hold all.
#[test]
fn threads_share_what_is_decompressed() {
    let seeds: Vec<Vec<u8>> =
        (0..24_u8).map(|group| (0..8).map(|at| group * 8 + at).collect()).collect();
    let groups: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let chunks = Chunks::new(vec![Arc::new(open(&pack_of(&groups)).unwrap())]);
    let next = Mutex::new(0_usize);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let (chunks, next) = (&chunks, &next);
            scope.spawn(move || {
                let mut reader = chunks.reader();
                let mut plain = vec![0; BLOCK_LEN];
                loop {
                    let number = {
                        let mut next = next.lock().unwrap();
                        *next += 1;
                        *next - 1
                    };
                    if number >= 192 * 2 {
                        return;
                    }
                    // First all in order, then here and there.
                    let number = if number < 192 { number } else { number * 37 % 192 };
                    let seed = u8::try_from(number).unwrap();
                    chunks.read(&[id(seed)], &mut plain, &mut reader).unwrap();
                    assert!(plain == chunk(seed), "thread {thread}, chunk {seed}");
                }
            });
        }
    });
}

/// What is dropped comes back: out of the file where patches are expected, else decompressed again.
#[test]
fn what_there_is_no_room_for_comes_back() {
    let seeds: Vec<Vec<u8>> = (0..12_u8).map(|group| vec![group * 2, group * 2 + 1]).collect();
    let groups: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let bytes = pack_of(&groups);
    for patches in [false, true] {
        let chunks = Chunks::new(vec![Arc::new(open(&bytes).unwrap())]);
        chunks.cache().keep_at_most(3 * BLOCK_LEN);
        if patches {
            chunks.expect_patches();
        }
        let mut reader = chunks.reader();
        let mut part = vec![0; 5000];
        for round in 0..60_usize {
            let seed = u8::try_from(round * 17 % 24).unwrap();
            let start = round * 8000;
            chunks.read_part(&id(seed), start, &mut part, &mut reader).unwrap();
            assert_eq!(part, chunk(seed)[start..start + 5000], "round {round}, {patches}");
        }
    }
}

/// Skippable frames and all, a pack is what any zstd tool can decompress.
#[test]
fn a_pack_is_a_zstd_stream() {
    let plain = zstd::decode_all(&pack_of(&[b"AB", b"C"])[..]).unwrap();
    assert!(plain == [chunk(b'A'), chunk(b'B'), chunk(b'C')].concat());
}

#[test]
fn a_region_comes_back_and_an_impossible_one_is_refused() {
    let region = Region { number: 3, blocks: 2048 };
    let bytes = pack_with(&[b"A"], region, |_| {});
    assert_eq!(open(&bytes).unwrap().region(), region);
    for (number, blocks) in [(1, 0), (0, 1), (0, 1023), (1 << 17, 1024), (u32::MAX, 1 << 20)] {
        let mut bad = bytes.clone();
        let footer = bad.len() - FOOTER_LEN;
        field::put_u32_le(&mut bad, footer + 32, number);
        field::put_u32_le(&mut bad, footer + 36, blocks);
        let crc = crc32(&bad[footer..footer + 52]);
        field::put_u32_le(&mut bad, footer + 52, crc);
        let error = open(&bad).unwrap_err().to_string();
        assert!(error.contains("region"), "{number} of {blocks}: {error}");
    }
}

#[test]
fn every_prefix_is_refused() {
    let bytes = pack_of(&[b"A", b"B"]);
    for end in (0..bytes.len()).step_by(7) {
        assert!(open(&bytes[..end]).is_err(), "{end}");
    }
    assert!(open(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = pack_of(&[b"AB", b"C"]);
    let ids = [id(b'A'), id(b'B'), id(b'C')];
    let mut plain = vec![0; 3 * BLOCK_LEN];
    // Every byte of what is not compressed, and some of the frames.
    let index = bytes.len() - FOOTER_LEN - 3 * ENTRY_LEN - 2 * GROUP_LEN - 8;
    for at in (0..HEADER_LEN).chain((HEADER_LEN..index).step_by(331)).chain(index..bytes.len()) {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        let found = open(&bad).and_then(|pack| {
            let chunks = Chunks::new(vec![Arc::new(pack)]);
            chunks.read(&ids, &mut plain, &mut chunks.reader())
        });
        // The compatible bits and the minor version, which readers ignore, are under the header's
        // checksum all the same.
        assert!(found.is_err(), "byte {at}");
    }
}

/// The chunks of other groups are read as if nothing had happened.
#[test]
fn a_damaged_group_damages_its_own_chunks() {
    let groups: [&[u8]; 3] = [b"AB", b"CD", b"EF"];
    let bytes = pack_of(&groups);
    let start = usize::try_from(open(&bytes).unwrap().groups()[1].offset).unwrap();
    let mut bad = bytes.clone();
    bad[start + 1000] ^= 4;
    let chunks = Chunks::new(vec![Arc::new(open(&bad).unwrap())]);
    let mut reader = chunks.reader();
    let mut plain = vec![0; BLOCK_LEN];
    for _ in 0..2 {
        for seed in *b"ABCDEF" {
            let read = chunks.read(&[id(seed)], &mut plain, &mut reader);
            if b"CD".contains(&seed) {
                let text = read.unwrap_err().to_string();
                assert!(text.contains("CRC-32 of the stored group"), "{text}");
            } else {
                read.unwrap();
                assert!(plain == chunk(seed));
            }
        }
    }
}

/// A frame with a right checksum is still not believed: its size, its window and its content.
#[test]
fn a_frame_that_is_none_of_the_group_is_refused() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 4] = [
        ("holds 1048576 bytes", |frame| {
            let plain = [chunk(1), chunk(2)].concat();
            GroupEncoder::new(2, plain.len())
                .unwrap()
                .encode(&plain, frame, &mut || Ok(()))
                .unwrap();
        }),
        ("single segment", |frame| {
            use zstd::zstd_safe::CCtx;
            use zstd::zstd_safe::CParameter;
            let mut context = CCtx::create();
            context.set_parameter(CParameter::WindowLog(17)).unwrap();
            frame.clear();
            context.compress2(frame, &chunk(b'A')).unwrap();
        }),
        ("not exactly one zstd frame", |frame| frame.push(0)),
        ("is damaged", |frame| {
            let middle = frame.len() / 2;
            frame[middle..].fill(0xff);
        }),
    ];
    for (expected, change) in changes {
        let bytes = pack_with(&[b"A"], Region::default(), change);
        let chunks = Chunks::new(vec![Arc::new(open(&bytes).unwrap())]);
        let error = chunks.read(&[id(b'A')], &mut chunk(0), &mut chunks.reader()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(expected) || expected == "is damaged", "{expected}: {text}");
        let pack = &chunks.packs()[0];
        assert!(GroupReader::new().unwrap().decode(pack, 0).is_err(), "{expected}");
    }
}

#[test]
fn a_chunk_under_a_wrong_id_is_a_mismatch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pack");
    let out = OutputFile::create(&path).unwrap();
    let mut writer = PackWriter::default();
    let mut frame = Vec::new();
    GroupEncoder::new(1, BLOCK_LEN)
        .unwrap()
        .encode(&chunk(b'A'), &mut frame, &mut || Ok(()))
        .unwrap();
    let wrong = sha256(b"another");
    writer.append(&out, Stored { form: Form::Whole, ids: &[wrong], bytes: &frame }).unwrap();
    writer.finish(&out).unwrap();
    out.commit().unwrap();
    let input = Arc::new(Input::open(&path).unwrap());
    let len = input.len();
    let chunks = Chunks::new(vec![Arc::new(Pack::open(input, 0, len).unwrap())]);
    let error = chunks.read(&[wrong], &mut chunk(0), &mut chunks.reader()).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
}

/// Makes the checksums of a pack right again.
fn mend(bytes: &mut [u8]) {
    let footer = bytes.len() - FOOTER_LEN;
    let index = usize::try_from(field::u64_le(bytes, footer + 8)).unwrap_or(usize::MAX);
    if index < footer {
        let crc = crc32(&bytes[index..footer]);
        field::put_u32_le(bytes, footer + 40, crc);
    }
    let crc = crc32(&bytes[..HEADER_LEN]);
    field::put_u32_le(bytes, footer + 44, crc);
    let crc = crc32(&bytes[footer..footer + 52]);
    field::put_u32_le(bytes, footer + 52, crc);
}

/// Each check of the tables, tripped by changed fields.
#[test]
fn a_broken_table_is_named() {
    let good = pack_of(&[b"AB", b"C"]);
    let footer = good.len() - FOOTER_LEN;
    let groups = footer - 3 * ENTRY_LEN - 2 * GROUP_LEN;
    let chunks = footer - 3 * ENTRY_LEN;
    let second = groups + GROUP_LEN;
    let cases: [(&str, usize, &[u8]); 12] = [
        ("not contiguous", groups, &[33]),
        ("not contiguous", second, &[0]),
        ("not contiguous", groups + 8, &[1, 0, 0, 0]),
        ("a group has 0 chunks", groups + 16, &[0, 0]),
        ("a group has 129 chunks", groups + 16, &[129, 0]),
        ("stored kind is 2", groups + 18, &[2]),
        ("a group has 2 chunks", groups + 18, &[1]),
        ("fixed field of the table of groups", groups + 19, &[1]),
        ("does not fit the pack", groups + 16, &[1, 0]),
        ("place of its own", chunks + 32, &[9, 0]),
        ("place of its own", chunks + 34, &[2, 0]),
        ("out of order", chunks, &[0xff; 32]),
    ];
    for (expected, at, value) in cases {
        let mut bad = good.clone();
        bad[at..at + value.len()].copy_from_slice(value);
        mend(&mut bad);
        let error = open(&bad).unwrap_err().to_string();
        assert!(error.contains(expected), "byte {at}: {error}, expected {expected}");
    }
    // Two chunks at one place, and none at another.
    let mut bad = good.clone();
    for number in 0..3 {
        bad[chunks + number * ENTRY_LEN + 32..][..4].fill(0);
    }
    mend(&mut bad);
    assert!(open(&bad).unwrap_err().to_string().contains("place of its own"));
}

/// Every byte of header, index and footer set to values that break careless readers, all
/// checksums made right: an error or chunks that are checked, never a panic.
#[test]
fn hostile_fields_never_panic() {
    let good = pack_of(&[b"A", b"B"]);
    let index = good.len() - FOOTER_LEN - 2 * ENTRY_LEN - 2 * GROUP_LEN;
    let mut refused = 0;
    for at in (0..HEADER_LEN).chain(index - 8..good.len()) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            mend(&mut bytes);
            match open(&bytes) {
                Ok(pack) => {
                    let chunks = Chunks::new(vec![Arc::new(pack)]);
                    let mut reader = chunks.reader();
                    for number in 0..chunks.packs()[0].chunk_count() {
                        let entry = chunks.packs()[0].entry(number).unwrap();
                        let _ = reader.read(&chunks.packs()[0], &entry, 0, &mut chunk(0));
                    }
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 300, "only {refused} were refused");
}

/// A pack takes no more chunks than its tables can name.
#[test]
fn a_pack_is_full_at_its_most_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let out = OutputFile::create(&folder.path().join("a.pack")).unwrap();
    let mut writer = PackWriter::default();
    let ids = |first: u32, count: u32| -> Vec<Digest> {
        (first..first + count).map(|number| sha256(&number.to_le_bytes())).collect()
    };
    for group in 0..511 {
        let ids = ids(group * 128, 128);
        writer.append(&out, Stored { form: Form::Whole, ids: &ids, bytes: b"frame" }).unwrap();
    }
    let (fits, over) = (ids(511 * 128, 128), ids(511 * 128, 1));
    let group = |ids| Stored { form: Form::Whole, ids, bytes: b"frame" };
    assert!(!writer.is_full_for(group(&fits), u64::MAX));
    assert!(writer.is_full_for(group(&fits), 1000));
    writer.append(&out, group(&fits)).unwrap();
    assert!(writer.is_full_for(group(&over), u64::MAX));
    assert_eq!(writer.finish(&out).unwrap().chunk_count, 65_536);
}

#[test]
fn a_group_is_whole_blocks_up_to_64_mib() {
    assert_eq!(group_chunks(DEFAULT_GROUP_SIZE), Some(64));
    assert_eq!(group_chunks(1 << 19), Some(1));
    assert_eq!(group_chunks(64 << 20), Some(128));
    for size in [0, 1, (1 << 19) - 1, (1 << 19) + 1, (64 << 20) + (1 << 19), u64::MAX] {
        assert_eq!(group_chunks(size), None, "{size}");
    }
}
