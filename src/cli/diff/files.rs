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
use crate::ops::BlockChange;
use crate::ops::BlockShare;
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
                text.take(entry, out).map_err(lost)
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
    other_delta_bytes: u64,
    packages: BTreeMap<&'static str, Vec<PackageChange>>,
}

impl Text {
    fn take(&mut self, entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
        match entry {
            Entry::Class(sum) => self.classes.push(sum.clone()),
            Entry::File(file) => self.file(file),
            Entry::Package(package) => {
                self.packages.entry(package.change).or_default().push(package.clone());
            }
            // There may be many: each is printed as it comes.
            Entry::Block(block) => return self::block(block, out),
            Entry::Directory(_) | Entry::Sum(_) => {}
        }
        Ok(())
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
        self.other_delta_bytes = self.other_delta_bytes.strict_add(file.delta_bytes);
    }

    fn print(&self, report: &FilesReport, out: &mut dyn Write) -> io::Result<()> {
        if report.equal {
            return writeln!(out, "equal, {}", format_size(report.new_size_bytes));
        }
        writeln!(
            out,
            "{} of 4 KiB changed, {}, in {} of 512 KiB; a delta carries {} of them before it is compressed",
            many(report.changed_pages, "page"),
            format_size(report.changed_bytes),
            many(report.changed_blocks, "block"),
            format_size(report.delta_bytes)
        )?;
        let mut table =
            Table::new(&["class", "before", "now", "in a delta", "blocks", "only because of it"]);
        for sum in &self.classes {
            table.row(vec![
                sum.class.to_owned(),
                format_size(sum.old_changed_bytes),
                format_size(sum.changed_bytes),
                format_size(sum.delta_bytes),
                sum.changed_blocks.to_string(),
                sum.sole_blocks.to_string(),
            ]);
        }
        table.print(out)?;
        self.print_packages(out)?;
        writeln!(
            out,
            "files: {} added, {} removed, {} changed, {} moved, {} renamed, {} metadata only, {} rewritten",
            report.added,
            report.removed,
            report.changed,
            report.moved,
            report.renamed,
            report.metadata,
            report.rewritten
        )?;
        if !self.files.is_empty() {
            writeln!(out, "     changed    in a delta  blocks  alone")?;
        }
        for file in &self.files {
            let path = shown(&file.path, file.path_bytes.as_ref());
            write!(
                out,
                "  {:>10}  {:>12}  {:>6}  {:>5}  {:>9}  {path}",
                format_size(file.changed_bytes),
                format_size(file.delta_bytes),
                file.changed_blocks,
                file.sole_blocks,
                file.change.name(),
            )?;
            match &file.old_path {
                Some(old) => writeln!(out, ", was {}", shown(old, file.old_path_bytes.as_ref()))?,
                None => writeln!(out)?,
            }
        }
        if self.others > 0 {
            writeln!(
                out,
                "  and {} with {} together, {} in a delta",
                many(self.others, "other"),
                format_size(self.other_bytes),
                format_size(self.other_delta_bytes)
            )?;
        }
        if report.unnamed_bytes > 0 {
            let bytes = format_size(report.unnamed_bytes);
            writeln!(out, "  {bytes} belong to files without a path")?;
        }
        Ok(())
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

/// Most owners of a block that are named to a person.
const SHOWN_OWNERS: usize = 3;

/// Prints whose the pages of a block are; where no file has them now, also whose they were.
fn block(block: &BlockChange, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "block {:>9}: {:>9}", block.block, format_size(block.changed_bytes))?;
    if let (true, Some(owner)) = (block.sole, block.owners.first()) {
        write!(out, ", only because of {}", owner_name(owner))?;
    } else {
        write!(out, ": {}", owner_names(&block.owners))?;
    }
    if block.owners.iter().all(|owner| owner.path.is_none()) && block.old_owners != block.owners {
        write!(out, " (before: {})", owner_names(&block.old_owners))?;
    }
    writeln!(out)
}

fn owner_names(owners: &[BlockShare]) -> String {
    let mut names: Vec<String> = owners
        .iter()
        .take(SHOWN_OWNERS)
        .map(|owner| format!("{} {}", owner_name(owner), format_size(owner.changed_bytes)))
        .collect();
    let rest = owners.len().saturating_sub(SHOWN_OWNERS);
    if rest > 0 {
        names.push(format!("and {}", many(length(&owners[SHOWN_OWNERS..]), "other")));
    }
    names.join(", ")
}

fn owner_name(owner: &BlockShare) -> String {
    match &owner.path {
        Some(path) if owner.class == "file-data" => shown(path, owner.path_bytes.as_ref()),
        Some(path) => format!("{} of {}", owner.class, shown(path, owner.path_bytes.as_ref())),
        None => owner.class.to_owned(),
    }
}

/// Returns a path on one line: what is not UTF-8 is escaped already.
fn shown(path: &str, bytes: Option<&String>) -> String {
    if bytes.is_none() { escaped(path) } else { path.to_owned() }
}
