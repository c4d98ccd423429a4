//! A call of `RegisterImage` as it was written, read as far as it can be.

use serde_json::Map;
use serde_json::Value;

use crate::ami::Ami;
use crate::ami::elements;
use crate::ami::reading::Aside;
use crate::ami::reading::Members;
use crate::ami::reading::Oddity;
use crate::ami::reading::Unread;

/// A call of `RegisterImage`, taken as a description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// The description.
    pub ami: Ami,
    /// What the call has and a description has no place for: strange values and members, empty texts,
    /// tags for other resources than the AMI.
    pub unread: Vec<Unread>,
    /// Whether it is what the AWS CLI prints as a skeleton: every member, empty.
    pub is_skeleton: bool,
}

/// Members of the call, as EC2's model has them.
const MEMBERS: &[&str] = &[
    "Architecture",
    "BillingProducts",
    "BlockDeviceMappings",
    "BootMode",
    "Description",
    "DryRun",
    "EnaSupport",
    "ImageLocation",
    "ImdsSupport",
    "KernelId",
    "Name",
    "RamdiskId",
    "RootDeviceName",
    "SriovNetSupport",
    "TagSpecifications",
    "TpmSupport",
    "UefiData",
    "VirtualizationType",
];

/// Empty texts from which on a call is a skeleton.
const SKELETON: usize = 4;

impl Called {
    /// Tells whether an object has a member of the call.
    pub(super) fn is_call(object: &Map<String, Value>) -> bool {
        MEMBERS.iter().any(|name| object.contains_key(*name))
    }

    /// Reads a call.
    pub(super) fn read(object: &Map<String, Value>) -> Self {
        let aside = Aside::default();
        let members = Members::new("", object, &aside);
        let ami = read_call(&members);
        members.finish();
        let unread = aside.into_vec();
        let empty = unread.iter().filter(|it| it.oddity == Oddity::Empty).count();
        Self { ami, unread, is_skeleton: empty >= SKELETON }
    }
}

fn read_call(members: &Members<'_>) -> Ami {
    // Whether a call is tried out only is not a part of what it makes.
    members.pass_over(&["DryRun"]);
    let name = members.any_text("Name").unwrap_or_default();
    let ami = elements::ami(members);
    Ami {
        name,
        uefi_data: members.text("UefiData"),
        image_location: members.text("ImageLocation"),
        billing_products: members.texts("BillingProducts"),
        tags: members.list("TagSpecifications", read_tags).into_iter().flatten().collect(),
        ..ami
    }
}

/// Reads the tags of one specification, if they are for the AMI.
fn read_tags(members: &Members<'_>) -> Vec<crate::ami::Tag> {
    let resource = members.text("ResourceType");
    let tags = members.list("Tags", elements::tag);
    if resource.as_deref() == Some("image") {
        return tags;
    }
    let found = resource.map_or("nothing".to_owned(), |it| format!("{it:?}"));
    members.put_aside(Oddity::Resource, "ResourceType", &found, "image");
    Vec::new()
}
