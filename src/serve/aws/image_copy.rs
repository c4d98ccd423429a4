//! `CopyImage`.

use std::collections::BTreeSet;

use crate::ami::Tag;
use crate::ami::check_name;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::image::again;
use crate::serve::aws::image::check_free;
use crate::serve::aws::image::check_id;
use crate::serve::aws::image::not_found;
use crate::serve::aws::params::Params;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::dry_run;
use crate::serve::aws::server::Server;
use crate::serve::aws::snapshots;
use crate::serve::aws::state::Image;
use crate::serve::aws::state::ImageState;
use crate::serve::aws::state::Once;
use crate::serve::aws::tags;
use crate::serve::aws::xml::Xml;

/// Lists of the call, and what they are called in its document.
const LISTS: [(&str, &str); 2] = [("TagSpecification", "TagSpecifications"), ("Tag", "Tags")];

pub(super) fn copy(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&[
        "SourceImageId",
        "SourceRegion",
        "Name",
        "Description",
        "ClientToken",
        "Encrypted",
        "KmsKeyId",
        "CopyImageTags",
        "TagSpecification",
        "SnapshotCopyCompletionDurationMinutes",
        "DestinationAvailabilityZone",
    ])?;
    let (source, from, name) =
        (params.need("SourceImageId")?, params.need("SourceRegion")?, params.need("Name")?);
    check_id(source)?;
    let malformed = |_| {
        let text = "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, \
                    '(', ')', '.', '-', '/' and '_'";
        Ec2Error::new("InvalidAMIName.Malformed", text)
    };
    check_name(name).map_err(malformed)?;
    let specified = tags::specified(params, &["image", "snapshot"])?;
    let mut state = server.state();
    server.settle(&mut state);
    let document = serde_json::Value::Object(params.of_the_call().document(&LISTS));
    let asked = crate::digest::sha256(document.to_string().as_bytes());
    let token = params
        .get("ClientToken")
        .map(|token| format!("{} {} CopyImage {token}", caller.account, caller.region));
    if let Some(once) = token.as_ref().and_then(|token| state.once.get(token)) {
        return again(once, asked);
    }
    let found = state.images.get(source);
    let found = found.filter(|it| it.region == from && it.is_for(&caller.account));
    let image = found.ok_or_else(|| not_found(source))?.clone();
    if image.state != ImageState::Available {
        let text = format!("The image '{source}' is not available.");
        return Err(Ec2Error::new("InvalidAMIID.Unavailable", text));
    }
    check_free(&state, caller, name)?;
    let mut ami = image.ami.clone();
    let mut copies = Vec::new();
    for ebs in ami.block_device_mappings.iter_mut().filter_map(|it| it.ebs.as_mut()) {
        let Some(old) = &ebs.snapshot_id else { continue };
        let snap = state.snapshots.get(old).ok_or_else(|| snapshots::not_found(old))?;
        if image.owner != caller.account && !snap.is_for(&caller.account) {
            let text = "You do not have permission to access the storage of this ami";
            return Err(Ec2Error::new("InvalidRequest", text));
        }
        let encrypted = snapshots::encryption(params, snap.encrypted)?;
        let (id, mut snapshot) =
            snapshots::copy_of(server, caller, snap, encrypted, params.get("KmsKeyId"));
        snapshot.description = format!("Copied for DestinationAmi from SourceAmi {source}");
        snapshot.tags = tags::of_kind(&specified, "snapshot");
        ebs.snapshot_id = Some(id.clone());
        copies.push((id, snapshot));
    }
    dry_run(params)?;
    name.clone_into(&mut ami.name);
    if let Some(description) = params.get("Description") {
        ami.description = Some(description.to_owned());
    }
    let keep = params.flag("CopyImageTags")? == Some(true) && image.owner == caller.account;
    let mut own: Vec<Tag> = if keep { ami.tags } else { Vec::new() };
    for tag in tags::of_kind(&specified, "image") {
        own.retain(|it| it.key != tag.key);
        own.push(tag);
    }
    ami.tags = own;
    let id = server.new_id("ami");
    state.snapshots.extend(copies);
    let made = Image {
        owner: caller.account.clone(),
        region: caller.region.clone(),
        state: ImageState::Pending,
        message: String::new(),
        created: server.now(),
        ami,
        stored: image.stored.clone(),
        shared: BTreeSet::new(),
        deprecated: None,
        protected: false,
        source: Some((source.to_owned(), from.to_owned())),
    };
    state.images.insert(id.clone(), made);
    if let Some(token) = token {
        state.once.insert(token, Once { asked, id: id.clone() });
    }
    server.save(&mut state)?;
    let mut xml = Xml::new();
    xml.text("imageId", id);
    Ok(xml)
}
