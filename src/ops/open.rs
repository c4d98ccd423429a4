//! Opening the images that a user names.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use crate::bundle::Bundle;
use crate::chunking::Source;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format;
use crate::format::ImageRequest;
use crate::format::OpenedImage;
use crate::format::OpenedStream;
use crate::io;
use crate::io::Input;
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

/// Opens an image that can be read at any place.
///
/// # Errors
///
/// As [`format::open`]; `Io` if another process has it, or a file that it names, open for writing and
/// the request does not force it.
pub fn open_image(request: &ImageRequest) -> Result<OpenedImage> {
    let image = format::open(request)?;
    check_unused(request, &image.inputs)?;
    Ok(image)
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
pub fn open_volume(request: &ImageRequest) -> Result<Box<dyn ReadVolume>> {
    if request.format.is_none() {
        if Bundle::is_at(&request.path) {
            return Ok(Box::new(Bundle::open(&request.path)?.snapshot(None)?));
        }
        if let Some((path, device)) = bundle_and_device(&request.path) {
            return Ok(Box::new(Bundle::open(&path)?.snapshot(Some(&device))?));
        }
    }
    Ok(Box::new(open_image(request)?.volume))
}

/// Splits `web.ami:/dev/sdf`, if there is no file of that name and a bundle of the first part.
fn bundle_and_device(path: &Path) -> Option<(PathBuf, String)> {
    let (bundle, device) = path.to_str()?.rsplit_once(':')?;
    let bundle = PathBuf::from(bundle);
    (!path.exists() && Bundle::is_at(&bundle)).then(|| (bundle, device.to_owned()))
}
