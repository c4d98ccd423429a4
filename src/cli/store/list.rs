//! `store list`: the names of a store.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::Table;
use crate::error::Result;
use crate::ops::store;
use crate::ops::store::ListReport;
use crate::units::format_size;

/// Hexadecimal digits of a digest that people can tell apart.
const DIGITS: usize = 12;

/// Lists the AMIs and snapshots of a store
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit store list images")]
pub(super) struct List {
    /// The store; any other OCI image layout too
    #[arg(value_name = "STORE")]
    store: PathBuf,
}

impl List {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let report = store::list(&self.store)?;
        follower.end();
        let errors = report.amis.iter().filter_map(|ami| ami.error.clone());
        output.notes(&errors.collect::<Vec<_>>());
        output.report("store-list", &report, render).map(|()| 0)
    }
}

fn render(report: &ListReport, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(&["name", "kind", "volumes", "stored", "digest"]);
    for ami in &report.amis {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), format_size);
        table.row(vec![
            ami.name.clone().unwrap_or_else(|| "-".to_owned()),
            ami.kind.to_owned(),
            size(ami.volume_size_bytes),
            size(ami.stored_bytes),
            ami.digest.hex()[..DIGITS].to_owned(),
        ]);
    }
    table.print(out)
}
