//! A bundle is an ordinary OCI image layout: `skopeo` and a registry carry it, every digest kept.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::common;
use crate::common::installed;

fn amikit(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_amikit")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn skopeo(args: &[&str]) {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--preserve-digests"])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Packs the fixture volume as `web`.
fn bundle(folder: &Path, name: &str) -> String {
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/images/disk.simg");
    let bundle = folder.join(name).to_str().unwrap().to_owned();
    amikit(&["pack", image.to_str().unwrap(), "-o", &bundle, "--name", "web"]);
    bundle
}

/// Names of all blobs of a layout.
fn blobs(bundle: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(bundle).join("blobs/sha256")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn skopeo_carries_a_bundle_to_a_folder_and_back() {
    if !installed("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "web.ami");
    let (there, back) = (folder.path().join("there"), folder.path().join("back.ami"));
    let (there, back) = (there.to_str().unwrap(), back.to_str().unwrap());
    skopeo(&[&format!("oci:{bundle}:web"), &format!("dir:{there}")]);
    skopeo(&[&format!("dir:{there}"), &format!("oci:{back}:web")]);
    assert_eq!(blobs(&bundle), blobs(back));
    amikit(&["verify", back]);
}

#[test]
fn skopeo_reads_the_one_file_form() {
    if !installed("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (file, plain) = (bundle(folder.path(), "web.ami.tar"), bundle(folder.path(), "web.ami"));
    let back = folder.path().join("back.ami");
    let back = back.to_str().unwrap();
    skopeo(&[&format!("oci-archive:{file}:web"), &format!("oci:{back}:web")]);
    assert_eq!(blobs(&plain), blobs(back));
    amikit(&["verify", back]);
}

/// A registry on the loopback interface, ended when it is dropped.
pub(crate) struct Registry {
    process: Child,
    pub(crate) port: u16,
}

impl Registry {
    pub(crate) fn start(folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = folder.join("registry.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage:\n  filesystem:\n    rootdirectory: \
             {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            folder.join("registry").display()
        );
        fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut registry = Self { process, port };
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return registry;
            }
            sleep(Duration::from_millis(100));
        }
        registry.process.kill().unwrap();
        let mut text = String::new();
        registry.process.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        panic!("the registry does not answer: {text}");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_registry_keeps_every_digest() {
    if !installed("skopeo") || !installed("docker-registry") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "web.ami");
    let registry = Registry::start(folder.path());
    let name = format!("docker://127.0.0.1:{}/images/web:1", registry.port);
    let back = folder.path().join("back.ami");
    let back = back.to_str().unwrap();
    skopeo(&["--dest-tls-verify=false", &format!("oci:{bundle}:web"), &name]);
    skopeo(&["--src-tls-verify=false", &name, &format!("oci:{back}:web")]);
    assert_eq!(blobs(&bundle), blobs(back));
    amikit(&["verify", back]);
}

// --- what other clients make of a layout ---------------------------------------------------------

/// Runs a client in a folder and returns what it prints.
fn client(folder: &Path, program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.current_dir(folder).args(args).env("HOME", folder).env("COSIGN_PASSWORD", "x");
    String::from_utf8(common::run_tool(&mut command)).unwrap()
}

/// Tells whether all of these are installed.
fn all_installed(programs: &[&str]) -> bool {
    programs.iter().all(|program| installed(program))
}

/// A registry with a bundle in it.
struct Carried {
    folder: tempfile::TempDir,
    bundle: String,
    registry: Registry,
}

impl Carried {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path(), "web.ami");
        let registry = Registry::start(folder.path());
        let carried = Self { folder, bundle, registry };
        let name = format!("docker://{}", carried.name());
        skopeo(&["--dest-tls-verify=false", &format!("oci:{}:web", carried.bundle), &name]);
        carried
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn name(&self) -> String {
        format!("127.0.0.1:{}/images/web:1", self.registry.port)
    }

    /// Expects that a folder is the bundle, and returns what `verify` notes.
    fn check(&self, name: &str) -> String {
        let back = self.path().join(name);
        let there = blobs(back.to_str().unwrap());
        assert!(blobs(&self.bundle).is_subset(&there), "{name}: {there:?}");
        let output = common::run(self.path(), &format!("verify {name}"));
        assert!(output.status.success(), "{name}: {}", common::stderr(&output));
        common::stderr(&output)
    }
}

#[test]
fn skopeo_takes_the_reference_name_of_any_ami_name() {
    if !installed("skopeo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("d.raw"), vec![1; 1 << 20]).unwrap();
    let names =
        ["My AMI - v1", "a__b", "web.", "x/(y)", "(-'@'-)", "a.-_b", "_x_", "[2026] 1.0 @ b"];
    for (number, name) in names.into_iter().enumerate() {
        let bundle = format!("{number}.ami");
        let path = folder.path().join(&bundle);
        let image = folder.path().join("d.raw");
        let arguments =
            ["pack", image.to_str().unwrap(), "-o", path.to_str().unwrap(), "--name", name];
        amikit(&arguments);
        let index = fs::read(path.join("index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let reference = &index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"];
        let reference = reference.as_str().unwrap();
        let there = folder.path().join(format!("{number}.dir"));
        let from = format!("oci:{}:{reference}", path.display());
        skopeo(&[&from, &format!("dir:{}", there.display())]);
    }
}

#[test]
fn a_bundle_that_umoci_gave_another_name_is_one_bundle() {
    if !installed("umoci") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path(), "web.ami");
    client(folder.path(), "umoci", &["tag", "--image", "web.ami:web", "prod"]);
    for name in ["web.ami", "web.ami@web", "web.ami@prod"] {
        common::run_well(folder.path(), &format!("inspect {name}"));
        common::run_well(folder.path(), &format!("verify {name}"));
    }
    let line = common::run_badly(folder.path(), "inspect web.ami@dev", 2);
    assert!(line.contains("\"prod\", \"web\""), "{line}");
    // It is more than a bundle of amikit's now: its names are another's work.
    common::run_badly(folder.path(), "pack web.ami -o web.ami --name web", 2);
}

#[test]
fn a_layout_that_crane_pulled_is_a_bundle() {
    if !all_installed(&["skopeo", "docker-registry", "crane"]) {
        return;
    }
    let carried = Carried::new();
    let args = ["pull", "--insecure", "--format=oci", &carried.name(), "crane.ami"];
    client(carried.path(), "crane", &args);
    assert!(carried.check("crane.ami").contains("by another program"));
    // A second pull adds the same manifest again.
    client(carried.path(), "crane", &args);
    carried.check("crane.ami");
}

#[test]
fn oras_carries_a_bundle_and_names_its_files() {
    if !all_installed(&["skopeo", "docker-registry", "oras"]) {
        return;
    }
    let carried = Carried::new();
    let copy = ["cp", "--from-plain-http", &carried.name(), "--to-oci-layout", "oras.ami:web"];
    client(carried.path(), "oras", &copy);
    assert!(carried.check("oras.ami").contains("by another program"));
    let other = carried.name().replace("web:1", "other:2");
    let push = ["cp", "--from-oci-layout", "web.ami:web", "--to-plain-http", &other];
    client(carried.path(), "oras", &push);
    client(carried.path(), "oras", &["pull", "--plain-http", "-o", "files", &other]);
    let files = common::tree(&carried.path().join("files"));
    let layers = blobs(&carried.bundle).len() - 1;
    assert_eq!(files.len(), layers, "{:?}", files.keys());
    for (name, bytes) in &files {
        let name = name.to_str().unwrap();
        assert!(!name.contains("sha256"), "{name}");
        let digest = amikit::internals::digest::sha256(bytes).hex();
        assert!(blobs(&carried.bundle).contains(&digest), "{name}");
        let titled = name == "ami.json" || name.contains(&digest[..16]);
        assert!(titled, "{name} is {digest}");
        if name.strip_suffix(".json").is_none() {
            common::run_well(carried.path(), &format!("inspect files/{name}"));
        }
    }
}

/// Blobs with one digest under two titles, and layers of a base.
#[test]
fn oras_pulls_all_layers_of_a_bundle_over_a_base() {
    if !all_installed(&["skopeo", "docker-registry", "oras"]) {
        return;
    }
    let carried = Carried::new();
    let image = common::fixture("images/disk.simg");
    let (image, folder) = (image.to_str().unwrap(), carried.path());
    let line =
        format!("pack {image} --map /dev/sdf={image} --base web.ami -o next.ami --name next");
    common::run_well(folder, &line);
    let name = carried.name().replace("web:1", "next:1");
    let push = ["cp", "--from-oci-layout", "next.ami:next", "--to-plain-http", &name];
    client(folder, "oras", &push);
    client(folder, "oras", &["pull", "--plain-http", "-o", "files", &name]);
    let names = common::names(&folder.join("files"));
    for part in ["xvda-", "sdf-", "base-", ".pack", "ami.json"] {
        assert!(names.iter().any(|name| name.contains(part)), "{part}: {names:?}");
    }
}

#[test]
fn what_oras_attaches_to_a_bundle_leaves_it_one() {
    if !installed("oras") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    bundle(folder.path(), "web.ami");
    fs::write(folder.path().join("list.json"), "{}").unwrap();
    let attach =
        ["attach", "--oci-layout", "--artifact-type", "a/list", "web.ami:web", "list.json:a/json"];
    client(folder.path(), "oras", &attach);
    client(folder.path(), "oras", &["tag", "--oci-layout", "web.ami:web", "prod"]);
    for name in ["web.ami", "web.ami@web", "web.ami@prod"] {
        common::run_well(folder.path(), &format!("verify {name}"));
    }
    let text = common::run_badly(folder.path(), "pack list.json -o web.ami --input-format raw", 2);
    assert!(text.contains("web.ami"), "{text}");
}

#[test]
fn a_bundle_that_cosign_signed_is_verified_by_both() {
    if !all_installed(&["skopeo", "docker-registry", "oras", "cosign"]) {
        return;
    }
    let carried = Carried::new();
    client(carried.path(), "cosign", &["generate-key-pair"]);
    let name = carried.name();
    let sign = [
        "sign",
        "--key",
        "cosign.key",
        "--tlog-upload=false",
        "--use-signing-config=false",
        "--allow-insecure-registry",
        "-y",
        &name,
    ];
    client(carried.path(), "cosign", &sign);
    let verify = [
        "verify",
        "--key",
        "cosign.pub",
        "--insecure-ignore-tlog",
        "--allow-insecure-registry",
        &name,
    ];
    let digest = common::run_well(carried.path(), "inspect web.ami --json");
    let digest: serde_json::Value = serde_json::from_str(&digest).unwrap();
    let digest = digest["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    assert!(client(carried.path(), "cosign", &verify).contains(&digest));
    let copy = ["cp", "-r", "--from-plain-http", &name, "--to-oci-layout", "signed.ami:web"];
    client(carried.path(), "oras", &copy);
    carried.check("signed.ami");
    let save = ["save", "--allow-insecure-registry", "--dir", "saved.ami", &name];
    client(carried.path(), "cosign", &save);
    carried.check("saved.ami");
}
