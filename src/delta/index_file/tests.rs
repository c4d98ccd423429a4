#![allow(clippy::arithmetic_side_effects)]

use super::*;

const ROOT: Digest = Digest([0x11; 32]);

/// Three entries, ascending.
const ENTRIES: [[u32; 3]; 3] = [[1, 2, 3], [1, 2, 4], [0xffff_ffff, 0, 0]];

fn header() -> Header {
    Header { root: ROOT, sampling: Sampling { pages: 0, anchors: Some(2) }, count: 3 }
}

/// Writes an index with these entries and opens it; `change` does something to its bytes first.
fn open_changed(entries: &[[u32; 3]], change: impl FnOnce(&mut Vec<u8>)) -> Result<Header> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("i.amx");
    let out = OutputFile::create(&path).unwrap();
    let count = u64::try_from(entries.len()).unwrap();
    write(&out, &Header { count, ..header() }, entries.iter().copied()).unwrap();
    out.commit().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    open(&Input::open(&path).unwrap(), ROOT).map(|(header, _)| header)
}

/// Makes the header's checksum fit again.
fn seal(bytes: &mut [u8]) {
    let crc = crc32(&bytes[..HEADER_LEN - 4]);
    field::put_u32_le(bytes, HEADER_LEN - 4, crc);
}

fn text(result: Result<Header>) -> String {
    result.expect_err("it was taken").to_string()
}

#[test]
fn what_was_written_is_opened() {
    for entries in [&ENTRIES[..], &[]] {
        let found = open_changed(entries, |_| ()).unwrap();
        assert_eq!(found, Header { count: u64::try_from(entries.len()).unwrap(), ..header() });
    }
    let none = Header { sampling: Sampling { pages: 6, anchors: None }, ..header() };
    let bytes = none.to_bytes(7);
    assert_eq!(Header::parse(&bytes, 80 + 36), Ok((none, 7)));
}

#[test]
fn each_byte_of_the_header_as_each_value_is_refused() {
    let bytes = header().to_bytes(7);
    for at in 0..HEADER_LEN {
        for value in (0..=255).filter(|value| *value != bytes[at]) {
            let mut bytes = bytes;
            bytes[at] = value;
            assert!(Header::parse(&bytes, 80 + 36).is_err(), "byte {at} is {value}");
        }
    }
}

/// With the checksum made to fit, only what a writer could have meant is taken.
#[test]
fn a_header_whose_checksum_fits_is_taken_only_with_values_that_can_be() {
    let bytes = header().to_bytes(7);
    for at in 0..HEADER_LEN - 4 {
        for value in (0..=255).filter(|value| *value != bytes[at]) {
            let mut bytes = bytes;
            bytes[at] = value;
            seal(&mut bytes);
            let taken = Header::parse(&bytes, 80 + 36);
            let may = match at {
                10 => value <= 6,
                11 => value <= 16 || value == NO_ANCHORS,
                // The root digest, and the checksum of the entries.
                24..60 => true,
                _ => false,
            };
            assert_eq!(taken.is_ok(), may, "byte {at} is {value}: {taken:?}");
            if let Ok((header, crc)) = taken {
                assert_eq!(header.to_bytes(crc), bytes, "byte {at} is {value}");
            }
        }
    }
}

#[test]
fn a_broken_field_is_named() {
    let parse = |at: usize, value: u8, len: u64| {
        let mut bytes = header().to_bytes(7);
        bytes[at] = value;
        seal(&mut bytes);
        Header::parse(&bytes, len).unwrap_err()
    };
    let len = 80 + 36;
    assert_eq!(parse(0, 0x88, len), IndexFault::Magic);
    assert_eq!(parse(8, 2, len), IndexFault::Version { found: 2 });
    assert_eq!(parse(10, 7, len), IndexFault::Field { of: "sampling" });
    assert_eq!(parse(11, 17, len), IndexFault::Field { of: "sampling" });
    assert_eq!(parse(12, 1, len), IndexFault::Field { of: "a reserved field" });
    assert_eq!(parse(60, 1, len), IndexFault::Field { of: "a reserved field" });
    assert_eq!(parse(16, 4, len), IndexFault::Len { found: len });
    assert_eq!(parse(16, 3, len + 1), IndexFault::Len { found: len + 1 });
    // A count whose entries would be more bytes than a number holds.
    assert_eq!(parse(23, 0xff, len), IndexFault::Len { found: len });
    let mut bytes = header().to_bytes(7);
    bytes[HEADER_LEN - 1] ^= 1;
    assert_eq!(Header::parse(&bytes, len), Err(IndexFault::Checksum { of: "header" }));
}

#[test]
fn entries_are_held_to_their_checksum_and_order() {
    let flipped = text(open_changed(&ENTRIES, |bytes| bytes[HEADER_LEN + 5] ^= 1));
    assert!(flipped.contains("CRC-32 of the entries"), "{flipped}");
    for entries in [
        [[1, 2, 3], [1, 2, 3], [5, 0, 0]],
        [[1, 2, 3], [1, 2, 2], [5, 0, 0]],
        [[6, 2, 3], [1, 2, 2], [5, 0, 0]],
    ] {
        let order = text(open_changed(&entries, |_| ()));
        assert!(order.contains("entry 1 is out of order"), "{order}");
    }
}

#[test]
fn every_cut_is_refused() {
    for len in 0..HEADER_LEN + 36 {
        let error = open_changed(&ENTRIES, |bytes| bytes.truncate(len)).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{len} bytes: {error}");
    }
}

#[test]
fn an_index_of_another_snapshot_is_a_mismatch() {
    let error = open_changed(&ENTRIES, |bytes| {
        bytes[24] ^= 1;
        seal(bytes);
    });
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Mismatch);
    assert!(error.to_string().contains("another file"), "{error}");
}
