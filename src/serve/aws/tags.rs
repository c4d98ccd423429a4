//! Tags, and regions.

use crate::ami::Tag;
use crate::serve::aws::access::Caller;
use crate::serve::aws::ec2_error::Ec2Error;
use crate::serve::aws::params::Params;
use crate::serve::aws::query::Done;
use crate::serve::aws::query::dry_run;
use crate::serve::aws::query::filters;
use crate::serve::aws::query::paged;
use crate::serve::aws::query::yes;
use crate::serve::aws::server::Server;
use crate::serve::aws::state::State;
use crate::serve::aws::xml::Xml;

/// Regions that EC2 has, for scripts that ask which there are.
const REGIONS: [&str; 12] = [
    "ap-northeast-1",
    "ap-southeast-2",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-west-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// Partitions, by what their regions begin with: name, and what host names end in.
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "aws-cn", "amazonaws.com.cn"),
    ("us-gov-", "aws-us-gov", "amazonaws.com"),
    ("us-iso-", "aws-iso", "c2s.ic.gov"),
    ("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    ("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    ("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
    ("eusc-", "aws-eusc", "amazonaws.eu"),
];

/// Returns the partition of a region: its name, and what host names end in.
pub(super) fn partition(region: &str) -> (&'static str, &'static str) {
    let found = PARTITIONS.iter().find(|(start, ..)| region.starts_with(start));
    found.map_or(("aws", "amazonaws.com"), |(_, name, suffix)| (name, suffix))
}

/// Every region can be used without asking.
const OPT_IN: &str = "opt-in-not-required";

/// Most tags of a resource.
const MOST: usize = 50;

/// Reads a list of tags: `prefix.N.Key` and `prefix.N.Value`.
pub(super) fn read(params: &Params, prefix: &str) -> Result<Vec<Tag>, Ec2Error> {
    let mut tags: Vec<Tag> = Vec::new();
    for member in params.list(prefix) {
        let key = member.need("Key")?.to_owned();
        let value = member.get("Value").unwrap_or_default().to_owned();
        let tag = Tag { key, value };
        if tag.is_of_aws() {
            let text = "Tag keys starting with 'aws:' are reserved for internal use";
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
        if tag.key.chars().count() > 127 || tag.value.chars().count() > 255 {
            let text =
                format!("Tag '{}' is too long: keys have 127 characters, values 255", tag.key);
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
        if tags.iter().any(|it| it.key == tag.key) {
            let text = format!("Duplicate tag key '{}' specified.", tag.key);
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
        tags.push(tag);
    }
    if tags.len() > MOST {
        return Err(Ec2Error::new("TagLimitExceeded", "a resource has at most 50 tags"));
    }
    Ok(tags)
}

/// Reads the tags of `TagSpecification.N` for one kind of resource; others are refused.
pub(super) fn specified(
    params: &Params,
    kinds: &[&str],
) -> Result<Vec<(String, Vec<Tag>)>, Ec2Error> {
    let mut found = Vec::new();
    for specification in params.list("TagSpecification") {
        let kind = specification.need("ResourceType")?.to_owned();
        if !kinds.contains(&kind.as_str()) {
            let text =
                format!("'{kind}' is not a valid taggable resource type for this operation.");
            return Err(Ec2Error::new("InvalidParameterValue", text));
        }
        found.push((kind, read(&specification, "Tag")?));
    }
    Ok(found)
}

/// Returns the tags of one kind.
pub(super) fn of_kind(specified: &[(String, Vec<Tag>)], kind: &str) -> Vec<Tag> {
    let own = specified.iter().filter(|(it, _)| it == kind);
    own.flat_map(|(_, tags)| tags.clone()).collect()
}

/// Returns the tags of a resource that the caller owns.
fn owned<'a>(
    state: &'a mut State,
    caller: &Caller,
    id: &str,
) -> Result<&'a mut Vec<Tag>, Ec2Error> {
    let mine = |owner: &str, region: &str| owner == caller.account && region == caller.region;
    if id.starts_with("ami-") {
        let image = state.images.get_mut(id).filter(|it| mine(&it.owner, &it.region));
        return image.map(|it| &mut it.ami.tags).ok_or_else(|| {
            Ec2Error::new("InvalidAMIID.NotFound", format!("The image id '[{id}]' does not exist"))
        });
    }
    if id.starts_with("snap-") {
        let snap = state.snapshots.get_mut(id).filter(|it| mine(&it.owner, &it.region));
        return snap.map(|it| &mut it.tags).ok_or_else(|| {
            let text = format!("The snapshot '{id}' does not exist.");
            Ec2Error::new("InvalidSnapshot.NotFound", text)
        });
    }
    Err(Ec2Error::new("InvalidID", format!("The ID '{id}' is not valid")))
}

pub(super) fn create(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ResourceId", "Tag"])?;
    let (ids, tags) = (params.texts("ResourceId"), read(params, "Tag")?);
    if ids.is_empty() || tags.is_empty() {
        let text = "The request must contain the parameters ResourceId and Tag";
        return Err(Ec2Error::new("MissingParameter", text));
    }
    let mut state = server.state();
    for id in &ids {
        let there = owned(&mut state, caller, id)?;
        let new = tags.iter().filter(|tag| there.iter().all(|it| it.key != tag.key)).count();
        if there.len().saturating_add(new) > MOST {
            return Err(Ec2Error::new("TagLimitExceeded", "a resource has at most 50 tags"));
        }
    }
    dry_run(params)?;
    for id in &ids {
        let there = owned(&mut state, caller, id)?;
        there.retain(|it| tags.iter().all(|tag| tag.key != it.key));
        there.extend(tags.iter().cloned());
    }
    server.save(&mut state)?;
    Ok(yes())
}

pub(super) fn delete(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["ResourceId", "Tag"])?;
    let ids = params.texts("ResourceId");
    let mut state = server.state();
    for id in &ids {
        owned(&mut state, caller, id)?;
    }
    dry_run(params)?;
    let wanted = params.list("Tag");
    for id in &ids {
        let there = owned(&mut state, caller, id)?;
        // Without tags all go; with a key alone, whatever its value.
        there.retain(|tag| {
            !wanted.is_empty()
                && !wanted.iter().any(|it| {
                    it.get("Key") == Some(&tag.key)
                        && it.get("Value").is_none_or(|value| value == tag.value)
                })
        });
    }
    server.save(&mut state)?;
    Ok(yes())
}

pub(super) fn describe(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["Filter", "MaxResults", "NextToken"])?;
    let known = ["key", "resource-id", "resource-type", "tag:", "value"];
    let filters = filters(params, &known)?;
    let state = server.state();
    let mine = |owner: &str, region: &str| owner == caller.account && region == caller.region;
    let images = state.images.iter().filter(|(_, it)| mine(&it.owner, &it.region));
    let snapshots = state.snapshots.iter().filter(|(_, it)| mine(&it.owner, &it.region));
    let all = images
        .map(|(id, it)| (id, "image", &it.ami.tags))
        .chain(snapshots.map(|(id, it)| (id, "snapshot", &it.tags)));
    let mut found = Vec::new();
    for (id, kind, tags) in all {
        for tag in tags {
            let mut fits = true;
            for filter in &filters {
                fits &= match filter.name.as_str() {
                    "resource-id" => filter.fits(id),
                    "resource-type" => filter.fits(kind),
                    "key" => filter.fits(&tag.key),
                    "value" => filter.fits(&tag.value),
                    name => match name.strip_prefix("tag:") {
                        Some(key) => tag.key == key && filter.fits(&tag.value),
                        None => false,
                    },
                };
            }
            if fits {
                found.push((id.clone(), kind, tag.clone()));
            }
        }
    }
    drop(state);
    let (page, next) = paged(server, params, "tags", found)?;
    let mut xml = Xml::new();
    xml.list("tagSet", page, |xml, (id, kind, tag)| {
        xml.text("resourceId", id).text("resourceType", kind);
        xml.text("key", tag.key).text("value", tag.value);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

pub(super) fn regions(server: &Server<'_>, caller: &Caller, params: &Params) -> Done {
    params.only(&["RegionName", "Filter", "AllRegions"])?;
    let mut names: Vec<&str> = REGIONS.to_vec();
    for own in [caller.region.as_str(), server.settings.region.as_str()] {
        if !names.contains(&own) {
            names.push(own);
        }
    }
    // Those of another partition need another account.
    names.retain(|name| partition(name) == partition(&caller.region));
    names.sort_unstable();
    let filters = filters(params, &["endpoint", "opt-in-status", "region-name"])?;
    let asked = params.texts("RegionName");
    if let Some(unknown) = asked.iter().find(|it| !names.contains(&it.as_str())) {
        let text = format!("Invalid values in region name: '{unknown}'");
        return Err(Ec2Error::new("InvalidParameterValue", text));
    }
    let endpoint = |name: &str| format!("ec2.{name}.{}", partition(name).1);
    names.retain(|name| asked.is_empty() || asked.iter().any(|it| it == name));
    for filter in &filters {
        match filter.name.as_str() {
            "region-name" => names.retain(|name| filter.fits(name)),
            "endpoint" => names.retain(|name| filter.fits(&endpoint(name))),
            "opt-in-status" => names.retain(|_| filter.fits(OPT_IN)),
            _ => {}
        }
    }
    let mut xml = Xml::new();
    xml.list("regionInfo", names, |xml, name| {
        xml.text("regionName", name);
        xml.text("regionEndpoint", endpoint(name));
        xml.text("optInStatus", OPT_IN);
    });
    Ok(xml)
}
