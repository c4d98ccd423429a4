//! Rules about files of the guest, through the program: an ext4 root in an image, a bundle and a recipe; what is
//! waived, SARIF, and secrets that no output shows.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::installed;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_well;
use crate::common::stderr;

const UUID: &str = "6e6c3f2a-0000-4000-8000-000000000001";

/// What no output may show.
const SECRETS: [&str; 20] = [
    "AKIAQZXWVUTSRPNMLKJ2",
    "ASIAQZXWVUTSRPNMLKJ3",
    "MIIEowIBAAKCAQEAplanted01",
    "b3BlbnNzaC1rZXktplanted02",
    "plantedpassword03",
    "plantedpassword04",
    "plantedregistrytoken05",
    "ghp_plantedplantedplantedplantedplanted06",
    "glpat-plantedplantedplant07",
    "xoxb-plantedplantedplanted08",
    "AIzaplantedplantedplantedplantedplant09",
    "sk_live_plantedplantedplanted10",
    "plantedstoragekeyplantedstoragekeyplantedstor11",
    "plantednpmtoken12",
    "plantedpypipassword13",
    "plantedmysqlpassword14",
    "plantedwireguardkey15",
    "plantedwifi16",
    "$6$salt$plantedhash17",
    "wJalrplantedplantedplantedplantedplante18",
];

/// Makes an image of a small root; `dirty` plants what must not be there.
fn image(here: &Path, name: &str, dirty: bool) {
    let root = here.join(format!("{name}.root"));
    let put = |path: &str, content: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("usr/lib/os-release", "ID=test\n");
    put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n");
    put("etc/shadow", "root:*:1::::::\n");
    put("etc/machine-id", "");
    put("etc/fstab", &format!("UUID={UUID} / ext4 defaults 0 1\n"));
    put("usr/bin/cloud-init", "");
    symlink("../usr/lib/os-release", root.join("etc/os-release")).unwrap();
    if dirty {
        let s = SECRETS;
        put("etc/app.conf", &format!("# keys\nid = {}\n", s[0]));
        put("srv/env", &format!("ID={}\nX={}\nY={}\nZ={}\n", s[1], s[7], s[8], s[9]));
        put("opt/key.pem", &format!("-----BEGIN RSA PRIVATE KEY-----\n{}\n", s[2]));
        put("root/.ssh/id", &format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n", s[3]));
        put("home/ann/.netrc", &format!("machine x login y\npassword {}\n", s[4]));
        put("home/ann/.git-credentials", &format!("https://x:{}@y\n", s[5]));
        put(
            "root/.docker/config.json",
            &format!("{{\"auths\":{{\"x\":{{\"auth\":\"{}\"}}}}}}\n", s[6]),
        );
        put("srv/more", &format!("{}\n{}\nAccountKey={}\n", s[10], s[11], s[12]));
        put("root/.npmrc", &format!("//r/:_authToken={}\n", s[13]));
        put("root/.pypirc", &format!("[pypi]\npassword = {}\n", s[14]));
        put("root/.my.cnf", &format!("[client]\npassword={}\n", s[15]));
        put("etc/wireguard/wg0.conf", &format!("[Interface]\nPrivateKey = {}\n", s[16]));
        put("etc/NetworkManager/system-connections/w", &format!("[wifi]\npsk={}\n", s[17]));
        put("etc/shadow", &format!("root:*:1::::::\nann:{}:1::::::\n", s[18]));
        put("etc/boto.cfg", &format!("aws_secret_access_key = {}\n", s[19]));
        put("etc/ssh/ssh_host_rsa_key", "-----BEGIN OPENSSH PRIVATE KEY-----\n");
        put("root/.bash_history", &format!("export KEY={}\n", s[0]));
    }
    let path = here.join(name);
    fs::File::create(&path).unwrap().set_len(16 << 20).unwrap();
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-U", UUID, "-d"]).arg(&root).arg(&path);
    assert!(mke2fs.status().unwrap().success());
}

fn recipe(image: &str, lint: &str) -> String {
    format!(
        "version = 1\n[ami]\nname = \"web\"\narchitecture = \"x86_64\"\nvirtualization-type = \"hvm\"\n\
         root-device-name = \"/dev/xvda\"\nena-support = true\nimds-support = \"v2.0\"\nboot-mode = \"uefi\"\n\
         [[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"{image}\"\nvolume-type = \"gp3\"\n\
         [lint]\nallow = [\"boot-uefi\"]\n{lint}"
    )
}

fn rules(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|it| it["rule"].as_str().unwrap().to_owned()).collect()
}

/// All that is printed, on both streams, of a command with any exit code.
fn all(here: &Path, line: &str) -> String {
    let output = run(here, line);
    assert!(output.status.code().is_some_and(|code| code < 8), "{line}: {}", stderr(&output));
    format!("{}{}", String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
}

#[test]
fn secrets_are_named_by_file_and_line_and_shown_nowhere() {
    if !installed("mke2fs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    image(here, "dirty.raw", true);
    fs::write(here.join("ami.toml"), recipe("dirty.raw", "")).unwrap();
    let text = all(here, "lint dirty.raw");
    for place in ["/etc/app.conf:2: an access key", "/opt/key.pem:1: a private key"] {
        assert!(text.contains(place), "{place}: {text}");
    }
    assert!(text.contains("    fix: virt-customize -a IMAGE --delete FILE\n"), "{text}");
    let mut printed = text;
    for line in [
        "lint dirty.raw --json --for marketplace",
        "lint dirty.raw --as sarif",
        "lint ami.toml --for shared",
        "build ami.toml -o web.ami --for marketplace",
        "build ami.toml -o web.ami --json",
        "pack dirty.raw -o packed.ami --name web --allow boot-uefi --check inside --for shared",
        "pack dirty.raw -o packed.ami --name web --allow boot-uefi --check inside",
        "lint packed.ami",
        "inspect packed.ami",
    ] {
        printed.push_str(&all(here, line));
    }
    for secret in SECRETS {
        assert!(!printed.contains(&secret[6..]), "{secret} is shown");
    }
    // The levels: a private image may be packed, a shared one may not.
    run_well(here, "pack dirty.raw -o packed.ami --name web --allow boot-uefi --check inside");
    let line = "pack dirty.raw -o no.ami --name web --allow boot-uefi --check inside --for shared";
    let error = run_badly(here, line, 2);
    assert!(error.contains("[guest-secrets]") && !here.join("no.ami").exists(), "{error}");
}

#[test]
fn a_clean_image_breaks_no_rule_and_a_bundle_is_judged_as_its_image() {
    if !installed("mke2fs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    image(here, "clean.raw", false);
    let inside = |line: &str| -> Vec<String> {
        let output = run(here, &format!("{line} --json"));
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        rules(&report).into_iter().filter(|it| it.starts_with("guest-")).collect()
    };
    assert_eq!(inside("lint clean.raw"), Vec::<String>::new());
    fs::write(here.join("ami.toml"), recipe("clean.raw", "")).unwrap();
    assert_eq!(inside("lint ami.toml --for marketplace"), Vec::<String>::new());
    image(here, "dirty.raw", true);
    run_well(here, "pack dirty.raw -o dirty.ami --name web --boot-mode uefi --allow boot-uefi");
    let of_image = inside("lint dirty.raw");
    assert!(of_image.contains(&"guest-host-keys".to_owned()));
    assert_eq!(inside("lint dirty.ami"), of_image);
    assert_eq!(inside("lint dirty.ami:/dev/xvda"), of_image);
    assert_eq!(inside("lint dirty.ami --no-inside"), Vec::<String>::new());
    // A thin bundle needs what it was packed against.
    run_well(here, "pack clean.raw -o clean.ami --name web --boot-mode uefi --allow boot-uefi");
    run_well(
        here,
        "pack dirty.raw --base clean.ami --thin -o thin.ami --name web --boot-mode uefi --allow boot-uefi",
    );
    assert_eq!(inside("lint thin.ami"), Vec::<String>::new());
    assert_eq!(inside("lint thin.ami --base clean.ami"), of_image);
}

#[test]
fn a_waiver_holds_until_its_day_and_has_a_reason() {
    if !installed("mke2fs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    image(here, "dirty.raw", true);
    let waive = |rule: &str, more: &str| {
        format!("for = \"shared\"\n[[lint.waive]]\nrule = \"{rule}\"\n{more}")
    };
    let write = |lint: &str| fs::write(here.join("ami.toml"), recipe("dirty.raw", lint)).unwrap();
    let judge = |line: &str| -> Value {
        let output = run(here, &format!("lint ami.toml --json {line}"));
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    };
    write(&waive("guest-host-keys", "reason = \"made at start\"\nuntil = \"2999-12-31\"\n"));
    let report = judge("");
    assert_eq!(report["for"], "shared");
    assert!(!rules(&report).contains(&"guest-host-keys".to_owned()), "{report:#}");
    assert_eq!(report["waived"][0]["finding"]["rule"], "guest-host-keys");
    assert_eq!(report["waived"][0]["reason"], "made at start");
    let sarif: Value = serde_json::from_str(&all(here, "lint ami.toml --as sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let waived = results.iter().find(|it| it["ruleId"] == "guest-host-keys").unwrap();
    assert_eq!(waived["suppressions"][0]["kind"], "external");
    let secret = results.iter().find(|it| it["ruleId"] == "guest-secrets").unwrap();
    assert_eq!(secret["level"], "error");
    assert_eq!(secret["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "ami.toml");
    let named = &sarif["runs"][0]["tool"]["driver"]["rules"];
    let index = usize::try_from(secret["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(named[index]["id"], "guest-secrets");
    write(&waive("guest-host-keys", "reason = \"made at start\"\nuntil = \"2020-01-31\"\n"));
    let report = judge("");
    assert!(rules(&report).contains(&"guest-host-keys".to_owned()), "{report:#}");
    assert!(report["notes"].to_string().contains("ended on 2020-01-31"), "{report:#}");
    let elsewhere = "place = \"/srv/*\"\nreason = \"a test\"\nuntil = \"2999-12-31\"\n";
    write(&waive("guest-secrets", elsewhere));
    let report = judge("");
    let places: Vec<&str> = report["waived"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["finding"]["place"].as_str().unwrap())
        .collect();
    assert!(!places.is_empty() && places.iter().all(|it| it.starts_with("/srv/")), "{places:?}");
    assert!(rules(&report).contains(&"guest-secrets".to_owned()));
    for (lint, says) in [
        (waive("guest-host-keys", "reason = \" \"\nuntil = \"2030-01-01\"\n"), "has no reason"),
        (waive("guest-host-keys", "reason = \"x\"\nuntil = \"soon\"\n"), "expected a day"),
        (waive("guest-nonsense", "reason = \"x\"\nuntil = \"2030-01-01\"\n"), "no rule is called"),
        (waive("guest-host-keys", "reason = \"x\"\n"), "missing field `until`"),
    ] {
        write(&lint);
        let error = run_badly(here, "lint ami.toml", 2);
        assert!(error.contains(says), "{says}: {error}");
    }
}
