//! Answers of EC2, STS and S3: XML, read into the JSON that the AWS CLI makes of it.

use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use quick_xml::reader::Reader;
use serde_json::Map;
use serde_json::Value;

/// Deepest nesting of elements; EC2's deepest answer here has eight.
const MAX_DEPTH: usize = 32;

/// An element under way.
#[derive(Default)]
struct Open {
    name: String,
    text: String,
    children: Vec<(String, Value)>,
}

/// Reads an answer: the name of its outermost element, and what is in it. `None` if it is not XML.
pub(super) fn parse(bytes: &[u8]) -> Option<(String, Value)> {
    let mut reader = Reader::from_str(std::str::from_utf8(bytes).ok()?);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Open> = Vec::new();
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) if open.len() < MAX_DEPTH => {
                let name =
                    std::str::from_utf8(start.local_name().into_inner().as_ref()).ok()?.to_owned();
                open.push(Open { name, ..Open::default() });
            }
            Event::End(_) => {
                let Open { name, text, children } = open.pop()?;
                let value = value(&name, text, children);
                match open.last_mut() {
                    Some(parent) => parent.children.push((name, value)),
                    None => return Some((name, value)),
                }
            }
            Event::Text(text) => {
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text);
                }
            }
            Event::GeneralRef(entity) => {
                let element = open.last_mut()?;
                match entity.resolve_char_ref().ok()? {
                    Some(letter) => element.text.push(letter),
                    None => element.text.push_str(resolve_xml_entity(&entity)?),
                }
            }
            Event::Decl(_) => {}
            _ => return None,
        }
    }
}

/// Elements that are lists, also where nothing is in them.
const LISTS: &[&str] = &[
    "blockDeviceMapping",
    "imagesSet",
    "launchPermission",
    "productCodes",
    "snapshotSet",
    "tagSet",
];

/// Elements that stand one behind the other, without one around them: S3's lists.
const REPEATED: &[&str] = &["Contents"];

/// Elements that are true or false, and those that are numbers.
const FLAGS: &[&str] = &["deleteOnTermination", "enaSupport", "encrypted", "isPublic", "return"];
const NUMBERS: &[&str] =
    &["ebsCardIndex", "iops", "throughput", "volumeInitializationRate", "volumeSize"];

fn value(name: &str, text: String, children: Vec<(String, Value)>) -> Value {
    if LISTS.contains(&name) || children.iter().any(|(name, _)| name == "item") {
        return children.into_iter().map(|(_, value)| value).collect();
    }
    if children.is_empty() {
        return match text.trim() {
            "true" if FLAGS.contains(&name) => Value::Bool(true),
            "false" if FLAGS.contains(&name) => Value::Bool(false),
            number if NUMBERS.contains(&name) => {
                number.parse::<u64>().map_or(Value::String(text), Value::from)
            }
            _ => Value::String(text),
        };
    }
    let mut members = Map::new();
    for (name, value) in children {
        if REPEATED.contains(&name.as_str()) {
            let list = members.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            list.as_array_mut().expect("it was made as one").push(value);
        } else {
            members.insert(called(&name), value);
        }
    }
    Value::Object(members)
}

/// Returns the name that the AWS CLI has for an element.
fn called(name: &str) -> String {
    let known = match name {
        "blockDeviceMapping" => "BlockDeviceMappings",
        "imageOwnerId" => "OwnerId",
        "imagesSet" => "Images",
        "isPublic" => "Public",
        "launchPermission" => "LaunchPermissions",
        "productCode" => "ProductCodeId",
        "snapshotSet" => "Snapshots",
        "imageState" | "status" => "State",
        "statusMessage" => "StateMessage",
        "tagSet" => "Tags",
        "type" => "ProductCodeType",
        name => {
            let mut letters = name.chars();
            let first = letters.next().map(|it| it.to_ascii_uppercase());
            return first.into_iter().chain(letters).collect();
        }
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_what_the_cli_prints() {
        let text = "<?xml version=\"1.0\"?>\n<DescribeImagesResponse xmlns=\"http://x/\"><requestId>r</requestId>\n\
                    <imagesSet><item><imageId>ami-1</imageId><imageState>available</imageState>\
                    <isPublic>false</isPublic><name>true</name><description>a &lt;b&gt; &#233;</description>\
                    <blockDeviceMapping><item><deviceName>/dev/xvda</deviceName><ebs><volumeSize>8</volumeSize>\
                    <encrypted>true</encrypted></ebs></item></blockDeviceMapping><tagSet/></item></imagesSet>\
                    </DescribeImagesResponse>";
        let (name, value) = parse(text.as_bytes()).unwrap();
        assert_eq!(name, "DescribeImagesResponse");
        assert_eq!(
            value["Images"],
            serde_json::json!([{
                "ImageId": "ami-1", "State": "available", "Public": false, "Name": "true",
                "Description": "a <b> é",
                "BlockDeviceMappings": [{ "DeviceName": "/dev/xvda",
                                          "Ebs": { "VolumeSize": 8, "Encrypted": true } }],
                "Tags": [],
            }])
        );
    }

    #[test]
    fn lists_of_s3_have_nothing_around_them() {
        let one = "<Contents><Key>a&amp;b</Key><ETag>&quot;1&quot;</ETag><Size>7</Size></Contents>";
        for count in 0..3 {
            let text =
                format!("<ListBucketResult><Name>b</Name>{}</ListBucketResult>", one.repeat(count));
            let (_, value) = parse(text.as_bytes()).unwrap();
            let entry = serde_json::json!({ "Key": "a&b", "ETag": "\"1\"", "Size": "7" });
            let list = vec![entry; count];
            assert_eq!(value["Contents"].as_array().cloned().unwrap_or_default(), list, "{text}");
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        for text in ["", "text", "<a>", "<a></b>", "<a>&unknown;</a>", "<!DOCTYPE a><a/>", &deep] {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
