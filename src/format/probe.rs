//! Which format a file is in, by its magic numbers alone.
//!
//! Raw has no magic, so it is what is left when nothing else matches, and a guest can write any
//! magic it likes into its own raw disk. Therefore a match of a format that we do not read refuses
//! the file instead of ignoring the match, two matches refuse it too, and only a user who names raw
//! makes it raw.

use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::foreign::Foreign;
use crate::format::foreign::GENERAL;
use crate::format::foreign::SPECIFIC;
use crate::format::raw;
use crate::format::reader::Format;
use crate::format::sentence;
use crate::format::tables;
use crate::format::tables::FORMATS;
use crate::format::vhd;
use crate::io::ReadAt;

/// Fails if the last bytes of what was taken for raw say that it is something else.
///
/// # Errors
///
/// `Unsupported`, by name.
pub(super) fn check_end(end: &[u8]) -> Result<()> {
    let end = end.to_vec();
    let name = if vhd::FORMAT.is_in(&end)? {
        Some(("a VHD", Advice::NameFormat { first: "".into(), format: Some("vhd") }))
    } else {
        let mut kinds = SPECIFIC.iter();
        let found = kinds.try_fold(None, |found: Option<&Foreign>, kind| {
            Ok::<_, Error>(if found.is_none() && kind.ends(&end)? { Some(kind) } else { found })
        })?;
        found.map(|kind| (kind.name, kind.advice()))
    };
    match name {
        Some((name, advice)) => {
            let text = format!("it ends like {name}, expected a raw volume");
            Err(Error::new(Kind::Unsupported, text).advise(advice))
        }
        None => Ok(()),
    }
}

/// Says which format `source` is in.
///
/// # Errors
///
/// `Unsupported` if it is in another format or matches two, `Io` if it cannot be read.
pub(super) fn probe(source: &dyn ReadAt) -> Result<&'static Format> {
    let mut own = Vec::new();
    for format in FORMATS {
        if format.is_in(source)? {
            own.push(*format);
        }
    }
    let mut foreign = matching(SPECIFIC, source)?;
    if own.is_empty() && foreign.is_empty() {
        // What is found first is what it is: the last ones match more than themselves.
        foreign = matching(GENERAL, source)?;
        foreign.truncate(1);
    }
    match (&own[..], &foreign[..]) {
        ([], []) => Ok(&raw::FORMAT),
        ([format], []) => Ok(format),
        ([], [one]) => Err(Error::new(
            Kind::Unsupported,
            format!("it is in the format {}, expected {}", one.name, tables::names("or")),
        )
        .advise(one.advice())),
        _ => {
            let names: Vec<_> = own
                .iter()
                .map(|format| format.name)
                .chain(foreign.iter().map(|kind| kind.name))
                .collect();
            let names = sentence::list(&names, "and");
            let text = format!("it matches the formats {names}, expected one");
            let advice = Advice::NameFormat { first: "".into(), format: None };
            Err(Error::new(Kind::Unsupported, text).advise(advice))
        }
    }
}

/// Returns the format of those which `are_asked` that the bytes say they are in.
///
/// # Errors
///
/// `Io` if they cannot be read.
pub(super) fn around(
    bytes: &dyn ReadAt,
    are_asked: impl Fn(&Format) -> bool,
) -> Result<Option<&'static Format>> {
    for format in FORMATS.iter().filter(|format| are_asked(format)) {
        if format.is_in(bytes)? {
            return Ok(Some(format));
        }
    }
    Ok(None)
}

fn matching(kinds: &'static [Foreign], source: &dyn ReadAt) -> Result<Vec<&'static Foreign>> {
    let mut found = Vec::new();
    for kind in kinds {
        if kind.is_in(source)? {
            found.push(kind);
        }
    }
    Ok(found)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    use crate::format::foreign::Mark;

    const LEN: usize = 64 << 10;

    /// Puts a mark into a file that has nothing else; `false` for what one magic number cannot say.
    fn put(bytes: &mut [u8], mark: Mark) -> bool {
        let (at, magic) = match mark {
            Mark::At(at, magic) => (usize::try_from(at).unwrap(), magic),
            Mark::BeforeEnd(distance, magic) => {
                (bytes.len() - usize::try_from(distance).unwrap(), magic)
            }
            Mark::Word(word) => (0, word.as_bytes()),
            Mark::Look(_) => return false,
        };
        bytes[at..][..magic.len()].copy_from_slice(magic);
        true
    }

    fn refusal(bytes: &[u8]) -> String {
        let error = probe(&bytes.to_vec()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.advice().is_some());
        error.to_string()
    }

    #[test]
    fn each_foreign_mark_is_refused_by_name() {
        for kind in SPECIFIC.iter().chain(GENERAL) {
            for mark in kind.marks {
                let mut bytes = vec![0; LEN];
                if put(&mut bytes, *mark) {
                    let text = refusal(&bytes);
                    let named = format!("it is in the format {}, ", kind.name);
                    assert!(text.starts_with(&named), "{text}");
                }
            }
        }
        assert!(SPECIFIC.len() + GENERAL.len() >= 60);
    }

    #[test]
    fn the_document_lists_every_kind() {
        let text = include_str!("../../docs/formats/raw.md");
        for kind in SPECIFIC.iter().chain(GENERAL) {
            assert!(text.contains(&format!("\n| {} | ", kind.name)), "{}", kind.name);
        }
    }

    #[test]
    fn names_are_told_apart() {
        for (number, kind) in SPECIFIC.iter().chain(GENERAL).enumerate() {
            let mut before = SPECIFIC.iter().chain(GENERAL).take(number);
            assert!(before.all(|other| other.name != kind.name), "{}", kind.name);
            assert!(tables::by_name(kind.name).is_err(), "{}", kind.name);
        }
    }

    /// A file that is two things was made to be taken for one and used as the other.
    #[test]
    fn any_two_formats_are_refused_with_both_names() {
        for one in SPECIFIC {
            for other in SPECIFIC.iter().filter(|other| other.name != one.name) {
                let mut bytes = vec![0; LEN];
                let both = put(&mut bytes, one.marks[0]) && put(&mut bytes, other.marks[0]);
                if both && one.is_in(&bytes).unwrap() {
                    let text = refusal(&bytes);
                    assert!(text.contains(one.name) && text.contains(other.name), "{text}");
                }
            }
        }
        let mut bytes = vec![0; LEN];
        bytes[..4].copy_from_slice(&0xed26_ff3a_u32.to_le_bytes());
        assert_eq!(probe(&bytes).unwrap().name, "android-sparse");
        bytes[LEN - 512..][..8].copy_from_slice(b"conectix");
        assert!(refusal(&bytes).contains("android-sparse and vhd"));
    }

    #[test]
    fn a_magic_at_both_ends_is_one_match() {
        let mut bytes = vec![0; LEN];
        bytes[..8].copy_from_slice(b"conectix");
        bytes[LEN - 512..][..8].copy_from_slice(b"conectix");
        assert_eq!(probe(&bytes).unwrap().name, "vhd");
    }

    #[test]
    fn a_cd_with_a_partition_table_is_a_raw_disk() {
        for (magic, name) in [(b"CD001", "iso9660"), (b"BEA01", "udf")] {
            let mut cd = vec![0; LEN];
            cd[32_769..][..5].copy_from_slice(magic);
            let mut gpt = cd.clone();
            gpt[512..][..8].copy_from_slice(b"EFI PART");
            assert_eq!(probe(&gpt).unwrap().name, "raw");
            cd[510..][..2].copy_from_slice(&[0x55, 0xaa]);
            // A signature alone, without a partition, is not a partition table.
            assert!(refusal(&cd).contains(name));
            (cd[446 + 4], cd[446 + 12]) = (0x17, 1);
            assert_eq!(probe(&cd).unwrap().name, "raw");
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_a_magic_has_none() {
        assert_eq!(probe(&vec![0; 1]).unwrap().name, "raw");
        assert_eq!(probe(&b"QFI\0".to_vec()).unwrap().name, "raw");
    }

    #[test]
    fn text_that_fills_a_small_file_is_not_a_disk() {
        let text = |len: usize| b"all of it is text\n".iter().copied().cycle().take(len).collect();
        let refused = |bytes: Vec<u8>| probe(&bytes).is_err_and(|e| e.to_string().contains("text"));
        for len in [1, 512, 64 << 10, (64 << 10) + 1, (1 << 20) + 5] {
            assert!(refused(text(len)), "{len} bytes");
        }
        // Whole sectors of text may be a disk, and so may anything with a byte that is not text.
        assert!(!refused(text(1 << 20)));
        let mut bytes: Vec<u8> = text(4096);
        bytes[4095] = 0;
        assert!(!refused(bytes));
    }

    #[test]
    fn frames_that_are_skipped_stand_before_zstd_and_lz4() {
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        let zstd = [0x28, 0xb5, 0x2f, 0xfd];
        for count in [1, 2, 3] {
            let front = skipped.repeat(count);
            for rest in [&zstd[..], &[], &skipped[..5], &[0; 100]] {
                let bytes = [&front[..], rest].concat();
                assert_eq!(probe(&bytes).unwrap().name, "raw-zstd", "{count}, {rest:?}");
            }
            let lz4 = [&front[..], &[4, 0x22, 0x4d, 0x18, 0, 0, 0, 0]].concat();
            assert!(refusal(&lz4).contains("lz4"));
        }
    }
}
