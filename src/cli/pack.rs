//! `pack`: images to a bundle.
#![allow(clippy::doc_markdown, reason = "these comments are the help, where marks would show")]

use std::path::PathBuf;

use clap::Args;

use crate::cli::shared::description::DescriptionArgs;
use crate::cli::shared::options::FreeArgs;
use crate::cli::shared::options::GroupArgs;
use crate::cli::shared::options::PackSize;
use crate::cli::shared::options::RegionArgs;
use crate::cli::shared::options::StateArgs;
use crate::cli::shared::options::Threads;
use crate::cli::shared::options::parse_mapping;
use crate::cli::shared::output::Output;
use crate::cli::shared::progress::Follower;
use crate::cli::shared::text;
use crate::cli::shared::volumes::Keys;
use crate::cli::shared::volumes::Opening;
use crate::cli::shared::volumes::Roles;
use crate::error::Result;
use crate::ops;

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

impl Pack {
    pub(super) fn run(&self, output: Output, follower: &Follower) -> Result<u8> {
        let request = self.request(output, follower)?;
        let report = ops::pack(&request, follower)?;
        follower.end();
        for volume in &report.volumes {
            output.notes(&volume.snapshot.notes);
        }
        output.report("pack", &report, text::pack).map(|()| 0)
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
            ..ops::PackOptions::new(&self.output, ami)
        };
        Ok(ops::PackRequest::new(volumes, options))
    }
}
