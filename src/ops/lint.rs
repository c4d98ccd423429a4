//! `lint`: EC2's rules over a recipe, a bundle, or a document of EC2's.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::check_ids;
use crate::ops::shared::case::Cases;
use crate::ops::shared::case::open_cases;
use crate::ops::shared::recipe::TemplateRequest;
use crate::ops::shared::report::path_text;
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

impl LintRequest {
    /// Asks for all rules.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
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
    /// The places, errors first.
    pub findings: Vec<Finding>,
    /// What could not be looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Judges a recipe, a bundle, or a document.
///
/// # Errors
///
/// `Invalid` if it is none of them, or if an id is not a rule's; as opening bundles and images.
pub fn lint(request: &LintRequest, watch: &dyn Watch) -> Result<LintReport> {
    check_ids(&request.allow)?;
    let Cases { kind, mut cases } = open_cases(&request.path, &request.templates, watch)?;
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
