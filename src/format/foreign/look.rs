//! Looks at bytes for what one magic number cannot tell.

use crate::compress;
use crate::error::Result;
use crate::field;
use crate::format::magic::has;
use crate::format::text;
use crate::io::ReadAt;

pub(super) const PACK_AT: u64 = 8;
pub(super) const PACK_MAGIC: &[u8] = b"\x89AMP\r\n\x1a\n";

/// Bytes that are looked at where the start of a file is not enough.
const HEAD_LEN: usize = 64 << 10;

/// Longest text that is not a disk, whatever its length.
const SMALL_TEXT_LEN: u64 = 64 << 10;

/// Longest text that is not a disk if it is not of whole sectors.
const LARGE_TEXT_LEN: u64 = 16 << 20;

/// Tells whether it is one of our packs, which begin as other zstd files may.
pub(in crate::format) fn is_pack(source: &dyn ReadAt) -> Result<bool> {
    has(source, PACK_AT, PACK_MAGIC)
}

/// Returns the first bytes, `most` of them or as many as there are.
pub(super) fn head(source: &dyn ReadAt, most: usize) -> Result<Vec<u8>> {
    let len = usize::try_from(source.len()).unwrap_or(most).min(most);
    let mut head = vec![0; len];
    source.read_exact_at(&mut head, 0)?;
    Ok(head)
}

/// Returns the first `N` bytes, with zeros behind the end.
fn start<const N: usize>(source: &dyn ReadAt) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let head = head(source, N)?;
    bytes[..head.len()].copy_from_slice(&head);
    Ok(bytes)
}

/// Tells whether it is a CD, and no disk that is one beside: an isohybrid image.
pub(super) fn is_plain_cd(source: &dyn ReadAt) -> Result<bool> {
    Ok(has(source, 32_769, b"CD001")? && !has_partitions(source)?)
}

pub(super) fn is_plain_udf(source: &dyn ReadAt) -> Result<bool> {
    Ok(has(source, 32_769, b"BEA01")? && !has_partitions(source)?)
}

/// Tells whether there is a partition table at the start. A plain CD has 32 KiB of nothing there, and its
/// magic is then no more than content of that disk.
fn has_partitions(source: &dyn ReadAt) -> Result<bool> {
    const TABLE_AT: usize = 446;
    if has(source, 512, b"EFI PART")? || has(source, 4096, b"EFI PART")? {
        return Ok(true);
    }
    let sector = start::<512>(source)?;
    let (entries, signature) = sector[TABLE_AT..].as_chunks::<16>();
    // Byte 4 is the partition's type, bytes 12 to 15 its length in sectors; neither is 0 in use.
    let used = entries.iter().any(|entry| entry[4] != 0 && field::u32_le(entry, 12) != 0);
    Ok(signature == [0x55, 0xaa] && used)
}

/// BSD's dump: its first header is of the type that begins a tape.
pub(super) fn is_dump(source: &dyn ReadAt) -> Result<bool> {
    const MAGICS: [u32; 2] = [60_011, 60_012];
    let head = start::<28>(source)?;
    let little = (field::u32_le(&head, 0), field::u32_le(&head, 24));
    let big = (field::u32_be(&head, 0), field::u32_be(&head, 24));
    Ok([little, big].iter().any(|(kind, magic)| *kind == 1 && MAGICS.contains(magic)))
}

/// What `compress` wrote: its magic, then bits of a code.
pub(super) fn is_compress(source: &dyn ReadAt) -> Result<bool> {
    let [first, second, bits] = start::<3>(source)?;
    Ok([first, second] == [0x1f, 0x9d] && bits & 0x60 == 0 && (9..=16).contains(&(bits & 0x1f)))
}

pub(super) fn is_other_gzip(source: &dyn ReadAt) -> Result<bool> {
    let [first, second, method, flags] = start::<4>(source)?;
    Ok([first, second] == [0x1f, 0x8b] && method < 8 && flags & 0xe0 == 0)
}

/// Magic of a frame that zstd and LZ4 skip, but for its last four bits.
const SKIPPABLE: u32 = 0x184d_2a50;

/// Most frames that are skipped in search of one with content.
const MOST_SKIPPED: usize = 1 << 16;

/// Tells whether it begins with a frame that zstd and LZ4 skip.
pub(in crate::format) fn begins_skippable(source: &dyn ReadAt) -> Result<bool> {
    Ok(field::u32_le(&start::<4>(source)?, 0) & !0xf == SKIPPABLE)
}

/// Tells whether the first frame that is not to be skipped is one of LZ4.
pub(in crate::format) fn is_padded_lz4(source: &dyn ReadAt) -> Result<bool> {
    let mut at = 0_u64;
    for _ in 0..MOST_SKIPPED {
        let mut head = [0; 8];
        if at.saturating_add(8) > source.len() {
            return Ok(false);
        }
        source.read_exact_at(&mut head, at)?;
        if field::u32_le(&head, 0) & !0xf != SKIPPABLE {
            return Ok(at > 0 && head.starts_with(b"\x04\x22\x4d\x18"));
        }
        at = at.saturating_add(8).saturating_add(u64::from(field::u32_le(&head, 4)));
    }
    Ok(false)
}

pub(super) fn is_old_zstd(source: &dyn ReadAt) -> Result<bool> {
    let [version, rest @ ..] = start::<4>(source)?;
    Ok(rest == [0xb5, 0x2f, 0xfd] && matches!(version, 0x1e | 0x22..=0x27))
}

/// cpio's oldest form: 16-bit numbers of either order; the name has a length, and ends in NUL.
pub(super) fn is_binary_cpio(source: &dyn ReadAt) -> Result<bool> {
    let head = start::<26>(source)?;
    let number = |at: usize| match head[..2] {
        [0xc7, 0x71] => field::u16_le(&head, at),
        _ => u16::from_be_bytes(field::array(&head, at)),
    };
    Ok(number(0) == 0o70707 && (2..=4096).contains(&number(20)))
}

/// ARJ: its magic, and a header of a length that it has.
pub(super) fn is_arj(source: &dyn ReadAt) -> Result<bool> {
    let head = start::<12>(source)?;
    let (len, first) = (field::u16_le(&head, 2), head[4]);
    Ok(head[..2] == [0x60, 0xea] && (30..=2600).contains(&len) && (30..=64).contains(&first))
}

/// LHA: the name of a method, as `-lh5-`.
pub(super) fn is_lha(source: &dyn ReadAt) -> Result<bool> {
    let head = start::<7>(source)?;
    let [_, _, method @ ..] = head;
    Ok(matches!(method, [b'-', b'l', b'h' | b'z', b'0'..=b'9' | b'd' | b's' | b'x', b'-']))
}

/// A Linux kernel for x86, ARM or RISC-V, as boot loaders take it.
pub(super) fn is_linux(source: &dyn ReadAt) -> Result<bool> {
    let x86 = has(source, 510, b"\x55\xaaHdrS")? || has(source, 514, b"HdrS")?;
    let others = [(0x38, b"ARM\x64"), (0x38, b"RSC\x05"), (0x24, b"\x18\x28\x6f\x01")];
    others.iter().try_fold(x86, |found, (at, magic)| Ok(found || has(source, *at, *magic)?))
}

pub(super) fn is_vmware_state(source: &dyn ReadAt) -> Result<bool> {
    let [first, rest @ ..] = start::<4>(source)?;
    Ok(matches!(first, 0xd0..=0xd3) && rest == [0xbe, 0xd2, 0xbe])
}

/// A PGP message that begins with an encrypted session key, to a key or by a password.
pub(super) fn is_pgp(source: &dyn ReadAt) -> Result<bool> {
    let head = start::<4>(source)?;
    Ok(matches!(
        head,
        [0x85, 0x01..=0x04, 0x0c, 3]
            | [0x84, 0x4c | 0x5e, 3, _]
            | [0x8c | 0xc3, 0x0d, 4, 7..=13]
            | [0xc1, 0xc0 | 0xc1, _, 3]
    ))
}

pub(super) fn is_riff(source: &dyn ReadAt) -> Result<bool> {
    let head = start::<12>(source)?;
    Ok(head.starts_with(b"RIFF") && matches!(&head[8..], b"WAVE" | b"AVI " | b"WEBP" | b"RMID"))
}

/// A program for Windows or UEFI: the old header, and where it says the new one.
pub(super) fn is_windows_program(source: &dyn ReadAt) -> Result<bool> {
    let head = start::<64>(source)?;
    let at = field::u32_le(&head, 0x3c);
    Ok(head.starts_with(b"MZ") && at <= 4096 && has(source, at.into(), b"PE\0\0")?)
}

/// The manifest of an instance-store bundle.
pub(super) fn is_manifest(source: &dyn ReadAt) -> Result<bool> {
    let head = text::of_xml(&head(source, 1024)?);
    let head = head.trim_start();
    let begins = head.starts_with("<?xml ") || head.starts_with("<manifest>");
    Ok(begins && head.contains("<manifest>") && head.contains("<version>"))
}

/// A zlib stream.
pub(super) fn is_zlib(source: &dyn ReadAt) -> Result<bool> {
    Ok(compress::is_zlib(&head(source, HEAD_LEN)?))
}

/// Tells whether all of a small file is text. A disk may be of text, but not if it is so small, or if it
/// does not even have whole sectors.
pub(super) fn is_text(source: &dyn ReadAt) -> Result<bool> {
    let len = source.len();
    let is_small = len <= SMALL_TEXT_LEN || len <= LARGE_TEXT_LEN && !len.is_multiple_of(512);
    // Most of what is not text says so at once.
    if !is_small || !text::is_text(&head(source, 4096)?, len <= 4096) {
        return Ok(false);
    }
    let most = usize::try_from(LARGE_TEXT_LEN).expect("a small number");
    Ok(text::is_text(&head(source, most)?, true))
}
