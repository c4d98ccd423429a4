//! `diff --files`: whose the changed pages are.

use std::collections::BTreeMap;
use std::io;
use std::io::Write;

use serde::Serialize;

use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::Table;
use crate::cli::shared::text::length;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::ops;
use crate::ops::ClassSum;
use crate::ops::Entry;
use crate::ops::FileChange;
use crate::ops::FilesReport;
use crate::ops::PackageChange;
use crate::ops::escaped;
use crate::units::format_size;

/// How many of the dearest files are shown to a person.
const SHOWN: usize = 20;

/// How many packages are shown to a person.
const SHOWN_PACKAGES: usize = 20;

/// Compares both volumes and prints what was found.
pub(super) fn run(
    request: &ops::DiffFilesRequest,
    output: Output,
    follower: &Follower,
) -> Result<u8> {
    let mut equal = false;
    print(|out| {
        let report = if output.json {
            ops::diff_files(request, follower, &mut |entry| json(entry, out).map_err(lost))?
        } else {
            let mut text = Text::default();
            let report = ops::diff_files(request, follower, &mut |entry| {
                text.take(entry);
                Ok(())
            })?;
            follower.end();
            text.print(&report, out).map_err(lost)?;
            report
        };
        equal = report.equal;
        if !output.json {
            output.notes(&report.notes);
        }
        Ok(())
    })?;
    follower.end();
    Ok(if equal { 0 } else { NO })
}

fn json(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        schema: &'static str,
        #[serde(flatten)]
        entry: &'a Entry,
    }
    serde_json::to_writer(&mut *out, &Line { schema: "amikit.diff-files.v1", entry })?;
    writeln!(out)
}

/// What is shown to a person: memory holds the dearest files alone.
#[derive(Default)]
struct Text {
    classes: Vec<ClassSum>,
    /// Dearest first.
    files: Vec<FileChange>,
    others: u64,
    other_bytes: u64,
    packages: BTreeMap<&'static str, Vec<PackageChange>>,
}

impl Text {
    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Class(sum) => self.classes.push(sum.clone()),
            Entry::File(file) => self.file(file),
            Entry::Package(package) => {
                self.packages.entry(package.change).or_default().push(package.clone());
            }
            Entry::Directory(_) | Entry::Sum(_) => {}
        }
    }

    fn file(&mut self, file: &FileChange) {
        let place = self.files.partition_point(|it| it.changed_bytes >= file.changed_bytes);
        if place < SHOWN {
            self.files.insert(place, file.clone());
        } else {
            self.leave(file);
        }
        if self.files.len() > SHOWN
            && let Some(last) = self.files.pop()
        {
            self.leave(&last);
        }
    }

    fn leave(&mut self, file: &FileChange) {
        self.others = self.others.strict_add(1);
        self.other_bytes = self.other_bytes.strict_add(file.changed_bytes);
    }

    fn print(&self, report: &FilesReport, out: &mut dyn Write) -> io::Result<()> {
        if report.equal {
            return writeln!(out, "equal, {}", format_size(report.new_size_bytes));
        }
        writeln!(
            out,
            "{} of 4 KiB changed, {}, in {} of 512 KiB",
            many(report.changed_pages, "page"),
            format_size(report.changed_bytes),
            many(report.changed_blocks, "block")
        )?;
        let mut table = Table::new(&["class", "before", "now", "blocks", "only because of it"]);
        for sum in &self.classes {
            table.row(vec![
                sum.class.to_owned(),
                format_size(sum.old_changed_bytes),
                format_size(sum.changed_bytes),
                sum.changed_blocks.to_string(),
                sum.sole_blocks.to_string(),
            ]);
        }
        table.print(out)?;
        self.print_packages(out)?;
        writeln!(
            out,
            "files: {} added, {} removed, {} changed, {} moved, {} metadata only, {} rewritten",
            report.added,
            report.removed,
            report.changed,
            report.moved,
            report.metadata,
            report.rewritten
        )?;
        for file in &self.files {
            writeln!(
                out,
                "  {:>12}  {:>9}  {}",
                format_size(file.changed_bytes),
                file.change.name(),
                if file.path_bytes.is_none() { escaped(&file.path) } else { file.path.clone() }
            )?;
        }
        if self.others == 0 {
            return Ok(());
        }
        let rest = many(self.others, "other");
        writeln!(out, "  and {rest} with {} together", format_size(self.other_bytes))
    }

    fn print_packages(&self, out: &mut dyn Write) -> io::Result<()> {
        for (change, packages) in &self.packages {
            writeln!(out, "{}: {change}", many(length(packages), "package"))?;
            for package in packages.iter().take(SHOWN_PACKAGES) {
                let versions = [&package.old_version, &package.new_version];
                let versions: Vec<_> =
                    versions.iter().filter_map(|it| it.as_deref()).map(escaped).collect();
                writeln!(out, "  {} {}", escaped(&package.name), versions.join(" to "))?;
            }
            let rest = packages.len().saturating_sub(SHOWN_PACKAGES);
            if rest > 0 {
                writeln!(out, "  and {rest} more")?;
            }
        }
        Ok(())
    }
}
