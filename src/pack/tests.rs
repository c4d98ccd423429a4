//! Packs give back the chunks that went in, and nothing else is believed.
#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::compress::Encoder;
use crate::digest::sha256;
use crate::io::OutputFile;

fn chunk(fill: u8) -> Vec<u8> {
    vec![fill; BLOCK_LEN]
}

/// Writes a pack of the chunks `fills` and returns its bytes.
fn pack_of(fills: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pack");
    let out = OutputFile::create(&path).unwrap();
    let mut writer = PackWriter::new();
    let mut encoder = Encoder::new(3).unwrap();
    for fill in fills {
        let plain = chunk(*fill);
        let mut frame = Vec::new();
        encoder.append(&plain, &mut frame);
        let stored = Stored { form: Form::Whole, bytes: &frame };
        writer.append(&out, sha256(&plain), stored).unwrap();
    }
    let finished = writer.finish(&out).unwrap();
    out.commit().unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(finished.digest, sha256(&bytes));
    assert_eq!(usize::try_from(finished.file_len), Ok(bytes.len()));
    bytes
}

fn open(bytes: &[u8]) -> Result<Pack> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let input = Arc::new(Input::open(file.path())?);
    let len = input.len();
    Pack::open(input, 0, len)
}

#[test]
fn chunks_come_back() {
    let chunks = Chunks::new(vec![
        Arc::new(open(&pack_of(b"AB")).unwrap()),
        Arc::new(open(&pack_of(b"C")).unwrap()),
    ]);
    let mut reader = ChunkReader::new().unwrap();
    let ids: Vec<_> = b"CAB".iter().map(|fill| sha256(&chunk(*fill))).collect();
    let mut plain = vec![0; 3 * BLOCK_LEN];
    chunks.read(&ids, &mut plain, &mut reader).unwrap();
    assert_eq!(plain, [chunk(b'C'), chunk(b'A'), chunk(b'B')].concat());
    let missing = chunks.read(&[sha256(b"")], &mut plain[..BLOCK_LEN], &mut reader).unwrap_err();
    assert!(missing.to_string().contains("none of the bundle's packs"), "{missing}");
}

/// Skippable frames and all, a pack is what any zstd tool can decompress.
#[test]
fn a_pack_is_a_zstd_stream() {
    let plain = zstd::decode_all(&pack_of(b"AB")[..]).unwrap();
    assert_eq!(plain, [chunk(b'A'), chunk(b'B')].concat());
}

#[test]
fn every_prefix_is_refused() {
    let bytes = pack_of(b"AB");
    for end in 0..bytes.len() {
        assert!(open(&bytes[..end]).is_err(), "{end}");
    }
    assert!(open(&[&bytes[..], b"x"].concat()).is_err());
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = pack_of(b"AB");
    let ids = [sha256(&chunk(b'A')), sha256(&chunk(b'B'))];
    let mut plain = vec![0; 2 * BLOCK_LEN];
    let mut reader = ChunkReader::new().unwrap();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        let found = open(&bad)
            .and_then(|pack| Chunks::new(vec![Arc::new(pack)]).read(&ids, &mut plain, &mut reader));
        // The compatible bits and the minor version, which readers ignore, are under the header's
        // checksum all the same.
        assert!(found.is_err(), "byte {at}");
    }
}

#[test]
fn a_chunk_under_a_wrong_id_is_a_mismatch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pack");
    let out = OutputFile::create(&path).unwrap();
    let mut writer = PackWriter::new();
    let mut frame = Vec::new();
    Encoder::new(1).unwrap().append(&chunk(b'A'), &mut frame);
    let wrong = sha256(b"another");
    let stored = Stored { form: Form::Whole, bytes: &frame };
    writer.append(&out, wrong, stored).unwrap();
    writer.finish(&out).unwrap();
    out.commit().unwrap();
    let input = Arc::new(Input::open(&path).unwrap());
    let len = input.len();
    let chunks = Chunks::new(vec![Arc::new(Pack::open(input, 0, len).unwrap())]);
    let mut reader = ChunkReader::new().unwrap();
    let error = chunks.read(&[wrong], &mut chunk(0), &mut reader).unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
}

/// Every byte of header, index and footer set to values that break careless readers, all
/// checksums made right: an error or chunks that are checked, never a panic.
#[test]
fn hostile_fields_never_panic() {
    let good = pack_of(b"AB");
    let footer_at = good.len() - FOOTER_LEN;
    let index_at = footer_at - 2 * ENTRY_LEN;
    let mut refused = 0;
    for at in (0..HEADER_LEN).chain(index_at - 8..good.len()) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            let index_crc = crc32(&bytes[index_at..footer_at]);
            field::put_u32_le(&mut bytes, footer_at + 20, index_crc);
            let header_crc = crc32(&bytes[..HEADER_LEN]);
            field::put_u32_le(&mut bytes, footer_at + 32, header_crc);
            let footer_crc = crc32(&bytes[footer_at..footer_at + 52]);
            field::put_u32_le(&mut bytes, footer_at + 52, footer_crc);
            match open(&bytes) {
                Ok(pack) => {
                    for number in 0..pack.chunk_count() {
                        let entry = pack.entry(number).unwrap();
                        let mut reader = ChunkReader::new().unwrap();
                        let _ = reader.decode(&pack, &entry, &mut chunk(0));
                    }
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 200, "only {refused} were refused");
}
