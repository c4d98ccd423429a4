//! `lint`: EC2's rules over a recipe, a bundle, or a document of EC2's.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::ami::Ami;
use crate::ami::Distribution;
use crate::ami::RegisterImage;
use crate::ami::Upload;
use crate::ami::describe;
use crate::bundle::Bundle;
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
use crate::ops::path_text;
use crate::ops::shared::open::open_image;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::recipe::now;
use crate::ops::shared::recipe::open_recipe;
use crate::ops::shared::recipe::read_document;
use crate::ops::shared::recipe::volume_request;
use crate::recipe::Prepared;
use crate::units::BLOCK_SIZE;
use crate::units::ExtentKind;
use crate::volume::ReadVolume;
use crate::volume::extents;
use crate::work::Watch;

/// What is judged.
#[derive(Clone, Debug)]
pub struct LintRequest {
    /// A recipe, a bundle, or JSON: a call of `RegisterImage`, an answer of `DescribeImages`, or a
    /// description.
    pub path: PathBuf,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// Whether snapshots or copies will be encrypted, where the input does not say so.
    pub encrypted: bool,
    /// Values of the recipe's templates.
    pub templates: TemplateRequest,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintReport {
    /// What was judged.
    #[serde(serialize_with = "path_text")]
    pub path: PathBuf,
    /// What it is.
    pub kind: &'static str,
    /// Names of the AMIs in it.
    pub names: Vec<String>,
    /// Rules that are broken.
    pub errors: usize,
    /// Rules that are broken and only warn.
    pub warnings: usize,
    /// The places, errors first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Something to judge, with all that is known of it.
#[derive(Debug, Default)]
pub(in crate::ops) struct Case {
    pub(in crate::ops) ami: Ami,
    pub(in crate::ops) volumes: Vec<VolumeFacts>,
    pub(in crate::ops) upload: Option<Upload>,
    pub(in crate::ops) distribution: Vec<Distribution>,
    pub(in crate::ops) allow: Vec<String>,
    pub(in crate::ops) notes: Vec<String>,
}

impl Case {
    pub(in crate::ops) fn findings(&self, allow: &[String]) -> Vec<Finding> {
        let subject = Subject {
            ami: &self.ami,
            volumes: &self.volumes,
            upload: self.upload.as_ref(),
            distribution: &self.distribution,
            now: now(),
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
                let note = "is in a thin bundle: rules about its inside are not applied";
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
    pub(in crate::ops) fn of_recipe(prepared: &Prepared, watch: &dyn Watch) -> Result<Self> {
        let mut case = Self {
            upload: Some(prepared.upload.clone()),
            distribution: prepared.distribution.clone(),
            allow: prepared.allow.clone(),
            ..Self::default()
        };
        check_ids(&case.allow)?;
        let mut ami = prepared.ami.clone();
        for source in &prepared.sources {
            // Two entries of one device are for a rule to tell: mark the first one of the two.
            let mapping =
                ami.block_device_mappings.iter_mut().find(|it| it.device_name == source.device);
            let ebs = mapping.and_then(|it| it.ebs.as_mut());
            if let Some(ebs) = ebs {
                ebs.snapshot_digest = Some(crate::digest::Digest([0; 32]));
            }
            if !is_there(&source.image) {
                let note = "is not there: rules about its content are not applied";
                case.notes.push(format!("{} {note}", source.image.display()));
                continue;
            }
            let image = open_image(&volume_request(source)?.image, watch)?;
            let (hole_bytes, layout) = look(&image.volume).map_err(|e| e.in_file(&source.image))?;
            case.volumes.push(VolumeFacts {
                device: source.device.clone(),
                size: image.volume.size(),
                hole_bytes: Some(hole_bytes),
                layout: Some(layout),
            });
        }
        case.ami = ami;
        Ok(case)
    }
}

/// Tells whether an image is there; a disk of an archive stands behind a colon.
fn is_there(image: &Path) -> bool {
    let archive = image.to_str().and_then(|text| text.rsplit_once(':')).map(|(path, _)| path);
    image.exists() || archive.is_some_and(|path| Path::new(path).exists())
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
    if Bundle::is_at(path) {
        return Ok(("bundle", vec![Case::of_bundle(&Bundle::open(path)?)?]));
    }
    if path.extension().is_some_and(|it| it == "toml") {
        let prepared = open_recipe(path, templates)?;
        return Ok(("recipe", vec![Case::of_recipe(&prepared, watch)?]));
    }
    let bytes = read_document(path)?;
    let (kind, amis) = read_json(&bytes).map_err(|e| e.in_file(path))?;
    Ok((kind, amis.into_iter().map(|ami| Case { ami, ..Case::default() }).collect()))
}

/// Reads a JSON document of EC2's, or a description.
pub(in crate::ops) fn read_json(bytes: &[u8]) -> Result<(&'static str, Vec<Ami>)> {
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| {
        Error::invalid(format!("it is no JSON: {e}"))
            .advise("a recipe's name ends in .toml; a bundle is a folder or a .tar")
    })?;
    if value.get("Images").is_some() {
        let images = describe(bytes)
            .map_err(|e| Error::invalid(format!("it is no answer of DescribeImages: {e}")))?;
        return Ok(("describe-images", images.into_iter().map(|it| it.ami).collect()));
    }
    let own = ["LaunchPermissions", "ProductCodes", "Tags", "DeprecateAt", "Provenance"];
    let digests = value["BlockDeviceMappings"]
        .as_array()
        .is_some_and(|list| list.iter().any(|it| it["Ebs"].get("SnapshotDigest").is_some()));
    if digests || own.iter().any(|name| value.get(name).is_some()) {
        let ami = serde_json::from_slice(bytes)
            .map_err(|e| Error::invalid(format!("it is no AMI description: {e}")))?;
        return Ok(("description", vec![ami]));
    }
    let call: RegisterImage = serde_json::from_slice(bytes)
        .map_err(|e| Error::invalid(format!("it is no call of RegisterImage: {e}")))?;
    Ok(("register-image", vec![call.into()]))
}

/// Reads the description that a recipe, a bundle or a document holds.
///
/// # Errors
///
/// `Invalid` if there is not exactly one.
pub fn read_ami(path: &Path, templates: &TemplateRequest) -> Result<Ami> {
    if path.extension().is_some_and(|it| it == "toml") {
        // Its images are not looked at: the user names others.
        return Ok(open_recipe(path, templates)?.ami);
    }
    let mut amis = if Bundle::is_at(path) {
        vec![Bundle::open(path)?.ami().clone()]
    } else {
        read_json(&read_document(path)?).map_err(|e| e.in_file(path))?.1
    };
    match (amis.pop(), amis.is_empty()) {
        (Some(ami), true) => Ok(ami),
        _ => Err(Error::invalid("it has not exactly one AMI").in_file(path)),
    }
}

/// Judges a recipe, a bundle, or a document.
///
/// # Errors
///
/// `Invalid` if it is none of them, or if an id is no rule's; as opening bundles and images.
pub fn lint(request: &LintRequest, watch: &dyn Watch) -> Result<LintReport> {
    check_ids(&request.allow)?;
    let (kind, mut cases) = open_cases(&request.path, &request.templates, watch)?;
    let mut report = LintReport {
        path: request.path.clone(),
        kind,
        names: Vec::new(),
        errors: 0,
        warnings: 0,
        findings: Vec::new(),
        notes: Vec::new(),
    };
    let several = cases.len() > 1;
    for case in &mut cases {
        if request.encrypted {
            case.upload.get_or_insert_default().encrypted = true;
        }
        let name = case.ami.name.clone();
        let found = case.findings(&request.allow).into_iter().map(|mut finding| {
            if several {
                finding.place = format!("{name:?}: {}", finding.place);
            }
            finding
        });
        report.findings.extend(found);
        report.names.push(name);
        report.notes.append(&mut case.notes);
    }
    report.findings.sort_by_key(|finding| finding.level);
    report.errors = report.findings.iter().filter(|it| it.level == Level::Error).count();
    report.warnings = report.findings.len().strict_sub(report.errors);
    Ok(report)
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
    Some(Error::new(Kind::Invalid, text).advise("--allow RULE lets one pass that is meant"))
}

/// Fails if an error-level rule is broken.
pub(in crate::ops) fn refuse(subject: &Subject<'_>, allow: &[String]) -> Result<()> {
    check_ids(allow)?;
    refusal(&apply_rules(subject, allow)).map_or(Ok(()), Err)
}
