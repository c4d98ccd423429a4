//! Instance-store bundles against the tools that made the format, and against openssl.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use amikit::internals::ops::instance_store as ops;
use amikit::internals::units::BLOCK_LEN;
use amikit::internals::work::Unwatched;

use crate::common::Model;
use crate::common::Random;
use crate::common::installed;
use crate::common::stderr;
use crate::instance_store::cert;
use crate::instance_store::key;
use crate::instance_store::make_request;
use crate::instance_store::unbundle_request;

/// Runs a tool that must do well.
fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{command:?}: {text}{}", stderr(&output));
    output
}

/// A bundle of ours, of more than one part, with its volume.
fn ours(home: &Path) -> (Model, PathBuf) {
    let mut random = Random::new("ours");
    let noise = |random: &mut Random| Some(random.bytes(BLOCK_LEN));
    let mut blocks = vec![Some(Vec::new()), None, Some(vec![7; 5000]), None];
    blocks.extend((0..22).map(|_| noise(&mut random)));
    blocks.extend([None, Some(vec![8]), None]);
    let model = Model::of(&blocks, 777);
    let image = home.join("image");
    model.write(&image);
    let request = make_request(home, &image, &home.join("ours"));
    let made = ops::make(&request, &Unwatched).unwrap();
    (model, made.manifest)
}

/// Reads a bundle that another tool made of the image in `home`.
fn read_theirs(home: &Path, manifest: &Path, model: &Model) -> ops::UnbundleReport {
    let back = home.join("back");
    let report = ops::unbundle(&unbundle_request(home, manifest, &back), &Unwatched);
    let report = report.unwrap();
    assert!(fs::read(&back).unwrap() == model.bytes, "the volume of {}", manifest.display());
    assert_eq!(report.signature, ops::Signature::Valid);
    report
}

/// Returns the text of an element.
fn element<'a>(text: &'a str, name: &str) -> &'a str {
    let rest = text.split_once(&format!("<{name}")).unwrap().1.split_once('>').unwrap().1;
    rest.split_once(&format!("</{name}>")).unwrap().0
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Decrypts and verifies a bundle of ours with openssl, gunzip and tar alone.
#[test]
fn openssl_gunzip_and_tar_take_a_bundle_apart() {
    if !["openssl", "gzip", "tar", "sha1sum"].into_iter().all(installed) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (model, manifest) = ours(home.path());
    let text = fs::read_to_string(&manifest).unwrap();
    let at = |name: &str| home.path().join(name);
    let openssl = || {
        let mut command = Command::new("openssl");
        command.current_dir(home.path());
        command
    };
    // The signature.
    let machine = element(&text, "machine_configuration");
    let image = element(&text, "image");
    let signed =
        format!("<machine_configuration>{machine}</machine_configuration><image>{image}</image>");
    fs::write(at("signed"), signed).unwrap();
    fs::write(at("signature"), from_hex(element(&text, "signature"))).unwrap();
    let public = run(openssl().args(["x509", "-noout", "-pubkey", "-in"]).arg(cert("user")));
    fs::write(at("user.pub"), public.stdout).unwrap();
    let check = ["dgst", "-sha1", "-verify", "user.pub", "-signature", "signature", "signed"];
    assert!(String::from_utf8_lossy(&run(openssl().args(check)).stdout).contains("OK"));
    // Key and initialization vector, by either reader's key.
    for reader in ["user", "ec2"] {
        let private = key(home.path(), reader);
        let secret = |what: &str| {
            let name = format!("{reader}_encrypted_{what}");
            fs::write(at("sealed"), from_hex(element(&text, &name))).unwrap();
            let open = ["pkeyutl", "-decrypt", "-in", "sealed", "-inkey"];
            String::from_utf8(run(openssl().args(open).arg(&private)).stdout).unwrap()
        };
        let (secret, iv) = (secret("key"), secret("iv"));
        assert_eq!((secret.len(), iv.len()), (32, 32));
        let mut parts = Vec::new();
        for part in text.split("<filename>").skip(1) {
            let name = part.split_once('<').unwrap().0;
            let path = manifest.with_file_name(name);
            let sum = run(Command::new("sha1sum").arg(&path)).stdout;
            assert!(sum.starts_with(element(part, "digest").as_bytes()), "{name}");
            parts.extend(fs::read(path).unwrap());
        }
        assert!(parts.len() > 10 << 20, "more than one part");
        fs::write(at("parts"), parts).unwrap();
        let decrypt = ["enc", "-d", "-aes-128-cbc", "-in", "parts", "-out", "x.tar.gz"];
        run(openssl().args(decrypt).args(["-K", &secret, "-iv", &iv]));
        run(Command::new("gzip").args(["-d", "-f", "x.tar.gz"]).current_dir(home.path()));
        let sum = run(Command::new("sha1sum").arg(at("x.tar"))).stdout;
        assert!(sum.starts_with(element(image, "digest").as_bytes()));
        fs::create_dir(at(reader)).unwrap();
        run(Command::new("tar").args(["-xSf", "x.tar", "-C", reader]).current_dir(home.path()));
        let found = fs::read(at(reader).join("disk")).unwrap();
        assert!(found == model.bytes, "the volume that tar unpacks");
    }
}

/// Folder of ec2-ami-tools, if they are here.
fn ec2_ami_tools() -> Option<PathBuf> {
    let home = std::env::var_os("EC2_AMITOOL_HOME").map(PathBuf::from);
    let home = home.or_else(|| {
        let path = std::env::var_os("PATH")?;
        let found = std::env::split_paths(&path).find(|it| it.join("ec2-unbundle").is_file())?;
        Some(found.parent()?.to_owned())
    });
    let home = home.filter(|home| home.join("bin/ec2-unbundle").is_file() && installed("ruby"));
    if home.is_none() {
        println!("skipped: EC2_AMITOOL_HOME names no ec2-ami-tools");
    }
    home
}

#[test]
fn ec2_ami_tools_read_our_bundle_and_we_theirs() {
    let Some(tools) = ec2_ami_tools() else { return };
    let home = tempfile::tempdir().unwrap();
    let (model, manifest) = ours(home.path());
    let (user, out) = (key(home.path(), "user"), home.path().join("out"));
    fs::create_dir(&out).unwrap();
    let tool = |name: &str| {
        let mut command = Command::new("bash");
        command.arg(tools.join("bin").join(name)).env("EC2_AMITOOL_HOME", &tools);
        command
    };
    let source = manifest.parent().unwrap();
    run(tool("ec2-unbundle")
        .arg("-m")
        .arg(&manifest)
        .arg("-k")
        .arg(&user)
        .arg("-s")
        .arg(source)
        .arg("-d")
        .arg(&out));
    assert!(fs::read(out.join("disk")).unwrap() == model.bytes, "what ec2-unbundle unpacks");
    // The only tool of theirs that looks at the signature.
    let script = "require 'ec2/amitools/manifestv20071010'\n\
                  m = ManifestV20071010.new(File.read(ARGV[0]))\n\
                  exit(m.authenticate(File.read(ARGV[1])) ? 0 : 1)";
    run(Command::new("ruby")
        .arg("-I")
        .arg(tools.join("lib"))
        .args(["-e", script])
        .arg(&manifest)
        .arg(cert("user")));
    let theirs = home.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    run(tool("ec2-bundle-image")
        .args([
            "--batch",
            "-r",
            "x86_64",
            "-u",
            "123456789012",
            "-p",
            "disk",
            "-B",
            "ami=sda1,root=/dev/sda1",
        ])
        .arg("-i")
        .arg(home.path().join("image"))
        .arg("-d")
        .arg(&theirs)
        .arg("-k")
        .arg(&user)
        .arg("-c")
        .arg(cert("user"))
        .arg("--ec2cert")
        .arg(cert("ec2")));
    let report = read_theirs(home.path(), &theirs.join("disk.manifest.xml"), &model);
    assert!(report.stored_bytes < model.size(), "holes are kept");
}

#[test]
fn euca2ools_read_our_bundle_and_we_theirs() {
    if !["euca-unbundle", "euca-bundle-image"].into_iter().all(installed) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let (model, manifest) = ours(home.path());
    let (user, out) = (key(home.path(), "user"), home.path().join("out"));
    let theirs = home.path().join("theirs");
    fs::create_dir(&out).unwrap();
    fs::create_dir(&theirs).unwrap();
    let source = manifest.parent().unwrap();
    run(Command::new("euca-unbundle")
        .arg("-m")
        .arg(&manifest)
        .arg("-k")
        .arg(&user)
        .arg("-s")
        .arg(source)
        .arg("-d")
        .arg(&out));
    assert!(fs::read(out.join("disk")).unwrap() == model.bytes, "what euca-unbundle unpacks");
    run(Command::new("euca-bundle-image")
        .args(["-r", "x86_64", "-u", "123456789012", "-p", "disk", "-B", "ami=sda1,root=/dev/sda1"])
        .arg("-i")
        .arg(home.path().join("image"))
        .arg("-d")
        .arg(&theirs)
        .arg("-k")
        .arg(&user)
        .arg("-c")
        .arg(cert("user"))
        .arg("--ec2cert")
        .arg(cert("ec2")));
    read_theirs(home.path(), &theirs.join("disk.manifest.xml"), &model);
}
