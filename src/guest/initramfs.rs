//! What is in an initramfs: cpio archives one behind another, each plain or compressed, of which the first one is often
//! plain and holds microcode.
//!
//! ```text
//! member (newc): 0 6 "070701" or "070702", then 13 numbers of 8 hexadecimal digits
//!   { inode, mode, uid, gid, links, time, size, device (2), device of a node (2), length of the name, checksum },
//!   the name with its NUL, filled up to 4 bytes; the content, filled up to 4 bytes
//! ```

use crate::compress::Lz4Decoder;
use crate::compress::LzmaDecoder;
use crate::compress::StreamDecoder;
use crate::compress::StreamFault;
use crate::compress::Wrapping;
use crate::error::Result;
use crate::guest::failure::Failure;
use crate::guest::tree::FileReader;

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

/// A member of an archive, as its header has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'n> {
    /// Its path.
    pub name: &'n [u8],
    /// What it is and its permissions, as Unix has them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names that it has: the content stands at the last one in the archive.
    pub links: u32,
    /// Its number and the device that it was on, which all its names have in common.
    pub inode: [u32; 3],
    /// Of a device: its numbers.
    pub device: [u32; 2],
    /// Bytes of its content.
    pub size: u64,
}

/// Takes what is in an initramfs, in order.
pub trait Members {
    /// Takes the start of an archive: `plain`, or how it is compressed.
    fn archive(&mut self, packing: &'static str) {
        let _ = packing;
    }

    /// Takes a member, and tells whether its content is wanted.
    fn member(&mut self, member: &Member<'_>) -> bool;

    /// Takes bytes of the content of the last member, in order.
    fn content(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }

    /// Takes the end of an archive: numbers of files behind it are others.
    fn end(&mut self) {}
}

/// Hands over what is in an initramfs. `false` if it is damaged, longer than 512 MiB, unpacks to more than 2 GiB, or is
/// compressed in a way that is not known: then what was handed over is not all.
///
/// # Errors
///
/// As reading the file.
pub fn initramfs(file: &FileReader<'_>, members: &mut dyn Members) -> Result<bool> {
    if file.size() > MAX_PACKED_LEN {
        return Ok(false);
    }
    let mut archive = Archive::new(members);
    match all(file, &mut archive) {
        Ok(whole) => Ok(whole),
        Err(Failure::Fault(_)) => Ok(false),
        Err(Failure::Error(error)) => Err(error),
    }
}

/// Reads all archives. `false` if one of them cannot be read.
fn all(reader: &FileReader<'_>, archive: &mut Archive<'_>) -> Result<bool, Failure> {
    let mut input = Input { reader, at: 0, buffer: Vec::new() };
    loop {
        input.skip_zeros()?;
        let head = input.fill()?;
        let packing = match head {
            [] => return Ok(archive.is_between()),
            [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => {
                archive.members.archive("plain");
                if !plain(&mut input, archive)? {
                    return Ok(false);
                }
                continue;
            }
            [0x1f, 0x8b, ..] => Packing::stream("gzip", Wrapping::Gzip)?,
            [0xfd, b'7', b'z', b'X', b'Z', ..] => Packing::stream("xz", Wrapping::Xz)?,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::stream("zstd", Wrapping::Zstd)?,
            [b'B', b'Z', b'h', ..] => Packing::stream("bzip2", Wrapping::Bzip2)?,
            [0x02, 0x21, 0x4c, 0x18, ..] => Packing::Lz4(Lz4Decoder::new()),
            [0x5d, 0, 0, ..] => match LzmaDecoder::new(MAX_WINDOW_LEN) {
                Some(decoder) => Packing::Lzma(Box::new(decoder)),
                None => return Ok(false),
            },
            _ => return Ok(false),
        };
        archive.members.archive(packing.name());
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
fn plain(input: &mut Input<'_, '_>, archive: &mut Archive<'_>) -> Result<bool, Failure> {
    archive.begin();
    loop {
        // Content that nobody wants is not read at all.
        let skip = archive.skip.min(input.reader.size().strict_sub(input.at));
        input.at = input.at.strict_add(skip);
        archive.skip = archive.skip.strict_sub(skip);
        let piece = input.fill()?;
        if piece.is_empty() {
            return Ok(false);
        }
        let mut used = 0_usize;
        while used < piece.len() && !archive.ended {
            let left = piece.len().strict_sub(used);
            if usize::try_from(archive.skip).is_ok_and(|skip| skip > left) {
                break;
            }
            let Some(taken) = archive.feed(&piece[used..], true) else { return Ok(false) };
            used = used.strict_add(taken);
        }
        input.advance(used);
        if archive.ended {
            return Ok(true);
        }
    }
}

/// How an archive is compressed.
enum Packing {
    Stream(&'static str, Box<StreamDecoder>),
    Lz4(Lz4Decoder),
    Lzma(Box<LzmaDecoder>),
}

impl Packing {
    fn stream(name: &'static str, wrapping: Wrapping) -> Result<Self> {
        Ok(Self::Stream(name, Box::new(StreamDecoder::new(wrapping, MAX_WINDOW_LEN)?)))
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Stream(name, _) => name,
            Self::Lz4(_) => "lz4",
            Self::Lzma(_) => "lzma",
        }
    }
}

/// Reads a compressed archive. `false` if it is damaged or too long.
fn unpack(
    input: &mut Input<'_, '_>,
    mut packing: Packing,
    archive: &mut Archive<'_>,
) -> Result<bool, Failure> {
    archive.begin();
    let mut output = vec![0; PIECE_LEN];
    loop {
        let piece = input.fill()?;
        let is_end = piece.is_empty();
        let step = match &mut packing {
            Packing::Stream(_, decoder) => match decoder.step(piece, is_end, &mut output) {
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
struct Archive<'m> {
    members: &'m mut dyn Members,
    /// Bytes of a header and a name, as far as they came.
    head: Vec<u8>,
    /// Bytes of padding or content that are passed over.
    skip: u64,
    /// Bytes of content that are handed over after that, and of padding behind them.
    content: u64,
    padding: u64,
    /// Whether its last member came.
    ended: bool,
    plain_len: u64,
}

impl<'m> Archive<'m> {
    fn new(members: &'m mut dyn Members) -> Self {
        let head = Vec::new();
        Self { members, head, skip: 0, content: 0, padding: 0, ended: false, plain_len: 0 }
    }

    fn begin(&mut self) {
        (self.skip, self.content, self.padding, self.ended) = (0, 0, 0, false);
        self.head.clear();
    }

    /// Whether nothing of a member is missing.
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.skip == 0 && self.content == 0
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
        if self.content > 0 {
            let part = self.content.min(len);
            let taken = usize::try_from(part).ok()?;
            self.members.content(&bytes[..taken]);
            self.content = self.content.strict_sub(part);
            if self.content == 0 {
                self.skip = std::mem::take(&mut self.padding);
            }
            return Some(taken);
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
            let numbers = numbers(&self.head)?;
            let name_len = u64::from(numbers[11]);
            if name_len == 0 || name_len > MAX_NAME_LEN {
                return None;
            }
            let want = HEADER_LEN.strict_add(usize::try_from(name_len).ok()?);
            taken = taken.strict_add(take(&mut self.head, want, &mut rest));
            if self.head.len() == want {
                self.member(&numbers, u64::try_from(want).ok()?);
                self.head.clear();
            }
        }
        Some(taken)
    }

    /// Takes a whole header with its name.
    fn member(&mut self, numbers: &[u32; 13], head_len: u64) {
        let name = self.head[HEADER_LEN..].strip_suffix(b"\0").unwrap_or(&[]);
        let pad = |len: u64| len.next_multiple_of(4).strict_sub(len);
        if name == b"TRAILER!!!" {
            self.ended = true;
            self.members.end();
            return;
        }
        let [inode, mode, uid, gid, links, _, size, major, minor, device @ .., _, _] = *numbers;
        let size = u64::from(size);
        let inode = [major, minor, inode];
        let wanted =
            self.members.member(&Member { name, mode, uid, gid, links, inode, device, size });
        self.skip = pad(head_len);
        if wanted && size > 0 {
            (self.content, self.padding) = (size, pad(size));
        } else {
            // Sizes have 32 bits.
            self.skip = self.skip.strict_add(size).strict_add(pad(size));
        }
    }
}

/// Reads the numbers of a header.
fn numbers(head: &[u8]) -> Option<[u32; 13]> {
    if !matches!(head.get(..6)?, b"070701" | b"070702") {
        return None;
    }
    let mut numbers = [0; 13];
    for (number, digits) in numbers.iter_mut().zip(head.get(6..HEADER_LEN)?.chunks_exact(8)) {
        *number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(numbers)
}
