//! Options of commands that plan or make an upload.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::calls::Step;
use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::plan_text::PlanText;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::templates::TemplateArgs;
use crate::error::Result;
use crate::ops;
use crate::ops::DEFAULT_CONNECTIONS;

/// What an upload does about holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HolePolicy {
    Leave,
    Send,
}

/// What is uploaded, and where to.
#[derive(Debug, Args)]
pub(in crate::cli) struct UploadArgs {
    /// The bundle, or STORE@NAME
    bundle: PathBuf,

    /// A parent snapshot: its bundle or manifest, and its id; `OLD.ami:/dev/sdf` for a device
    ///
    /// Of a thin bundle it is also what the bundle is read over. `publish` finds the id in the records of OLD.
    #[arg(long, value_name = "OLD[=ID]", value_parser = parse_base)]
    base: Vec<(PathBuf, Option<String>)>,

    /// A recipe that says how to upload and where to distribute
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,

    /// Region of the upload
    #[arg(long)]
    region: Option<String>,

    /// Encrypt the snapshots; with --base, say that the base is encrypted
    #[arg(long)]
    encrypted: bool,

    /// Key to encrypt with
    #[arg(long, value_name = "ARN")]
    kms_key_arn: Option<String>,

    /// Omit holes, or send them as zeros [default: the recipe's, or leave]
    #[arg(long, value_name = "POLICY")]
    holes: Option<HolePolicy>,

    /// A region to copy to, beside those of the recipe
    #[arg(long, value_name = "REGION")]
    copy_to: Vec<String>,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,

    /// Puts in flight
    #[arg(long, default_value_t = DEFAULT_CONNECTIONS)]
    connections: NonZero<u64>,

    #[command(flatten)]
    templates: TemplateArgs,
}

impl UploadArgs {
    /// Returns what is uploaded.
    #[cfg(feature = "network")]
    pub(in crate::cli) fn bundle(&self) -> &std::path::Path {
        &self.bundle
    }

    pub(in crate::cli) fn request(&self) -> ops::PlanRequest {
        let bases = self.base.iter().map(|(path, id)| ops::BaseSnapshotRequest {
            path: path.clone(),
            snapshot_id: id.clone(),
        });
        ops::PlanRequest {
            bundle: self.bundle.clone(),
            bases: bases.collect(),
            recipe: self.recipe.clone(),
            templates: self.templates.request(),
            region: self.region.clone(),
            encrypted: self.encrypted,
            kms_key_arn: self.kms_key_arn.clone(),
            send_holes: self.holes.map(|holes| holes == HolePolicy::Send),
            copy_to: self.copy_to.clone(),
            connections: self.connections,
            allow: self.allow.clone(),
        }
    }

    /// Prints the plan.
    pub(in crate::cli) fn print_plan(&self, output: Output, follower: &Follower) -> Result<u8> {
        print(|out| {
            let mut text = PlanText::default();
            ops::plan(&self.request(), follower, &mut |step: &Step| {
                if output.json {
                    serde_json::to_writer(&mut *out, step)
                        .map_err(std::io::Error::from)
                        .and_then(|()| writeln!(out))
                        .map_err(lost)
                } else {
                    text.step(step, out).map_err(lost)
                }
            })
            .map(|_| ())
        })
        .map(|()| 0)
    }
}

fn parse_base(text: &str) -> Result<(PathBuf, Option<String>), String> {
    match text.rsplit_once('=') {
        Some((path, id)) if !path.is_empty() && id.starts_with("snap-") => {
            Ok((PathBuf::from(path), Some(id.to_owned())))
        }
        None if !text.is_empty() => Ok((PathBuf::from(text), None)),
        _ => {
            Err("expected a bundle or manifest, = and its snapshot, as in old.ami=snap-0123"
                .to_owned())
        }
    }
}
