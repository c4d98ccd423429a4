//! What the metadata service says, by path.

/// The versions of the service that agents ask for by their date; any other is not known.
const VERSIONS: &[&str] = &[
    "1.0",
    "2007-01-19",
    "2009-04-04",
    "2011-01-01",
    "2014-11-05",
    "2016-09-02",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-03-23",
    "2021-07-15",
    "2024-04-11",
    "latest",
];

/// Region and zone of every instance.
const REGION: &str = "us-east-1";
const ZONE: &str = "us-east-1a";

/// What the service knows of its one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Id of the instance.
    pub instance_id: String,
    /// Name of the host.
    pub hostname: String,
    /// Processor as EC2 calls it.
    pub architecture: String,
    /// MAC address of the network card.
    pub mac: String,
    /// Address that the guest gets.
    pub address: String,
    /// A public key as `authorized_keys` has it.
    pub public_key: Option<Vec<u8>>,
    /// User data.
    pub user_data: Option<Vec<u8>>,
    /// Devices by their names in the mapping: `ami`, `root`, `ebs1`.
    pub devices: Vec<(String, String)>,
}

/// Answers a path; `None` for what is not there.
pub(super) fn answer(facts: &Facts, path: &str) -> Option<Vec<u8>> {
    let path = path.trim_matches('/');
    if path.is_empty() {
        return Some(VERSIONS.join("\n").into_bytes());
    }
    let (version, rest) = path.split_once('/').unwrap_or((path, ""));
    if !VERSIONS.contains(&version) {
        return None;
    }
    match rest {
        "" => {
            let user = if facts.user_data.is_some() { "\nuser-data" } else { "" };
            Some(format!("dynamic\nmeta-data{user}").into_bytes())
        }
        "user-data" => facts.user_data.clone(),
        "dynamic" => Some(b"instance-identity/".to_vec()),
        "dynamic/instance-identity" => Some(b"document".to_vec()),
        "dynamic/instance-identity/document" => Some(document(facts)),
        "meta-data" => list(&leaves(facts), ""),
        _ => {
            let place = rest.strip_prefix("meta-data/")?;
            let leaves = leaves(facts);
            let leaf = leaves.iter().find(|(name, _)| name == place);
            match leaf {
                Some((_, value)) => Some(value.clone()),
                // Keys are listed with their names.
                None if place == "public-keys" && facts.public_key.is_some() => {
                    Some(b"0=amikit".to_vec())
                }
                None => list(&leaves, place),
            }
        }
    }
}

/// Every path below `meta-data` and what it says.
fn leaves(facts: &Facts) -> Vec<(String, Vec<u8>)> {
    let text = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let short = facts.hostname.split('.').next().unwrap_or_default();
    let mut all = vec![
        text("ami-id", "ami-00000000000000000"),
        text("ami-launch-index", "0"),
        text("ami-manifest-path", "(unknown)"),
        text("hostname", &facts.hostname),
        text("instance-action", "none"),
        text("instance-id", &facts.instance_id),
        text("instance-life-cycle", "on-demand"),
        text("instance-type", "m5.large"),
        text("local-hostname", &facts.hostname),
        text("local-ipv4", &facts.address),
        text("mac", &facts.mac),
        text("placement/availability-zone", ZONE),
        text("placement/availability-zone-id", "use1-az1"),
        text("placement/region", REGION),
        text("profile", "default-hvm"),
        text("reservation-id", "r-00000000000000000"),
        text("security-groups", "default"),
        text("services/domain", "amazonaws.com"),
        text("services/partition", "aws"),
    ];
    let card = format!("network/interfaces/macs/{}", facts.mac);
    for (name, value) in [
        ("device-number", "0"),
        ("interface-id", "eni-00000000000000000"),
        ("local-hostname", short),
        ("local-ipv4s", &facts.address),
        ("mac", &facts.mac),
        ("owner-id", "000000000000"),
        ("security-groups", "default"),
        ("subnet-id", "subnet-00000000"),
        ("subnet-ipv4-cidr-block", "169.254.0.0/16"),
        ("vpc-id", "vpc-00000000"),
        ("vpc-ipv4-cidr-block", "169.254.0.0/16"),
        ("vpc-ipv4-cidr-blocks", "169.254.0.0/16"),
    ] {
        all.push((format!("{card}/{name}"), value.as_bytes().to_vec()));
    }
    for (name, device) in &facts.devices {
        all.push((format!("block-device-mapping/{name}"), device.as_bytes().to_vec()));
    }
    if let Some(key) = &facts.public_key {
        all.push(("public-keys/0/openssh-key".to_owned(), key.clone()));
    }
    all.sort();
    all
}

/// Lists what is below a place: names, with a slash where more is below them.
fn list(leaves: &[(String, Vec<u8>)], place: &str) -> Option<Vec<u8>> {
    let prefix = if place.is_empty() { String::new() } else { format!("{place}/") };
    let mut names: Vec<String> = leaves
        .iter()
        .filter_map(|(name, _)| name.strip_prefix(&prefix))
        .map(|rest| match rest.split_once('/') {
            Some((name, _)) => format!("{name}/"),
            None => rest.to_owned(),
        })
        .collect();
    names.dedup();
    (!names.is_empty()).then(|| names.join("\n").into_bytes())
}

/// The identity document, which nobody has signed.
fn document(facts: &Facts) -> Vec<u8> {
    let document = serde_json::json!({
        "accountId": "000000000000",
        "architecture": facts.architecture,
        "availabilityZone": ZONE,
        "imageId": "ami-00000000000000000",
        "instanceId": facts.instance_id,
        "instanceType": "m5.large",
        "privateIp": facts.address,
        "region": REGION,
        "version": "2017-09-30",
    });
    serde_json::to_vec_pretty(&document).expect("plain data always serialises")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            instance_id: "i-0123456789abcdef0".into(),
            hostname: "web.ec2.internal".into(),
            architecture: "x86_64".into(),
            mac: "0a:ff:d0:00:00:01".into(),
            address: "169.254.0.15".into(),
            public_key: Some(b"ssh-ed25519 AAAA me\n".to_vec()),
            user_data: None,
            devices: vec![("ami".into(), "/dev/xvda".into()), ("root".into(), "/dev/xvda".into())],
        }
    }

    fn text(path: &str) -> Option<String> {
        answer(&facts(), path).map(|it| String::from_utf8(it).unwrap())
    }

    #[test]
    fn every_listed_name_has_an_answer() {
        let mut places = vec!["/latest/meta-data/".to_owned()];
        let mut seen = 0;
        while let Some(place) = places.pop() {
            for name in text(&place).unwrap_or_else(|| panic!("{place}")).lines() {
                seen += 1;
                if let Some((index, _)) = name.split_once('=') {
                    assert_eq!(text(&format!("{place}{index}")).unwrap(), "openssh-key");
                } else if name.ends_with('/') {
                    places.push(format!("{place}{name}"));
                } else {
                    assert!(text(&format!("{place}{name}")).is_some(), "{place}{name}");
                }
            }
        }
        assert!(seen > 30);
    }

    #[test]
    fn agents_find_what_they_ask_for() {
        assert_eq!(text("/2021-03-23/meta-data/instance-id").unwrap(), "i-0123456789abcdef0");
        assert_eq!(text("/latest/meta-data/public-keys/").unwrap(), "0=amikit");
        assert_eq!(
            text("/latest/meta-data/public-keys/0/openssh-key").unwrap(),
            "ssh-ed25519 AAAA me\n"
        );
        let card = "/latest/meta-data/network/interfaces/macs/0a:ff:d0:00:00:01/local-ipv4s";
        assert_eq!(text(card).unwrap(), "169.254.0.15");
        assert!(text("/latest/dynamic/instance-identity/document").unwrap().contains("us-east-1a"));
        assert!(text("/").unwrap().contains("2018-09-24"));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in [
            "/latest/user-data",
            "/latest/meta-data/iam/info",
            "/latest/meta-data/iam/security-credentials/",
            "/latest/meta-data/public-ipv4",
            "/1999-01-01/meta-data/",
            "/latest/meta-data/../../etc/passwd",
            "/other",
        ] {
            assert_eq!(text(path), None, "{path}");
        }
        let with = Facts { user_data: Some(b"#cloud-config\n".to_vec()), ..facts() };
        assert_eq!(answer(&with, "/latest/user-data").unwrap(), b"#cloud-config\n");
    }
}
