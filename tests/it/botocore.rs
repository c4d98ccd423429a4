//! The calls that we print, held against EC2's and EBS's own service models.
//!
//! The oracle is `validate.py` with botocore. `AMIKIT_BOTOCORE_PYTHON` names the Python that has it;
//! without it, `python3` is tried.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use amikit::internals::calls::form;
use serde_json::Value;

use crate::ami::PUBLISHERS;
use crate::common::Model;
use crate::common::fixture;
use crate::common::run_well;

/// Returns the Python that has botocore, or says why there is none.
pub(crate) fn python() -> Option<String> {
    let named = std::env::var("AMIKIT_BOTOCORE_PYTHON").ok();
    let python = named.unwrap_or_else(|| "python3".to_owned());
    let output = Command::new(&python).args(["-c", "import botocore"]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {python} has no botocore");
    None
}

/// Gives calls to the validator, and expects that it finds nothing wrong in them.
pub(crate) fn validate(python: &str, calls: &str) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/validate.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(calls.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    if output.status.success() { Ok(text) } else { Err(text) }
}

/// Returns what botocore sends for each of the lines, by one of the ways of `sent.py`.
pub(crate) fn sent(python: &str, way: &str, lines: &str) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sent.py");
    let mut child = Command::new(python)
        .arg(script)
        .arg(way)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, lines) = (child.stdin.take().unwrap(), lines.to_owned());
    // A thread writes, because both pipes fill up.
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn add(calls: &mut String, service: &str, operation: &str, parameters: &Value) {
    let call = serde_json::json!({
        "service": service, "operation": operation, "parameters": parameters
    });
    writeln!(calls, "{call}").unwrap();
}

/// What a recipe says of an AMI of every kind that EC2 has: its description, and its volumes.
fn kinds() -> Vec<(String, String)> {
    let volumes = |root: &str| {
        format!(
            "[[volume]]\ndevice-name = \"{root}\"\nsnapshot-id = \"snap-0123456789abcdef0\"\n\
             volume-type = \"gp3\"\nvolume-size = 9\niops = 3000\nthroughput = 125\n\
             delete-on-termination = true\n\
             [[volume]]\ndevice-name = \"/dev/sdf\"\nvolume-size = 10\nencrypted = true\n\
             [[volume]]\ndevice-name = \"/dev/sdb\"\nvirtual-name = \"ephemeral0\"\n\
             [[volume]]\ndevice-name = \"/dev/sdc\"\nno-device = true\n"
        )
    };
    let hvm = "virtualization-type = \"hvm\"\n";
    let nitro = "virtualization-type = \"hvm\"\nena-support = true\nimds-support = \"v2.0\"\n\
                 sriov-net-support = \"simple\"\n";
    let pv = "virtualization-type = \"paravirtual\"\nkernel-id = \"aki-0a\"\n\
              ramdisk-id = \"ari-0a\"\n";
    let store = "image-location = \"bucket/web.manifest.xml\"\n";
    let ebs = |root: &str, architecture: &str, virtualization: &str, more: &str| {
        let text = format!(
            "root-device-name = \"{root}\"\narchitecture = \"{architecture}\"\n{virtualization}{more}"
        );
        (text, volumes(root))
    };
    let s3 = |architecture: &str, virtualization: &str| {
        (format!("architecture = \"{architecture}\"\n{virtualization}{store}"), String::new())
    };
    let uefi = "boot-mode = \"uefi\"\n";
    let tpm = "boot-mode = \"uefi\"\ntpm-support = \"v2.0\"\n";
    let windows = "platform = \"windows\"\nboot-mode = \"uefi-preferred\"\n";
    vec![
        ebs("/dev/xvda", "x86_64", nitro, tpm),
        ebs("/dev/xvda", "arm64", nitro, uefi),
        ebs("/dev/sda1", "i386", hvm, "boot-mode = \"legacy-bios\"\n"),
        ebs("/dev/sda1", "x86_64", pv, ""),
        ebs("/dev/sda1", "i386", pv, ""),
        ebs("/dev/sda1", "x86_64", nitro, windows),
        ebs("/dev/sda1", "i386", hvm, "platform = \"windows\"\n"),
        s3("x86_64", hvm),
        s3("x86_64", pv),
        s3("i386", pv),
    ]
}

/// A recipe that is shared, deprecated, protected and copied.
fn recipe(description: &str, volumes: &str) -> String {
    format!(
        "version = 1\n[ami]\nname = \"web\"\n{description}\
         launch-permissions = [\"123456789012\",\n\
         \"arn:aws:organizations::123456789012:organization/o-abc\",\n\
         \"arn:aws:organizations::123456789012:ou/o-abc/ou-abc\"]\n\
         deprecate-at = \"2028-01-31T12:00:00Z\"\n\
         deregistration-protection = \"enabled-with-cooldown\"\n\
         [ami.tags]\nTeam = \"web\"\n{volumes}\
         [upload]\nregion = \"eu-central-1\"\ncreate-volume-permissions = [\"123456789012\"]\n\
         [[distribute]]\nregions = [\"us-east-1\"]\nencrypted = true\n\
         kms-key-id = \"alias/web\"\naccounts = [\"123456789012\"]\n\
         [distribute.tags]\nTeam = \"web\"\n"
    )
}

#[test]
fn every_kind_of_call_is_accepted_by_the_models() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut calls = String::new();
    for (description, volumes) in kinds() {
        fs::write(here.join("a.toml"), recipe(&description, &volumes)).unwrap();
        let line = "register a.toml --image-id ami-0123456789abcdef0 --json --delete-snapshots";
        let report: Value = serde_json::from_str(&run_well(here, line)).unwrap();
        let documents = report["documents"].as_array().unwrap();
        assert!(documents.len() > 10, "{description}");
        for document in documents {
            let call = document["call"].as_str().unwrap();
            add(&mut calls, "ec2", call, &document["parameters"]);
        }
    }
    for name in PUBLISHERS {
        let path = fixture(&format!("publishers/{name}.json"));
        let call = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        add(&mut calls, "ec2", "RegisterImage", &call);
    }
    println!("{}", validate(&python, &calls).unwrap());
}

/// What is sent for a call is what botocore sends for the same parameters.
#[test]
fn the_form_of_every_call_is_that_of_botocore() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut calls: Vec<(String, Value)> = Vec::new();
    for (description, volumes) in kinds() {
        fs::write(here.join("a.toml"), recipe(&description, &volumes)).unwrap();
        let line = "register a.toml --image-id ami-0123456789abcdef0 --json --delete-snapshots";
        let report: Value = serde_json::from_str(&run_well(here, line)).unwrap();
        for document in report["documents"].as_array().unwrap() {
            let call = document["call"].as_str().unwrap().to_owned();
            calls.push((call, document["parameters"].clone()));
        }
    }
    let more = [
        (
            "DescribeImages",
            r#"{"Owners":["self"],"Filters":[{"Name":"name","Values":["a b","c"]},
                {"Name":"tag:x","Values":["y"]}]}"#,
        ),
        ("DescribeImageAttribute", r#"{"ImageId":"ami-1","Attribute":"launchPermission"}"#),
        ("DeleteSnapshot", r#"{"SnapshotId":"snap-1"}"#),
        (
            "CopyImage",
            r#"{"Name":"x","SourceImageId":"ami-1","SourceRegion":"r","ClientToken":"t"}"#,
        ),
        ("RegisterImage", r#"{"Name":"x","BillingProducts":["bp-1","bp-2"],"DryRun":true}"#),
    ];
    for (call, parameters) in more {
        calls.push((call.to_owned(), serde_json::from_str(parameters).unwrap()));
    }
    let lines: Vec<String> = calls
        .iter()
        .map(|(operation, parameters)| {
            serde_json::json!({ "operation": operation, "parameters": parameters }).to_string()
        })
        .collect();
    let answers = sent(&python, "forms", &lines.join("\n"));
    assert_eq!(answers.len(), calls.len());
    for ((call, parameters), theirs) in calls.iter().zip(&answers) {
        let mut ours = form(call, parameters);
        ours.sort();
        let ours: Vec<[&str; 2]> = ours.iter().map(|(a, b)| [a.as_str(), b.as_str()]).collect();
        assert_eq!(serde_json::json!(ours), *theirs, "{call}: {parameters}");
    }
}

/// Every step of a plan, those of the EBS direct APIs too.
#[test]
fn every_step_of_a_plan_is_accepted_by_the_models() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let block = |byte| Some(vec![byte; 1000]);
    Model::of(&[block(1), block(2), None], 0).write(&here.join("old.raw"));
    Model::of(&[block(1), None, block(0)], 0).write(&here.join("new.raw"));
    run_well(here, "pack old.raw -o old.ami");
    run_well(here, "pack new.raw -o new.ami");
    let mut calls = String::new();
    let key = "arn:aws:kms:eu-central-1:123456789012:key/0a";
    for line in [
        "plan new.ami --json --region eu-central-1 --copy-to us-east-1".to_owned(),
        "plan new.ami --json --base old.ami=snap-0123456789abcdef0".to_owned(),
        format!("plan new.ami --json --kms-key-arn {key} --holes send"),
    ] {
        for step in run_well(here, &line).lines() {
            let step: Value = serde_json::from_str(step).unwrap();
            let name = step["Step"].as_str().unwrap();
            match name {
                "Plan" | "Totals" => {}
                "PutSnapshotBlock" => {
                    let parameters = serde_json::json!({
                        "SnapshotId": "snap-0a",
                        "BlockIndex": step["BlockIndex"],
                        "BlockData": "",
                        "DataLength": 524_288,
                        "Checksum": step["Checksum"],
                        "ChecksumAlgorithm": "SHA256",
                    });
                    add(&mut calls, "ebs", name, &parameters);
                }
                _ => {
                    let call = step.get("Call").map_or(name, |it| it.as_str().unwrap());
                    let service = if call.ends_with("Snapshot") { "ebs" } else { "ec2" };
                    add(&mut calls, service, call, &step["Parameters"]);
                }
            }
        }
    }
    println!("{}", validate(&python, &calls).unwrap());
}

/// The oracle can say no: to a name, a type, a value and a pattern.
#[test]
fn the_models_refuse_what_is_wrong() {
    let Some(python) = python() else { return };
    for (service, operation, parameters) in [
        ("ec2", "RegisterImage", r#"{"Name":"web","Nonsense":1}"#),
        ("ec2", "RegisterImage", r#"{"Name":"web","EnaSupport":"yes"}"#),
        ("ec2", "RegisterImage", r#"{"Name":"web","BootMode":"bios"}"#),
        ("ec2", "RegisterImage", r#"{"Name":"ab"}"#),
        ("ec2", "CopyImage", r#"{"Name":"web"}"#),
        ("ebs", "CompleteSnapshot", r#"{"SnapshotId":"vol-1","ChangedBlocksCount":0}"#),
    ] {
        let mut calls = String::new();
        add(&mut calls, service, operation, &serde_json::from_str(parameters).unwrap());
        assert!(validate(&python, &calls).is_err(), "{parameters}");
    }
}
