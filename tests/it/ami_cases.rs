//! AMIs, calls and recipes that people have: each case, and others of its kind.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use serde_json::json;

use crate::common::Model;
use crate::common::amikit;
use crate::common::fixture;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;

/// An image as `DescribeImages` has it, of an account's own.
fn image() -> Value {
    json!({
        "ImageId": "ami-0123456789abcdef0", "Name": "x y", "OwnerId": "123456789012",
        "State": "available", "Public": false, "Architecture": "x86_64",
        "VirtualizationType": "hvm", "RootDeviceType": "ebs", "RootDeviceName": "/dev/sda1",
        "EnaSupport": true, "BlockDeviceMappings": [{
            "DeviceName": "/dev/sda1",
            "Ebs": {"SnapshotId": "snap-0a1b2c3d", "VolumeSize": 8, "VolumeType": "gp3"},
        }],
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut image = image();
    change(&mut image);
    image
}

fn write(folder: &Path, name: &str, value: &Value) {
    fs::write(folder.join(name), value.to_string()).unwrap();
}

fn answer(folder: &Path, name: &str, images: &[Value]) {
    write(folder, name, &json!({ "Images": images }));
}

/// Rules that are broken, errors or all.
fn broken(folder: &Path, line: &str) -> Vec<(String, String)> {
    let output = run(folder, &format!("lint {line} --json"));
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|e| {
        panic!("{line}: {e}: {text}{}", String::from_utf8_lossy(&output.stderr))
    });
    let findings = report["findings"].as_array().unwrap();
    let mut found: Vec<(String, String)> = findings
        .iter()
        .map(|it| {
            (it["level"].as_str().unwrap().to_owned(), it["rule"].as_str().unwrap().to_owned())
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn errors(folder: &Path, line: &str) -> Vec<String> {
    let found = broken(folder, line).into_iter();
    found.filter(|(level, _)| level == "error").map(|(_, rule)| rule).collect()
}

/// Writes a raw image of two blocks and a hole.
fn small_image(folder: &Path, name: &str) {
    let block = |byte| Some(vec![byte; 1000]);
    Model::of(&[block(1), block(2), None], 0).write(&folder.join(name));
}

/// Runs with bytes on standard input.
fn run_with_input(folder: &Path, line: &str, bytes: &[u8]) -> (i32, String, String) {
    let mut command = amikit();
    command.current_dir(folder).args(line.split_whitespace());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, bytes).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// facts of another publisher's AMI are not wishes for one's own.
#[test]
fn a1_a_public_ami_that_is_imported_stays_private() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let far = "2030-01-31T12:00:00.000Z";
    for (name, change) in [
        ("public", json!({"Public": true})),
        ("of-aws", json!({"Public": true, "ImageOwnerAlias": "amazon", "DeprecationTime": far})),
        (
            "sold",
            json!({"Public": true, "ImageOwnerAlias": "aws-marketplace",
            "DeregistrationProtection": "enabled"}),
        ),
    ] {
        let image = with(|image| {
            for (member, value) in change.as_object().unwrap() {
                image[member] = value.clone();
            }
        });
        answer(here, "pub.json", &[image]);
        let recipe = run_well(here, "import pub.json");
        for line in recipe.lines().filter(|line| !line.starts_with('#')) {
            for wish in ["launch-permissions", "deprecate-at", "deregistration-protection"] {
                assert!(!line.starts_with(wish), "{name}: {line}");
            }
        }
        assert!(recipe.contains("# launch-permissions = [\"all\"]"), "{recipe}");
        let kept = run_well(here, "import pub.json --keep-permissions");
        assert!(kept.contains("\nlaunch-permissions = [\"all\"]\n"), "{kept}");
        fs::write(here.join("kept.toml"), kept).unwrap();
        let found = broken(here, "kept.toml");
        assert!(found.contains(&("warning".to_owned(), "public".to_owned())), "{found:?}");
    }
    // Built from an image of one's own, nothing is shared.
    small_image(here, "own.raw");
    answer(here, "pub.json", &[with(|image| image["Public"] = true.into())]);
    run_well(here, "import pub.json -o pub.toml");
    run_well(here, "build pub.toml --image /dev/sda1=own.raw -o pub.ami");
    let plan = run_well(here, "plan pub.ami --recipe pub.toml --region eu-central-1");
    assert!(!plan.contains("ModifyImageAttribute"), "{plan}");
    let call = json!({"Name": "web", "LaunchPermissions": [{"Group": "all"}]});
    write(here, "all.json", &call);
    let output = run(here, "lint all.json");
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("warning [public]") && told.contains("\"web\""), "{told}");
}

/// what an answer says is not what a call asks for: lint accuses nothing, and the recipe is sound.
#[test]
fn a2_import_writes_nothing_that_lint_and_register_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let ebs = |member: &'static str, value: Value| {
        move |image: &mut Value| image["BlockDeviceMappings"][0]["Ebs"][member] = value
    };
    let top = |member: &'static str, value: Value| move |image: &mut Value| image[member] = value;
    let cases: Vec<(&str, Value)> = vec![
        ("encrypted", with(ebs("Encrypted", true.into()))),
        ("not encrypted", with(ebs("Encrypted", false.into()))),
        ("a key", with(ebs("KmsKeyId", "arn:aws:kms:eu-central-1:123456789012:key/a".into()))),
        ("a rate", with(ebs("VolumeInitializationRate", 200.into()))),
        ("a zone", with(ebs("AvailabilityZone", "eu-central-1a".into()))),
        ("a card", with(ebs("EbsCardIndex", 0.into()))),
        ("tags of AWS", with(top("Tags", json!([{"Key": "aws:backup:source", "Value": "x"}])))),
        ("a past time", with(top("DeprecationTime", "2024-08-26T03:04:41.000Z".into()))),
        ("no description", with(top("Description", "".into()))),
        ("protection", with(top("DeregistrationProtection", "enabled".into()))),
        (
            "codes",
            with(top(
                "ProductCodes",
                json!([{"ProductCodeId": "a",
            "ProductCodeType": "marketplace"}]),
            )),
        ),
        (
            "public and encrypted",
            with(|image| {
                image["Public"] = true.into();
                image["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] = true.into();
            }),
        ),
        (
            "root by its disk",
            with(|image| {
                image["BlockDeviceMappings"][0]["DeviceName"] = "/dev/sda".into();
            }),
        ),
    ];
    for (what, image) in cases {
        answer(here, "a.json", &[image]);
        assert_eq!(errors(here, "a.json"), Vec::<String>::new(), "{what}: the answer");
        let recipe = run_well(here, "import a.json");
        fs::write(here.join("a.toml"), &recipe).unwrap();
        assert_eq!(errors(here, "a.toml"), Vec::<String>::new(), "{what}: {recipe}");
        let output = run(here, "register a.toml");
        assert_eq!(output.status.code(), Some(0), "{what}: {}", stderr(&output));
    }
    answer(here, "a.json", &[with(ebs("Encrypted", true.into()))]);
    let recipe = run_well(here, "import a.json");
    assert!(recipe.contains("# Its snapshot is encrypted") && !recipe.contains("\nencrypted"));
}

/// a time that EC2 made is not judged, and becomes one that EC2 takes.
#[test]
fn a3_times_that_ec2_made_are_not_judged_as_wishes() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (time, line) in [
        ("2024-08-26T03:04:41.000Z", "# deprecate-at = \"2024-08-26T03:04:41Z\""),
        ("2030-08-26T03:04:41.000Z", "deprecate-at = \"2030-08-26T03:05:00Z\""),
        ("2030-08-26T03:04:00Z", "deprecate-at = \"2030-08-26T03:04:00Z\""),
        ("2030-12-31T23:59:31.999Z", "deprecate-at = \"2031-01-01T00:00:00Z\""),
    ] {
        answer(here, "a.json", &[with(|image| image["DeprecationTime"] = time.into())]);
        assert_eq!(broken(here, "a.json"), [], "{time}");
        let recipe = run_well(here, "import a.json");
        assert!(recipe.lines().any(|it| it == line), "{time}: {recipe}");
        fs::write(here.join("a.toml"), &recipe).unwrap();
        assert_eq!(broken(here, "a.toml"), [], "{time}: {recipe}");
    }
}

/// options, recipes and documents meet the same rules.
#[test]
fn a4_every_way_to_say_a_thing_meets_the_same_rules() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    small_image(here, "root.raw");
    run_well(here, "pack root.raw -o web.ami --name web");
    answer(here, "a.json", &[image()]);
    run_well(here, "import a.json -o a.toml");
    let region = "--region eu-central-1";
    for (options, rule) in [
        (format!("{region} --copy-to us-gov-west-1"), "copy-partition"),
        (format!("{region} --copy-to eu-isoe-west-1"), "copy-partition"),
        (format!("{region} --copy-to eu-central-1"), "copy-name"),
        (format!("{region} --copy-to us-east-1 --copy-to us-east-1"), "copy-name"),
        (format!("{region} --copy-to Frankfurt"), "region"),
        ("--region Frankfurt".to_owned(), "region"),
    ] {
        for command in ["plan web.ami", "register web.ami", "register a.toml", "register a.json"] {
            let told = run_badly(here, &format!("{command} {options}"), 2);
            assert!(told.contains(&format!("[{rule}]")), "{command} {options}: {told}");
            if rule != "copy-name" {
                run_well(here, &format!("{command} {options} --allow {rule}"));
            }
        }
    }
    for (line, rule) in [
        ("plan web.ami --kms-key-arn alias/web --holes send", "kms-key-arn"),
        ("plan web.ami --base web.ami=snap-XYZ", "parent-id"),
        ("register web.ami --snapshot snap-XYZ", "snapshot-id"),
        ("register web.ami --image-id Frankfurt", "image-id"),
    ] {
        assert!(run_badly(here, line, 2).contains(&format!("[{rule}]")), "{line}");
    }
    // What a document says is not folded into something else before a rule sees it.
    let call = |more: Value| {
        let mut call = json!({"Name": "web", "Architecture": "x86_64", "VirtualizationType": "hvm",
            "EnaSupport": true, "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": [{
            "DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0a", "VolumeType": "gp3"}}]});
        for (member, value) in more.as_object().unwrap() {
            call[member] = value.clone();
        }
        call
    };
    let tags = |kind: &str| json!([{"ResourceType": kind, "Tags": [{"Key": "a", "Value": "b"}]}]);
    for (more, rules) in [
        (json!({"TagSpecifications": tags("image")}), vec![]),
        (json!({"TagSpecifications": tags("snapshot")}), vec!["tag-resource"]),
        (json!({"TagSpecifications": tags("volume")}), vec!["tag-resource"]),
        (json!({"TagSpecifications": [{"Tags": []}]}), vec!["tag-resource"]),
        (json!({"DryRun": true}), vec![]),
        (json!({"ClientToken": "x"}), vec!["member"]),
    ] {
        write(here, "call.json", &call(more.clone()));
        assert_eq!(errors(here, "call.json"), rules, "{more}");
        let code = if rules.is_empty() { 0 } else { 2 };
        assert_eq!(run(here, "register call.json").status.code(), Some(code), "{more}");
    }
}

/// what real AMIs have is not an error, and an error says who refuses it.
#[test]
fn a6_real_amis_break_no_rule() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut windows = image();
    let devices = windows["BlockDeviceMappings"].as_array_mut().unwrap();
    for (number, letter) in ('a'..='z').enumerate() {
        devices.push(json!({"DeviceName": format!("xvdc{letter}"),
            "VirtualName": format!("ephemeral{number}")}));
    }
    let by_disk = with(|image| image["BlockDeviceMappings"][0]["DeviceName"] = "/dev/sda".into());
    let coded = with(|image| {
        image["ProductCodes"] = json!([{"ProductCodeId": "abc", "ProductCodeType": "marketplace"}]);
    });
    for (what, image, warnings) in [
        ("AWS's Windows", windows, vec![]),
        ("a root of /dev/sda1 over /dev/sda", by_disk, vec!["root-unmapped"]),
        ("one's own with a code of Marketplace", coded, vec!["product-codes"]),
    ] {
        answer(here, "a.json", &[image]);
        assert_eq!(broken(here, "a.json"), [], "{what}");
        fs::write(here.join("a.toml"), run_well(here, "import a.json")).unwrap();
        let found: Vec<String> = broken(here, "a.toml")
            .into_iter()
            .map(|(level, rule)| {
                assert_eq!(level, "warning", "{what}: {rule}");
                rule
            })
            .collect();
        assert_eq!(found, warnings, "{what}");
        run_well(here, "register a.toml");
    }
    let list: Value = serde_json::from_str(&run_well(here, "lint --list --json")).unwrap();
    for rule in list["rules"].as_array().unwrap() {
        let evidence = rule["evidence"].as_str().unwrap();
        assert!(["refused", "documented", "observed"].contains(&evidence), "{rule}");
        assert!(rule["level"] != "error" || evidence == "refused", "{rule}");
    }
}

/// documents are known by their shape, in every form in which people have them.
#[test]
fn a7_documents_are_taken_as_people_have_them() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let image = image();
    let whole = json!({"Images": [image], "NextToken": "abc"}).to_string();
    let list = json!([image]).to_string();
    let one = image.to_string();
    let expected = {
        fs::write(here.join("whole.json"), &whole).unwrap();
        run_well(here, "import whole.json")
    };
    let bare = |recipe: &str| recipe.lines().skip(1).collect::<Vec<_>>().join("\n");
    for (what, text) in [("the answer", &whole), ("its list", &list), ("one image", &one)] {
        let units: Vec<u16> = text.encode_utf16().collect();
        let little: Vec<u8> = units.iter().flat_map(|it| it.to_le_bytes()).collect();
        let forms = [
            text.as_bytes().to_vec(),
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            [&b"\xff\xfe"[..], &little].concat(),
            little,
        ];
        for (number, bytes) in forms.iter().enumerate() {
            // The name says nothing: not even that of a recipe.
            for name in ["a.json", "a.txt", "a.toml"] {
                fs::write(here.join(name), bytes).unwrap();
                let recipe = run_well(here, &format!("import {name}"));
                assert_eq!(bare(&recipe), bare(&expected), "{what}, {number}, {name}");
            }
            let (code, recipe, told) = run_with_input(here, "import -", bytes);
            assert_eq!((code, bare(&recipe)), (0, bare(&expected)), "{what}, {number}: {told}");
            let (code, _, told) = run_with_input(here, "lint -", bytes);
            assert_eq!(code, 0, "{what}, {number}: {told}");
        }
    }
    // A recipe is one whatever its name is, and from standard input too.
    fs::write(here.join("recipe.txt"), [b"\xef\xbb\xbf", expected.as_bytes()].concat()).unwrap();
    run_well(here, "lint recipe.txt");
    let (code, _, told) = run_with_input(here, "lint -", expected.as_bytes());
    assert_eq!(code, 0, "{told}");
    // What is not in an answer, and which calls have it.
    for part in ["launchPermission", "uefiData", "describe-image-attribute --image-id ami-0123"] {
        assert!(expected.contains(part), "{part} in {expected}");
    }
}

/// what the AWS CLI prints as a skeleton is read completely.
#[test]
fn a7_a_skeleton_is_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let skeleton = json!({
        "ImageLocation": "", "BillingProducts": [""], "BootMode": "legacy-bios",
        "TpmSupport": "v2.0", "UefiData": "", "ImdsSupport": "v2.0",
        "TagSpecifications": [{"ResourceType": "image", "Tags": [{"Key": "", "Value": ""}]}],
        "DryRun": true, "Name": "", "Description": "", "Architecture": "i386", "KernelId": "",
        "RamdiskId": "", "RootDeviceName": "", "BlockDeviceMappings": [{
            "Ebs": {"DeleteOnTermination": true, "Iops": 0, "SnapshotId": "", "VolumeSize": 0,
                "VolumeType": "standard", "KmsKeyId": "", "Throughput": 0, "OutpostArn": "",
                "AvailabilityZone": "", "Encrypted": true, "VolumeInitializationRate": 0,
                "AvailabilityZoneId": "", "EbsCardIndex": 0},
            "NoDevice": "", "DeviceName": "", "VirtualName": ""}],
        "VirtualizationType": "", "SriovNetSupport": "", "EnaSupport": true,
    });
    write(here, "skeleton.json", &skeleton);
    let output = run(here, "lint skeleton.json");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in
        ["skeleton", "error [name]", "error [device-missing]", "warning [empty]", "KernelId"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(text.matches("[empty]").count(), 1, "{text}");
}

/// a document of another kind is named.
#[test]
fn a7_a_wrong_document_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    small_image(here, "root.raw");
    run_well(here, "pack root.raw -o web.ami --name web");
    run_well(here, "plan web.ami -o web.plan.jsonl");
    let plan = fs::read_to_string(here.join("web.plan.jsonl")).unwrap();
    let index = fs::read_to_string(here.join("web.ami/index.json")).unwrap();
    let documents: Vec<(String, &str)> = vec![
        (
            json!({"ImageId": "ami-0a", "LaunchPermissions": [{"UserId": "123456789012"}]})
                .to_string(),
            "DescribeImageAttribute",
        ),
        (json!({"Snapshots": [{"SnapshotId": "snap-0a"}]}).to_string(), "DescribeSnapshots"),
        (plan, "a plan"),
        (index, "a part of a bundle"),
        (json!({"ImageId": "ami-0a"}).to_string(), "RegisterImage or CopyImage"),
        ("Images:\n- Architecture: x86_64\n".to_owned(), "YAML"),
        (json!(["ami-0a"]).to_string(), "a list of texts"),
    ];
    for (text, name) in &documents {
        fs::write(here.join("x.json"), text).unwrap();
        for line in [
            "lint x.json",
            "import x.json",
            "register x.json",
            "pack root.raw -o n.ami --ami x.json",
        ] {
            let told = run_badly(here, line, 2);
            assert!(told.contains(name) && told.contains("expected"), "{line}: {told}");
        }
    }
    // A recipe is not an answer.
    fs::write(here.join("a.toml"), "version = 1\n[ami]\nname = \"web\"\n").unwrap();
    assert!(run_badly(here, "import a.toml", 2).contains("a recipe"));
}

/// one strange image does not spoil the others, and one strange member not the image.
#[test]
fn a8_what_is_strange_is_left_out_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let strange = with(|image| {
        image["ImageId"] = "ami-0bad".into();
        image["BlockDeviceMappings"][0]["Ebs"]["VolumeType"] = "gp4".into();
        image["Architecture"] = "riscv64".into();
        image["Tags"] = json!("none");
        image["QuantumSupport"] = json!({"Version": 2});
    });
    answer(here, "a.json", &[strange, image(), Value::Null, json!(7)]);
    let fine = run_well(here, "import a.json --image-id ami-0123456789abcdef0");
    assert!(!fine.contains("gp4") && fine.contains("volume-type = \"gp3\""), "{fine}");
    let output = run(here, "import a.json --image-id ami-0bad -o bad.toml");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("4 facts"), "{}", stderr(&output));
    let recipe = fs::read_to_string(here.join("bad.toml")).unwrap();
    for part in [
        "VolumeType is \"gp4\"",
        "Architecture is \"riscv64\"",
        "Tags is \"none\"",
        "QuantumSupport",
    ] {
        let told =
            recipe.lines().any(|line| line.starts_with("# Left out: ") && line.contains(part));
        assert!(told, "{part} in {recipe}");
    }
    assert!(recipe.contains("snapshot-id = \"snap-0a1b2c3d\""));
    let output = run(here, "lint a.json");
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("note: ami-0bad: ") && told.contains("gp4"), "{told}");
    assert!(!told.contains("ami-0123456789abcdef0"), "{told}");
}

/// two names of one device on Xen, and content that cannot start.
#[test]
fn a9_pack_applies_every_error_that_lint_finds() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (one, other, warned) in [
        ("/dev/sdb", "/dev/xvdb", true),
        ("/dev/sdb", "xvdb", true),
        ("/dev/xvdb", "/dev/sdc", false),
        ("/dev/sdb", "/dev/xvdba", false),
    ] {
        let entry =
            |name: &str| json!({"DeviceName": name, "Ebs": {"VolumeSize": 1, "VolumeType": "gp3"}});
        answer(
            here,
            "a.json",
            &[with(|image| {
                let list = image["BlockDeviceMappings"].as_array_mut().unwrap();
                list.extend([entry(one), entry(other)]);
            })],
        );
        let found =
            broken(here, "a.json").contains(&("warning".to_owned(), "device-xen".to_owned()));
        assert_eq!(found, warned, "{one} and {other}");
    }
    // Whatever lint of the bundle calls an error, pack has refused before.
    fs::File::create(here.join("empty.raw")).unwrap().set_len(1 << 20).unwrap();
    small_image(here, "noise.raw");
    for image in ["empty.raw", "noise.raw"] {
        for options in [
            "--boot-mode uefi",
            "--boot-mode uefi-preferred",
            "--boot-mode legacy-bios",
            "--arch arm64",
            "",
        ] {
            let line = format!("pack {image} -o web.ami {options}");
            let output = run(here, &line);
            if output.status.code() == Some(0) {
                assert_eq!(errors(here, "web.ami"), Vec::<String>::new(), "{line}");
                fs::remove_dir_all(here.join("web.ami")).unwrap();
            } else {
                let told = stderr(&output);
                assert!(
                    output.status.code() == Some(2) && told.contains("[boot-"),
                    "{line}: {told}"
                );
                assert!(!options.is_empty() && !here.join("web.ami").exists(), "{line}");
            }
        }
    }
}

/// the first way through.
#[test]
fn a12_init_writes_the_boot_mode_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mode = |name: &str| {
        let text = fs::read_to_string(here.join(name)).unwrap();
        text.lines().find(|line| line.starts_with("boot-mode")).map(str::to_owned)
    };
    run_well(here, "init nothing.toml");
    assert_eq!(mode("nothing.toml"), None);
    fs::File::create(here.join("empty.raw")).unwrap().set_len(1 << 20).unwrap();
    let output = run(here, "init empty.toml --image empty.raw");
    assert_eq!((output.status.code(), mode("empty.toml")), (Some(0), None));
    assert!(stderr(&output).contains("no boot mode"), "{}", stderr(&output));
    let mut sector = vec![0; 1 << 20];
    sector[0] = 0xeb;
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    sector[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0]);
    fs::write(here.join("bios.raw"), sector).unwrap();
    run_well(here, "init bios.toml --image bios.raw");
    assert_eq!(mode("bios.toml").as_deref(), Some("boot-mode = \"legacy-bios\""));
    let disk = fixture("images/disk.simg");
    run_well(here, &format!("init uefi.toml --image {}", disk.display()));
    assert_eq!(mode("uefi.toml").as_deref(), Some("boot-mode = \"uefi\""));
    for name in ["bios", "uefi"] {
        let output = run(here, &format!("build {name}.toml -o {name}.ami"));
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
    }
}

/// a missing image says how to name another, and a broken document is damage.
#[test]
fn a12_what_goes_wrong_first_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run_well(here, "init");
    let told = run_badly(here, "build ami.toml -o web.ami", 3);
    assert!(told.contains("root.raw") && told.contains("--image /dev/xvda=FILE"), "{told}");
    for text in ["{\"Images\":[", "{", "[1,", "{\"Name\":\"a\"} x", "no json at all"] {
        fs::write(here.join("x.json"), text).unwrap();
        for line in ["lint x.json", "import x.json", "register x.json"] {
            run_badly(here, line, 4);
        }
    }
    fs::write(here.join("x.json"), [0xff, 0xfe, 0x00]).unwrap();
    run_badly(here, "lint x.json", 4);
}

/// a value that EC2 does not know is a finding beside others.
#[test]
fn a12_a_bad_value_is_a_finding_beside_others() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let call = json!({"Name": "a:b", "Architecture": "x86-64", "VirtualizationType": "hvm",
        "BootMode": "bios", "EnaSupport": "yes", "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0a",
        "VolumeType": "gp4"}}]});
    write(here, "call.json", &call);
    assert_eq!(errors(here, "call.json"), ["name", "value"]);
    let text = String::from_utf8(run(here, "lint call.json").stdout).unwrap();
    for part in ["x86-64", "bios", "gp4", "yes", "expected i386, x86_64"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let recipe = "version = 1\n[ami]\nname = \"a:b\"\narchitecture = \"x86-64\"\n\
        virtualization-type = \"hvm\"\nboot-mode = \"bios\"\nroot-device-name = \"/dev/xvda\"\n\
        [[volume]]\ndevice-name = \"/dev/xvda\"\nsnapshot-id = \"snap-0a\"\nvolume-type = \"gp4\"\n";
    fs::write(here.join("a.toml"), recipe).unwrap();
    assert_eq!(errors(here, "a.toml"), ["name", "value"]);
    let text = String::from_utf8(run(here, "lint a.toml").stdout).unwrap();
    assert!(text.contains("line 4, column 16: architecture") && text.contains("gp4"), "{text}");
    small_image(here, "root.raw");
    run_badly(here, "build a.toml --image /dev/xvda=root.raw -o web.ami", 2);
    run_badly(here, "pack root.raw --ami a.toml -o web.ami", 2);
    run_badly(here, "register a.toml", 2);
}

/// What each publisher's answer must say: nothing that is an error, in the answer or in its recipe.
#[test]
fn publishers_answers_are_not_accused() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let path = fixture("publishers/expected.json");
    let mut table: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let bless = std::env::var_os("BLESS").is_some();
    for entry in table.as_array_mut().unwrap() {
        let (file, id) = (entry["file"].as_str().unwrap(), entry["id"].as_str().unwrap());
        let answer: Value = serde_json::from_str(
            &fs::read_to_string(fixture(&format!("publishers/{file}"))).unwrap(),
        )
        .unwrap();
        let images = answer["Images"].as_array().unwrap();
        let image = images.iter().find(|it| it["ImageId"] == id).expect("the image is there");
        write(here, "one.json", image);
        let recipe = run_well(here, "import one.json");
        fs::write(here.join("one.toml"), &recipe).unwrap();
        run_well(here, "register one.toml");
        let rules = |name: &str| -> Value {
            let found = broken(here, name);
            assert!(found.iter().all(|(level, _)| level == "warning"), "{file} {id}: {found:?}");
            found.into_iter().map(|(_, rule)| rule).collect::<Vec<String>>().into()
        };
        let found = json!({"answer": rules("one.json"), "recipe": rules("one.toml")});
        let comments: Vec<&str> = recipe
            .lines()
            .skip(2)
            .filter(|line| line.starts_with("# ") && !line.contains("describe-image-attribute"))
            .filter(|line| !line.contains("put `image") && !line.contains("Not in the answer"))
            .collect();
        if bless {
            entry["warnings"] = found;
            entry["comments"] = comments.into();
            continue;
        }
        assert_eq!(entry["warnings"], found, "{file} {id}");
        assert_eq!(entry["comments"], Value::from(comments), "{file} {id}");
    }
    if bless {
        fs::write(&path, serde_json::to_string_pretty(&table).unwrap() + "\n").unwrap();
    }
    // Every image of every answer is in the table.
    for file in fs::read_dir(fixture("publishers")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".answer.json") {
            let text = fs::read_to_string(fixture(&format!("publishers/{name}"))).unwrap();
            let answer: Value = serde_json::from_str(&text).unwrap();
            for image in answer["Images"].as_array().unwrap() {
                let listed = table.as_array().unwrap().iter();
                let count = listed.filter(|it| it["id"] == image["ImageId"]).count();
                assert_eq!(count, 1, "{name}: {}", image["ImageId"]);
            }
        }
    }
}
