//! `packages`: what is installed in a volume.

use std::io;
use std::io::Write;

use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use crate::cli::shared::inside::Inside;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::ops;
use crate::ops::PackagesReport;
use crate::ops::escaped;

/// Lists the packages that are installed in a volume
///
/// Read are the databases of dpkg, rpm (SQLite and ndb) and apk. With --format the list is written as a
/// software bill of materials. Exit code 1 means that a database could not be read.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit packages web.ami\n  amikit packages root.raw --format \
                        cyclonedx > sbom.json"
)]
pub(super) struct Packages {
    #[command(flatten)]
    inside: Inside,

    /// How the list is written: lines of text, SPDX 2.3 or CycloneDX 1.5, both as JSON
    #[arg(long, default_value = "text", value_name = "FORMAT")]
    format: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Text,
    Spdx,
    Cyclonedx,
}

impl Packages {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = self.inside.request(&"/".into())?;
        let report = ops::packages(&request, follower)?;
        follower.end();
        match self.format {
            Form::Text => output.report("packages", &report, render)?,
            Form::Spdx => document(&spdx(&report))?,
            Form::Cyclonedx => document(&cyclonedx(&report))?,
        }
        output.notes(&report.faults);
        if report.packages.is_empty() && report.faults.is_empty() {
            output.notes(&[
                "no package is listed: dpkg, rpm and apk have no database here".to_owned()
            ]);
        }
        Ok(if report.faults.is_empty() { 0 } else { NO })
    }
}

fn document(document: &Value) -> Result<()> {
    print(|out| {
        serde_json::to_writer_pretty(&mut *out, document).map_err(|e| lost(e.into()))?;
        writeln!(out).map_err(lost)
    })
}

fn render(report: &PackagesReport, out: &mut dyn Write) -> io::Result<()> {
    for package in &report.packages {
        let arch = escaped(&package.architecture);
        let line = format!("{} {} {arch}", escaped(&package.name), escaped(&package.version));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Returns when the list counts as made: a build that wants the same bytes again says so itself.
fn made() -> String {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.parse().ok());
    let made = match seconds {
        Some(seconds) => jiff::Timestamp::from_second(seconds).unwrap_or_default(),
        None => jiff::Timestamp::now(),
    };
    jiff::Timestamp::from_second(made.as_second()).unwrap_or_default().to_string()
}

/// Returns a document of SPDX 2.3.
fn spdx(report: &PackagesReport) -> Value {
    let digest = crate::digest::sha256(format!("{:?}", report.packages).as_bytes());
    let packages: Vec<Value> = report
        .packages
        .iter()
        .enumerate()
        .map(|(number, package)| {
            json!({
                "SPDXID": format!("SPDXRef-Package-{number}"),
                "name": package.name,
                "versionInfo": package.version,
                "downloadLocation": "NOASSERTION",
                "filesAnalyzed": false,
                "licenseConcluded": "NOASSERTION",
                "licenseDeclared": "NOASSERTION",
                "copyrightText": "NOASSERTION",
                "externalRefs": [{
                    "referenceCategory": "PACKAGE-MANAGER",
                    "referenceType": "purl",
                    "referenceLocator": report.purl(package),
                }],
            })
        })
        .collect();
    let related: Vec<Value> = (0..packages.len())
        .map(|number| {
            json!({
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": format!("SPDXRef-Package-{number}"),
            })
        })
        .collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "volume",
        "documentNamespace": format!("https://spdx.org/spdxdocs/amikit-{digest}"),
        "creationInfo": {
            "created": made(),
            "creators": [format!("Tool: amikit-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": related,
    })
}

/// Returns a document of CycloneDX 1.5.
fn cyclonedx(report: &PackagesReport) -> Value {
    let components: Vec<Value> = report
        .packages
        .iter()
        .map(|package| {
            let purl = report.purl(package);
            json!({
                "type": "library",
                "bom-ref": purl,
                "name": package.name,
                "version": package.version,
                "purl": purl,
            })
        })
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": made(),
            "tools": { "components": [{
                "type": "application",
                "name": "amikit",
                "version": env!("CARGO_PKG_VERSION"),
            }]},
        },
        "components": components,
    })
}
