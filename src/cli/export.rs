//! `export`: AMIs as tables.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::Table;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::ExportReport;
use crate::ops::TableFormat;

/// Exports AMIs as tables that DuckDB, Spark and the like read
///
/// The folder gets the tables snapshots, blocks, chunks, holders and amis, and with --inside also files and packages. It
/// can be appended to: an AMI that was exported before is not exported again, and a run that was interrupted is continued
/// by the next one. docs/formats/tables.md describes the columns.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit export images -o tables --format jsonl\n  amikit export web.ami \
                  old/*.snap -o tables --lineage lineage.csv --compact"
)]
pub(super) struct Export {
    /// Stores, bundles, STORE@NAME, snapshot manifests, and folders of these
    #[arg(value_name = "STORE|BUNDLE|MANIFEST|FOLDER", required_unless_present = "compact")]
    inputs: Vec<PathBuf>,

    /// The folder of tables; it is made if it is not there
    #[arg(long, short, value_name = "TABLES")]
    output: PathBuf,

    /// How the tables are written: csv, jsonl, or parquet if this build has it [default: that of the folder, else csv]
    #[arg(
        long,
        value_name = "FORMAT",
        value_parser = PossibleValuesParser::new(TableFormat::NAMES)
            .map(|name| TableFormat::named(&name).expect("one of the names"))
    )]
    format: Option<TableFormat>,

    /// Look into the volumes too, and write the tables files and packages; this reads each file
    #[arg(long)]
    inside: bool,

    /// Merge the holders of all snapshots into one sorted file afterwards
    #[arg(long)]
    compact: bool,

    /// Take from this file which snapshot was made over which, beside what bundles record: CSV with the columns
    /// snapshot,parent, each a root digest, NAME or NAME:DEVICE
    #[arg(long, value_name = "FILE")]
    lineage: Option<PathBuf>,

    #[command(flatten)]
    threads: Threads,
}

impl Export {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::ExportRequest {
            format: self.format,
            inside: self.inside,
            compact: self.compact,
            lineage: self.lineage.clone(),
            threads: self.threads.count(),
            ..ops::ExportRequest::new(self.inputs.clone(), &self.output)
        };
        let report = ops::export(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("export", &report, render).map(|()| 0)
    }
}

fn render(report: &ExportReport, out: &mut dyn Write) -> io::Result<()> {
    let (tables, added) = (shown(&report.tables), many(report.added, "AMI"));
    write!(out, "{tables}: {added} added")?;
    if report.present > 0 {
        write!(out, ", {} already there", report.present)?;
    }
    writeln!(out, ", as {}", report.format)?;
    let mut table = Table::new(&["table", "files", "rows"]);
    for added in report.rows.iter().filter(|added| added.files > 0) {
        table.row(vec![added.table.to_owned(), added.files.to_string(), added.rows.to_string()]);
    }
    if report.added > 0 {
        table.print(out)?;
    }
    match report.merged_rows {
        Some(rows) => writeln!(out, "holders merged: {}", many(rows, "row")),
        None => Ok(()),
    }
}
