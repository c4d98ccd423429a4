//! The modules in an initramfs: cpio archives one behind another, each plain or compressed, of which the
//! first one is often plain and holds microcode.

use std::collections::BTreeSet;

use crate::compress::Lz4Decoder;
use crate::compress::LzmaDecoder;
use crate::compress::StreamDecoder;
use crate::compress::StreamFault;
use crate::compress::Wrapping;
use crate::error::Result;
use crate::guest::Failure;
use crate::guest::FileReader;
use crate::guest::Spot;
use crate::lint::inside::files::Files;

/// Most bytes of an initramfs: those of distributions have up to 150 MB.
const MAX_PACKED_LEN: u64 = 512 << 20;

/// Most bytes that one unpacks to.
const MAX_PLAIN_LEN: u64 = 2 << 30;

/// Most bytes back that a stream may refer to: what the kernel itself takes.
const MAX_WINDOW_LEN: u64 = 32 << 20;

/// Bytes that are read and unpacked at once.
const PIECE_LEN: usize = 256 << 10;

/// Bytes of a header of cpio.
const HEADER_LEN: usize = 110;

/// Longest name: a path of Linux.
const MAX_NAME_LEN: u64 = 4096;

/// Most modules that are remembered: kernels have up to 8,000.
const MAX_MODULES: usize = 50_000;

/// Names of modules, with `_` for `-`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Modules(BTreeSet<String>);

impl Modules {
    /// Takes a path, if it is a module's.
    pub(super) fn take(&mut self, path: &[u8]) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let plain = [&b".xz"[..], b".zst", b".gz"].iter().find_map(|it| name.strip_suffix(*it));
        let Some(name) = plain.unwrap_or(name).strip_suffix(b".ko") else { return };
        if self.0.len() < MAX_MODULES {
            self.0.insert(String::from_utf8_lossy(name).replace('-', "_"));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    pub(super) fn join(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }
}

/// Returns the modules of an initramfs; `None` if it is damaged, too long, or compressed in an unknown way.
pub(super) fn modules(files: &Files<'_, '_>, spot: Spot) -> Result<Option<Modules>> {
    let reader = match files.tree.reader(spot) {
        Ok(reader) if reader.size() <= MAX_PACKED_LEN => reader,
        Ok(_) | Err(Failure::Fault(_)) => return Ok(None),
        Err(Failure::Error(error)) => return Err(error),
    };
    let mut archive = Archive::default();
    match all(&reader, &mut archive) {
        Ok(true) => Ok(Some(archive.modules)),
        Ok(false) | Err(Failure::Fault(_)) => Ok(None),
        Err(Failure::Error(error)) => Err(error),
    }
}

/// Reads all archives. `false` if one of them cannot be read.
fn all(reader: &FileReader<'_>, archive: &mut Archive) -> Result<bool, Failure> {
    let mut input = Input { reader, at: 0, buffer: Vec::new() };
    loop {
        input.skip_zeros()?;
        let head = input.fill()?;
        let packing = match head {
            [] => return Ok(archive.is_between()),
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => {
                if !plain(&mut input, archive)? {
                    return Ok(false);
                }
                continue;
            }
            [0x1f, 0x8b, ..] => Packing::stream(Wrapping::Gzip)?,
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Packing::stream(Wrapping::Xz)?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::stream(Wrapping::Zstd)?,
            [b'B', b'Z', b'h', ..] => Packing::stream(Wrapping::Bzip2)?,
            [0x02, 0x21, 0x4c, 0x18, ..] => Packing::Lz4(Lz4Decoder::new()),
            [0x5d, 0, 0, ..] => match LzmaDecoder::new(MAX_WINDOW_LEN) {
                Some(decoder) => Packing::Lzma(Box::new(decoder)),
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        if !unpack(&mut input, packing, archive)? {
            return Ok(false);
        }
    }
}

/// The file, read in order.
struct Input<'r, 'g> {
    reader: &'r FileReader<'g>,
    at: u64,
    buffer: Vec<u8>,
}

impl Input<'_, '_> {
    /// Returns the bytes from here on, at most a piece; none at the end.
    fn fill(&mut self) -> Result<&[u8], Failure> {
        let left = self.reader.size().strict_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_LEN);
        self.buffer.resize(len, 0);
        self.reader.read(self.at, &mut self.buffer)?;
        Ok(&self.buffer)
    }

    fn advance(&mut self, len: usize) {
        let len = u64::try_from(len).expect("at most a piece");
        self.at = self.at.strict_add(len);
    }

    fn skip_zeros(&mut self) -> Result<(), Failure> {
        loop {
            let piece = self.fill()?;
            let zeros = piece.iter().take_while(|byte| **byte == 0).count();
            let ends = zeros < piece.len() || piece.is_empty();
            self.advance(zeros);
            if ends {
                return Ok(());
            }
        }
    }
}

/// Reads an archive that is not compressed.
fn plain(input: &mut Input<'_, '_>, archive: &mut Archive) -> Result<bool, Failure> {
    archive.begin();
    loop {
        // What files hold is not read at all.
        let skip = archive.skip.min(input.reader.size().strict_sub(input.at));
        input.at = input.at.strict_add(skip);
        archive.skip = archive.skip.strict_sub(skip);
        let piece = input.fill()?;
        if piece.is_empty() {
            return Ok(false);
        }
        let Some(taken) = archive.feed(piece, true) else { return Ok(false) };
        input.advance(taken);
        if archive.ended {
            return Ok(true);
        }
    }
}

/// How an archive is compressed.
enum Packing {
    Stream(Box<StreamDecoder>),
    Lz4(Lz4Decoder),
    Lzma(Box<LzmaDecoder>),
}

impl Packing {
    fn stream(wrapping: Wrapping) -> Result<Self> {
        Ok(Self::Stream(Box::new(StreamDecoder::new(wrapping, MAX_WINDOW_LEN)?)))
    }
}

/// Reads a compressed archive. `false` if it is damaged or too long.
fn unpack(
    input: &mut Input<'_, '_>,
    mut packing: Packing,
    archive: &mut Archive,
) -> Result<bool, Failure> {
    archive.begin();
    let mut output = vec![0; PIECE_LEN];
    loop {
        let piece = input.fill()?;
        let is_end = piece.is_empty();
        let step = match &mut packing {
            Packing::Stream(decoder) => match decoder.step(piece, is_end, &mut output) {
                Ok(step) => Some((step.taken, step.given)),
                // Another archive follows.
                Err(StreamFault::Trailing { .. }) => return Ok(archive.is_between()),
                Err(_) => None,
            },
            Packing::Lz4(decoder) => decoder.step(piece, is_end, &mut output),
            Packing::Lzma(decoder) => decoder.step(piece, is_end, &mut output),
        };
        let Some((taken, given)) = step else { return Ok(false) };
        input.advance(taken);
        archive.plain_len =
            archive.plain_len.saturating_add(u64::try_from(given).unwrap_or(u64::MAX));
        if archive.plain_len > MAX_PLAIN_LEN {
            return Ok(false);
        }
        let mut left = &output[..given];
        while !left.is_empty() {
            let taken = archive.feed(left, false).filter(|taken| *taken > 0);
            let Some(taken) = taken else { return Ok(false) };
            left = &left[taken..];
        }
        if taken == 0 && given == 0 {
            return Ok(is_end && archive.is_between());
        }
    }
}

/// A cpio archive that comes in pieces.
#[derive(Debug, Default)]
struct Archive {
    modules: Modules,
    /// Bytes of a header and a name, as far as they came.
    head: Vec<u8>,
    /// Bytes of padding or content that are passed over.
    skip: u64,
    /// Whether its last member came.
    ended: bool,
    plain_len: u64,
}

impl Archive {
    fn begin(&mut self) {
        (self.skip, self.ended) = (0, false);
        self.head.clear();
    }

    /// Whether nothing of a member is missing.
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.skip == 0
    }

    /// Takes bytes, at most up to the end of a member; `None` if they are not cpio. `once` stops behind the
    /// last member, for another archive may follow.
    fn feed(&mut self, bytes: &[u8], once: bool) -> Option<usize> {
        let len = u64::try_from(bytes.len()).ok()?;
        if self.skip > 0 {
            let skip = self.skip.min(len);
            self.skip = self.skip.strict_sub(skip);
            return usize::try_from(skip).ok();
        }
        if self.head.is_empty() && (self.ended || bytes.first() == Some(&0)) {
            if once && self.ended {
                return Some(0);
            }
            // Zeros up to the next archive.
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            if zeros > 0 {
                return Some(zeros);
            }
            self.ended = false;
        }
        let mut taken = 0_usize;
        let mut rest = bytes;
        let take = |head: &mut Vec<u8>, want: usize, rest: &mut &[u8]| {
            let part = want.saturating_sub(head.len()).min(rest.len());
            head.extend_from_slice(&rest[..part]);
            *rest = &rest[part..];
            part
        };
        taken = taken.strict_add(take(&mut self.head, HEADER_LEN, &mut rest));
        if self.head.len() >= HEADER_LEN {
            let (name_len, size) = parse(&self.head)?;
            if name_len == 0 || name_len > MAX_NAME_LEN {
                return None;
            }
            let want = HEADER_LEN.strict_add(usize::try_from(name_len).ok()?);
            taken = taken.strict_add(take(&mut self.head, want, &mut rest));
            if self.head.len() == want {
                let name = self.head[HEADER_LEN..want].strip_suffix(b"\0").unwrap_or(&[]);
                let whole = u64::try_from(want).ok()?;
                let pad = |len: u64| len.next_multiple_of(4).strict_sub(len);
                if name == b"TRAILER!!!" {
                    self.ended = true;
                } else {
                    self.modules.take(name);
                    // Sizes have 32 bits.
                    self.skip = pad(whole).strict_add(size).strict_add(pad(size));
                }
                self.head.clear();
            }
        }
        Some(taken)
    }
}

/// Reads the lengths of a name and of a content out of a header.
fn parse(head: &[u8]) -> Option<(u64, u64)> {
    if !matches!(head.get(..6)?, b"070701" | b"070702") {
        return None;
    }
    let number = |index: usize| {
        let at = index.strict_mul(8).strict_add(6);
        let digits = std::str::from_utf8(head.get(at..at.strict_add(8))?).ok()?;
        u32::from_str_radix(digits, 16).ok().map(u64::from)
    };
    Some((number(11)?, number(6)?))
}
