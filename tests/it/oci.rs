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

/// Tells whether a program is installed, and says so where it is not.
fn installed(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    });
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

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
struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    fn start(folder: &Path) -> Self {
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
