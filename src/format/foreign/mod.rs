//! What a file can be instead of an image: kinds that say what they are by their first bytes, or by their
//! last ones, and that people give an image's name.
//!
//! Each is refused by name. File systems are not among them: a volume may hold one without a partition
//! table.

mod look;

use crate::error::Advice;
use crate::error::Result;
use crate::error::Verb;
use crate::format::foreign::look::PACK_AT;
use crate::format::foreign::look::PACK_MAGIC;
use crate::format::magic::has;
use crate::format::text;
use crate::io::ReadAt;

use self::Mark::At;
use self::Mark::BeforeEnd;
use self::Mark::Look;
use self::Mark::Word;

pub(super) use look::begins_skippable;
pub(super) use look::is_pack;
pub(super) use look::is_padded_lz4;

/// What a user does with an image that another tool can convert.
const CONVERT: &str = "convert it with `qemu-img convert -O raw`";
/// What a user does with a packed file.
const UNPACK: &str = "unpack it first";
/// What a user does with something that was encrypted.
const DECRYPT: &str = "decrypt it first";
/// What a user does with a copy of a disk in another program's form.
const RESTORE: &str = "restore it to a disk with the program that made it";
/// What a user does with files that are not on a disk.
const FILES: &str = "it holds files, not a disk";
/// What a user does with something that runs.
const PROGRAM: &str = "it is a program, not a disk";
/// What a user does with something to look at.
const DOCUMENT: &str = "it is a document, not a disk";
/// What a user does with something that stands for a file.
const POINTER: &str = "it stands for a file that is elsewhere: fetch that";
/// What a user does with memory or state of a machine.
const STATE: &str = "it is the state of a machine, not a disk";
/// What a user does with one of our own files.
const OURS: &str = "name the bundle that it belongs to instead";

/// A kind of files.
#[derive(Debug)]
pub(super) struct Foreign {
    /// Its name.
    pub(super) name: &'static str,
    /// What says that a file is of this kind; one is enough.
    pub(super) marks: &'static [Mark],
    /// What the user does with it.
    first: &'static str,
}

/// Something by which a kind is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// Bytes at a place.
    At(u64, &'static [u8]),
    /// Bytes at a distance from the end.
    BeforeEnd(u64, &'static [u8]),
    /// Bytes at the start, with blanks and a byte order mark before them passed over, in letters of either
    /// case.
    Word(&'static str),
    /// Something else.
    Look(fn(&dyn ReadAt) -> Result<bool>),
}

impl Foreign {
    /// Tells whether a file is of this kind.
    pub(super) fn is_in(&self, source: &dyn ReadAt) -> Result<bool> {
        self.marks.iter().try_fold(false, |found, mark| Ok(found || mark.is_in(source)?))
    }

    /// Tells whether the last bytes of a file say that it is of this kind.
    pub(super) fn ends(&self, end: &dyn ReadAt) -> Result<bool> {
        let marks = self.marks.iter().filter(|mark| matches!(mark, Mark::BeforeEnd(..)));
        marks.into_iter().try_fold(false, |found, mark| Ok(found || mark.is_in(end)?))
    }

    /// Returns what the user can do, if it is of this kind or is raw in spite of it.
    pub(super) fn advice(&self) -> Advice {
        if self.name == MANIFEST {
            let to = "make an image of the bundle".into();
            return Advice::Use { verb: Verb::Unbundle, to };
        }
        Advice::NameFormat { first: self.first.into(), format: Some("raw") }
    }
}

impl Mark {
    /// Tells whether a file has the mark.
    pub(super) fn is_in(&self, source: &dyn ReadAt) -> Result<bool> {
        match *self {
            Self::At(offset, bytes) => has(source, offset, bytes),
            Self::BeforeEnd(distance, bytes) => match source.len().checked_sub(distance) {
                Some(offset) => has(source, offset, bytes),
                None => Ok(false),
            },
            Self::Word(word) => {
                let head = look::head(source, 256)?;
                let text = text::of_xml(&head).to_ascii_lowercase();
                Ok(text.trim_start().starts_with(word))
            }
            Self::Look(look) => look(source),
        }
    }
}

const fn kind(name: &'static str, marks: &'static [Mark], first: &'static str) -> Foreign {
    Foreign { name, marks, first }
}

/// Name of the kind that is taken apart by a verb of our own.
const MANIFEST: &str = "instance-store manifest";

/// Kinds whose marks nothing else has.
pub(super) static SPECIFIC: &[Foreign] = &[
    // Disks of other programs.
    kind("qed", &[At(0, b"QED\0")], CONVERT),
    kind("cowd", &[At(0, b"COWD")], CONVERT),
    kind("sesparse", &[At(0, b"\xbe\xba\xfe\xca\0\0\0\0")], "export the disk as an OVA"),
    kind("vdi", &[At(0x40, b"\x7f\x10\xda\xbe")], CONVERT),
    kind("parallels", &[At(0, b"WithoutFreeSpace"), At(0, b"WithouFreSpacExt")], CONVERT),
    kind("bochs", &[At(0, b"Bochs Virtual HD Image")], CONVERT),
    kind("cloop", &[At(0, b"#!/bin/sh\n#V2.0 Format\n")], CONVERT),
    kind("dmg", &[BeforeEnd(512, b"koly\0\0\0\x04")], CONVERT),
    kind("apple sparse image", &[At(0, b"sprs\0\0\0")], "convert it with `hdiutil convert`"),
    kind("user-mode linux cow", &[At(0, b"OOOM\0\0\0")], "merge it with `uml_moo`"),
    kind("overlaybd", &[At(0, b"LSMT\0\x01\x02"), At(0, b"ZFile\0\x01")], RESTORE),
    kind(
        "rbd-diff",
        &[At(0, b"rbd diff v"), At(0, b"rbd image v")],
        "import it with `rbd import-diff`, then `rbd export`",
    ),
    kind("vma", &[At(0, b"VMA\0")], "extract its disk with `vma extract`"),
    kind(
        "ewf",
        &[
            At(0, b"EVF\t\r\n\xff\0"),
            At(0, b"LVF\t\r\n\xff\0"),
            At(0, b"EVF2\r\n\x81\0"),
            At(0, b"LEF2\r\n\x81\0"),
        ],
        "convert it with `ewfexport -f raw`",
    ),
    kind("aff", &[At(0, b"AFF10\r\n\0")], "convert it with `affconvert -r`"),
    kind("partclone", &[At(0, b"partclone-image")], "restore it with `partclone.restore`"),
    kind(
        "ntfsclone",
        &[At(0, b"\0ntfsclone-image")],
        "restore it with `ntfsclone --restore-image`",
    ),
    kind("partimage", &[At(0, b"PaRtImAgE-VoLuMe")], RESTORE),
    kind("fsarchiver", &[At(0, b"FsA0")], RESTORE),
    kind("ghost", &[At(0, b"\xfe\xef\x01")], RESTORE),
    kind("acronis", &[At(0, b"\xce\x24\xb9\xa2\x20\0\0\0")], RESTORE),
    kind("ext2 image", &[At(4, b"Ext2 Image ")], "make it raw with `e2image -r`"),
    kind(
        "wim",
        &[At(0, b"MSWIM\0\0\0"), At(0, b"WLPWM\0\0\0")],
        "it holds files, not a disk: apply it to a disk first",
    ),
    kind("luks", &[At(0, b"LUKS\xba\xbe")], "open it with `cryptsetup` and read the device"),
    kind("iso9660", &[Look(look::is_plain_cd)], "EC2 starts disks, not CDs: install it to a disk"),
    kind("udf", &[Look(look::is_plain_udf)], "EC2 starts disks, not CDs: install it to a disk"),
    kind("nero cd", &[BeforeEnd(12, b"NER5\0\0\0\0"), BeforeEnd(8, b"NERO")], FILES),
    kind("compressed cd", &[At(0, b"CISO"), At(0, b"MComprHD"), At(0, b"ECM\0")], UNPACK),
    // What is sent between file systems, and backups.
    kind("btrfs stream", &[At(0, b"btrfs-stream\0")], "apply it with `btrfs receive`"),
    kind(
        "zfs stream",
        &[At(8, b"\xac\xcb\xba\xf5\x02\0\0\0"), At(8, b"\0\0\0\x02\xf5\xba\xcb\xac")],
        "apply it with `zfs receive`",
    ),
    kind("xfs dump", &[At(0, b"xFSdump0")], "restore it with `xfsrestore`"),
    kind("dump", &[Look(look::is_dump)], "restore it with `restore`"),
    kind("borg", &[At(0, b"BORG_SEG")], RESTORE),
    kind("ffu", &[At(4, b"SignedImage ")], RESTORE),
    kind("ubi", &[At(0, b"UBI#\x01\0\0\0")], "it is for a flash chip, and not a disk"),
    kind("warc", &[At(0, b"WARC/1."), At(0, b"WARC/0.")], FILES),
    kind(
        "uuencode",
        &[At(0, b"begin 644 "), At(0, b"begin 600 "), At(0, b"begin-base64 ")],
        UNPACK,
    ),
    kind("hyper-v guest state", &[At(0, b"GUESTRTS")], STATE),
    kind("zchunk", &[At(0, b"\0ZCK1")], "unpack it with `unzck`"),
    kind(
        "casync index",
        &[At(0, b"\x30\0\0\0\0\0\0\0\xf9\x9f\x12\x7b\x9c\x4d\x82\x96")],
        "extract it with `desync extract`",
    ),
    // Compressed streams.
    kind("compress", &[Look(look::is_compress)], UNPACK),
    kind("pack", &[At(0, b"\x1f\x1e\0"), At(0, b"\x1f\x1e\x01")], UNPACK),
    kind("freeze", &[At(0, b"\x1f\x9f"), At(0, b"\x1f\x9e")], UNPACK),
    kind("lzh stream", &[At(0, b"\x1f\xa0")], UNPACK),
    kind("gzip of another method", &[Look(look::is_other_gzip)], UNPACK),
    kind(
        "lz4",
        &[At(0, b"\x04\x22\x4d\x18"), At(0, b"\x02\x21\x4c\x18"), Look(look::is_padded_lz4)],
        UNPACK,
    ),
    kind("lzma", &[At(0, b"\x5d\0\0")], UNPACK),
    kind("lzip", &[At(0, b"LZIP")], UNPACK),
    kind("lzop", &[At(0, b"\x89LZO\0\r\n\x1a\n")], UNPACK),
    kind("lrzip", &[At(0, b"LRZI")], UNPACK),
    kind("rzip", &[At(0, b"RZIP")], UNPACK),
    kind("lzfse", &[At(0, b"bvx2"), At(0, b"bvx-"), At(0, b"bvxn")], UNPACK),
    kind("pbzx", &[At(0, b"pbzx\0\0\0\0")], UNPACK),
    kind("snappy", &[At(0, b"\xff\x06\0\0sNaPpY")], UNPACK),
    kind("qpress", &[At(0, b"qpress10")], UNPACK),
    kind("bzip", &[At(0, b"BZ0")], UNPACK),
    kind("szdd", &[At(0, b"SZDD\x88\xf0\x27\x33"), At(0, b"KWAJ\x88\xf0\x27\xd1")], UNPACK),
    kind("zstd before version 0.8", &[Look(look::is_old_zstd)], "unpack it with an old zstd"),
    kind(
        "zstd dictionary",
        &[At(0, b"\x37\xa4\x30\xec")],
        "it is not a disk, but helps to unpack one",
    ),
    // Archives and packages.
    kind("7z", &[At(0, b"7z\xbc\xaf\x27\x1c")], UNPACK),
    kind("zip", &[At(0, b"PK\x03\x04"), At(0, b"PK\x05\x06"), At(0, b"PK\x07\x08")], UNPACK),
    kind("rar", &[At(0, b"Rar!\x1a\x07"), At(0, b"RE~^")], UNPACK),
    kind("cpio", &[At(0, b"07070"), Look(look::is_binary_cpio)], UNPACK),
    kind("ar", &[At(0, b"!<arch>\n"), At(0, b"!<thin>\n")], UNPACK),
    kind("rpm", &[At(0, b"\xed\xab\xee\xdb")], FILES),
    kind("cab", &[At(0, b"MSCF\0\0\0\0"), At(0, b"ISc(")], UNPACK),
    kind("xar", &[At(0, b"xar!")], UNPACK),
    kind("arj", &[Look(look::is_arj)], UNPACK),
    kind("lha", &[Look(look::is_lha)], UNPACK),
    kind("zoo", &[At(20, b"\xdc\xa7\xc4\xfd")], UNPACK),
    kind("ace", &[At(7, b"**ACE**")], UNPACK),
    kind("alz", &[At(0, b"ALZ\x01")], UNPACK),
    kind("egg", &[At(0, b"EGGA")], UNPACK),
    kind("zpaq", &[At(0, b"7kSt\xa0\x31\x83\xd3"), At(0, b"zPQ\x01"), At(0, b"zPQ\x02")], UNPACK),
    kind("stuffit", &[At(0, b"StuffIt "), At(10, b"rLau")], UNPACK),
    kind("flatpak", &[At(0, b"flatpak\0")], FILES),
    kind("appledouble", &[At(0, b"\0\x05\x16\x07"), At(0, b"\0\x05\x16\0")], POINTER),
    kind("ole2", &[At(0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")], FILES),
    kind("git bundle", &[At(0, b"# v2 git bundle"), At(0, b"# v3 git bundle")], FILES),
    kind("git pack", &[At(0, b"PACK\0\0\0\x02"), At(0, b"PACK\0\0\0\x03")], FILES),
    kind("sqlite", &[At(0, b"SQLite format 3\0")], FILES),
    kind("android update", &[At(0, b"CrAU\0\0\0\0")], "extract its partitions first"),
    kind("android boot image", &[At(0, b"ANDROID!"), At(0, b"VNDRBOOT")], PROGRAM),
    // What runs, or is loaded.
    kind("elf", &[At(0, b"\x7fELF")], PROGRAM),
    kind("linux kernel", &[Look(look::is_linux)], PROGRAM),
    kind(
        "mach-o",
        &[At(0, b"\xce\xfa\xed\xfe"), At(0, b"\xcf\xfa\xed\xfe"), At(0, b"\xca\xfe\xba\xbe\0\0\0")],
        PROGRAM,
    ),
    kind("webassembly", &[At(0, b"\0asm")], PROGRAM),
    kind("u-boot image", &[At(0, b"\x27\x05\x19\x56")], PROGRAM),
    kind("device tree", &[At(0, b"\xd0\x0d\xfe\xed")], PROGRAM),
    kind("uefi firmware", &[At(0x28, b"_FVH")], PROGRAM),
    // State and memory of machines.
    kind("qemu state", &[At(0, b"QEVM")], STATE),
    kind("libvirt state", &[At(0, b"LibvirtQemudSave"), At(0, b"LibvirtQemudPart")], STATE),
    kind("virtualbox state", &[At(0, b"\x7fVirtualBox SavedState")], STATE),
    kind("vmware state", &[Look(look::is_vmware_state)], STATE),
    kind("vmware nvram", &[At(0, b"MRVN")], STATE),
    kind(
        "memory dump",
        &[
            At(0, b"KDUMP   "),
            At(0, b"PAGEDUMP"),
            At(0, b"PAGEDU64"),
            At(0, b"EMiL"),
            At(0, b"makedumpfile"),
        ],
        STATE,
    ),
    kind("systemd journal", &[At(0, b"LPKSHHRH")], FILES),
    kind("packet capture", &[At(0, b"\xd4\xc3\xb2\xa1"), At(0, b"\x0a\x0d\x0d\x0a")], FILES),
    // What is encrypted.
    kind("pgp", &[At(0, b"-----BEGIN PGP "), Look(look::is_pgp)], DECRYPT),
    kind("age", &[At(0, b"age-encryption.org/"), At(0, b"-----BEGIN AGE ")], DECRYPT),
    kind("openssl", &[At(0, b"Salted__")], DECRYPT),
    kind("ansible vault", &[At(0, b"$ANSIBLE_VAULT;")], DECRYPT),
    // What stands for a file.
    kind(
        "git lfs pointer",
        &[At(0, b"version https://git-lfs"), At(0, b"version https://hawser")],
        POINTER,
    ),
    kind(
        "git annex pointer",
        &[
            At(0, b"/annex/objects/"),
            At(0, b"../.git/annex/objects/"),
            At(0, b".git/annex/objects/"),
        ],
        POINTER,
    ),
    kind("torrent", &[At(0, b"d8:announce"), At(0, b"d7:comment"), At(0, b"d4:info")], POINTER),
    kind("zsync", &[At(0, b"zsync: ")], POINTER),
    kind("jigdo", &[At(0, b"JigsawDownload")], POINTER),
    // Documents, pictures, sound.
    kind("pdf", &[At(0, b"%PDF-")], DOCUMENT),
    kind("postscript", &[At(0, b"%!PS")], DOCUMENT),
    kind("png", &[At(0, b"\x89PNG\r\n\x1a\n")], DOCUMENT),
    kind(
        "jpeg",
        &[At(0, b"\xff\xd8\xff\xe0"), At(0, b"\xff\xd8\xff\xe1"), At(0, b"\xff\xd8\xff\xdb")],
        DOCUMENT,
    ),
    kind("gif", &[At(0, b"GIF87a"), At(0, b"GIF89a")], DOCUMENT),
    kind("tiff", &[At(0, b"II*\0"), At(0, b"MM\0*")], DOCUMENT),
    kind("riff", &[Look(look::is_riff)], DOCUMENT),
    kind("mp4", &[At(4, b"ftyp")], DOCUMENT),
    kind("matroska", &[At(0, b"\x1a\x45\xdf\xa3")], DOCUMENT),
    kind("ogg", &[At(0, b"OggS\0")], DOCUMENT),
    kind("flac", &[At(0, b"fLaC\0")], DOCUMENT),
    kind("hdf5", &[At(0, b"\x89HDF\r\n\x1a\n")], DOCUMENT),
    kind("parquet", &[At(0, b"PAR1\x15")], DOCUMENT),
    // Our own.
    kind("amikit snapshot", &[At(0, b"\x89AMS\r\n\x1a\n")], OURS),
    kind("amikit part of a snapshot", &[At(0, b"\x89AMJ\r\n\x1a\n")], OURS),
    kind("amikit page index", &[At(0, b"\x89AMX\r\n\x1a\n")], OURS),
    kind("amikit pack", &[At(PACK_AT, PACK_MAGIC)], OURS),
];

/// Kinds that are looked for where nothing else was found: what they are known by can stand in front of
/// something more special.
pub(super) static GENERAL: &[Foreign] = &[
    kind(MANIFEST, &[Look(look::is_manifest)], ""),
    kind("xml", &[Word("<?xml ")], "it describes an image: name the image itself"),
    kind(
        "html",
        &[Word("<!doctype html"), Word("<html")],
        "it is a page, not a disk: fetch the image itself",
    ),
    kind("script", &[At(0, b"#!/"), At(0, b"#! /"), At(0, b"@echo off")], PROGRAM),
    kind("pem", &[Word("-----begin ")], DOCUMENT),
    kind("windows program", &[Look(look::is_windows_program)], PROGRAM),
    kind("zlib", &[Look(look::is_zlib)], UNPACK),
    kind("text", &[Look(look::is_text)], "it is a text, not a disk"),
];
