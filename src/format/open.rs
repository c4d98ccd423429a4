//! Opening images: which file is what, and whether it is read at any place or in order.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format::Format;
use crate::format::InOrder;
use crate::format::OpenRequest;
use crate::format::gate::Gate;
use crate::format::probe;
use crate::format::raw;
use crate::format::sidecar;
use crate::format::tar;
use crate::io;
use crate::io::Input;
use crate::io::ReadAt;
use crate::io::STANDARD_INPUT;
use crate::io::Stream;
use crate::volume::Volume;
use crate::work::Unwatched;
use crate::work::Watch;
use crate::work::default_threads;

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
