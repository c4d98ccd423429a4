//! What a format is to a writer: how volumes become images of it.

use std::fmt;
use std::num::NonZero;
use std::ops::RangeInclusive;

use crate::digest::is_zero;
use crate::error::Error;
use crate::error::Result;
use crate::format::reader::Format;
use crate::io::WriteAt;
use crate::volume::ReadVolume;
use crate::volume::ZerosAsData;
use crate::work::Watch;

/// One way to write images.
#[derive(Debug)]
pub struct Writer {
    /// Stable name, as the command line takes it.
    pub name: &'static str,
    /// What it makes, in one line.
    pub summary: &'static str,
    /// The format that its images are read as.
    pub format: &'static Format,
    /// Bytes that the size of a volume is a multiple of in its images; 1 if any size comes back as it
    /// was. A volume of another size is filled up with zeros.
    pub size_grain: u64,
    /// Makes the image.
    pub write: WriteFn,
    /// The levels of compression that it takes; `None` if it does not compress.
    pub levels: Option<RangeInclusive<i32>>,
    /// What the names of files end in, behind a dot, that are written so where no format is named.
    pub suffixes: &'static [&'static str],
}

/// Makes an image. Syncing and naming the output is the caller's; so is `check_unchanged` of the
/// volumes.
#[derive(Clone, Copy, Debug)]
pub enum WriteFn {
    /// Of one volume.
    One(fn(&dyn ReadVolume, &dyn WriteAt, &WriteOptions<'_>) -> Result<()>),
    /// Of one volume or several.
    Many(fn(&[&dyn ReadVolume], &dyn WriteAt, &WriteOptions<'_>) -> Result<()>),
}

impl Writer {
    /// Makes an image of volumes. Syncing and naming the output is the caller's; so is
    /// `check_unchanged` of the volumes.
    ///
    /// # Errors
    ///
    /// `Invalid` if there are several volumes and the format takes one; `Invalid` or `Unsupported` if it
    /// cannot take the volume; whatever reading and writing return.
    pub fn write(
        &self,
        volumes: &[&dyn ReadVolume],
        sink: &dyn WriteAt,
        options: &WriteOptions<'_>,
    ) -> Result<()> {
        let stored: Vec<_> = volumes.iter().map(|volume| ZerosAsData::new(*volume)).collect();
        let stored: Vec<_> = stored.iter().map(|volume| -> &dyn ReadVolume { volume }).collect();
        let volumes = if options.zeros_as_data { &stored[..] } else { volumes };
        match (self.write, volumes) {
            (WriteFn::One(write), [volume]) => write(*volume, sink, options),
            (WriteFn::Many(write), _) => write(volumes, sink, options),
            (WriteFn::One(_), _) => Err(Error::invalid(format!(
                "an image in {} holds one volume, expected 1, found {}",
                self.name,
                volumes.len()
            ))),
        }
    }

    /// Tells whether one image may hold several volumes.
    #[must_use]
    pub fn takes_many(&self) -> bool {
        matches!(self.write, WriteFn::Many(_))
    }

    /// Tells whether the image is the volume, byte for byte, so that it can be written as it comes.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.format.is_plain()
    }

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

/// How a writer works; the level and what is done about zeros change the bytes that it writes.
#[derive(Clone, Copy)]
pub struct WriteOptions<'a> {
    /// Threads that read and classify.
    pub threads: NonZero<usize>,
    /// Follows the run; told of each byte of the volume once.
    pub watch: &'a dyn Watch,
    /// Level of compression, in the codec's own scale; `None` is the format's default. Formats that
    /// do not compress ignore it.
    pub level: Option<i32>,
    /// Store zeros as data, whatever the format has for them: not all readers know that.
    pub zeros_as_data: bool,
}

impl WriteOptions<'_> {
    /// Tells whether bytes are zeros that are stored as such.
    pub(super) fn is_zero(&self, bytes: &[u8]) -> bool {
        !self.zeros_as_data && is_zero(bytes)
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
