//! Image formats: which there are, which one a file is in, and how each becomes a volume and back.
//!
//! A format is a row of [`FORMATS`]. Opening reads an image's metadata once and returns a map of
//! where each byte lies; no byte of an image is ever turned into a path that we open.

pub mod android_sparse;
pub mod compressed_raw;
pub mod gate;
mod laid_down;
mod open;
pub mod ova;
mod probe;
pub mod qcow2;
pub mod raw;
pub mod sidecar;
mod spans;
pub mod tar;
mod tiles;
pub mod vhd;
pub mod vhdx;
pub mod vmdk;
mod writes;

use std::fmt;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::compress::Wrapping;
use crate::error::Error;
use crate::error::Result;
use crate::format::gate::Gate;
pub use crate::format::open::ImageRequest;
pub use crate::format::open::Opened;
pub use crate::format::open::OpenedImage;
pub use crate::format::open::OpenedStream;
pub use crate::format::open::disks;
pub use crate::format::open::open;
pub use crate::format::open::open_in_order;
use crate::io;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::WriteAt;
use crate::volume::ReadVolume;
use crate::volume::Volume;
use crate::work::Unwatched;
use crate::work::Watch;

/// Makes an image of a volume in one format. A volume whose size is no multiple of the format's
/// `size_grain` is filled up with zeros.
///
/// Syncing and naming the output is the caller's; so is `check_unchanged` of the volume.
pub type WriteFn = fn(&dyn ReadVolume, &dyn WriteAt, &WriteOptions<'_>) -> Result<()>;

/// Makes one image of several volumes, as [`WriteFn`].
pub type WriteAllFn = fn(&[&dyn ReadVolume], &dyn WriteAt, &WriteOptions<'_>) -> Result<()>;

/// Lists the volumes of an image.
pub type DisksFn = fn(&Arc<Input>) -> Result<Vec<String>>;

/// How a writer works; only the level changes the bytes that it writes.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Threads that read and classify.
    pub threads: NonZero<usize>,
    /// Whoever follows the run; told of each byte of the volume once.
    pub watch: &'a dyn Watch,
    /// Level of compression, in the codec's own scale; `None` is the format's default. Formats that
    /// do not compress ignore it.
    pub level: Option<i32>,
}

impl fmt::Debug for WriteOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteOptions")
            .field("threads", &self.threads)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

/// One image format.
#[derive(Debug)]
pub struct Format {
    /// Stable name, as the command line takes it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Bytes that the size of a volume is a multiple of in an image of this format; 1 if any size
    /// comes back as it was.
    pub size_grain: u64,
    /// Tells whether the bytes say of themselves that they are in this format.
    pub probe: fn(&dyn ReadAt) -> Result<bool>,
    /// Makes a volume of an image.
    pub open: fn(&OpenRequest<'_>) -> Result<Volume>,
    /// How the image is read once and in order, where it can be compressed as a whole.
    pub in_order: Option<InOrder>,
    /// Lists the volumes of an image, by the names that choose one, where it may have several that
    /// belong together.
    pub disks: Option<DisksFn>,
    /// Makes an image of a volume, where this version can.
    pub write: Option<WriteFn>,
    /// Makes one image of several volumes, where the format has that.
    pub write_all: Option<WriteAllFn>,
    /// The levels of compression that the writer takes; `None` if it does not compress.
    pub levels: Option<RangeInclusive<i32>>,
    /// The format that this row is another way to write; it opens as that one does, and no bytes
    /// say of themselves that they are in it.
    pub variant_of: Option<&'static str>,
    /// What the names of files end in, behind a dot, that are written so where no format is named.
    pub suffixes: &'static [&'static str],
}

impl Format {
    /// Checks a level of compression before anything is written.
    ///
    /// # Errors
    ///
    /// `Invalid` if the writer does not take it.
    pub fn check_level(&self, level: Option<i32>) -> Result<()> {
        let Some(level) = level else { return Ok(()) };
        match &self.levels {
            Some(levels) if levels.contains(&level) => Ok(()),
            Some(levels) => Err(Error::invalid(format!(
                "compression level is {level}, expected {} to {} for {}",
                levels.start(),
                levels.end(),
                self.name
            ))),
            None => Err(Error::invalid(format!(
                "compression level is {level}, expected none for {}, which does not compress",
                self.name
            ))),
        }
    }
}

/// How an image that is compressed as a whole is read.
#[derive(Clone, Copy, Debug)]
pub struct InOrder {
    /// How it is compressed; what is in it is raw.
    pub wrapping: Wrapping,
    /// Tells whether an image cannot be read in any other way.
    pub needed: fn(&dyn ReadAt) -> Result<bool>,
}

/// What a format opens.
pub struct OpenRequest<'a> {
    /// The image; several are a split set, in order.
    pub inputs: Vec<Arc<Input>>,
    /// The volume of an image that holds several files, by its name.
    pub member: Option<String>,
    /// What the image may name.
    pub gate: Gate,
    /// Open an image that says of itself that it may be damaged or in use.
    pub force: bool,
    /// Whoever follows the run, and may stop it while much has to be read.
    pub watch: &'a dyn Watch,
    /// The files that were opened because an image names them.
    named: Mutex<Vec<Arc<Input>>>,
}

impl Default for OpenRequest<'_> {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            member: None,
            gate: Gate::default(),
            force: false,
            watch: &Unwatched,
            named: Mutex::default(),
        }
    }
}

impl fmt::Debug for OpenRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRequest")
            .field("inputs", &self.inputs)
            .field("member", &self.member)
            .field("gate", &self.gate)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

impl OpenRequest<'_> {
    /// Makes a request for one image that names no other.
    #[must_use]
    pub fn of(input: Arc<Input>) -> Self {
        Self { inputs: vec![input], ..Self::default() }
    }

    /// Opens the file that an image names, as [`Gate::open`].
    ///
    /// # Errors
    ///
    /// As [`Gate::open`].
    pub fn open_named(
        &self,
        image: &Path,
        what: &'static str,
        name: &str,
        depth: usize,
    ) -> Result<Arc<Input>> {
        self.gate.open(image, what, name, depth).inspect(|input| self.remember(input))
    }

    /// Opens one of the files that an image names beside one another, as [`Gate::open_part`].
    ///
    /// # Errors
    ///
    /// As [`Gate::open_part`].
    pub fn open_named_part(
        &self,
        image: &Path,
        what: &'static str,
        name: &str,
        number: usize,
    ) -> Result<Arc<Input>> {
        self.gate.open_part(image, what, name, number).inspect(|input| self.remember(input))
    }

    fn remember(&self, input: &Arc<Input>) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(input));
    }

    /// Returns all files that were opened, those that images name behind the others.
    fn into_inputs(self) -> Vec<Arc<Input>> {
        let mut inputs = self.inputs;
        inputs.extend(self.named.into_inner().unwrap_or_else(PoisonError::into_inner));
        inputs
    }

    /// Returns the one file of a format that has no split sets.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are several.
    pub fn single(&self, format: &str) -> Result<&Arc<Input>> {
        match &self.inputs[..] {
            [input] => Ok(input),
            inputs => Err(Error::invalid(format!(
                "a {format} image is one file, expected 1 of them, not {}",
                inputs.len()
            ))),
        }
    }
}

/// All formats that this version reads, and the ways in which it writes them.
pub static FORMATS: &[Format] = &[
    raw::FORMAT,
    android_sparse::FORMAT,
    qcow2::FORMAT,
    qcow2::ZSTD,
    qcow2::ZLIB,
    vmdk::STREAM,
    vmdk::SPARSE,
    vhd::FORMAT,
    vhd::FIXED,
    vhdx::FORMAT,
    compressed_raw::ZSTD,
    compressed_raw::GZIP,
    compressed_raw::XZ,
    compressed_raw::BZIP2,
    tar::FORMAT,
    ova::FORMAT,
];

/// Returns the format of that name.
///
/// # Errors
///
/// `Invalid`, with the names that there are.
pub fn by_name(name: &str) -> Result<&'static Format> {
    FORMATS.iter().find(|format| format.name == name).ok_or_else(|| {
        Error::invalid(format!("format is {name:?}, expected {}", names(FORMATS.iter(), "or")))
    })
}

/// Returns the format in which a file of that name is written where the user names none; a block
/// device gets the volume as it is.
///
/// # Errors
///
/// `Invalid` if the name says none, with those that do.
pub fn by_file_name(path: &Path) -> Result<&'static Format> {
    if io::is_block_device(path) {
        return by_name("raw");
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let ends_in = |suffix: &&str| name.strip_suffix(*suffix).is_some_and(|it| it.ends_with('.'));
    FORMATS.iter().find(|format| format.suffixes.iter().any(ends_in)).ok_or_else(|| {
        let suffixes = FORMATS.iter().flat_map(|format| format.suffixes);
        let names: Vec<_> = suffixes.map(|suffix| format!(".{suffix}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let text = format!("its name says no format, expected {}", probe::list(&names, "or"));
        Error::invalid(text).in_file(path).advise("name the format with --format")
    })
}

/// Lists formats in a sentence.
fn names(formats: impl Iterator<Item = &'static Format>, last: &str) -> String {
    let names: Vec<_> = formats.map(|format| format.name).collect();
    probe::list(&names, last)
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
        for format in FORMATS {
            assert_eq!(by_name(format.name).unwrap().name, format.name);
        }
    }
}
