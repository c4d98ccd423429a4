//! Options of commands that talk to other machines.

use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::output::complain;
use crate::error::Result;
use crate::io::PrivateLog;
use crate::ops::NetworkOptions;
use crate::work::Trace;

/// How amikit talks to other machines.
#[derive(Debug, Args)]
pub(in crate::cli) struct NetworkArgs {
    /// Write a line for each request and answer, without secrets; - is standard error
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// Speak plain HTTP with other machines too, where others can listen and change what is sent
    #[arg(long)]
    insecure_endpoint: bool,
}

impl NetworkArgs {
    pub(in crate::cli) fn options(&self) -> Result<NetworkOptions> {
        let trace = match &self.trace {
            None => None,
            Some(path) if path == Path::new("-") => {
                Some(Trace::new(|line| complain(&format!("trace: {line}"))))
            }
            Some(path) => {
                let log = PrivateLog::create(path)?;
                Some(Trace::new(move |line| log.line(line)))
            }
        };
        Ok(NetworkOptions { trace, insecure: self.insecure_endpoint })
    }
}
