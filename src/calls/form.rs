//! Calls in the form in which EC2 takes them: `BlockDeviceMapping.1.Ebs.SnapshotId=snap-1`.

use serde_json::Value;

/// Version of EC2's calls.
pub const EC2_VERSION: &str = "2016-11-15";

/// Returns the names and values of the form that makes a call, of its parameters as the JSON input of the AWS CLI has them.
#[must_use]
pub fn form(call: &str, parameters: &Value) -> Vec<(String, String)> {
    let mut pairs = vec![
        ("Action".to_owned(), call.to_owned()),
        ("Version".to_owned(), EC2_VERSION.to_owned()),
    ];
    add("", parameters, &mut pairs);
    pairs
}

/// Spells a call of EC2's as the AWS CLI does: `RegisterImage` is `register-image`.
#[must_use]
pub fn command(call: &str) -> String {
    let mut command = String::new();
    for letter in call.chars() {
        if letter.is_ascii_uppercase() && !command.is_empty() {
            command.push('-');
        }
        command.push(letter.to_ascii_lowercase());
    }
    command
}

fn add(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let dot = if name.is_empty() { "" } else { "." };
                add(&format!("{name}{dot}{}", on_the_wire(member)), value, pairs);
            }
        }
        Value::Array(list) => {
            for (number, value) in (1..).zip(list) {
                add(&format!("{name}.{number}"), value, pairs);
            }
        }
        Value::Null => {}
        Value::String(text) => pairs.push((name.to_owned(), text.clone())),
        Value::Bool(_) | Value::Number(_) => pairs.push((name.to_owned(), value.to_string())),
    }
}

/// Returns the name that a member has in a form: that of one entry, where it is a list.
fn on_the_wire(member: &str) -> &str {
    match member {
        "BillingProducts" => "BillingProduct",
        "BlockDeviceMappings" => "BlockDeviceMapping",
        "Filters" => "Filter",
        "ImageIds" => "ImageId",
        "Owners" => "Owner",
        "SnapshotIds" => "SnapshotId",
        "TagSpecifications" => "TagSpecification",
        "Tags" => "Tag",
        "Values" => "Value",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_numbered_from_one_and_called_by_one_entry() {
        let parameters = serde_json::json!({
            "Name": "web",
            "BlockDeviceMappings": [
                { "DeviceName": "/dev/xvda", "Ebs": { "SnapshotId": "snap-1", "VolumeSize": 8 } },
                { "DeviceName": "/dev/sdb", "NoDevice": "" },
            ],
            "EnaSupport": true,
            "TagSpecifications": [{ "ResourceType": "image", "Tags": [{ "Key": "a", "Value": "b" }] }],
        });
        let pairs: Vec<String> = form("RegisterImage", &parameters)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(
            pairs,
            [
                "Action=RegisterImage",
                "Version=2016-11-15",
                "BlockDeviceMapping.1.DeviceName=/dev/xvda",
                "BlockDeviceMapping.1.Ebs.SnapshotId=snap-1",
                "BlockDeviceMapping.1.Ebs.VolumeSize=8",
                "BlockDeviceMapping.2.DeviceName=/dev/sdb",
                "BlockDeviceMapping.2.NoDevice=",
                "EnaSupport=true",
                "Name=web",
                "TagSpecification.1.ResourceType=image",
                "TagSpecification.1.Tag.1.Key=a",
                "TagSpecification.1.Tag.1.Value=b",
            ]
        );
    }
}
