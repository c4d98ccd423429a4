//! The one door: what a user names, found and opened.
//!
//! [`Named`] is the grammar. [`find`] says what is there, [`open`] and [`open_in_order`] make a volume
//! of it: an image, a member of an archive, a device of a bundle, thin ones over their base too, the
//! volume of an instance-store bundle, or standard input.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::bundle::FreeRecord;
use crate::bundle::Snapshot;
use crate::chunking::Source;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::Setting;
use crate::format;
use crate::format::ImageRequest;
use crate::format::Named;
use crate::format::OpenedImage;
use crate::format::OpenedStream;
use crate::instance_store::InstanceBundle;
use crate::io;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt;
use crate::manifest;
use crate::ops::shared::free::OpenedMasked;
use crate::ops::shared::free::mask;
use crate::ops::shared::instance_store::BundleKeys;
use crate::ops::shared::instance_store::Checked;
use crate::ops::shared::journal::find_journal;
use crate::ops::shared::likeness::base_notes;
use crate::ops::shared::likeness::find_alike;
use crate::ops::shared::manifest::root_of;
use crate::pack::layout as pack_layout;
use crate::units::Extent;
use crate::volume::ReadVolume;
use crate::volume::Volume;
use crate::work::Quiet;
use crate::work::Watch;
use crate::work::default_threads;

/// A volume as a user names it, and how it is opened.
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// What the request calls it, for messages: the name of an argument, as `old`, or a device.
    pub role: Option<String>,
    /// The image and how it is opened. A device of a bundle stands where a member of an archive does.
    pub image: ImageRequest,
    /// The name of one of several AMIs in a layout.
    pub ami: Option<String>,
    /// What a thin bundle was packed against.
    pub base: Option<Box<VolumeRequest>>,
    /// The private key and the certificate of an instance-store bundle.
    pub keys: BundleKeys,
    /// What becomes of the volume's free blocks; they are kept otherwise.
    pub free: Option<FreeRecord>,
}

impl From<ImageRequest> for VolumeRequest {
    fn from(image: ImageRequest) -> Self {
        Self { image, ..Self::default() }
    }
}

impl From<Input> for VolumeRequest {
    /// Takes bytes, wherever they are, for an image.
    fn from(input: Input) -> Self {
        ImageRequest::of_input(Arc::new(input)).into()
    }
}

impl VolumeRequest {
    /// Names what a user typed. See [`Named`] for the grammar.
    #[must_use]
    pub fn new(typed: &Path) -> Self {
        let Named { path, ami, inside } = Named::parse(typed);
        let image = ImageRequest { path, member: inside, ..ImageRequest::default() };
        Self { image, ami, ..Self::default() }
    }

    /// Returns what a user types for it.
    #[must_use]
    pub fn typed(&self) -> PathBuf {
        let Some(ami) = &self.ami else { return self.image.typed() };
        let mut path = self.image.path.clone().into_os_string();
        path.push(format!("@{ami}"));
        ImageRequest { path: path.into(), ..self.image.clone() }.typed()
    }

    /// Tells whether it is standard input.
    #[must_use]
    pub fn is_standard_input(&self) -> bool {
        self.image.path.as_os_str() == "-"
    }

    /// Adds to an error which volume it is about.
    pub(in crate::ops) fn fail(&self, error: Error) -> Error {
        let error = error.in_file(&self.image.path);
        match &self.role {
            Some(role) => error.of_input(role),
            None => error,
        }
    }
}

/// What is there under a name.
#[derive(Debug)]
pub enum Found {
    /// A bundle.
    Bundle(Box<Bundle>),
    /// The manifest of an instance-store bundle.
    InstanceStore,
    /// A snapshot manifest.
    Manifest,
    /// The manifest of a part of a volume.
    Part,
    /// A pack.
    Pack,
    /// Anything else is taken for an image, or for an archive of some.
    Image,
}

/// Says what is there. A format that the user names is believed: then it is an image.
///
/// # Errors
///
/// As [`Bundle::open`] for what looks like a bundle; `Io` if the system refuses; `Invalid` for the name
/// of an AMI where there is no bundle.
pub fn find(request: &VolumeRequest) -> Result<Found> {
    let path = &request.image.path;
    let from_file = request.image.inputs.is_empty() && !request.is_standard_input();
    let found = if request.image.format.is_some() || !from_file {
        Found::Image
    } else if Bundle::is_at(path)? {
        Found::Bundle(Box::new(Bundle::open_any(path, request.ami.as_deref())?))
    } else if Node::at(path)? != Some(Node::File) {
        Found::Image
    } else if InstanceBundle::is_at(path)? {
        Found::InstanceStore
    } else {
        own_magic(path)?
    };
    match (&found, &request.ami) {
        (Found::Bundle(_), _) | (_, None) => Ok(found),
        (_, Some(name)) => {
            let text = format!("it has no AMI {name:?}: it is not a bundle");
            Err(Error::invalid(text).in_file(path))
        }
    }
}

fn own_magic(path: &Path) -> Result<Found> {
    let input = Input::open(path)?;
    let mut head = [0; 16];
    if input.len() < 16 {
        return Ok(Found::Image);
    }
    input.read_exact_at(&mut head, 0)?;
    Ok(if head[..8] == manifest::MAGIC {
        Found::Manifest
    } else if head[..8] == manifest::PART_MAGIC {
        Found::Part
    } else if head[8..] == pack_layout::MAGIC {
        Found::Pack
    } else {
        Found::Image
    })
}

/// A volume, open.
#[derive(Debug)]
pub enum OpenedVolume {
    /// An image that can be read at any place.
    Image(Box<OpenedImage>),
    /// An image that comes once and in order: through a pipe, or out of a compressed stream.
    Stream(Box<OpenedStream>),
    /// A snapshot of a bundle.
    Snapshot(Box<OpenedSnapshot>),
    /// The volume of an instance-store bundle.
    Unsealed(Box<OpenedUnsealed>),
    /// Any of these without its free blocks.
    Masked(Box<OpenedMasked>),
}

/// A snapshot of a bundle, open.
#[derive(Debug)]
pub struct OpenedSnapshot {
    path: PathBuf,
    notes: Vec<String>,
    /// Its bytes.
    pub snapshot: Snapshot,
}

/// Reads as its snapshot does, and every failure names the bundle: below it only packs have names.
impl ReadVolume for OpenedSnapshot {
    fn size(&self) -> u64 {
        self.snapshot.size()
    }

    fn extent_at(&self, offset: u64) -> Result<Extent> {
        self.snapshot.extent_at(offset).map_err(|error| error.in_file(&self.path))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.snapshot.read_at(offset, buf).map_err(|error| error.in_file(&self.path))
    }

    fn unit_len(&self) -> usize {
        self.snapshot.unit_len()
    }

    fn check_unchanged(&self) -> Result<()> {
        self.snapshot.check_unchanged().map_err(|error| error.in_file(&self.path))
    }
}

/// The volume of an instance-store bundle, open.
#[derive(Debug)]
pub struct OpenedUnsealed {
    path: PathBuf,
    volume: Volume,
    notes: Vec<String>,
}

impl OpenedVolume {
    /// Takes a snapshot that is open.
    pub(in crate::ops) fn snapshot(path: &Path, snapshot: Snapshot, notes: Vec<String>) -> Self {
        Self::Snapshot(Box::new(OpenedSnapshot { path: path.to_owned(), notes, snapshot }))
    }

    /// Takes the volume of an instance-store bundle that is open.
    pub(in crate::ops) fn unsealed(path: &Path, volume: Volume, notes: Vec<String>) -> Self {
        Self::Unsealed(Box::new(OpenedUnsealed { path: path.to_owned(), volume, notes }))
    }

    /// Returns the volume's size in bytes, where it is known before reading.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.volume().map(ReadVolume::size)
    }

    /// Returns the name for messages.
    #[must_use]
    pub fn name(&self) -> &Path {
        match self {
            Self::Image(image) => image.inputs[0].path(),
            Self::Stream(opened) => opened.stream.path(),
            Self::Snapshot(opened) => &opened.path,
            Self::Unsealed(opened) => &opened.path,
            Self::Masked(opened) => &opened.path,
        }
    }

    /// Returns the files that an image consists of, and those that it names; none for a pipe or a bundle.
    #[must_use]
    pub fn inputs(&self) -> &[Arc<Input>] {
        match self {
            Self::Image(image) => &image.inputs,
            Self::Stream(opened) => &opened.inputs,
            Self::Snapshot(_) | Self::Unsealed(_) => &[],
            Self::Masked(opened) => &opened.inputs,
        }
    }

    /// Returns the volume, unless it comes in order.
    #[must_use]
    pub fn volume(&self) -> Option<&dyn ReadVolume> {
        match self {
            Self::Image(image) => Some(&image.volume),
            Self::Stream(_) => None,
            Self::Snapshot(opened) => Some(&**opened),
            Self::Unsealed(opened) => Some(&opened.volume),
            Self::Masked(opened) => Some(&opened.volume),
        }
    }

    /// Returns the blocks' source.
    pub fn blocks(&mut self) -> Source<'_> {
        match self {
            Self::Image(image) => Source::Volume(&image.volume),
            Self::Stream(opened) => Source::Stream(&mut opened.stream),
            Self::Snapshot(opened) => Source::Volume(&**opened),
            Self::Unsealed(opened) => Source::Volume(&opened.volume),
            Self::Masked(opened) => Source::Volume(&opened.volume),
        }
    }

    /// Returns the name of the format.
    #[must_use]
    pub fn format_name(&self) -> &'static str {
        match self {
            Self::Image(image) => image.format.name,
            Self::Stream(opened) => opened.format.name,
            Self::Snapshot(_) => "bundle",
            Self::Unsealed(_) => "instance-store",
            Self::Masked(opened) => opened.format,
        }
    }

    /// Returns the bytes of a logical sector, where the image says it.
    #[must_use]
    pub fn sector_len(&self) -> Option<u32> {
        match self {
            Self::Image(image) => image.sector_len,
            _ => None,
        }
    }

    /// Returns what the user should hear although nothing failed.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Image(image) => image.notes.clone(),
            Self::Stream(opened) => opened.notes.clone(),
            Self::Snapshot(opened) => opened.notes.clone(),
            Self::Unsealed(opened) => opened.notes.clone(),
            Self::Masked(opened) => opened.notes.clone(),
        }
    }
}

/// A volume that can be read at any place.
#[derive(Debug)]
pub struct RandomVolume(OpenedVolume);

impl RandomVolume {
    /// Returns the volume.
    #[must_use]
    pub fn volume(&self) -> &dyn ReadVolume {
        self.0.volume().expect("opened at any place")
    }

    /// Returns it with its name, format and notes.
    #[must_use]
    pub fn opened(&self) -> &OpenedVolume {
        &self.0
    }

    /// Returns it as what may also come in order.
    #[must_use]
    pub fn into_opened(self) -> OpenedVolume {
        self.0
    }

    /// Returns the volume alone.
    #[must_use]
    pub fn into_volume(self) -> Box<dyn ReadVolume> {
        match self.0 {
            OpenedVolume::Image(image) => Box::new(image.volume),
            OpenedVolume::Snapshot(opened) => opened,
            OpenedVolume::Unsealed(opened) => Box::new(opened.volume),
            OpenedVolume::Masked(opened) => Box::new(opened.volume),
            OpenedVolume::Stream(_) => unreachable!("opened at any place"),
        }
    }
}

/// Opens a volume that may come once and in order, if that is how it comes.
///
/// # Errors
///
/// As [`find`] and [`format::open_in_order`]; `Io` if another process has it, or a file that it names,
/// open for writing and the request does not force it; `Invalid` for a manifest or a pack alone, which
/// hold no volume, and for an image that an interrupted run has changed in part.
pub fn open_in_order(request: &VolumeRequest, watch: &dyn Watch) -> Result<OpenedVolume> {
    if request.free.is_some() {
        // What is free is known only after looking at all of it.
        return open(request, watch).map(RandomVolume::into_opened);
    }
    open_found(request, watch, |image| {
        Ok(match format::open_in_order(image, watch)? {
            format::Opened::Image(image) => OpenedVolume::Image(image),
            format::Opened::Stream(stream) => OpenedVolume::Stream(stream),
        })
    })
    .map_err(|error| request.fail(error))
}

/// Opens a volume, at any place.
///
/// # Errors
///
/// As [`open_in_order`].
pub fn open(request: &VolumeRequest, watch: &dyn Watch) -> Result<RandomVolume> {
    let at_any_place =
        |image: &ImageRequest| Ok(OpenedVolume::Image(Box::new(format::open(image, watch)?)));
    let opened = || {
        let opened = RandomVolume(open_found(request, watch, at_any_place)?);
        let Some(record) = request.free else { return Ok(opened) };
        let (path, format) = (opened.0.name().to_owned(), opened.0.format_name());
        let (notes, inputs) = (opened.0.notes(), opened.0.inputs().to_vec());
        let masked = mask(opened.into_volume(), record, path, format, notes, inputs)?;
        Ok(RandomVolume(OpenedVolume::Masked(Box::new(masked))))
    };
    opened().map_err(|error| request.fail(error))
}

/// Returns the request for an image that is compared with a snapshot: read as that was, unless the user
/// says otherwise.
pub(in crate::ops) fn alike(request: &VolumeRequest, record: Option<FreeRecord>) -> VolumeRequest {
    VolumeRequest { free: request.free.or(record), ..request.clone() }
}

/// Returns what became of the free blocks of what a request names; nothing is recorded for an image.
///
/// # Errors
///
/// As [`find`].
pub(in crate::ops) fn recorded_free(request: &VolumeRequest) -> Result<Option<FreeRecord>> {
    match find(request).map_err(|error| request.fail(error))? {
        Found::Bundle(bundle) if request.free.is_none() => {
            Ok(bundle.find(request.image.member.as_deref())?.free)
        }
        _ => Ok(request.free),
    }
}

fn open_found(
    request: &VolumeRequest,
    watch: &dyn Watch,
    open_image: impl FnOnce(&ImageRequest) -> Result<OpenedVolume>,
) -> Result<OpenedVolume> {
    let opened = open_any(request, watch, open_image)?;
    if let (Some(size), Some(most)) = (opened.size(), request.image.max_size) {
        check_most(size, most)?;
    }
    Ok(opened)
}

/// Fails if a volume is larger than the user accepts.
///
/// # Errors
///
/// `Limit`.
pub(in crate::ops) fn check_most(size: u64, most: u64) -> Result<()> {
    if size <= most {
        return Ok(());
    }
    let text = format!("the volume has {size} bytes, expected at most {most}");
    let example = size.to_string().into();
    let advice = Advice::Give { setting: Setting::MaxSize, example };
    Err(Error::new(Kind::Limit, text).advise(advice))
}

fn open_any(
    request: &VolumeRequest,
    watch: &dyn Watch,
    open_image: impl FnOnce(&ImageRequest) -> Result<OpenedVolume>,
) -> Result<OpenedVolume> {
    match find(request)? {
        Found::Image => {
            check_finished(&request.image)?;
            let opened = open_image(&request.image)?;
            check_unused(&request.image, opened.inputs())?;
            Ok(opened)
        }
        Found::Bundle(bundle) => {
            let bundle = over_base(*bundle, request.base.as_deref(), default_threads(), watch)?;
            let device = request.image.member.as_deref();
            let mut notes = base_notes(&bundle);
            if let Some(part) = bundle.find(device)?.part()? {
                let (first, last) = (part.first_block, part.end().saturating_sub(1));
                let of = part.volume_size;
                notes.push(format!("it is blocks {first} to {last} of a volume of {of} bytes"));
            }
            let snapshot = OpenedSnapshot {
                path: request.image.path.clone(),
                notes,
                snapshot: bundle.snapshot(device)?,
            };
            Ok(OpenedVolume::Snapshot(Box::new(snapshot)))
        }
        Found::InstanceStore => {
            let (path, threads) = (&request.image.path, default_threads());
            let checked = Checked::open(path, &request.keys, threads, &Quiet(watch))?;
            let laid = checked.lay_down(threads, &Quiet(watch))?;
            let notes = checked.notes(laid.extracted);
            Ok(OpenedVolume::unsealed(path, laid.volume, notes))
        }
        Found::Manifest => Err(without_bytes("a snapshot manifest")),
        Found::Part => Err(without_bytes("the manifest of a part of a volume")),
        Found::Pack => Err(without_bytes("a pack")),
    }
}

fn without_bytes(what: &str) -> Error {
    Error::invalid(format!(
        "it is {what} alone, expected an image or a bundle, which hold a volume"
    ))
}

/// Fails if the image is one that an interrupted run has changed in part, unless the request forces it.
pub(in crate::ops) fn check_finished(request: &ImageRequest) -> Result<()> {
    // What is not in a file has none beside it, whatever it is called.
    if request.force || request.inputs.iter().any(|input| !input.is_in_file()) {
        return Ok(());
    }
    if let Some(journal) = find_journal(&request.path)? {
        let text = "an in-place apply to it was interrupted: it is part old, part new";
        let image = request.path.clone();
        return Err(Error::invalid(text)
            .in_file(&request.path)
            .advise(Advice::FinishJournal { journal, image }));
    }
    Ok(())
}

/// Fails if another process has one of the files open for writing, unless the request forces it.
pub(in crate::ops) fn check_unused(request: &ImageRequest, inputs: &[Arc<Input>]) -> Result<()> {
    if request.force {
        return Ok(());
    }
    let Some((place, writers)) = io::writers_of(inputs) else { return Ok(()) };
    let text = format!("it is in use: open for writing by {}", writers.join(", "));
    Err(Error::new(Kind::Io, text)
        .in_file(inputs[place].path())
        .advise(Advice::Force { first: "stop the writer".into() }))
}

/// Opens the bundle that a user typed, as `BUNDLE` or `LAYOUT@AMI`, if there is one.
///
/// # Errors
///
/// As [`Bundle::open_named`].
pub(in crate::ops) fn find_bundle(typed: &Path) -> Result<Option<Bundle>> {
    let Named { path, ami, inside } = Named::parse(typed);
    if inside.is_some() || !Bundle::is_at(&path)? {
        return Ok(None);
    }
    Bundle::open_named(&path, ami.as_deref()).map(Some)
}

/// Opens the bundle that a user typed, as [`find_bundle`], which must be there.
///
/// # Errors
///
/// As [`Bundle::open_named`].
pub(in crate::ops) fn open_typed_bundle(typed: &Path) -> Result<Bundle> {
    find_bundle(typed)?.map_or_else(|| Bundle::open(typed), Ok)
}

/// Opens a bundle that must be one, or a snapshot of a store, over its base if that is named.
///
/// # Errors
///
/// As [`Bundle::open_named`] and [`over_base`].
pub(in crate::ops) fn open_bundle(
    path: &Path,
    base: Option<&VolumeRequest>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Bundle> {
    let Named { path: place, ami, inside } = Named::parse(path);
    let bundle = if inside.is_none() && Bundle::is_at(&place)? {
        Bundle::open_any(&place, ami.as_deref())?
    } else {
        Bundle::open(path)?
    };
    over_base(bundle, base, threads, watch)
}

/// Reads a bundle over what it was packed against, if the user names that: a bundle, or an image,
/// which is then read whole to see that it is the right one.
///
/// # Errors
///
/// As [`open`]; `Mismatch` if the bundle was not packed against it; `Invalid` if it needs no base.
pub(in crate::ops) fn over_base(
    bundle: Bundle,
    base: Option<&VolumeRequest>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Bundle> {
    let Some(base) = base else { return Ok(bundle) };
    let bases = match find(base).map_err(|error| base.fail(error))? {
        Found::Bundle(named) => bundle_bases(&bundle, &named)?,
        _ => vec![image_base(&bundle, base, threads, watch)?],
    };
    bundle.over(bases)
}

/// Returns the snapshots of `base` that `bundle` was packed against, which may be none.
pub(in crate::ops) fn bases_in(bundle: &Bundle, base: &Bundle) -> Result<Vec<Arc<BaseSnapshot>>> {
    let mut bases = Vec::new();
    for layer in base.snapshots() {
        if bundle.bases().iter().any(|it| it.root == layer.root) {
            let bytes = BaseBytes::Packs(base.chunks()?);
            bases.push(Arc::new(BaseSnapshot::new(base.manifest(layer)?, bytes)));
        }
    }
    Ok(bases)
}

/// As [`bases_in`], and fails if there is none.
fn bundle_bases(bundle: &Bundle, base: &Bundle) -> Result<Vec<Arc<BaseSnapshot>>> {
    let bases = bases_in(bundle, base)?;
    if bases.is_empty() {
        let named: Vec<_> = base.snapshots().iter().map(|layer| layer.root).collect();
        return Err(bundle.wrong_base(&named));
    }
    Ok(bases)
}

/// Returns the image as the snapshot that `bundle` was packed against, if it is that.
pub(in crate::ops) fn image_base(
    bundle: &Bundle,
    request: &VolumeRequest,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Arc<BaseSnapshot>> {
    // A base is read without its free blocks only if its own record says that it was packed so.
    let mut records: Vec<Option<FreeRecord>> = bundle.bases().iter().map(|it| it.free).collect();
    records.sort_unstable();
    records.dedup();
    let mut found = Vec::new();
    for record in records {
        let request = alike(request, record);
        let opened = open(&request, watch)?;
        let fail = |error| request.fail(error);
        let root = root_of(opened.volume(), threads, watch).map_err(fail)?;
        let layers = || bundle.bases().iter().filter(|it| it.free == record);
        let known = if let Some(layer) = layers().find(|it| it.root == root) {
            Some((bundle.base_manifest(layer)?, 0))
        } else {
            // A copy has its holes elsewhere, and a patch needs the bytes only.
            let bases = layers().map(|layer| bundle.base_manifest(layer));
            find_alike(opened.volume(), bases, threads, watch).map_err(fail)?
        };
        let Some((manifest, other_states)) = known else {
            found.push(root);
            continue;
        };
        let file = match opened.opened().inputs() {
            [file] => Some(Arc::clone(file)),
            _ => None,
        };
        let base = BaseSnapshot::new(manifest, BaseBytes::Image(opened.into_volume()));
        let base = base.with_other_states(other_states);
        return Ok(Arc::new(match file {
            Some(file) => base.with_file(file),
            None => base,
        }));
    }
    Err(bundle.wrong_base(&found))
}
