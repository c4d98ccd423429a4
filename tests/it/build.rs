//! `build`: the whole way from a recipe to a bundle with a plan, and where it stops.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::common::amikit;
use crate::common::fixture;
use crate::common::installed;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;
use crate::common::tree;

/// A recipe of the fixture disk, with tests of its own behind.
fn write_recipe(folder: &Path, tests: &str) {
    let text = format!(
        "version = 1\n[ami]\nname = \"web-{{arch}}\"\narchitecture = \"x86_64\"\n\
         virtualization-type = \"hvm\"\nboot-mode = \"uefi\"\nroot-device-name = \"/dev/xvda\"\n\
         ena-support = true\n\
         [[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"{}\"\nvolume-type = \"gp3\"\n\
         [[volume]]\ndevice-name = \"/dev/sdf\"\nvolume-size = 5\nvolume-type = \"gp3\"\n{tests}",
        fixture("images/disk.simg").display()
    );
    fs::write(folder.join("ami.toml"), text).unwrap();
}

fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_recipe_becomes_a_bundle_that_is_tested_and_planned() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    script(
        here,
        "check",
        "test \"$AMIKIT_IMAGE\" = \"$AMIKIT_IMAGE_XVDA\" && test -e \"$AMIKIT_BUNDLE\" &&\n\
         test \"$(stat -c %s \"$AMIKIT_IMAGE\")\" = 268435456 && pwd > where && echo \"$1\" >> where",
    );
    write_recipe(
        here,
        "[[test]]\nkind = \"verify\"\n[[test]]\nkind = \"lint\"\n[[test]]\nkind = \"boot\"\n\
         [[test]]\nkind = \"command\"\ncommand = [\"./check\", \"a b\"]\n\
         [upload]\nregion = \"eu-central-1\"\n\
         [[distribute]]\nregions = [\"us-east-1\"]\naccounts = [\"123456789012\"]\n",
    );
    let report: Value =
        serde_json::from_str(&run_well(here, "build ami.toml -o web.ami --json")).unwrap();
    assert_eq!(report["passed"], true);
    let kinds: Vec<&str> =
        report["tests"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["verify", "lint", "boot", "command"]);
    assert_eq!(names(here), ["ami.toml", "check", "web.ami", "web.plan.jsonl", "where"]);
    let expected = format!("{}\na b\n", here.canonicalize().unwrap().display());
    assert_eq!(fs::read_to_string(here.join("where")).unwrap(), expected);
    run_well(here, "verify web.ami");
    // The plan is the one that the bundle and the recipe give afterwards.
    let plan = run_well(here, "plan web.ami --recipe ami.toml --json");
    assert_eq!(fs::read_to_string(here.join("web.plan.jsonl")).unwrap(), plan);
    assert!(plan.contains("\"CopyImage\"") && plan.contains("123456789012"));

    // Same input, same bytes, at any number of threads, also over what is there.
    let first = tree(&here.join("web.ami"));
    run_well(here, "build ami.toml -o web.ami --threads 1");
    assert_eq!(tree(&here.join("web.ami")), first);
    run_well(here, "build ami.toml -o web.ami.tar");
    run_well(here, "verify web.ami.tar");
}

/// A test that fails leaves what was there, and nothing new.
#[test]
fn a_failed_test_leaves_no_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    script(here, "fails", "echo this is why; exit 3");
    write_recipe(
        here,
        "[[test]]\nkind = \"command\"\ncommand = [\"./fails\"]\n[[test]]\nkind = \"verify\"\n",
    );
    let output = run(here, "build ami.toml -o web.ami");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("| this is why") && text.contains("exit status: 3"), "{text}");
    assert!(!text.contains("test verify"), "{text}");
    assert_eq!(names(here), ["ami.toml", "fails"]);

    write_recipe(here, "[[test]]\nkind = \"lint\"\ndeny-warnings = true\n");
    let output = run(here, "build ami.toml -o web.ami");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("boot-program"), "{text}");
    write_recipe(
        here,
        "[[test]]\nkind = \"lint\"\ndeny-warnings = true\nallow = [\"boot-program\"]\n",
    );
    run_well(here, "build ami.toml -o web.ami");
    let before = tree(&here.join("web.ami"));
    write_recipe(here, "[[test]]\nkind = \"command\"\ncommand = [\"false\"]\n");
    assert_eq!(run(here, "build ami.toml -o web.ami").status.code(), Some(1));
    assert_eq!(tree(&here.join("web.ami")), before);
}

/// A program that does not end is stopped, with what it started.
#[test]
fn a_test_that_hangs_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    script(here, "hangs", "sleep 300 & echo $! > child; wait");
    write_recipe(
        here,
        "[[test]]\nkind = \"command\"\ncommand = [\"./hangs\"]\ntimeout-seconds = 1\n",
    );
    let start = Instant::now();
    let output = run(here, "build ami.toml -o web.ami");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(String::from_utf8(output.stdout).unwrap().contains("did not end in 1 seconds"));
    assert!(start.elapsed() < Duration::from_secs(100));
    let child = fs::read_to_string(here.join("child")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

/// What a test does to the bundle is found before the bundle gets its name (case B-9).
#[test]
fn b9_a_test_that_changes_the_bundle_publishes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_recipe(here, "[[test]]\nkind = \"command\"\ncommand = [\"./touches\"]\n");
    let pack = "$(ls -S \"$AMIKIT_BUNDLE\"/blobs/sha256/* | head -1)";
    for (name, what) in [
        ("web.ami", format!("printf XXXX | dd of={pack} bs=1 seek=40 conv=notrunc 2>&1")),
        (
            "web.ami",
            format!("f={pack}; touch -r $f t; printf XX >>$f; truncate -s -2 $f; touch -r t $f"),
        ),
        ("web.ami", "echo mine > \"$AMIKIT_BUNDLE/thesis\"".to_owned()),
        (
            "web.ami",
            "rm -r \"$AMIKIT_BUNDLE\"; cp -r /etc/alternatives \"$AMIKIT_BUNDLE\"".to_owned(),
        ),
        ("web.tar", "printf X >> \"$AMIKIT_BUNDLE\"".to_owned()),
        (
            "web.tar",
            "printf X | dd of=\"$AMIKIT_BUNDLE\" bs=1 seek=9000 conv=notrunc 2>&1".to_owned(),
        ),
    ] {
        script(here, "touches", &what);
        let output = run(here, &format!("build ami.toml -o {name}"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{what}: {text} {}", stderr(&output));
        assert!(text.contains("a test changed the bundle"), "{what}: {text}");
        assert!(!text.contains("amikit-part"), "{what}: {text}");
        let _ = fs::remove_file(here.join("t"));
        assert_eq!(names(here), ["ami.toml", "touches"], "{what}");
    }
}

/// Whatever the output is called, it is not what a test gets (case B-9).
#[test]
fn b9_no_name_of_an_output_collides() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    script(here, "looks", "test -d \"$AMIKIT_BUNDLE\" && test -f \"$AMIKIT_IMAGE_XVDA\"");
    write_recipe(here, "[[test]]\nkind = \"command\"\ncommand = [\"./looks\"]\n");
    for name in ["xvda.raw", "test-output", "output", "made", "beside", "new"] {
        run_well(here, &format!("build ami.toml -o {name}"));
        run_well(here, &format!("verify {name}"));
    }
}

/// A test that ends leaves no process behind that writes to the bundle later (case B-9).
#[test]
fn b9_what_a_test_started_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    script(here, "leaves", "sleep 300 & echo $! > child");
    write_recipe(here, "[[test]]\nkind = \"command\"\ncommand = [\"./leaves\"]\n");
    run_well(here, "build ami.toml -o web.ami");
    let child = fs::read_to_string(here.join("child")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let state = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

/// A bundle and its plan are both the old ones or both the new ones; a kill between them leaves a plan that names
/// another digest than the bundle's (case B-8).
#[test]
fn b8_a_bundle_and_its_plan_belong_together() {
    let folder = quick_folder();
    let here = folder.path();
    if !installed("strace") {
        return;
    }
    fs::write(here.join("small.raw"), vec![5; 700_000]).unwrap();
    let recipe = "version = 1\n[ami]\nname = \"NAME\"\narchitecture = \"x86_64\"\n\
                  virtualization-type = \"hvm\"\nroot-device-name = \"/dev/xvda\"\nena-support = true\n\
                  [[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"small.raw\"\nvolume-type = \"gp3\"\n";
    let made = |name: &str| {
        fs::write(here.join("ami.toml"), recipe.replace("NAME", name)).unwrap();
        run_well(here, "build ami.toml -o web.ami");
        let plan = fs::read_to_string(here.join("web.plan.jsonl")).unwrap();
        (tree(&here.join("web.ami")), plan)
    };
    let (old, new) = (made("old"), made("new"));
    for (bundle, plan) in [&old, &new] {
        let index: Value = serde_json::from_slice(&bundle[Path::new("index.json")]).unwrap();
        let head: Value = serde_json::from_str(plan.lines().next().unwrap()).unwrap();
        assert_eq!(head["Bundle"], index["manifests"][0]["digest"]);
    }
    let put_old = || {
        for name in names(here).iter().filter(|name| name.contains("web")) {
            let path = here.join(name);
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        for (name, bytes) in &old.0 {
            let path = here.join("web.ami").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        fs::write(here.join("web.plan.jsonl"), &old.1).unwrap();
    };
    let (mut faults, mut apart) = (0, 0);
    for (call, how) in [
        ("renameat", "error=EIO"),
        ("renameat2", "error=EIO"),
        ("fsync", "error=EIO"),
        ("renameat", "signal=KILL"),
        ("renameat2", "signal=KILL"),
    ] {
        for number in 1.. {
            put_old();
            let output = Command::new("strace")
                .args(["-f", "-qq", "-o", "trace", "-e", &format!("trace={call}")])
                .args(["-e", &format!("inject={call}:{how}:when={number}")])
                .arg(env!("CARGO_BIN_EXE_amikit"))
                .args("build ami.toml -o web.ami --threads 1".split(' '))
                .current_dir(here)
                .output()
                .unwrap();
            let said = stderr(&output);
            if said.contains("ptrace") {
                println!("skipped: strace cannot trace here");
                return;
            }
            if output.status.success() {
                break;
            }
            faults += 1;
            let bundle = tree(&here.join("web.ami"));
            let plan = fs::read_to_string(here.join("web.plan.jsonl")).unwrap();
            let context = format!("{call} {how} {number}: {said}");
            assert!(bundle == old.0 || bundle == new.0, "{context}: the bundle is torn");
            assert!(plan == old.1 || plan == new.1, "{context}: the plan is torn");
            // The bundle comes first, and a plan that is behind names another digest.
            assert!(bundle == new.0 || plan == old.1, "{context}: a plan of no bundle");
            let together = (bundle == new.0) == (plan == new.1);
            apart += usize::from(!together);
            assert!(
                together || how.starts_with("signal"),
                "{context}: they do not belong together"
            );
            run_well(here, "build ami.toml -o web.ami");
            assert!(
                names(here).iter().all(|it| !it.starts_with('.')),
                "{context}: {:?}",
                names(here)
            );
        }
    }
    println!("{faults} faults, {apart} of them left the old plan beside the new bundle");
    assert!(faults > 20 && apart > 0);
}

/// Each mistake is reported before a byte is packed.
#[test]
fn build_stops_before_it_packs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let told = |change: &dyn Fn(String) -> String, line: &str| {
        write_recipe(here, "");
        let text = fs::read_to_string(here.join("ami.toml")).unwrap();
        fs::write(here.join("ami.toml"), change(text)).unwrap();
        let text = run_badly(here, &format!("build ami.toml -o web.ami {line}"), 2);
        assert_eq!(names(here), ["ami.toml"], "{text}");
        text
    };
    let with = |from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        told(&move |text| text.replace(&from, &to), "")
    };
    assert!(with("web-{arch}", "web:{arch}").contains("[name]"));
    assert!(with("web-{arch}", "web-{date}").contains("--set date=VALUE"));
    assert!(with("\"uefi\"", "\"legacy-bios\"").contains("[boot-bios]"));
    assert!(with("x86_64\"\nvirt", "arm64\"\nvirt").contains("BOOTAA64.EFI"));
    assert!(with("volume-size = 5", "volume-size = 0").contains("[size-of-type]"));
    assert!(with("/dev/sdf", "xvda").contains("[device-twice]"));
    assert!(with("ena-support", "ena").contains("unknown field"));
    assert!(told(&|text| text, "--allow nonsense").contains("no rule"));
    assert!(told(&|text| text, "--image /dev/sdq=a.raw").contains("/dev/sdq"));
    fs::create_dir(here.join("web.ami")).unwrap();
    fs::write(here.join("web.ami/mine"), "keep me").unwrap();
    write_recipe(here, "");
    run_badly(here, "build ami.toml -o web.ami", 2);
    assert_eq!(fs::read_to_string(here.join("web.ami/mine")).unwrap(), "keep me");
}

/// Templates have the values that the user asks for, and no others.
#[test]
fn templates_are_filled_in_on_request() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_recipe(here, "");
    let text = fs::read_to_string(here.join("ami.toml")).unwrap();
    let text = text.replace("web-{arch}", "web {date} {arch} {channel}");
    fs::write(here.join("ami.toml"), text).unwrap();
    let output = amikit()
        .current_dir(here)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .args(["lint", "ami.toml", "--date", "--set", "channel=beta", "--json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["names"][0], "web 2023-11-14 x86_64 beta");
    run_badly(here, "lint ami.toml --set channel=beta", 2);
    run_badly(here, "lint ami.toml --set channel", 2);
    if !crate::common::installed("git") {
        return;
    }
    let text = fs::read_to_string(here.join("ami.toml")).unwrap();
    fs::write(here.join("ami.toml"), text.replace("{channel}", "{git}")).unwrap();
    run_badly(here, "lint ami.toml --date --git", 2);
    for args in [
        vec!["init", "-q"],
        vec!["add", "ami.toml"],
        vec!["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-qm", "a"],
    ] {
        let done = std::process::Command::new("git").current_dir(here).args(args).status().unwrap();
        assert!(done.success());
    }
    let name = |line: &str| {
        let report: Value = serde_json::from_str(&run_well(here, line)).unwrap();
        report["names"][0].as_str().unwrap().to_owned()
    };
    let clean = name("lint ami.toml --date --git --json");
    let commit = clean.rsplit(' ').next().unwrap();
    assert!(commit.len() >= 12 && commit.bytes().all(|b| b.is_ascii_hexdigit()), "{clean}");
    let text = fs::read_to_string(here.join("ami.toml")).unwrap();
    fs::write(here.join("ami.toml"), text + "\n# changed\n").unwrap();
    assert!(name("lint ami.toml --date --git --json").ends_with("-dirty"));
}

/// The recipe that stands in the examples builds.
#[test]
fn the_example_builds() {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/web/ami.toml");
    let text = run_well(folder.path(), &format!("build {} -o web.ami", example.display()));
    assert!(
        text.contains("test boot passed") && text.contains("web.plan.jsonl: plan of"),
        "{text}"
    );
}

/// The recipe for a Debian image has no fault; the image itself is the user's.
#[test]
fn the_recipe_for_debian_is_sound() {
    let folder = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/debian/ami.toml");
    let line = format!("lint {} --set date=2026-11-24 --json", example.display());
    let report: Value = serde_json::from_str(&run_well(folder.path(), &line)).unwrap();
    assert_eq!((&report["errors"], &report["warnings"]), (&0.into(), &0.into()), "{report}");
    assert!(report["notes"][0].as_str().unwrap().contains("debian.raw does not exist"), "{report}");
}

/// What `init` writes builds too, once its image is there; and it overwrites nothing.
#[test]
fn the_first_recipe_builds() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run_well(here, "init");
    run_badly(here, "init", 2);
    fs::copy(fixture("images/disk.simg"), here.join("root.raw")).unwrap();
    run_well(here, "build ami.toml -o web.ami");
    let schema: Value = serde_json::from_str(&run_well(here, "schema")).unwrap();
    assert_eq!(schema["required"], serde_json::json!(["version", "ami"]));
}
