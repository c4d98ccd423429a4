//! The commands that have to do with what changed.

use std::io::Write;
use std::path::Path;

use crate::digest::Digest;
use crate::error::Result;
use crate::format::raw;
use crate::ops;
use crate::ops::ChangedRange;
use crate::ops::ImageRequest;
use crate::units::BLOCK_SIZE;
use crate::units::ebs_gib;

use crate::cli::NO;
use crate::cli::Output;
use crate::cli::delta_args;
use crate::cli::delta_args::DiffFormat;
use crate::cli::lost;
use crate::cli::print;
use crate::cli::progress::Follower;
use crate::cli::render;

/// Lists changed blocks. With `--json` each range is an object on a line of its own, and so is the sum
/// at the end: nothing waits for the whole.
pub(super) fn diff(args: &delta_args::Diff, output: Output, follower: &Follower) -> Result<u8> {
    let [old, new] = args.requests()?;
    let request = ops::DiffRequest {
        old,
        new,
        digests: args.format == DiffFormat::Ebs,
        threads: args.threads.count(),
    };
    let mut equal = false;
    print(|out| {
        let report = match args.format {
            DiffFormat::Ebs => ebs(&request, follower, out)?,
            DiffFormat::Table if output.json => {
                let report = ops::diff(&request, follower, &mut |range| {
                    line(out, &serde_json::json!({ "range": range }))
                })?;
                line(out, &serde_json::json!({ "sum": report }))?;
                report
            }
            DiffFormat::Table => {
                let report = ops::diff(&request, follower, &mut |range| {
                    render::changed(range, out).map_err(lost)
                })?;
                follower.end();
                render::diff(&report, out).map_err(lost)?;
                report
            }
        };
        equal = report.equal;
        Ok(())
    })?;
    Ok(if equal { 0 } else { NO })
}

fn line(out: &mut dyn Write, value: &serde_json::Value) -> Result<()> {
    writeln!(out, "{value}").map_err(lost)
}

/// Prints what `ListChangedBlocks` answers, as one document that is written while it is made. A block's
/// token is the SHA-256 of its bytes, in base64.
fn ebs(
    request: &ops::DiffRequest,
    follower: &Follower,
    out: &mut dyn Write,
) -> Result<ops::DiffReport> {
    write!(out, "{{\"ChangedBlocks\":[").map_err(lost)?;
    let mut first = true;
    let report = ops::diff(request, follower, &mut |range: &ChangedRange| {
        for (index, [before, after]) in (range.first_block..).zip(&range.digests) {
            let token = |digest: &Option<Digest>| digest.map(|digest| digest.base64());
            let mut block = serde_json::Map::new();
            block.insert("BlockIndex".to_owned(), index.into());
            for (name, digest) in [("FirstBlockToken", before), ("SecondBlockToken", after)] {
                if let Some(token) = token(digest) {
                    block.insert(name.to_owned(), token.into());
                }
            }
            let comma = if std::mem::take(&mut first) { "\n" } else { ",\n" };
            write!(out, "{comma}{}", serde_json::Value::Object(block)).map_err(lost)?;
        }
        Ok(())
    })?;
    let size = ebs_gib(report.new_size_bytes);
    writeln!(out, "],\n\"VolumeSize\":{size},\"BlockSize\":{BLOCK_SIZE}}}").map_err(lost)?;
    Ok(report)
}

pub(super) fn apply(args: &delta_args::Apply, output: Output, follower: &Follower) -> Result<u8> {
    let to = match (&args.output, args.in_place) {
        (Some(path), false) => ops::ApplyTo::Output(path.clone()),
        _ => ops::ApplyTo::InPlace,
    };
    let request = ops::ApplyRequest {
        bundle: args.bundle.clone(),
        device: args.device.clone(),
        old: ImageRequest { force: args.force, ..raw_image(&args.to) },
        to,
        threads: args.threads.count(),
    };
    let report = ops::apply(&request, follower)?;
    follower.end();
    output.report(&report, render::apply).map(|()| 0)
}

/// Only a raw image can be changed in place, or shared with a new one.
fn raw_image(path: &Path) -> ImageRequest {
    ImageRequest { format: Some(&raw::FORMAT), ..ImageRequest::of(path) }
}

pub(super) fn complete(
    args: &delta_args::Complete,
    output: Output,
    follower: &Follower,
) -> Result<u8> {
    let request = ops::CompleteRequest {
        bundle: args.bundle.clone(),
        base: args.base.clone(),
        output: args.output.clone(),
    };
    let report = ops::complete(&request, follower)?;
    follower.end();
    output.report(&report, render::complete).map(|()| 0)
}

pub(super) fn merge(args: &delta_args::Merge, output: Output, follower: &Follower) -> Result<u8> {
    let request = ops::MergeRequest {
        first: args.first.clone(),
        second: args.second.clone(),
        base: args.base.as_deref().map(ImageRequest::of),
        output: args.output.clone(),
        level: args.level,
        threads: args.threads.count(),
    };
    let report = ops::merge(&request, follower)?;
    follower.end();
    output.report(&report, render::merge).map(|()| 0)
}

pub(super) fn rebase(args: &delta_args::Rebase, output: Output, follower: &Follower) -> Result<u8> {
    let request = ops::RebaseRequest {
        bundle: args.bundle.clone(),
        base: args.base.as_deref().map(ImageRequest::of),
        onto: ops::BaseRequest {
            image: ImageRequest::of(&args.onto),
            manifest: None,
            index: None,
            thin: args.thin,
        },
        output: args.output.clone(),
        level: args.level,
        threads: args.threads.count(),
    };
    let report = ops::rebase(&request, follower)?;
    follower.end();
    output.report(&report, render::merge).map(|()| 0)
}
