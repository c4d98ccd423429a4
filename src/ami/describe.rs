//! Answers of `DescribeImages`, taken as descriptions.
//!
//! An answer says what an AMI is. A description says what a user wants, so not every fact is taken
//! over: [`Described::into_wishes`] says which are not, and why.

use serde_json::Map;
use serde_json::Value;

use crate::ami::Ami;
use crate::ami::AmiFault;
use crate::ami::DeregistrationProtection;
use crate::ami::LaunchPermission;
use crate::ami::Origin;
use crate::ami::Platform;
use crate::ami::Provenance;
use crate::ami::Tag;
use crate::ami::Time;
use crate::ami::elements;
use crate::ami::reading::Aside;
use crate::ami::reading::Members;
use crate::ami::reading::Oddity;
use crate::ami::reading::Unread;

/// Members of an image that EC2 keeps itself, and that nobody can ask for.
const KEPT_BY_EC2: &[&str] = &[
    "CreationDate",
    "FreeTierEligible",
    "Hypervisor",
    "ImageAllowed",
    "ImageType",
    "ImageWatermarks",
    "InstanceTypeSpecification",
    "LastLaunchedTime",
    "PlatformDetails",
    "PublicSsmParameterName",
    "ScanResults",
    "State",
    "StateReason",
    "UsageOperation",
];

/// An AMI that EC2 described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its id; empty if the answer has none.
    pub image_id: String,
    /// What it is, with every fact that a description has a place for.
    pub ami: Ami,
    /// Whether it is for another owner to say who may launch it, and for how long: it is public, or AWS or
    /// a seller of AWS Marketplace owns it.
    pub is_foreign: bool,
    /// What could not be read.
    pub unread: Vec<Unread>,
}

/// A fact about an AMI that is not taken as a wish for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Everybody may launch it.
    Public,
    /// It is deprecated, or will be.
    Deprecation {
        /// From when on.
        time: Time,
        /// Whether that is over.
        is_past: bool,
    },
    /// It is protected against being deregistered.
    Protection(DeregistrationProtection),
    /// A tag that AWS gives, and nobody else can.
    Tag {
        /// Its key.
        key: String,
    },
    /// The snapshot of a device is encrypted.
    Encrypted {
        /// The device.
        device: String,
    },
    /// A member of a device that EC2 takes at launch only.
    LaunchOnly {
        /// The device.
        device: String,
        /// The member.
        member: &'static str,
        /// Its value.
        value: String,
    },
    /// Something that could not be read.
    Unread(Unread),
    /// The answer does not have it: launch permissions of accounts, and UEFI data.
    NotInAnswer {
        /// Id of the AMI.
        image_id: String,
    },
}

impl Described {
    /// Reads one image of an answer.
    pub(super) fn read(image: &Map<String, Value>) -> Self {
        let aside = Aside::default();
        let members = Members::new("", image, &aside);
        let (image_id, mut described) = read_image(&members);
        members.finish();
        described.unread = aside.into_vec();
        // An empty text of an answer is a value that is not there.
        described.unread.retain(|it| it.oddity != Oddity::Empty);
        Self { image_id, ..described }
    }

    /// Takes the description as what an owner wants of an AMI, and says what is left out.
    ///
    /// With `keep`, who may launch the AMI, how long it is offered and how it is protected are taken over.
    #[must_use]
    pub fn into_wishes(self, keep: bool, now: Option<Time>) -> (Ami, Vec<LeftOut>) {
        let (mut ami, mut left_out) = (self.ami, Vec::new());
        if ami.is_public() && !keep {
            ami.launch_permissions.clear();
            left_out.push(LeftOut::Public);
        }
        let is_past = ami.deprecate_at.zip(now).is_some_and(|(time, now)| time < now);
        if let Some(time) = ami.deprecate_at.filter(|_| is_past || self.is_foreign && !keep) {
            ami.deprecate_at = None;
            left_out.push(LeftOut::Deprecation { time, is_past });
        }
        // EC2 counts minutes, and refuses nothing that it would round.
        ami.deprecate_at = ami.deprecate_at.map(Time::nearest_minute);
        if self.is_foreign && !keep {
            left_out.extend(ami.deregistration_protection.take().map(LeftOut::Protection));
        }
        let (own, of_aws) = ami.tags.into_iter().partition(|tag| !tag.is_of_aws());
        ami.tags = own;
        left_out.extend(of_aws.into_iter().map(|Tag { key, .. }| LeftOut::Tag { key }));
        for mapping in &mut ami.block_device_mappings {
            let device = mapping.device_name.clone();
            let Some(ebs) = &mut mapping.ebs else { continue };
            if ebs.has_content() && ebs.encrypted.take() == Some(true) {
                left_out.push(LeftOut::Encrypted { device: device.clone() });
            }
            let mut launch_only = |member, value: Option<String>| {
                let device = device.clone();
                left_out.extend(value.map(|value| LeftOut::LaunchOnly { device, member, value }));
            };
            let number = |value: Option<u64>| value.map(|it| it.to_string());
            launch_only("KmsKeyId", ebs.kms_key_id.take());
            launch_only("VolumeInitializationRate", number(ebs.volume_initialization_rate.take()));
            launch_only("AvailabilityZone", ebs.availability_zone.take());
            launch_only("AvailabilityZoneId", ebs.availability_zone_id.take());
            launch_only("EbsCardIndex", number(ebs.ebs_card_index.take()));
        }
        left_out.extend(self.unread.into_iter().map(LeftOut::Unread));
        left_out.push(LeftOut::NotInAnswer { image_id: self.image_id });
        (ami, left_out)
    }
}

fn read_image(members: &Members<'_>) -> (String, Described) {
    let image_id = members.text("ImageId").unwrap_or_default();
    let owner = members.text("ImageOwnerAlias");
    let origin = match owner.as_deref() {
        Some("aws-marketplace") => Origin::Marketplace,
        Some("amazon") => Origin::AwsManaged,
        _ => Origin::Custom,
    };
    let is_public = members.flag("Public").unwrap_or(false);
    let provenance = Provenance {
        origin,
        owner_id: members.text("OwnerId"),
        image_id: Some(image_id.clone()).filter(|id| !id.is_empty()),
        source_image_id: members.text("SourceImageId"),
        source_image_region: members.text("SourceImageRegion"),
        source_instance_id: members.text("SourceInstanceId"),
    };
    let root_device_type = members.text("RootDeviceType");
    // Of an EBS-backed AMI the location is only its owner and name.
    let in_s3 = root_device_type.as_deref() == Some("instance-store");
    let name = members.text("Name").unwrap_or_default();
    let shared = elements::ami(members);
    let ami = Ami {
        name,
        image_location: members.text("ImageLocation").filter(|_| in_s3),
        platform: read_platform(members),
        product_codes: members
            .list("ProductCodes", elements::product_code)
            .into_iter()
            .flatten()
            .collect(),
        tags: members.list("Tags", elements::tag),
        launch_permissions: if is_public { vec![LaunchPermission::of("all")] } else { Vec::new() },
        deprecate_at: read_time(members),
        deregistration_protection: read_protection(members),
        provenance: Some(provenance),
        ..shared
    };
    members.pass_over(KEPT_BY_EC2);
    let is_foreign = is_public || origin != Origin::Custom;
    (image_id.clone(), Described { image_id, ami, is_foreign, unread: Vec::new() })
}

fn read_platform(members: &Members<'_>) -> Option<Platform> {
    let text = members.text("Platform")?;
    if text.eq_ignore_ascii_case(Platform::Windows.name()) {
        return Some(Platform::Windows);
    }
    members.put_aside(Oddity::Value, "Platform", &format!("{text:?}"), Platform::Windows.name());
    None
}

fn read_time(members: &Members<'_>) -> Option<Time> {
    let text = members.text("DeprecationTime")?;
    let time = text.parse().ok();
    if time.is_none() {
        let expected = "a time in UTC such as 2028-01-31T12:00:00.000Z";
        members.put_aside(Oddity::Value, "DeprecationTime", &format!("{text:?}"), expected);
    }
    time
}

fn read_protection(members: &Members<'_>) -> Option<DeregistrationProtection> {
    let text = members.text("DeregistrationProtection")?;
    // While the cool-down after switching it off lasts, EC2 appends when it ends.
    match text.split(" | ").next().unwrap_or(&text).parse() {
        Ok(DeregistrationProtection::Disabled) => None,
        Ok(protection) => Some(protection),
        Err(fault) => {
            let expected = match fault {
                AmiFault::Value { expected, .. } => expected,
                _ => "a protection",
            };
            let name = "DeregistrationProtection";
            members.put_aside(Oddity::Value, name, &format!("{text:?}"), expected);
            None
        }
    }
}
