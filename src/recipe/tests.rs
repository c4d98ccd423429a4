//! Recipes: what is read, refused, filled in, and written of a description.

use super::*;
use crate::ami::Architecture;
use crate::ami::BootMode;
use crate::ami::DeregistrationProtection;
use crate::ami::Document;
use crate::ami::RegisterImage;
use crate::ami::Virtualization;
use crate::ami::VolumeType;
use crate::error::Advice;
use crate::error::Kind;

const SMALL: &str = r#"
version = 1
[ami]
name = "web-{date}-{arch}"
architecture = "arm64"
[[volume]]
device-name = "/dev/xvda"
image = "root-{arch}.raw"
[[test]]
kind = "command"
command = ["./check"]
[[distribute]]
regions = ["us-east-1", "eu-west-1"]
accounts = ["123456789012"]
launch-permissions = ["all"]
"#;

fn values(given: &[(&str, &str)]) -> Values {
    let mut values = Values::default();
    for (name, value) in given {
        values.set(name, value);
    }
    values
}

fn prepare(text: &str, given: &[(&str, &str)]) -> Result<Prepared> {
    Recipe::parse(text)?.prepare(Path::new("/recipes"), &values(given))
}

#[test]
fn a_recipe_is_filled_in() {
    let prepared = prepare(SMALL, &[("date", "2026-11-24")]).unwrap();
    assert_eq!(prepared.ami.name, "web-2026-11-24-arm64");
    assert_eq!(prepared.sources[0].image, Path::new("/recipes/root-arm64.raw"));
    let command = vec!["./check".to_owned()];
    assert_eq!(prepared.tests, [Test::Command { command, timeout_seconds: 600 }]);
    let regions: Vec<&str> = prepared.distribution.iter().map(|it| it.region.as_str()).collect();
    assert_eq!(regions, ["us-east-1", "eu-west-1"]);
    assert_eq!(prepared.distribution[1].launch_permissions.as_ref().unwrap().len(), 2);
}

/// Nothing depends on the day or on a repository unless the user says so.
#[test]
fn a_template_without_a_value_is_refused() {
    let error = prepare(SMALL, &[]).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert_eq!(error.advice(), Some(&Advice::FillTemplate { name: "date".to_owned() }));
}

#[test]
fn braces_are_templates_or_doubled() {
    let values = values(&[("a", "1"), ("b-c_2", "2")]);
    assert_eq!(values.fill("{a}{{x}}{b-c_2}").as_deref(), Ok("1{x}2"));
    for wrong in ["{", "}", "{a", "a}", "{}", "{a b}", "{a{a}}"] {
        let refused = matches!(values.fill(wrong), Err(RecipeFault::Brace { .. }));
        assert!(refused, "{wrong}: {:?}", values.fill(wrong));
    }
}

/// Each fault names the line where it is, or the volume.
#[test]
fn what_is_no_recipe_is_refused_with_its_place() {
    let fault = |text: &str| prepare(text, &[("date", "x")]).unwrap_err().to_string();
    let with = |from: &str, to: &str| fault(&SMALL.replace(from, to));
    assert!(with("architecture =", "arch =").starts_with("line 5, column 1: unknown field `arch`"));
    // Another version may have tables that this one does not know.
    for newer in ["version = 2", "version = 2\nnew = [1]", "version = -1"] {
        let error = Recipe::parse(&SMALL.replace("version = 1", newer)).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported, "{newer}: {error}");
        assert!(error.to_string().contains("expected 1"), "{newer}: {error}");
    }
    assert!(with("version = 1", "version = \"1\"").contains("invalid type: string"));
    assert!(with("kind = \"command\"", "kind = \"boat\"").contains("boat"));
    assert!(with("[ami]", "[ami").starts_with("line 3"));
    assert!(with("image =", "snapshot-id = \"snap-1\"\nimage =").contains("expected one of them"));
    assert!(with("image = \"root-{arch}.raw\"", "format = \"raw\"").contains("expected image"));
    assert!(fault("").contains("version"));
}

/// Every member whose value EC2 must know, with one that it does not: each is put aside with its place,
/// and reading goes on.
#[test]
fn strange_values_are_put_aside_with_their_places() {
    let text = r#"version = 1
[ami]
name = "web"
architecture = "riscv"
virtualization-type = "xen"
boot-mode = "bios"
sriov-net-support = "complex"
imds-support = "v1.0"
tpm-support = "v1.2"
platform = "beos"
deprecate-at = "tomorrow"
deregistration-protection = "some"
product-codes = [{ product-code-id = "a", product-code-type = "gift" }]
[ami.provenance]
origin = "found"
[[volume]]
device-name = "/dev/xvda"
volume-type = "gp4"
[[distribute]]
regions = ["us-east-1"]
deprecate-at = "never"
deregistration-protection = "none"
"#;
    let prepared = prepare(text, &[]).unwrap();
    let places: Vec<&str> = prepared.unread.iter().map(|it| it.place.as_str()).collect();
    for (line, at) in text.lines().zip(1..) {
        let strange = (4..=13).contains(&at) || [15, 18, 21, 22].contains(&at);
        let found = places.iter().any(|place| place.starts_with(&format!("line {at}, ")));
        assert_eq!(found, strange, "{line}");
    }
    assert_eq!(places.len(), 14);
    assert!(prepared.unread.iter().all(|it| !it.expected.is_empty()));
    assert_eq!(places[0], "line 4, column 16: architecture");
    assert_eq!(prepared.ami.name, "web");
}

/// The schema names the same members as the reader, and no others.
#[test]
fn the_schema_knows_every_member() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let known = |at: &serde_json::Value| -> Vec<String> {
        at["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let read = |text: &str| -> Vec<String> {
        let error = Recipe::parse(text).unwrap_err().to_string();
        let (_, list) = error.split_once("expected ").expect("an unknown member");
        let mut names: Vec<String> =
            list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        names.sort();
        names
    };
    let head = "version = 1\nami = { name = \"web\" }\n";
    let with = |table: &str| format!("{head}{table}\nnonsense = 1");
    let all = &schema["properties"];
    assert_eq!(read(&format!("{head}nonsense = 1")), known(&schema));
    assert_eq!(read("version = 1\n[ami]\nnonsense = 1"), known(&all["ami"]));
    let provenance = "version = 1\n[ami]\nname = \"a\"\n[ami.provenance]\nnonsense = 1";
    assert_eq!(read(provenance), known(&all["ami"]["properties"]["provenance"]));
    assert_eq!(read(&with("[[volume]]")), known(&all["volume"]["items"]));
    assert_eq!(read(&with("[lint]")), known(&all["lint"]));
    assert_eq!(read(&with("[upload]")), known(&all["upload"]));
    assert_eq!(read(&with("[[distribute]]")), known(&all["distribute"]["items"]));
    for test in all["test"]["items"]["oneOf"].as_array().unwrap() {
        let kind = test["properties"]["kind"]["const"].as_str().unwrap();
        let mut known = known(test);
        known.retain(|name| name != "kind");
        if !known.is_empty() {
            assert_eq!(read(&with(&format!("[[test]]\nkind = \"{kind}\""))), known, "{kind}");
        }
    }
    let values = |at: &serde_json::Value| -> Vec<String> {
        at["enum"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let ami = &all["ami"]["properties"];
    assert_eq!(values(&ami["architecture"]), Architecture::NAMES);
    assert_eq!(values(&ami["virtualization-type"]), Virtualization::NAMES);
    assert_eq!(values(&ami["boot-mode"]), BootMode::NAMES);
    assert_eq!(values(&ami["deregistration-protection"]), DeregistrationProtection::NAMES);
    assert_eq!(values(&all["volume"]["items"]["properties"]["volume-type"]), VolumeType::NAMES);
}

/// What `amikit init` writes is a recipe, and each member that it only shows is one too.
#[test]
fn the_template_is_a_recipe_with_and_without_its_comments() {
    let prepared = prepare(TEMPLATE, &[]).unwrap();
    assert_eq!(prepared.ami.name, "web-x86_64");
    let shown: String = TEMPLATE
        .lines()
        .map(|line| {
            let bare = line.strip_prefix("# ").unwrap_or(line);
            let is_code = bare.starts_with('[')
                || bare.split_once(" = ").is_some_and(|(name, _)| {
                    name.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-')
                });
            if is_code { format!("{bare}\n") } else { format!("{line}\n") }
        })
        .collect();
    let shown = prepare(&shown, &[]).unwrap();
    assert_eq!((shown.ami.block_device_mappings.len(), shown.tests.len()), (3, 4));
    assert!(shown.upload.send_holes && shown.upload.encrypted);
    assert_eq!(shown.distribution.len(), 2);
}

/// A description with every member comes back from the recipe that is written of it.
#[test]
fn a_written_recipe_gives_its_description() {
    let json = r#"{"Name":"web {x} [1]","Description":"quotes \" \\ \n tab\t and \u007f and {{","Architecture":"x86_64",
        "VirtualizationType":"hvm","BootMode":"uefi","RootDeviceName":"/dev/xvda","BlockDeviceMappings":[
        {"DeviceName":"/dev/xvda","Ebs":{"SnapshotId":"snap-0a","VolumeSize":8,"VolumeType":"gp3","Iops":3000,
        "Throughput":125,"DeleteOnTermination":true}},{"DeviceName":"/dev/sdf","Ebs":{"VolumeSize":5,"Encrypted":true}},
        {"DeviceName":"/dev/sdb","VirtualName":"ephemeral0"},{"DeviceName":"/dev/sdc","NoDevice":""}],
        "EnaSupport":false,"SriovNetSupport":"simple","ImdsSupport":"v2.0","TpmSupport":"v2.0","UefiData":"QU1a",
        "KernelId":"aki-1","KernelName":"pv-grub-hd0_1.05-x86_64.gz","RamdiskId":"ari-1","ImageLocation":"a/b.manifest.xml",
        "Platform":"windows","BillingProducts":["bp-1"],"ProductCodes":[{"ProductCodeId":"abc{1}","ProductCodeType":"marketplace"}],
        "Tags":[{"Key":"A \"key\"","Value":"{date}"},{"Key":"B","Value":""}],
        "LaunchPermissions":[{"Group":"all"},{"UserId":"123456789012"},
        {"OrganizationArn":"arn:aws:organizations::123456789012:organization/o-a"},
        {"OrganizationalUnitArn":"arn:aws:organizations::123456789012:ou/o-a/ou-b"}],
        "DeprecateAt":"2028-01-31T12:00:00Z","DeregistrationProtection":"enabled-with-cooldown",
        "Provenance":{"Origin":"marketplace","OwnerId":"123456789012","ImageId":"ami-1","SourceImageId":"ami-2",
        "SourceImageRegion":"us-east-1","SourceInstanceId":"i-1"}}"#;
    let ami: Ami = serde_json::from_str(json).unwrap();
    let text = write(&ami, "written\nby a test", &[]);
    assert!(text.starts_with("# written\n# by a test\nversion = 1\n"), "{text}");
    assert_eq!(prepare(&text, &[]).unwrap().ami, ami, "{text}");
    // And so does the call that registers it.
    let call = serde_json::to_vec(&RegisterImage::of(&prepare(&text, &[]).unwrap().ami)).unwrap();
    let Document::Call(again) = Document::read(&call).unwrap() else { panic!("a call") };
    assert_eq!((RegisterImage::of(&again.ami), again.unread), (RegisterImage::of(&ami), vec![]));
}
