//! `RegisterImage`.

use std::collections::BTreeSet;

use crate::ami::Ami;
use crate::ami::Document;
use crate::ami::Mapping;
use crate::error::Kind;
use crate::lint::Finding;
use crate::lint::Level;
use crate::lint::Topic;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::image::again;
use crate::serve::aws::image::check_free;
use crate::serve::aws::params::Params;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::dry_run;
use crate::serve::aws::server::Server;
use crate::serve::aws::snapshots;
use crate::serve::aws::state::Image;
use crate::serve::aws::state::ImageState;
use crate::serve::aws::state::Once;
use crate::serve::aws::state::SnapshotState;
use crate::serve::aws::state::State;
use crate::serve::aws::xml::Xml;

/// Lists of the call, and what they are called in its document.
const LISTS: [(&str, &str); 4] = [
    ("BlockDeviceMapping", "BlockDeviceMappings"),
    ("TagSpecification", "TagSpecifications"),
    ("Tag", "Tags"),
    ("BillingProduct", "BillingProducts"),
];

/// Parameters of `RegisterImage`.
const REGISTER: [&str; 18] = [
    "Architecture",
    "BillingProduct",
    "BlockDeviceMapping",
    "BootMode",
    "Description",
    "EnaSupport",
    "ImageLocation",
    "ImdsSupport",
    "KernelId",
    "Name",
    "RamdiskId",
    "RootDeviceName",
    "SriovNetSupport",
    "TagSpecification",
    "TpmSupport",
    "UefiData",
    "VirtualizationType",
    "ClientToken",
];

/// Returns EC2's code for a rule that is broken.
fn code_of(rule: &str) -> &'static str {
    match rule {
        "name" => "InvalidAMIName.Malformed",
        "copy-name" => "InvalidAMIName.Duplicate",
        "device-missing" | "device-name" | "device-digits-hvm" | "device-twice"
        | "root-content" | "ebs-source" | "size-below-content" => "InvalidBlockDeviceMapping",
        "device-kind" | "iops-missing" => "MissingParameter",
        "snapshot-id" => "InvalidSnapshotID.Malformed",
        "iops-unsupported" | "throughput-unsupported" => "InvalidParameterCombination",
        "encrypted-snapshot" => "InvalidParameterDependency",
        "tag-count" => "TagLimitExceeded",
        "public-encrypted" | "public-product-codes" => "UnsupportedOperation",
        "shared-default-key" => "InvalidParameter",
        "permission-shape" => "InvalidAMIAttributeItemValue",
        "image-id" => "InvalidAMIID.Malformed",
        "member" => "UnknownParameter",
        _ => "InvalidParameterValue",
    }
}

/// Says the first thing that EC2 refuses. What a machine's firmware would refuse, it takes.
fn refusal(findings: &[Finding]) -> Option<Ec2Error> {
    let refused = |it: &&Finding| it.level == Level::Error && it.topic != Topic::Boot;
    let first = findings.iter().find(refused)?;
    let text = format!("{}: {} is {}; {}", first.text, first.place, first.found, first.instead);
    Some(Ec2Error::new(code_of(first.rule), text))
}

/// Returns the snapshots of a mapping: device, and what it is in the store.
type Volumes = Vec<(String, (String, String))>;

/// Finds the snapshots that a mapping names, and fills in what it leaves out.
fn with_snapshots(state: &State, caller: &Caller, ami: &mut Ami) -> Result<Volumes, Ec2Error> {
    let mut volumes = Vec::new();
    for mapping in &mut ami.block_device_mappings {
        let device = mapping.device_name.clone();
        let Some(ebs) = &mut mapping.ebs else { continue };
        let Some(id) = &ebs.snapshot_id else { continue };
        snapshots::check_id(id)?;
        let found = state.snapshots.get(id).filter(|it| it.region == caller.region);
        let snap = found
            .filter(|it| it.is_for(&caller.account))
            .ok_or_else(|| snapshots::not_found(id))?;
        if snap.state != SnapshotState::Completed {
            let text = format!("The snapshot '{id}' is not in the 'completed' state");
            return Err(Ec2Error::new("IncorrectState", text));
        }
        if let Some(size) = ebs.volume_size.filter(|size| *size < snap.gib) {
            let text = format!(
                "Volume of size {size}GB is smaller than snapshot '{id}', expect size >= {}GB",
                snap.gib
            );
            return Err(Ec2Error::new("InvalidBlockDeviceMapping", text));
        }
        volumes.extend(snap.stored.clone().map(|stored| (device, stored)));
    }
    Ok(volumes)
}

/// Folders of a store, which no bundle of instance store is in: `docs/formats/store.md`.
const OWN_FOLDERS: [&str; 5] = ["blobs", "counters", "fetches", "publications", "serve-aws"];

/// Tells a name that leads nowhere else, and is not that of a folder of the store's own.
fn is_plain(name: &str) -> bool {
    let words = || name.split(['.', '_', '-']);
    let is_word = |it: &str| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_alphanumeric());
    name.len() <= 128 && words().all(is_word) && !OWN_FOLDERS.contains(&name)
}

/// Finds the bundle of an instance-store AMI, and fills in what its manifest says.
fn with_manifest(server: &Server<'_>, ami: &mut Ami, location: &str) -> Result<(), Ec2Error> {
    let invalid = |text: String| Ec2Error::new("InvalidManifest", text);
    if !is_plain(location) {
        let text = format!(
            "ImageLocation is {location:?}; here it must be the name of a folder in the store's, of letters and digits \
             with '.', '_' or '-' between them"
        );
        return Err(Ec2Error::new("InvalidParameterValue", text));
    }
    let found = server.keeper.instance_store(location).map_err(|error| match error.kind() {
        Kind::Io | Kind::Interrupted => Ec2Error::from(error),
        _ => invalid(error.to_string()),
    })?;
    let not_found = || invalid(format!("HTTP 404 (Not Found) response for {location}"));
    let machine = found.ok_or_else(not_found)?;
    if ami.architecture.is_none() {
        let name = &machine.architecture;
        let known = name.parse().map_err(|_| invalid(format!("invalid architecture {name:?}")))?;
        ami.architecture = Some(known);
    }
    if ami.root_device_name.is_empty() {
        let root = machine.block_device_mapping.iter().find(|it| it.virtual_name == "root");
        let root = root.map_or("sda1", |it| it.device.trim_start_matches("/dev/"));
        ami.root_device_name = format!("/dev/{root}");
    }
    ami.kernel_id = ami.kernel_id.take().or(machine.kernel_id);
    ami.ramdisk_id = ami.ramdisk_id.take().or(machine.ramdisk_id);
    Ok(())
}

pub(super) fn register(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&REGISTER)?;
    params.need("Name")?;
    let document = serde_json::Value::Object(params.of_the_call().document(&LISTS));
    let parsed = Document::read(document.to_string().as_bytes());
    let Ok(Document::Call(call)) = parsed else {
        return Err(Ec2Error::new("InvalidRequest", "it is not a call of RegisterImage"));
    };
    let (mut ami, unread) = (call.ami, call.unread);
    let mut state = server.state();
    let asked = crate::digest::sha256(document.to_string().as_bytes());
    let token = params
        .get("ClientToken")
        .map(|token| format!("{} {} RegisterImage {token}", caller.account, caller.region));
    if let Some(once) = token.as_ref().and_then(|token| state.once.get(token)) {
        return again(once, asked);
    }
    // Rules first: what is wrong in itself is wrong whatever there is.
    let findings = server.keeper.refusals(&ami, &[], &unread)?;
    if let Some(refusal) = refusal(&findings) {
        return Err(refusal);
    }
    if let Some(location) = ami.image_location.clone() {
        with_manifest(server, &mut ami, &location)?;
    }
    let volumes = with_snapshots(&state, caller, &mut ami)?;
    check_free(&state, caller, &ami.name)?;
    dry_run(params)?;
    let id = server.new_id("ami");
    let stored = store_image(server, &state, &id, &ami, &volumes)?;
    complete_mapping(&state, &mut ami);
    let image = Image {
        owner: caller.account.clone(),
        region: caller.region.clone(),
        state: ImageState::Pending,
        message: String::new(),
        created: server.now(),
        ami,
        stored,
        shared: BTreeSet::new(),
        deprecated: None,
        protected: false,
        source: None,
    };
    state.images.insert(id.clone(), image);
    if let Some(token) = token {
        state.once.insert(token, Once { asked, id: id.clone() });
    }
    server.save(&mut state)?;
    let mut xml = Xml::new();
    xml.text("imageId", id);
    Ok(xml)
}

/// Writes the AMI into the store, unless none of its devices has content.
fn store_image(
    server: &Server<'_>,
    state: &State,
    id: &str,
    ami: &Ami,
    volumes: &Volumes,
) -> Result<Option<String>, Ec2Error> {
    // The volume of an instance-store AMI stays in its own bundle.
    if volumes.is_empty() || ami.image_location.is_some() {
        return Ok(None);
    }
    let mut ami = ami.clone();
    complete_mapping(state, &mut ami);
    ami.architecture = Some(ami.effective_architecture());
    ami.virtualization_type = Some(ami.effective_virtualization());
    for ebs in ami.block_device_mappings.iter_mut().filter_map(|it| it.ebs.as_mut()) {
        if let Some(snap) = ebs.snapshot_id.take().and_then(|id| state.snapshots.get(&id)) {
            ebs.snapshot_digest = snap.root;
            ebs.encrypted = None;
        }
    }
    ami.block_device_mappings.sort_by(|a, b| a.device_name.cmp(&b.device_name));
    server.keeper.register(id, &ami, volumes).map_err(|error| match error.kind() {
        // What a bundle cannot hold and EC2 may take, such as a root that is mapped under another name.
        Kind::Invalid => Ec2Error::new("InvalidBlockDeviceMapping", error.to_string()),
        _ => Ec2Error::from(error),
    })?;
    Ok(Some(id.to_owned()))
}

/// Fills in what EC2 has defaults for.
fn complete_mapping(state: &State, ami: &mut Ami) {
    let root = ami.root().map(|it| it.device_name.clone());
    for Mapping { device_name, ebs, .. } in &mut ami.block_device_mappings {
        let Some(ebs) = ebs else { continue };
        let snap = ebs.snapshot_id.as_ref().and_then(|id| state.snapshots.get(id));
        ebs.volume_size = ebs.volume_size.or_else(|| snap.map(|it| it.gib));
        ebs.delete_on_termination =
            ebs.delete_on_termination.or(Some(Some(&*device_name) == root.as_ref()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_one_plain_name() {
        for name in ["web", "web-1.2_x86", "A"] {
            assert!(is_plain(name), "{name}");
        }
        for name in [
            "", ".", "..", "../web", "/etc", "a/b", "web/", ".web", "web.", "a..b", "a b", "a\0b",
            "ü",
        ]
        .into_iter()
        .chain(OWN_FOLDERS)
        {
            assert!(!is_plain(name), "{name}");
        }
        assert!(!is_plain(&"a".repeat(129)));
    }
}
