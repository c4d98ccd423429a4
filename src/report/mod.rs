//! One page that shows a volume, or what changed between two: `docs/formats/report.md`.
//!
//! The verbs of `ops` find everything out, and what they say becomes one document of HTML. Nothing of the volume is ever
//! markup: names are escaped where they are written, and the page may load and run nothing.

mod document;
mod gather;
mod html;
mod largest;
mod log;
mod owners;
mod places;
mod request;

use crate::error::Result;
use crate::ops;
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
