//! The formats that are read, and the ways in which images are written.

use std::path::Path;

use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::format::android_sparse;
use crate::format::compressed_raw;
use crate::format::ova;
use crate::format::qcow2;
use crate::format::raw;
use crate::format::reader::Format;
use crate::format::sentence;
use crate::format::tar;
use crate::format::vhd;
use crate::format::vhdx;
use crate::format::vmdk;
use crate::format::writer::Writer;
use crate::io;

/// All formats that this version reads.
pub static FORMATS: &[&Format] = &[
    &raw::FORMAT,
    &android_sparse::FORMAT,
    &qcow2::FORMAT,
    &vmdk::FORMAT,
    &vhd::FORMAT,
    &vhdx::FORMAT,
    &compressed_raw::ZSTD,
    &compressed_raw::GZIP,
    &compressed_raw::XZ,
    &compressed_raw::BZIP2,
    &tar::FORMAT,
    &ova::FORMAT,
];

/// All ways in which this version writes images.
pub static WRITERS: &[&Writer] = &[
    &raw::WRITER,
    &android_sparse::WRITER,
    &qcow2::WRITER,
    &qcow2::ZSTD_WRITER,
    &qcow2::ZLIB_WRITER,
    &vmdk::STREAM_WRITER,
    &vmdk::SPARSE_WRITER,
    &vhd::WRITER,
    &vhd::FIXED_WRITER,
    &vhdx::WRITER,
    &compressed_raw::ZSTD_WRITER,
    &ova::WRITER,
];

/// Returns the format of that name.
///
/// # Errors
///
/// `Invalid`, with the names that there are.
pub fn by_name(name: &str) -> Result<&'static Format> {
    let found = FORMATS.iter().copied().find(|format| format.name == name);
    found.ok_or_else(|| Error::invalid(format!("format is {name:?}, expected {}", names("or"))))
}

/// Returns the writer of that name.
///
/// # Errors
///
/// `Invalid`, with the names that there are.
pub fn writer_by_name(name: &str) -> Result<&'static Writer> {
    let found = WRITERS.iter().copied().find(|writer| writer.name == name);
    found.ok_or_else(|| {
        let names: Vec<_> = WRITERS.iter().map(|writer| writer.name).collect();
        let names = sentence::list(&names, "or");
        Error::invalid(format!("format is {name:?}, expected {names}"))
    })
}

/// Returns the writer of a file of that name where the user names none; a block device gets the
/// volume as it is.
///
/// # Errors
///
/// `Invalid` if the name says none, with those that do.
pub fn writer_by_file_name(path: &Path) -> Result<&'static Writer> {
    if io::is_block_device(path) {
        return Ok(&raw::WRITER);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends_in = |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|it| it.ends_with('.'));
    let found = WRITERS.iter().copied().find(|writer| writer.suffixes.iter().any(ends_in));
    found.ok_or_else(|| {
        let suffixes = WRITERS.iter().flat_map(|writer| writer.suffixes);
        let names: Vec<_> = suffixes.map(|suffix| format!(".{suffix}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let names = sentence::list(&names, "or");
        let text = format!("cannot infer the format from the name, expected {names}");
        Error::invalid(text).in_file(path).advise(Advice::NameOutputFormat)
    })
}

/// Lists the names of all formats that are read.
pub(super) fn names(last: &str) -> String {
    let names: Vec<_> = FORMATS.iter().map(|format| format.name).collect();
    sentence::list(&names, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::error::Kind;

    #[test]
    fn an_unknown_format_is_answered_with_the_known_ones() {
        let error = by_name("qcow3").unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        let text = error.to_string();
        assert!(text.starts_with("format is \"qcow3\", expected raw, android-sparse, "), "{text}");
        let error = writer_by_name("qcow3").unwrap_err();
        assert!(error.to_string().contains(", qcow2-zstd, "), "{error}");
        for format in FORMATS {
            assert_eq!(by_name(format.name).unwrap(), *format);
        }
        for writer in WRITERS {
            assert_eq!(writer_by_name(writer.name).unwrap().name, writer.name);
        }
    }

    #[test]
    fn each_writer_is_read_by_a_format_of_the_table() {
        for writer in WRITERS {
            assert!(FORMATS.contains(&writer.format), "{}", writer.name);
        }
    }

    /// Only raw cannot be recognized.
    #[test]
    fn each_format_but_raw_has_a_probe() {
        for format in FORMATS {
            assert_eq!(format.probe.is_none(), format.is_plain(), "{}", format.name);
        }
    }
}
