//! Opening images: which file is what, and whether it is read at any place or in order.

use std::ffi::OsStr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::compress::MAX_WINDOW_LEN;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::format::gate::Gate;
use crate::format::head::HEAD_LEN;
use crate::format::head::Head;
use crate::format::laid_down::file_size_of;
use crate::format::laid_down::lay_down;
use crate::format::named::Named;
use crate::format::parsed::Holes;
use crate::format::parsed::Parsed;
use crate::format::probe;
use crate::format::raw;
use crate::format::reader::Format;
use crate::format::reader::InOrder;
use crate::format::reader::OpenRequest;
use crate::format::sidecar;
use crate::io;
use crate::io::END_LEN;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt;
use crate::io::Stream;
use crate::volume::ReadVolume;
use crate::volume::Volume;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// Bytes of a sector of an EBS volume.
const EBS_SECTOR_LEN: u32 = 512;

/// An image as the user names it.
#[derive(Clone, Debug, Default)]
pub struct ImageRequest {
    /// The image; `-` is standard input.
    pub path: PathBuf,
    /// What the image is read from where that is not a file: the bytes of the image, and behind them
    /// those of the further parts of a split set. Then `path` is a name for messages, and names in the
    /// image find no file beside it.
    pub inputs: Vec<Arc<Input>>,
    /// A file in the archive that the image is.
    pub member: Option<String>,
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
    /// Most bytes back that a compressed stream may refer to, which is the memory that unpacking takes;
    /// `None` is [`MAX_WINDOW_LEN`].
    pub max_window: Option<u64>,
    /// Most bytes of the volume that the caller accepts.
    pub max_size: Option<u64>,
}

impl ImageRequest {
    /// Names one file and nothing else.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Takes bytes, wherever they are, for an image.
    #[must_use]
    pub fn of_input(input: Arc<Input>) -> Self {
        Self { path: input.path().to_owned(), inputs: vec![input], ..Self::default() }
    }

    /// Opens the first file of the image.
    fn open_first(&self) -> Result<io::Opened> {
        match self.inputs.first() {
            Some(input) => Ok(io::Opened::File(Arc::clone(input))),
            None => io::open(&self.path),
        }
    }

    /// Opens the further parts of a split set.
    fn open_parts(&self) -> Result<Vec<Arc<Input>>> {
        let opened = self.inputs.iter().skip(1).map(|input| Ok(Arc::clone(input)));
        let named = self.parts.iter().map(|part| Input::open(part).map(Arc::new));
        opened.chain(named).collect()
    }

    /// Returns what the image may name.
    fn gate(&self) -> Gate {
        let mut gate = self.gate.clone();
        gate.beside &= self.inputs.iter().all(|input| input.is_in_file());
        gate
    }

    fn max_window(&self) -> u64 {
        self.max_window.unwrap_or(MAX_WINDOW_LEN)
    }

    fn has_parts(&self) -> bool {
        self.inputs.len() > 1 || !self.parts.is_empty()
    }

    /// Names what a user typed: a file, or `ARCHIVE:MEMBER`. See [`Named`].
    #[must_use]
    pub fn named(typed: &Path) -> Self {
        let Named { path, inside, .. } = Named::parse(typed);
        Self { path, member: inside, ..Self::default() }
    }

    /// Returns what a user types for it.
    #[must_use]
    pub fn typed(&self) -> PathBuf {
        match &self.member {
            Some(member) => {
                let mut typed = self.path.clone().into_os_string();
                typed.push(format!(":{member}"));
                typed.into()
            }
            None => self.path.clone(),
        }
    }
}

/// An image that was opened.
#[derive(Debug)]
pub struct OpenedImage {
    /// The format that it is in.
    pub format: &'static Format,
    /// Its volume.
    pub volume: Volume,
    /// Where the holes of the volume are.
    pub holes: Holes,
    /// Bytes of a logical sector, where the image says it.
    pub sector_len: Option<u32>,
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

/// Opens an image, at any place.
///
/// Where the request names no format, the bytes decide: see `docs/formats/raw.md` for the rule. What
/// comes through a pipe or is compressed as a whole is laid down first: see
/// `docs/formats/compressed-raw.md`. A sidecar is checked against the image, which reads the image once with
/// all processors. Opening an Android sparse image that carries a CRC reads all of it.
///
/// # Errors
///
/// `Invalid` for an empty volume, or for parts of a format that has none; `Unsupported` for a
/// format that this version cannot read, by name, and for bytes that match two formats; `Corrupt`,
/// `Limit` or `Io` as the format has it; `Mismatch` for a sidecar of another image; `Interrupted` if
/// `watch` says to stop.
pub fn open(request: &ImageRequest, watch: &dyn Watch) -> Result<OpenedImage> {
    match first(request, watch)? {
        First::File(file) => open_image(request, file, watch),
        First::Coming(coming) => coming.lay_down(request, watch),
    }
}

/// Opens an image once and in order, if that is how it comes; else at any place, as [`open`].
///
/// # Errors
///
/// As [`open`].
pub fn open_in_order(request: &ImageRequest, watch: &dyn Watch) -> Result<Opened> {
    match first(request, watch)? {
        First::Coming(coming) if coming.suits_in_order(request) => {
            Ok(Opened::Stream(Box::new(coming.in_order(request))))
        }
        First::Coming(coming) => coming.lay_down(request, watch).map(Box::new).map(Opened::Image),
        First::File(file) => open_image(request, file, watch).map(Box::new).map(Opened::Image),
    }
}

/// The first file of an image, or what there is in its place.
enum First {
    /// It is read at any place.
    File(FirstFile),
    /// It comes in order.
    Coming(Box<Coming>),
}

struct FirstFile {
    input: Arc<Input>,
    format: &'static Format,
    /// What stood behind the colon.
    member: Option<String>,
}

/// Bytes that come in order: through a pipe, or out of a compressed file.
struct Coming {
    /// Unpacked.
    stream: Stream,
    /// The compressed file; none for a pipe.
    inputs: Vec<Arc<Input>>,
    member: Option<String>,
    /// How they are wrapped; raw if they are not.
    outer: &'static Format,
    /// What they are, as far as the head tells.
    inner: &'static Format,
    /// Whether the head is text, so that all of it may be.
    may_be_text: bool,
}

fn first(request: &ImageRequest, watch: &dyn Watch) -> Result<First> {
    let (path, member) = (request.path.clone(), request.member.clone());
    let (input, format) = match request.open_first()? {
        io::Opened::Stream(stream) => {
            return of_pipe(request, stream, watch).map(Box::new).map(First::Coming);
        }
        io::Opened::File(input) => first_file(request, input, member.as_deref())?,
    };
    let fail = |e: Error| e.in_file(&path);
    if let Some(InOrder { wrapping, needed }) = format.in_order()
        && (needed(&input).map_err(fail)? || !holds_raw(request, format, &input).map_err(fail)?)
    {
        let mut stream = Stream::of_input(Arc::clone(&input));
        stream.unpack(wrapping, request.max_window())?;
        let inner = inner(request, format, &mut stream, member.as_deref(), watch)?;
        let may_be_text = Head::of(&mut stream, watch)?.may_be_text();
        let inputs = vec![input];
        let coming = Coming { stream, inputs, member, outer: format, inner, may_be_text };
        return Ok(First::Coming(Box::new(coming)));
    }
    Ok(First::File(FirstFile { input, format, member }))
}

fn of_pipe(request: &ImageRequest, mut stream: Stream, watch: &dyn Watch) -> Result<Coming> {
    let head = Head::of(&mut stream, watch)?;
    let mut may_be_text = head.may_be_text();
    let outer = outer(request, &head, None).map_err(|e| e.in_file(stream.path()))?;
    let (outer, inner) = match outer.in_order() {
        Some(InOrder { wrapping, .. }) => {
            stream.unpack(wrapping, request.max_window())?;
            let inner = inner(request, outer, &mut stream, None, watch)?;
            may_be_text = Head::of(&mut stream, watch)?.may_be_text();
            (outer, inner)
        }
        None => (&raw::FORMAT, outer),
    };
    Ok(Coming { stream, inputs: Vec::new(), member: None, outer, inner, may_be_text })
}

/// Says which format bytes are in, as the request has it: what it names, but for the wrapping of a format
/// that is not at the start, and for the archive of a file that has a name or that format.
fn outer(
    request: &ImageRequest,
    bytes: &dyn ReadAt,
    member: Option<&str>,
) -> Result<&'static Format> {
    let Some(named) = request.format else {
        // The reader says that it is empty.
        return if bytes.is_empty() { Ok(&raw::FORMAT) } else { probe::probe(bytes) };
    };
    let is_inside = member.is_some() && !named.holds_files();
    let is_outer = named.in_order().is_some() || named.is_plain() || named.is_in(bytes)?;
    if is_outer && !is_inside {
        return Ok(named);
    }
    let wraps = |format: &Format| format.in_order().is_some() || format.holds_files();
    Ok(probe::around(bytes, wraps)?.unwrap_or(named))
}

/// Says which format is in an unpacked stream: what the request names, else what the head tells.
fn inner(
    request: &ImageRequest,
    wrapping: &'static Format,
    stream: &mut Stream,
    member: Option<&str>,
    watch: &dyn Watch,
) -> Result<&'static Format> {
    if request.format.is_some_and(|named| named.in_order().is_some()) && member.is_none() {
        return Ok(&raw::FORMAT);
    }
    let head = Head::of(stream, watch)?;
    let format = outer(request, &head, member).and_then(|format| {
        refuse_packed(format, wrapping.name)?;
        Ok(format)
    });
    format.map_err(|e| e.in_file(stream.path()))
}

/// Fails if what was unpacked is to be unpacked again.
fn refuse_packed(format: &'static Format, inside: &'static str) -> Result<()> {
    if format.in_order().is_none() {
        return Ok(());
    }
    let text = format!("it is {} inside {inside}, expected an image", format.name);
    let advice = Advice::NameFormat { first: "unpack it once".into(), format: Some(inside) };
    Err(Error::new(Kind::Unsupported, text).advise(advice))
}

/// Tells whether there is a raw volume in a compressed file that can be read at any place.
fn holds_raw(request: &ImageRequest, format: &'static Format, input: &Arc<Input>) -> Result<bool> {
    match request.format {
        Some(named) if named.in_order().is_some() => return Ok(true),
        Some(_) => return Ok(false),
        None => {}
    }
    let volume = (format.open)(&OpenRequest::of(Arc::clone(input)))?.volume;
    let head_len = usize::try_from(volume.size()).unwrap_or(HEAD_LEN).min(HEAD_LEN);
    let mut head = vec![0; head_len];
    volume.read_at(0, &mut head)?;
    let head = Head::new(head, head_len < HEAD_LEN);
    let end_len = volume.size().min(END_LEN.try_into().expect("a short end"));
    let mut end = vec![0; usize::try_from(end_len).expect("at most END_LEN")];
    volume.read_at(volume.size().strict_sub(end_len), &mut end)?;
    let is_raw = probe::probe(&head)?.is_plain() && !head.may_be_text();
    Ok(is_raw && probe::check_end(&end).is_ok())
}

impl Coming {
    /// Tells whether it is all that the request needs if it is read once and in order.
    fn suits_in_order(&self, request: &ImageRequest) -> bool {
        self.inner.is_plain()
            && self.member.is_none()
            && !request.has_parts()
            && request.extents.is_none()
            && (request.format.is_some() || !self.is_named_vhd() && !self.may_be_text)
    }

    /// Tells whether the compressed file's name says that a VHD is in it: a fixed one has no magic but
    /// at its end.
    fn is_named_vhd(&self) -> bool {
        let inside = self.stream.path().file_stem().map(Path::new);
        let suffix = inside.and_then(Path::extension).map(OsStr::to_ascii_lowercase);
        let is_vhd = suffix.is_some_and(|it| it.as_encoded_bytes().starts_with(b"vhd"));
        is_vhd && !self.stream.is_pipe()
    }

    fn what(&self) -> &'static str {
        if self.stream.is_pipe() { "a pipe" } else { "a compressed stream" }
    }

    fn zeros_note(&self) -> String {
        format!(
            "{}: {} cannot tell holes from zeros, so all zeros count as written",
            shown(self.stream.path()),
            self.what()
        )
    }

    fn in_order(mut self, request: &ImageRequest) -> OpenedStream {
        if request.format.is_none() {
            self.stream.check_end(probe::check_end);
        }
        if let Some(most) = request.max_size {
            self.stream.accept(most);
        }
        let notes = vec![self.zeros_note()];
        let Self { stream, inputs, outer, .. } = self;
        OpenedStream { format: outer, stream, inputs, notes }
    }

    /// Opens it as an image that is read at any place.
    fn lay_down(self, request: &ImageRequest, watch: &dyn Watch) -> Result<OpenedImage> {
        let path = self.stream.path().to_owned();
        let fail = |e: Error| e.in_file(&path);
        if request.has_parts() {
            let text = format!("it is {}, expected a file, as its further parts are", self.what());
            return Err(fail(Error::invalid(text).advise("unpack it to a file first")));
        }
        check_member(self.member.as_deref(), self.inner).map_err(fail)?;
        let (is_pipe, zeros_note) = (self.stream.is_pipe(), self.zeros_note());
        let Self { mut stream, mut inputs, member, outer: wrapping, inner: found, .. } = self;
        if let Some(most) = request.max_size {
            stream.accept(file_size_of(most));
        }
        let laid = lay_down(stream, watch)?;
        if is_pipe {
            inputs.push(Arc::clone(&laid.input));
        }
        if laid.input.is_empty() {
            return Err(fail(Error::invalid("it is empty, expected an image")));
        }
        let inner = match request.format {
            Some(named) if named.in_order().is_some() && member.is_none() => found,
            _ => outer(request, &laid.input, member.as_deref()).map_err(fail)?,
        };
        refuse_packed(inner, wrapping.name).map_err(fail)?;
        let mut notes = vec![laid.note.clone()];
        let mut image = if inner.is_plain() {
            notes.push(zeros_note);
            let Parsed { volume, holes, sector_len, notes } = laid.into_raw()?.into();
            let image = OpenedImage { format: wrapping, volume, holes, sector_len, inputs, notes };
            with_sidecar(request, image, watch)?
        } else {
            let mut request = request.clone();
            // No image lies beside a pipe.
            request.gate.beside &= !is_pipe;
            let file = FirstFile { input: laid.input, format: inner, member };
            let mut image = open_image(&request, file, watch)?;
            image.inputs.splice(..1, inputs);
            image
        };
        image.notes.splice(..0, notes);
        Ok(image)
    }
}

/// Lists the volumes of an image that holds several which belong together, as names for behind a
/// colon; none for any other image, for a pipe, and where the request names one of them already.
///
/// # Errors
///
/// As [`open`].
pub fn disks(request: &ImageRequest) -> Result<Vec<String>> {
    let path = &request.path;
    if request.member.is_some() || request.inputs.is_empty() && Node::at(path)? != Some(Node::File)
    {
        return Ok(Vec::new());
    }
    let io::Opened::File(input) = request.open_first()? else { return Ok(Vec::new()) };
    let (input, format) = first_file(request, input, None)?;
    match format.disks() {
        Some(disks) => disks(&input).map_err(|e| e.in_file(path)),
        None => Ok(Vec::new()),
    }
}

/// Says which format the first file of an image is in.
fn first_file(
    request: &ImageRequest,
    input: Arc<Input>,
    member: Option<&str>,
) -> Result<(Arc<Input>, &'static Format)> {
    if input.is_empty() {
        let text = "the file is empty, expected an image";
        return Err(Error::invalid(text).in_file(input.path()));
    }
    let format = outer(request, &input, member).map_err(|e| e.in_file(input.path()))?;
    Ok((input, format))
}

/// Fails if a file is wanted of an image that holds none.
fn check_member(member: Option<&str>, format: &'static Format) -> Result<()> {
    match member {
        Some(member) if !format.holds_files() => {
            let text = format!("it is {}, which has no member {member:?}", format.name);
            Err(Error::invalid(text))
        }
        _ => Ok(()),
    }
}

fn open_image(request: &ImageRequest, file: FirstFile, watch: &dyn Watch) -> Result<OpenedImage> {
    let FirstFile { input, format, member } = file;
    check_member(member.as_deref(), format).map_err(|e| e.in_file(input.path()))?;
    let mut inputs = vec![input];
    inputs.extend(request.open_parts()?);
    let ImageRequest { path, force, .. } = request;
    let opening = OpenRequest {
        max_size: request.max_size,
        inputs,
        member,
        member_format: request.format.filter(|named| *named != format && !named.holds_files()),
        gate: request.gate(),
        force: *force,
        max_window: request.max_window(),
        watch,
        ..OpenRequest::default()
    };
    let Parsed { volume, holes, sector_len, notes } =
        (format.open)(&opening).map_err(|e| e.in_file(path))?;
    let inputs = opening.into_inputs();
    let sectors = sector_len.filter(|len| *len != EBS_SECTOR_LEN).map(|len| {
        format!(
            "the disk has logical sectors of {len} bytes, and EBS volumes have {EBS_SECTOR_LEN}: a \
             partition table that was made for it is not found there"
        )
    });
    let notes = notes.into_iter().chain(sectors);
    let notes = notes.map(|note| format!("{}: {note}", path.display())).collect();
    let image = OpenedImage { format, volume, holes, sector_len, inputs, notes };
    with_sidecar(request, image, watch)
}

/// Takes what is data and what is not from the sidecar, if the request names one.
fn with_sidecar(
    request: &ImageRequest,
    mut image: OpenedImage,
    watch: &dyn Watch,
) -> Result<OpenedImage> {
    let Some(sidecar) = &request.extents else { return Ok(image) };
    let map = sidecar::read(sidecar)?;
    image.notes.extend(map.note().map(|note| format!("{}: {note}", shown(sidecar))));
    let runs = map
        .apply(&image.volume, default_threads(), &Quiet(watch))
        .map_err(|e| e.in_file(sidecar))?;
    image.volume = image.volume.with_map(runs)?;
    Ok(image)
}
