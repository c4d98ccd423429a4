//! Something to judge by EC2's rules: a recipe, a bundle, or a document of EC2's, as cases.

use std::path::Path;

use crate::ami::Ami;
use crate::ami::Distribution;
use crate::ami::RegisterImage;
use crate::ami::Upload;
use crate::ami::describe;
use crate::bundle::Bundle;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::guest;
use crate::guest::Layout;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::Subject;
use crate::lint::VolumeFacts;
use crate::lint::check_ids;
use crate::lint::lint as apply_rules;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::open::open;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::recipe::mapped_volumes;
use crate::ops::shared::recipe::now;
use crate::ops::shared::recipe::open_recipe;
use crate::ops::shared::recipe::read_document;
use crate::recipe::Prepared;
use crate::units::BLOCK_SIZE;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Watch;

/// Something to judge, with all that is known of it.
#[derive(Debug, Default)]
pub(in crate::ops) struct Case {
    pub(in crate::ops) ami: Ami,
    pub(in crate::ops) volumes: Vec<VolumeFacts>,
    pub(in crate::ops) upload: Option<Upload>,
    pub(in crate::ops) distribution: Vec<Distribution>,
    pub(in crate::ops) image_id: Option<String>,
    pub(in crate::ops) allow: Vec<String>,
    pub(in crate::ops) notes: Vec<String>,
}

impl Case {
    pub(in crate::ops) fn findings(&self, allow: &[String]) -> Vec<Finding> {
        let subject = Subject {
            volumes: &self.volumes,
            upload: self.upload.as_ref(),
            distribution: &self.distribution,
            image_id: self.image_id.as_deref(),
            now: now(),
            ..Subject::of(&self.ami)
        };
        apply_rules(&subject, &[&self.allow[..], allow].concat())
    }

    /// Takes a bundle, and looks into its volumes.
    pub(in crate::ops) fn of_bundle(bundle: &Bundle) -> Result<Self> {
        let mut case = Self { ami: bundle.ami().clone(), ..Self::default() };
        // A thin bundle has no bytes to look at without its base.
        let is_thin = bundle.is_thin()?;
        for layer in bundle.snapshots() {
            let manifest = bundle.manifest(layer)?;
            let layout = if is_thin {
                let note = "is in a thin bundle: rules about its content are not applied";
                case.notes.push(format!("{} {note}", layer.device));
                None
            } else {
                Some(guest::look(&bundle.snapshot(Some(&layer.device))?)?)
            };
            case.volumes.push(VolumeFacts {
                device: layer.device.clone(),
                size: manifest.volume_size(),
                // At most 2^27 blocks.
                hole_bytes: Some(manifest.header().counts.hole.strict_mul(BLOCK_SIZE)),
                layout,
            });
        }
        Ok(case)
    }

    /// Takes a recipe, and looks into the images that are there.
    pub(in crate::ops) fn of_recipe(
        prepared: &Prepared,
        volumes: &[MappedVolume],
        watch: &dyn Watch,
    ) -> Result<Self> {
        let mut case = Self {
            upload: Some(prepared.upload.clone()),
            distribution: prepared.distribution.clone(),
            allow: prepared.allow.clone(),
            ..Self::default()
        };
        check_ids(&case.allow)?;
        let mut ami = prepared.ami.clone();
        for MappedVolume { device, image } in volumes {
            // Two entries of one device are for a rule to find: mark the first of the two.
            let mapping = ami.block_device_mappings.iter_mut().find(|it| it.device_name == *device);
            let ebs = mapping.and_then(|it| it.ebs.as_mut());
            if let Some(ebs) = ebs {
                ebs.snapshot_digest = Some(crate::digest::Digest([0; 32]));
            }
            if !image.image.path.exists() {
                let note = "does not exist: rules about its content are not applied";
                case.notes.push(format!("{} {note}", image.typed().display()));
                continue;
            }
            let opened = open(image, watch)?;
            let volume = opened.volume();
            let (hole_bytes, layout) = look(volume).map_err(|e| image.fail(e))?;
            case.volumes.push(VolumeFacts {
                device: device.clone(),
                size: volume.size(),
                hole_bytes: Some(hole_bytes),
                layout: Some(layout),
            });
        }
        case.ami = ami;
        Ok(case)
    }
}

/// Returns the bytes of a volume that are holes, and what is inside.
fn look(volume: &dyn ReadVolume) -> Result<(u64, Layout)> {
    let mut holes = 0_u64;
    for extent in extents(volume) {
        let extent = extent?;
        if extent.kind == ExtentKind::Hole {
            // The extents tile a volume of at most 2^46 bytes.
            holes = holes.strict_add(extent.len());
        }
    }
    Ok((holes, guest::look(volume)?))
}

/// What a file is, taken as AMIs.
pub(in crate::ops) fn open_cases(
    path: &Path,
    templates: &TemplateRequest,
    watch: &dyn Watch,
) -> Result<(&'static str, Vec<Case>)> {
    if Bundle::is_at(path)? {
        return Ok(("bundle", vec![Case::of_bundle(&Bundle::open(path)?)?]));
    }
    if path.extension().is_some_and(|it| it == "toml") {
        let prepared = open_recipe(path, templates, watch)?;
        return Ok((
            "recipe",
            vec![Case::of_recipe(&prepared, &mapped_volumes(&prepared, &[])?, watch)?],
        ));
    }
    let bytes = read_document(path, watch)?;
    let (kind, amis) = read_json(&bytes).map_err(|e| e.in_file(path))?;
    Ok((kind, amis.into_iter().map(|ami| Case { ami, ..Case::default() }).collect()))
}

/// Reads a JSON document of EC2's, or a description.
pub(in crate::ops) fn read_json(bytes: &[u8]) -> Result<(&'static str, Vec<Ami>)> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| {
        Error::invalid(format!("it is not JSON: {e}"))
            .advise("a recipe's name ends in .toml; a bundle is a folder or a .tar")
    })?;
    if value.get("Images").is_some() {
        let images = describe(bytes)
            .map_err(|e| Error::invalid(format!("it is not an answer of DescribeImages: {e}")))?;
        return Ok(("describe-images", images.into_iter().map(|it| it.ami).collect()));
    }
    let own = ["LaunchPermissions", "ProductCodes", "Tags", "DeprecateAt", "Provenance"];
    let digests = value["BlockDeviceMappings"]
        .as_array()
        .is_some_and(|list| list.iter().any(|it| it["Ebs"].get("SnapshotDigest").is_some()));
    if digests || own.iter().any(|name| value.get(name).is_some()) {
        let ami = serde_json::from_slice(bytes)
            .map_err(|e| Error::invalid(format!("it is not an AMI description: {e}")))?;
        return Ok(("description", vec![ami]));
    }
    let call: RegisterImage = serde_json::from_slice(bytes)
        .map_err(|e| Error::invalid(format!("it is not a call of RegisterImage: {e}")))?;
    Ok(("register-image", vec![call.into()]))
}

/// Reads the description that a recipe, a bundle or a document holds.
///
/// # Errors
///
/// `Invalid` if there is not exactly one.
pub fn read_ami(path: &Path, templates: &TemplateRequest, watch: &dyn Watch) -> Result<Ami> {
    if path.extension().is_some_and(|it| it == "toml") {
        // Its images are not looked at: the user names others.
        return Ok(open_recipe(path, templates, watch)?.ami);
    }
    let mut amis = if Bundle::is_at(path)? {
        vec![Bundle::open(path)?.ami().clone()]
    } else {
        read_json(&read_document(path, watch)?).map_err(|e| e.in_file(path))?.1
    };
    match (amis.pop(), amis.is_empty()) {
        (Some(ami), true) => Ok(ami),
        _ => Err(Error::invalid("it does not have exactly one AMI").in_file(path)),
    }
}

/// Says all errors of a list in one sentence; `None` if there is none.
pub(in crate::ops) fn refusal(findings: &[Finding]) -> Option<Error> {
    let errors: Vec<String> = findings
        .iter()
        .filter(|finding| finding.level == Level::Error)
        .map(|it| format!("{}: {}, expected {} [{}]", it.place, it.found, it.instead, it.rule))
        .collect();
    let (first, rest) = errors.split_first()?;
    let mut text = first.clone();
    for error in rest {
        text.push_str("; ");
        text.push_str(error);
    }
    Some(Error::new(Kind::Invalid, text).advise(Advice::AllowRule))
}

/// Fails if an error-level rule is broken.
pub(in crate::ops) fn refuse(subject: &Subject<'_>, allow: &[String]) -> Result<()> {
    check_ids(allow)?;
    refusal(&apply_rules(subject, allow)).map_or(Ok(()), Err)
}
