//! What commands print with `--json`: each output names its schema and follows it.

pub(crate) mod check;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::common::fixture;
use crate::common::run;
use crate::common::run_well;
use crate::common::stderr;

/// Where the schemas stand.
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas")
}

pub(crate) fn schema(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(format!("{name}.v1.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Returns the names of all schemas of outputs.
fn all() -> BTreeSet<String> {
    let files = fs::read_dir(folder()).unwrap();
    let name = |file: fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        name.strip_suffix(".v1.json").expect("a schema has a version").to_owned()
    };
    files.map(|file| name(file.unwrap())).collect()
}

/// Returns a FAT12 of 1 MiB with one file.
fn small_fat() -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    bytes[..3].copy_from_slice(b"\xeb\x3c\x90");
    bytes[11..25].copy_from_slice(&[0, 2, 1, 1, 0, 1, 16, 0, 0, 8, 0xf8, 6, 0, 0]);
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    bytes[512..517].copy_from_slice(b"\xf8\xff\xff\xff\x0f");
    let entry = &mut bytes[7 * 512..][..32];
    entry[..12].copy_from_slice(b"README  TXT\x20");
    (entry[26], entry[28]) = (2, 5);
    bytes[8 * 512..][..5].copy_from_slice(b"hello");
    bytes
}

/// Makes what the lines below are about.
fn scene(here: &Path) {
    let mut bytes = vec![0; 3 << 20];
    bytes[..700_000].fill(1);
    fs::write(here.join("old.raw"), &bytes).unwrap();
    bytes[2 << 20..].fill(2);
    fs::write(here.join("new.raw"), &bytes).unwrap();
    bytes[..100].fill(3);
    fs::write(here.join("newer.raw"), &bytes).unwrap();
    let mut esp = small_fat();
    fs::write(here.join("esp.raw"), &esp).unwrap();
    esp[8 * 512] = b'j';
    fs::write(here.join("esp2.raw"), &esp).unwrap();
    fs::write(here.join("garbage.qcow2"), b"QFI\xfb and then nothing").unwrap();
    for name in ["test-user.key", "test-user.crt", "test-ec2.key", "test-ec2.crt"] {
        fs::copy(fixture("instance-store").join(name), here.join(name)).unwrap();
        fs::set_permissions(here.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    for name in ["test-signer", "signers"] {
        fs::copy(fixture("signature").join(name), here.join(name)).unwrap();
        fs::set_permissions(here.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::copy(fixture("publishers/describe-images.json"), here.join("images.json")).unwrap();
    let recipe = format!(
        "version = 1\n[ami]\nname = \"web\"\narchitecture = \"x86_64\"\nboot-mode = \"uefi\"\n\
         virtualization-type = \"hvm\"\nroot-device-name = \"/dev/xvda\"\nena-support = true\n\
         launch-permissions = [\"123456789012\"]\n[ami.tags]\nTeam = \"web\"\n\
         [[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"{}\"\nvolume-type = \"gp3\"\n\
         [lint]\nallow = [\"boot-program\"]\n[[test]]\nkind = \"verify\"\n\
         [[test]]\nkind = \"lint\"\n[[test]]\nkind = \"command\"\ncommand = [\"true\"]\n\
         [upload]\nregion = \"eu-central-1\"\n[[distribute]]\nregions = [\"us-east-1\"]\n",
        fixture("images/disk.simg").display()
    );
    fs::write(here.join("ami.toml"), recipe).unwrap();
    fs::create_dir(here.join("pages")).unwrap();
}

/// A schema, a command line, and its exit code; they are run in this order.
const LINES: &[(&str, &str, i32)] = &[
    ("pack", "pack old.raw -o old.ami --name old", 0),
    ("pack", "pack new.raw --base old.ami --thin -o thin.ami --name new", 0),
    ("pack", "pack new.raw -o new.ami --name new", 0),
    ("pack", "pack newer.raw --base new.ami --thin -o thin2.ami --name newer", 0),
    ("complete", "complete thin.ami --base old.ami -o whole.ami", 0),
    ("merge", "merge thin.ami thin2.ami --base old.ami -o both.ami", 0),
    ("rebase", "rebase thin.ami --base old.ami --onto old.ami -o rebased.ami", 0),
    ("apply", "apply thin.ami --to old.raw -o applied.raw", 0),
    ("verify", "verify old.ami", 0),
    ("verify", "verify thin.ami", 0),
    ("verify", "verify old.ami --against new.raw", 1),
    ("sign", "sign old.ami --key test-signer --counter 1", 0),
    ("verify", "verify old.ami --signers signers", 0),
    ("inspect", "inspect old.ami", 0),
    ("inspect", "inspect thin.ami", 0),
    ("inspect", "inspect old.raw", 0),
    ("inspect", "inspect old.raw --read", 0),
    ("inspect", "inspect old.ami:/dev/xvda", 0),
    ("snapshot", "snapshot old.raw -o old.snap", 0),
    ("inspect", "inspect old.snap", 0),
    ("part", "snapshot old.raw --blocks 0..1 -o old.part", 0),
    ("inspect", "inspect old.part", 0),
    ("convert", "convert old.raw old.qcow2 --format qcow2", 0),
    ("convert", "convert old.raw old.zst --format raw-zstd", 0),
    ("inspect", "inspect old.zst", 0),
    ("unpack", "unpack old.ami -o unpacked.raw", 0),
    ("compare", "compare old.raw unpacked.raw", 0),
    ("compare", "compare old.raw new.raw", 1),
    ("diff", "diff old.raw new.raw", 1),
    ("inspect", "inspect esp.raw --read", 0),
    ("ls", "ls esp.raw -R --digests", 0),
    ("diff-files", "diff esp.raw esp2.raw --files", 1),
    ("churn", "churn esp.raw esp2.raw", 1),
    ("churn", "churn old.raw new.raw", 1),
    ("lint", "lint esp.raw --for shared", 0),
    ("report", "report old.ami -o old.html", 0),
    ("report", "report esp.raw esp2.raw -o esp.html --boot-log ami.toml", 0),
    ("packages", "packages esp.raw", 0),
    ("map", "map old.raw", 0),
    ("map", "map old.qcow2", 0),
    ("map", "map old.ami", 0),
    ("build", "build ami.toml -o built.ami --report built.html", 0),
    ("lint", "lint ami.toml", 0),
    ("lint", "lint images.json", 0),
    ("rules", "lint --list", 0),
    ("init", "init other.toml", 0),
    ("import", "import images.json --image-id ami-0123456789abcdef0 -o imported.toml", 0),
    ("plan", "plan built.ami --recipe ami.toml", 0),
    ("plan-totals", "plan built.ami --recipe ami.toml -o plan.jsonl", 0),
    ("register", "register built.ami --snapshot snap-0123456789abcdef0", 0),
    ("register-files", "register ami.toml -o calls", 0),
    ("man", "man pages", 0),
    ("doctor", "doctor", 0),
    ("bench", "bench --size 1MiB --rounds 1", 0),
    (
        "instance-store-bundle",
        "instance-store bundle old.raw -o store --key test-user.key --cert test-user.crt \
         --ec2-cert test-ec2.crt --user 123456789012 --arch x86_64 --name old",
        0,
    ),
    ("instance-store-inspect", "instance-store inspect store/old.manifest.xml", 0),
    ("inspect", "inspect store/old.manifest.xml", 0),
    ("instance-store-verify", "instance-store verify store/old.manifest.xml", 0),
    (
        "instance-store-verify",
        "instance-store verify store/old.manifest.xml --key test-user.key --cert test-user.crt",
        0,
    ),
    (
        "instance-store-unbundle",
        "instance-store unbundle store/old.manifest.xml -o unbundled.raw --key test-user.key",
        0,
    ),
    (
        "pack",
        "convert store/old.manifest.xml converted.ami --format bundle --key test-user.key \
         --cert test-user.crt",
        0,
    ),
    ("store-init", "store init images", 0),
    ("store-add", "store add images old.ami", 0),
    ("store-add", "store add images@esp esp.raw", 0),
    ("pack", "pack new.raw -o images@new --name new", 0),
    ("store-list", "store list images", 0),
    ("store-show", "store show images@new", 0),
    ("store-show", "store show images@esp", 0),
    ("store-copy", "store copy images@new copied.ami", 0),
    ("store-verify", "store verify images", 0),
    ("store-remove", "store remove images@new", 0),
    ("store-gc", "store gc images", 0),
    ("export", "export images old.ami -o tables --inside", 0),
    ("export", "export -o tables --compact", 0),
    ("fleet", "fleet images old.ami --delete esp --price-ebs 0.05 --price-store 0.02", 0),
    ("fleet", "fleet images", 0),
    ("fleet", "fleet images --holds package:none --ask shared", 0),
    ("part", "snapshot old.raw --blocks 0..2 -o 0.part", 0),
    ("part", "snapshot old.raw --blocks 2.. -o 1.part", 0),
    ("join", "join 1.part 0.part -o joined.snap", 0),
    ("part", "pack old.raw --blocks 0.. --region 512MiB -o part.ami", 0),
    ("join", "join part.ami -o joined.ami", 0),
    ("error", "inspect missing.raw", 3),
    ("error", "inspect garbage.qcow2", 4),
    ("error", "verify old.raw", 4),
    ("error", "pack --level high", 2),
    ("error", "unpack thin.ami -o never.raw", 2),
    ("note", "unpack old.ami -o deep.raw", 0),
];

/// Outputs of which each line is a document.
const BY_LINES: [&str; 4] = ["diff", "diff-files", "ls", "plan"];

#[test]
fn each_output_follows_its_schema() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    scene(here);
    // What a run that was killed left, too deep to be removed.
    fs::create_dir_all(here.join(".deep.raw.0.amikit-part").join("a/".repeat(70))).unwrap();
    let mut left = all();
    // A server's lines are held to it where one is started.
    left.remove("serve-nbd");
    left.remove("serve-aws");
    // A registry's are held to it where one is installed, and there is a network.
    left.remove("push");
    left.remove("pull");
    // What asks AWS is held to it where that is served, and what a service does not do where one refuses.
    for name in ["fetch", "publish", "retry", "unpublish"] {
        left.remove(name);
    }
    // A machine is held to it where one can be started.
    left.remove("boot");
    for &(name, line, code) in LINES {
        let output = run(here, &format!("{line} --json"));
        assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
        let text = if matches!(name, "error" | "note") { output.stderr } else { output.stdout };
        let text = String::from_utf8(text).unwrap();
        let schema = schema(name);
        let documents: Vec<&str> =
            if BY_LINES.contains(&name) { text.lines().collect() } else { vec![&text] };
        assert!(!documents.is_empty(), "{line}: nothing is printed");
        for document in documents {
            let parsed =
                serde_json::from_str(document).unwrap_or_else(|e| panic!("{line}: {e}: {text}"));
            let faults = check::faults(&schema, &parsed);
            assert!(faults.is_empty(), "{line}: {faults:#?}\n{document}");
        }
        left.remove(name);
    }
    assert!(left.is_empty(), "no output was held to {left:?}");
}

#[test]
fn each_schema_is_printed_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    for name in all() {
        let printed = run_well(folder.path(), &format!("schema {name}"));
        let schema = schema(&name);
        assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), schema, "{name}");
        assert_eq!(schema["title"], format!("amikit.{name}.v1"));
        assert!(schema["description"].is_string(), "{name}");
    }
    let recipe: Value = serde_json::from_str(&run_well(folder.path(), "schema")).unwrap();
    assert_eq!(
        recipe,
        serde_json::from_str::<Value>(&run_well(folder.path(), "schema recipe")).unwrap()
    );
}

/// A new output cannot be forgotten: what sources name is what there is.
#[test]
fn every_output_has_a_schema() {
    let mut named = BTreeSet::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let text: String = text.split_whitespace().collect();
        for (before, after) in [(".report(\"", "\""), ("\"amikit.", ".v1\"")] {
            for rest in text.split(before).skip(1) {
                let name = rest.split(after).next().unwrap();
                named.insert(name.to_owned());
            }
        }
    }
    named.retain(|name| !name.contains('{'));
    // These have the shape of another program, and one that a document of its own describes.
    named.extend(["map".to_owned(), "plan".to_owned()]);
    assert_eq!(named, all());
}
