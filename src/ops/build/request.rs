//! What is built.

use std::num::NonZero;
use std::path::PathBuf;

use crate::bundle::FreeRecord;
use crate::chunking::States;
use crate::lint::Audience;
use crate::ops::shared::groups::Groups;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::recipe::TemplateRequest;
use crate::pack::DEFAULT_PACK_SIZE;
use crate::work::default_threads;

/// What is built.
#[derive(Clone, Debug)]
pub struct BuildRequest {
    /// The recipe.
    pub recipe: PathBuf,
    /// Where the bundle goes.
    pub output: PathBuf,
    /// Where the plan of its upload goes; beside the bundle where there is none.
    pub plan: Option<PathBuf>,
    /// Volumes in the place of the recipe's own, by device.
    pub images: Vec<MappedVolume>,
    /// Values of the recipe's templates.
    pub templates: TemplateRequest,
    /// Rules that are not applied, beside the recipe's.
    pub allow: Vec<String>,
    /// For whom the AMI is, in the place of what the recipe says.
    pub audience: Option<Audience>,
    /// How chunks are compressed.
    pub groups: Groups,
    /// Bytes at which packs are closed.
    pub pack_size: u64,
    /// Threads to work on.
    pub threads: NonZero<usize>,
    /// What is done about states.
    pub states: States,
    /// What becomes of free blocks, in the place of what the recipe says.
    pub free: Option<FreeRecord>,
    /// The program `amikit`, by which a machine that is started has a metadata service.
    pub program: Option<PathBuf>,
}

impl BuildRequest {
    /// Asks for the bundle of a recipe with what `pack` does where nothing else is said.
    #[must_use]
    pub fn new(recipe: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            recipe: recipe.into(),
            output: output.into(),
            plan: None,
            images: Vec::new(),
            templates: TemplateRequest::default(),
            allow: Vec::new(),
            audience: None,
            groups: Groups::default(),
            pack_size: DEFAULT_PACK_SIZE,
            threads: default_threads(),
            states: States::default(),
            free: None,
            program: None,
        }
    }
}
