//! `import` and `init`: recipes of AMIs that exist, and one to begin with.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::describe;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::io::OutputFile;
use crate::io::WriteAt;
use crate::ops::shared::case::read_json;
use crate::ops::shared::recipe::read_document;
use crate::ops::shared::report::path_text;
use crate::recipe;
use crate::work::Watch;

/// What is imported.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// What `aws ec2 describe-images` printed, or a call of `RegisterImage`.
    pub path: PathBuf,
    /// Which of several AMIs, by id or name.
    pub image: Option<String>,
    /// Where the recipe goes; a file that is there already stays.
    pub output: Option<PathBuf>,
}

impl ImportRequest {
    /// Asks for the recipe of the only AMI in a document, as text.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), image: None, output: None }
    }
}

/// What was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// The recipe's file.
    #[serde(serialize_with = "some_path", skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    /// Name of the AMI.
    pub name: String,
    /// The recipe.
    pub recipe: String,
}

#[expect(clippy::ref_option, reason = "what serde calls")]
fn some_path<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path_text(path.as_deref().unwrap_or(Path::new("")), to)
}

/// Makes the recipe of an AMI that EC2 described.
///
/// # Errors
///
/// `Invalid` if the input is none, or has several AMIs and none is chosen.
pub fn import(request: &ImportRequest, watch: &dyn Watch) -> Result<ImportReport> {
    let bytes = read_document(&request.path, watch)?;
    let (ami, from) = choose(&bytes, request).map_err(|e| e.in_file(&request.path))?;
    let name = request.path.file_name().unwrap_or_default().to_string_lossy();
    let comment = format!(
        "Recipe of the AMI {from}, made by `amikit import {}`.\nVolumes are its snapshots: to build \
         from images, name those. `amikit lint` says what EC2 would refuse.",
        name.escape_debug()
    );
    let recipe = recipe::write(&ami, &comment);
    if let Some(output) = &request.output {
        write_new(output, &recipe)?;
    }
    Ok(ImportReport { output: request.output.clone(), name: ami.name, recipe })
}

/// Chooses the AMI that the user means, and says which it is.
fn choose(bytes: &[u8], request: &ImportRequest) -> Result<(Ami, String)> {
    let amis: Vec<(Ami, String)> = if let Ok(images) = describe(bytes) {
        images.into_iter().map(|it| (it.ami, it.image_id)).collect()
    } else {
        let (_, amis) = read_json(bytes)?;
        let named = |ami: Ami| {
            let name = format!("{:?}", ami.name);
            (ami, name)
        };
        amis.into_iter().map(named).collect()
    };
    let matches = |(ami, id): &(Ami, String)| {
        request.image.as_ref().is_none_or(|wanted| wanted == id || *wanted == ami.name)
    };
    let mut found: Vec<(Ami, String)> = amis.into_iter().filter(matches).collect();
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    if found.is_empty() {
        let wanted = request.image.as_deref().map(|it| format!(" called {it}")).unwrap_or_default();
        return Err(Error::invalid(format!("it has no AMI{wanted}")));
    }
    let ids: Vec<String> = found.into_iter().map(|(_, id)| id).take(10).collect();
    let text = format!("it has several AMIs: {}", ids.join(", "));
    let example = "ami-...".into();
    Err(Error::invalid(text).advise(Advice::Give { setting: Setting::ImageId, example }))
}

/// Writes a text under a name that is free.
fn write_new(path: &Path, text: &str) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(Error::invalid("it already exists")
            .in_file(path)
            .advise("choose another name for the output, or remove it first"));
    }
    let output = OutputFile::create(path)?;
    output.write_all_at(text.as_bytes(), 0)?;
    output.commit()
}

/// Writes the recipe that a user begins with.
///
/// # Errors
///
/// `Invalid` if something of that name is there; `Io` if it cannot be written.
pub fn init(path: &Path) -> Result<()> {
    write_new(path, recipe::TEMPLATE)
}
