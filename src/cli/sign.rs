//! `sign`: vouches for an AMI with an SSH key.

use std::io;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::SignReport;
use crate::ops::SignRequest;

/// Signs a bundle with an SSH key, so that others can check where it comes from
///
/// The signature becomes part of the bundle or store, and `ssh-keygen -Y verify` accepts it. A key with a
/// passphrase, in an agent or in hardware is used through ssh-keygen.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit sign web.ami --key ~/.ssh/id_ed25519 --counter 7\n  amikit \
                  sign images@web --key ops.pub --counter 7 --as web\n  amikit verify web.ami \
                  --signers allowed_signers"
)]
pub(super) struct Sign {
    /// The bundle, or STORE@NAME
    bundle: PathBuf,

    /// An ed25519 key of OpenSSH: the private key, or the public one of a key that an agent has
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Version counter: higher is newer, as a build number
    #[arg(long, value_name = "N")]
    counter: u64,

    /// What all versions are called [default: the name of the AMI]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
}

impl Sign {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let mut request = SignRequest::new(&self.bundle, &self.key, self.counter);
        request.name.clone_from(&self.name);
        let report = ops::sign(&request, follower)?;
        follower.end();
        output.report("sign", &report, render).map(|()| 0)
    }
}

fn render(report: &SignReport, out: &mut dyn Write) -> io::Result<()> {
    let already = if report.was_there { ", as it was already" } else { "" };
    writeln!(
        out,
        "{}: signed as {:?}, counter {}, with {}{already}",
        shown(&report.bundle),
        report.name,
        report.counter,
        report.key
    )
}
