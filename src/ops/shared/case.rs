//! Something to judge by EC2's rules: a recipe, a bundle, or a document of EC2's, as cases.

use std::path::Path;

use crate::ami::Ami;
use crate::ami::Called;
use crate::ami::Described;
use crate::ami::Distribution;
use crate::ami::Document;
use crate::ami::Oddity;
use crate::ami::Unread;
use crate::ami::Upload;
use crate::bundle::Bundle;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::guest;
use crate::guest::Layout;
use crate::io::Node;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::Subject;
use crate::lint::VolumeFacts;
use crate::lint::check_ids;
use crate::lint::lint as apply_rules;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::open::find_bundle;
use crate::ops::shared::open::open;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::recipe::mapped_volumes;
use crate::ops::shared::recipe::now;
use crate::ops::shared::recipe::prepare;
use crate::ops::shared::recipe::read_document;
use crate::recipe::Prepared;
use crate::recipe::Recipe;
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
    /// What a call has and could not be read.
    pub(in crate::ops) unread: Vec<Unread>,
    /// Whether EC2 says that the AMI is so, and nobody asks for it.
    pub(in crate::ops) is_answer: bool,
    pub(in crate::ops) notes: Vec<String>,
}

impl Case {
    pub(in crate::ops) fn findings(&self, allow: &[String]) -> Vec<Finding> {
        let subject = Subject {
            volumes: &self.volumes,
            upload: self.upload.as_ref(),
            distribution: &self.distribution,
            image_id: self.image_id.as_deref(),
            unread: &self.unread,
            is_answer: self.is_answer,
            now: now(),
            ..Subject::of(&self.ami)
        };
        apply_rules(&subject, &[&self.allow[..], allow].concat())
    }

    /// Takes an AMI that EC2 described. What is strange in it is told, and is nobody's fault.
    fn of_described(described: Described) -> Self {
        let name =
            if described.image_id.is_empty() { &described.ami.name } else { &described.image_id };
        let note = |it: &Unread| format!("{name}: {} is left out: it is {}", it.place, it.found);
        let notes = described.unread.iter().map(note).collect();
        let (ami, _) = described.into_wishes(false, now());
        Self { ami, is_answer: true, notes, ..Self::default() }
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
            unread: prepared.unread.clone(),
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
            if Node::at(&image.image.path)?.is_none() {
                let note = "does not exist: rules about its content are not applied";
                case.notes.push(format!("{} {note}", shown(&image.typed())));
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

/// Something to judge, and what it was taken from.
pub(in crate::ops) struct Cases {
    /// What the input is.
    pub(in crate::ops) kind: &'static str,
    /// What is in it.
    pub(in crate::ops) cases: Vec<Case>,
}

impl Cases {
    fn one(kind: &'static str, case: Case) -> Self {
        Self { kind, cases: vec![case] }
    }

    /// Takes what a document of EC2's says.
    fn of_document(document: Document) -> Self {
        match document {
            Document::Images(images) => {
                let cases = images.into_iter().map(Case::of_described).collect();
                Self { kind: "describe-images", cases }
            }
            Document::Call(call) => {
                let kind = if call.is_skeleton { "skeleton" } else { "register-image" };
                let Called { ami, unread, .. } = *call;
                Self::one(kind, Case { ami, unread, ..Case::default() })
            }
            Document::Description(ami) => {
                Self::one("description", Case { ami: *ami, ..Case::default() })
            }
            Document::Text(_) => unreachable!("a recipe is prepared by the caller"),
        }
    }
}

/// What a file is, taken as AMIs. Documents are known by their shape, whatever they are called.
pub(in crate::ops) fn open_cases(
    path: &Path,
    templates: &TemplateRequest,
    watch: &dyn Watch,
) -> Result<Cases> {
    if let Some(bundle) = find_bundle(path)? {
        return Ok(Cases::one("bundle", Case::of_bundle(&bundle)?));
    }
    match read_document(path, watch)? {
        Document::Text(text) => {
            check_text(&text, path)?;
            let prepared = prepare(&text, path, templates, watch)?;
            let volumes = mapped_volumes(&prepared, &[])?;
            Ok(Cases::one("recipe", Case::of_recipe(&prepared, &volumes, watch)?))
        }
        document => {
            let found = Cases::of_document(document);
            if found.cases.is_empty() {
                return Err(Error::invalid("it has no AMI").in_file(path));
            }
            Ok(found)
        }
    }
}

/// Fails if a text is not a recipe, and nothing says that it should be one.
fn check_text(text: &str, path: &Path) -> Result<()> {
    if path.extension().is_some_and(|it| it == "toml") {
        return Ok(());
    }
    let broken = |e| Error::corrupt(format!("it is neither JSON nor a recipe: {e}")).in_file(path);
    Recipe::parse(text).map(drop).map_err(broken)
}

/// Reads the description that a recipe, a bundle or a document holds.
///
/// # Errors
///
/// `Invalid` if there is not exactly one, or if something in it could not be read.
pub fn read_ami(path: &Path, templates: &TemplateRequest, watch: &dyn Watch) -> Result<Ami> {
    if let Some(bundle) = find_bundle(path)? {
        return Ok(bundle.ami().clone());
    }
    let mut cases = match read_document(path, watch)? {
        Document::Text(text) => {
            check_text(&text, path)?;
            // Its images are not looked at: the user names others.
            let prepared = prepare(&text, path, templates, watch)?;
            vec![Case { ami: prepared.ami, unread: prepared.unread, ..Case::default() }]
        }
        document => Cases::of_document(document).cases,
    };
    let (Some(case), true) = (cases.pop(), cases.is_empty()) else {
        return Err(Error::invalid("it does not have exactly one AMI").in_file(path));
    };
    match case.unread.iter().find(|it| it.oddity != Oddity::Empty) {
        Some(Unread { place, found, expected, .. }) => {
            let text = format!("{place} is {found}, expected {expected}");
            Err(Error::invalid(text).in_file(path))
        }
        None => Ok(case.ami),
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
