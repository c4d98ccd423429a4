//! EC2's calls about snapshots.

use std::collections::BTreeSet;

use crate::ami::is_account;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ebs_error::sse;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::params::Params;
use crate::serve::aws::public_access;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::check_owners;
use crate::serve::aws::query::dry_run;
use crate::serve::aws::query::filters;
use crate::serve::aws::query::moment;
use crate::serve::aws::query::not_named;
use crate::serve::aws::query::paged;
use crate::serve::aws::query::yes;
use crate::serve::aws::server::Server;
use crate::serve::aws::state::Snap;
use crate::serve::aws::state::SnapshotState;
use crate::serve::aws::state::State;
use crate::serve::aws::tags;
use crate::serve::aws::xml::Xml;

pub(super) fn not_found(id: &str) -> Ec2Error {
    Ec2Error::new("InvalidSnapshot.NotFound", format!("The snapshot '{id}' does not exist."))
}

/// Checks the form of a snapshot's id.
pub(super) fn check_id(id: &str) -> Result<(), Ec2Error> {
    let hex = id.strip_prefix("snap-").unwrap_or_default();
    let digits = hex.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
    if hex.is_empty() || !digits || id.len() > 64 {
        let text = format!("Invalid id: \"{id}\" (expecting \"snap-...\")");
        return Err(Ec2Error::new("InvalidSnapshotID.Malformed", text));
    }
    Ok(())
}

/// Returns a snapshot that the caller owns.
fn owned<'a>(state: &'a mut State, caller: &Caller, id: &str) -> Result<&'a mut Snap, Ec2Error> {
    check_id(id)?;
    let found = state.snapshots.get_mut(id).filter(|it| it.region == caller.region);
    let found = found.ok_or_else(|| not_found(id))?;
    if found.owner == caller.account {
        return Ok(found);
    }
    if !found.is_for(&caller.account) {
        return Err(not_found(id));
    }
    let text = "You are not authorized to perform this operation.";
    Err(Ec2Error { status: 403, ..Ec2Error::new("UnauthorizedOperation", text) })
}

/// Filters that EC2 documents.
const FILTERS: [&str; 14] = [
    "description",
    "encrypted",
    "owner-alias",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "storage-tier",
    "tag-key",
    "tag:",
    "transfer-type",
    "volume-id",
    "volume-size",
];

pub(super) fn describe(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["SnapshotId", "Owner", "RestorableBy", "Filter", "MaxResults", "NextToken"])?;
    let filters = filters(params, &FILTERS)?;
    not_named(params, "SnapshotId")?;
    let (ids, owners) = (params.texts("SnapshotId"), params.texts("Owner"));
    let restorable = params.texts("RestorableBy");
    check_owners(&owners, &["self", "amazon"])?;
    check_owners(&restorable, &["self", "all"])?;
    let state = server.state();
    let seen = |it: &Snap| it.region == caller.region && it.is_for(&caller.account);
    for id in &ids {
        check_id(id)?;
        if !state.snapshots.get(id).is_some_and(seen) {
            return Err(not_found(id));
        }
    }
    let mut found = Vec::new();
    for (id, snap) in state.snapshots.iter().filter(|(_, it)| seen(it)) {
        let own = snap.owner == caller.account;
        let by_owner =
            owners.is_empty() || owners.iter().any(|it| *it == snap.owner || it == "self" && own);
        let by_who = restorable.is_empty()
            || restorable.iter().any(|it| match it.as_str() {
                "self" => true,
                "all" => snap.shared.contains("all"),
                account => snap.shared.contains(account),
            });
        if !ids.is_empty() && !ids.contains(id) || !by_owner || !by_who {
            continue;
        }
        let mut fits = true;
        for filter in &filters {
            fits &= match filter.name.as_str() {
                "description" => filter.fits(&snap.description),
                "encrypted" => filter.fits(if snap.encrypted { "true" } else { "false" }),
                "owner-id" => filter.fits(&snap.owner),
                "progress" => filter.fits(progress(snap)),
                "snapshot-id" => filter.fits(id),
                "start-time" => filter.fits(&moment(snap.started)),
                "status" => filter.fits(snap.state.name()),
                "storage-tier" => filter.fits("standard"),
                "tag-key" => filter.fits_any(snap.tags.iter().map(|it| it.key.as_str())),
                "volume-id" => filter.fits("vol-ffffffff"),
                "volume-size" => filter.fits(&snap.gib.to_string()),
                name => match name.strip_prefix("tag:") {
                    Some(key) => snap.tags.iter().any(|it| it.key == key && filter.fits(&it.value)),
                    // By what no snapshot here has.
                    None => false,
                },
            };
        }
        if fits {
            found.push((id.clone(), snap.clone()));
        }
    }
    drop(state);
    let (page, next) = paged(server, params, "snapshots", found)?;
    let mut xml = Xml::new();
    xml.list("snapshotSet", page, |xml, (id, snap)| {
        xml.text("snapshotId", id).text("volumeId", "vol-ffffffff");
        xml.text("status", snap.state.name());
        if !snap.message.is_empty() {
            xml.text("statusMessage", &snap.message);
        }
        xml.text("startTime", moment(snap.started)).text("progress", progress(&snap));
        xml.text("ownerId", &snap.owner).value("volumeSize", snap.gib);
        xml.text("description", &snap.description).value("encrypted", snap.encrypted);
        xml.maybe("kmsKeyId", snap.kms_key.as_ref()).tags(&snap.tags);
        xml.text("storageTier", "standard").text("sseType", sse(&snap));
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn progress(snap: &Snap) -> &'static str {
    if snap.state == SnapshotState::Completed { "100%" } else { "0%" }
}

pub(super) fn describe_attribute(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["SnapshotId", "Attribute"])?;
    let (id, attribute) = (params.need("SnapshotId")?, params.need("Attribute")?);
    let mut state = server.state();
    let snap = owned(&mut state, caller, id)?;
    let mut xml = Xml::new();
    xml.text("snapshotId", id);
    match attribute {
        "createVolumePermission" => {
            xml.list("createVolumePermission", &snap.shared, |xml, who| {
                xml.text(if who == "all" { "group" } else { "userId" }, who);
            });
        }
        "productCodes" => {
            xml.list("productCodes", Vec::<()>::new(), |_, ()| {});
        }
        _ => {
            let text = format!("The attribute '{attribute}' is invalid");
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
    }
    Ok(xml)
}

pub(super) fn modify(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&[
        "SnapshotId",
        "Attribute",
        "OperationType",
        "UserId",
        "UserGroup",
        "CreateVolumePermission",
    ])?;
    let id = params.need("SnapshotId")?;
    let mut state = server.state();
    let no_public = public_access::check(&state, caller, public_access::Kind::Snapshots);
    let snap = owned(&mut state, caller, id)?;
    let changes = params.below("CreateVolumePermission");
    let named = |which: &str| -> Vec<String> {
        let mut who: Vec<String> = Vec::new();
        for member in changes.list(which) {
            who.extend(member.get("UserId").map(str::to_owned));
            who.extend(member.get("Group").map(str::to_owned));
        }
        who
    };
    let (mut add, mut remove) = (named("Add"), named("Remove"));
    let plain: Vec<String> =
        params.texts("UserId").into_iter().chain(params.texts("UserGroup")).collect();
    match params.get("OperationType") {
        Some("remove") => remove.extend(plain),
        Some("add") => add.extend(plain),
        None if plain.is_empty() => {}
        _ => {
            let text = "OperationType must be add or remove";
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
    }
    if let Some(bad) = add.iter().chain(&remove).find(|it| *it != "all" && !is_account(it)) {
        let text = format!("Invalid value '{bad}' for createVolumePermission");
        return Err(Ec2Error::new("InvalidParameterValue", text));
    }
    if add.iter().any(|it| it == "all") && snap.encrypted {
        let text = "Encrypted snapshots cannot be shared publicly";
        return Err(Ec2Error::new("OperationNotPermitted", text));
    }
    if add.iter().any(|it| it == "all") {
        no_public?;
    }
    if !add.is_empty() && snap.encrypted && snap.kms_key.is_none() {
        let text = "Encrypted snapshots with EBS default key cannot be shared";
        return Err(Ec2Error::new("InvalidParameter", text));
    }
    dry_run(params)?;
    snap.shared.extend(add);
    snap.shared.retain(|it| !remove.contains(it));
    server.save(&mut state)?;
    Ok(yes())
}

pub(super) fn reset(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["SnapshotId", "Attribute"])?;
    let id = params.need("SnapshotId")?;
    let mut state = server.state();
    let snap = owned(&mut state, caller, id)?;
    dry_run(params)?;
    snap.shared.clear();
    server.save(&mut state)?;
    Ok(yes())
}

pub(super) fn copy(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&[
        "SourceSnapshotId",
        "SourceRegion",
        "DestinationRegion",
        "PresignedUrl",
        "Description",
        "Encrypted",
        "KmsKeyId",
        "TagSpecification",
        "CompletionDurationMinutes",
    ])?;
    let source = params.need("SourceSnapshotId")?;
    let from = params.need("SourceRegion")?;
    check_id(source)?;
    let specified = tags::specified(params, &["snapshot"])?;
    let mut state = server.state();
    let found = state.snapshots.get(source);
    let found = found.filter(|it| it.region == from && it.is_for(&caller.account));
    let snap = found.ok_or_else(|| not_found(source))?.clone();
    if snap.state != SnapshotState::Completed {
        let text = format!("The snapshot '{source}' is not completed.");
        return Err(Ec2Error::new("IncorrectState", text));
    }
    let encrypted = encryption(params, snap.encrypted)?;
    dry_run(params)?;
    let copied = copy_of(server, caller, &snap, encrypted, params.get("KmsKeyId"));
    let (id, mut copied) = copied;
    if let Some(description) = params.get("Description") {
        description.clone_into(&mut copied.description);
    }
    copied.tags = tags::of_kind(&specified, "snapshot");
    let mut xml = Xml::new();
    xml.text("snapshotId", &id).tags(&copied.tags);
    state.snapshots.insert(id, copied);
    server.save(&mut state)?;
    Ok(xml)
}

/// Returns whether a copy is encrypted: that can be added, and never removed.
pub(super) fn encryption(params: &Params, source: bool) -> Result<bool, Ec2Error> {
    let asked = params.flag("Encrypted")?;
    if asked == Some(false) && source {
        let text = "The copy of an encrypted snapshot is encrypted";
        return Err(Ec2Error::new("InvalidParameterCombination", text));
    }
    if params.get("KmsKeyId").is_some() && asked != Some(true) && !source {
        let text = "KmsKeyId needs Encrypted to be true";
        return Err(Ec2Error::new("InvalidParameterDependency", text));
    }
    Ok(source || asked == Some(true))
}

/// Makes the record of a copy: its blocks are those of the source.
pub(super) fn copy_of(
    server: &Server<'_>,
    caller: &Caller,
    source: &Snap,
    encrypted: bool,
    key: Option<&str>,
) -> (String, Snap) {
    let id = server.new_id("snap");
    let now = server.now();
    let snap = Snap {
        owner: caller.account.clone(),
        region: caller.region.clone(),
        started: now,
        touched: now,
        encrypted,
        kms_key: key.map(str::to_owned).or_else(|| source.kms_key.clone()),
        parent: None,
        lineage: id.clone(),
        tags: Vec::new(),
        shared: BTreeSet::new(),
        ..source.clone()
    };
    (id, snap)
}

pub(super) fn delete(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["SnapshotId"])?;
    let id = params.need("SnapshotId")?.to_owned();
    let mut state = server.state();
    owned(&mut state, caller, &id)?;
    if let Some((image, _)) = state.images_of(&id).next() {
        let text = format!("The snapshot {id} is currently in use by {image}");
        return Err(Ec2Error::new("InvalidSnapshot.InUse", text));
    }
    let child = state
        .snapshots
        .iter()
        .find(|(_, it)| it.state == SnapshotState::Pending && it.parent.as_ref() == Some(&id));
    if let Some((child, _)) = child {
        let text = format!("The snapshot {id} is currently in use by {child}");
        return Err(Ec2Error::new("InvalidSnapshot.InUse", text));
    }
    if server.is_busy(&id) {
        return Err(Ec2Error::new("IncorrectState", "blocks of it are being written"));
    }
    dry_run(params)?;
    remove(server, &mut state, &id)?;
    server.save(&mut state)?;
    Ok(yes())
}

/// Removes a snapshot, and its name from the store unless others have it too.
pub(super) fn remove(server: &Server<'_>, state: &mut State, id: &str) -> Result<(), Ec2Error> {
    let Some(snap) = state.snapshots.remove(id) else { return Ok(()) };
    // A child keeps its line, and what it inherits is in it.
    server.save(state)?;
    server.drop_spool(id)?;
    if let Some((name, device)) = snap.stored {
        let shared = state
            .snapshots
            .values()
            .any(|it| it.stored.as_ref().is_some_and(|(other, _)| *other == name));
        let of_ami = device != crate::bundle::VOLUME_DEVICE;
        if !shared && !of_ami {
            server.keeper.remove(&name)?;
        }
    }
    Ok(())
}
