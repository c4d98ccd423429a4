//! Something to judge by EC2's rules: a recipe, a bundle, or a document of EC2's, as cases.

use std::path::Path;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::Called;
use crate::ami::Described;
use crate::ami::Distribution;
use crate::ami::Document;
use crate::ami::Ebs;
use crate::ami::Mapping;
use crate::ami::Oddity;
use crate::ami::Unread;
use crate::ami::Upload;
use crate::ami::Virtualization;
use crate::bundle::Bundle;
use crate::digest::Digest;
use crate::error::Advice;
use crate::error::Error;
use crate::error::Kind;
use crate::error::Result;
use crate::error::shown;
use crate::guest;
use crate::guest::Layout;
use crate::io::Node;
use crate::lint::Audience;
use crate::lint::Finding;
use crate::lint::Inside;
use crate::lint::Level;
use crate::lint::Subject;
use crate::lint::VolumeFacts;
use crate::lint::check_ids;
use crate::lint::lint as apply_rules;
use crate::ops::shared::judging::Judged;
use crate::ops::shared::judging::audience;
use crate::ops::shared::judging::inside_of;
use crate::ops::shared::mapping::MappedVolume;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::find_bundle;
use crate::ops::shared::open::open;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::recipe::mapped_volumes;
use crate::ops::shared::recipe::now;
use crate::ops::shared::recipe::prepare;
use crate::ops::shared::recipe::read_document;
use crate::recipe::Prepared;
use crate::recipe::Recipe;
use crate::recipe::Waiver;
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
    /// What is inside the volumes, where it was looked at.
    pub(in crate::ops) inside: Option<Inside>,
    /// For whom the AMI is.
    pub(in crate::ops) audience: Audience,
    pub(in crate::ops) waivers: Vec<Waiver>,
}

/// How far a case looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Look {
    /// At the description, partitions and boot loaders.
    Outside,
    /// At the files of the guest, too.
    Inside,
}

impl Case {
    /// Returns what is broken and not waived.
    pub(in crate::ops) fn findings(&self, allow: &[String]) -> Vec<Finding> {
        self.judged(allow).findings
    }

    pub(in crate::ops) fn judged(&self, allow: &[String]) -> Judged {
        let subject = Subject {
            volumes: &self.volumes,
            upload: self.upload.as_ref(),
            distribution: &self.distribution,
            image_id: self.image_id.as_deref(),
            unread: &self.unread,
            is_answer: self.is_answer,
            now: now(),
            inside: self.inside.as_ref(),
            audience: self.audience,
            ..Subject::of(&self.ami)
        };
        let all = apply_rules(&subject, &[&self.allow[..], allow].concat());
        Judged::new(all, &self.waivers, now())
    }

    /// Takes what is inside the volumes, and what could not be looked at.
    fn take_inside(&mut self, inside: Inside) {
        self.notes.extend(inside.notes.iter().cloned());
        self.inside = Some(inside);
    }

    /// Takes an AMI that EC2 described. Unusual values are reported as notes, not as faults.
    fn of_described(described: Described) -> Self {
        let name =
            if described.image_id.is_empty() { &described.ami.name } else { &described.image_id };
        let note = |it: &Unread| format!("{name}: {} is left out: it is {}", it.place, it.found);
        let notes = described.unread.iter().map(note).collect();
        let (ami, _) = described.into_wishes(false, now());
        Self { ami, is_answer: true, notes, ..Self::default() }
    }

    /// Takes a bundle, and looks into its volumes.
    pub(in crate::ops) fn of_bundle(bundle: &Bundle, look: Look) -> Result<Self> {
        let mut case = Self { ami: bundle.ami().clone(), ..Self::default() };
        // A thin bundle has no bytes to look at without its base.
        let is_thin = bundle.supplied().is_empty() && bundle.is_thin()?;
        let mut opened = Vec::new();
        for layer in bundle.snapshots() {
            let manifest = bundle.manifest(layer)?;
            let layout = if is_thin {
                let note = "is in a thin bundle: rules about its content are not applied";
                case.notes.push(format!("{} {note}", layer.device));
                None
            } else {
                let snapshot = bundle.snapshot(Some(&layer.device))?;
                let layout = guest::look(&snapshot)?;
                opened.push((&*layer.device, snapshot));
                Some(layout)
            };
            case.volumes.push(VolumeFacts {
                device: layer.device.clone(),
                size: manifest.volume_size(),
                // At most 2^27 blocks.
                hole_bytes: Some(manifest.header().counts.hole.strict_mul(BLOCK_SIZE)),
                layout,
            });
        }
        if look == Look::Inside && !opened.is_empty() {
            let volumes: Vec<(&str, &dyn ReadVolume)> = opened
                .iter()
                .map(|(device, it)| -> (&str, &dyn ReadVolume) { (device, it) })
                .collect();
            case.take_inside(inside_of(&volumes, bundle.ami(), !names_other_content(&case.ami))?);
        }
        Ok(case)
    }

    /// Takes an image alone: what is known of the AMI is what is inside.
    pub(in crate::ops) fn of_image(request: &VolumeRequest, watch: &dyn Watch) -> Result<Self> {
        let opened = open(request, watch)?;
        let volume = opened.volume();
        let (hole_bytes, layout) = look(volume).map_err(|e| request.fail(e))?;
        let device = "/dev/xvda";
        let ebs = Ebs { snapshot_digest: Some(Digest([0; 32])), ..Ebs::default() };
        let mapping =
            Mapping { device_name: device.to_owned(), ebs: Some(ebs), ..Mapping::default() };
        let mut ami = Ami {
            root_device_name: device.to_owned(),
            virtualization_type: Some(Virtualization::Hvm),
            block_device_mappings: vec![mapping],
            ..Ami::default()
        };
        let inside = inside_of(&[(device, volume)], &ami, false).map_err(|e| request.fail(e))?;
        volume.check_unchanged().map_err(|e| request.fail(e))?;
        ami.architecture = Some(match inside.architecture {
            Some("aarch64" | "arm") => Architecture::Arm64,
            _ => Architecture::X86_64,
        });
        let facts = VolumeFacts {
            device: device.to_owned(),
            size: volume.size(),
            hole_bytes: Some(hole_bytes),
            layout: Some(layout),
        };
        let mut case = Self { ami, volumes: vec![facts], ..Self::default() };
        case.notes = opened.opened().notes();
        case.take_inside(inside);
        Ok(case)
    }

    /// Takes a recipe, and looks into the images that are there.
    pub(in crate::ops) fn of_recipe(
        prepared: &Prepared,
        volumes: &[MappedVolume],
        look_at: Look,
        watch: &dyn Watch,
    ) -> Result<Self> {
        let mut case = Self {
            audience: prepared.audience.map(audience).unwrap_or_default(),
            waivers: prepared.waivers.clone(),
            upload: Some(prepared.upload.clone()),
            distribution: prepared.distribution.clone(),
            allow: prepared.allow.clone(),
            unread: prepared.unread.clone(),
            ..Self::default()
        };
        check_ids(&case.allow)?;
        let waived: Vec<String> = case.waivers.iter().map(|it| it.rule.clone()).collect();
        check_ids(&waived)?;
        let mut ami = prepared.ami.clone();
        let mut all_opened = Vec::new();
        for MappedVolume { device, image } in volumes {
            // Two entries of one device are for a rule to find: mark the first of the two.
            let mapping = ami.block_device_mappings.iter_mut().find(|it| it.device_name == *device);
            let ebs = mapping.and_then(|it| it.ebs.as_mut());
            if let Some(ebs) = ebs {
                ebs.snapshot_digest = Some(Digest([0; 32]));
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
            all_opened.push((&**device, image, opened));
        }
        if look_at == Look::Inside && !all_opened.is_empty() {
            let all_known = all_opened.len() == volumes.len() && !names_other_content(&ami);
            let volumes: Vec<(&str, &dyn ReadVolume)> =
                all_opened.iter().map(|(device, _, it)| (*device, it.volume())).collect();
            let (_, image, _) = &all_opened[0];
            let inside = inside_of(&volumes, &ami, all_known).map_err(|e| image.fail(e))?;
            case.take_inside(inside);
        }
        case.ami = ami;
        Ok(case)
    }
}

/// Tells whether a mapping has volumes whose content is in an account.
fn names_other_content(ami: &Ami) -> bool {
    let of_account = |it: &Mapping| it.ebs.as_ref().is_some_and(|ebs| ebs.snapshot_id.is_some());
    ami.block_device_mappings.iter().any(of_account)
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
    look: Look,
    watch: &dyn Watch,
) -> Result<Cases> {
    if let Some(bundle) = find_bundle(path)? {
        return Ok(Cases::one("bundle", Case::of_bundle(&bundle, look)?));
    }
    match read_document(path, watch)? {
        Document::Text(text) => {
            check_text(&text, path)?;
            let prepared = prepare(&text, path, templates, watch)?;
            let volumes = mapped_volumes(&prepared, &[])?;
            Ok(Cases::one("recipe", Case::of_recipe(&prepared, &volumes, look, watch)?))
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

/// Fails if an error-level rule is broken; returns what warns.
pub(in crate::ops) fn refuse(subject: &Subject<'_>, allow: &[String]) -> Result<Vec<Finding>> {
    check_ids(allow)?;
    let findings = apply_rules(subject, allow);
    refusal(&findings).map_or(Ok(findings), Err)
}
