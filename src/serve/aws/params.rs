//! Parameters of EC2's query protocol: `BlockDeviceMapping.1.Ebs.SnapshotId=snap-1`.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use serde_json::Map;
use serde_json::Value;

use crate::serve::aws::ec2_error::Ec2Error;

/// Most parameters of a request.
const MOST: usize = 20_000;

/// The parameters of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    pub(super) fn new(pairs: Vec<(String, String)>) -> Result<Self, Ec2Error> {
        if pairs.len() > MOST {
            return Err(Ec2Error::new("RequestLimitExceeded", "there are too many parameters"));
        }
        Ok(Self(pairs.into_iter().collect()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a parameter that must be there.
    pub(super) fn need(&self, name: &str) -> Result<&str, Ec2Error> {
        self.get(name).filter(|it| !it.is_empty()).ok_or_else(|| {
            let text = format!("The request must contain the parameter {name}");
            Ec2Error::new("MissingParameter", text)
        })
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Ec2Error> {
        self.get(name).map(|text| truth(name, text)).transpose()
    }

    /// Returns what stands below `prefix.`, under the rest of its name.
    pub(super) fn below(&self, prefix: &str) -> Self {
        let start = format!("{prefix}.");
        let inside = self.0.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start));
        Self(inside.map(|(name, value)| (name[start.len()..].to_owned(), value.clone())).collect())
    }

    /// Returns the members of a list, by their numbers.
    pub(super) fn list(&self, prefix: &str) -> Vec<Self> {
        let below = self.below(prefix);
        let numbers: BTreeSet<u64> =
            below.0.keys().filter_map(|name| name.split('.').next()?.parse().ok()).collect();
        numbers
            .into_iter()
            .map(|number| {
                let mut member = below.below(&number.to_string());
                if let Some(value) = below.get(&number.to_string()) {
                    member.0.insert(String::new(), value.to_owned());
                }
                member
            })
            .collect()
    }

    /// Returns the texts of a list.
    pub(super) fn texts(&self, prefix: &str) -> Vec<String> {
        self.list(prefix).iter().filter_map(|it| it.get("")).map(str::to_owned).collect()
    }

    /// Fails if there is a parameter that the call does not have.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Ec2Error> {
        for name in self.0.keys() {
            let first = name.split('.').next().unwrap_or_default();
            if !known.contains(&first) && !["Action", "Version", "DryRun"].contains(&first) {
                let text = format!("The parameter {first} is not recognized");
                return Err(Ec2Error::new("UnknownParameter", text));
            }
        }
        Ok(())
    }

    /// Returns them without those that are about the call itself.
    pub(super) fn of_the_call(&self) -> Self {
        let mut rest = self.clone();
        rest.0.retain(|name, _| !["Action", "Version", "DryRun", "ClientToken"].contains(&&**name));
        rest
    }

    /// Returns them as the document that the AWS CLI takes. What `lists` names is a list, under the name that the
    /// document has for it; texts that are numbers or truths there become such.
    pub(super) fn document(&self, lists: &[(&str, &str)]) -> Map<String, Value> {
        let mut document = Map::new();
        let firsts: BTreeSet<&str> =
            self.0.keys().map(|name| name.split('.').next().unwrap_or_default()).collect();
        for first in firsts {
            if let Some((_, plural)) = lists.iter().find(|(name, _)| *name == first) {
                let members = self.list(first).into_iter().map(|member| match member.get("") {
                    Some(text) => Value::from(text),
                    None => Value::Object(member.document(lists)),
                });
                document.insert((*plural).to_owned(), Value::Array(members.collect()));
            } else if let Some(text) = self.get(first) {
                document.insert(first.to_owned(), typed(first, text));
            } else {
                let below = self.below(first).document(lists);
                document.insert(first.to_owned(), Value::Object(below));
            }
        }
        document
    }
}

/// Members that are numbers, and those that are truths.
const NUMBERS: [&str; 5] =
    ["VolumeSize", "Iops", "Throughput", "VolumeInitializationRate", "EbsCardIndex"];
const TRUTHS: [&str; 4] = ["DeleteOnTermination", "Encrypted", "EnaSupport", "DryRun"];

fn typed(name: &str, text: &str) -> Value {
    if NUMBERS.contains(&name)
        && let Ok(number) = text.parse::<u64>()
    {
        return Value::from(number);
    }
    match text {
        "true" if TRUTHS.contains(&name) => Value::from(true),
        "false" if TRUTHS.contains(&name) => Value::from(false),
        _ => Value::from(text),
    }
}

fn truth(name: &str, text: &str) -> Result<bool, Ec2Error> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => {
            let text = format!("Invalid value '{text}' for {name}; it must be true or false");
            Err(Ec2Error::new("InvalidParameterValue", text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_the_document_that_the_cli_takes() {
        let pairs = [
            ("BlockDeviceMapping.10.DeviceName", "/dev/sdf"),
            ("BlockDeviceMapping.2.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.2.Ebs.VolumeSize", "8"),
            ("BlockDeviceMapping.2.Ebs.Encrypted", "false"),
            ("BillingProduct.1", "bp-1"),
            ("EnaSupport", "true"),
            ("Name", "8"),
        ];
        let pairs = pairs.map(|(a, b)| (a.to_owned(), b.to_owned()));
        let params = Params::new(pairs.to_vec()).unwrap();
        let lists =
            [("BlockDeviceMapping", "BlockDeviceMappings"), ("BillingProduct", "BillingProducts")];
        assert_eq!(
            Value::Object(params.document(&lists)),
            serde_json::json!({
                "BlockDeviceMappings": [
                    { "DeviceName": "/dev/xvda", "Ebs": { "VolumeSize": 8, "Encrypted": false } },
                    { "DeviceName": "/dev/sdf" },
                ],
                "BillingProducts": ["bp-1"], "EnaSupport": true, "Name": "8",
            })
        );
        assert!(params.only(&["Name", "EnaSupport", "BlockDeviceMapping"]).is_err());
    }
}
