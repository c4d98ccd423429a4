//! `register`: the documents that register, share, copy, deprecate and deregister an AMI.

use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Distribution;
use crate::ami::RegisterImage;
use crate::ami::bare;
use crate::calls::CopyImage;
use crate::calls::DeregisterImage;
use crate::calls::EnableImageDeprecation;
use crate::calls::EnableImageDeregistrationProtection;
use crate::calls::ModifyImageAttribute;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Result;
use crate::error::Setting;
use crate::io::OutputDir;
use crate::lint::check_ids;
use crate::ops::shared::case::Case;
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
    /// Id of the AMI, for the calls that come after its registration.
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

/// Parameters of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[allow(missing_docs, reason = "each is the call of that name")]
pub enum Parameters {
    RegisterImage(Box<RegisterImage>),
    ModifyImageAttribute(ModifyImageAttribute),
    EnableImageDeprecation(EnableImageDeprecation),
    EnableImageDeregistrationProtection(EnableImageDeregistrationProtection),
    CopyImage(CopyImage),
    DeregisterImage(DeregisterImage),
}

/// One call: what `aws ec2 COMMAND --cli-input-json` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    /// The command of `aws ec2`.
    pub command: &'static str,
    /// Region to call it in, where it is another than the AMI's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The document.
    pub parameters: Parameters,
}

impl Document {
    fn new(command: &'static str, parameters: Parameters) -> Self {
        Self { command, region: None, parameters }
    }

    /// Returns the document as the file that the command takes.
    #[must_use]
    pub fn json(&self) -> String {
        let mut text =
            serde_json::to_string_pretty(&self.parameters).expect("plain data always serialises");
        text.push('\n');
        text
    }
}

/// The calls, in the order in which they are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RegisterReport {
    /// The calls.
    pub documents: Vec<Document>,
}

/// Makes the documents of an AMI's calls: `RegisterImage` always, the others once there is an id.
///
/// # Errors
///
/// `Invalid` if a snapshot's id is missing, if there is not one AMI, or if EC2 would refuse it.
pub fn register(request: &RegisterRequest, watch: &dyn Watch) -> Result<RegisterReport> {
    check_ids(&request.allow)?;
    let (_, cases) = open_cases(&request.path, &request.templates, watch)?;
    let count = cases.len();
    let Ok([mut case]) = <[Case; 1]>::try_from(cases) else {
        let text = format!("it has {count} AMIs, expected 1");
        return Err(Error::invalid(text).in_file(&request.path));
    };
    name_snapshots(&mut case, &request.snapshots).map_err(|e| e.in_file(&request.path))?;
    if let Some(error) = refusal(&case.findings(&request.allow)) {
        return Err(error.in_file(&request.path));
    }
    let register = Parameters::RegisterImage(Box::new(RegisterImage::of(&case.ami)));
    let mut documents = vec![Document::new("register-image", register)];
    if let Some(id) = &request.image_id {
        later_calls(&case, id, request, &mut documents)?;
    } else if request.delete_snapshots || !request.copy_to.is_empty() {
        let text = "the AMI's id is not named, which copying and deregistering need";
        return Err(Error::invalid(text)
            .advise(Advice::Give { setting: Setting::ImageId, example: "ami-...".into() }));
    }
    Ok(RegisterReport { documents })
}

/// Puts snapshot ids into the mapping, and refuses a volume with content that has none.
fn name_snapshots(case: &mut Case, snapshots: &[(Option<String>, String)]) -> Result<()> {
    let root = case.ami.root_device_name.clone();
    for (device, id) in snapshots {
        let device = device.as_deref().unwrap_or(&root);
        let mappings = &mut case.ami.block_device_mappings;
        let mapping = mappings.iter_mut().find(|it| it.bare_name() == bare(device));
        let Some(ebs) = mapping.and_then(|it| it.ebs.as_mut()) else {
            return Err(Error::invalid(format!("{device} is no EBS volume of the AMI")));
        };
        ebs.snapshot_id = Some(id.clone());
    }
    for mapping in &case.ami.block_device_mappings {
        let Some(ebs) = &mapping.ebs else { continue };
        if ebs.snapshot_digest.is_some() && ebs.snapshot_id.is_none() {
            let device = &mapping.device_name;
            return Err(Error::invalid(format!("the snapshot of {device} is not named")).advise(
                Advice::Give {
                    setting: Setting::Snapshot,
                    example: format!("{device}=snap-...").into(),
                },
            ));
        }
    }
    Ok(())
}

fn later_calls(
    case: &Case,
    id: &str,
    request: &RegisterRequest,
    documents: &mut Vec<Document>,
) -> Result<()> {
    for call in ModifyImageAttribute::share(id, &case.ami.launch_permissions) {
        let parameters = Parameters::ModifyImageAttribute(call);
        documents.push(Document::new("modify-image-attribute", parameters));
    }
    if let Some(deprecate_at) = case.ami.deprecate_at {
        let call = EnableImageDeprecation { image_id: id.to_owned(), deprecate_at };
        let parameters = Parameters::EnableImageDeprecation(call);
        documents.push(Document::new("enable-image-deprecation", parameters));
    }
    if let Some(protection) = case.ami.deregistration_protection {
        let call = EnableImageDeregistrationProtection::of(id, protection);
        let parameters = Parameters::EnableImageDeregistrationProtection(call);
        documents.push(Document::new("enable-image-deregistration-protection", parameters));
    }
    let asked = request
        .copy_to
        .iter()
        .map(|region| Distribution { region: region.clone(), ..Distribution::default() });
    let own = case.upload.as_ref().and_then(|upload| upload.region.as_deref());
    let source = request.region.as_deref().or(own);
    for copy in case.distribution.iter().cloned().chain(asked) {
        let Some(source) = source else {
            let text = "the AMI's region is not named, which a copy needs";
            return Err(Error::invalid(text)
                .advise(Advice::Give { setting: Setting::Region, example: "REGION".into() }));
        };
        let call = CopyImage::of(&case.ami, id, source, &copy);
        documents.push(Document {
            command: "copy-image",
            region: Some(copy.region),
            parameters: Parameters::CopyImage(call),
        });
    }
    let call = DeregisterImage {
        image_id: id.to_owned(),
        delete_associated_snapshots: request.delete_snapshots,
    };
    documents.push(Document::new("deregister-image", Parameters::DeregisterImage(call)));
    Ok(())
}

/// Writes documents into a new folder, a file each, and returns their names.
///
/// # Errors
///
/// `Io` if the folder cannot be written; `Invalid` if something of that name is there.
pub fn write_documents(documents: &[Document], folder: &std::path::Path) -> Result<Vec<String>> {
    if folder.symlink_metadata().is_ok() {
        return Err(Error::invalid("it is there already, expected a new folder").in_file(folder));
    }
    let output = OutputDir::create(folder)?;
    let mut names: Vec<String> = Vec::new();
    for document in documents {
        let stem = match &document.region {
            Some(region) => format!("{}.{region}", document.command),
            None => document.command.to_owned(),
        };
        let same = names.iter().filter(|name| name.starts_with(&format!("{stem}."))).count();
        let name = if same == 0 { format!("{stem}.json") } else { format!("{stem}.{same}.json") };
        output.write(&name, document.json().as_bytes())?;
        names.push(name);
    }
    output.commit()?;
    Ok(names)
}
