//! `register`: the documents of RegisterImage and of the calls that follow.

use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::cli::shared::output::Output;
use crate::cli::shared::output::lost;
use crate::cli::shared::output::print;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::templates::TemplateArgs;
use crate::error::Error;
use crate::error::Result;
use crate::error::shown;
use crate::ops;

/// A call of EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Call {
    RegisterImage,
    ModifySnapshotAttribute,
    ModifyImageAttribute,
    EnableImageDeprecation,
    EnableImageDeregistrationProtection,
    CopyImage,
    DeregisterImage,
}

impl Call {
    fn command(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }
}

/// Prints the document for `aws ec2 register-image --cli-input-json`, and those that follow
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit register web.ami --snapshot snap-0123 > \
                        register-image.json\n  amikit register web.ami --snapshot \
                        /dev/xvda=snap-0123 --image-id ami-0123 --region eu-central-1 --copy-to \
                        us-east-1 -o calls")]
pub(super) struct Register {
    /// A bundle, a recipe, or JSON with one AMI
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// Id of a volume's snapshot; of the root device where none is named [default: a placeholder]
    #[arg(long, value_name = "[DEVICE=]ID", value_parser = parse_snapshot)]
    snapshot: Vec<(Option<String>, String)>,

    /// Print this call
    #[arg(long, value_name = "CALL", default_value = "register-image", conflicts_with = "output")]
    call: Call,

    /// Id of the AMI, once register-image has answered it [default: a placeholder]
    #[arg(long, value_name = "ID")]
    image_id: Option<String>,

    /// Region of the AMI, which copies need
    #[arg(long)]
    region: Option<String>,

    /// A region to copy to, beside those of a recipe
    #[arg(long, value_name = "REGION")]
    copy_to: Vec<String>,

    /// Also delete the snapshots in deregister-image
    #[arg(long)]
    delete_snapshots: bool,

    /// Write all calls into this new folder, a numbered file each; what undoes them into undo/
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,

    #[command(flatten)]
    templates: TemplateArgs,
}

impl Register {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = ops::RegisterRequest {
            path: self.path.clone(),
            snapshots: self.snapshot.clone(),
            image_id: self.image_id.clone(),
            region: self.region.clone(),
            copy_to: self.copy_to.clone(),
            delete_snapshots: self.delete_snapshots,
            allow: self.allow.clone(),
            templates: self.templates.request(),
        };
        let report = ops::register(&request, follower)?;
        follower.end();
        output.notes(&report.notes);
        if let Some(folder) = &self.output {
            let files = ops::write_documents(&report.documents, folder)?;
            output.notes(&ops::RegisterReport::drafts(&report.documents));
            let report = serde_json::json!({ "files": files });
            return output
                .report("register-files", &report, |_, out| {
                    files.iter().try_for_each(|it| writeln!(out, "{}", shown(&folder.join(it))))
                })
                .map(|()| 0);
        }
        let command = self.call.command();
        let wanted: Vec<ops::Document> =
            report.documents.iter().filter(|it| it.command == command).cloned().collect();
        if wanted.is_empty() {
            let text = format!("there is no {command} to make");
            let advice = "the AMI asks for none; its description or recipe would say so";
            return Err(Error::invalid(text).advise(advice));
        }
        if output.json {
            return output.report("register", &report, |_, _| Ok(())).map(|()| 0);
        }
        output.notes(&ops::RegisterReport::drafts(&wanted));
        let write = |it: &ops::Document, out: &mut dyn std::io::Write| {
            out.write_all(it.json().as_bytes()).map_err(lost)
        };
        print(|out| wanted.iter().try_for_each(|it| write(it, out))).map(|()| 0)
    }
}

fn parse_snapshot(text: &str) -> Result<(Option<String>, String), String> {
    let (device, id) = match text.rsplit_once('=') {
        Some((device, id)) => (Some(device.to_owned()), id),
        None => (None, text),
    };
    if id.starts_with("snap-") {
        Ok((device, id.to_owned()))
    } else {
        Err("expected a snapshot's id, as in snap-0123 or /dev/sdf=snap-0123".to_owned())
    }
}
