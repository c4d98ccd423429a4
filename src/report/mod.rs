//! One page that shows a volume, what changed between two, or a fleet: `docs/formats/report.md`.
//!
//! The verbs of `ops` find everything out, and what they say becomes one document of HTML. Nothing of a volume is ever
//! markup: names are escaped where they are written, and the page may load and run nothing.

mod document;
mod gather;
mod html;
mod largest;
mod log;
mod owners;
mod places;
mod request;

use std::path::Path;
use std::path::PathBuf;

use crate::error::Result;
use crate::ops;
use crate::ops::FleetReport;
use crate::ops::FleetRequest;
use crate::work::Watch;

pub use document::Report;
pub use log::MOST_LOG_BYTES;
pub use request::ReportRequest;

/// Writes the page.
///
/// # Errors
///
/// As the verbs that find out what it says; `Invalid` if a volume is standard input, which cannot be read twice; `Io` if
/// the page or the log cannot be written or read.
pub fn report(request: &ReportRequest, watch: &dyn Watch) -> Result<Report> {
    let volumes: Vec<_> = std::iter::once(&request.volume).chain(&request.newer).collect();
    let output = ops::PageOutput::create(&request.output, &volumes, request.boot_log.as_deref())?;
    let (mut report, pictures) = gather::gather(request, watch)?;
    let page = html::page(&report, &pictures);
    output.finish(page.as_bytes())?;
    report.page_bytes = u64::try_from(page.len()).expect("memory is under 2^64 bytes");
    Ok(report)
}

/// Answers questions about a fleet, and writes the answers as a page too. Each table of it has at most 500 rows, the
/// largest, and one for the rest.
///
/// # Errors
///
/// As [`ops::fleet`]; `Invalid` if the page would replace what is read or lie inside it; `Io` if it cannot be written.
pub fn fleet(
    request: &FleetRequest,
    output: &Path,
    watch: &dyn Watch,
    before: &mut dyn FnMut(u64),
) -> Result<FleetReport> {
    let read = request.inputs.iter().chain(&request.lineage).map(PathBuf::as_path);
    let output = ops::PageOutput::create(output, &[], read)?;
    let report = ops::fleet(request, watch, before)?;
    output.finish(html::fleet(&report).as_bytes())?;
    Ok(report)
}
