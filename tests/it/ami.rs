//! The description from end to end: recipes of real publishers' calls, import, lint and pack.
#![allow(clippy::arithmetic_side_effects)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use amikit::internals::lint::Audience;
use amikit::internals::lint::LIMITS_AS_OF;
use amikit::internals::lint::RULES;
use serde_json::Value;

use crate::common::Model;
use crate::common::fixture;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;

/// Calls of publishers, with the members that they send.
pub(crate) const PUBLISHERS: [&str; 9] = [
    "bottlerocket",
    "bottlerocket-secure-boot",
    "canonical-instance-store",
    "debian",
    "flatcar",
    "freebsd",
    "nixos",
    "osbuild",
    "suse",
];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Writes a raw image of two blocks and a hole.
fn small_image(folder: &Path, name: &str) {
    let block = |byte| Some(vec![byte; 1000]);
    Model::of(&[block(1), block(2), None], 0).write(&folder.join(name));
}

/// A publisher's call becomes a recipe, and the recipe gives the call: nothing is lost on the way.
#[test]
fn publishers_calls_come_back_from_recipes() {
    let folder = tempfile::tempdir().unwrap();
    for name in PUBLISHERS {
        let path = fixture(&format!("publishers/{name}.json"));
        let call = json(&fs::read_to_string(&path).unwrap());
        run_well(folder.path(), &format!("import {} -o {name}.toml", path.display()));
        let again = json(&run_well(folder.path(), &format!("register {name}.toml")));
        assert_eq!(again, call, "{name}");
        let found = json(&run_well(folder.path(), &format!("lint --json {name}.toml")));
        assert_eq!(found["errors"], 0, "{name}: {found}");
        // The call itself is judged as its recipe is.
        let direct = json(&run_well(folder.path(), &format!("lint --json {}", path.display())));
        assert_eq!(direct["findings"], found["findings"], "{name}");
    }
}

/// What EC2 says of an AMI becomes a recipe, which says the same.
#[test]
fn described_images_become_recipes() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let path = fixture("publishers/describe-images.json");
    let several = run_badly(here, &format!("import {}", path.display()), 2);
    assert!(several.contains("ami-0123456789abcdef0, ami-0123456789abcdef6"), "{several}");
    for (number, id) in ["ami-0123456789abcdef0", "ami-0123456789abcdef6"].iter().enumerate() {
        let line = format!("import {} --image-id {id} -o {number}.toml", path.display());
        run_well(here, &line);
        let call = json(&run_well(here, &format!("register {number}.toml")));
        let image = &json(&fs::read_to_string(&path).unwrap())["Images"][number];
        for member in [
            "Name",
            "Description",
            "Architecture",
            "VirtualizationType",
            "BootMode",
            "RootDeviceName",
            "EnaSupport",
            "SriovNetSupport",
            "ImdsSupport",
            "TpmSupport",
        ] {
            assert_eq!(call.get(member), image.get(member), "{member}");
        }
        let mut mappings = image["BlockDeviceMappings"].clone();
        for mapping in mappings.as_array_mut().unwrap() {
            if let Some(ebs) = mapping.get_mut("Ebs").and_then(Value::as_object_mut) {
                assert_eq!(ebs.remove("Encrypted"), Some(Value::Bool(false)));
            }
        }
        assert_eq!(call["BlockDeviceMappings"], mappings);
    }
    let recipe = fs::read_to_string(here.join("0.toml")).unwrap();
    for part in [
        "# launch-permissions = [\"all\"]",
        "deprecate-at = \"2028-01-31T12:00:00Z\"",
        "source-image-id = \"ami-0fedcba9876543210\"",
        "\"Name\" = \"nixos {{stable}}\"",
    ] {
        assert!(recipe.contains(part), "{part} in {recipe}");
    }
    let foreign = run_well(here, "lint 1.toml");
    assert!(foreign.contains("801119661308") && foreign.contains("[provenance-snapshots]"));
    // A file that is there already stays.
    run_badly(
        here,
        &format!("import {} --image-id ami-0123456789abcdef0 -o 0.toml", path.display()),
        2,
    );
    assert_eq!(fs::read_to_string(here.join("0.toml")).unwrap(), recipe);
}

/// Every call and wait in a folder, numbered in its order; what is not known yet is a placeholder.
#[test]
fn register_writes_all_calls_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let path = fixture("publishers/describe-images.json");
    let options = "--image-id ami-0123456789abcdef0 --keep-permissions -o a.toml";
    run_well(here, &format!("import {} {options}", path.display()));
    let line = "register a.toml --image-id ami-1 --region eu-central-1 --copy-to us-east-1 \
                --copy-to us-west-2 --delete-snapshots -o calls";
    let output = run(here, line);
    assert_eq!(output.status.code(), Some(0));
    let told = stderr(&output);
    assert!(told.contains("${image:2}") && !told.contains("${image:0}"), "{told}");
    let names = crate::common::names(&here.join("calls"));
    assert_eq!(
        names,
        [
            "01-wait-snapshot-completed.eu-central-1.json",
            "02-register-image.eu-central-1.json",
            "03-wait-image-available.eu-central-1.json",
            "04-modify-image-attribute.eu-central-1.json",
            "05-enable-image-deprecation.eu-central-1.json",
            "06-copy-image.us-east-1.json",
            "07-copy-image.us-west-2.json",
            "08-wait-image-available.us-east-1.json",
            "09-modify-image-attribute.us-east-1.json",
            "10-enable-image-deprecation.us-east-1.json",
            "11-wait-image-available.us-west-2.json",
            "12-modify-image-attribute.us-west-2.json",
            "13-enable-image-deprecation.us-west-2.json",
            "undo",
        ]
    );
    let call = |name: &str| json(&fs::read_to_string(here.join("calls").join(name)).unwrap());
    let share = call("04-modify-image-attribute.eu-central-1.json");
    assert_eq!(share["LaunchPermission"]["Add"][0]["Group"], "all");
    assert_eq!(call("06-copy-image.us-east-1.json")["SourceRegion"], "eu-central-1");
    let undo = call("undo/deregister-image.eu-central-1.json");
    assert_eq!(undo["DeleteAssociatedSnapshots"], true);
    assert_eq!(call("undo/deregister-image.us-west-2.json")["ImageId"], "${image:2}");
    let one = run_well(here, "register a.toml --image-id ami-1 --call enable-image-deprecation");
    assert_eq!(json(&one), call("05-enable-image-deprecation.eu-central-1.json"));
    // The folder is there now, and stays.
    run_badly(here, line, 2);
    run_badly(here, "register a.toml --call copy-image", 2);
    run_badly(here, "register a.toml --copy-to us-east-1", 2);
    run_badly(here, "register a.toml --image-id ami-1 --copy-to us-east-1", 2);
}

/// A draft can be read before anything was uploaded, and says what is to be filled in.
#[test]
fn register_prints_drafts_with_placeholders() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    small_image(here, "root.raw");
    run_well(here, "pack root.raw -o web.ami");
    let output = run(here, "register web.ami");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let draft = json(&String::from_utf8(output.stdout.clone()).unwrap());
    assert_eq!(draft["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"], "${snapshot:/dev/xvda}");
    let told = stderr(&output);
    assert!(told.contains("put the id of the snapshot of /dev/xvda in the place of"), "{told}");
    let whole = run(here, "register web.ami --snapshot snap-0a");
    assert!(stderr(&whole).is_empty(), "{}", stderr(&whole));
    run_well(here, "register web.ami -o calls");
    assert!(here.join("calls/undo/deregister-image.json").is_file());
}

/// Takes away the tag by which `unpublish` knows what a plan made.
fn unmarked(value: &mut Value) {
    match value {
        Value::Array(all) => {
            all.iter_mut().for_each(unmarked);
            all.retain(|it| it["Key"] != "amikit:bundle" && it["Tags"] != Value::Array(Vec::new()));
        }
        Value::Object(members) => {
            members.values_mut().for_each(unmarked);
            members
                .retain(|name, it| name != "TagSpecifications" || *it != Value::Array(Vec::new()));
        }
        _ => {}
    }
}

/// A plan and the documents of `register` are two forms of the same calls; only a plan marks what it makes.
#[test]
fn register_and_plan_make_the_same_calls() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    small_image(here, "root.raw");
    let recipe = "version = 1\n[ami]\nname = \"web\"\narchitecture = \"x86_64\"\n\
        virtualization-type = \"hvm\"\nroot-device-name = \"/dev/xvda\"\nena-support = true\n\
        launch-permissions = [\"123456789012\"]\ndeprecate-at = \"2028-01-31T12:00:00Z\"\n\
        deregistration-protection = \"enabled\"\n[ami.tags]\nTeam = \"web\"\n\
        [[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"root.raw\"\nvolume-type = \"gp3\"\n\
        volume-size = 1\n\
        [upload]\nregion = \"eu-central-1\"\ncreate-volume-permissions = [\"123456789012\"]\n\
        [[distribute]]\nregions = [\"us-east-1\", \"us-west-2\"]\n[distribute.tags]\nWhere = \"us\"\n";
    fs::write(here.join("ami.toml"), recipe).unwrap();
    run_well(here, "build ami.toml -o web.ami");
    let plan = fs::read_to_string(here.join("web.plan.jsonl")).unwrap();
    let later = |step: &Value| step["Parameters"].is_object() && step.get("Device").is_none();
    assert!(plan.contains("amikit:bundle"), "{plan}");
    let planned: Vec<Value> = plan
        .lines()
        .map(json)
        .filter(later)
        .map(|mut step| {
            unmarked(&mut step);
            serde_json::json!([step["Region"], step["Parameters"]])
        })
        .collect();
    let report = json(&run_well(here, "register ami.toml --json"));
    let documents: Vec<Value> = report["documents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it.get("undoes").is_none())
        .map(|it| serde_json::json!([it["region"], it["parameters"]]))
        .collect();
    assert!(documents.len() > 10);
    assert_eq!(documents, planned);
}

/// `docs/lint.md` is the table of rules; `BLESS=1` writes it.
#[test]
fn the_document_of_rules_is_the_table() {
    let mut text = format!(
        "# Rules\n\n\
         What EC2 refuses, what does not boot, what must not be shared, and what is most likely not meant, known\n\
         before an upload. `amikit lint` applies them to a recipe, a bundle, an image, a call of `RegisterImage`\n\
         or an answer of `DescribeImages`, and exits with 1 if an error is found; warnings do not change that.\n\
         `pack` and `build` apply those of level error before a byte is packed, `register` and `plan` before they\n\
         print a call. `--allow ID` silences one by name, in a recipe `[lint] allow`; `[[lint.waive]]` accepts a\n\
         broken rule for a reason and until a day. `--as sarif` is for CI systems.\n\n\
         A rule says by what it is known. *Refused*: a recorded answer refuses it, of EC2, of VM Import, of the\n\
         firmware that machines start with or of the plan, or the service's own model does. *Documented*: a\n\
         guide says so. *Observed*: what comes of it was seen. An error needs the first.\n\n\
         An answer of `DescribeImages` is not a call: EC2 refused nothing of it, so only warnings about how the\n\
         AMI runs apply to it. Rules about the inside of a volume need its content, those about deprecation\n\
         the clock; where a fact is missing a rule finds nothing, and of an image that comes through a pipe\n\
         `pack` knows no content. Limits of volume types are those of {LIMITS_AS_OF}. This file is printed\n\
         from the table in `src/lint/rules.rs`; each rule there has a test that trips it and one that just\n\
         does not.\n\n\
         Rules whose names begin with `guest-` look at files of the guest, without root, a mount or a start.\n\
         `lint` and `build` apply them wherever there is content, `pack` with `--check inside`. How bad a broken\n\
         one is depends on whom the AMI is for: `--for private` (the default), `shared` or `marketplace`, in a\n\
         recipe `[lint] for`. What cannot be read (a file system that is not known, a damaged file, an initramfs\n\
         in an unknown compression) breaks no rule. Of a secret the file and the line are shown, never the secret.\n\
         At most 1 MiB of a file is searched for secrets, in what no package owns: /etc, homes, /opt, /srv,\n\
         /usr/local, /var/lib, /var/www, temporary folders, what else is at the top, and file systems without a system.\n\n\
         | id | level | evidence | rule | from |\n|---|---|---|---|---|\n"
    );
    for rule in RULES {
        let mut level = rule.level.name().to_owned();
        for audience in [Audience::Shared, Audience::Marketplace] {
            if rule.level_for(audience) != rule.level {
                write!(level, ", {} {}", audience.name(), rule.level_for(audience).name()).unwrap();
            }
        }
        let (id, evidence) = (rule.id, rule.evidence.name());
        writeln!(text, "| `{id}` | {level} | {evidence} | {} | {} |", rule.text, rule.source)
            .unwrap();
    }
    text.push_str(
        "\n## Fixes\n\n\
         Arguments of `virt-customize -a IMAGE`, which works on images without starting them, or steps in\n\
         words. In a recipe for another tool the commands inside are the same.\n\n| id | fix |\n|---|---|\n",
    );
    for rule in RULES.iter().filter(|rule| !rule.fix.is_empty()) {
        writeln!(text, "| `{}` | `{}` |", rule.id, rule.fix).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "meant? BLESS=1");
}

#[test]
fn lint_lists_every_rule() {
    let folder = tempfile::tempdir().unwrap();
    let list = run_well(folder.path(), "lint --list");
    let rules = json(&run_well(folder.path(), "lint --list --json"));
    assert_eq!(rules["rules"].as_array().unwrap().len(), RULES.len());
    for rule in RULES {
        assert!(list.contains(&format!("{} [{}", rule.id, rule.level.name())), "{}", rule.id);
    }
}

/// Mappings that EC2 refuses, each with what to write instead.
#[test]
fn refused_mappings_are_told_with_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let cases = [
        (r#"{"DeviceName":"/dev/sdf","Ebs":{"VolumeType":"gp3"}}"#, "ebs-source", "a size in GiB"),
        (
            r#"{"DeviceName":"xvda","Ebs":{"VolumeSize":1,"VolumeType":"gp3"}}"#,
            "device-twice",
            "/dev/sdf is free",
        ),
        (r#"{"DeviceName":"xvdal","VirtualName":"ephemeral0"}"#, "", ""),
        (r#"{"DeviceName":"xvdal2","VirtualName":"ephemeral0"}"#, "device-digits-hvm", "/dev/sdf"),
        (r#"{"Ebs":{"VolumeSize":1,"VolumeType":"gp3"}}"#, "device-missing", "/dev/sdf"),
        (
            r#"{"DeviceName":"sdf","Ebs":{"VolumeSize":1,"VolumeType":"gp2","Iops":0}}"#,
            "iops-unsupported",
            "not even 0",
        ),
        (
            r#"{"DeviceName":"sdf","Ebs":{"VolumeSize":1,"VolumeType":"gp2","Throughput":125}}"#,
            "throughput-unsupported",
            "gp3",
        ),
        (
            r#"{"DeviceName":"sdf","Ebs":{"SnapshotId":"snap-1","VolumeType":"gp3","Encrypted":false}}"#,
            "encrypted-snapshot",
            "no Encrypted",
        ),
        (
            r#"{"DeviceName":"sdf","Ebs":{"VolumeSize":1,"VolumeType":"gp3","KmsKeyId":"k"}}"#,
            "kms-key",
            "no KmsKeyId",
        ),
    ];
    for (entry, rule, instead) in cases {
        let call = format!(
            r#"{{"Name":"web","Architecture":"x86_64","VirtualizationType":"hvm","EnaSupport":true,
            "RootDeviceName":"/dev/xvda","BlockDeviceMappings":[{{"DeviceName":"/dev/xvda",
            "Ebs":{{"SnapshotId":"snap-0a","VolumeType":"gp3"}}}},{entry}]}}"#
        );
        fs::write(here.join("call.json"), call).unwrap();
        let output = run(here, "lint call.json");
        let text = String::from_utf8(output.stdout).unwrap();
        let expected = i32::from(!rule.is_empty());
        assert_eq!(output.status.code(), Some(expected), "{entry}: {text}");
        let told =
            rule.is_empty() || text.contains(&format!("error [{rule}]")) && text.contains(instead);
        assert!(told, "{entry}: {text}");
        if !rule.is_empty() {
            run_well(here, &format!("lint call.json --allow {rule}"));
        }
    }
    run_badly(here, "lint call.json --allow nonsense", 2);
}

#[test]
fn what_lint_cannot_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("a.toml"), "version = 1\n[ami]\nname = \"web\"\narch = \"x\"\n").unwrap();
    fs::write(here.join("a.json"), "{\"Name\":\"web\",\"Nonsense\":1}").unwrap();
    fs::write(here.join("b.json"), "not json").unwrap();
    fs::write(here.join("c.json"), "{\"Images\":[{}]}").unwrap();
    fs::write(here.join("d.json"), "{\"BlockDeviceMappings\":3}").unwrap();
    fs::write(here.join("deep.json"), "[".repeat(100_000)).unwrap();
    let large = fs::File::create(here.join("large.json")).unwrap();
    large.set_len(1 << 40).unwrap();
    let told = run_badly(here, "lint a.toml", 2);
    assert!(told.contains("a.toml: line 4, column 1: unknown field `arch`"), "{told}");
    for (name, part) in [("a.json", "Nonsense"), ("d.json", "expected a list")] {
        let output = run(here, &format!("lint {name}"));
        let told = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.code() == Some(1) && told.contains(part), "{name}: {told}");
    }
    assert!(run_badly(here, "lint b.json", 4).contains("neither JSON nor a recipe"));
    run_well(here, "lint c.json");
    run_badly(here, "lint deep.json", 4);
    run_badly(here, "lint large.json", 6);
    run_badly(here, "lint missing.json", 3);
    run_badly(here, "lint", 2);
}

/// `pack` takes a whole description, and refuses what EC2 would refuse before anything is written.
#[test]
fn pack_takes_a_description_and_holds_it_against_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    small_image(here, "root.raw");
    let call = r#"{"Name":"from a file","Architecture":"arm64","VirtualizationType":"hvm",
        "BootMode":"uefi","EnaSupport":true,"RootDeviceName":"/dev/xvda","BlockDeviceMappings":[
        {"DeviceName":"/dev/xvda","Ebs":{"SnapshotId":"snap-0a","VolumeSize":7,"VolumeType":"gp3"}},
        {"DeviceName":"/dev/sdf","Ebs":{"VolumeSize":5,"VolumeType":"gp3","Encrypted":true}},
        {"DeviceName":"/dev/sdb","VirtualName":"ephemeral0"},{"DeviceName":"/dev/sdc","NoDevice":""}]}"#;
    fs::write(here.join("ami.json"), call).unwrap();
    run_well(
        here,
        "pack root.raw -o web.ami --ami ami.json --tag Team=web --imds-support v2.0 --allow boot-uefi",
    );
    let ami = json(&run_well(here, "inspect web.ami --json"))["ami"].clone();
    assert_eq!((&ami["Name"], &ami["Tags"][0]["Value"]), (&"from a file".into(), &"web".into()));
    let devices: Vec<&str> = ami["BlockDeviceMappings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["DeviceName"].as_str().unwrap())
        .collect();
    assert_eq!(devices, ["/dev/sdb", "/dev/sdc", "/dev/sdf", "/dev/xvda"]);
    let root = &ami["BlockDeviceMappings"][3]["Ebs"];
    assert_eq!((&root["VolumeSize"], root.get("SnapshotId")), (&7.into(), None));
    assert!(root["SnapshotDigest"].as_str().unwrap().starts_with("sha256:"));
    run_well(here, "verify web.ami --against root.raw");
    run_well(here, "unpack web.ami -o back.raw");
    run_well(here, "compare root.raw back.raw --states");
    let call = json(&run_well(here, "register web.ami --snapshot snap-0b --allow boot-uefi"));
    assert_eq!(call["BlockDeviceMappings"][3]["Ebs"]["SnapshotId"], "snap-0b");
    assert_eq!(call["BlockDeviceMappings"][2]["Ebs"]["Encrypted"], true);
    // The next bundle takes the description of this one.
    run_well(here, "pack root.raw -o next.ami --ami web.ami --name next --allow boot-uefi");
    assert_eq!(json(&run_well(here, "inspect next.ami --json"))["ami"]["Name"], "next");

    for (line, rule) in [
        ("--tpm-support v2.0", "tpm-boot-mode"),
        ("--boot-mode legacy-bios", "boot-bios"),
        ("--tag aws:x=1", "tag-key"),
    ] {
        let told = run_badly(here, &format!("pack root.raw -o bad.ami {line}"), 2);
        assert!(told.contains(&format!("[{rule}]")), "{line}: {told}");
        assert!(!here.join("bad.ami").exists());
        run_well(here, &format!("pack root.raw -o bad.ami {line} --allow {rule}"));
        fs::remove_dir_all(here.join("bad.ami")).unwrap();
    }
    let other =
        run_badly(here, "pack root.raw -o bad.ami --ami ami.json --root-device /dev/sda1", 2);
    assert!(other.contains("/dev/xvda has content"), "{other}");
    run_badly(here, "pack root.raw -o bad.ami --allow nonsense", 2);
}

/// A reader that goes away is not a failure.
#[test]
fn lint_and_plan_end_well_when_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    small_image(here, "root.raw");
    run_well(here, "pack root.raw -o web.ami");
    for line in ["lint --list", "plan web.ami --json", "schema"] {
        let mut command = crate::common::amikit();
        command.current_dir(here).args(line.split_whitespace());
        let mut child = command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    }
}
