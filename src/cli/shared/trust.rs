//! Options of commands that can ask for a signature.

use std::path::PathBuf;

use clap::Args;

use crate::ops::TrustRequest;

/// Who has to vouch for the bundle.
#[derive(Debug, Args)]
pub(in crate::cli) struct TrustArgs {
    /// Require a signature by a key of this file, which ssh-keygen knows as allowed signers
    #[arg(long, value_name = "FILE")]
    signers: Option<PathBuf>,

    /// Accept a version counter that is lower than that of another version
    #[arg(long, requires = "signers")]
    allow_downgrade: bool,
}

impl TrustArgs {
    pub(in crate::cli) fn request(&self) -> Option<TrustRequest> {
        let mut request = TrustRequest::new(self.signers.as_ref()?);
        request.allow_downgrade = self.allow_downgrade;
        Some(request)
    }
}
