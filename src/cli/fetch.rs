//! `fetch`: a snapshot or an AMI of an account back to a bundle.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::aws::AwsArgs;
use crate::cli::shared::options::GroupArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::error::Result;

/// Reads a snapshot or an AMI of an account into a bundle
///
/// Every block is checked against its checksum, and a block that was never written stays a hole. Over a base
/// only blocks that changed are read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit fetch ami-0123456789abcdef0 -o web.ami --region \
                  eu-central-1\n  amikit fetch snap-0123 -o images@web --base \
                  images@old=snap-0456")]
#[cfg_attr(not(feature = "network"), allow(dead_code, reason = "they say how to get the feature"))]
pub(super) struct Fetch {
    /// The snapshot or AMI: snap-... or ami-...
    id: String,

    /// Where the bundle goes: a folder, one file if the name ends in .tar, or STORE@NAME
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    /// Region of it
    #[arg(long)]
    region: Option<String>,

    /// What was published or fetched before, and its snapshot where no record has it
    #[arg(long, value_name = "OLD[=ID]", value_parser = parse_base)]
    base: Option<(PathBuf, Option<String>)>,

    /// Leave out the packs that the base has
    #[arg(long, requires = "base")]
    thin: bool,

    /// Take over who may launch the AMI, its deprecation and its protection from another owner too
    #[arg(long)]
    keep_permissions: bool,

    /// Reads in flight
    #[arg(long, default_value = "64", value_parser = parse_connections)]
    connections: NonZero<usize>,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    threads: Threads,

    #[command(flatten)]
    aws: AwsArgs,
}

#[allow(clippy::unnecessary_wraps, reason = "clap takes parsers that can fail")]
fn parse_base(text: &str) -> Result<(PathBuf, Option<String>), String> {
    Ok(match text.rsplit_once('=') {
        Some((path, id)) if !path.is_empty() && id.starts_with("snap-") => {
            (path.into(), Some(id.to_owned()))
        }
        _ => (text.into(), None),
    })
}

fn parse_connections(text: &str) -> Result<NonZero<usize>, String> {
    match text.parse::<NonZero<usize>>() {
        Ok(count) if count.get() <= 256 => Ok(count),
        _ => Err("use a number from 1 to 256".to_owned()),
    }
}

impl Fetch {
    #[cfg(not(feature = "network"))]
    pub(super) fn run(&self, _: Output, _: &Follower) -> Result<u8> {
        self.aws.request()?;
        crate::ops::missing("fetch")
    }

    #[cfg(feature = "network")]
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        use crate::ops;

        let (base, base_id) = self.base.clone().map_or((None, None), |(path, id)| (Some(path), id));
        let request = ops::FetchRequest {
            region: self.region.clone(),
            aws: self.aws.request()?,
            base,
            base_id,
            thin: self.thin,
            keep_permissions: self.keep_permissions,
            connections: self.connections,
            groups: self.groups.groups(None, self.threads, output),
            threads: self.threads.count(),
            ..ops::FetchRequest::new(&self.id, &self.output)
        };
        let report = ops::fetch(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("fetch", &report, render).map(|()| 0)
    }
}

#[cfg(feature = "network")]
fn render(report: &crate::ops::FetchReport, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    use crate::error::shown;
    use crate::units::format_size;

    writeln!(out, "{}: {} in {}", shown(&report.output), report.id, report.region)?;
    for volume in &report.volumes {
        let size = format_size(volume.volume_size_bytes);
        write!(
            out,
            "  {} {}, {size}: {} blocks read",
            volume.device, volume.snapshot_id, volume.read_blocks
        )?;
        match &volume.base_id {
            Some(base) => writeln!(out, ", {} as in {base}", volume.base_blocks)?,
            None => writeln!(out)?,
        }
    }
    writeln!(out, "  digest sha256:{}", report.digest)
}
