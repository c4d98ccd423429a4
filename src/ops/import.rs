//! `import`: recipes of AMIs that exist.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Described;
use crate::ami::Document;
use crate::ami::LeftOut;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::ops::shared::recipe::now;
use crate::ops::shared::recipe::read_document;
use crate::ops::shared::recipe::write_new;
use crate::ops::shared::report::path_text;
use crate::recipe;
use crate::recipe::Recipe;
use crate::work::Watch;

/// What is imported.
#[derive(Clone, Debug)]
pub struct ImportRequest {
    /// What `aws ec2 describe-images` printed, or a call of `RegisterImage`.
    pub path: PathBuf,
    /// Which of several AMIs, by id or name.
    pub image: Option<String>,
    /// Whether who may launch the AMI, its deprecation and its protection are taken over although it is
    /// public, or of AWS or AWS Marketplace.
    pub keep_permissions: bool,
    /// Where the recipe goes; a file that is there already stays.
    pub output: Option<PathBuf>,
}

impl ImportRequest {
    /// Asks for the recipe of the only AMI in a document, as text.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), image: None, output: None, keep_permissions: false }
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
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

#[expect(clippy::ref_option, reason = "what serde calls")]
fn some_path<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path_text(path.as_deref().unwrap_or(Path::new("")), to)
}

/// An AMI that can be imported.
struct Candidate {
    ami: Ami,
    /// What it is called where one is to be chosen.
    id: String,
    left_out: Vec<LeftOut>,
}

/// Makes the recipe of an AMI that EC2 described.
///
/// # Errors
///
/// `Invalid` if the input is none, or has several AMIs and none is chosen.
pub fn import(request: &ImportRequest, watch: &dyn Watch) -> Result<ImportReport> {
    let fail = |e: Error| e.in_file(&request.path);
    let candidates = candidates(read_document(&request.path, watch)?, request).map_err(fail)?;
    let Candidate { ami, id, left_out } = choose(candidates, request).map_err(fail)?;
    let name = request.path.file_name().unwrap_or_default().to_string_lossy();
    let comment = format!(
        "Recipe of the AMI {id}, imported from {}.\nVolumes are its snapshots: to build from images, \
         name those. The rules say what EC2 would refuse.",
        name.escape_debug()
    );
    let recipe = recipe::write(&ami, &comment, &left_out);
    if let Some(output) = &request.output {
        write_new(output, &recipe)?;
    }
    let count = left_out.iter().filter(|it| !matches!(it, LeftOut::NotInAnswer { .. })).count();
    let notes = if count == 0 {
        Vec::new()
    } else {
        vec![format!("{count} facts are not taken over; comments in the recipe say which and why")]
    };
    Ok(ImportReport { output: request.output.clone(), name: ami.name, recipe, notes })
}

/// Takes what a document says of AMIs.
fn candidates(document: Document, request: &ImportRequest) -> Result<Vec<Candidate>> {
    let named =
        |ami: Ami, left_out| vec![Candidate { id: format!("{:?}", ami.name), ami, left_out }];
    match document {
        Document::Images(images) => {
            let candidate = |described: Described| {
                let id = described.image_id.clone();
                let (ami, left_out) = described.into_wishes(request.keep_permissions, now());
                Candidate { ami, id, left_out }
            };
            Ok(images.into_iter().map(candidate).collect())
        }
        Document::Call(call) => {
            Ok(named(call.ami, call.unread.into_iter().map(LeftOut::Unread).collect()))
        }
        Document::Description(ami) => Ok(named(*ami, Vec::new())),
        Document::Text(text) => Err(match Recipe::parse(&text) {
            Ok(_) => {
                Error::invalid("it is a recipe, expected an answer of DescribeImages or a call")
            }
            Err(_) => {
                Error::corrupt("it is not JSON, expected an answer of DescribeImages or a call")
            }
        }),
    }
}

/// Chooses the AMI that the user means.
fn choose(candidates: Vec<Candidate>, request: &ImportRequest) -> Result<Candidate> {
    let matches = |it: &Candidate| {
        request.image.as_ref().is_none_or(|wanted| *wanted == it.id || *wanted == it.ami.name)
    };
    let mut found: Vec<Candidate> = candidates.into_iter().filter(matches).collect();
    if found.len() == 1 {
        return Ok(found.remove(0));
    }
    if found.is_empty() {
        let wanted = request.image.as_deref().map(|it| format!(" called {it}")).unwrap_or_default();
        return Err(Error::invalid(format!("it has no AMI{wanted}")));
    }
    let ids: Vec<String> = found.into_iter().map(|it| it.id).take(10).collect();
    let text = format!("it has several AMIs: {}", ids.join(", "));
    let example = "ami-...".into();
    Err(Error::invalid(text).advise(Advice::Give { setting: Setting::ImageId, example }))
}
