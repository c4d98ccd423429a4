//! Rules about who may use an AMI, and what that goes together with.

use crate::ami::LaunchPermission;
use crate::ami::Origin;
use crate::ami::is_account;
use crate::ami::is_organization_arn;
use crate::lint::Found;
use crate::lint::Subject;
use crate::lint::features::is_id;
use crate::lint::member;

/// Permissions that an AMI may have before AWS is asked for more.
const PERMISSION_QUOTA: usize = 1_000;

/// The permissions of the AMI and of its copies, each list with its place.
fn lists<'a>(subject: &Subject<'a>) -> impl Iterator<Item = (String, &'a [LaunchPermission])> {
    let copies = subject.distribution.iter().filter_map(|copy| {
        let list = copy.launch_permissions.as_deref()?;
        Some((format!("copy to {}: LaunchPermissions", copy.region), list))
    });
    std::iter::once(("LaunchPermissions".to_owned(), &subject.ami.launch_permissions[..]))
        .chain(copies)
}

fn is_public(subject: &Subject<'_>) -> bool {
    subject.ami.is_public() || subject.distribution.iter().any(|it| it.is_public(subject.ami))
}

pub(super) fn permission_one(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (place, list) in lists(subject) {
        for it in list.iter().filter(|it| it.values().len() != 1) {
            let what = format!("an entry with {} values", it.values().len());
            let instead =
                "exactly one of UserId, Group, OrganizationArn and OrganizationalUnitArn an entry";
            found.push(Found::new(&*place, what, instead));
        }
    }
    found
}

/// What a permission is instead of one, and what to write.
fn fault(it: &LaunchPermission) -> Option<(&str, &'static str)> {
    let wrong = |value: &'_ Option<String>, sound: fn(&str) -> bool| {
        value.as_deref().is_some_and(|text| !sound(text))
    };
    if wrong(&it.user_id, is_account) {
        return Some((it.user_id.as_deref()?, "an account's twelve digits, without hyphens"));
    }
    if wrong(&it.group, |text| text == "all") {
        return Some((it.group.as_deref()?, "all, the only group"));
    }
    if wrong(&it.organization_arn, |text| is_organization_arn(text, false)) {
        let instead = "arn:aws:organizations::ACCOUNT:organization/o-ID; a bare id is not enough";
        return Some((it.organization_arn.as_deref()?, instead));
    }
    if wrong(&it.organizational_unit_arn, |text| is_organization_arn(text, true)) {
        let instead = "arn:aws:organizations::ACCOUNT:ou/o-ID/ou-ID; a bare id is not enough";
        return Some((it.organizational_unit_arn.as_deref()?, instead));
    }
    None
}

pub(super) fn permission_shape(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (place, list) in lists(subject) {
        for (text, instead) in list.iter().filter_map(fault) {
            found.push(Found::new(&*place, format!("{text:?}"), instead));
        }
    }
    found
}

pub(super) fn permission_twice(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (place, list) in lists(subject) {
        for (number, it) in list.iter().enumerate() {
            if list[..number].contains(it) {
                let what = format!("{:?} twice", it.values().join(" "));
                found.push(Found::new(&*place, what, "each permission once"));
            }
        }
    }
    found
}

pub(super) fn permission_count(subject: &Subject<'_>) -> Vec<Found> {
    lists(subject)
        .filter(|(_, list)| list.len() > PERMISSION_QUOTA)
        .map(|(place, list)| {
            let instead = format!("at most {PERMISSION_QUOTA}, or an organization's ARN");
            Found::new(place, format!("{} permissions", list.len()), instead)
        })
        .collect()
}

/// The permissions on the snapshots of the upload and of its copies, each list with its place.
fn snapshot_lists<'a>(subject: &Subject<'a>) -> Vec<(String, &'a [LaunchPermission])> {
    let mut lists = Vec::new();
    if let Some(upload) = subject.upload {
        let place = "upload: create-volume-permissions".to_owned();
        lists.push((place, &upload.create_volume_permissions[..]));
    }
    for copy in subject.distribution {
        if let Some(list) = copy.create_volume_permissions.as_deref() {
            lists.push((format!("copy to {}: create-volume-permissions", copy.region), list));
        }
    }
    lists
}

pub(super) fn public(subject: &Subject<'_>) -> Vec<Found> {
    lists(subject)
        .chain(snapshot_lists(subject))
        .filter(|(_, list)| list.iter().any(LaunchPermission::is_public))
        .map(|(place, _)| {
            let what = format!("all: {:?} is for everybody", subject.ami.name);
            Found::new(place, what, "accounts or organizations, unless it is meant for everybody")
        })
        .collect()
}

pub(super) fn snapshot_permission(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (place, list) in snapshot_lists(subject) {
        let sound = |it: &&LaunchPermission| {
            it.is_public() || it.user_id.as_deref().is_some_and(is_account)
        };
        for it in list.iter().filter(|it| !sound(it)) {
            let what = format!("{:?}", it.values().join(" "));
            let instead = "an account's twelve digits, or all: organizations cannot be named here";
            found.push(Found::new(&*place, what, instead));
        }
    }
    found
}

/// Finds encrypted snapshots that everybody may make volumes of.
fn public_snapshots(subject: &Subject<'_>, instead: &str) -> Vec<Found> {
    let Some(upload) = subject.upload else { return Vec::new() };
    let is_public = |list: &[LaunchPermission]| list.iter().any(LaunchPermission::is_public);
    let mut found = Vec::new();
    if upload.encrypted && is_public(&upload.create_volume_permissions) {
        let place = "upload: create-volume-permissions";
        found.push(Found::new(place, "all, for encrypted snapshots", instead));
    }
    for copy in subject.distribution {
        let encrypted = upload.encrypted || copy.encrypted;
        if encrypted && is_public(copy.volume_permissions_of(upload)) {
            let place = format!("copy to {}: create-volume-permissions", copy.region);
            found.push(Found::new(place, "all, for encrypted snapshots", instead));
        }
    }
    found
}

pub(super) fn public_encrypted(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    let instead = "no group all, or no encryption: an AMI with encrypted volumes cannot be public";
    if subject.ami.is_public() {
        for (mapping, _) in subject.volumes().filter(|(_, ebs)| ebs.encrypted == Some(true)) {
            found.push(Found::new(member(mapping, "Encrypted"), "true on a public AMI", instead));
        }
        if subject.upload.is_some_and(|upload| upload.encrypted) {
            found.push(Found::new("upload: encrypted", "true for a public AMI", instead));
        }
    }
    for copy in subject.distribution.iter().filter(|copy| copy.encrypted) {
        if copy.is_public(subject.ami) {
            let place = format!("copy to {}: encrypted", copy.region);
            found.push(Found::new(place, "true for a public copy", instead));
        }
    }
    found.extend(public_snapshots(subject, instead));
    found
}

pub(super) fn public_product_codes(subject: &Subject<'_>) -> Vec<Found> {
    if subject.ami.product_codes.is_empty() || !is_public(subject) {
        return Vec::new();
    }
    let found = "product codes on a public AMI";
    vec![Found::new(
        "ProductCodes",
        found,
        "no group all: an AMI with product codes is never public",
    )]
}

pub(super) fn shared_default_key(subject: &Subject<'_>) -> Vec<Found> {
    let instead = "a customer managed key: what has the AWS managed one cannot be shared";
    let Some(upload) = subject.upload else { return Vec::new() };
    let mut found = Vec::new();
    let by_default = upload.encrypted && upload.kms_key_arn.is_none();
    let shared =
        !subject.ami.launch_permissions.is_empty() || !upload.create_volume_permissions.is_empty();
    if by_default && shared {
        found.push(Found::new("upload: kms-key-arn", "no key, and permissions", instead));
    }
    for copy in subject.distribution {
        let shared = !copy.permissions_of(subject.ami).is_empty()
            || !copy.volume_permissions_of(upload).is_empty();
        if copy.encrypted && copy.kms_key_id.is_none() && shared {
            let place = format!("copy to {}: kms-key-id", copy.region);
            found.push(Found::new(place, "no key, and permissions", instead));
        }
    }
    found
}

/// Tells whether a text has the shape of a key's ARN, as EBS takes it.
fn is_key_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [arn, partition, service, _, account, key] = parts[..] else { return false };
    let lower = |b: u8| b.is_ascii_lowercase() || b == b'-';
    arn == "arn"
        && partition.starts_with("aws")
        && partition.bytes().all(lower)
        && service == "kms"
        && is_account(account)
        && key.strip_prefix("key/").is_some_and(|id| !id.is_empty())
        && text.len() <= 2048
}

pub(super) fn kms_key_arn(subject: &Subject<'_>) -> Vec<Found> {
    let key = subject.upload.and_then(|upload| upload.kms_key_arn.as_deref());
    key.into_iter()
        .filter(|key| !is_key_arn(key))
        .map(|key| {
            let instead = "arn:aws:kms:REGION:ACCOUNT:key/ID: EBS takes no alias here";
            Found::new("upload: kms-key-arn", format!("{key:?}"), instead)
        })
        .collect()
}

/// Returns the region in the ARN of a key or an alias; an id and the name of an alias have none.
fn region_of_key(key: &str) -> Option<&str> {
    let mut parts = key.splitn(6, ':');
    let is_key = parts.next() == Some("arn") && parts.nth(1) == Some("kms");
    parts.next().filter(|_| is_key)
}

pub(super) fn kms_key_region(subject: &Subject<'_>) -> Vec<Found> {
    let of_upload = subject.upload.and_then(|upload| {
        Some(("upload: kms-key-arn".to_owned(), &upload.kms_key_arn, upload.region.as_deref()?))
    });
    let of_copies = subject.distribution.iter().map(|copy| {
        (format!("copy to {}: kms-key-id", copy.region), &copy.kms_key_id, copy.region.as_str())
    });
    let elsewhere = |(place, key, region): (String, &Option<String>, &str)| {
        let found = region_of_key(key.as_deref()?).filter(|it| *it != region)?;
        let what = format!("a key of {found}");
        Some(Found::new(place, what, format!("one of {region}: a key encrypts in its own region")))
    };
    of_upload.into_iter().chain(of_copies).filter_map(elsewhere).collect()
}

pub(super) fn image_id(subject: &Subject<'_>) -> Vec<Found> {
    let id = subject.image_id.filter(|id| !is_id(id, "ami"));
    id.into_iter()
        .map(|id| Found::new("image id", format!("{id:?}"), "ami- and hexadecimal digits"))
        .collect()
}

pub(super) fn parent_id(subject: &Subject<'_>) -> Vec<Found> {
    let wrong = |id: &&&str| !is_id(id, "snap") || id.len() > 64;
    let parents = subject.parents.iter().filter(wrong);
    parents
        .map(|id| Found::new("base", format!("{id:?}"), "snap- and hexadecimal digits"))
        .collect()
}

pub(super) fn copy_decrypts(subject: &Subject<'_>) -> Vec<Found> {
    let by_upload = subject.upload.is_some_and(|upload| upload.encrypted);
    let mut found = Vec::new();
    for copy in subject.distribution {
        let place = format!("copy to {}", copy.region);
        if by_upload && copy.is_public(subject.ami) {
            let what = "a public copy of encrypted snapshots";
            let instead =
                "an upload that is not encrypted: a copy can add encryption, never remove it";
            found.push(Found::new(&*place, what, instead));
        }
        if copy.kms_key_id.is_some() && !copy.encrypted {
            found.push(Found::new(
                place,
                "a key without encryption",
                "encrypted = true, or no key",
            ));
        }
    }
    if let Some(upload) = subject.upload
        && upload.kms_key_arn.is_some()
        && !upload.encrypted
    {
        let found_key =
            Found::new("upload", "a key without encryption", "encrypted = true, or no key");
        found.push(found_key);
    }
    found
}

pub(super) fn copy_twice(subject: &Subject<'_>) -> Vec<Found> {
    let mut found = Vec::new();
    for (number, copy) in subject.distribution.iter().enumerate() {
        let name = |it: &crate::ami::Distribution| it.name_of(subject.ami).to_owned();
        let before = &subject.distribution[..number];
        let of_upload = subject.upload.and_then(|upload| upload.region.as_deref())
            == Some(copy.region.as_str())
            && name(copy) == subject.ami.name;
        if of_upload || before.iter().any(|it| it.region == copy.region && name(it) == name(copy)) {
            let place = format!("copy to {}: Name", copy.region);
            let what = format!("{:?}, which an AMI of that region has", name(copy));
            found.push(Found::new(place, what, "a name of its own, or another region"));
        }
    }
    found
}

/// Tells whether `text` looks like a region: `eu-central-1`, `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() >= 3
        && parts.iter().all(|it| !it.is_empty())
        && parts[parts.len().strict_sub(1)].bytes().all(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// The partition of a region: an AMI is not copied from one to another. Isolated regions have that of
/// the word behind their first, as in `us-isob-east-1`.
fn partition(region: &str) -> &str {
    let mut words = region.split('-');
    match (words.next(), words.next()) {
        (Some("cn"), _) => "aws-cn",
        (Some("us"), Some("gov")) => "aws-us-gov",
        (Some("eusc"), _) => "aws-eusc",
        (_, Some(word)) if word.starts_with("iso") => word,
        _ => "aws",
    }
}

pub(super) fn region_shape(subject: &Subject<'_>) -> Vec<Found> {
    let own = subject.upload.and_then(|upload| upload.region.as_deref());
    own.into_iter()
        .chain(subject.distribution.iter().map(|copy| copy.region.as_str()))
        .filter(|region| !is_region(region))
        .map(|region| Found::new("region", format!("{region:?}"), "a region such as eu-central-1"))
        .collect()
}

pub(super) fn copy_partition(subject: &Subject<'_>) -> Vec<Found> {
    let Some(own) = subject.upload.and_then(|upload| upload.region.as_deref()) else {
        return Vec::new();
    };
    subject
        .distribution
        .iter()
        .filter(|copy| partition(&copy.region) != partition(own))
        .map(|copy| {
            let found = format!("from {own}, which is in another partition");
            let instead = "an upload of its own there: EC2 copies within a partition only";
            Found::new(format!("copy to {}", copy.region), found, instead)
        })
        .collect()
}

pub(super) fn billing_products(subject: &Subject<'_>) -> Vec<Found> {
    if subject.ami.billing_products.is_empty() {
        return Vec::new();
    }
    let found = subject.ami.billing_products.join(", ");
    vec![Found::new("BillingProducts", found, "none, unless AWS lets the account set them")]
}

pub(super) fn product_codes(subject: &Subject<'_>) -> Vec<Found> {
    if subject.ami.product_codes.is_empty() {
        return Vec::new();
    }
    let codes: Vec<&str> =
        subject.ami.product_codes.iter().map(|it| it.product_code_id.as_str()).collect();
    let instead = "none: RegisterImage does not take them, AWS Marketplace adds its own";
    vec![Found::new("ProductCodes", codes.join(", "), instead)]
}

pub(super) fn provenance_snapshots(subject: &Subject<'_>) -> Vec<Found> {
    let foreign = subject.ami.provenance.as_ref().filter(|it| it.origin != Origin::Custom);
    let Some(provenance) = foreign else { return Vec::new() };
    subject
        .volumes()
        .filter(|(_, ebs)| ebs.snapshot_id.is_some())
        .map(|(mapping, _)| {
            let owner = provenance.owner_id.as_deref().unwrap_or("another account");
            let found = format!("a snapshot of {owner}, of an AMI that is {}", provenance.origin);
            let instead = "an image, or a snapshot of your own made from an instance";
            Found::new(member(mapping, "SnapshotId"), found, instead)
        })
        .collect()
}

pub(super) fn provenance_public(subject: &Subject<'_>) -> Vec<Found> {
    let of_seller =
        subject.ami.provenance.as_ref().is_some_and(|it| it.origin == Origin::Marketplace);
    let marketplace = Some(crate::ami::ProductCodeType::Marketplace);
    let sold = subject.ami.product_codes.iter().any(|it| it.product_code_type == marketplace);
    if !(of_seller || sold) || !is_public(subject) {
        return Vec::new();
    }
    let found = "public, and made from an AMI of AWS Marketplace";
    vec![Found::new("LaunchPermissions", found, "no group all: its seller's terms forbid it")]
}
