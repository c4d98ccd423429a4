//! Opening the images that a user names.

use std::path::Path;
use std::path::PathBuf;

use crate::bundle::Bundle;
use crate::chunking::Source;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::format;
use crate::format::ImageRequest;
use crate::format::OpenedImage;
use crate::io;
use crate::io::Opened;
use crate::io::STANDARD_INPUT;
use crate::io::Stream;
use crate::volume::ReadVolume;

/// An image, open.
#[derive(Debug)]
pub enum OpenedSource {
    /// One that can be read at any place.
    Image(OpenedImage),
    /// One that comes through a pipe: raw bytes, in order.
    Stream(Stream),
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
            Self::Stream(stream) => stream.path(),
        }
    }

    /// Returns the blocks' source.
    pub fn blocks(&mut self) -> Source<'_> {
        match self {
            Self::Image(image) => Source::Volume(&image.volume),
            Self::Stream(stream) => Source::Stream(stream),
        }
    }

    /// Returns the name of the format.
    #[must_use]
    pub fn format_name(&self) -> &'static str {
        match self {
            Self::Image(image) => image.format.name,
            Self::Stream(_) => "raw",
        }
    }

    /// Returns what the user should hear although nothing failed.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::Image(image) => image.notes.clone(),
            Self::Stream(stream) => vec![format!(
                "{}: a pipe cannot tell holes from zeros, so all zeros count as written",
                stream.path().display()
            )],
        }
    }
}

/// Opens an image that may come through a pipe.
///
/// # Errors
///
/// As [`open_image`]; `Invalid` if a pipe is given a format other than raw, parts or a sidecar.
pub fn open_source(request: &ImageRequest) -> Result<OpenedSource> {
    let Some(stream) = open_stream(&request.path)? else {
        return open_image(request).map(OpenedSource::Image);
    };
    let raw = request.format.is_none_or(|format| format.name == "raw");
    if !raw || !request.parts.is_empty() || request.extents.is_some() {
        let text = "it is a pipe, expected a file for this format, for parts or for a sidecar";
        return Err(Error::invalid(text).in_file(stream.path()).advise("save it to a file first"));
    }
    Ok(OpenedSource::Stream(stream))
}

/// Opens a pipe or standard input; `None` for what can be read at any place.
fn open_stream(path: &Path) -> Result<Option<Stream>> {
    match io::open(path)? {
        Opened::Stream(stream) => Ok(Some(stream)),
        Opened::File(_) => Ok(None),
    }
}

/// Opens an image that can be read at any place.
///
/// # Errors
///
/// As [`format::open`]; `Io` if another process has it open for writing and the request does not
/// force it.
pub fn open_image(request: &ImageRequest) -> Result<OpenedImage> {
    if request.path.as_os_str() == "-" {
        return Err(Error::invalid("it is a pipe, expected a file that can be read at any place")
            .in_file(Path::new(STANDARD_INPUT))
            .advise("save it to a file first"));
    }
    let image = format::open(request)?;
    if !request.force {
        for input in &image.inputs {
            let writers = io::writers_of(input);
            if !writers.is_empty() {
                let text = format!("it is in use: open for writing by {}", writers.join(", "));
                return Err(Error::new(Kind::Io, text)
                    .in_file(input.path())
                    .advise("stop the writer, or pass --force to read it all the same"));
            }
        }
    }
    Ok(image)
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
