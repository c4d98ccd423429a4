#![allow(clippy::arithmetic_side_effects)]

use super::*;
use crate::tar::layout::Segment;

/// Feeds an archive; returns each member with its stored bytes.
fn read(archive: &[u8]) -> std::result::Result<Vec<(StreamMember, Vec<u8>)>, TarFault> {
    let mut reader = StreamReader::default();
    let mut members = Vec::new();
    let mut at = 0;
    while let Some(record) = archive[at..].first_chunk() {
        at += RECORD_LEN;
        if let Found::Member(member) = reader.push(record)? {
            let stored = usize::try_from(member.stored_len).unwrap();
            members.push((member.clone(), archive[at..][..stored].to_vec()));
            at += usize::try_from(member.padded_len()).unwrap();
        }
    }
    Ok(members)
}

fn finish(mut archive: Vec<u8>) -> Vec<u8> {
    let len = archive.len();
    archive.resize(len + usize::try_from(end_len(len.try_into().unwrap())).unwrap(), 0);
    archive
}

#[test]
fn members_with_any_number_of_segments_come_back() {
    for count in [0_u64, 1, 2, 3, 4, 5, 24, 25, 26, 46, 47, 1000] {
        for tail in [0, 100, 4096] {
            let data: Vec<_> = (0..count).map(|i| i * 8192 + 512..i * 8192 + 4096).collect();
            let size = count * 8192 + tail;
            let mut archive = sparse_header("disk", size, &data);
            let stored = usize::try_from(stored_len(&data)).unwrap();
            archive.resize(archive.len() + stored, 7);
            let archive = finish(archive);
            assert_eq!(archive.len() % 10_240, 0);
            let found = read(&archive).unwrap();
            let segments =
                data.iter().map(|it| Segment { offset: it.start, len: it.end - it.start });
            let map = SparseMap { size, segments: segments.collect() };
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].0.map, map, "{count} segments, {tail} bytes of hole");
            assert_eq!((found[0].0.name.as_str(), found[0].0.is_sparse), ("disk", size > 0));
            assert_eq!(found[0].1, vec![7; stored]);
            // Read by position, it is the same.
            let by_position = members(&archive).unwrap();
            assert_eq!(by_position.len(), 1);
            assert_eq!(by_position[0].sparse, (size > 0).then_some(map));
        }
    }
}

#[test]
fn sizes_that_octal_digits_do_not_hold_come_back() {
    let size = 10 << 30;
    for data in [0..size, 512..size, (9 << 30)..(9 << 30) + 512] {
        let header = sparse_header("x", size, std::slice::from_ref(&data));
        let found = StreamReader::default().push(header.first_chunk().unwrap()).unwrap();
        let Found::Member(member) = found else { panic!("one record is all") };
        let segment = Segment { offset: data.start, len: data.end - data.start };
        assert_eq!((member.map.size, member.map.segments), (size, vec![segment]));
    }
}

#[test]
fn data_is_rounded_out_to_records() {
    let data = align([1..2, 600..1024, 1500..1501, 5000..5001], 5100);
    assert_eq!(data, [0..1536, 4608..5100]);
}

/// Records for one member, then the member.
fn pax(records: &[(&str, &str)], size: usize, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let len = (1..9999).find(|len| len - format!("{len}").len() == rest.len()).unwrap();
        body.extend(format!("{len}{rest}").bytes());
    }
    let mut archive = annex(b'x', &body);
    archive.extend(layout::encode("n", size.try_into().unwrap()));
    archive.extend(payload);
    archive.resize(archive.len().next_multiple_of(RECORD_LEN), 0);
    finish(archive)
}

/// A member that says something of the next one.
fn annex(flag: u8, body: &[u8]) -> Vec<u8> {
    let mut header = layout::encode("n", body.len().try_into().unwrap());
    header[156] = flag;
    layout::seal(&mut header);
    let mut archive = header.to_vec();
    archive.extend(body);
    archive.resize(archive.len().next_multiple_of(RECORD_LEN), 0);
    archive
}

#[test]
fn all_forms_of_sparse_members_are_read() {
    let data = vec![5; 1024];
    let mut with_map = b"3\n512\n512\n2048\n512\n4096\n0\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend(&data);
    let (major, minor) = (("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"));
    let pairs = ["512", "512", "2048", "512", "4096", "0"];
    let (offset, numbytes) = ("GNU.sparse.offset", "GNU.sparse.numbytes");
    let mut by_turns = vec![("GNU.sparse.size", "4096"), ("GNU.sparse.numblocks", "3")];
    by_turns.extend(pairs.chunks(2).flat_map(|pair| [(offset, pair[0]), (numbytes, pair[1])]));
    let map = pairs.join(",");
    let forms = [
        pax(&by_turns, 1024, &data),
        pax(&[("GNU.sparse.size", "4096"), ("GNU.sparse.map", &map)], 1024, &data),
        pax(&[major, minor, ("GNU.sparse.realsize", "4096")], 1536, &with_map),
    ];
    for (number, archive) in forms.iter().enumerate() {
        let found = read(archive).unwrap();
        let segments = [512, 2048].map(|offset| Segment { offset, len: 512 }).to_vec();
        assert_eq!(found[0].0.map, SparseMap { size: 4096, segments }, "form {number}");
        assert_eq!(found[0].1, data);
    }
}

#[test]
fn a_size_and_a_name_may_stand_in_front_of_their_member() {
    let found = read(&pax(&[("size", "3"), ("path", "long/name")], 512, b"abc")).unwrap();
    assert_eq!((found[0].0.name.as_str(), found[0].0.map.size), ("long/name", 3));
    let long = [annex(b'L', &[b'n'; 700]), annex(b'g', b""), sparse_header("short", 0, &[])];
    assert_eq!(read(&finish(long.concat())).unwrap()[0].0.name, "n".repeat(700));
}

#[test]
fn what_cannot_be_read_in_order_is_named() {
    for flag in [b'1', b'2', b'5', b'M', 0xff] {
        let fault = read(&annex(flag, b"")).unwrap_err();
        assert_eq!(fault, TarFault::TypeFlag { found: flag });
    }
    let mut huge = layout::encode("n", 1 << 32);
    huge[156] = b'x';
    layout::seal(&mut huge);
    assert_eq!(read(&huge).unwrap_err(), TarFault::Long { found: 1 << 32 });
    let front = [("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9")];
    let endless = pax(&front, 512, format!("9\n{}", "0\n1\n".repeat(200)).as_bytes());
    assert_eq!(read(&endless[..2048]).unwrap_err(), TarFault::Map);
    let sum = TarFault::Stored { found: 0, expected: 512 };
    assert_eq!(read(&pax(&front, 1024, b"1\n9\n0\n")).unwrap_err(), sum);
    let all = [("size", "18446744073709551615")];
    assert_eq!(read(&pax(&all, 0, b"")).unwrap_err(), TarFault::Number);
}

/// Damage that gets past the checksum never panics.
#[test]
fn damage_never_panics() {
    let data: Vec<_> = (0..40_u64).map(|i| i * 2048..i * 2048 + 512).collect();
    let sound = finish(sparse_header("disk", 40 * 2048, &data));
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut archive = sound.clone();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % 2048;
            archive[at] = state.to_be_bytes()[6];
        }
        layout::seal(archive.first_chunk_mut().unwrap());
        let mut reader = StreamReader::default();
        for record in archive.as_chunks::<RECORD_LEN>().0 {
            if reader.push(record).is_err() {
                break;
            }
        }
    }
}
