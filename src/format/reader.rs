//! What a format is to a reader: how its images are recognized, and how they become volumes.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::compress::MAX_WINDOW_LEN;
use crate::compress::Wrapping;
use crate::error::Error;
use crate::error::Result;
use crate::format::gate::Gate;
use crate::format::parsed::Parsed;
use crate::io::Input;
use crate::io::ReadAt;
use crate::work::Unwatched;
use crate::work::Watch;

/// Tells whether bytes say of themselves that they are in a format.
pub type ProbeFn = fn(&dyn ReadAt) -> Result<bool>;

/// Lists the volumes of an image.
pub type DisksFn = fn(&Arc<Input>) -> Result<Vec<String>>;

/// One image format, as it is read.
#[derive(Debug)]
pub struct Format {
    /// Stable name, as the command line takes it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// How its images are recognized; `None` for raw, which no byte tells from anything else.
    pub probe: Option<ProbeFn>,
    /// Makes a volume of an image.
    pub open: fn(&OpenRequest<'_>) -> Result<Parsed>,
    /// What a file of it holds.
    pub content: Content,
}

/// What a file of a format holds.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// A volume as it is: byte n of the file is byte n of the volume.
    Plain,
    /// A volume, and metadata that says where its bytes are.
    Mapped,
    /// Any bytes, compressed as a whole.
    Compressed(InOrder),
    /// Files, one of which is chosen by its name.
    Files {
        /// Lists those that are volumes of one machine, where the archive says which.
        disks: Option<DisksFn>,
    },
}

impl Format {
    /// Tells whether the file is the volume, byte for byte.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        matches!(self.content, Content::Plain)
    }

    /// Tells whether the file holds other files.
    #[must_use]
    pub fn holds_files(&self) -> bool {
        matches!(self.content, Content::Files { .. })
    }

    /// Returns how the file is read once and in order, if it is compressed as a whole.
    #[must_use]
    pub fn in_order(&self) -> Option<InOrder> {
        match self.content {
            Content::Compressed(in_order) => Some(in_order),
            _ => None,
        }
    }

    /// Returns what lists the volumes of a file that may hold several.
    #[must_use]
    pub fn disks(&self) -> Option<DisksFn> {
        match self.content {
            Content::Files { disks } => disks,
            _ => None,
        }
    }

    /// Tells whether the bytes say of themselves that they are in this format.
    ///
    /// # Errors
    ///
    /// `Io` if they cannot be read.
    pub fn is_in(&self, bytes: &dyn ReadAt) -> Result<bool> {
        self.probe.map_or(Ok(false), |probe| probe(bytes))
    }
}

/// There is one value for each format, so two are the same if they stand at one place.
impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Format {}

/// How an image that is compressed as a whole is read.
#[derive(Clone, Copy, Debug)]
pub struct InOrder {
    /// How it is compressed.
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
    /// The format of that volume, where the user names it; else its bytes decide.
    pub member_format: Option<&'static Format>,
    /// What the image may name.
    pub gate: Gate,
    /// Open an image that says of itself that it may be damaged or in use.
    pub force: bool,
    /// Most bytes back that a compressed stream may refer to, which is the memory that unpacking takes.
    pub max_window: u64,
    /// Most bytes of the volume that the caller accepts.
    pub max_size: Option<u64>,
    /// Follows the run, and may stop it while much has to be read.
    pub watch: &'a dyn Watch,
    /// The files that were opened because an image names them.
    pub(super) named: Mutex<Vec<Arc<Input>>>,
}

impl Default for OpenRequest<'_> {
    fn default() -> Self {
        Self {
            inputs: Vec::new(),
            member: None,
            member_format: None,
            gate: Gate::default(),
            force: false,
            max_window: MAX_WINDOW_LEN,
            max_size: None,
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
    pub(super) fn into_inputs(self) -> Vec<Arc<Input>> {
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
                "a {format} image is one file, expected 1, found {}",
                inputs.len()
            ))),
        }
    }
}
