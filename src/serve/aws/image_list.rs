//! Lists of images, and what each of them says.

use std::collections::BTreeSet;

use crate::ami::Ami;
use crate::ami::BootMode;
use crate::ami::Ebs;
use crate::ami::ImdsSupport;
use crate::ami::SriovNetSupport;
use crate::ami::TpmSupport;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::image::check_id;
use crate::serve::aws::image::not_found;
use crate::serve::aws::image::owned;
use crate::serve::aws::params::Params;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::check_owners;
use crate::serve::aws::query::filters;
use crate::serve::aws::query::moment;
use crate::serve::aws::query::not_named;
use crate::serve::aws::query::paged;
use crate::serve::aws::server::Server;
use crate::serve::aws::state::Image;
use crate::serve::aws::state::ImageState;
use crate::serve::aws::xml::Xml;

/// What EC2 says of an image that is not of Windows and costs nothing.
const PLATFORM: &str = "Linux/UNIX";
const USAGE: &str = "RunInstances";

/// Filters that EC2 documents.
const FILTERS: [&str; 42] = [
    "architecture",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.encrypted",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "block-device-mapping.volume-type",
    "boot-mode",
    "creation-date",
    "description",
    "ena-support",
    "free-tier-eligible",
    "hypervisor",
    "image-allowed",
    "image-id",
    "image-type",
    "image-watermark.",
    "instance-type-specification.",
    "is-public",
    "kernel-id",
    "manifest-location",
    "name",
    "owner-alias",
    "owner-id",
    "platform",
    "product-code",
    "product-code.type",
    "public-ssm-parameter-name",
    "ramdisk-id",
    "root-device-name",
    "root-device-type",
    "scan-result.",
    "source-image-id",
    "source-image-region",
    "source-instance-id",
    "sriov-net-support",
    "state",
    "state-reason-code",
    "state-reason-message",
    "tag-key",
    "tag:",
    "virtualization-type",
];

/// Why an image is not available.
const REASON: &str = "Client.InvalidSnapshot";

fn is_encrypted(ebs: &Ebs, encrypted: &BTreeSet<String>) -> bool {
    ebs.snapshot_id.as_ref().is_some_and(|id| encrypted.contains(id)) || ebs.encrypted == Some(true)
}

pub(super) fn describe(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&[
        "ImageId",
        "Owner",
        "ExecutableBy",
        "Filter",
        "IncludeDeprecated",
        "IncludeDisabled",
        "MaxResults",
        "NextToken",
    ])?;
    let filters = filters(params, &FILTERS)?;
    not_named(params, "ImageId")?;
    let (ids, owners) = (params.texts("ImageId"), params.texts("Owner"));
    check_owners(&owners, &["self", "amazon", "aws-marketplace", "aws-backup-vault"])?;
    let executable = params.texts("ExecutableBy");
    let deprecated = params.flag("IncludeDeprecated")?.unwrap_or(false);
    let disabled = params.flag("IncludeDisabled")?.unwrap_or(false);
    let now = server.now();
    let mut state = server.state();
    server.settle(&mut state);
    let seen = |it: &Image| it.region == caller.region && it.is_for(&caller.account);
    for id in &ids {
        check_id(id)?;
        if !state.images.get(id).is_some_and(seen) {
            return Err(not_found(id));
        }
    }
    let encrypted: BTreeSet<String> =
        state.snapshots.iter().filter(|(_, it)| it.encrypted).map(|(id, _)| id.clone()).collect();
    let mut found = Vec::new();
    for (id, image) in state.images.iter().filter(|(_, it)| seen(it)) {
        let own = image.owner == caller.account;
        let named = ids.contains(id);
        let by_owner =
            owners.is_empty() || owners.iter().any(|it| *it == image.owner || it == "self" && own);
        let by_who = executable.is_empty()
            || executable.iter().any(|it| match it.as_str() {
                "self" => image.shared.contains(&caller.account),
                who => image.shared.contains(who),
            });
        let over = image.deprecated.is_some_and(|it| it <= now) && !own && !deprecated;
        let hidden = image.state == ImageState::Disabled && !disabled;
        if !ids.is_empty() && !named || !by_owner || !by_who || over && !named || hidden {
            continue;
        }
        let mut fits = true;
        for filter in &filters {
            fits &= filter_fits(filter, id, image, &encrypted);
        }
        if fits {
            found.push((id.clone(), image.clone()));
        }
    }
    drop(state);
    let (page, next) = paged(server, params, "images", found)?;
    let mut xml = Xml::new();
    xml.list("imagesSet", page, |xml, (id, image)| item(xml, &id, &image, &encrypted));
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn filter_fits(
    filter: &crate::serve::aws::query::Filter,
    id: &str,
    image: &Image,
    encrypted: &BTreeSet<String>,
) -> bool {
    let ami = &image.ami;
    let truth = |it: bool| if it { "true" } else { "false" };
    let ebs = || ami.block_device_mappings.iter().filter_map(|it| it.ebs.as_ref());
    let optional = |text: Option<&str>| text.is_some_and(|text| filter.fits(text));
    match filter.name.as_str() {
        "architecture" => filter.fits(ami.effective_architecture().name()),
        "block-device-mapping.device-name" => {
            filter.fits_any(ami.block_device_mappings.iter().map(|it| it.device_name.as_str()))
        }
        "block-device-mapping.snapshot-id" => {
            filter.fits_any(ebs().filter_map(|it| it.snapshot_id.as_deref()))
        }
        "block-device-mapping.volume-size" => {
            ebs().filter_map(|it| it.volume_size).any(|it| filter.fits(&it.to_string()))
        }
        "block-device-mapping.volume-type" => {
            ebs().any(|it| filter.fits(it.volume_type.map_or("gp2", |it| it.name())))
        }
        "block-device-mapping.delete-on-termination" => {
            ebs().any(|it| filter.fits(truth(it.delete_on_termination.unwrap_or(false))))
        }
        "block-device-mapping.encrypted" => {
            ebs().any(|it| filter.fits(truth(is_encrypted(it, encrypted))))
        }
        "boot-mode" => optional(ami.boot_mode.map(BootMode::name)),
        "creation-date" => filter.fits(&moment(image.created)),
        "description" => optional(ami.description.as_deref()),
        "ena-support" => filter.fits(truth(ami.ena_support.unwrap_or(false))),
        "hypervisor" => filter.fits("xen"),
        "free-tier-eligible" => filter.fits("false"),
        "image-allowed" => filter.fits("true"),
        "image-id" => filter.fits(id),
        "image-type" => filter.fits("machine"),
        "is-public" => filter.fits(truth(image.is_public())),
        "kernel-id" => optional(ami.kernel_id.as_deref()),
        "manifest-location" => filter.fits(&location(image)),
        "name" => filter.fits(&ami.name),
        "owner-id" => filter.fits(&image.owner),
        "state-reason-code" => optional(Some(REASON).filter(|_| !image.message.is_empty())),
        "state-reason-message" => {
            optional(Some(image.message.as_str()).filter(|it| !it.is_empty()))
        }
        "sriov-net-support" => optional(ami.sriov_net_support.map(SriovNetSupport::name)),
        // What no image here has.
        "owner-alias" | "platform" | "product-code" | "product-code.type"
        | "source-instance-id" => false,
        "ramdisk-id" => optional(ami.ramdisk_id.as_deref()),
        "root-device-name" => filter.fits(&ami.root_device_name),
        "root-device-type" => filter.fits(root_type(ami)),
        "source-image-id" => optional(image.source.as_ref().map(|it| it.0.as_str())),
        "source-image-region" => optional(image.source.as_ref().map(|it| it.1.as_str())),
        "state" => filter.fits(image.state.name()),
        "tag-key" => filter.fits_any(ami.tags.iter().map(|it| it.key.as_str())),
        "virtualization-type" => filter.fits(ami.effective_virtualization().name()),
        name => match name.strip_prefix("tag:") {
            Some(key) => ami.tags.iter().any(|it| it.key == key && filter.fits(&it.value)),
            // By what no image here has.
            None => false,
        },
    }
}

/// Where an image is: its bundle, or what EC2 says of one on EBS.
fn location(image: &Image) -> String {
    let named = image.ami.image_location.clone();
    named.unwrap_or_else(|| format!("{}/{}", image.owner, image.ami.name))
}

fn root_type(ami: &Ami) -> &'static str {
    if ami.image_location.is_some() { "instance-store" } else { "ebs" }
}

fn item(xml: &mut Xml, id: &str, image: &Image, encrypted: &BTreeSet<String>) {
    let ami = &image.ami;
    xml.text("imageId", id).text("imageLocation", location(image));
    xml.text("imageState", image.state.name()).text("imageOwnerId", &image.owner);
    xml.text("creationDate", moment(image.created)).value("isPublic", image.is_public());
    xml.text("architecture", ami.effective_architecture().name()).text("imageType", "machine");
    xml.maybe("kernelId", ami.kernel_id.as_ref()).maybe("ramdiskId", ami.ramdisk_id.as_ref());
    xml.text("platformDetails", PLATFORM).text("usageOperation", USAGE);
    if !image.message.is_empty() {
        xml.inside("stateReason", |xml| {
            xml.text("code", REASON).text("message", &image.message);
        });
    }
    xml.text("name", &ami.name).maybe("description", ami.description.as_ref());
    xml.text("rootDeviceType", root_type(ami)).text("rootDeviceName", &ami.root_device_name);
    mapping(xml, ami, encrypted);
    xml.text("virtualizationType", ami.effective_virtualization().name()).tags(&ami.tags);
    xml.text("hypervisor", "xen").maybe("enaSupport", ami.ena_support);
    xml.maybe("sriovNetSupport", ami.sriov_net_support.map(SriovNetSupport::name));
    xml.maybe("bootMode", ami.boot_mode.map(BootMode::name));
    xml.maybe("tpmSupport", ami.tpm_support.map(TpmSupport::name));
    xml.maybe("imdsSupport", ami.imds_support.map(ImdsSupport::name));
    xml.maybe("deprecationTime", image.deprecated.map(moment));
    if let Some((source, region)) = &image.source {
        xml.text("sourceImageId", source).text("sourceImageRegion", region);
    }
    let protection = if image.protected { "enabled-without-cooldown" } else { "disabled" };
    xml.text("deregistrationProtection", protection);
}

fn mapping(xml: &mut Xml, ami: &Ami, encrypted: &BTreeSet<String>) {
    xml.list("blockDeviceMapping", &ami.block_device_mappings, |xml, entry| {
        xml.text("deviceName", &entry.device_name);
        xml.maybe("virtualName", entry.virtual_name.as_ref());
        xml.maybe("noDevice", entry.no_device.as_ref());
        let Some(ebs) = &entry.ebs else { return };
        xml.inside("ebs", |xml| {
            xml.maybe("snapshotId", ebs.snapshot_id.as_ref());
            xml.maybe("volumeSize", ebs.volume_size);
            xml.value("deleteOnTermination", ebs.delete_on_termination.unwrap_or(false));
            xml.text("volumeType", ebs.volume_type.map_or("gp2", |it| it.name()));
            xml.maybe("iops", ebs.iops).maybe("throughput", ebs.throughput);
            xml.value("encrypted", is_encrypted(ebs, encrypted));
        });
    });
}

pub(super) fn describe_attribute(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId", "Attribute"])?;
    let (id, attribute) = (params.need("ImageId")?, params.need("Attribute")?);
    let mut state = server.state();
    let image = owned(&mut state, caller, params)?;
    let ami = &image.ami;
    let mut xml = Xml::new();
    xml.text("imageId", id);
    let one = |xml: &mut Xml, name: &str, value: Option<&str>| {
        xml.inside(name, |xml| {
            xml.maybe("value", value);
        });
    };
    match attribute {
        "launchPermission" => {
            xml.list("launchPermission", &image.shared, |xml, who| {
                let member = match () {
                    () if who == "all" => "group",
                    () if who.contains(":ou/") => "organizationalUnitArn",
                    () if who.starts_with("arn:") => "organizationArn",
                    () => "userId",
                };
                xml.text(member, who);
            });
        }
        "description" => one(&mut xml, "description", ami.description.as_deref()),
        "kernel" => one(&mut xml, "kernel", ami.kernel_id.as_deref()),
        "ramdisk" => one(&mut xml, "ramdisk", ami.ramdisk_id.as_deref()),
        "bootMode" => one(&mut xml, "bootMode", ami.boot_mode.map(BootMode::name)),
        "tpmSupport" => one(&mut xml, "tpmSupport", ami.tpm_support.map(TpmSupport::name)),
        "imdsSupport" => one(&mut xml, "imdsSupport", ami.imds_support.map(ImdsSupport::name)),
        "sriovNetSupport" => {
            one(&mut xml, "sriovNetSupport", ami.sriov_net_support.map(SriovNetSupport::name));
        }
        "uefiData" => one(&mut xml, "uefiData", ami.uefi_data.as_deref()),
        "deregistrationProtection" => {
            let protection = if image.protected { "enabled-without-cooldown" } else { "disabled" };
            one(&mut xml, "deregistrationProtection", Some(protection));
        }
        "productCodes" => {
            xml.list("productCodes", Vec::<()>::new(), |_, ()| {});
        }
        "blockDeviceMapping" => mapping(&mut xml, ami, &BTreeSet::new()),
        // No instance was ever started of it.
        "lastLaunchedTime" => one(&mut xml, "lastLaunchedTime", None),
        _ => {
            let text = format!("The attribute '{attribute}' is invalid");
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
    }
    Ok(xml)
}
