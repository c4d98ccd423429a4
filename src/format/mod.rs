//! Image formats: which there are, which one a file is in, and how each becomes a volume and back.
//!
//! A format is a row of [`FORMATS`]. Opening reads an image's metadata once and returns a map of
//! where each byte lies; no byte of an image is ever turned into a path that we open.

pub mod android_sparse;
pub mod compressed_raw;
pub mod gate;
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

use std::fmt;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::compress::Wrapping;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::gate::Gate;
use crate::io;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::STANDARD_INPUT;
use crate::io::Stream;
use crate::io::WriteAt;
use crate::volume::ReadVolume;
use crate::volume::Volume;
use crate::work::Unwatched;
use crate::work::Watch;
use crate::work::default_threads;

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
    pub open: fn(&OpenRequest) -> Result<Volume>,
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

/// How an image that is compressed as a whole is read.
#[derive(Clone, Copy, Debug)]
pub struct InOrder {
    /// How it is compressed; what is in it is raw.
    pub wrapping: Wrapping,
    /// Tells whether an image cannot be read in any other way.
    pub needed: fn(&dyn ReadAt) -> Result<bool>,
}

/// What a format opens.
#[derive(Debug, Default)]
pub struct OpenRequest {
    /// The image; several are a split set, in order.
    pub inputs: Vec<Arc<Input>>,
    /// The volume of an image that holds several files, by its name.
    pub member: Option<String>,
    /// What the image may name.
    pub gate: Gate,
    /// Open an image that says of itself that it may be damaged or in use.
    pub force: bool,
    /// The files that were opened because an image names them.
    named: Mutex<Vec<Arc<Input>>>,
}

impl OpenRequest {
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

/// An image as the user names it.
#[derive(Clone, Debug, Default)]
pub struct ImageRequest {
    /// The image; `-` is standard input. Where there is no such file, and there is one that is called
    /// like the part before a colon, what stands behind the colon names a file in that archive.
    pub path: PathBuf,
    /// Further parts of a split set, in order.
    pub parts: Vec<PathBuf>,
    /// The format, where the user says it; else the bytes decide.
    pub format: Option<&'static Format>,
    /// A sidecar that tells data from holes.
    pub extents: Option<PathBuf>,
    /// Which files the image may name.
    pub gate: Gate,
    /// Read the image although another process has it open for writing, or although it says of
    /// itself that it may be damaged.
    pub force: bool,
}

impl ImageRequest {
    /// Names one file and nothing else.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }
}

/// An image that was opened.
#[derive(Debug)]
pub struct OpenedImage {
    /// The format that it is in.
    pub format: &'static Format,
    /// Its volume.
    pub volume: Volume,
    /// The files that it consists of, in order, and those that it names; a sidecar is not one of them.
    pub inputs: Vec<Arc<Input>>,
    /// What the user should hear although nothing failed: sentences without a full stop.
    pub notes: Vec<String>,
}

/// An image that is read once and in order.
#[derive(Debug)]
pub struct OpenedStream {
    /// The format that it is in.
    pub format: &'static Format,
    /// The bytes of its volume.
    pub stream: Stream,
    /// The files that it consists of; none for a pipe.
    pub inputs: Vec<Arc<Input>>,
    /// What the user should hear although nothing failed: sentences without a full stop.
    pub notes: Vec<String>,
}

/// An image, by the way in which it is read.
#[derive(Debug)]
pub enum Opened {
    /// At any place.
    Image(Box<OpenedImage>),
    /// Once and in order.
    Stream(Box<OpenedStream>),
}

/// Opens an image.
///
/// Where the request names no format, the bytes decide: see `docs/formats/raw.md` for the rule. A
/// sidecar is checked against the image, which reads the image once with all processors. Opening an
/// Android sparse image that carries a CRC reads all of it.
///
/// # Errors
///
/// `Invalid` for an empty volume, or for parts of a format that has none; `Unsupported` for a
/// format that this version cannot read, by name, for bytes that match two formats, and for an image
/// that can only be read in order; `Corrupt`, `Limit` or `Io` as the format has it; `Mismatch` for a
/// sidecar of another image.
pub fn open(request: &ImageRequest) -> Result<OpenedImage> {
    if request.path.as_os_str() == "-" {
        return Err(Error::invalid("it is a pipe, expected a file that can be read at any place")
            .in_file(Path::new(STANDARD_INPUT))
            .advise("save it to a file first"));
    }
    let (path, member) = locate(&request.path);
    let (input, format) = first_file(request, Input::open(&path)?)?;
    open_image(request, member, input, format)
}

/// Opens an image, at any place if it can be, else once and in order.
///
/// # Errors
///
/// As [`open`]; `Invalid` if a pipe is given a format that needs a file, parts or a sidecar;
/// `Unsupported` if what is compressed is no raw image, unless the request names the format.
pub fn open_in_order(request: &ImageRequest, watch: &dyn Watch) -> Result<Opened> {
    let (path, member) = locate(&request.path);
    let (input, format) = match io::open(&path)? {
        io::Opened::Stream(stream) => return open_pipe(request, stream, watch),
        io::Opened::File(input) => first_file(request, input)?,
    };
    if let Some(InOrder { wrapping, needed }) = format.in_order
        && member.is_none()
        && needed(&input).map_err(|e| e.in_file(&request.path))?
    {
        let mut stream = Stream::of_input(Arc::clone(&input));
        stream.unpack(wrapping)?;
        let inputs = vec![input];
        return in_order(request, format, stream, inputs, watch);
    }
    open_image(request, member, input, format).map(Box::new).map(Opened::Image)
}

/// Splits `disk.tar:disk.raw`, if there is no file of that name and one that is called like the part
/// before a colon.
fn locate(path: &Path) -> (PathBuf, Option<String>) {
    let whole = || (path.to_owned(), None);
    let Some(text) = path.to_str().filter(|_| path.symlink_metadata().is_err()) else {
        return whole();
    };
    let split = text.match_indices(':').find(|(at, _)| Path::new(&text[..*at]).is_file());
    match split {
        Some((at, _)) => {
            let member = &text[at.strict_add(1)..];
            (PathBuf::from(&text[..at]), Some(member.to_owned()))
        }
        None => whole(),
    }
}

/// Lists the volumes of an image that holds several which belong together, as names for behind a
/// colon; none for any other image, for a pipe, and where the request names one of them already.
///
/// # Errors
///
/// As [`open`].
pub fn disks(request: &ImageRequest) -> Result<Vec<String>> {
    let (path, member) = locate(&request.path);
    if member.is_some() || !path.is_file() {
        return Ok(Vec::new());
    }
    let (input, format) = first_file(request, Input::open(&path)?)?;
    match format.disks {
        Some(disks) => disks(&input).map_err(|e| e.in_file(&path)),
        None => Ok(Vec::new()),
    }
}

/// Says which format the first file of an image is in.
fn first_file(request: &ImageRequest, input: Input) -> Result<(Arc<Input>, &'static Format)> {
    let path = &input.path().to_owned();
    if input.is_empty() {
        return Err(Error::invalid("the file is empty, expected an image").in_file(path));
    }
    let format = match request.format {
        Some(format) => format,
        None => probe::probe(&input).map_err(|e| e.in_file(path))?,
    };
    Ok((Arc::new(input), format))
}

fn open_image(
    request: &ImageRequest,
    member: Option<String>,
    first: Arc<Input>,
    format: &'static Format,
) -> Result<OpenedImage> {
    let ImageRequest { path, parts, extents, gate, force, .. } = request;
    let holds_files = format.disks.is_some() || format.name == tar::FORMAT.name;
    if let Some(member) = member.as_deref().filter(|_| !holds_files) {
        let text = format!("it is {}, which holds no file {member:?}", format.name);
        return Err(Error::invalid(text).in_file(first.path()));
    }
    let mut inputs = vec![first];
    for part in parts {
        inputs.push(Arc::new(Input::open(part)?));
    }
    let request =
        OpenRequest { inputs, member, gate: gate.clone(), force: *force, ..OpenRequest::default() };
    let volume = (format.open)(&request).map_err(|e| e.in_file(path))?;
    let inputs = request.into_inputs();
    let mut image = OpenedImage { format, volume, inputs, notes: Vec::new() };
    if let Some(sidecar) = extents {
        let map = sidecar::read(sidecar)?;
        image.notes.extend(map.note().map(|note| format!("{}: {note}", sidecar.display())));
        let runs = map
            .apply(&image.volume, default_threads(), &Unwatched)
            .map_err(|e| e.in_file(sidecar))?;
        image.volume = image.volume.with_map(runs)?;
    }
    Ok(image)
}

/// Bytes of a stream by which its format is found: as far as the magics of [`probe`] lie.
const HEAD_LEN: usize = 64 << 10;

/// Opens a pipe: raw, or compressed raw.
fn open_pipe(request: &ImageRequest, mut stream: Stream, watch: &dyn Watch) -> Result<Opened> {
    let format = match request.format {
        Some(format) => format,
        None => probe_stream(&mut stream, watch)?,
    };
    if let Some(InOrder { wrapping, .. }) = format.in_order {
        stream.unpack(wrapping)?;
    } else if format.name != raw::FORMAT.name {
        let text = format!("it is {} through a pipe, expected a file for that", format.name);
        return Err(Error::invalid(text).in_file(stream.path()).advise("save it to a file first"));
    }
    in_order(request, format, stream, Vec::new(), watch)
}

/// Checks what is to be read in order, once it is unpacked.
fn in_order(
    request: &ImageRequest,
    format: &'static Format,
    mut stream: Stream,
    inputs: Vec<Arc<Input>>,
    watch: &dyn Watch,
) -> Result<Opened> {
    let what = if stream.is_pipe() { "a pipe" } else { "a compressed stream" };
    if !request.parts.is_empty() || request.extents.is_some() {
        let text = format!("it is {what}, expected a file for parts or for a sidecar");
        return Err(Error::invalid(text).in_file(stream.path()).advise("save it to a file first"));
    }
    if request.format.is_none() && format.in_order.is_some() {
        let inner = probe_stream(&mut stream, watch)?;
        if inner.name != raw::FORMAT.name {
            let text = format!("it holds an image in the format {}, expected raw", inner.name);
            return Err(Error::new(Kind::Unsupported, text).in_file(stream.path()).advise(
                format!(
                    "unpack it first, or pass `--format {}` if it really is a raw volume",
                    format.name
                ),
            ));
        }
    }
    let note = format!(
        "{}: {what} cannot tell holes from zeros, so all zeros count as written",
        stream.path().display()
    );
    let opened = OpenedStream { format, stream, inputs, notes: vec![note] };
    Ok(Opened::Stream(Box::new(opened)))
}

/// Says which format a stream is in, as far as its head tells.
fn probe_stream(stream: &mut Stream, watch: &dyn Watch) -> Result<&'static Format> {
    let head = stream.peek(HEAD_LEN, watch)?.to_vec();
    if head.is_empty() {
        // Whoever reads it says that it is empty.
        return Ok(&raw::FORMAT);
    }
    probe::probe(&head).map_err(|e| e.in_file(stream.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
