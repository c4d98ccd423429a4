//! Documents about AMIs: what a text is, known by its shape and never by its name.

use serde_json::Map;
use serde_json::Value;
use thiserror::Error as Fails;

use crate::ami::Ami;
use crate::ami::Called;
use crate::ami::Described;
use crate::error::Fault;
use crate::error::Kind;

/// What a document is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// What `aws ec2 describe-images` prints: all of it, its list, or one image.
    Images(Vec<Described>),
    /// A call of `RegisterImage`, or the skeleton of one.
    Call(Box<Called>),
    /// The description of a bundle.
    Description(Box<Ami>),
    /// Text that is not JSON: a recipe, if anything.
    Text(String),
}

/// Why a document is of no use here.
#[derive(Clone, Debug, PartialEq, Eq, Fails)]
#[non_exhaustive]
pub enum DocumentFault {
    /// It is not text.
    #[error("it is not text in UTF-8 or UTF-16")]
    Encoding,
    /// It begins as JSON does, and breaks its rules.
    #[error("the JSON is broken: {text}")]
    Json {
        /// What is wrong, with line and column.
        text: String,
    },
    /// It is a document of another kind.
    #[error("it is {found}, expected {EXPECTED}")]
    Other {
        /// What it is.
        found: String,
    },
    /// It is a bundle's description, and not a sound one.
    #[error("it is not an AMI description: {text}")]
    Description {
        /// What is wrong.
        text: String,
    },
}

/// What is expected of a document.
const EXPECTED: &str =
    "a recipe, a call of RegisterImage, an answer of DescribeImages or a bundle's description";

impl Fault for DocumentFault {
    fn kind(&self) -> Kind {
        match self {
            Self::Encoding | Self::Json { .. } => Kind::Corrupt,
            Self::Other { .. } | Self::Description { .. } => Kind::Invalid,
        }
    }
}

/// Reads text as people's tools write it: UTF-8 or UTF-16, with or without a byte order mark. `PowerShell`
/// of Windows writes UTF-16 wherever output is sent to a file.
///
/// # Errors
///
/// `Encoding`.
pub fn decode(bytes: &[u8]) -> Result<String, DocumentFault> {
    let utf16 = |units: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = units.as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|pair| unit(*pair)).collect();
        let text = String::from_utf16(&units).ok().filter(|_| rest.is_empty());
        text.ok_or(DocumentFault::Encoding)
    };
    match bytes {
        [0xff, 0xfe, units @ ..] => utf16(units, u16::from_le_bytes),
        [0xfe, 0xff, units @ ..] => utf16(units, u16::from_be_bytes),
        // The first character of any of our documents is in ASCII.
        [first, 0, ..] if *first != 0 => utf16(bytes, u16::from_le_bytes),
        [0, second, ..] if *second != 0 => utf16(bytes, u16::from_be_bytes),
        text => decode_plain(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)),
    }
}

fn decode_plain(bytes: &[u8]) -> Result<String, DocumentFault> {
    String::from_utf8(bytes.to_vec()).map_err(|_| DocumentFault::Encoding)
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    ///
    /// Names the kind of document that it is instead.
    pub fn read(bytes: &[u8]) -> Result<Self, DocumentFault> {
        let text = decode(bytes)?;
        match text.trim_start().chars().next() {
            Some('{') => read_json(&text),
            // A recipe may begin with a table, whose head is no JSON.
            Some('[') if !is_toml_table(&text) => read_json(&text),
            _ => match other_text(&text) {
                Some(found) => Err(other(found)),
                None => Ok(Self::Text(text)),
            },
        }
    }
}

/// Tells whether a text begins with the head of a table of TOML, as in `[ami]`.
fn is_toml_table(text: &str) -> bool {
    let line = text.trim_start().lines().next().unwrap_or_default().trim_end();
    let inside = line.trim_start_matches('[').trim_end_matches(']');
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    line.ends_with(']')
        && inside.starts_with(|c: char| c.is_ascii_alphabetic())
        && !matches!(inside, "true" | "false" | "null")
        && inside.chars().all(name)
}

fn other(found: impl Into<String>) -> DocumentFault {
    DocumentFault::Other { found: found.into() }
}

/// Names other texts that people have in hand.
fn other_text(text: &str) -> Option<&'static str> {
    let text = text.trim_start();
    let begins = |any: &[&str]| any.iter().any(|it| text.starts_with(it));
    if text.is_empty() {
        Some("empty")
    } else if begins(&["<?xml", "<Describe", "<!DOCTYPE", "<html"]) {
        Some("XML")
    } else if begins(&["Images:", "- Architecture:", "- BlockDeviceMappings:", "Architecture:"]) {
        Some("YAML of the AWS CLI; its option `output json` gives JSON")
    } else if begins(&["IMAGES\t", "BLOCKDEVICEMAPPINGS\t"]) {
        Some("text of the AWS CLI; its option `output json` gives JSON")
    } else if begins(&["-----", "+---", "||"]) {
        Some("a table of the AWS CLI; its option `output json` gives JSON")
    } else {
        None
    }
}

fn read_json(text: &str) -> Result<Document, DocumentFault> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let broken = |e: serde_json::Error| DocumentFault::Json { text: e.to_string() };
    let first = values.next().unwrap_or(Ok(Value::Null)).map_err(broken)?;
    if first.get("Step").is_some() {
        return Err(other("a plan of an upload"));
    }
    // Nothing but white space may follow.
    match values.next() {
        None => {}
        Some(Ok(_)) => return Err(other("several JSON documents in a row")),
        Some(Err(e)) => return Err(broken(e)),
    }
    match first {
        Value::Object(object) => read_object(object),
        Value::Array(list) => read_list(&list),
        _ => Err(other("a JSON value")),
    }
}

/// Reads `Images[]` of an answer, also within the lists that a query of several pages leaves.
fn read_list(list: &[Value]) -> Result<Document, DocumentFault> {
    let mut images = Vec::new();
    for value in list {
        match value {
            Value::Object(image) if image.contains_key("ImageId") && is_image(image) => {
                images.push(Described::read(image));
            }
            Value::Object(first) if images.is_empty() => {
                return Err(other(format!("a list: {}", name_of(first))));
            }
            Value::Array(_) if list.len() == 1 => return read_json(&value.to_string()),
            other_value if images.is_empty() => {
                let what = if other_value.is_string() { "texts" } else { "values" };
                return Err(other(format!("a list of {what}")));
            }
            // A strange one between images is left out, as it is in a whole answer.
            _ => {}
        }
    }
    Ok(Document::Images(images))
}

/// Members by one of which an image is known that has no id, as a query may leave it.
const OF_ANSWER: &[&str] = &["CreationDate", "Hypervisor", "OwnerId", "RootDeviceType", "State"];

/// Members that only an image of an answer has.
const OF_IMAGE: &[&str] = &[
    "Architecture",
    "BlockDeviceMappings",
    "CreationDate",
    "ImageLocation",
    "Name",
    "OwnerId",
    "Public",
    "RootDeviceName",
    "RootDeviceType",
    "State",
    "VirtualizationType",
];

fn is_image(object: &Map<String, Value>) -> bool {
    let attributes = object.values().any(|value| value.get("Value").is_some());
    !attributes && OF_IMAGE.iter().any(|name| object.contains_key(*name))
}

/// Members that only a bundle's description has.
const OF_DESCRIPTION: &[&str] = &[
    "DeprecateAt",
    "DeregistrationProtection",
    "KernelName",
    "LaunchPermissions",
    "Platform",
    "ProductCodes",
    "Provenance",
    "Tags",
];

fn read_object(object: Map<String, Value>) -> Result<Document, DocumentFault> {
    if let Some(images) = object.get("Images") {
        return match images {
            Value::Array(list) => Ok(Document::Images(
                list.iter().filter_map(Value::as_object).map(Described::read).collect(),
            )),
            Value::Null => Ok(Document::Images(Vec::new())),
            _ => Err(other("an answer whose Images is not a list")),
        };
    }
    if object.contains_key("ImageId") {
        return if is_image(&object) {
            Ok(Document::Images(vec![Described::read(&object)]))
        } else {
            Err(other(name_of(&object)))
        };
    }
    let of_answer = OF_ANSWER.iter().filter(|name| object.contains_key(**name)).count();
    if of_answer > 1 {
        return Ok(Document::Images(vec![Described::read(&object)]));
    }
    let digests = object
        .get("BlockDeviceMappings")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|it| it.pointer("/Ebs/SnapshotDigest").is_some()));
    if digests || OF_DESCRIPTION.iter().any(|name| object.contains_key(*name)) {
        return serde_json::from_value(Value::Object(object))
            .map(|ami| Document::Description(Box::new(ami)))
            .map_err(|e| DocumentFault::Description { text: e.to_string() });
    }
    if let Some(name) = known_name(&object) {
        return Err(other(name));
    }
    if Called::is_call(&object) {
        return Ok(Document::Call(Box::new(Called::read(&object))));
    }
    Err(other(name_of(&object)))
}

/// Names an object that has the members of a document of another kind.
fn known_name(object: &Map<String, Value>) -> Option<&'static str> {
    /// Members, all of which are there, and what the object is then.
    const KNOWN: &[(&[&str], &str)] = &[
        (&["Snapshots"], "an answer of DescribeSnapshots"),
        (&["Volumes"], "an answer of DescribeVolumes"),
        (&["Reservations"], "an answer of DescribeInstances"),
        (&["ImageId", "LaunchPermission"], "a call of ModifyImageAttribute"),
        (&["ImageId", "DeprecateAt"], "a call of EnableImageDeprecation"),
        (&["ImageId", "WithCooldown"], "a call of EnableImageDeregistrationProtection"),
        (&["ImageId", "DeleteAssociatedSnapshots"], "a call of DeregisterImage"),
        (&["ImageId", "InstanceId"], "an instance of an answer of DescribeInstances"),
        (&["SourceImageId", "SourceRegion"], "a call of CopyImage"),
        (&["SnapshotId", "CreateVolumePermission"], "a call of ModifySnapshotAttribute"),
        (&["SnapshotId", "ChangedBlocksCount"], "a call of CompleteSnapshot"),
        (&["SnapshotId", "CreateVolumePermissions"], "an answer of DescribeSnapshotAttribute"),
        (&["SnapshotId", "VolumeSize"], "one snapshot of an answer of DescribeSnapshots"),
        (&["VolumeSize", "ClientToken"], "a call of StartSnapshot"),
        (&["SnapshotIds"], "a call of DescribeSnapshots"),
        (&["ImageIds"], "a call of DescribeImages"),
        (&["DiskContainers"], "a call of ImportImage"),
        (&["schemaVersion"], "a part of a bundle, whose folder or archive is what to name"),
        (&["imageLayoutVersion"], "a part of a bundle, whose folder or archive is what to name"),
        (&["findings"], "a report of this program"),
        (&["documents"], "a report of this program"),
        (&["recipe"], "a report of this program"),
        (&["parentImage"], "a recipe of EC2 Image Builder"),
    ];
    let found = KNOWN.iter().find(|(names, _)| names.iter().all(|it| object.contains_key(*it)));
    found.map(|(_, name)| *name)
}

/// Names an object that is of no use here by what it has.
fn name_of(object: &Map<String, Value>) -> String {
    if let Some(name) = known_name(object) {
        return name.to_owned();
    }
    if object.contains_key("ImageId") {
        return if object.len() == 1 {
            "an answer of RegisterImage or CopyImage".to_owned()
        } else {
            "an answer of DescribeImageAttribute".to_owned()
        };
    }
    let names: Vec<&str> = object.keys().map(String::as_str).take(4).collect();
    if names.is_empty() {
        "an empty JSON object".to_owned()
    } else {
        format!("a JSON object with {}", names.join(", "))
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;
    use crate::ami::Oddity;

    const IMAGE: &str = r#"{"ImageId":"ami-0a","Name":"web","OwnerId":"123456789012","State":"available",
        "BlockDeviceMappings":[{"DeviceName":"/dev/sda1","Ebs":{"SnapshotId":"snap-0a"}}]}"#;

    fn images(text: &str) -> Vec<String> {
        match Document::read(text.as_bytes()) {
            Ok(Document::Images(images)) => images.into_iter().map(|it| it.image_id).collect(),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn named(text: &str) -> String {
        Document::read(text.as_bytes()).unwrap_err().to_string()
    }

    /// What `--query` makes of an answer is an answer.
    #[test]
    fn answers_are_taken_in_every_shape() {
        for text in [
            format!("{{\"Images\":[{IMAGE}]}}"),
            format!("{{\"Images\":[{IMAGE}],\"NextToken\":null}}"),
            format!("[{IMAGE}]"),
            format!("[[{IMAGE}]]"),
            IMAGE.to_owned(),
            format!("\n\n  {IMAGE}\n"),
        ] {
            assert_eq!(images(&text), ["ami-0a"], "{text}");
        }
        assert_eq!(images("{\"Images\":[]}").len(), 0);
        assert_eq!(images("[]").len(), 0);
        let without_id = IMAGE.replace("\"ImageId\":\"ami-0a\",", "");
        assert_eq!(images(&without_id), [""]);
    }

    /// What is taken for what, by its shape alone.
    #[test]
    fn documents_are_told_apart() {
        let kind = |text: &str| match Document::read(text.as_bytes()).unwrap() {
            Document::Images(_) => "images",
            Document::Call(call) if call.is_skeleton => "skeleton",
            Document::Call(_) => "call",
            Document::Description(_) => "description",
            Document::Text(_) => "text",
        };
        assert_eq!(kind(r#"{"Name":"web"}"#), "call");
        assert_eq!(kind(r#"{"BlockDeviceMappings":[]}"#), "call");
        assert_eq!(kind(r#"{"DryRun":true,"Name":""}"#), "call");
        let skeleton = r#"{"ImageLocation":"","KernelId":"","Name":"","RamdiskId":"",
            "RootDeviceName":"","VirtualizationType":"","BootMode":"uefi"}"#;
        assert_eq!(kind(skeleton), "skeleton");
        assert_eq!(kind(r#"{"Name":"web","Tags":[]}"#), "description");
        let digest = format!("sha256:{}", "0".repeat(64));
        let bundled = format!(
            r#"{{"Name":"web","BlockDeviceMappings":[{{"DeviceName":"/dev/xvda",
            "Ebs":{{"SnapshotDigest":"{digest}"}}}}]}}"#
        );
        assert_eq!(kind(&bundled), "description");
        for recipe in
            ["version = 1\n", "# words\nversion = 1", "[ami]\nname = \"a\"\n", "[[volume]]\n"]
        {
            assert_eq!(kind(recipe), "text", "{recipe}");
        }
    }

    #[test]
    fn a_wrong_document_is_named() {
        for (text, name) in [
            (
                r#"{"ImageId":"ami-0a","LaunchPermissions":[{"UserId":"1"}]}"#,
                "DescribeImageAttribute",
            ),
            (r#"{"ImageId":"ami-0a","ProductCodes":[]}"#, "DescribeImageAttribute"),
            (r#"{"ImageId":"ami-0a","UefiData":{"Value":"QQ=="}}"#, "DescribeImageAttribute"),
            (r#"{"ImageId":"ami-0a","BootMode":{"Value":"uefi"}}"#, "DescribeImageAttribute"),
            (
                r#"{"ImageId":"ami-0a","BlockDeviceMappings":[],"Description":{"Value":""}}"#,
                "DescribeImageAttribute",
            ),
            (r#"{"ImageId":"ami-0a"}"#, "RegisterImage or CopyImage"),
            (r#"{"ImageId":"ami-0a","LaunchPermission":{"Add":[]}}"#, "ModifyImageAttribute"),
            (r#"{"Snapshots":[]}"#, "DescribeSnapshots"),
            (r#"[{"SnapshotId":"snap-0a","VolumeSize":8}]"#, "DescribeSnapshots"),
            (r#"{"SourceImageId":"ami-0a","SourceRegion":"eu-central-1","Name":"a"}"#, "CopyImage"),
            (r#"{"Reservations":[]}"#, "DescribeInstances"),
            ("{\"Step\":\"Plan\",\"Version\":1}\n{\"Step\":\"Totals\"}\n", "a plan"),
            (r#"{"schemaVersion":2}"#, "a part of a bundle"),
            (r#"["ami-0a","ami-0b"]"#, "a list of texts"),
            (r#"[["ami-0a","web"]]"#, "a list of texts"),
            ("{} {}", "several JSON documents"),
            ("{}", "an empty JSON object"),
            (r#"{"a":1,"b":2}"#, "a JSON object with a, b"),
            ("Images:\n- Architecture: x86_64\n", "YAML"),
            ("IMAGES\tx86_64\t2024\n", "text of the AWS CLI"),
            ("-----------\n|  DescribeImages  |\n", "a table of the AWS CLI"),
            ("<?xml version=\"1.0\"?>", "XML"),
            ("", "empty"),
            (" \n", "empty"),
        ] {
            let told = named(text);
            assert!(told.starts_with("it is ") && told.contains(name), "{text}: {told}");
        }
        let broken = Document::read(b"{\"Images\":[").unwrap_err();
        assert!(
            broken.kind() == Kind::Corrupt && broken.to_string().contains("line 1"),
            "{broken}"
        );
        assert_eq!(Document::read(b"{} x").unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(Document::read(&[b'{', 0xff]).unwrap_err(), DocumentFault::Encoding);
    }

    #[test]
    fn text_is_read_as_tools_write_it() {
        let text = "{\"Images\":[{\"ImageId\":\"ami-0a\",\"Name\":\"wëb 🚀\"}]}";
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|it| it.to_le_bytes()).collect();
        let big: Vec<u8> = units.iter().flat_map(|it| it.to_be_bytes()).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [&b"\xff\xfe"[..], &little].concat(),
            [&b"\xfe\xff"[..], &big].concat(),
            little.clone(),
            big,
        ] {
            assert_eq!(decode(&bytes).as_deref(), Ok(text));
            assert!(matches!(Document::read(&bytes), Ok(Document::Images(it)) if it.len() == 1));
        }
        for bytes in [&little[..little.len() - 1], b"\xff\xfe\x00\xd8", b"\xff"] {
            assert_eq!(decode(bytes), Err(DocumentFault::Encoding));
        }
    }

    /// Whatever is strange, the rest is read, and what is strange is named with its place.
    #[test]
    fn one_strange_thing_does_not_spoil_the_others() {
        let strange = IMAGE
            .replace("\"SnapshotId\":\"snap-0a\"", "\"SnapshotId\":\"snap-0a\",\"VolumeType\":\"gp4\",\"New\":1")
            .replace("\"Name\":\"web\"", "\"Name\":7,\"Architecture\":\"riscv64\",\"Public\":\"yes\",
                \"DeprecationTime\":\"soon\",\"Platform\":\"beos\",\"DeregistrationProtection\":\"maybe\",
                \"Tags\":[1,{\"Key\":\"a\",\"Value\":\"b\"}],\"Watermark\":{\"a\":[1]},\"BootMode\":null");
        let text =
            format!("{{\"Images\":[null,7,{strange},{}]}}", IMAGE.replace("ami-0a", "ami-0b"));
        let Ok(Document::Images(images)) = Document::read(text.as_bytes()) else {
            panic!("images")
        };
        let [first, second] = &images[..] else { panic!("{images:?}") };
        let places: Vec<&str> = first.unread.iter().map(|it| it.place.as_str()).collect();
        for place in [
            "BlockDeviceMappings[0].Ebs.VolumeType",
            "BlockDeviceMappings[0].Ebs.New",
            "Name",
            "Architecture",
            "Public",
            "DeprecationTime",
            "Platform",
            "DeregistrationProtection",
            "Tags[0]",
            "Watermark",
        ] {
            assert!(places.contains(&place), "{place} in {places:?}");
        }
        assert_eq!(places.len(), 10, "{places:?}");
        assert_eq!(first.ami.tags[0].key, "a");
        let ebs = first.ami.block_device_mappings[0].ebs.as_ref().unwrap();
        assert_eq!(ebs.snapshot_id.as_deref(), Some("snap-0a"));
        assert!(second.unread.is_empty() && second.image_id == "ami-0b");
    }

    /// Every member of EC2's image is known: none of them is a note.
    #[test]
    fn every_member_of_an_image_is_known() {
        let text = r#"{"ImageId":"ami-0a","PlatformDetails":"Windows","UsageOperation":"RunInstances:0002",
            "BlockDeviceMappings":[{"DeviceName":"/dev/sda1","NoDevice":"","VirtualName":"ephemeral0","Ebs":{
            "DeleteOnTermination":true,"Iops":3000,"SnapshotId":"snap-0a","VolumeSize":8,"VolumeType":"gp3",
            "KmsKeyId":"k","Throughput":125,"OutpostArn":"arn","AvailabilityZone":"a","Encrypted":true,
            "VolumeInitializationRate":100,"AvailabilityZoneId":"b","EbsCardIndex":0}}],
            "Description":"d","EnaSupport":true,"Hypervisor":"xen","ImageOwnerAlias":"amazon","Name":"web",
            "RootDeviceName":"/dev/sda1","RootDeviceType":"ebs","SriovNetSupport":"simple",
            "StateReason":{"Code":"a","Message":"b"},"Tags":[{"Key":"a","Value":""}],"VirtualizationType":"hvm",
            "BootMode":"uefi","TpmSupport":"v2.0","DeprecationTime":"2028-01-31T12:00:41.000Z",
            "ImdsSupport":"v2.0","SourceInstanceId":"i-0a","DeregistrationProtection":"disabled",
            "LastLaunchedTime":"2026-01-01T00:00:00.000Z","ImageAllowed":true,"SourceImageId":"ami-0b",
            "SourceImageRegion":"us-east-1","FreeTierEligible":true,"PublicSsmParameterName":"/aws/service/x",
            "ImageWatermarks":[],"ScanResults":{},"InstanceTypeSpecification":{},
            "ImageLocation":"amazon/web","State":"available","OwnerId":"123456789012",
            "CreationDate":"2026-01-01T00:00:00.000Z","Public":true,"ProductCodes":[{"ProductCodeId":"x",
            "ProductCodeType":"marketplace"}],"Architecture":"x86_64","ImageType":"machine","KernelId":"aki-0a",
            "RamdiskId":"ari-0a","Platform":"windows"}"#;
        let Ok(Document::Images(images)) = Document::read(text.as_bytes()) else {
            panic!("images")
        };
        assert_eq!(images[0].unread, []);
        assert!(images[0].is_foreign);
    }

    /// A call is read completely: typing mistakes come in groups.
    #[test]
    fn a_call_is_read_to_its_end() {
        let text = r#"{"Name":"web","Architecture":"x86-64","KernelId":"","Nonsense":1,"EnaSupport":"yes",
            "TagSpecifications":[{"ResourceType":"image","Tags":[{"Key":"a","Value":"b"}]},
            {"ResourceType":"snapshot","Tags":[{"Key":"c","Value":"d"}]},{"Tags":[]}],
            "BlockDeviceMappings":[{"DeviceName":"/dev/xvda","Ebs":{"VolumeSize":-1,"VolumeType":"gp3"}}]}"#;
        let Ok(Document::Call(call)) = Document::read(text.as_bytes()) else { panic!("a call") };
        let found: Vec<(Oddity, &str)> =
            call.unread.iter().map(|it| (it.oddity, it.place.as_str())).collect();
        for expected in [
            (Oddity::Value, "Architecture"),
            (Oddity::Empty, "KernelId"),
            (Oddity::Member, "Nonsense"),
            (Oddity::Value, "EnaSupport"),
            (Oddity::Resource, "TagSpecifications[1].ResourceType"),
            (Oddity::Resource, "TagSpecifications[2].ResourceType"),
            (Oddity::Value, "BlockDeviceMappings[0].Ebs.VolumeSize"),
        ] {
            assert!(found.contains(&expected), "{expected:?} in {found:?}");
        }
        assert_eq!(found.len(), 7);
        // Tags of other resources are not the AMI's.
        assert_eq!(call.ami.tags.len(), 1);
    }
}
