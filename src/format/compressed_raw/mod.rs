//! Images compressed as a whole: gzip, xz, bzip2 and zstd in order, and zstd with a table of its frames
//! at any place.
//!
//! Compression keeps bytes and no holes, so all zeros count as written. See
//! `docs/formats/compressed-raw.md`.

pub mod layout;
mod map;
mod write;

use std::sync::Arc;

use crate::compress::LEVELS;
use crate::compress::Wrapping;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::magic::starts_with;
use crate::format::parsed::Parsed;
use crate::format::reader::Content;
use crate::format::reader::Format;
use crate::format::reader::InOrder;
use crate::format::reader::OpenRequest;
use crate::format::writer::WriteFn;
use crate::format::writer::Writer;
use crate::io::ReadAt;

pub use write::write;

/// The row of zstd.
pub static ZSTD: Format = Format {
    name: "raw-zstd",
    summary: "raw in zstd frames, seekable if they have a seek table",
    probe: Some(map::probe),
    open: open_zstd,
    content: Content::Compressed(InOrder {
        wrapping: Wrapping::Zstd,
        needed: |bytes| Ok(map::read_table(bytes)?.is_none()),
    }),
};

/// The way to write it, with a table of its frames.
pub static ZSTD_WRITER: Writer = Writer {
    name: "raw-zstd",
    summary: "raw in zstd frames, with a seek table",
    format: &ZSTD,
    size_grain: 1,
    write: WriteFn::One(write),
    levels: Some(LEVELS),
    suffixes: &["raw.zst", "img.zst"],
};

/// The row of gzip.
pub static GZIP: Format = Format {
    name: "raw-gzip",
    summary: "raw in a gzip stream, read sequentially",
    probe: Some(|bytes| starts_with(bytes, b"\x1f\x8b\x08")),
    open: |request| refuse(request, Wrapping::Gzip),
    content: in_order_only(Wrapping::Gzip),
};

/// The row of xz.
pub static XZ: Format = Format {
    name: "raw-xz",
    summary: "raw in an xz stream, read sequentially",
    probe: Some(|bytes| starts_with(bytes, b"\xfd7zXZ\0")),
    open: |request| refuse(request, Wrapping::Xz),
    content: in_order_only(Wrapping::Xz),
};

/// The row of bzip2.
pub static BZIP2: Format = Format {
    name: "raw-bzip2",
    summary: "raw in a bzip2 stream, read sequentially",
    probe: Some(is_bzip2),
    open: |request| refuse(request, Wrapping::Bzip2),
    content: in_order_only(Wrapping::Bzip2),
};

const fn in_order_only(wrapping: Wrapping) -> Content {
    Content::Compressed(InOrder { wrapping, needed: |_| Ok(true) })
}

/// Tells whether the bytes begin with a bzip2 stream: its head, and that of its first block or of its end.
fn is_bzip2(bytes: &dyn ReadAt) -> Result<bool> {
    const HEADS: [[u8; 6]; 2] = [*b"1AY&SY", [0x17, 0x72, 0x45, 0x38, 0x50, 0x90]];
    let mut head = [0; 10];
    if bytes.len() < 10 {
        return Ok(false);
    }
    bytes.read_exact_at(&mut head, 0)?;
    let known = HEADS.iter().any(|it| head[4..] == *it);
    Ok(head.starts_with(b"BZh") && matches!(head[3], b'1'..=b'9') && known)
}

/// Opens a file of zstd frames whose table is there.
///
/// # Errors
///
/// `Unsupported` if there is none that can be used; `Corrupt` if it does not fit the file.
fn open_zstd(request: &OpenRequest<'_>) -> Result<Parsed> {
    let input = request.single("raw-zstd")?;
    let Some(frames) = map::read_table(input)? else {
        return refuse(request, Wrapping::Zstd);
    };
    let bytes: Arc<dyn ReadAt> = Arc::<crate::io::Input>::clone(input);
    Ok(map::volume(&frames, &bytes)?.into())
}

/// Says that a stream has no places to read at.
fn refuse(request: &OpenRequest<'_>, wrapping: Wrapping) -> Result<Parsed> {
    let input = request.single("compressed raw")?;
    let tool = match wrapping {
        Wrapping::Gzip => "gzip -d",
        Wrapping::Xz => "xz -d",
        Wrapping::Zstd => "zstd -d",
        Wrapping::Bzip2 => "bzip2 -d",
    };
    let text = format!("it is a {wrapping} stream, which can be read only once, sequentially");
    Err(Error::new(Kind::Unsupported, text)
        .in_file(input.path())
        .advise(format!("unpack it with `{tool}`")))
}
