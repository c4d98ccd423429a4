//! `store copy`: an AMI or snapshot, as it is, to another place.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::error::shown;
use crate::ops::store;
use crate::ops::store::CopyRequest;
use crate::units::format_size;

/// Copies an AMI or snapshot as it is: out of a store, into one, or to another name
///
/// The copy has the same digest. Packs that it shares with others come along whole.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit store copy images@web web.ami\n  amikit store copy images@web images@stable"
)]
pub(super) struct Copy {
    /// The AMI or snapshot, or a bundle
    #[arg(value_name = "STORE@NAME")]
    from: PathBuf,

    /// Where the copy goes: another name, a name in another store, or a bundle
    #[arg(value_name = "TO")]
    to: PathBuf,
}

impl Copy {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let report = store::copy(&CopyRequest::new(&self.from, &self.to), follower)?;
        follower.end();
        output.notes(&report.notes);
        output
            .report("store-copy", &report, |report, out| {
                writeln!(
                    out,
                    "{}: copied, {}",
                    shown(&report.to),
                    format_size(report.stored_bytes)
                )?;
                writeln!(out, "  digest sha256:{}", report.digest)
            })
            .map(|()| 0)
    }
}
