//! `publish`: a bundle to an AMI of an account.

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::aws::AwsArgs;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::trust::TrustArgs;
use crate::cli::shared::upload::UploadArgs;
use crate::error::Result;

/// Uploads a bundle's volumes, registers the AMI, and shares and copies it as the recipe says
///
/// A run that is interrupted leaves a journal, and the same command goes on from there. What was published is
/// recorded, so that the next version is uploaded over its snapshots.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit publish images@web --region eu-central-1\n  amikit publish \
                  web.ami --recipe ami.toml --dry-run\n  amikit publish web.ami --base \
                  old.ami=snap-0123 --copy-to us-east-1"
)]
#[cfg_attr(not(feature = "network"), allow(dead_code, reason = "they say how to get the feature"))]
pub(super) struct Publish {
    #[command(flatten)]
    upload: UploadArgs,

    /// Print what would be sent, as `amikit plan` does, and ask nobody
    #[arg(long)]
    dry_run: bool,

    /// Start from nothing: look for no parent in the records
    #[arg(long)]
    no_base: bool,

    /// A parameter of Systems Manager that gets the AMI's id, in each region that has one
    #[arg(long, value_name = "NAME")]
    ssm_parameter: Option<String>,

    /// Bucket for the parts and the manifest of an instance-store bundle, with what their keys begin with
    #[arg(
        long,
        value_name = "BUCKET/PREFIX",
        conflicts_with_all = ["base", "recipe", "encrypted", "kms_key_arn", "holes", "copy_to", "no_base", "signers"]
    )]
    bucket: Option<String>,

    /// Name of the AMI of an instance-store bundle [default: the bundle's]
    #[arg(long, requires = "bucket")]
    name: Option<String>,

    /// Folder of journals and records [default: publications in the store, or BUNDLE.publications]
    #[arg(long, value_name = "FOLDER")]
    records: Option<PathBuf>,

    #[command(flatten)]
    trust: TrustArgs,

    #[command(flatten)]
    aws: AwsArgs,
}

impl Publish {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        #[cfg(feature = "network")]
        if self.bucket.is_some() || crate::ops::is_manifest(self.upload.bundle())? {
            return self.send_objects(output, follower);
        }
        if self.dry_run {
            return self.upload.print_plan(output, follower);
        }
        self.send(output, follower)
    }

    #[cfg(feature = "network")]
    fn send_objects(&self, output: Output, follower: &Follower) -> Result<u8> {
        use crate::error::Error;
        use crate::ops;

        let plan = self.upload.request();
        let Some(bucket) = self.bucket.clone() else {
            let text = "it is the manifest of an instance-store bundle, which goes to S3";
            let error = Error::invalid(text).in_file(&plan.bundle);
            return Err(error.advise("name the bucket with --bucket BUCKET/PREFIX"));
        };
        let request = ops::PublishObjectsRequest {
            manifest: plan.bundle,
            bucket,
            name: self.name.clone(),
            region: plan.region,
            allow: plan.allow,
            connections: plan.connections,
            aws: self.aws.request()?,
            records: self.records.clone(),
            parameter: self.ssm_parameter.clone(),
        };
        if self.dry_run {
            return told::objects(output, &ops::plan_objects(&request, follower)?).map(|()| 0);
        }
        let hear = |event: &ops::PublishEvent| told::hear(output, event);
        let report = ops::publish_objects(&request, follower, &hear)?;
        follower.end();
        told::report(output, &report).map(|()| 0)
    }

    #[cfg(not(feature = "network"))]
    fn send(&self, _: Output, _: &Follower) -> Result<u8> {
        self.aws.request()?;
        crate::ops::missing("publish")
    }

    #[cfg(feature = "network")]
    fn send(&self, output: Output, follower: &Follower) -> Result<u8> {
        use crate::ops;
        use crate::ops::PublishEvent;

        let request = ops::PublishRequest {
            plan: self.upload.request(),
            trust: self.trust.request(),
            aws: self.aws.request()?,
            records: self.records.clone(),
            find_bases: !self.no_base,
            parameter: self.ssm_parameter.clone(),
        };
        let hear = |event: &PublishEvent| told::hear(output, event);
        let report = ops::publish(&request, follower, &hear)?;
        follower.end();
        told::report(output, &report).map(|()| 0)
    }
}

/// What is printed on the way and at the end.
#[cfg(feature = "network")]
mod told {
    use std::io;
    use std::io::Write;

    use serde_json::json;

    use crate::cli::shared::output::Output;
    use crate::cli::shared::output::lost;
    use crate::cli::shared::output::print;
    use crate::error::Result;
    use crate::error::shown;
    use crate::ops::ObjectsPlan;
    use crate::ops::PublishEvent;
    use crate::ops::PublishReport;

    pub(super) fn hear(output: Output, event: &PublishEvent) {
        if output.json {
            // A log whose reader has gone stops nothing.
            let _ = print(|out| {
                let line = serde_json::to_string(event).expect("plain data always serialises");
                writeln!(out, "{line}").and_then(|()| out.flush()).map_err(lost)
            });
            return;
        }
        match event {
            PublishEvent::Unfinished { journal, snapshot_ids } => {
                let (journal, ids) = (shown(journal), snapshot_ids.join(", "));
                let text = format!(
                    "an earlier upload of this bundle, asked for in another way, left {ids}: ask for it that way \
                     again, or delete what it left, and then its journal {journal}"
                );
                output.notes(&[text]);
            }
            PublishEvent::Planned { journal, resumed: true, .. } => {
                let text = format!("going on from the journal {}", shown(journal));
                output.notes(&[text]);
            }
            PublishEvent::Planned { parents, .. } if !parents.is_empty() => {
                let parents: Vec<String> =
                    parents.iter().map(|(device, id)| format!("{device} over {id}")).collect();
                output.notes(&[format!("uploading {}", parents.join(", "))]);
            }
            PublishEvent::Parameter { region, name, image_id } => {
                output.notes(&[format!("{name} in {region} is {image_id}")]);
            }
            _ => {}
        }
    }

    pub(super) fn report(output: Output, report: &PublishReport) -> Result<()> {
        print(|out| {
            let written = if output.json {
                let line = json!({ "schema": "amikit.publish.v1", "published": report });
                writeln!(out, "{line}")
            } else {
                render(report, out)
            };
            written.map_err(lost)
        })
        .map_err(|error| error.leaving("the AMI was published"))
    }

    /// Prints what would be put and called.
    pub(super) fn objects(output: Output, plan: &ObjectsPlan) -> Result<()> {
        print(|out| {
            let mut written = Ok(());
            for (location, bytes) in &plan.objects {
                written = written.and_then(|()| {
                    if output.json {
                        let line =
                            json!({ "Step": "PutObject", "Location": location, "Bytes": bytes });
                        writeln!(out, "{line}")
                    } else {
                        writeln!(out, "PutObject s3://{} ({bytes} bytes)", shown(location.as_ref()))
                    }
                });
            }
            written
                .and_then(|()| {
                    if output.json {
                        let line = json!({ "Step": "RegisterImage", "Parameters": plan.register });
                        writeln!(out, "{line}")
                    } else {
                        writeln!(out, "RegisterImage {}", plan.register)
                    }
                })
                .map_err(lost)
        })
    }

    fn render(report: &PublishReport, out: &mut dyn Write) -> io::Result<()> {
        let already = if report.was_there { ", as it was already" } else { "" };
        writeln!(
            out,
            "{}: {} in {} of account {}{already}",
            shown(&report.bundle),
            report.image_id,
            report.region,
            report.account
        )?;
        for image in &report.images {
            writeln!(out, "  {} {}", image.region, image.image_id)?;
            for snapshot in &image.snapshots {
                writeln!(out, "    {} {}", snapshot.device, snapshot.snapshot_id)?;
            }
        }
        if let (Some(location), Some(put)) = (&report.location, report.put_objects) {
            writeln!(out, "  s3://{}, {put} files put by this run", shown(location.as_ref()))?;
        } else if !report.was_there {
            writeln!(out, "  {} blocks, {} put by this run", report.blocks, report.put_blocks)?;
        }
        if !report.was_there {
            writeln!(out, "  record {}", shown(&report.record))?;
        }
        Ok(())
    }
}
