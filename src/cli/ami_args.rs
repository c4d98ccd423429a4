//! What can be typed for the AMI itself: recipes, rules, registration, plans.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::num::NonZero;
use std::path::PathBuf;

use crate::ops::DEFAULT_CONNECTIONS;
use crate::ops::TemplateRequest;
use crate::units::parse_size;
use clap::Args;
use clap::ValueEnum;

use crate::cli::shared_args::StateArgs;
use crate::cli::shared_args::Threads;
use crate::cli::shared_args::parse_mapping;

/// Values of a recipe's templates.
#[derive(Clone, Debug, Args)]
pub(super) struct TemplateArgs {
    /// The value of a template, as in `{channel}`
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_value)]
    set: Vec<(String, String)>,

    /// Let `{date}` be today's, in UTC, or the day of `SOURCE_DATE_EPOCH`
    #[arg(long)]
    date: bool,

    /// Let `{git}` be the commit that the recipe's folder is at
    #[arg(long)]
    git: bool,
}

impl TemplateArgs {
    pub(super) fn request(&self) -> TemplateRequest {
        TemplateRequest { set: self.set.clone(), date: self.date, git: self.git }
    }
}

/// Makes a bundle of a recipe: checks, packs, tests and plans, in that order
///
/// It stops at the first thing that is wrong: rules before a byte is packed, tests before the bundle
/// gets its name. The plan of the upload goes beside the bundle.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit build ami.toml -o web.ami\n  amikit build ami.toml \
                        -o web.ami --date --image /dev/xvda=root.qcow2")]
pub(super) struct Build {
    /// The recipe
    pub(super) recipe: PathBuf,

    /// Where the bundle goes; a bundle that is there already is replaced in one step
    #[arg(long, short, value_name = "BUNDLE")]
    pub(super) output: PathBuf,

    /// Where the plan goes [default: beside the bundle, as in web.plan.jsonl]
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<PathBuf>,

    /// An image in the place of the recipe's own
    #[arg(long, value_name = "DEVICE=IMAGE", value_parser = parse_mapping)]
    pub(super) image: Vec<(String, PathBuf)>,

    #[command(flatten)]
    pub(super) templates: TemplateArgs,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    pub(super) allow: Vec<String>,

    /// Compression level of zstd, 1 to 22
    #[arg(long, default_value_t = crate::compress::DEFAULT_LEVEL, allow_negative_numbers = true)]
    pub(super) level: i32,

    /// Close a pack at this size, so that registries take it
    #[arg(long = "pack-size", default_value = "1GiB", value_parser = parse_size, value_name = "SIZE")]
    pub(super) closing_size: u64,

    #[command(flatten)]
    pub(super) states: StateArgs,

    #[command(flatten)]
    pub(super) threads: Threads,
}

/// Writes a recipe to begin with, with comments
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit init ami.toml")]
pub(super) struct Init {
    /// Where the recipe goes; a file that is there already stays
    #[arg(default_value = "ami.toml", value_name = "RECIPE")]
    pub(super) recipe: PathBuf,
}

/// Prints the JSON Schema of recipes, by which editors complete them
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  amikit schema > ami.schema.json")]
pub(super) struct Schema {}

/// Makes a recipe of an AMI that exists, from what `aws ec2 describe-images` prints
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  aws ec2 describe-images --image-ids ami-0123 > images.json\n  \
                  amikit import images.json -o ami.toml"
)]
pub(super) struct Import {
    /// The answer of `DescribeImages`, or a call of `RegisterImage`, in JSON
    #[arg(value_name = "FILE")]
    pub(super) path: PathBuf,

    /// Which of several AMIs: its id or its name
    #[arg(long, value_name = "ID")]
    pub(super) image_id: Option<String>,

    /// Where the recipe goes; a file that is there already stays [default: standard output]
    #[arg(long, short, value_name = "RECIPE")]
    pub(super) output: Option<PathBuf>,
}

/// Says what EC2 would refuse, and what to write instead
///
/// Exit code 1 if an error was found; warnings are only told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit lint ami.toml\n  amikit lint web.ami --allow \
                        ena-missing\n  amikit lint --list")]
pub(super) struct Lint {
    /// A recipe (.toml), a bundle, or JSON: a call of `RegisterImage`, an answer of `DescribeImages`
    #[arg(value_name = "FILE", required_unless_present = "list")]
    pub(super) path: Option<PathBuf>,

    /// List all rules, with where they come from
    #[arg(long, conflicts_with = "path")]
    pub(super) list: bool,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    pub(super) allow: Vec<String>,

    /// Judge as if the snapshots were encrypted
    #[arg(long)]
    pub(super) encrypted: bool,

    #[command(flatten)]
    pub(super) templates: TemplateArgs,
}

/// A call of EC2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Call {
    RegisterImage,
    ModifyImageAttribute,
    EnableImageDeprecation,
    EnableImageDeregistrationProtection,
    CopyImage,
    DeregisterImage,
}

impl Call {
    pub(super) fn command(self) -> String {
        self.to_possible_value().expect("none is hidden").get_name().to_owned()
    }
}

/// Prints the document that `aws ec2 register-image --cli-input-json` takes, and those that follow
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit register web.ami --snapshot snap-0123 > \
                        register-image.json\n  amikit register web.ami --snapshot \
                        /dev/xvda=snap-0123 --image-id ami-0123 --region eu-central-1 --copy-to \
                        us-east-1 -o calls")]
pub(super) struct Register {
    /// A bundle, a recipe, or JSON with one AMI
    #[arg(value_name = "FILE")]
    pub(super) path: PathBuf,

    /// Id of a volume's snapshot; of the root device where none is named
    #[arg(long, value_name = "[DEVICE=]ID", value_parser = parse_snapshot)]
    pub(super) snapshot: Vec<(Option<String>, String)>,

    /// Print this call
    #[arg(long, value_name = "CALL", default_value = "register-image", conflicts_with = "output")]
    pub(super) call: Call,

    /// Id of the AMI, which all calls but register-image need
    #[arg(long, value_name = "ID")]
    pub(super) image_id: Option<String>,

    /// Region of the AMI, which copies need
    #[arg(long)]
    pub(super) region: Option<String>,

    /// A region to copy to, beside those of a recipe
    #[arg(long, value_name = "REGION")]
    pub(super) copy_to: Vec<String>,

    /// Let deregister-image delete the snapshots
    #[arg(long)]
    pub(super) delete_snapshots: bool,

    /// Write all calls into this new folder, a file each
    #[arg(long, short, value_name = "DIR")]
    pub(super) output: Option<PathBuf>,

    /// A rule that is not applied
    #[arg(long, value_name = "RULE")]
    pub(super) allow: Vec<String>,

    #[command(flatten)]
    pub(super) templates: TemplateArgs,
}

/// What an upload does about holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum HolePolicy {
    Leave,
    Send,
}

/// Prints the whole upload of a bundle as data: every call, every block
///
/// With --json each step is an object on a line of its own, as docs/formats/plan.md says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  amikit plan web.ami --region eu-central-1\n  amikit plan \
                        web.ami --base old.ami=snap-0123 -o web.plan.jsonl")]
pub(super) struct Plan {
    /// The bundle
    pub(super) bundle: PathBuf,

    /// A snapshot to start from: its bundle or manifest, and its id; `OLD.ami:/dev/sdf` for a device
    #[arg(long, value_name = "OLD=ID", value_parser = parse_base)]
    pub(super) base: Vec<(PathBuf, String)>,

    /// A recipe that says how to upload and where to distribute
    #[arg(long, value_name = "RECIPE")]
    pub(super) recipe: Option<PathBuf>,

    /// Region of the upload
    #[arg(long)]
    pub(super) region: Option<String>,

    /// Encrypt the snapshots; with --base, say that the base is encrypted
    #[arg(long)]
    pub(super) encrypted: bool,

    /// Key to encrypt with
    #[arg(long, value_name = "ARN")]
    pub(super) kms_key_arn: Option<String>,

    /// Leave holes out, or send them as zeros [default: the recipe's, or leave]
    #[arg(long, value_name = "POLICY")]
    pub(super) holes: Option<HolePolicy>,

    /// A region to copy to, beside those of the recipe
    #[arg(long, value_name = "REGION")]
    pub(super) copy_to: Vec<String>,

    /// Puts that run side by side, for the estimate of time
    #[arg(long, default_value_t = DEFAULT_CONNECTIONS)]
    pub(super) connections: NonZero<u64>,

    /// Where the plan goes, as JSON lines [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,

    #[command(flatten)]
    pub(super) templates: TemplateArgs,
}

fn parse_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected a name, = and a value, as in date=2026-11-24".to_owned()),
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

fn parse_base(text: &str) -> Result<(PathBuf, String), String> {
    match text.rsplit_once('=') {
        Some((path, id)) if !path.is_empty() && id.starts_with("snap-") => {
            Ok((PathBuf::from(path), id.to_owned()))
        }
        _ => {
            Err("expected a bundle or manifest, = and its snapshot, as in old.ami=snap-0123"
                .to_owned())
        }
    }
}
