//! Writing a recipe of a description: what `amikit import` does.

use std::fmt::Write;

use crate::ami::Ami;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::DeregistrationProtection;
use crate::ami::Ebs;
use crate::ami::ImdsSupport;
use crate::ami::LaunchPermission;
use crate::ami::LeftOut;
use crate::ami::Mapping;
use crate::ami::Platform;
use crate::ami::Provenance;
use crate::ami::SriovNetSupport;
use crate::ami::Tag;
use crate::ami::TpmSupport;
use crate::ami::Unread;
use crate::ami::Virtualization;
use crate::ami::VolumeType;

/// Writes the recipe that describes `ami`, under `comment`. What is left out becomes comments, each at
/// its place, with the reason.
#[must_use]
pub fn write(ami: &Ami, comment: &str, left_out: &[LeftOut]) -> String {
    let mut out = Text::default();
    out.comment(comment);
    out.line("version = 1");
    out.table("[ami]");
    out.template("name", Some(&ami.name));
    out.template("description", ami.description.as_deref());
    out.string("architecture", ami.architecture.map(Architecture::name));
    out.string("virtualization-type", ami.virtualization_type.map(Virtualization::name));
    out.string("boot-mode", ami.boot_mode.map(BootMode::name));
    out.string("root-device-name", Some(&*ami.root_device_name).filter(|it| !it.is_empty()));
    out.plain("ena-support", ami.ena_support);
    out.string("sriov-net-support", ami.sriov_net_support.map(SriovNetSupport::name));
    out.string("imds-support", ami.imds_support.map(ImdsSupport::name));
    out.string("tpm-support", ami.tpm_support.map(TpmSupport::name));
    out.string("uefi-data", ami.uefi_data.as_deref());
    out.string("kernel-id", ami.kernel_id.as_deref());
    out.string("kernel-name", ami.kernel_name.as_deref());
    out.string("ramdisk-id", ami.ramdisk_id.as_deref());
    out.string("image-location", ami.image_location.as_deref());
    out.string("platform", ami.platform.map(Platform::name));
    out.strings("billing-products", ami.billing_products.iter().map(String::as_str));
    out.product_codes(ami);
    let permissions = ami.launch_permissions.iter().flat_map(LaunchPermission::values);
    out.strings("launch-permissions", permissions);
    out.string("deprecate-at", ami.deprecate_at.map(|it| it.to_string()).as_deref());
    out.string(
        "deregistration-protection",
        ami.deregistration_protection.map(DeregistrationProtection::name),
    );
    for it in left_out {
        out.left_out(it);
    }
    out.tags(&ami.tags);
    if let Some(provenance) = &ami.provenance {
        out.provenance(provenance);
    }
    for mapping in &ami.block_device_mappings {
        out.volume(mapping, left_out);
    }
    out.0
}

/// TOML under way.
#[derive(Default)]
struct Text(String);

/// A string as TOML writes it. JSON's escapes are TOML's too, but for one character.
fn quoted(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a string always serialises");
    json.replace('\x7f', "\\u007f")
}

/// A text that templates are filled into; a brace of an existing AMI is none.
fn template(text: &str) -> String {
    quoted(&text.replace('{', "{{").replace('}', "}}"))
}

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// Writes lines of comment; nothing in them can end one.
    fn comment(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.replace(|c: char| c.is_control(), " ");
            self.line(&format!("# {line}"));
        }
    }

    /// Says what of the AMI as a whole is left out, and why.
    fn left_out(&mut self, it: &LeftOut) {
        match it {
            LeftOut::Public => {
                self.comment("Everybody may launch that AMI. Decide whether yours is public:");
                self.comment("launch-permissions = [\"all\"]");
            }
            LeftOut::Deprecation { time, is_past: true } => {
                self.comment("EC2 takes no time in the past:");
                self.comment(&format!("deprecate-at = \"{time}\""));
            }
            LeftOut::Deprecation { time, is_past: false } => {
                self.comment(
                    "Its publisher deprecates that AMI then, which does not concern yours:",
                );
                self.comment(&format!("deprecate-at = \"{time}\""));
            }
            LeftOut::Protection(protection) => {
                self.comment("Its publisher protects that AMI, which does not concern yours:");
                self.comment(&format!("deregistration-protection = \"{protection}\""));
            }
            LeftOut::Unread(Unread { place, found, expected, .. }) => {
                self.comment(&format!("Left out: {place} is {found}, expected {expected}"));
            }
            LeftOut::NotInAnswer { image_id } => {
                self.comment(
                    "Not in the answer are the accounts that may launch the AMI, and its UEFI data:",
                );
                let call = "aws ec2 describe-image-attribute --image-id";
                self.comment(&format!("  {call} {image_id} --attribute launchPermission"));
                self.comment(&format!("  {call} {image_id} --attribute uefiData"));
            }
            LeftOut::Tag { key } => {
                self.comment(&format!("Left out: the tag {key:?}, which only AWS can give"));
            }
            LeftOut::Encrypted { .. } | LeftOut::LaunchOnly { .. } => {}
        }
    }

    /// Says what of a device is left out, and why.
    fn left_out_of(&mut self, device: &str, it: &LeftOut) {
        match it {
            LeftOut::Encrypted { device: of } if of == device => {
                self.comment(
                    "Its snapshot is encrypted. That is the snapshot's own, and EC2 refuses",
                );
                self.comment("encrypted = true beside one; of an image, say it in [upload].");
            }
            LeftOut::LaunchOnly { device: of, member, value } if of == device => {
                self.comment(&format!(
                    "Left out: {member} {value}, which EC2 takes at launch only"
                ));
            }
            _ => {}
        }
    }

    fn table(&mut self, head: &str) {
        self.0.push('\n');
        self.line(head);
    }

    fn plain(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.line(&format!("{name} = {}", value.to_string()));
        }
    }

    fn string(&mut self, name: &str, value: Option<&str>) {
        self.plain(name, value.map(quoted));
    }

    fn template(&mut self, name: &str, value: Option<&str>) {
        self.plain(name, value.map(template));
    }

    fn strings<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a str>) {
        let values: Vec<String> = values.map(quoted).collect();
        if !values.is_empty() {
            self.line(&format!("{name} = [{}]", values.join(", ")));
        }
    }

    fn product_codes(&mut self, ami: &Ami) {
        let mut codes = Vec::new();
        for code in &ami.product_codes {
            let mut text = format!("{{ product-code-id = {}", quoted(&code.product_code_id));
            if let Some(kind) = code.product_code_type {
                let _ = write!(text, ", product-code-type = {}", quoted(kind.name()));
            }
            codes.push(text + " }");
        }
        if !codes.is_empty() {
            self.line(&format!("product-codes = [{}]", codes.join(", ")));
        }
    }

    fn tags(&mut self, tags: &[Tag]) {
        if tags.is_empty() {
            return;
        }
        self.table("[ami.tags]");
        for tag in tags {
            self.line(&format!("{} = {}", quoted(&tag.key), template(&tag.value)));
        }
    }

    fn provenance(&mut self, provenance: &Provenance) {
        self.table("[ami.provenance]");
        self.string("origin", Some(provenance.origin.name()));
        self.string("owner-id", provenance.owner_id.as_deref());
        self.string("image-id", provenance.image_id.as_deref());
        self.string("source-image-id", provenance.source_image_id.as_deref());
        self.string("source-image-region", provenance.source_image_region.as_deref());
        self.string("source-instance-id", provenance.source_instance_id.as_deref());
    }

    fn volume(&mut self, mapping: &Mapping, left_out: &[LeftOut]) {
        self.table("[[volume]]");
        self.string("device-name", Some(&mapping.device_name));
        if let Some(ebs) = &mapping.ebs {
            self.ebs(ebs);
        }
        for it in left_out {
            self.left_out_of(&mapping.device_name, it);
        }
        self.string("virtual-name", mapping.virtual_name.as_deref());
        self.plain("no-device", mapping.no_device.as_ref().map(|_| true));
    }

    fn ebs(&mut self, ebs: &Ebs) {
        if ebs.snapshot_id.is_some() {
            self.comment("To rebuild the AMI, replace the snapshot by `image = \"FILE\"`.");
        }
        self.string("snapshot-id", ebs.snapshot_id.as_deref());
        self.plain("volume-size", ebs.volume_size);
        self.string("volume-type", ebs.volume_type.map(VolumeType::name));
        self.plain("iops", ebs.iops);
        self.plain("throughput", ebs.throughput);
        self.plain("delete-on-termination", ebs.delete_on_termination);
        self.plain("encrypted", ebs.encrypted);
        self.string("kms-key-id", ebs.kms_key_id.as_deref());
        self.string("outpost-arn", ebs.outpost_arn.as_deref());
    }
}
