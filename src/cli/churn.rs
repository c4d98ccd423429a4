//! `churn`: why two builds of the same thing differ.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::length;
use crate::cli::shared::text::many;
use crate::cli::shared::text::percent;
use crate::cli::shared::volumes::Reading;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::ChurnName;
use crate::ops::ChurnReport;
use crate::ops::FollowingSum;
use crate::ops::RealSum;
use crate::ops::VolumeRequest;
use crate::units::format_size;

/// Real differences that text lists; --json has all.
const LISTED: usize = 20;

/// Names that text lists with one of them.
const NAMED: usize = 3;

/// Explains why two builds of the same thing differ, and how to stop it
///
/// Each page that differs is traced to its cause: UUIDs, seeds, times, journals, the order of files, what is
/// left in free blocks, files that programs rewrite. Each cause comes with what it costs and with the option
/// of the tool that fixes it. A file that programs write again is a cause only as far as its content bears that
/// out: an initramfs is unpacked. What no cause explains is a real difference. Records that say where other files
/// lie follow from real differences, and are summed up apart. The exit code is 1 if the volumes differ.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit churn monday.raw tuesday.raw\n  amikit churn old.ami \
                        new.ami --json")]
pub(super) struct Churn {
    /// One build: an image, a bundle or BUNDLE:DEVICE
    #[arg(value_name = "OLD")]
    old: PathBuf,

    /// Another build of it
    #[arg(value_name = "NEW")]
    new: PathBuf,

    #[command(flatten)]
    free: FreeArgs,

    #[command(flatten)]
    reading: Reading,

    #[command(flatten)]
    threads: Threads,
}

impl Churn {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let roles = Roles::of(&["old", "new"]);
        let free = self.free.record();
        let old = self.reading.volume(&roles, "old", &self.old)?;
        let new = self.reading.volume(&roles, "new", &self.new)?;
        let old = VolumeRequest { free, ..old };
        let new = VolumeRequest { free, ..new };
        let threads = self.threads.count();
        let request = ops::ChurnRequest { threads, ..ops::ChurnRequest::new(old, new) };
        let report = ops::churn(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        let name = shown(&self.new);
        output.report("churn", &report, |report, out| render(report, &name, out))?;
        Ok(if report.equal { 0 } else { NO })
    }
}

fn cost(pages: u64, bytes: u64, blocks: u64, sole: u64) -> String {
    let (pages, blocks) = (many(pages, "page"), many(blocks, "block"));
    format!("{pages}, {}, {blocks}, {sole} of them alone", format_size(bytes))
}

fn render(report: &ChurnReport, name: &str, out: &mut dyn Write) -> io::Result<()> {
    if report.equal {
        return writeln!(out, "{name}: no page differs");
    }
    for it in &report.causes {
        let cost = cost(it.changed_pages, it.changed_bytes, it.changed_blocks, it.sole_blocks);
        writeln!(out, "{}: {}", it.cause.id, it.cause.text)?;
        writeln!(out, "    {cost}")?;
        // What amikit itself does about it.
        let own = if it.cause.id == "free-litter" { ": --free hole or --free zero" } else { "" };
        writeln!(out, "    fix: {}{own}", it.cause.fix)?;
    }
    if !report.real.is_empty() {
        writeln!(out, "real differences:")?;
    }
    for it in report.real.iter().take(LISTED) {
        real(it, out)?;
    }
    let more = length(&report.real).saturating_sub(u64::try_from(LISTED).unwrap_or(u64::MAX));
    if more > 0 {
        writeln!(out, "    and {more} more")?;
    }
    if !report.follows.is_empty() {
        writeln!(
            out,
            "what follows from them, records of where other files lie and what is free:"
        )?;
    }
    for it in &report.follows {
        following(it, out)?;
    }
    if report.old_size_bytes != report.new_size_bytes {
        let (old, new) = (format_size(report.old_size_bytes), format_size(report.new_size_bytes));
        writeln!(out, "{name}: the volume has {new}, the old one {old}")?;
    }
    let (pages, blocks) =
        (many(report.changed_pages, "page"), many(report.changed_blocks, "block"));
    writeln!(
        out,
        "{name}: {pages} in {blocks} differ; causes explain {} of the blocks",
        percent(report.explained_blocks, report.changed_blocks)
    )?;
    if report.real_pages == 0 {
        return Ok(());
    }
    let (explained, real) = (many(report.explained_pages, "page"), many(report.real_pages, "page"));
    let following = many(report.following_pages, "page");
    writeln!(
        out,
        "{name}: {explained} by causes, {real} with real differences, {following} that follow"
    )
}

/// Returns some names, and how many more there are.
fn some(names: &[ChurnName]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMED)
        .map(|it| if it.path_bytes.is_some() { it.path.clone() } else { ops::escaped(&it.path) })
        .collect();
    let more = names.len().saturating_sub(shown.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

fn following(it: &FollowingSum, out: &mut dyn Write) -> io::Result<()> {
    let cost = cost(it.changed_pages, it.changed_bytes, it.changed_blocks, it.sole_blocks);
    if it.files.is_empty() {
        return writeln!(out, "    {}: {cost}", it.what);
    }
    let files = many(length(&it.files), "file");
    writeln!(out, "    {} of {files} ({}): {cost}", it.what, some(&it.files))
}

fn real(it: &RealSum, out: &mut dyn Write) -> io::Result<()> {
    let cost = cost(it.changed_pages, it.changed_bytes, it.changed_blocks, it.sole_blocks);
    match &it.path {
        Some(path) if it.path_bytes.is_none() => {
            writeln!(out, "    {} {}: {cost}", it.what, ops::escaped(path))?;
        }
        Some(path) => writeln!(out, "    {} {path}: {cost}", it.what)?,
        None => writeln!(out, "    {}: {cost}", it.what)?,
    }
    if let Some(note) = &it.note {
        writeln!(out, "        {note}")?;
    }
    for (what, names) in [("new", &it.added), ("gone", &it.removed)] {
        if !names.is_empty() {
            writeln!(out, "        {what}: {}", some(names))?;
        }
    }
    if it.inside.is_empty() {
        return Ok(());
    }
    let names: Vec<ChurnName> = it.inside.iter().map(|it| it.name.clone()).collect();
    writeln!(out, "        inside: {}", some(&names))
}
