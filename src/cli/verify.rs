//! `verify`: whether a bundle is intact.

use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::options::Threads;
use crate::cli::shared::output::NO;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text::length;
use crate::cli::shared::text::many;
use crate::cli::shared::trust::TrustArgs;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::error::shown;
use crate::ops;
use crate::ops::BlockRange;
use crate::ops::VerifyReport;
use crate::units::format_size;

/// Checks a bundle, and names every damaged chunk with the blocks that it affects
///
/// Volumes are called base and, for --against, by their devices, or against where none is named.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit verify web.ami\n  amikit verify web.ami --against root.raw"
)]
pub(super) struct Verify {
    /// The bundle
    bundle: PathBuf,

    /// Check stored bytes only: decompress nothing
    #[arg(long, conflicts_with = "against")]
    quick: bool,

    /// An image that a volume must equal, bytes and states [default device: the root]
    #[arg(long, value_name = "[DEVICE=]IMAGE", value_parser = parse_against)]
    against: Vec<(Option<String>, PathBuf)>,

    /// What a thin bundle was packed against: a bundle or an image
    #[arg(long, value_name = "OLD")]
    base: Option<PathBuf>,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    threads: Threads,
}

/// Exit code where nothing is damaged as far as it could be read: as of any failure to read.
const UNREADABLE: u8 = 3;

/// The role of an image without a device.
const AGAINST: &str = "against";

impl Verify {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let report = ops::verify(&self.request()?, follower)?;
        follower.end();
        output.notes(&report.notes);
        output.report("verify", &report, |report, out| render(&self.bundle, report, out))?;
        Ok(if !report.damage.is_empty() || !report.differences.is_empty() {
            NO
        } else if report.unreadable.is_empty() {
            0
        } else {
            UNREADABLE
        })
    }

    fn request(&self) -> Result<ops::VerifyRequest> {
        let mut roles = Roles::of(&[]);
        for (device, _) in &self.against {
            roles = roles.and(device.as_deref().unwrap_or(AGAINST));
        }
        if self.base.is_some() {
            roles = roles.and("base");
        }
        let volume =
            |role: &str, typed: &Path| self.opening.with_keys(&self.keys, &roles, role, typed);
        let mut against = Vec::new();
        for (device, typed) in &self.against {
            let image = volume(device.as_deref().unwrap_or(AGAINST), typed)?;
            against.push(ops::Against { device: device.clone(), image });
        }
        let base = self.base.as_ref().map(|typed| volume("base", typed)).transpose()?;
        Ok(ops::VerifyRequest {
            quick: self.quick,
            base,
            against,
            trust: self.trust.request(),
            threads: self.threads.count(),
            ..ops::VerifyRequest::new(&self.bundle)
        })
    }
}

/// An image may have `=` in its name, so what stands in front of one is a device only if it says so.
#[allow(clippy::unnecessary_wraps, reason = "clap takes parsers that can fail")]
fn parse_against(text: &str) -> Result<(Option<String>, PathBuf), String> {
    match text.split_once('=') {
        Some((device, image)) if device.starts_with("/dev/") => {
            Ok((Some(device.to_owned()), PathBuf::from(image)))
        }
        _ => Ok((None, PathBuf::from(text))),
    }
}

fn range(blocks: &BlockRange) -> String {
    let what = match blocks.block_count {
        0 => "no whole block".to_owned(),
        1 => format!("block {}", blocks.first_block),
        count => {
            let last = blocks.first_block.strict_add(count).strict_sub(1);
            format!("blocks {} to {last}", blocks.first_block)
        }
    };
    format!("{} {what}, bytes {} to {}", blocks.device, blocks.start_bytes, blocks.end_bytes)
}

fn render(path: &Path, report: &VerifyReport, out: &mut dyn Write) -> io::Result<()> {
    let damage = report.damage.iter().map(|it| ("", it));
    let unreadable = report.unreadable.iter().map(|it| ("unreadable: ", it));
    for (prefix, damage) in damage.chain(unreadable) {
        match &damage.chunk {
            Some(id) => writeln!(out, "{prefix}{} sha256:{id}: {}", damage.what, damage.error)?,
            None => writeln!(out, "{prefix}{}: {}", damage.what, damage.error)?,
        }
        for blocks in &damage.blocks {
            writeln!(out, "  hits {}", range(blocks))?;
        }
    }
    for difference in &report.differences {
        writeln!(
            out,
            "differs: {}: {} in the bundle, {} in the image",
            range(&difference.blocks),
            difference.bundle,
            difference.image
        )?;
    }
    let how = if report.quick { "stored bytes of" } else { "stored and plain bytes of" };
    let checked = format!(
        "{}, {how} {} in {}, {}",
        many(report.snapshots, "snapshot"),
        many(report.chunks, "chunk"),
        many(report.packs, "pack"),
        format_size(report.stored_bytes)
    );
    if let Some(missing) = &report.missing {
        for base in &missing.bases {
            writeln!(out, "thin: needs the snapshot sha256:{base}, which was not checked")?;
        }
        writeln!(
            out,
            "  not checked: {}, the content of {} that only the base has, and what {} make of its pages",
            many(length(&missing.packs), "pack"),
            many(missing.base_blocks, "block"),
            many(missing.patched_chunks, "patched chunk")
        )?;
    }
    for voucher in &report.signatures {
        writeln!(
            out,
            "signed by {} with {}: {:?}, counter {}",
            shown(Path::new(&voucher.signer)),
            voucher.key,
            voucher.name,
            voucher.counter
        )?;
    }
    let unreadable = length(&report.unreadable);
    if report.sound {
        writeln!(out, "{}: intact ({checked})", shown(path))
    } else if report.damage.is_empty() && report.differences.is_empty() {
        writeln!(
            out,
            "{}: not verified: {unreadable} unreadable, nothing else damaged ({checked})",
            shown(path)
        )
    } else if unreadable > 0 {
        writeln!(
            out,
            "{}: NOT intact: {} damaged, {unreadable} unreadable, {} ({checked})",
            shown(path),
            report.damage.len(),
            many(length(&report.differences), "difference")
        )
    } else {
        writeln!(
            out,
            "{}: NOT intact: {} damaged, {} ({checked})",
            shown(path),
            report.damage.len(),
            many(length(&report.differences), "difference")
        )
    }
}
