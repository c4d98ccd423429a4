//! The text of a VMDK, which says what the disk consists of. Pure: text to checked values and back.
//!
//! ```text
//! # Disk DescriptorFile           the first line of a file that is only this
//! version=1                       1 to 3
//! CID=5f1a7e05                    changes with the content
//! parentCID=ffffffff              that of the disk below; ffffffff for none
//! createType="monolithicFlat"     what the disk consists of
//! parentFileNameHint="base.vmdk"  the disk below
//! RW 10240 FLAT "a-flat.vmdk" 0   access, sectors, type, name, sector of the file
//! ddb.adapterType = "lsilogic"    what does not change the volume
//! ```

use std::fmt;

use thiserror::Error;

use crate::error::Fault;
use crate::error::Kind;
use crate::format::text;
use crate::format::vmdk::layout::MAX_DESCRIPTOR_LEN;
use crate::format::vmdk::layout::MAX_FILES;
use crate::units::MAX_VOLUME_SIZE;

/// First bytes of a file that is a descriptor and nothing else.
pub const FIRST_LINE: &[u8] = b"# Disk DescriptorFile";

/// Value of parentCID where there is no parent.
const NO_PARENT: u32 = u32::MAX;

/// Types of disks that we know by name only.
const OTHER_TYPES: &[&str] = &[
    "custom",
    "fullDevice",
    "partitionedDevice",
    "vmfsPreallocated",
    "vmfsEagerZeroedThick",
    "vmfsThin",
    "vmfsSparse",
    "vmfsRDM",
    "vmfsRDMP",
    "vmfsRaw",
    "seSparse",
    "vsanSparse",
    "2GbMaxExtentSparse",
    "2GbMaxExtentFlat",
];

/// What is wrong with a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DescriptorFault {
    /// It is too long.
    #[error(
        "the descriptor has {found} bytes, expected {max_descriptor_len} at most",
        max_descriptor_len = MAX_DESCRIPTOR_LEN
    )]
    Len {
        /// Bytes of it.
        found: u64,
    },
    /// A line is of no known shape.
    #[error(
        "line {line} of the descriptor is not recognized, expected a comment, `name=value`, \
         or an extent"
    )]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A number is none, or too large.
    #[error("line {line} of the descriptor is malformed, expected a number")]
    Number {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A name that must stand once stands twice.
    #[error("line {line} of the descriptor repeats a value, expected it once")]
    Twice {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The version is none that we know.
    #[error("line {line} of the descriptor has an unknown version, expected 1 to 3")]
    Version {
        /// Number of the line, from 1.
        line: usize,
    },
    /// There is no createType.
    #[error("the descriptor has no createType, expected one")]
    NoType,
    /// The createType is none that anybody knows.
    #[error(
        "line {line} of the descriptor has an unknown createType, expected one of \
         {expected}",
        expected = CreateType::names()
    )]
    Type {
        /// Number of the line, from 1.
        line: usize,
    },
    /// The createType is one that we do not read.
    #[error("createType is {found}, expected one of {expected}", expected = CreateType::names())]
    OtherType {
        /// Value found.
        found: &'static str,
    },
    /// A file of its own has the type of an embedded descriptor, or the other way round.
    #[error(
        "createType is {found}, expected its descriptor {expected} the disk's file",
        expected = if .found.is_embedded() { "inside" } else { "outside" }
    )]
    TypeOfFile {
        /// Value found.
        found: CreateType,
    },
    /// An extent may not be read.
    #[error(
        "line {line} of the descriptor has an extent of access NOACCESS, expected RW or \
         RDONLY"
    )]
    NoAccess {
        /// Number of the line, from 1.
        line: usize,
    },
    /// An extent's type is none that we read.
    #[error(
        "line {line} of the descriptor has an extent of an unknown type, expected FLAT, \
         VMFS, SPARSE or ZERO"
    )]
    ExtentType {
        /// Number of the line, from 1.
        line: usize,
    },
    /// An extent's type does not go with the createType.
    #[error(
        "line {line} of the descriptor has an extent of another type, expected one of a \
         {expected} disk"
    )]
    ExtentOf {
        /// Number of the line, from 1.
        line: usize,
        /// The createType.
        expected: CreateType,
    },
    /// An extent names a file somewhere else.
    #[error("line {line} of the descriptor names a file in another folder, expected a plain name")]
    ExtentPath {
        /// Number of the line, from 1.
        line: usize,
    },
    /// There are no extents, or too many.
    #[error("the descriptor has {found} extents, expected 1 to {expected}")]
    Extents {
        /// How many there are.
        found: usize,
        /// How many there may be.
        expected: usize,
    },
    /// An extent's sectors are not the capacity of its file.
    #[error("the descriptor's extent has {found} sectors, expected {expected} as the file has")]
    Capacity {
        /// Sectors of the extent.
        found: u64,
        /// The capacity in sectors.
        expected: u64,
    },
    /// There is no parent, and yet a name of it.
    #[error("the descriptor has a parentFileNameHint, expected none as parentCID is ffffffff")]
    Hint,
    /// The parent is not the one that the disk was made of.
    #[error("CID is {found:08x}, expected {expected:08x}: the parent changed, or is another one")]
    Cid {
        /// CID of the parent.
        found: u32,
        /// CID that the parent must have.
        expected: u32,
    },
}

impl Fault for DescriptorFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Version { .. }
            | Self::Type { .. }
            | Self::OtherType { .. }
            | Self::NoAccess { .. }
            | Self::ExtentType { .. }
            | Self::ExtentPath { .. } => Kind::Unsupported,
            Self::Len { .. } => Kind::Limit,
            Self::Extents { found, .. } if *found > 0 => Kind::Limit,
            Self::Cid { .. } => Kind::Mismatch,
            _ => Kind::Corrupt,
        }
    }
}

/// What a disk consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateType {
    /// One file of packed grains.
    StreamOptimized,
    /// One sparse file.
    MonolithicSparse,
    /// One file of plain bytes.
    MonolithicFlat,
    /// Files of plain bytes.
    TwoGbMaxExtentFlat,
    /// Sparse files.
    TwoGbMaxExtentSparse,
    /// A file of plain bytes, as ESX has it.
    Vmfs,
}

impl CreateType {
    const ALL: [Self; 6] = [
        Self::StreamOptimized,
        Self::MonolithicSparse,
        Self::MonolithicFlat,
        Self::TwoGbMaxExtentFlat,
        Self::TwoGbMaxExtentSparse,
        Self::Vmfs,
    ];

    /// Returns the name that descriptors have for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamOptimized => "streamOptimized",
            Self::MonolithicSparse => "monolithicSparse",
            Self::MonolithicFlat => "monolithicFlat",
            Self::TwoGbMaxExtentFlat => "twoGbMaxExtentFlat",
            Self::TwoGbMaxExtentSparse => "twoGbMaxExtentSparse",
            Self::Vmfs => "vmfs",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Tells whether the descriptor is inside the one file of the disk.
    #[must_use]
    pub fn is_embedded(self) -> bool {
        matches!(self, Self::StreamOptimized | Self::MonolithicSparse)
    }

    /// Tells whether a disk of this type may have that extent.
    fn has(self, place: &ExtentPlace) -> bool {
        match place {
            ExtentPlace::Zero => !self.is_embedded(),
            ExtentPlace::Sparse { .. } => {
                self.is_embedded() || matches!(self, Self::TwoGbMaxExtentSparse)
            }
            ExtentPlace::Flat { .. } => {
                !self.is_embedded() && !matches!(self, Self::TwoGbMaxExtentSparse)
            }
        }
    }
}

impl fmt::Display for CreateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the sectors of an extent are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtentPlace {
    /// As they are in a file.
    Flat {
        /// Name of the file.
        name: String,
        /// First sector of it.
        offset: u64,
    },
    /// In a sparse file.
    Sparse {
        /// Name of the file.
        name: String,
    },
    /// Nowhere: they are zeros.
    Zero,
}

/// A part of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskExtent {
    /// Its sectors; not 0, and not over the largest volume.
    pub sectors: u64,
    /// Where they are.
    pub place: ExtentPlace,
}

/// What a disk was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// CID that it must have.
    pub cid: u32,
    /// Name that it had; empty where the descriptor has none.
    pub hint: String,
}

/// A descriptor, checked in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Content id.
    pub cid: u32,
    /// The disk below, of a delta link.
    pub parent: Option<Parent>,
    /// What the disk consists of.
    pub create_type: CreateType,
    /// Its parts, in order; at least one.
    pub extents: Vec<DiskExtent>,
}

impl Descriptor {
    /// Reads and checks a descriptor, up to the first zero byte. `embedded` tells whether it was
    /// found inside a sparse file.
    ///
    /// # Errors
    ///
    /// Names the first line that breaks the rules, or what is missing.
    pub fn parse(bytes: &[u8], embedded: bool) -> Result<Self, DescriptorFault> {
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found > MAX_DESCRIPTOR_LEN {
            return Err(DescriptorFault::Len { found });
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        // Names and comments may be in any encoding; all that matters is ASCII.
        let ascii = String::from_utf8_lossy(&bytes[..end]);
        let encoding = ascii.lines().find_map(|line| match line.trim_start() {
            line if line.starts_with("encoding") => text::declared(line, "encoding"),
            _ => None,
        });
        let text = text::decode(&bytes[..end], encoding);
        let mut fields = Fields::default();
        let mut extents = Vec::new();
        for (text, line) in text.lines().zip(1..) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') || text.starts_with("ddb.") {
                continue;
            }
            match parse_extent(text, line, embedded)? {
                Some(extent) => extents.push((extent, line)),
                None => fields.take(text, line)?,
            }
        }
        let (create_type, _) = fields.create_type.ok_or(DescriptorFault::NoType)?;
        if create_type.is_embedded() != embedded {
            return Err(DescriptorFault::TypeOfFile { found: create_type });
        }
        let most = if embedded { 1 } else { MAX_FILES };
        if !(1..=most).contains(&extents.len()) {
            return Err(DescriptorFault::Extents { found: extents.len(), expected: most });
        }
        for (extent, line) in &extents {
            if !create_type.has(&extent.place) {
                return Err(DescriptorFault::ExtentOf { line: *line, expected: create_type });
            }
        }
        let hint = fields.hint.map(|(hint, _)| hint);
        let parent_cid = fields.parent_cid.map_or(NO_PARENT, |(cid, _)| cid);
        let parent = match (parent_cid, hint) {
            (NO_PARENT, Some(hint)) if !hint.is_empty() => return Err(DescriptorFault::Hint),
            (NO_PARENT, _) => None,
            (cid, hint) => Some(Parent { cid, hint: hint.unwrap_or_default() }),
        };
        Ok(Self {
            cid: fields.cid.map_or(NO_PARENT, |(cid, _)| cid),
            parent,
            create_type,
            extents: extents.into_iter().map(|(extent, _)| extent).collect(),
        })
    }
}

/// The values that matter, each with its line.
#[derive(Default)]
struct Fields {
    cid: Option<(u32, usize)>,
    parent_cid: Option<(u32, usize)>,
    create_type: Option<(CreateType, usize)>,
    hint: Option<(String, usize)>,
    version: Option<((), usize)>,
}

impl Fields {
    /// Takes a line `name=value`.
    fn take(&mut self, text: &str, line: usize) -> Result<(), DescriptorFault> {
        fn once<T>(
            field: &mut Option<(T, usize)>,
            value: T,
            line: usize,
        ) -> Result<(), DescriptorFault> {
            match field.replace((value, line)) {
                Some(_) => Err(DescriptorFault::Twice { line }),
                None => Ok(()),
            }
        }
        let shape = DescriptorFault::Line { line };
        let (name, value) = text.split_once('=').ok_or(shape)?;
        let (name, value) = (name.trim_end(), value.trim_start());
        if name.is_empty()
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        {
            return Err(shape);
        }
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"').filter(|v| !v.contains('"')).ok_or(shape)?,
            None => value,
        };
        let hexadecimal = || {
            let digits = value.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = u32::from_str_radix(value, 16).ok().filter(|_| digits);
            number.ok_or(DescriptorFault::Number { line })
        };
        match name {
            "CID" => once(&mut self.cid, hexadecimal()?, line),
            "parentCID" => once(&mut self.parent_cid, hexadecimal()?, line),
            "createType" => {
                let known = CreateType::ALL.into_iter().find(|known| known.name() == value);
                let known = known.ok_or_else(|| {
                    let other = OTHER_TYPES.iter().find(|other| **other == value);
                    other.map_or(DescriptorFault::Type { line }, |found| {
                        DescriptorFault::OtherType { found }
                    })
                })?;
                once(&mut self.create_type, known, line)
            }
            "parentFileNameHint" => once(&mut self.hint, value.to_owned(), line),
            "version" if !matches!(value, "1" | "2" | "3") => {
                Err(DescriptorFault::Version { line })
            }
            "version" => once(&mut self.version, (), line),
            // VMware's tools may not care about case, and others do.
            _ if ["CID", "parentCID", "createType", "parentFileNameHint", "version"]
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name)) =>
            {
                Err(shape)
            }
            _ => Ok(()),
        }
    }
}

/// Reads the line of an extent; `None` if it is another one. The name in an embedded descriptor is not one
/// that is opened.
fn parse_extent(
    text: &str,
    line: usize,
    embedded: bool,
) -> Result<Option<DiskExtent>, DescriptorFault> {
    const MOST_SECTORS: u64 = MAX_VOLUME_SIZE / 512;
    fn word(text: &str) -> (&str, &str) {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        (&text[..end], text[end..].trim_start())
    }
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|_| digits);
        number.filter(|number| *number <= MOST_SECTORS).ok_or(DescriptorFault::Number { line })
    };
    let (access, rest) = word(text);
    match access {
        "RW" | "RDONLY" => {}
        "NOACCESS" => return Err(DescriptorFault::NoAccess { line }),
        _ => return Ok(None),
    }
    let (sectors, rest) = word(rest);
    let (kind, rest) = word(rest);
    let sectors = number(sectors)?;
    if sectors == 0 {
        return Err(DescriptorFault::Number { line });
    }
    let shape = DescriptorFault::Line { line };
    if kind == "ZERO" {
        let place = ExtentPlace::Zero;
        return if rest.is_empty() { Ok(Some(DiskExtent { sectors, place })) } else { Err(shape) };
    }
    if !matches!(kind, "FLAT" | "VMFS" | "SPARSE") {
        return Err(DescriptorFault::ExtentType { line });
    }
    let (name, rest) = rest.strip_prefix('"').and_then(|rest| rest.split_once('"')).ok_or(shape)?;
    if !embedded && name.contains(['/', '\\']) {
        return Err(DescriptorFault::ExtentPath { line });
    }
    // Behind the offset may stand ids of a partition and its device.
    let (name, (offset, _)) = (name.to_owned(), word(rest.trim_start()));
    let place = match (kind, offset) {
        ("FLAT", "") => return Err(shape),
        ("FLAT", offset) => ExtentPlace::Flat { name, offset: number(offset)? },
        ("VMFS", "" | "0") => ExtentPlace::Flat { name, offset: 0 },
        ("SPARSE", "" | "0") => ExtentPlace::Sparse { name },
        _ => return Err(shape),
    };
    Ok(Some(DiskExtent { sectors, place }))
}

/// Returns the descriptor of a disk in one file.
#[must_use]
pub fn embedded(create_type: CreateType, cid: u32, sectors: u64) -> String {
    let (heads, track) = geometry(sectors);
    // What VMware says of larger disks does not matter to anybody: they are too large for it.
    let cylinders = sectors.strict_div(heads.strict_mul(track)).min(65_535);
    format!(
        "# Disk DescriptorFile\n\
         version=1\n\
         CID={cid:08x}\n\
         parentCID=ffffffff\n\
         createType=\"{create_type}\"\n\
         \n\
         # Extent description\n\
         RW {sectors} SPARSE \"disk.vmdk\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.virtualHWVersion = \"4\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{heads}\"\n\
         ddb.geometry.sectors = \"{track}\"\n\
         ddb.adapterType = \"lsilogic\"\n"
    )
}

/// Returns the heads, and the sectors of a track, that `VMware` gives a disk of a SCSI adapter.
fn geometry(sectors: u64) -> (u64, u64) {
    const GIB: u64 = 1 << 21;
    match sectors {
        0..GIB => (64, 32),
        sectors if sectors < 2 * GIB => (128, 32),
        _ => (255, 63),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: &str = "# Disk DescriptorFile\nversion=1\nencoding=\"UTF-8\"\nCID=5f1a7e05\n\
        parentCID=ffffffff\r\ncreateType=\"twoGbMaxExtentFlat\"\n\n# Extents\n\
        RW 100 FLAT \"a b-f001.vmdk\" 0\nRDONLY 7 FLAT \"c\" 12\nRW 3 ZERO\n\
        ddb.adapterType = \"ide\"\nddb.comment = \"a = b\"\n";

    fn parse(text: &str) -> Result<Descriptor, DescriptorFault> {
        Descriptor::parse(text.as_bytes(), false)
    }

    #[test]
    fn a_descriptor_is_read() {
        let flat = |sectors, name: &str, offset| DiskExtent {
            sectors,
            place: ExtentPlace::Flat { name: name.to_owned(), offset },
        };
        let expected = Descriptor {
            cid: 0x5f1a_7e05,
            parent: None,
            create_type: CreateType::TwoGbMaxExtentFlat,
            extents: vec![
                flat(100, "a b-f001.vmdk", 0),
                flat(7, "c", 12),
                DiskExtent { sectors: 3, place: ExtentPlace::Zero },
            ],
        };
        assert_eq!(parse(FLAT), Ok(expected.clone()));
        assert_eq!(parse(&format!("{FLAT}\0RW what")), Ok(expected));
        let vmfs = "createType = \"vmfs\"\nRW 9 VMFS \"x-flat.vmdk\"\n";
        assert_eq!(parse(vmfs).unwrap().extents, [flat(9, "x-flat.vmdk", 0)]);
        let delta = "parentCID=12\nCID=1\nparentFileNameHint=\"base.vmdk\"\n\
            createType=\"twoGbMaxExtentSparse\"\nRW 9 SPARSE \"s\"\n";
        let parent = parse(delta).unwrap().parent.unwrap();
        assert_eq!((parent.cid, &parent.hint[..]), (0x12, "base.vmdk"));
    }

    /// Names, comments and `ddb.` lines may be in any encoding, and nothing needs them.
    #[test]
    fn only_what_is_needed_must_be_text() {
        let bytes = |encoding: &str, name: &[u8]| {
            let head = format!("encoding=\"{encoding}\"\ncreateType=\"monolithicSparse\"\n# ");
            let parts: [&[u8]; 6] =
                [head.as_bytes(), name, b"\nddb.x = \"", name, b"\"\nRW 9 SPARSE \"", name];
            [&parts.concat()[..], b".vmdk\"\n"].concat()
        };
        // "Disk" in GBK and in Shift_JIS, whose second bytes may be a backslash.
        let names: [(&str, &[u8], &str); 4] = [
            ("windows-1252", b"caf\xe9", "caf\u{e9}.vmdk"),
            ("GBK", b"\xb4\xc5\xc5\xcc", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}.vmdk"),
            ("Shift_JIS", b"\x83\x5c", "\u{fffd}\\.vmdk"),
            ("UTF-8", "caf\u{e9}/x".as_bytes(), "caf\u{e9}/x.vmdk"),
        ];
        for (encoding, name, expected) in names {
            let parsed = Descriptor::parse(&bytes(encoding, name), true).unwrap();
            let place = ExtentPlace::Sparse { name: expected.to_owned() };
            assert_eq!(parsed.extents, [DiskExtent { sectors: 9, place }], "{encoding}");
        }
    }

    #[test]
    fn what_others_leave_out_or_add_is_read() {
        let parsed = parse(
            &FLAT.replace("f001.vmdk\" 0", "f001.vmdk\" 0 partitionUUID 61ca1d9a-0e6b-4f7c 2"),
        );
        assert_eq!(parsed, parse(FLAT));
        let parsed = parse(&FLAT.replace("encoding=\"UTF-8\"", "parentFileNameHint=\"\""));
        assert_eq!(parsed, parse(FLAT));
        let sparse = "createType=\"twoGbMaxExtentSparse\"\nRW 9 SPARSE \"s\"";
        assert_eq!(parse(&format!("{sparse} 0 x")), parse(sparse));
        assert!(parse(&format!("{sparse} 7")).is_err());
    }

    #[test]
    fn what_we_write_is_read() {
        for create_type in [CreateType::StreamOptimized, CreateType::MonolithicSparse] {
            for sectors in [1, 1 << 21, 1 << 22, 1 << 37] {
                let text = embedded(create_type, 7, sectors);
                let parsed = Descriptor::parse(text.as_bytes(), true).unwrap();
                let place = ExtentPlace::Sparse { name: "disk.vmdk".to_owned() };
                let extents = vec![DiskExtent { sectors, place }];
                assert_eq!(parsed, Descriptor { cid: 7, parent: None, create_type, extents });
                assert!(text.len() < 20 * 512);
            }
        }
    }

    /// Each check, tripped by one changed place of a sound text.
    #[test]
    fn each_broken_line_is_named() {
        use DescriptorFault as F;
        let expected = CreateType::TwoGbMaxExtentFlat;
        let cases = [
            ("version=1", "version=4", F::Version { line: 2 }),
            ("encoding=", "enc oding=", F::Line { line: 3 }),
            ("encoding=\"UTF-8\"", "encoding=\"UTF-8", F::Line { line: 3 }),
            ("encoding=\"UTF-8\"", "what", F::Line { line: 3 }),
            ("encoding=\"UTF-8\"", "=what", F::Line { line: 3 }),
            ("encoding", "CreateType", F::Line { line: 3 }),
            ("encoding=\"UTF-8\"", "CID=1", F::Twice { line: 4 }),
            ("encoding=\"UTF-8\"", "version=1", F::Twice { line: 3 }),
            ("encoding=\"UTF-8\"", "parentFileNameHint=\"x\"", F::Hint),
            ("CID=5f1a7e05", "CID=5f1a7e05f", F::Number { line: 4 }),
            ("CID=5f1a7e05", "CID=+5f", F::Number { line: 4 }),
            ("createType", "createTypes", F::NoType),
            ("twoGbMaxExtentFlat", "what", F::Type { line: 6 }),
            ("twoGbMaxExtentFlat", "seSparse", F::OtherType { found: "seSparse" }),
            (
                "twoGbMaxExtentFlat",
                "monolithicSparse",
                F::TypeOfFile { found: CreateType::MonolithicSparse },
            ),
            ("RW 100", "NOACCESS 100", F::NoAccess { line: 9 }),
            ("RW 100", "RW 0", F::Number { line: 9 }),
            ("RW 100", "RW -100", F::Number { line: 9 }),
            ("RW 100", "RW 999999999999", F::Number { line: 9 }),
            ("RW 100 FLAT", "RW 100 VMFSSPARSE", F::ExtentType { line: 9 }),
            (
                "RW 100 FLAT \"a b-f001.vmdk\" 0",
                "RW 100 SPARSE \"a\"",
                F::ExtentOf { line: 9, expected },
            ),
            ("a b-f001", "../f001", F::ExtentPath { line: 9 }),
            ("a b-f001", "..\\f001", F::ExtentPath { line: 9 }),
            ("f001.vmdk\" 0", "f001.vmdk\"", F::Line { line: 9 }),
            ("f001.vmdk\" 0", "f001.vmdk", F::Line { line: 9 }),
            ("f001.vmdk\" 0", "f001.vmdk\" x 0", F::Number { line: 9 }),
            ("RW 3 ZERO", "RW 3 ZERO \"x\"", F::Line { line: 11 }),
        ];
        for (old, new, fault) in cases {
            assert!(FLAT.contains(old), "{old}");
            assert_eq!(parse(&FLAT.replacen(old, new, 1)), Err(fault), "{new}");
        }
        let none = "createType=\"vmfs\"\n";
        assert_eq!(parse(none), Err(F::Extents { found: 0, expected: MAX_FILES }));
        let many = format!("{none}{}", "RW 1 ZERO\n".repeat(4097));
        let fault = F::Extents { found: 4097, expected: 4096 };
        assert_eq!(parse(&many), Err(fault));
        assert_eq!(fault.kind(), Kind::Limit);
        let long = vec![b' '; 1 << 20];
        assert_eq!(Descriptor::parse(&long, false), Err(F::Len { found: 1 << 20 }));
    }
}
