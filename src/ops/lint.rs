//! `lint`: EC2's rules over a recipe, a bundle, or a document of EC2's.

use std::path::Path;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::io::Input;
use crate::io::Node;
use crate::io::ReadAt;
use crate::io::is_block_device;
use crate::lint::Audience;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::Topic;
use crate::lint::check_ids;
use crate::ops::shared::case::Case;
use crate::ops::shared::case::Cases;
use crate::ops::shared::case::Look;
use crate::ops::shared::case::open_cases;
use crate::ops::shared::judging::Waived;
use crate::ops::shared::open::VolumeRequest;
use crate::ops::shared::open::open_bundle;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::report::path_text;
use crate::work::Watch;
use crate::work::default_threads;

/// What is judged.
#[derive(Clone, Debug)]
pub struct LintRequest {
    /// A recipe, a bundle, an image, or JSON: a call of `RegisterImage`, an answer of `DescribeImages`, or a
    /// description.
    pub path: PathBuf,
    /// How an image is opened, and what a thin bundle was packed against.
    pub volume: VolumeRequest,
    /// For whom the AMI is; what a recipe says, or for its own account, otherwise.
    pub audience: Option<Audience>,
    /// Whether files of the guest are looked at.
    pub inside: bool,
    /// Rules that are not applied.
    pub allow: Vec<String>,
    /// Whether snapshots or copies will be encrypted, where the input does not say so.
    pub encrypted: bool,
    /// Values of the recipe's templates.
    pub templates: TemplateRequest,
}

impl LintRequest {
    /// Asks for all rules.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            volume: VolumeRequest::new(&path),
            path,
            audience: None,
            inside: true,
            allow: Vec::new(),
            encrypted: false,
            templates: TemplateRequest::default(),
        }
    }
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
    /// For whom the AMI is.
    #[serde(rename = "for")]
    pub audience: Audience,
    /// The places, errors first.
    pub findings: Vec<Finding>,
    /// Broken rules that a recipe accepts for a while.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waived: Vec<Waived>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Judges a recipe, a bundle, an image, or a document.
///
/// # Errors
///
/// `Invalid` if it is none of them, or if an id is not a rule's; as opening bundles and images.
pub fn lint(request: &LintRequest, watch: &dyn Watch) -> Result<LintReport> {
    check_ids(&request.allow)?;
    let Cases { kind, mut cases } = find_cases(request, watch)?;
    let mut report = LintReport {
        path: request.path.clone(),
        kind,
        names: Vec::new(),
        errors: 0,
        warnings: 0,
        audience: Audience::default(),
        findings: Vec::new(),
        waived: Vec::new(),
        notes: Vec::new(),
    };
    let several = cases.len() > 1;
    for case in &mut cases {
        if request.encrypted {
            case.upload.get_or_insert_default().encrypted = true;
        }
        case.audience = request.audience.unwrap_or(case.audience);
        report.audience = report.audience.max(case.audience);
        let name = case.ami.name.clone();
        let mut judged = case.judged(&request.allow);
        if kind == IMAGE {
            // Nothing is known of its AMI.
            judged.findings.retain(|it| matches!(it.topic, Topic::Boot | Topic::Guest));
        } else {
            report.names.push(name.clone());
        }
        let found = judged.findings.into_iter().map(|mut finding| {
            if several {
                finding.place = format!("{name:?}: {}", finding.place);
            }
            finding
        });
        report.findings.extend(found);
        report.waived.append(&mut judged.waived);
        report.notes.append(&mut case.notes);
        report.notes.append(&mut judged.notes);
    }
    report.findings.sort_by_key(|finding| finding.level);
    report.errors = report.findings.iter().filter(|it| it.level == Level::Error).count();
    report.warnings = report.findings.len().strict_sub(report.errors);
    Ok(report)
}

/// What an image is called in a report.
const IMAGE: &str = "image";

/// Bytes at the start of a file that distinguish a document from an image.
const HEAD_LEN: u64 = 4096;

/// Opens what is to be judged.
fn find_cases(request: &LintRequest, watch: &dyn Watch) -> Result<Cases> {
    let look = if request.inside { Look::Inside } else { Look::Outside };
    if let Some(base) = &request.volume.base {
        let bundle = open_bundle(&request.path, Some(base), default_threads(), watch)?;
        return Ok(Cases { kind: "bundle", cases: vec![Case::of_bundle(&bundle, look)?] });
    }
    if !is_image(request)? {
        return open_cases(&request.path, &request.templates, look, watch);
    }
    let mut case = Case::of_image(&request.volume, watch)?;
    if !request.inside {
        case.inside = None;
    }
    Ok(Cases { kind: IMAGE, cases: vec![case] })
}

/// Tells whether an image is named, or a volume of something: it has a format or a part, or its bytes are not
/// text.
fn is_image(request: &LintRequest) -> Result<bool> {
    let image = &request.volume.image;
    if image.format.is_some() || image.member.is_some() {
        return Ok(true);
    }
    match Node::at(&request.path)? {
        Some(Node::File) if is_named_document(&request.path) => Ok(false),
        Some(Node::File) => is_binary(&request.path),
        _ => Ok(is_block_device(&request.path)),
    }
}

/// Tells whether a name is that of a document, whatever stands in it.
fn is_named_document(path: &Path) -> bool {
    path.extension().is_some_and(|it| it == "json" || it == "toml")
}

fn is_binary(path: &Path) -> Result<bool> {
    let input = Input::open(path)?;
    let len = usize::try_from(input.len().min(HEAD_LEN)).expect("4 KiB");
    let mut head = vec![0; len];
    input.read_exact_at(&mut head, 0)?;
    // Windows writes text in UTF-16, behind a mark.
    let is_utf16 = head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff");
    let is_descriptor = head.starts_with(b"# Disk DescriptorFile");
    Ok(is_descriptor || head.contains(&0) && !is_utf16)
}
