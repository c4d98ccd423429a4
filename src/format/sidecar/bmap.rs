//! Block maps (bmap), as bmaptool reads and writes them.
//!
//! ```text
//! <bmap version="2.0">
//!   ImageSize           bytes of the image
//!   BlockSize           bytes of a bmap block
//!   BlocksCount         ImageSize / BlockSize, rounded up
//!   MappedBlocksCount   bmap blocks that the ranges cover
//!   ChecksumType        sha256; others are not checked
//!   BmapFileChecksum    of this very text, with the checksum's own digits as zeros
//!   BlockMap
//!     Range chksum="hex of the range's bytes"   first-last, both counted, or one number
//! ```
//!
//! The bytes of the last range end with the image, not with the bmap block.

use std::io::Write;
use std::num::NonZero;
use std::ops::Range;
use std::path::Path;

use quick_xml::events::BytesStart;
use quick_xml::events::Event;
use quick_xml::reader::Reader;

use thiserror::Error;

use crate::digest::Digest;
use crate::digest::Sha256;
use crate::error::Error;
use crate::error::Fault;
use crate::error::Kind;
use crate::error::Result;
use crate::format::sidecar::MAX_LEN;
use crate::format::sidecar::Says;
use crate::format::sidecar::pieces;
use crate::io::READ_PIECE_LEN;
use crate::io::Scratch;
use crate::io::WriteAt;
use crate::units::Extent;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Watch;
use crate::work::in_order;

/// Elements inside elements that are followed; a bmap has three.
const MAX_DEPTH: usize = 32;

/// Most characters of a number, name or digest, blanks included.
const MAX_TEXT_LEN: usize = 1024;

/// Bytes of a bmap block that we write: what file systems have, and what bmaptool writes for them.
const BLOCK_LEN: u64 = 4096;

/// Digests that bmaptool can be told to use and that are not checked here.
const OTHER_DIGESTS: [&str; 5] = ["md5", "sha1", "sha224", "sha384", "sha512"];

/// Most ranges that are read: with what is made of them they take 200 bytes of memory each.
const MAX_RANGES: usize = 1 << 20;

/// Longest range that we write, in bytes, cut at its multiples: each range is hashed by one thread,
/// and a damaged one is named.
const RANGE_LEN: u64 = 64 << 20;

/// What is wrong with a block map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BmapFault {
    /// The text is not UTF-8.
    #[error("the text is not UTF-8")]
    Encoding,
    /// There is a document type, which could define entities.
    #[error("there is a DOCTYPE, expected none")]
    Doctype,
    /// There is an entity, a character reference or a CDATA section.
    #[error("there is an entity reference or CDATA section, expected plain text")]
    Entity,
    /// Elements are nested too deep.
    #[error("elements are nested over {max_depth} deep, expected 3", max_depth = MAX_DEPTH)]
    Depth,
    /// The document ends early, or is none.
    #[error("the XML is not one complete element, expected <bmap>")]
    Root,
    /// The version is not two numbers.
    #[error("version is not two numbers, expected one such as 2.0")]
    VersionText,
    /// The major version is over 2.
    #[error("major version is {found}, expected 1 or 2")]
    Version {
        /// Value found.
        found: u64,
    },
    /// An element is missing.
    #[error("{field} is missing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// An element is there twice.
    #[error("{field} appears twice, expected once")]
    Twice {
        /// Its name.
        field: &'static str,
    },
    /// An element's text is too long.
    #[error("a text is over {max_text_len} characters long", max_text_len = MAX_TEXT_LEN)]
    TextLen,
    /// An element's text is not a number.
    #[error("{field} is not a number below 2^64")]
    Number {
        /// Its name.
        field: &'static str,
    },
    /// A digest is not 64 hexadecimal digits.
    #[error("{field} is not 64 hexadecimal digits")]
    Hex {
        /// Name of the element or attribute.
        field: &'static str,
    },
    /// The digests are of a kind that nobody writes, so that a damaged name turns no check off.
    #[error(
        "ChecksumType is not one of {others} and sha256, expected sha256",
        others = OTHER_DIGESTS.join(", ")
    )]
    ChecksumType,
    /// The text does not have its own checksum.
    #[error("BmapFileChecksum is {found}, expected {expected}, that of the text")]
    Checksum {
        /// Checksum that the text says.
        found: Digest,
        /// Checksum of the text.
        expected: Digest,
    },
    /// The block size is 0.
    #[error("BlockSize is 0")]
    BlockSize,
    /// The block count does not follow from image size and block size.
    #[error("BlocksCount is {found}, expected {expected} by ImageSize and BlockSize")]
    BlocksCount {
        /// Value found.
        found: u64,
        /// Value by the other two.
        expected: u64,
    },
    /// There are too many ranges.
    #[error("there are over {max_ranges} ranges, the limit", max_ranges = MAX_RANGES)]
    Ranges,
    /// A range is not one number, or two with a dash between.
    #[error("range is not a number, or two with a dash between")]
    RangeText,
    /// A range ends before it starts.
    #[error("range {first}-{last} ends before it starts")]
    RangeBackward {
        /// First block.
        first: u64,
        /// Last block.
        last: u64,
    },
    /// A range starts before the one above it ends.
    #[error("range starts at block {found}, expected {expected} or more after the one above")]
    RangeOrder {
        /// First block.
        found: u64,
        /// Least that it could be.
        expected: u64,
    },
    /// A range ends past the image.
    #[error("range ends with block {found}, expected one below {expected}")]
    RangeEnd {
        /// Last block.
        found: u64,
        /// Blocks of the image.
        expected: u64,
    },
    /// The ranges do not cover the blocks that the text says.
    #[error("MappedBlocksCount is {found}, expected {expected} as the ranges have")]
    MappedBlocksCount {
        /// Value found.
        found: u64,
        /// Blocks of the ranges.
        expected: u64,
    },
}

impl Fault for BmapFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. } | Self::ChecksumType => Kind::Unsupported,
            Self::Ranges => Kind::Limit,
            _ => Kind::Corrupt,
        }
    }
}

/// A block map, checked: ranges ascend, do not overlap and lie inside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bmap {
    image_size: u64,
    /// Bytes of the image, each with its digest where it has one that we can check.
    ranges: Vec<(Range<u64>, Option<Digest>)>,
    /// Whether the text has digests that are not SHA-256.
    other_digests: bool,
}

impl Bmap {
    /// Parses and checks the text of a block map.
    ///
    /// # Errors
    ///
    /// `Corrupt` for whatever breaks the format, `Unsupported` for a major version over 2.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = str::from_utf8(bytes).map_err(|_| BmapFault::Encoding)?;
        let document = Document::read(text)?;
        Ok(document.check(bytes)?)
    }

    /// Returns the size of the image, in bytes.
    #[must_use]
    pub fn image_size(&self) -> u64 {
        self.image_size
    }

    /// Iterates over the mapped bytes, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.ranges.iter().map(|(range, _)| range.clone())
    }

    pub(super) fn note(&self) -> Option<&'static str> {
        self.other_digests.then_some(
            "its digests are not SHA-256 and were not checked; the ranges that it leaves out were checked to be zeros",
        )
    }

    /// Says what each byte of a volume of `size` bytes is.
    pub(super) fn says(&self, size: u64) -> Result<Vec<(Range<u64>, Says)>> {
        if self.image_size != size {
            let text = format!(
                "ImageSize is {}, expected {size}, the size of the volume",
                self.image_size
            );
            return Err(Error::new(Kind::Mismatch, text));
        }
        let mut says = Vec::new();
        let mut at = 0;
        for (range, _) in &self.ranges {
            if range.start > at {
                says.push((at..range.start, Says::Hole));
            }
            says.push((range.clone(), Says::Written));
            at = range.end;
        }
        if at < size {
            says.push((at..size, Says::Hole));
        }
        Ok(says)
    }

    /// Reads all ranges that have a digest and fails at the first that does not match it.
    ///
    /// # Errors
    ///
    /// `Mismatch`, with the range; as reading the volume otherwise.
    pub fn check_range_digests(
        &self,
        volume: &dyn ReadVolume,
        threads: NonZero<usize>,
        watch: &dyn Watch,
    ) -> Result<()> {
        let jobs = self.ranges.iter().filter_map(|(range, digest)| Some(Ok((range, (*digest)?))));
        in_order(
            threads,
            watch,
            jobs,
            || Ok(vec![0; READ_PIECE_LEN]),
            |buffer: &mut Vec<u8>, (range, expected)| {
                let found = digest_of(volume, range, buffer, watch)?;
                if found == expected {
                    return Ok(());
                }
                let Range { start, end } = range;
                let text =
                    format!("SHA-256 of bytes {start}..{end} is {found}, expected {expected}");
                Err(Error::new(Kind::Mismatch, text)
                    .advise("the sidecar belongs to another image, or one of the two is damaged"))
            },
            Ok,
        )
    }
}

/// SHA-256 of a range of the volume.
fn digest_of(
    volume: &dyn ReadVolume,
    range: &Range<u64>,
    buffer: &mut [u8],
    watch: &dyn Watch,
) -> Result<Digest> {
    let mut digest = Sha256::new();
    pieces(volume, range, buffer, |_, bytes| {
        // A foreign range can be as long as the volume.
        watch.check()?;
        digest.update(bytes);
        Ok(())
    })?;
    Ok(digest.finish())
}

/// Elements of the root whose text we want.
const FIELDS: [&str; 7] = [
    "ImageSize",
    "BlockSize",
    "BlocksCount",
    "MappedBlocksCount",
    "ChecksumType",
    "BmapFileChecksum",
    "BmapFileSHA1",
];

const RANGE: &str = "Range";

/// An element that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    Root,
    /// By its number in [`FIELDS`].
    Field(usize),
    BlockMap,
    Range,
    /// Of no interest, with all that is inside.
    Other,
}

/// The text's elements, before anything is compared with anything.
#[derive(Debug, Default)]
struct Document {
    version: (u64, u64),
    fields: [Option<String>; FIELDS.len()],
    /// First and last block, and the digest if there is one of 64 digits.
    ranges: Vec<(u64, u64, Option<Digest>)>,
    /// Whether a range has a digest that is not 64 digits.
    odd_digest: bool,
}

impl Document {
    fn read(text: &str) -> Result<Self> {
        let mut reader = Reader::from_str(text);
        reader.config_mut().expand_empty_elements = true;
        let mut document = Self::default();
        let mut path: Vec<Element> = Vec::new();
        let mut rooted = false;
        // Text of the innermost element; comments may cut it in pieces.
        let mut inner = String::new();
        let mut digest = None;
        loop {
            let at = reader.buffer_position();
            let here = |fault: BmapFault| Error::from(fault).at(at);
            let event = reader
                .read_event()
                .map_err(|e| Error::corrupt(format!("XML: {e}")).at(reader.error_position()))?;
            match event {
                Event::Start(start) => {
                    let element = match (path.last(), start.name().as_ref()) {
                        (None, "bmap") if !rooted => {
                            document.version = version(&start).map_err(here)?;
                            rooted = true;
                            Element::Root
                        }
                        (None, _) => return Err(here(BmapFault::Root)),
                        (Some(Element::Root), "BlockMap") => Element::BlockMap,
                        (Some(Element::Root), name) => {
                            let field = FIELDS.iter().position(|field| *field == name);
                            field.map_or(Element::Other, Element::Field)
                        }
                        (Some(Element::BlockMap), RANGE) => {
                            digest = document.digest(&start, at)?;
                            Element::Range
                        }
                        _ => Element::Other,
                    };
                    if path.len() >= MAX_DEPTH {
                        return Err(here(BmapFault::Depth));
                    }
                    path.push(element);
                    inner.clear();
                }
                Event::End(_) => {
                    // The reader matches the names of ends with those of starts.
                    match path.pop() {
                        Some(Element::Field(field)) => {
                            let text = inner.trim().to_owned();
                            if document.fields[field].replace(text).is_some() {
                                return Err(here(BmapFault::Twice { field: FIELDS[field] }));
                            }
                        }
                        Some(Element::Range) => {
                            let (first, last) = range(inner.trim()).map_err(here)?;
                            if document.ranges.len() >= MAX_RANGES {
                                return Err(here(BmapFault::Ranges));
                            }
                            document.ranges.push((first, last, digest.take()));
                        }
                        _ => {}
                    }
                    inner.clear();
                }
                Event::Text(text)
                    if matches!(path.last(), Some(Element::Field(_) | Element::Range)) =>
                {
                    let text = text.into_inner();
                    if inner.len().saturating_add(text.len()) > MAX_TEXT_LEN {
                        return Err(here(BmapFault::TextLen));
                    }
                    inner.push_str(&text);
                }
                Event::DocType(_) => return Err(here(BmapFault::Doctype)),
                Event::GeneralRef(_) | Event::CData(_) => return Err(here(BmapFault::Entity)),
                Event::Eof if rooted && path.is_empty() => return Ok(document),
                Event::Eof => return Err(here(BmapFault::Root)),
                Event::Text(_)
                | Event::Empty(_)
                | Event::Comment(_)
                | Event::Decl(_)
                | Event::PI(_) => {}
            }
        }
    }

    /// Reads a range's digest, and remembers whether it has one of another kind.
    fn digest(&mut self, start: &BytesStart<'_>, at: u64) -> Result<Option<Digest>> {
        let xml = |e| Error::corrupt(format!("XML: {e}")).at(at);
        if let Some(chksum) = start.try_get_attribute("chksum").map_err(xml)? {
            let digest = Digest::from_hex(&chksum.value.trim().to_ascii_lowercase());
            self.odd_digest |= digest.is_none();
            return Ok(digest);
        }
        self.odd_digest |= start.try_get_attribute("sha1").map_err(xml)?.is_some();
        Ok(None)
    }

    fn field(&self, name: &'static str) -> Option<&str> {
        let at = FIELDS.iter().position(|field| *field == name).expect("one of FIELDS");
        self.fields[at].as_deref()
    }

    fn number(&self, field: &'static str) -> Result<u64, BmapFault> {
        let text = self.field(field).ok_or(BmapFault::Missing { field })?;
        number(text).ok_or(BmapFault::Number { field })
    }

    /// Compares everything with everything; the checksum first, because a damaged text says nothing.
    fn check(self, bytes: &[u8]) -> Result<Bmap, BmapFault> {
        let sha256 = match self.field("ChecksumType") {
            Some("sha256") => true,
            Some(other) if OTHER_DIGESTS.contains(&other) => false,
            Some(_) => return Err(BmapFault::ChecksumType),
            None if self.version >= (1, 4) => {
                return Err(BmapFault::Missing { field: "ChecksumType" });
            }
            None => false,
        };
        if sha256 {
            self.check_checksum(bytes)?;
        }
        let image_size = self.number("ImageSize")?;
        let block_size = self.number("BlockSize")?;
        let blocks_count = self.number("BlocksCount")?;
        if block_size == 0 {
            return Err(BmapFault::BlockSize);
        }
        let expected = image_size.div_ceil(block_size);
        if blocks_count != expected {
            return Err(BmapFault::BlocksCount { found: blocks_count, expected });
        }
        let (mut next, mut mapped) = (0, 0_u64);
        let mut ranges = Vec::with_capacity(self.ranges.len());
        for &(first, last, digest) in &self.ranges {
            if last < first {
                return Err(BmapFault::RangeBackward { first, last });
            }
            if last >= blocks_count {
                return Err(BmapFault::RangeEnd { found: last, expected: blocks_count });
            }
            if first < next {
                return Err(BmapFault::RangeOrder { found: first, expected: next });
            }
            // Cannot overflow: `last` is below the count of blocks, and so `first` times their size
            // is below the image size.
            next = last.strict_add(1);
            mapped = mapped.strict_add(next.strict_sub(first));
            let end = next.saturating_mul(block_size).min(image_size);
            ranges.push((first.strict_mul(block_size)..end, digest.filter(|_| sha256)));
        }
        if self.field("MappedBlocksCount").is_some() {
            let found = self.number("MappedBlocksCount")?;
            if found != mapped {
                return Err(BmapFault::MappedBlocksCount { found, expected: mapped });
            }
        }
        if sha256 && self.odd_digest {
            return Err(BmapFault::Hex { field: "chksum" });
        }
        let has_digest = self.odd_digest || self.ranges.iter().any(|range| range.2.is_some());
        Ok(Bmap { image_size, ranges, other_digests: !sha256 && has_digest })
    }

    /// Checks the text against its own SHA-256: taken with the digits of the checksum, where they
    /// first stand, as zeros.
    fn check_checksum(&self, bytes: &[u8]) -> Result<(), BmapFault> {
        const FIELD: &str = "BmapFileChecksum";
        let digits = self.field(FIELD).ok_or(BmapFault::Missing { field: FIELD })?;
        let found = Digest::from_hex(&digits.to_ascii_lowercase())
            .ok_or(BmapFault::Hex { field: FIELD })?;
        let at = bytes
            .windows(digits.len())
            .position(|window| window == digits.as_bytes())
            // A comment inside the digits.
            .ok_or(BmapFault::Hex { field: FIELD })?;
        let (head, tail) = bytes.split_at(at);
        let mut digest = Sha256::new();
        digest.update(head);
        digest.update(&[b'0'; 64]);
        digest.update(&tail[digits.len()..]);
        let expected = digest.finish();
        if found == expected { Ok(()) } else { Err(BmapFault::Checksum { found, expected }) }
    }
}

/// Reads the version off the root element.
fn version(root: &BytesStart<'_>) -> Result<(u64, u64), BmapFault> {
    let version = root.try_get_attribute("version").ok().flatten();
    let numbers = version.as_ref().and_then(|version| version.value.trim().split_once('.'));
    let (major, minor) = numbers
        .and_then(|(major, minor)| Some((number(major)?, number(minor)?)))
        .ok_or(BmapFault::VersionText)?;
    if major > 2 {
        return Err(BmapFault::Version { found: major });
    }
    Ok((major, minor))
}

/// Reads the text of a range.
fn range(text: &str) -> Result<(u64, u64), BmapFault> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    number(first.trim_end()).zip(number(last.trim_start())).ok_or(BmapFault::RangeText)
}

/// Reads decimal digits and nothing else.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Writes the block map of a volume, version 2.0 with SHA-256: what holds data or written zeros is
/// mapped, a hole is not.
///
/// The text depends on nothing but the volume. Reads all mapped bytes, on `threads` threads.
///
/// # Errors
///
/// `Limit` if the text would be too long to be read again; `Io` if `out` cannot be written; as
/// reading the volume otherwise.
pub fn write_bmap(
    volume: &dyn ReadVolume,
    out: &mut dyn Write,
    watch: &dyn Watch,
    threads: NonZero<usize>,
) -> Result<()> {
    let size = volume.size();
    let count = count(volume)?;
    let zeros = "0".repeat(64);
    let head = format!(
        "<?xml version=\"1.0\" ?>\n\
         <!-- Block map: which blocks of a disk image hold data. Blocks that are not listed were\n     \
         never written and need not be copied. -->\n\
         <bmap version=\"2.0\">\n    \
         <ImageSize> {size} </ImageSize>\n    \
         <BlockSize> {BLOCK_LEN} </BlockSize>\n    \
         <BlocksCount> {} </BlocksCount>\n    \
         <MappedBlocksCount> {} </MappedBlocksCount>\n    \
         <ChecksumType> sha256 </ChecksumType>\n    \
         <BmapFileChecksum> {zeros} </BmapFileChecksum>\n    \
         <BlockMap>\n",
        size.div_ceil(BLOCK_LEN),
        count.blocks,
    );
    let framed = u64::try_from(head.len().strict_add(TAIL.len())).expect("some lines");
    if count.text_len.strict_add(framed) > MAX_LEN {
        let text = "the block map would have over 64 MiB, the limit";
        return Err(Error::new(Kind::Limit, text)
            .advise("copy the image with `cp --sparse=always` to join its extents"));
    }
    // The checksum of all lines stands before them, so they wait in a file until it is known.
    let lines = Scratch::create()?;
    let mut checksum = Sha256::new();
    checksum.update(head.as_bytes());
    let (mut piece, mut at) = (String::new(), 0_u64);
    in_order(
        threads,
        watch,
        mapped_ranges(volume),
        || Ok(vec![0; READ_PIECE_LEN]),
        |buffer: &mut Vec<u8>, range: Range<u64>| {
            // Cannot overflow: blocks of a volume of at most 64 TiB.
            let bytes =
                range.start.strict_mul(BLOCK_LEN)..range.end.strict_mul(BLOCK_LEN).min(size);
            let digest = digest_of(volume, &bytes, buffer, watch)?;
            Ok((range, bytes.end.strict_sub(bytes.start), digest))
        },
        |(range, len, digest)| {
            piece.push_str(&line(&range, &digest.to_string()));
            if piece.len() >= READ_PIECE_LEN {
                checksum.update(piece.as_bytes());
                lines.write_all_at(piece.as_bytes(), at)?;
                at = at.strict_add(u64::try_from(piece.len()).expect("some lines"));
                piece.clear();
            }
            watch.advance(len);
            Ok(())
        },
    )?;
    checksum.update(piece.as_bytes());
    checksum.update(TAIL.as_bytes());
    let fail = |e| Error::io("write", Path::new("standard output"), e);
    let head = head.replacen(&zeros, &checksum.finish().hex(), 1);
    out.write_all(head.as_bytes()).map_err(fail)?;
    let mut buffer = vec![0; READ_PIECE_LEN];
    let mut from = 0_u64;
    while from < at {
        let rest = usize::try_from(at.strict_sub(from)).unwrap_or(READ_PIECE_LEN);
        let part = &mut buffer[..rest.min(READ_PIECE_LEN)];
        lines.read_back_at(part, from)?;
        out.write_all(part).map_err(fail)?;
        from = from.strict_add(u64::try_from(part.len()).expect("a piece"));
    }
    out.write_all(piece.as_bytes())
        .and_then(|()| out.write_all(TAIL.as_bytes()))
        .and_then(|()| out.flush())
        .map_err(fail)
}

/// What stands behind the ranges.
const TAIL: &str = "    </BlockMap>\n</bmap>\n";

/// Writes the line of a range.
fn line(range: &Range<u64>, digest: &str) -> String {
    let last = range.end.strict_sub(1);
    let blocks =
        if last == range.start { last.to_string() } else { format!("{}-{last}", range.start) };
    format!("        <Range chksum=\"{digest}\"> {blocks} </Range>\n")
}

/// What the lines of a volume come to.
struct Count {
    blocks: u64,
    text_len: u64,
}

/// Counts blocks and lines without reading a byte of the volume.
fn count(volume: &dyn ReadVolume) -> Result<Count> {
    let digest = "0".repeat(64);
    let mut count = Count { blocks: 0, text_len: 0 };
    for range in mapped_ranges(volume) {
        let range = range?;
        count.blocks = count.blocks.strict_add(range.end.strict_sub(range.start));
        let len = u64::try_from(line(&range, &digest).len()).expect("a line");
        count.text_len = count.text_len.strict_add(len);
        if count.text_len > MAX_LEN {
            break;
        }
    }
    Ok(count)
}

/// Iterates over the blocks that are not wholly hole, as ranges of at most [`RANGE_LEN`] bytes.
fn mapped_ranges(volume: &dyn ReadVolume) -> impl Iterator<Item = Result<Range<u64>>> + '_ {
    let longest = RANGE_LEN.strict_div(BLOCK_LEN);
    let mut extents = extents(volume);
    // The stretch that is being cut, and the range that the next one may go on with.
    let mut rest = 0..0;
    let mut held: Option<Range<u64>> = None;
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                match extents.next() {
                    None => return held.take().map(Ok),
                    Some(Err(error)) => return Some(Err(error)),
                    Some(Ok(extent)) if extent.kind == ExtentKind::Hole => continue,
                    Some(Ok(Extent { range, .. })) => {
                        rest = range.start.strict_div(BLOCK_LEN)..range.end.div_ceil(BLOCK_LEN);
                    }
                }
                // Two stretches may share a block.
                rest.start = rest.start.max(held.as_ref().map_or(0, |held| held.end));
                continue;
            }
            let stop = rest.start.strict_add(1).next_multiple_of(longest).min(rest.end);
            let next = std::mem::replace(&mut rest.start, stop)..stop;
            match &mut held {
                // It goes on where the last one ends, inside the same multiple.
                Some(last) if last.end == next.start && !next.start.is_multiple_of(longest) => {
                    last.end = next.end;
                }
                _ => {
                    if let Some(done) = held.replace(next) {
                        return Some(Ok(done));
                    }
                }
            }
        }
    })
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::single_range_in_vec_init)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use crate::digest::sha256;
    use crate::volume::Place;
    use crate::volume::RunMap;
    use crate::volume::Volume;
    use crate::work::Unwatched;

    const ONE: NonZero<usize> = NonZero::<usize>::MIN;

    /// A volume of 10,000 bytes: data, a hole, written zeros, and an odd tail of data.
    fn volume() -> Volume {
        let mut map = RunMap::default();
        map.push(100, Place::Stored { source: 0, offset: 0 });
        map.push(5000, Place::Hole);
        map.push(3092, Place::Zero);
        map.push(1808, Place::Fill(*b"tail"));
        Volume::new(map, vec![Arc::new(vec![7; 100]).into()]).unwrap()
    }

    fn text(volume: &Volume) -> String {
        let mut out = Vec::new();
        write_bmap(volume, &mut out, &Unwatched, ONE).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Changes a text and gives it the checksum that it then must have.
    fn changed(from: &str, to: &str) -> Result<Bmap> {
        let text = text(&volume());
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let at = text.find("<BmapFileChecksum> ").unwrap() + 19;
        let zeroed = format!("{}{}{}", &text[..at], "0".repeat(64), &text[at + 64..]);
        let checksum = sha256(zeroed.as_bytes()).hex();
        Bmap::parse(zeroed.replacen(&"0".repeat(64), &checksum, 1).as_bytes())
    }

    fn fault(from: &str, to: &str, fault: BmapFault) {
        let error = changed(from, to).unwrap_err();
        assert_eq!(error.kind(), fault.kind());
        let text = error.to_string();
        assert!(text.ends_with(&fault.to_string()), "{to}: {text}");
    }

    #[test]
    fn a_map_that_we_wrote_is_read_again() {
        let bmap = Bmap::parse(text(&volume()).as_bytes()).unwrap();
        assert_eq!(bmap.image_size(), 10_000);
        assert_eq!(bmap.ranges().collect::<Vec<_>>(), [0..10_000]);
        bmap.check_range_digests(&volume(), ONE, &Unwatched).unwrap();
        assert_eq!(bmap.note(), None);
    }

    /// The slow twin: asks each block.
    #[test]
    fn a_block_is_mapped_unless_all_of_it_is_hole() {
        let mut map = RunMap::default();
        let mut state = 88_172_645_463_325_252_u64;
        for _ in 0..2000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let place = if state & 64 == 0 { Place::Hole } else { Place::Zero };
            map.push(state % 200_000 + 1, place);
        }
        let volume = Volume::new(map.clone(), Vec::new()).unwrap();
        let quick: Vec<u64> = mapped_ranges(&volume)
            .collect::<Result<Vec<_>>>()
            .unwrap()
            .into_iter()
            .flatten()
            .collect();
        let slow: Vec<u64> = (0..map.size().div_ceil(BLOCK_LEN))
            .filter(|block| {
                let bytes = block * BLOCK_LEN..(block + 1) * BLOCK_LEN;
                map.within(bytes).any(|(_, place)| place != Place::Hole)
            })
            .collect();
        assert_eq!(quick, slow);
        let longest = RANGE_LEN / BLOCK_LEN;
        for range in mapped_ranges(&volume).collect::<Result<Vec<_>>>().unwrap() {
            assert_eq!(range.start / longest, (range.end - 1) / longest);
        }
    }

    #[test]
    fn ranges_end_at_multiples_of_64_mib() {
        let mut map = RunMap::default();
        // Two kinds that meet: the second goes on with the first one's range.
        map.push(RANGE_LEN - 10 * BLOCK_LEN, Place::Fill(*b"abcd"));
        map.push(RANGE_LEN, Place::Zero);
        let volume = Volume::new(map, Vec::new()).unwrap();
        let longest = RANGE_LEN / BLOCK_LEN;
        let ranges = mapped_ranges(&volume).collect::<Result<Vec<_>>>().unwrap();
        assert_eq!(ranges, [0..longest, longest..2 * longest - 10]);
    }

    #[test]
    fn a_digest_of_other_bytes_is_a_mismatch() {
        let bmap = Bmap::parse(text(&volume()).as_bytes()).unwrap();
        let mut map = RunMap::default();
        map.push(10_000, Place::Zero);
        let other = Volume::new(map, Vec::new()).unwrap();
        let error = bmap.check_range_digests(&other, ONE, &Unwatched).unwrap_err();
        assert_eq!(error.kind(), Kind::Mismatch);
        assert!(error.to_string().contains("bytes 0..10000"));
        assert_eq!(bmap.says(9999).unwrap_err().kind(), Kind::Mismatch);
    }

    /// Each check of the parser, tripped by one change.
    #[test]
    fn a_broken_text_names_what_is_wrong() {
        use BmapFault as F;
        fault("<bmap version", "<!DOCTYPE a><bmap version", F::Doctype);
        fault(" 10000 ", " 1&lt;000 ", F::Entity);
        fault(" 10000 ", "<![CDATA[10000]]>", F::Entity);
        fault("<BlockMap>", &"<a>".repeat(40), F::Depth);
        fault("</bmap>", "</bmap><bmap version=\"2.0\"></bmap>", F::Root);
        fault("</bmap>", "", F::Root);
        fault("version=\"2.0\"", "version=\"2\"", F::VersionText);
        fault("version=\"2.0\"", "", F::VersionText);
        fault("version=\"2.0\"", "version=\"3.0\"", F::Version { found: 3 });
        fault("<ImageSize> 10000 </ImageSize>", "", F::Missing { field: "ImageSize" });
        fault("<ChecksumType> sha256 </ChecksumType>", "", F::Missing { field: "ChecksumType" });
        fault(" sha256 ", " sha255 ", F::ChecksumType);
        let twice = "<ImageSize> 1 </ImageSize><ImageSize> 10000 </ImageSize>";
        fault("<ImageSize> 10000 </ImageSize>", twice, F::Twice { field: "ImageSize" });
        fault(" 10000 ", &" ".repeat(2000), F::TextLen);
        for number in ["", "-1", "+1", "0x10", "1 0", "18446744073709551616"] {
            fault(" 10000 ", number, F::Number { field: "ImageSize" });
        }
        fault("chksum=\"", "chksum=\"0", F::Hex { field: "chksum" });
        fault("<BlockSize> 4096 ", "<BlockSize> 0 ", F::BlockSize);
        let count = F::BlocksCount { found: 4, expected: 3 };
        fault("<BlocksCount> 3 ", "<BlocksCount> 4 ", count);
        for range in ["", "1-", "-1", "1-2-3", "one"] {
            fault(" 0-2 ", range, F::RangeText);
        }
        fault(" 0-2 ", "2-0", F::RangeBackward { first: 2, last: 0 });
        fault(" 0-2 ", "0-3", F::RangeEnd { found: 3, expected: 3 });
        let again = " 0-2 </Range><Range> 2 ";
        fault(" 0-2 ", again, F::RangeOrder { found: 2, expected: 3 });
        let many = "0</Range><Range>".repeat(MAX_RANGES) + "0";
        fault(" 0-2 ", &many, F::Ranges);
        let mapped = F::MappedBlocksCount { found: 2, expected: 3 };
        fault("<MappedBlocksCount> 3 ", "<MappedBlocksCount> 2 ", mapped);
        assert!(changed("</BlockMap>", "</BlockMop>").unwrap_err().to_string().contains("XML"));
        assert_eq!(Bmap::parse(b"<\xff>").unwrap_err().to_string(), F::Encoding.to_string());
    }

    #[test]
    fn any_changed_byte_of_the_text_is_found() {
        let text = text(&volume());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            // Nothing but blanks around the checksum's own digits could pass, and they are hashed.
            assert!(Bmap::parse(&bytes).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_a_reader_may_pass_over_is_passed_over() {
        let bmap = changed("<BlockMap>", "<Other a=\"1\"><Deep/>&#32;x</Other><BlockMap>");
        assert!(bmap.is_err(), "character references are refused wherever they stand");
        let bmap = changed("<BlockMap>", "<Other a=\"1\"><Deep/>x</Other><BlockMap><!-- c -->");
        assert_eq!(bmap.unwrap().image_size(), 10_000);
        let split = changed(" 10000 ", " 10<!-- c -->000 ").unwrap();
        assert_eq!(split.image_size(), 10_000);
    }

    #[test]
    fn a_map_of_a_later_minor_version_and_without_digests_is_read() {
        let text = "<bmap version=\"1.2\"><ImageSize>5000</ImageSize><BlockSize>4096</BlockSize>\
                    <BlocksCount>2</BlocksCount><BlockMap><Range>1</Range></BlockMap></bmap>";
        let bmap = Bmap::parse(text.as_bytes()).unwrap();
        assert_eq!(bmap.ranges().collect::<Vec<_>>(), [4096..5000]);
        assert_eq!(bmap.note(), None);
    }
}
