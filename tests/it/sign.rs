//! `sign`, and the commands that ask for a signature: `docs/formats/signature.md`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use amikit::internals::digest::Digest;
use amikit::internals::digest::sha256;
use amikit::internals::signature::Statement;
use serde_json::Value;
use tempfile::TempDir;

use crate::common::amikit;
use crate::common::copy_tree;
use crate::common::installed;
use crate::common::names;
use crate::common::run;
use crate::common::run_badly;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::sample;
use crate::common::stderr;
use crate::common::step;
use crate::common::tree;

/// Bundles `old.ami` and, over it, `thin.ami`; keys `alice` and `mallory`; `signers` with Alice's.
fn scene() -> Option<TempDir> {
    if !installed("ssh-keygen") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut bytes = vec![7; 3 << 20];
    fs::write(here.join("old.raw"), &bytes).unwrap();
    bytes[1 << 20] = 8;
    fs::write(here.join("new.raw"), &bytes).unwrap();
    run_well(here, "pack old.raw -o old.ami --name web-1");
    run_well(here, "pack new.raw --base old.ami --thin -o thin.ami --name web-2");
    for name in ["alice", "mallory"] {
        make_key(here, name, "");
    }
    allow(here, "signers", "alice", "");
    Some(folder)
}

fn make_key(here: &Path, name: &str, passphrase: &str) {
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .current_dir(here)
        .args(["-q", "-t", "ed25519", "-C", name, "-N", passphrase, "-f", name]);
    run_tool(&mut keygen);
}

/// Writes a file of signers with one key.
fn allow(here: &Path, file: &str, key: &str, options: &str) {
    let public = fs::read_to_string(here.join(format!("{key}.pub"))).unwrap();
    fs::write(here.join(file), format!("{key}@example.com {options} {public}")).unwrap();
}

fn index(bundle: &Path) -> Value {
    serde_json::from_slice(&fs::read(bundle.join("index.json")).unwrap()).unwrap()
}

fn blob(bundle: &Path, digest: &Value) -> PathBuf {
    bundle.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
}

/// Returns the manifests of the signatures.
fn carriers(bundle: &Path) -> Vec<Value> {
    let index = index(bundle);
    let entries = index["manifests"].as_array().unwrap().iter();
    let signed = entries
        .filter(|entry| entry["artifactType"] == "application/vnd.amikit.signature.v1+json")
        .map(|entry| fs::read(blob(bundle, &entry["digest"])).unwrap());
    signed.map(|bytes| serde_json::from_slice(&bytes).unwrap()).collect()
}

#[test]
fn a_signed_bundle_is_trusted_and_ssh_keygen_agrees() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    let before = index(&here.join("old.ami"))["manifests"][0]["digest"].clone();
    let said = run_well(here, "sign old.ami --key alice --counter 7 --as web");
    assert!(said.contains("counter 7"), "{said}");
    let said = run_well(here, "verify old.ami --signers signers");
    assert!(said.contains("signed by alice@example.com") && said.contains("intact"), "{said}");
    run_well(here, "unpack old.ami --signers signers -o out.raw");
    assert!(fs::read(here.join("out.raw")).unwrap() == fs::read(here.join("old.raw")).unwrap());
    // The AMI is the same one, and everything else still reads it.
    run_well(here, "compare old.ami old.raw");
    run_well(here, "inspect old.ami");

    let [carrier] = &carriers(&here.join("old.ami"))[..] else { panic!("one signature") };
    assert_eq!(carrier["subject"]["digest"], before);
    let statement = fs::read(blob(&here.join("old.ami"), &carrier["layers"][0]["digest"])).unwrap();
    let parsed = Statement::parse(&statement).unwrap();
    assert_eq!((parsed.name.as_str(), parsed.counter), ("web", 7));
    fs::copy(blob(&here.join("old.ami"), &carrier["layers"][1]["digest"]), here.join("sig"))
        .unwrap();
    let mut keygen = Command::new("ssh-keygen");
    keygen.current_dir(here).args(["-Y", "verify", "-f", "signers", "-I", "alice@example.com"]);
    keygen.args(["-n", "amikit-ami-v1", "-s", "sig"]).stdin(Stdio::piped());
    let mut child = keygen.stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&statement).unwrap();
    assert!(child.wait().unwrap().success());

    // A second signer adds to the first; the same signature is not added twice.
    run_well(here, "sign old.ami --key mallory --counter 7 --as web");
    let said = run_well(here, "sign old.ami --key alice --counter 7 --as web");
    assert!(said.contains("already"), "{said}");
    assert_eq!(carriers(&here.join("old.ami")).len(), 2);
    run_well(here, "verify old.ami --signers signers");
    allow(here, "others", "mallory", "");
    run_well(here, "verify old.ami --signers others");
}

#[test]
fn what_is_not_vouched_for_is_refused_by_name_before_an_output_exists() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    allow(here, "others", "mallory", "");
    allow(here, "expired", "alice", "valid-before=\"20200101Z\"");
    allow(here, "git-only", "alice", "namespaces=\"git\"");
    copy_tree(&here.join("old.ami"), &here.join("unsigned.ami"));
    run_well(here, "sign old.ami --key alice --counter 3");
    run_well(here, "sign thin.ami --key alice --counter 4");
    // The signature of another bundle, copied over with all that it needs.
    copy_tree(&here.join("thin.ami"), &here.join("forged.ami"));
    let mut forged = index(&here.join("forged.ami"));
    let honest = index(&here.join("old.ami"));
    for entry in forged["manifests"].as_array_mut().unwrap() {
        if entry["artifactType"] == "application/vnd.amikit.signature.v1+json" {
            let of_old = honest["manifests"].as_array().unwrap().iter();
            let of_old = of_old.clone().find(|it| it["artifactType"] == entry["artifactType"]);
            *entry = of_old.unwrap().clone();
        }
    }
    for (path, bytes) in tree(&here.join("old.ami/blobs/sha256")) {
        fs::write(here.join("forged.ami/blobs/sha256").join(path), bytes).unwrap();
    }
    fs::write(here.join("forged.ami/index.json"), forged.to_string()).unwrap();
    for (bundle, signers, said) in [
        ("unsigned.ami", "signers", "it is not signed"),
        ("old.ami", "others", "is not in the file of signers"),
        ("old.ami", "expired", "is not valid any more"),
        ("old.ami", "git-only", "may not sign AMIs"),
        ("forged.ami", "signers", "it is not signed"),
    ] {
        for line in [
            format!("verify {bundle} --signers {signers}"),
            format!("unpack {bundle} --signers {signers} -o out.raw"),
            format!("apply {bundle} --to old.raw --signers {signers} -o out.raw"),
            format!("apply {bundle} --to old.raw --signers {signers} --in-place"),
        ] {
            let text = run_badly(here, &line, 7);
            assert!(text.contains(said), "{line}: {text}");
            assert!(!here.join("out.raw").exists(), "{line}");
        }
    }
    fs::write(here.join("garbage"), "hello").unwrap();
    let text = run_badly(here, "verify old.ami --signers garbage", 2);
    assert!(text.contains("garbage") && text.contains("line 1"), "{text}");
    run_badly(here, "verify old.ami --signers missing", 3);
    run_badly(here, "verify old.ami --allow-downgrade", 2);
}

/// A statement that was changed in any byte, or whose signature was, with all digests made right again.
#[test]
fn a_changed_statement_or_signature_is_refused() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "sign old.ami --key alice --counter 3");
    let [carrier] = &carriers(&here.join("old.ami"))[..] else { panic!("one signature") };
    for layer in [0, 1] {
        let whole =
            fs::read(blob(&here.join("old.ami"), &carrier["layers"][layer]["digest"])).unwrap();
        for at in (0..whole.len()).step_by(61 - 12 * sample(5)) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let mut carrier = carrier.clone();
            let put = |bytes: &[u8]| {
                let digest = Digest(amikit::internals::digest::sha256(bytes).0);
                let name = here.join("copy.ami/blobs/sha256").join(digest.to_string());
                fs::write(name, bytes).unwrap();
                Value::from(format!("sha256:{digest}"))
            };
            let _ = fs::remove_dir_all(here.join("copy.ami"));
            copy_tree(&here.join("old.ami"), &here.join("copy.ami"));
            carrier["layers"][layer]["digest"] = put(&bytes);
            let text = carrier.to_string();
            let mut index = index(&here.join("copy.ami"));
            for entry in index["manifests"].as_array_mut().unwrap() {
                if entry["artifactType"] == "application/vnd.amikit.signature.v1+json" {
                    entry["digest"] = put(text.as_bytes());
                    entry["size"] = text.len().into();
                    entry["annotations"] = Value::Object(serde_json::Map::new());
                }
            }
            fs::write(here.join("copy.ami/index.json"), index.to_string()).unwrap();
            let output = run(here, "verify copy.ami --signers signers");
            // White space around the base64 says nothing.
            let same = layer == 1 && (whole[at] == b'\n' || whole[at] ^ 1 == b'\n');
            if !same {
                assert_eq!(
                    output.status.code(),
                    Some(7),
                    "layer {layer}, byte {at}: {}",
                    stderr(&output)
                );
            }
        }
    }
}

#[test]
fn a_damaged_carrier_is_not_called_a_missing_signature() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "sign old.ami --key alice --counter 3");
    let index = index(&here.join("old.ami"));
    let entries = index["manifests"].as_array().unwrap();
    let signature = "application/vnd.amikit.signature.v1+json";
    let entry = entries.iter().find(|entry| entry["artifactType"] == signature).unwrap();
    let path = blob(&here.join("old.ami"), &entry["digest"]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(path, bytes).unwrap();
    let text = run_badly(here, "verify old.ami --signers signers", 7);
    assert!(text.contains("cannot be read") && !text.contains("not signed"), "{text}");
}

#[test]
fn an_older_version_than_the_base_is_refused_unless_it_is_allowed() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "sign old.ami --key alice --counter 9 --as web");
    copy_tree(&here.join("thin.ami"), &here.join("newer.ami"));
    run_well(here, "sign thin.ami --key alice --counter 8 --as web");
    run_well(here, "sign newer.ami --key alice --counter 10 --as web");
    let text = run_badly(here, "verify thin.ami --base old.ami --signers signers", 7);
    assert!(text.contains("this one is older") && text.contains("--allow-downgrade"), "{text}");
    let line = "unpack thin.ami --base old.ami --signers signers -o out.raw";
    run_badly(here, line, 7);
    run_well(here, &format!("{line} --allow-downgrade"));
    run_well(here, "verify newer.ami --base old.ami --signers signers");
    let output = run(here, "verify newer.ami --signers signers");
    let text = stderr(&output);
    assert!(output.status.success() && text.contains("no other version is known"), "{text}");
}

/// Before a signature is trusted, no pack and no description is opened.
#[test]
fn little_is_read_before_a_signature_is_trusted() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    if !installed("strace") {
        return;
    }
    run_well(here, "sign old.ami --key mallory --counter 3");
    let mut strace = Command::new("strace");
    strace.current_dir(here).args(["-f", "-e", "trace=openat", "-o", "trace"]);
    strace.arg(amikit().get_program()).args(["unpack", "old.ami", "-o", "out.raw"]);
    let done = strace.args(["--signers", "signers"]).output().unwrap();
    assert_eq!(done.status.code(), Some(7));
    let trace = fs::read_to_string(here.join("trace")).unwrap();
    let entries = index(&here.join("old.ami"));
    let entries = entries["manifests"].as_array().unwrap();
    let ami = entries
        .iter()
        .find(|it| it["annotations"].get("org.opencontainers.image.ref.name").is_some());
    let manifest: Value = serde_json::from_slice(
        &fs::read(blob(&here.join("old.ami"), &ami.unwrap()["digest"])).unwrap(),
    )
    .unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter().map(|it| &it["digest"]);
    for digest in layers.chain([&manifest["config"]["digest"], &ami.unwrap()["digest"]]) {
        let digest = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
        assert!(!trace.contains(digest), "{digest} was opened");
    }
    assert!(trace.contains("index.json"));
}

#[test]
fn other_programs_sign_where_the_key_is_not_in_a_plain_file() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    make_key(here, "locked", "open sesame");
    allow(here, "locked-signers", "locked", "");
    let ask = here.join("ask");
    fs::write(&ask, "#!/bin/sh\necho 'open sesame'\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(&ask, mode).unwrap();
    let mut sign = amikit();
    sign.current_dir(here).args(["sign", "old.ami", "--key", "locked", "--counter", "1"]);
    sign.env("SSH_ASKPASS", &ask).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":0");
    run_tool(&mut sign);
    run_well(here, "verify old.ami --signers locked-signers");

    // A public key: an agent has the private one.
    if !installed("ssh-agent") || !installed("ssh-add") {
        return;
    }
    let mut agent = Command::new("ssh-agent");
    let socket = here.join("agent");
    let mut agent = agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let begin = std::time::Instant::now();
    while !socket.exists() && begin.elapsed() < std::time::Duration::from_secs(20) {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let mut add = Command::new("ssh-add");
    run_tool(add.current_dir(here).args(["-q", "mallory"]).env("SSH_AUTH_SOCK", &socket));
    fs::remove_file(here.join("mallory")).unwrap();
    let mut sign = amikit();
    sign.current_dir(here).args(["sign", "thin.ami", "--key", "mallory.pub", "--counter", "1"]);
    run_tool(sign.env("SSH_AUTH_SOCK", &socket));
    agent.kill().unwrap();
    agent.wait().unwrap();
    allow(here, "others", "mallory", "");
    run_well(here, "verify thin.ami --signers others");
    // Without the agent nobody can sign, and nothing is added.
    let before = tree(&here.join("thin.ami"));
    let text = run_badly(here, "sign thin.ami --key mallory.pub --counter 2", 3);
    assert!(text.contains("ssh-keygen did not sign"), "{text}");
    assert!(tree(&here.join("thin.ami")) == before);
}

#[test]
fn a_request_that_cannot_be_met_changes_nothing() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "pack old.raw -o old.tar --name web-1");
    let before = tree(here);
    fs::write(here.join("open"), fs::read(here.join("alice")).unwrap()).unwrap();
    for (line, code, said) in [
        ("sign old.tar --key alice --counter 1", 2, "archive"),
        ("sign old.raw --key alice --counter 1", 4, "not a bundle"),
        ("sign missing.ami --key alice --counter 1", 3, "missing.ami"),
        ("sign old.ami --key open --counter 1", 2, "chmod 600"),
        ("sign old.ami --key missing --counter 1", 3, "missing"),
        ("sign old.ami --key alice", 2, "--counter"),
        ("sign old.ami --key alice --counter 9007199254740992", 2, "at most"),
    ] {
        let output = run(here, line);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{line}: {text}");
        assert!(text.contains(said), "{line}: {text}");
    }
    fs::remove_file(here.join("open")).unwrap();
    assert!(tree(here) == before, "{:?}", names(here));
}

/// A kill at any call leaves the bundle as it was or signed, and the same command does well after it.
#[test]
fn a_kill_at_any_call_leaves_a_bundle_that_verifies() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    if !installed("strace") {
        return;
    }
    let calls =
        "openat,write,pwrite64,fsync,fdatasync,renameat,renameat2,rename,linkat,mkdirat,unlinkat";
    let mut signed = 0;
    let mut number = 1;
    loop {
        let _ = fs::remove_dir_all(here.join("copy.ami"));
        copy_tree(&here.join("old.ami"), &here.join("copy.ami"));
        let mut strace = Command::new("strace");
        strace.current_dir(here).args(["-f", "-o", "/dev/null", "-e"]);
        strace.arg(format!("inject={calls}:signal=KILL:when={number}"));
        strace.arg(amikit().get_program()).args(["sign", "copy.ami", "--key", "alice"]);
        let done = strace.args(["--counter", "1"]).output().unwrap();
        run_well(here, "verify copy.ami");
        signed += usize::from(!carriers(&here.join("copy.ami")).is_empty());
        if done.status.success() {
            break;
        }
        run_well(here, "sign copy.ami --key alice --counter 1");
        run_well(here, "verify copy.ami --signers signers");
        let parts = names(&here.join("copy.ami"))
            .into_iter()
            .filter(|name| name.contains("amikit-part"))
            .count();
        assert_eq!(parts, 0, "call {number}");
        number += step();
    }
    assert!(number > 10 && signed >= 1, "{number} calls, {signed} signed");
}

/// Changes what `index.json` says, as another program would that keeps no checksums.
fn rewrite(bundle: &Path, change: &dyn Fn(&mut Value)) {
    let mut index = index(bundle);
    for entry in index["manifests"].as_array_mut().unwrap() {
        if let Some(annotations) = entry["annotations"].as_object_mut() {
            annotations.remove("io.amikit.checksum");
        }
        change(entry);
    }
    fs::write(bundle.join("index.json"), index.to_string()).unwrap();
}

#[test]
fn the_highest_counter_that_is_trusted_counts() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    // Digests decide about their order: one of six would be right by chance.
    for counter in [4, 1, 6, 3, 5, 2] {
        run_well(here, &format!("sign thin.ami --key alice --counter {counter} --as web"));
    }
    run_well(here, "sign thin.ami --key mallory --counter 99 --as web");
    run_well(here, "sign old.ami --key alice --counter 6 --as web");
    run_well(here, "verify thin.ami --base old.ami --signers signers");
    run_well(here, "sign old.ami --key alice --counter 7 --as web");
    let said = run_badly(here, "verify thin.ami --base old.ami --signers signers", 7);
    assert!(said.contains("is 6, and a version with 7 is known"), "{said}");
}

#[test]
fn a_damaged_signature_takes_nothing_along() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    let whole = here.join("whole.ami");
    copy_tree(&here.join("old.ami"), &whole);
    run_well(here, "sign whole.ami --key mallory --counter 7");
    let entries = index(&whole)["manifests"].clone();
    let is_signature = |it: &&Value| it["artifactType"].as_str().unwrap().contains("signature");
    let carrier = entries.as_array().unwrap().iter().find(is_signature).unwrap();
    let parts = carriers(&whole)[0]["layers"].clone();
    for (number, part) in
        [&carrier["digest"], &parts[0]["digest"], &parts[1]["digest"]].into_iter().enumerate()
    {
        for cut in [true, false] {
            let bundle = here.join(format!("{number}-{cut}.ami"));
            copy_tree(&whole, &bundle);
            let path = blob(&bundle, part);
            if cut {
                fs::write(&path, "{").unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            let at = format!("{number}-{cut}.ami");
            run_well(here, &format!("inspect {at}"));
            let said = run_badly(here, &format!("verify {at} --signers signers"), 7);
            assert!(number == 0 || said.contains("cannot be read"), "{at}: {said}");
            run_well(here, &format!("sign {at} --key alice --counter 7"));
            run_well(here, &format!("verify {at} --signers signers"));
        }
    }
}

#[test]
fn what_the_index_says_of_a_manifest_is_a_hint_to_a_signature_too() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "sign old.ami --key alice --counter 7");
    let hints = [Some("application/vnd.amikit.ami.v1+json"), Some("application/x"), None];
    for (number, hint) in hints.into_iter().enumerate() {
        let bundle = here.join(format!("{number}.ami"));
        copy_tree(&here.join("old.ami"), &bundle);
        rewrite(&bundle, &|entry| match hint {
            Some(hint) => entry["artifactType"] = hint.into(),
            None => _ = entry.as_object_mut().unwrap().remove("artifactType"),
        });
        run_well(here, &format!("verify {number}.ami --signers signers"));
    }
}

#[test]
fn many_manifests_that_name_one_long_statement_are_refused() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "sign old.ami --key alice --counter 7");
    let bundle = here.join("old.ami");
    let mut carrier = carriers(&bundle)[0].clone();
    let mut index = index(&bundle);
    let put = |bytes: &[u8]| {
        let digest = format!("sha256:{}", sha256(bytes));
        fs::write(blob(&bundle, &digest.as_str().into()), bytes).unwrap();
        (digest, bytes.len())
    };
    let (digest, size) = put(&vec![b' '; 1 << 20]);
    carrier["layers"][0]["digest"] = digest.into();
    carrier["layers"][0]["size"] = size.into();
    for number in 0..64 {
        carrier["annotations"] = serde_json::json!({ "n": number.to_string() });
        let (digest, size) = put(carrier.to_string().as_bytes());
        let entry = serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest, "size": size,
        });
        index["manifests"].as_array_mut().unwrap().push(entry);
    }
    fs::write(bundle.join("index.json"), index.to_string()).unwrap();
    let said = run_badly(here, "verify old.ami --signers signers", 6);
    assert!(said.contains("its signatures have over 67108864 bytes"), "{said}");
}

#[test]
fn a_base_may_be_a_bare_snapshot() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "sign thin.ami --key alice --counter 7");
    run_well(here, "store init images");
    run_well(here, "store add images@old old.raw");
    run_well(here, "verify thin.ami --base images@old --signers signers");
}

#[test]
fn a_copy_of_the_same_digest_keeps_its_signatures_or_says_so() {
    let Some(folder) = scene() else { return };
    let here = folder.path();
    run_well(here, "sign old.ami --key alice --counter 7");
    run_well(here, "sign thin.ami --key alice --counter 8");
    run_well(here, "store init images");
    run_well(here, "store init others");
    for (line, copy) in [
        ("store add images old.ami", "images@web-1"),
        ("store copy images@web-1 images@again", "images@again"),
        ("store copy images@web-1 others@there", "others@there"),
        ("store copy others@there out.ami", "out.ami"),
        ("complete thin.ami --base old.ami -o whole.ami", "whole.ami"),
    ] {
        run_well(here, line);
        run_well(here, &format!("verify {copy} --signers signers"));
    }
    let entries = index(&here.join("images"))["manifests"].as_array().unwrap().len();
    assert_eq!(entries, 3, "two names and one signature");
    for line in ["store copy images@web-1 out.tar", "store add images whole.ami --base web-1"] {
        let done = run(here, line);
        assert!(done.status.success() && stderr(&done).contains("signatures"), "{line}");
    }
    let long = "x".repeat(513);
    run_badly(here, &format!("sign old.ami --key alice --counter 7 --as {long}"), 2);
}
