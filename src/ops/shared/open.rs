//! Opening the images that a user names.

use std::num::NonZero;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::BaseBytes;
use crate::bundle::BaseSnapshot;
use crate::bundle::Bundle;
use crate::chunking;
use crate::chunking::Sink;
use crate::chunking::Source;
use crate::digest::Digest;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format;
use crate::format::ImageRequest;
use crate::format::OpenedImage;
use crate::format::OpenedStream;
use crate::io;
use crate::io::Input;
use crate::io::WriteAt;
use crate::manifest::Builder;
use crate::ops::apply::journal_of;
use crate::pack::Stored;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::work::Watch;

/// An image, open.
#[derive(Debug)]
pub enum OpenedSource {
    /// One that can be read at any place.
    Image(Box<OpenedImage>),
    /// One that comes once and in order: through a pipe, or out of a compressed stream.
    Stream(Box<OpenedStream>),
}

impl OpenedSource {
    /// Returns the volume's size in bytes, where it is known before reading.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::Image(image) => Some(image.volume.size()),
            Self::Stream(_) => None,
        }
    }

    /// Returns the name for messages.
    #[must_use]
    pub fn name(&self) -> &Path {
        match self {
            Self::Image(image) => image.inputs[0].path(),
            Self::Stream(opened) => opened.stream.path(),
        }
    }

    /// Returns the blocks' source.
    pub fn blocks(&mut self) -> Source<'_> {
        match self {
            Self::Image(image) => Source::Volume(&image.volume),
            Self::Stream(opened) => Source::Stream(&mut opened.stream),
        }
    }

    /// Returns the name of the format.
    #[must_use]
    pub fn format_name(&self) -> &'static str {
        match self {
            Self::Image(image) => image.format.name,
            Self::Stream(opened) => opened.format.name,
        }
    }

    /// Returns what the user should hear although nothing failed.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Image(image) => image.notes.clone(),
            Self::Stream(opened) => opened.notes.clone(),
        }
    }
}

/// Opens an image that may come through a pipe, or in a compressed stream.
///
/// # Errors
///
/// As [`format::open_in_order`]; `Io` if another process has it, or a file that it names, open for
/// writing and the request does not force it.
pub fn open_source(request: &ImageRequest, watch: &dyn Watch) -> Result<OpenedSource> {
    check_finished(request)?;
    let source = match format::open_in_order(request, watch)? {
        format::Opened::Image(image) => OpenedSource::Image(image),
        format::Opened::Stream(stream) => OpenedSource::Stream(stream),
    };
    check_unused(
        request,
        match &source {
            OpenedSource::Image(image) => &image.inputs,
            OpenedSource::Stream(opened) => &opened.inputs,
        },
    )?;
    Ok(source)
}

/// Opens an image, at any place.
///
/// # Errors
///
/// As [`format::open`]; `Io` if another process has it, or a file that it names, open for writing and
/// the request does not force it.
pub fn open_image(request: &ImageRequest, watch: &dyn Watch) -> Result<OpenedImage> {
    check_finished(request)?;
    let image = format::open(request, watch)?;
    check_unused(request, &image.inputs)?;
    Ok(image)
}

/// Fails if the image is one that a stopped run has changed in part, unless the request forces it.
fn check_finished(request: &ImageRequest) -> Result<()> {
    let journal = journal_of(&request.path);
    if !request.force && journal.exists() {
        let text = "an `amikit apply --in-place` of it did not come to its end";
        return Err(Error::invalid(text).in_file(&request.path).advise(format!(
            "finish it with `amikit apply {} --to {} --in-place`, or pass --force",
            journal.display(),
            request.path.display()
        )));
    }
    Ok(())
}

/// Fails if another process has one of the files open for writing, unless the request forces it.
fn check_unused(request: &ImageRequest, inputs: &[Arc<Input>]) -> Result<()> {
    if request.force {
        return Ok(());
    }
    for input in inputs {
        let writers = io::writers_of(input);
        if !writers.is_empty() {
            let text = format!("it is in use: open for writing by {}", writers.join(", "));
            return Err(Error::new(Kind::Io, text)
                .in_file(input.path())
                .advise("stop the writer, or pass --force to read it all the same"));
        }
    }
    Ok(())
}

/// Opens a volume, whatever holds it: an image, or a snapshot of a bundle. A bundle's device stands
/// behind a colon, as in `web.ami:/dev/sdf`; without one it is the root device.
///
/// # Errors
///
/// As [`open_image`], [`Bundle::open`] and [`Bundle::snapshot`].
pub fn open_volume(request: &ImageRequest, watch: &dyn Watch) -> Result<Box<dyn ReadVolume>> {
    if request.format.is_none() {
        if Bundle::is_at(&request.path) {
            return Ok(Box::new(Bundle::open(&request.path)?.snapshot(None)?));
        }
        if let Some((path, device)) = bundle_and_device(&request.path) {
            return Ok(Box::new(Bundle::open(&path)?.snapshot(Some(&device))?));
        }
    }
    Ok(Box::new(open_image(request, watch)?.volume))
}

/// Opens a bundle, over what it leans on if the user names that: a bundle, or an image, which is then
/// read whole to see that it is the right one.
///
/// # Errors
///
/// As [`Bundle::open`] and [`open_image`]; `Mismatch` if the base is none that the bundle leans on.
pub(in crate::ops) fn open_bundle(
    path: &Path,
    base: Option<&ImageRequest>,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Bundle> {
    let bundle = Bundle::open(path)?;
    let Some(base) = base else { return Ok(bundle) };
    let bases = if base.format.is_none() && Bundle::is_at(&base.path) {
        bundle_bases(&bundle, &Bundle::open(&base.path)?)?
    } else {
        vec![image_base(&bundle, base, threads, watch)?]
    };
    bundle.over(bases)
}

/// Returns the snapshots of `base` that `bundle` leans on.
fn bundle_bases(bundle: &Bundle, base: &Bundle) -> Result<Vec<Arc<BaseSnapshot>>> {
    let mut bases = Vec::new();
    for layer in base.snapshots() {
        if bundle.bases().iter().any(|it| it.root == layer.root) {
            let bytes = BaseBytes::Packs(base.chunks()?);
            bases.push(Arc::new(BaseSnapshot::new(base.manifest(layer)?, bytes)));
        }
    }
    if bases.is_empty() {
        let named: Vec<_> = base.snapshots().iter().map(|layer| layer.root).collect();
        return Err(bundle.wrong_base(&named));
    }
    Ok(bases)
}

/// Returns the image as the snapshot that `bundle` leans on, if it is that.
fn image_base(
    bundle: &Bundle,
    request: &ImageRequest,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Arc<BaseSnapshot>> {
    let image = open_image(request, watch)?;
    let root =
        root_of_volume(&image.volume, threads, watch).map_err(|e| e.in_file(&request.path))?;
    let Some(layer) = bundle.bases().iter().find(|base| base.root == root) else {
        return Err(bundle.wrong_base(&[root]));
    };
    let bytes = BaseBytes::Image(Box::new(image.volume));
    Ok(Arc::new(BaseSnapshot::new(bundle.base_manifest(layer)?, bytes)))
}

/// Returns the root digest of an image.
///
/// # Errors
///
/// As [`open_image`] and [`chunking::run`].
pub(in crate::ops) fn root_of(
    request: &ImageRequest,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Digest> {
    let image = open_image(request, watch)?;
    root_of_volume(&image.volume, threads, watch).map_err(|e| e.in_file(&request.path))
}

fn root_of_volume(
    volume: &dyn ReadVolume,
    threads: NonZero<usize>,
    watch: &dyn Watch,
) -> Result<Digest> {
    let mut root = RootSink(Builder::new(&Discard));
    let options =
        chunking::Options { threads, watch, states: chunking::States::default(), store: None };
    let size = chunking::run(Source::Volume(volume), &options, &mut root)?;
    Ok(root.0.finish(size)?.root)
}

/// An output that nobody reads: for a manifest of which only the root digest is wanted.
struct Discard;

impl WriteAt for Discard {
    fn write_all_at(&self, _bytes: &[u8], _offset: u64) -> Result<()> {
        Ok(())
    }

    fn make_hole_at(&self, _len: u64, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn set_size(&self, _size: u64) -> Result<()> {
        Ok(())
    }
}

/// A manifest's builder as a sink of blocks.
#[derive(Debug)]
pub(in crate::ops) struct RootSink<'a>(pub(in crate::ops) Builder<'a>);

impl Sink for RootSink<'_> {
    fn run(&mut self, kind: ExtentKind, count: u32) -> Result<()> {
        self.0.push_run(kind, count)
    }

    fn data(&mut self, id: Digest, _stored: Option<Stored<'_>>) -> Result<()> {
        self.0.push_data(&id)
    }
}

/// Splits `web.ami:/dev/sdf`, if there is no file of that name and a bundle of the first part.
pub(in crate::ops) fn bundle_and_device(path: &Path) -> Option<(PathBuf, String)> {
    let (bundle, device) = path.to_str()?.rsplit_once(':')?;
    let bundle = PathBuf::from(bundle);
    (!path.exists() && Bundle::is_at(&bundle)).then(|| (bundle, device.to_owned()))
}
