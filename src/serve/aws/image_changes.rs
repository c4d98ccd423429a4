//! Calls that change an image, or end it.

use std::collections::BTreeSet;

use crate::ami::Ami;
use crate::ami::ImdsSupport;
use crate::ami::LaunchPermission;
use crate::ami::MAX_DESCRIPTION;
use crate::ami::Time;
use crate::lint::Level;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::image::owned;
use crate::serve::aws::params::Params;
use crate::serve::aws::public_access;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::dry_run;
use crate::serve::aws::query::yes;
use crate::serve::aws::server::Server;
use crate::serve::aws::snapshots;
use crate::serve::aws::state::Image;
use crate::serve::aws::state::ImageState;

/// Returns who is named below `LaunchPermission.Add` or `.Remove`.
fn permissions(params: &Params, which: &str) -> Result<Vec<String>, Ec2Error> {
    let mut who = Vec::new();
    for member in params.below("LaunchPermission").list(which) {
        let names = ["UserId", "Group", "OrganizationArn", "OrganizationalUnitArn"];
        let found: Vec<&str> = names.iter().filter_map(|name| member.get(name)).collect();
        let [one] = found[..] else {
            let text = "A launch permission names one account, group, organization or unit";
            return Err(Ec2Error::new("InvalidParameterCombination", text));
        };
        who.push(one.to_owned());
    }
    Ok(who)
}

pub(super) fn modify(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&[
        "ImageId",
        "Attribute",
        "OperationType",
        "UserId",
        "UserGroup",
        "OrganizationArn",
        "OrganizationalUnitArn",
        "LaunchPermission",
        "Description",
        "ImdsSupport",
        "Value",
        "ProductCode",
    ])?;
    let mut state = server.state();
    let encrypted: BTreeSet<String> =
        state.snapshots.iter().filter(|(_, it)| it.encrypted).map(|(id, _)| id.clone()).collect();
    let default_key: BTreeSet<String> = state
        .snapshots
        .iter()
        .filter(|(_, it)| it.encrypted && it.kms_key.is_none())
        .map(|(id, _)| id.clone())
        .collect();
    let no_public = public_access::check(&state, caller, public_access::Kind::Images);
    let image = owned(&mut state, caller, params)?;
    let (mut add, mut remove) = (permissions(params, "Add")?, permissions(params, "Remove")?);
    let plain: Vec<String> = ["UserId", "UserGroup", "OrganizationArn", "OrganizationalUnitArn"]
        .iter()
        .flat_map(|name| params.texts(name))
        .collect();
    match params.get("OperationType") {
        Some("remove") => remove.extend(plain),
        Some("add") => add.extend(plain),
        None if plain.is_empty() => {}
        _ => {
            let text = "OperationType must be add or remove";
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
    }
    let value_of = |name: &str, attribute: &str| {
        let own = params.get(&format!("{name}.Value")).or_else(|| params.get(name));
        let named = params.get("Attribute") == Some(attribute);
        own.or_else(|| params.get("Value").filter(|_| named)).map(str::to_owned)
    };
    let description = value_of("Description", "description");
    let imds = value_of("ImdsSupport", "imdsSupport");
    let kinds = [!add.is_empty() || !remove.is_empty(), description.is_some(), imds.is_some()];
    if kinds.iter().filter(|it| **it).count() != 1 {
        let text =
            "One attribute is changed by a call: launchPermission, description or imdsSupport";
        return Err(Ec2Error::new("InvalidParameterCombination", text));
    }
    // What it would be is judged by the rules.
    let mut wanted = image.ami.clone();
    wanted.launch_permissions = add.iter().map(|who| LaunchPermission::of(who)).collect();
    let shape = crate::lint::lint(&crate::lint::Subject::of(&wanted), &[]);
    if let Some(bad) = shape.iter().find(|it| it.rule == "permission-shape") {
        let text = format!("Invalid attribute item value \"{}\" for userId item type.", bad.found);
        return Err(Ec2Error::new("InvalidAMIAttributeItemValue", text));
    }
    let used: Vec<&str> = wanted
        .block_device_mappings
        .iter()
        .filter_map(|it| it.ebs.as_ref()?.snapshot_id.as_deref())
        .collect();
    if add.iter().any(|it| it == "all") && used.iter().any(|id| encrypted.contains(*id)) {
        let text = "Images with encrypted snapshots cannot be made public";
        return Err(Ec2Error::new("UnsupportedOperation", text));
    }
    if add.iter().any(|it| it == "all") {
        no_public?;
    }
    if !add.is_empty() && used.iter().any(|id| default_key.contains(*id)) {
        let text = "Snapshots encrypted with the AWS Managed CMK can't be shared";
        return Err(Ec2Error::new("InvalidParameter", text));
    }
    if image.state == ImageState::Disabled && !add.is_empty() {
        let text = "A disabled image cannot be shared";
        return Err(Ec2Error::new("IncorrectState", text));
    }
    if description.as_ref().is_some_and(|it| it.chars().count() > MAX_DESCRIPTION) {
        let text = "A description has at most 255 characters";
        return Err(Ec2Error::new("InvalidParameterValue", text));
    }
    if imds.as_deref().is_some_and(|it| it != "v2.0") {
        return Err(Ec2Error::new("InvalidParameterValue", "ImdsSupport must be v2.0"));
    }
    dry_run(params)?;
    image.shared.extend(add);
    image.shared.retain(|it| !remove.contains(it));
    if let Some(description) = description {
        image.ami.description = Some(description).filter(|it| !it.is_empty());
    }
    if imds.is_some() {
        image.ami.imds_support = Some(ImdsSupport::V2);
    }
    server.save(&mut state)?;
    Ok(yes())
}

pub(super) fn reset(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId", "Attribute"])?;
    if params.need("Attribute")? != "launchPermission" {
        let text = "Only launchPermission can be reset";
        return Err(Ec2Error::new("InvalidParameterValue", text));
    }
    change(server, caller, params, |image| {
        image.shared.clear();
        Ok(())
    })
}

/// Changes an image, and says that it was done.
fn change(
    server: &Server<'_>,
    caller: &Caller,
    params: &Params,
    edit: impl FnOnce(&mut Image) -> Result<(), Ec2Error>,
) -> Done {
    let mut state = server.state();
    server.settle(&mut state);
    let image = owned(&mut state, caller, params)?;
    let mut changed = image.clone();
    edit(&mut changed)?;
    dry_run(params)?;
    *image = changed;
    server.save(&mut state)?;
    Ok(yes())
}

pub(super) fn enable(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId"])?;
    change(server, caller, params, |image| {
        if image.state != ImageState::Disabled {
            return Err(Ec2Error::new("IncorrectState", "The image is not disabled"));
        }
        image.state = ImageState::Available;
        Ok(())
    })
}

pub(super) fn disable(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId"])?;
    change(server, caller, params, |image| {
        if image.state != ImageState::Available {
            return Err(Ec2Error::new("IncorrectState", "The image is not available"));
        }
        image.state = ImageState::Disabled;
        image.shared.clear();
        Ok(())
    })
}

pub(super) fn deprecate(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId", "DeprecateAt"])?;
    let text = params.need("DeprecateAt")?;
    let time: Time = serde_json::from_value(serde_json::Value::from(text)).map_err(|_| {
        let text = format!("Invalid value '{text}' for DeprecateAt");
        Ec2Error::new("InvalidParameterValue", text)
    })?;
    let now = server.now();
    change(server, caller, params, |image| {
        let time = time.nearest_minute();
        let wanted = Ami { deprecate_at: Some(time), ..image.ami.clone() };
        let now = Time::from_unix_seconds(now);
        let subject = crate::lint::Subject { now, ..crate::lint::Subject::of(&wanted) };
        let findings = crate::lint::lint(&subject, &[]);
        let late = findings
            .iter()
            .find(|it| it.rule.starts_with("deprecation-") && it.level == Level::Error);
        if let Some(late) = late {
            return Err(Ec2Error::new("InvalidParameterValue", late.text));
        }
        image.deprecated = Some(time.unix_seconds());
        Ok(())
    })
}

pub(super) fn undeprecate(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId"])?;
    change(server, caller, params, |image| {
        image.deprecated = None;
        Ok(())
    })
}

pub(super) fn protect(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId", "WithCooldown"])?;
    change(server, caller, params, |image| {
        image.protected = true;
        Ok(())
    })
}

pub(super) fn unprotect(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId"])?;
    change(server, caller, params, |image| {
        image.protected = false;
        Ok(())
    })
}

/// Most ids of deregistered images that are remembered.
const MOST_GONE: usize = 1000;

pub(super) fn deregister(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ImageId", "DeleteAssociatedSnapshots"])?;
    let id = params.need("ImageId")?.to_owned();
    let delete = params.flag("DeleteAssociatedSnapshots")?.unwrap_or(false);
    let mut state = server.state();
    if state.gone.iter().any(|it| *it == (caller.account.clone(), id.clone())) {
        let text = format!("The image ID '{id}' is no longer available");
        return Err(Ec2Error::new("InvalidAMIID.Unavailable", text));
    }
    let image = owned(&mut state, caller, params)?;
    if image.protected {
        let text = format!("The image '{id}' is protected from deregistration.");
        return Err(Ec2Error::new("OperationNotPermitted", text));
    }
    dry_run(params)?;
    let image = image.clone();
    state.images.remove(&id);
    state.gone.truncate(MOST_GONE.saturating_sub(1));
    state.gone.push_front((caller.account.clone(), id));
    // The names first: a kill leaves an AMI of the store, and no record of what is gone.
    server.save(&mut state)?;
    let mut results = Vec::new();
    if delete {
        let ids = image.ami.block_device_mappings.iter().filter_map(|it| it.ebs.as_ref());
        let ids: BTreeSet<String> = ids.filter_map(|it| it.snapshot_id.clone()).collect();
        for snapshot in ids {
            let used = state.images_of(&snapshot).next().is_some();
            let mine = state.snapshots.get(&snapshot).is_some_and(|it| it.owner == caller.account);
            if !used && mine {
                snapshots::remove(server, &mut state, &snapshot)?;
                results.push((snapshot, "success"));
            } else {
                results.push((snapshot, "skipped"));
            }
        }
        server.save(&mut state)?;
    }
    if let Some(name) = image.stored {
        let others = state.images.values().any(|it| it.stored.as_ref() == Some(&name));
        let held = state
            .snapshots
            .values()
            .any(|it| it.stored.as_ref().is_some_and(|(other, _)| *other == name));
        if !others && !held {
            server.keeper.remove(&name)?;
        }
    }
    let mut xml = yes();
    if delete {
        xml.list("deleteSnapshotResultSet", results, |xml, (id, code)| {
            xml.text("snapshotId", id).text("returnCode", code);
        });
    }
    Ok(xml)
}
