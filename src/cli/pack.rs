//! `pack`: images to a bundle.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::ValueEnum;

use crate::cli::shared::description::DescriptionArgs;
use crate::cli::shared::options::AudienceArgs;
use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::GroupArgs;
use crate::cli::shared::options::PackSize;
use crate::cli::shared::options::RegionArgs;
use crate::cli::shared::options::StateArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::options::parse_mapping;
use crate::cli::shared::output::Output;
use crate::cli::shared::parts::make_part;
use crate::cli::shared::plan_text::finding;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::lint::Audience;
use crate::ops;
use crate::ops::BlockSpan;
use crate::ops::PackReport;

/// Packs disk images into an AMI bundle
///
/// Each image is cut into blocks of 512 KiB. Equal blocks are stored once, compressed; written zeros
/// and holes keep their states. The bundle is an OCI image layout: a folder, or one file if its name
/// ends in .tar. Volumes are called image, by their devices, and base.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  amikit pack root.raw --map /dev/sdf=data.raw -o web.ami --name web \
                  --boot-mode uefi-preferred\n  amikit pack new.raw --base web.ami --thin -o update.ami"
)]
pub(super) struct Pack {
    /// The image of the root volume; - for standard input
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    /// Another volume of the AMI: its device and its image
    #[arg(long, value_name = "DEVICE=IMAGE", value_parser = parse_mapping)]
    map: Vec<(String, PathBuf)>,

    /// Where the bundle goes; an existing bundle is replaced in one step
    #[arg(long, short, value_name = "BUNDLE")]
    output: PathBuf,

    #[command(flatten)]
    description: DescriptionArgs,

    /// A rule of EC2's that is not applied; `amikit lint --list` shows all
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,

    /// Look at the files of the guest first, and pack nothing if a rule of level error is broken; --for
    /// asks for it, too
    #[arg(long, value_name = "WHAT")]
    check: Option<Check>,

    #[command(flatten)]
    audience: AudienceArgs,

    #[command(flatten)]
    groups: GroupArgs,

    #[command(flatten)]
    regions: RegionArgs,

    #[command(flatten)]
    closing: PackSize,

    /// Store only what this bundle, or with --thin this image of the root volume, does not have
    #[arg(long, value_name = "OLD")]
    base: Option<PathBuf>,

    /// Leave out the packs of the base: the bundle is readable only together with it
    #[arg(long, requires = "base")]
    thin: bool,

    /// The manifest that OLD, an image, must match
    #[arg(long, requires = "base", value_name = "MANIFEST")]
    base_manifest: Option<PathBuf>,

    /// Keep the page index of the base in this file, and use it if it exists
    #[arg(long, requires = "base", value_name = "FILE")]
    base_index: Option<PathBuf>,

    /// Make a part of these blocks alone, A.. up to the end or ..B from the start, for `amikit join`, which takes the
    /// description; needs --region, and A and B at the edges of regions
    #[arg(
        long,
        value_name = "A..B",
        requires = "region",
        conflicts_with_all = [
            "map", "base", "check", "allow", "name", "description", "arch", "virtualization", "boot_mode",
            "root_device", "ami", "ena_support", "imds_support", "tpm_support", "tag",
        ]
    )]
    blocks: Option<BlockSpan>,

    #[command(flatten)]
    states: StateArgs,

    #[command(flatten)]
    free: FreeArgs,

    #[command(flatten)]
    opening: Opening,

    #[command(flatten)]
    keys: Keys,

    #[command(flatten)]
    threads: Threads,
}

/// What is checked beside the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Files of the guest.
    Inside,
}

impl Pack {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        if let Some(blocks) = self.blocks {
            return self.part(blocks, output, follower);
        }
        let request = self.request(output, follower)?;
        let report = ops::pack(&request, follower)?;
        follower.end();
        for volume in &report.volumes {
            output.notes(&volume.snapshot.notes);
        }
        let text = |report: &PackReport, out: &mut dyn Write| {
            report.warnings.iter().try_for_each(|it| finding(it, out))?;
            text::pack(report, out)
        };
        output.report("pack", &report, text).map(|()| 0)
    }

    fn part(&self, blocks: BlockSpan, output: Output, follower: &Follower) -> Result<u8> {
        let image =
            self.opening.with_keys(&self.keys, &Roles::of(&["image"]), "image", &self.image)?;
        let image = ops::VolumeRequest { free: self.free.record(), ..image };
        let request = ops::PartRequest {
            threads: self.threads.count(),
            states: self.states.states(output),
            stores: Some(ops::Stores {
                groups: self.groups.groups(self.regions.region, self.threads, output),
                pack_size: self.closing.pack_size,
            }),
            ..ops::PartRequest::new(image, blocks, &self.output)
        };
        make_part(&request, output, follower)
    }

    /// Returns for whom files are looked at. Naming whom the AMI is for asks for it.
    fn check_inside(&self) -> Option<Audience> {
        let audience = self.audience.audience();
        if self.check == Some(Check::Inside) {
            Some(audience.unwrap_or_default())
        } else {
            audience
        }
    }

    fn request(&self, output: Output, follower: &Follower) -> Result<ops::PackRequest> {
        let ami = self.description.ami(&self.output, follower)?;
        let mut roles = Roles::of(&["image"]);
        for (device, _) in &self.map {
            roles = roles.and(device);
        }
        if self.base.is_some() {
            roles = roles.and("base");
        }
        let volume = |device: &str, role: &str, typed: &PathBuf| {
            let image = self.opening.with_keys(&self.keys, &roles, role, typed);
            let free = self.free.record();
            image.map(|image| ops::MappedVolume::new(device, ops::VolumeRequest { free, ..image }))
        };
        let mut volumes = vec![volume(&ami.root_device_name, "image", &self.image)?];
        for (device, typed) in &self.map {
            volumes.push(volume(device, device, typed)?);
        }
        let base = match &self.base {
            Some(typed) => Some(ops::BaseRequest {
                image: self.opening.with_keys(&self.keys, &roles, "base", typed)?,
                manifest: self.base_manifest.clone(),
                index: self.base_index.clone(),
                thin: self.thin,
            }),
            None => None,
        };
        let options = ops::PackOptions {
            allow: self.allow.clone(),
            groups: self.groups.groups(self.regions.region, self.threads, output),
            pack_size: self.closing.pack_size,
            threads: self.threads.count(),
            states: self.states.states(output),
            base,
            check_inside: self.check_inside(),
            ..ops::PackOptions::new(&self.output, ami)
        };
        Ok(ops::PackRequest::new(volumes, options))
    }
}
