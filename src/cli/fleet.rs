//! `fleet`: what many AMIs share, cost and hold.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::complain;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::Table;
use crate::cli::shared::text::many;
use crate::error::Result;
use crate::ops;
use crate::ops::FleetReport;
use crate::ops::Freed;
use crate::ops::FreesReport;
use crate::ops::Held;
use crate::ops::HoldersReport;
use crate::ops::Price;
use crate::ops::SharedReport;
use crate::report;
use crate::units::GIB;
use crate::units::format_size;

/// Rows of a table that are printed; --json has all.
const MOST_ROWS: usize = 20;

/// Bytes of files without names that are worth a note.
const NOTED: u64 = GIB;

/// Says what many AMIs share, what each has alone, what deleting some frees, and who holds something
///
/// EBS shares blocks along a lineage only: a block goes when no other snapshot of its lineage refers to it. A store shares
/// chunks by content. --delete counts both, side by side. Which snapshot was made over which is known from the bases that
/// bundles record, and from --lineage.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit fleet images\n  amikit fleet images --delete 'web-2024*' \
                  --price-ebs 0.05\n  amikit fleet images --holds package:openssl\n  amikit fleet \
                  images --report fleet.html"
)]
pub(super) struct Fleet {
    /// Stores, bundles, STORE@NAME, snapshot manifests, and folders of these
    #[arg(value_name = "STORE|BUNDLE|MANIFEST|FOLDER", required = true)]
    inputs: Vec<PathBuf>,

    /// Answer this: what is shared, what each AMI has alone, what each version changed [default: all three, unless
    /// --delete or --holds asks something]
    #[arg(long, value_name = "QUESTION", value_delimiter = ',')]
    ask: Vec<Question>,

    /// Say what deleting this AMI would free: a name, the digest of an AMI or its first digits, or a pattern with * and ?;
    /// can be repeated
    #[arg(long, value_name = "AMI")]
    delete: Vec<String>,

    /// Say who holds this: chunk:DIGEST, file:DIGEST of its content, package:NAME or package:NAME=VERSION
    #[arg(long, value_name = "WHAT")]
    holds: Option<Held>,

    /// What a GiB of snapshot costs a month, for --delete
    #[arg(long, value_name = "PRICE")]
    price_ebs: Option<Price>,

    /// What a GiB costs a month where the store is, for --delete
    #[arg(long, value_name = "PRICE")]
    price_store: Option<Price>,

    /// Take from this file which snapshot was made over which, beside what bundles record: CSV with the columns
    /// snapshot,parent, each a root digest, NAME or NAME:DEVICE
    #[arg(long, value_name = "FILE")]
    lineage: Option<PathBuf>,

    /// Write the answers as an HTML page too; an existing file is replaced
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    threads: Threads,
}

/// A question that is answered for the whole fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Question {
    /// What is shared
    Shared,
    /// What each AMI has alone
    Unique,
    /// What each version changed
    Churn,
}

impl Fleet {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let all = self.ask.is_empty() && self.delete.is_empty() && self.holds.is_none();
        let asks = |question| all || self.ask.contains(&question);
        let request = ops::FleetRequest {
            lineage: self.lineage.clone(),
            questions: ops::Questions {
                shared: asks(Question::Shared),
                unique: asks(Question::Unique),
                churn: asks(Question::Churn),
                delete: self.delete.clone(),
                holds: self.holds.clone(),
            },
            ebs_price: self.price_ebs,
            store_price: self.price_store,
            threads: self.threads.count(),
            ..ops::FleetRequest::new(self.inputs.clone())
        };
        answer(&request, self.report.as_deref(), output, follower)
    }
}

/// Answers, on a page too if `page` names one.
pub(super) fn answer(
    request: &ops::FleetRequest,
    page: Option<&Path>,
    output: Output,
    follower: &Follower,
) -> Result<u8> {
    let mut before = |bytes| {
        if bytes >= NOTED && !output.quiet && !output.json {
            let size = format_size(bytes);
            complain(&format!("note: this takes {size} of TMPDIR until it is done"));
        }
    };
    let report = match page {
        Some(page) => report::fleet(request, page, follower, &mut before)?,
        None => ops::fleet(request, follower, &mut before)?,
    };
    follower.end();
    output.notes(&report.notes);
    output.report("fleet", &report, render).map(|()| 0)
}

fn render(report: &FleetReport, out: &mut dyn Write) -> io::Result<()> {
    let (amis, snapshots) = (many(report.amis, "AMI"), many(report.snapshots, "snapshot"));
    let (data, zero) = (report.data_blocks, report.zero_blocks);
    writeln!(out, "{amis}, {snapshots}: blocks: {data} data, {zero} zero")?;
    if let Some(shared) = &report.shared {
        render_shared(shared, out)?;
    }
    if let Some(unique) = &report.unique {
        let mut all: Vec<_> = unique.iter().collect();
        all.sort_by_key(|it| std::cmp::Reverse((it.chunks, it.stored_bytes)));
        let mut table = Table::new(&["held by it alone", "chunks", "plain", "stored"]);
        for it in all.iter().take(MOST_ROWS) {
            let (plain, stored) = (format_size(it.bytes), format_size(it.stored_bytes));
            table.row(vec![it.name.clone(), it.chunks.to_string(), plain, stored]);
        }
        table.print(out)?;
        rest(all.len(), out)?;
    }
    if let Some(churn) = &report.churn {
        let mut all: Vec<_> = churn.iter().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let mut table =
            Table::new(&["written in EBS for it", "data", "zero", "size", "new chunks"]);
        for it in all.iter().take(MOST_ROWS) {
            let (data, zero) = (it.data_blocks.to_string(), it.zero_blocks.to_string());
            let size = format_size(it.bytes);
            table.row(vec![it.name.clone(), data, zero, size, it.new_chunks.to_string()]);
        }
        table.print(out)?;
        rest(all.len(), out)?;
    }
    if let Some(frees) = &report.frees {
        render_frees(frees, out)?;
    }
    match &report.holders {
        Some(holders) => render_holders(holders, out),
        None => Ok(()),
    }
}

/// Says how many rows were left out.
fn rest(all: usize, out: &mut dyn Write) -> io::Result<()> {
    match all.checked_sub(MOST_ROWS) {
        Some(more @ 1..) => writeln!(out, "  and {more} more; --json lists all"),
        _ => Ok(()),
    }
}

fn render_shared(shared: &SharedReport, out: &mut dyn Write) -> io::Result<()> {
    let (plain, stored) = (format_size(shared.bytes), format_size(shared.stored_bytes));
    writeln!(out, "{}, {plain} plain, {stored} stored", many(shared.chunks, "chunk"))?;
    if shared.unstored_chunks > 0 {
        writeln!(out, "  {} of them are in no pack here", shared.unstored_chunks)?;
    }
    let mut table = Table::new(&["held by snapshots", "chunks", "stored"]);
    for by in shared.held_by.iter().take(MOST_ROWS) {
        let cells = [by.snapshots.to_string(), by.chunks.to_string(), format_size(by.stored_bytes)];
        table.row(cells.to_vec());
    }
    table.print(out)?;
    rest(shared.held_by.len(), out)
}

fn render_frees(frees: &FreesReport, out: &mut dyn Write) -> io::Result<()> {
    let amis = u64::try_from(frees.amis.len()).expect("memory is under 2^64 bytes");
    let snapshots = many(frees.snapshots, "snapshot");
    writeln!(out, "deleting {} deletes {snapshots}", many(amis, "AMI"))?;
    if frees.kept_snapshots > 0 {
        writeln!(out, "  {} of them stay for other AMIs", frees.kept_snapshots)?;
    }
    let mut table = Table::new(&["freed", "blocks", "plain", "stored", "a month"]);
    for (place, Freed { blocks, bytes, stored_bytes, cost }) in
        [("in EBS", &frees.ebs), ("in a store", &frees.store)]
    {
        table.row(vec![
            place.to_owned(),
            blocks.to_string(),
            format_size(*bytes),
            stored_bytes.map_or_else(|| "-".to_owned(), format_size),
            cost.map_or_else(|| "-".to_owned(), |cost| cost.to_string()),
        ]);
    }
    table.print(out)
}

fn render_holders(report: &HoldersReport, out: &mut dyn Write) -> io::Result<()> {
    let count = u64::try_from(report.holders.len()).expect("memory is under 2^64 bytes");
    writeln!(out, "{} is in {}", report.asked, many(count, "snapshot"))?;
    for holder in &report.holders {
        write!(out, "  {}: ", holder.amis.join(", "))?;
        match holder.first_block {
            Some(first) => writeln!(out, "{}, from {first} on", many(holder.count, "block"))?,
            None => writeln!(out, "{}", holder.found.join(", "))?,
        }
    }
    Ok(())
}
