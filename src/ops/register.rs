//! `register`: the documents that register, share, copy, deprecate and deregister an AMI.

use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Distribution;
use crate::ami::bare;
use crate::calls::Action;
use crate::calls::Call;
use crate::calls::DeregisterImage;
use crate::calls::Id;
use crate::calls::Made;
use crate::calls::Registration;
use crate::calls::command;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::io::Node;
use crate::io::OutputDir;
use crate::lint::check_ids;
use crate::ops::shared::case::Case;
use crate::ops::shared::case::Look;
use crate::ops::shared::case::open_cases;
use crate::ops::shared::case::refusal;
use crate::ops::shared::recipe::TemplateRequest;
use crate::work::Watch;

/// What documents are made of.
#[derive(Clone, Debug)]
pub struct RegisterRequest {
    /// A bundle, a recipe, or a JSON document with one AMI.
    pub path: PathBuf,
    /// Ids of snapshots by device; the root device where none is named.
    pub snapshots: Vec<(Option<String>, String)>,
    /// Id of the AMI, once it is registered.
    pub image_id: Option<String>,
    /// Region of the AMI, for copies.
    pub region: Option<String>,
    /// Regions to copy to, beside those of a recipe.
    pub copy_to: Vec<String>,
    /// Whether deregistering deletes the snapshots.
    pub delete_snapshots: bool,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// Values of the recipe's templates.
    pub templates: TemplateRequest,
}

impl RegisterRequest {
    /// Asks for the calls, with ids still to be filled in.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            snapshots: Vec::new(),
            image_id: None,
            region: None,
            copy_to: Vec::new(),
            delete_snapshots: false,
            allow: Vec::new(),
            templates: TemplateRequest::default(),
        }
    }
}

/// One call, or one wait: what `aws ec2 COMMAND --cli-input-json` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The command of `aws ec2`, such as `register-image` or `wait image-available`.
    pub command: String,
    /// EC2's name of the call.
    pub call: &'static str,
    /// Region to call it in, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether it takes the AMI away again, and is not among those to run now.
    #[serde(skip_serializing_if = "is_false")]
    pub undoes: bool,
    /// The document.
    pub parameters: Call,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_false(it: &bool) -> bool {
    !it
}

impl Document {
    fn of(action: Action) -> Self {
        let call = action.parameters.name();
        let command = match &action.parameters {
            Call::DescribeImages(_) => "wait image-available".to_owned(),
            Call::DescribeSnapshots(_) => "wait snapshot-completed".to_owned(),
            _ => command(call),
        };
        Self { command, call, region: action.region, undoes: false, parameters: action.parameters }
    }

    fn deregister(image_id: Id, region: Option<&str>, delete_associated_snapshots: bool) -> Self {
        let call = DeregisterImage { image_id, delete_associated_snapshots };
        let action = Action::of(region, Call::DeregisterImage(call));
        Self { undoes: true, ..Self::of(action) }
    }

    /// Returns the document as the file that the command takes.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(&self.parameters).expect("plain data always serialises");
        text.push('\n');
        text
    }

    /// Returns what stands for ids that are not known yet.
    #[must_use]
    pub fn placeholders(&self) -> Vec<Made> {
        let json = self.json();
        let pieces = json.split('"').filter_map(|piece| Id::parse(piece).made().cloned());
        let mut found: Vec<Made> = Vec::new();
        for made in pieces {
            if !found.contains(&made) {
                found.push(made);
            }
        }
        found
    }
}

/// The calls, in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterReport {
    /// The calls.
    pub documents: Vec<Document>,
    /// What the user should hear although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl RegisterReport {
    /// Says what is to be filled in in some of the documents; nothing if they are whole.
    #[must_use]
    pub fn drafts(documents: &[Document]) -> Vec<String> {
        let mut found: Vec<Made> = Vec::new();
        for made in documents.iter().flat_map(Document::placeholders) {
            if !found.contains(&made) {
                found.push(made);
            }
        }
        found
            .into_iter()
            .map(|made| match &made {
                Made::Snapshot { device } => {
                    format!("put the id of the snapshot of {device} in the place of {made}")
                }
                Made::Image { number: 0 } => {
                    format!("put the id that register-image answers in the place of {made}")
                }
                Made::Image { number } => {
                    format!("put the id that copy-image {number} answers in the place of {made}")
                }
                Made::Copied { number, device } => format!(
                    "put the id of the snapshot of {device} of copy {number} in the place of {made}"
                ),
            })
            .collect()
    }
}

/// Makes the documents of an AMI's calls. An id that is not known is a placeholder.
///
/// # Errors
///
/// `Invalid` if there is not one AMI, or if EC2 would refuse it.
pub fn register(request: &RegisterRequest, watch: &dyn Watch) -> Result<RegisterReport> {
    check_ids(&request.allow)?;
    let cases = open_cases(&request.path, &request.templates, Look::Outside, watch)?.cases;
    let count = cases.len();
    let Ok([mut case]) = <[Case; 1]>::try_from(cases) else {
        let text = format!("it has {count} AMIs, expected 1");
        return Err(Error::invalid(text).in_file(&request.path));
    };
    name_snapshots(&mut case, &request.snapshots).map_err(|e| e.in_file(&request.path))?;
    // What is asked for on the way meets the same rules as what the description says.
    let upload = case.upload.get_or_insert_default();
    if request.region.is_some() {
        upload.region.clone_from(&request.region);
    }
    // Who registers an AMI that is there wants another one like it.
    case.is_answer = false;
    case.image_id.clone_from(&request.image_id);
    case.distribution.extend(request.copy_to.iter().map(|region| Distribution::to(region)));
    if upload.region.is_none() && !case.distribution.is_empty() {
        let text = "the AMI's region is not named, which a copy needs";
        let advice = Advice::Give { setting: Setting::Region, example: "REGION".into() };
        return Err(Error::invalid(text).in_file(&request.path).advise(advice));
    }
    if let Some(error) = refusal(&case.findings(&request.allow)) {
        return Err(error.in_file(&request.path));
    }
    let notes = std::mem::take(&mut case.notes);
    Ok(RegisterReport { documents: documents(&case, request), notes })
}

/// Puts snapshot ids into the mapping.
fn name_snapshots(case: &mut Case, snapshots: &[(Option<String>, String)]) -> Result<()> {
    let root = case.ami.root_device_name.clone();
    for (device, id) in snapshots {
        let device = device.as_deref().unwrap_or(&root);
        let mappings = &mut case.ami.block_device_mappings;
        let mapping = mappings.iter_mut().find(|it| it.bare_name() == bare(device));
        let Some(ebs) = mapping.and_then(|it| it.ebs.as_mut()) else {
            return Err(Error::invalid(format!("{device} is not an EBS volume of the AMI")));
        };
        ebs.snapshot_id = Some(id.clone());
    }
    Ok(())
}

fn documents(case: &Case, request: &RegisterRequest) -> Vec<Document> {
    let mappings = case.ami.block_device_mappings.iter();
    let snapshots: Vec<(String, Id)> = mappings
        .filter_map(|mapping| {
            let ebs = mapping.ebs.as_ref().filter(|ebs| ebs.has_content())?;
            let id = match &ebs.snapshot_id {
                Some(id) => Id::Known(id.clone()),
                None => Id::of_snapshot(&mapping.device_name),
            };
            Some((mapping.device_name.clone(), id))
        })
        .collect();
    let image = request.image_id.clone().map_or(Id::of_image(0), Id::Known);
    let upload = case.upload.clone().unwrap_or_default();
    let registration = Registration {
        ami: &case.ami,
        snapshots: &snapshots,
        image: &image,
        upload: &upload,
        distribution: &case.distribution,
    };
    let mut documents: Vec<Document> =
        registration.actions().into_iter().map(Document::of).collect();
    let delete = request.delete_snapshots;
    documents.push(Document::deregister(image, upload.region.as_deref(), delete));
    for (number, copy) in (1..).zip(&case.distribution) {
        documents.push(Document::deregister(Id::of_image(number), Some(&copy.region), delete));
    }
    documents
}

/// Folder of the documents that take an AMI away again.
const UNDO: &str = "undo";

/// Writes documents into a new folder, a file each, and returns their names. Those to run are numbered
/// in their order; those that take the AMI away again are in a folder of their own.
///
/// # Errors
///
/// `Io` if the folder cannot be written; `Invalid` if something of that name is there.
pub fn write_documents(documents: &[Document], folder: &std::path::Path) -> Result<Vec<String>> {
    if Node::itself(folder)?.is_some() {
        return Err(Error::invalid("it already exists, expected a new folder").in_file(folder));
    }
    let output = OutputDir::create(folder)?;
    output.make_dir(UNDO)?;
    let mut names: Vec<String> = Vec::new();
    for (number, document) in (1_usize..).zip(documents) {
        let mut stem = document.command.replace(' ', "-");
        if let Some(region) = &document.region {
            stem = format!("{stem}.{region}");
        }
        let stem =
            if document.undoes { format!("{UNDO}/{stem}") } else { format!("{number:02}-{stem}") };
        let same = names.iter().filter(|name| name.starts_with(&format!("{stem}."))).count();
        let name = if same == 0 { format!("{stem}.json") } else { format!("{stem}.{same}.json") };
        output.write(&name, document.json().as_bytes())?;
        names.push(name);
    }
    output.commit()?;
    Ok(names)
}
