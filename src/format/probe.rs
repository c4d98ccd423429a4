//! Which format a file is in, by its magic numbers alone.
//!
//! Raw has no magic, so it is what is left when nothing else matches, and a guest can write any
//! magic it likes into its own raw disk. Therefore a match of a format that we do not read refuses
//! the file instead of ignoring the match, two matches refuse it too, and only a user who says
//! `--format raw` makes it raw.

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::field;
use crate::format::raw;
use crate::format::reader::Format;
use crate::format::sentence;
use crate::format::tables;
use crate::format::tables::FORMATS;
use crate::format::vhd;
use crate::io::ReadAt;

/// What a user does with an image that another tool can convert.
const CONVERT: &str = "convert it with `qemu-img convert -O raw`";
/// What a user does with a packed file.
const UNPACK: &str = "unpack it first";
/// What a user does with a text about an image.
const XML: &str = "it describes an image: name the image itself, or give the manifest of an \
                   instance-store bundle to `amikit convert`";
/// What a user does with one of our own files.
const OURS: &str = "name the bundle that it belongs to instead";

/// A magic number of a format that we know by name only.
struct Magic {
    format: &'static str,
    at: At,
    bytes: &'static [u8],
    advice: &'static str,
}

/// Where a magic number stands, in bytes.
#[derive(Clone, Copy)]
enum At {
    Start(u64),
    BeforeEnd(u64),
}

impl At {
    /// Returns its offset in a file of `len` bytes; `None` if it lies before the file.
    fn offset(self, len: u64) -> Option<u64> {
        match self {
            Self::Start(offset) => Some(offset),
            Self::BeforeEnd(distance) => len.checked_sub(distance),
        }
    }
}

const fn magic(format: &'static str, at: u64, bytes: &'static [u8], advice: &'static str) -> Magic {
    Magic { format, at: At::Start(at), bytes, advice }
}

/// Formats that are refused by name. Rows of one format stand together.
static FOREIGN: &[Magic] = &[
    magic("qed", 0, b"QED\0", CONVERT),
    magic("cowd", 0, b"COWD", CONVERT),
    magic("sesparse", 0, &0xcafe_babe_u64.to_le_bytes(), "export the disk as an OVA"),
    magic("vdi", 0x40, &0xbeda_107f_u32.to_le_bytes(), CONVERT),
    magic("parallels", 0, b"WithoutFreeSpace", CONVERT),
    magic("parallels", 0, b"WithouFreSpacExt", CONVERT),
    magic("bochs", 0, b"Bochs Virtual HD Image", CONVERT),
    magic("cloop", 0, b"#!/bin/sh\n#V2.0 Format\n", CONVERT),
    Magic { format: "dmg", at: At::BeforeEnd(512), bytes: b"koly\0\0\0\x04", advice: CONVERT },
    magic("rbd-diff", 0, b"rbd diff v", "import it with `rbd import-diff`, then `rbd export`"),
    magic("vma", 0, b"VMA\0", "extract its disk with `vma extract`"),
    magic("ewf", 0, b"EVF\t\r\n\xff\0", "convert it with `ewfexport -f raw`"),
    magic("partclone", 0, b"partclone-image", "restore it with `partclone.restore`"),
    magic("ntfsclone", 0, b"\0ntfsclone-image", "restore it with `ntfsclone --restore-image`"),
    magic("wim", 0, b"MSWIM\0\0\0", "it holds files, not a disk: apply it to a disk first"),
    magic("luks", 0, b"LUKS\xba\xbe", "open it with `cryptsetup` and read the device"),
    magic(ISO_9660, 32_769, b"CD001", "EC2 starts disks, not CDs: install it to a disk"),
    magic("lz4", 0, &0x184d_2204_u32.to_le_bytes(), UNPACK),
    magic("lzma", 0, b"\x5d\0\0", UNPACK),
    magic("lzip", 0, b"LZIP", UNPACK),
    magic("lzop", 0, b"\x89LZO\0\r\n\x1a\n", UNPACK),
    magic("7z", 0, b"7z\xbc\xaf\x27\x1c", UNPACK),
    magic("zip", 0, b"PK\x03\x04", UNPACK),
    magic("cpio", 0, b"07070", UNPACK),
    magic("xml", 0, b"<?xml ", XML),
    magic("amikit snapshot", 0, b"\x89AMS\r\n\x1a\n", OURS),
    magic("amikit page index", 0, b"\x89AMX\r\n\x1a\n", OURS),
    magic("amikit pack", PACK_AT, PACK_MAGIC, OURS),
];

const PACK_AT: u64 = 8;
const PACK_MAGIC: &[u8] = b"\x89AMP\r\n\x1a\n";

/// Fails if the last bytes of what was taken for raw say that it is something else.
///
/// # Errors
///
/// `Unsupported`, by name.
pub(super) fn check_end(end: &[u8]) -> Result<()> {
    let end = end.to_vec();
    if vhd::FORMAT.is_in(&end)? {
        let text = "it ends like a VHD, expected a raw volume";
        return Err(Error::new(Kind::Unsupported, text).advise(
            "pass `--format vhd`, or the name of the compressed format if it really is a raw volume",
        ));
    }
    for magic in FOREIGN.iter().filter(|magic| matches!(magic.at, At::BeforeEnd(_))) {
        if matches(&end, magic)? {
            let text = format!("it ends like {}, expected a raw volume", magic.format);
            return Err(Error::new(Kind::Unsupported, text).advise(magic.advice));
        }
    }
    Ok(())
}

/// Tells whether it is one of our packs, which begin as other zstd files may.
pub(super) fn is_pack(source: &dyn ReadAt) -> Result<bool> {
    has(source, PACK_AT, PACK_MAGIC)
}

const ISO_9660: &str = "iso9660";

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
    let mut foreign: Vec<&Magic> = Vec::new();
    for magic in FOREIGN {
        // A format may have several magics, as VMDK has.
        let seen = foreign.last().is_some_and(|last| last.format == magic.format);
        if !seen && matches(source, magic)? && !is_hybrid(source, magic)? {
            foreign.push(magic);
        }
    }
    let names: Vec<_> = own
        .iter()
        .map(|format| format.name)
        .chain(foreign.iter().map(|magic| magic.format))
        .collect();
    match (own[..].first(), &foreign[..]) {
        (None, []) => Ok(&raw::FORMAT),
        (Some(format), []) if names.len() == 1 => Ok(format),
        (None, [one]) => Err(Error::new(
            Kind::Unsupported,
            format!("it is in the format {}, expected {}", one.format, tables::names("or")),
        )
        .advise(format!("{}, or pass `--format raw` if it really is a raw volume", one.advice))),
        _ => Err(Error::new(
            Kind::Unsupported,
            format!("it matches the formats {}, expected one", sentence::list(&names, "and")),
        )
        .advise("pass `--format` with the name of the one that it really is")),
    }
}

/// Tells whether the CD magic belongs to a disk that is a CD beside: an isohybrid image.
///
/// A disk has a partition table at its start, where a plain CD has 32 KiB of nothing, and
/// CD001 is then no more than content of that disk.
fn is_hybrid(source: &dyn ReadAt, magic: &Magic) -> Result<bool> {
    const TABLE_AT: usize = 446;
    if magic.format != ISO_9660 {
        return Ok(false);
    }
    if has(source, 512, b"EFI PART")? || has(source, 4096, b"EFI PART")? {
        return Ok(true);
    }
    let mut sector = [0; 512];
    source.read_exact_at(&mut sector, 0)?;
    let (entries, signature) = sector[TABLE_AT..].as_chunks::<16>();
    // Byte 4 is the partition's type, bytes 12 to 15 its length in sectors; neither is 0 in use.
    let used = entries.iter().any(|entry| entry[4] != 0 && field::u32_le(entry, 12) != 0);
    Ok(signature == [0x55, 0xaa] && used)
}

fn matches(source: &dyn ReadAt, magic: &Magic) -> Result<bool> {
    match magic.at.offset(source.len()) {
        Some(offset) => has(source, offset, magic.bytes),
        None => Ok(false),
    }
}

/// Tells whether `bytes` stand at the start; what lies outside the source does not.
pub(super) fn starts_with(source: &dyn ReadAt, bytes: &[u8]) -> Result<bool> {
    has(source, 0, bytes)
}

/// Tells whether `bytes` stand at `offset`; what lies outside the source does not.
fn has(source: &dyn ReadAt, offset: u64, bytes: &[u8]) -> Result<bool> {
    let mut found = [0; 32];
    let found = &mut found[..bytes.len()];
    let len = u64::try_from(bytes.len()).expect("a magic is short");
    // Cannot overflow: offsets of magics are small.
    if offset.saturating_add(len) > source.len() {
        return Ok(false);
    }
    source.read_exact_at(found, offset)?;
    Ok(found == bytes)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const LEN: usize = 64 << 10;

    fn put(bytes: &mut [u8], magic: &Magic) {
        let len = u64::try_from(bytes.len()).unwrap();
        let at = usize::try_from(magic.at.offset(len).unwrap()).unwrap();
        bytes[at..][..magic.bytes.len()].copy_from_slice(magic.bytes);
    }

    fn refusal(bytes: &[u8]) -> String {
        let error = probe(&bytes.to_vec()).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        error.to_string()
    }

    #[test]
    fn each_foreign_magic_is_refused_by_name() {
        for magic in FOREIGN {
            let mut bytes = vec![0; LEN];
            put(&mut bytes, magic);
            let text = refusal(&bytes);
            assert!(text.starts_with(&format!("it is in the format {}, ", magic.format)), "{text}");
            assert!(text.contains("--format raw") && text.contains(magic.advice), "{text}");
        }
    }

    #[test]
    fn any_two_formats_are_refused_with_both_names() {
        for one in FOREIGN {
            for other in FOREIGN.iter().filter(|other| other.format != one.format) {
                let mut bytes = vec![0; LEN];
                put(&mut bytes, one);
                put(&mut bytes, other);
                if matches(&bytes, one).unwrap() {
                    let text = refusal(&bytes);
                    assert!(text.contains(one.format) && text.contains(other.format), "{text}");
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
        let mut cd = vec![0; LEN];
        cd[32_769..][..5].copy_from_slice(b"CD001");
        let mut gpt = cd.clone();
        gpt[512..][..8].copy_from_slice(b"EFI PART");
        assert_eq!(probe(&gpt).unwrap().name, "raw");
        cd[510..][..2].copy_from_slice(&[0x55, 0xaa]);
        // A signature alone, without a partition, is not a partition table.
        assert!(refusal(&cd).contains(ISO_9660));
        (cd[446 + 4], cd[446 + 12]) = (0x17, 1);
        assert_eq!(probe(&cd).unwrap().name, "raw");
    }

    #[test]
    fn a_file_that_is_shorter_than_a_magic_has_none() {
        assert_eq!(probe(&vec![0; 1]).unwrap().name, "raw");
        assert_eq!(probe(&b"QFI".to_vec()).unwrap().name, "raw");
    }
}
