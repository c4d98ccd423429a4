//! `serve aws`: what botocore and raw sockets get of it. The oracle is `serve_aws.py` with botocore;
//! `AMIKIT_BOTOCORE_PYTHON` names the Python that has it, `AMIKIT_AWS` the AWS CLI.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::common::amikit;
use crate::common::installed;
use crate::common::quick_folder;
use crate::common::run_badly;
use crate::common::run_tool;
use crate::common::run_well;
use crate::schemas;

/// A server, ended when it is dropped.
pub(crate) struct Server {
    process: Child,
    out: Option<BufReader<ChildStdout>>,
    pub(crate) url: String,
}

impl Server {
    /// Starts one whose events nobody reads: of many calls they would fill the pipe.
    pub(crate) fn start_quietly(folder: &Path, more: &str) -> Self {
        let mut server = Self::start(folder, more);
        let mut out = server.out.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        server
    }

    pub(crate) fn start(folder: &Path, more: &str) -> Self {
        Self::of(amikit(), folder, more)
    }

    /// Starts one by a command that runs the program.
    pub(crate) fn of(mut command: Command, folder: &Path, more: &str) -> Self {
        command.current_dir(folder).args([
            "serve",
            "aws",
            "images",
            "--listen",
            "127.0.0.1:0",
            "--json",
        ]);
        command.args(more.split_whitespace());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap_or_else(|e| {
            let mut text = String::new();
            process.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("{e}: {line}: {text}")
        });
        let url = first["listening"]["url"].as_str().unwrap().to_owned();
        Self { process, out: Some(out), url }
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Sends bytes and returns what comes back until the connection ends.
    pub(crate) fn say(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Ends it in order, and returns all lines that it printed.
    pub(crate) fn stop(mut self) -> (Option<i32>, Vec<Value>) {
        let pid =
            rustix::process::Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut text = String::new();
        self.out.take().unwrap().read_to_string(&mut text).unwrap();
        let code = self.process.wait().unwrap().code();
        (code, text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the Python that has botocore, or says why there is none.
fn python() -> Option<String> {
    let named = std::env::var("AMIKIT_BOTOCORE_PYTHON").ok();
    let python = named.unwrap_or_else(|| "python3".to_owned());
    let output = Command::new(&python).args(["-c", "import botocore"]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {python} has no botocore");
    None
}

fn drive(python: &str, server: &Server, scenario: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/serve_aws.py");
    let mut command = Command::new(python);
    command.arg(script).arg(&server.url).args(scenario);
    for name in ["AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE"] {
        command.env_remove(name);
    }
    String::from_utf8(run_tool(&mut command)).unwrap()
}

fn store() -> tempfile::TempDir {
    let folder = quick_folder();
    run_well(folder.path(), "store init images");
    folder
}

#[test]
fn blocks_go_in_and_come_out_bit_for_bit_over_parents_too() {
    let Some(python) = python() else { return };
    let folder = store();
    let server = Server::start(folder.path(), "");
    let ids = drive(&python, &server, &["blocks_go_in_and_come_out"]);
    let (code, lines) = server.stop();
    assert_eq!(code, Some(0));
    let schema = schemas::schema("serve-aws");
    for line in &lines {
        let faults = schemas::check::faults(&schema, line);
        assert!(faults.is_empty(), "{faults:#?}\n{line}");
    }
    assert!(lines.last().unwrap()["sum"]["calls"].as_u64().unwrap() > 20);
    run_well(folder.path(), "store verify images");
    // The bytes of the store are those of `store add` of the same volume, whatever the order of the puts.
    let first = ids.split_whitespace().next().unwrap();
    run_well(folder.path(), &format!("unpack images@{first} -o first.raw"));
    run_well(folder.path(), "store init other");
    run_well(folder.path(), &format!("store add other@{first} first.raw --description first"));
    let packs = |store: &str| {
        let listed = run_well(folder.path(), &format!("store show {store}@{first} --json"));
        let shown: Value = serde_json::from_str(&listed).unwrap();
        shown["digest"].clone()
    };
    assert_eq!(packs("images"), packs("other"));
}

#[test]
fn what_ebs_refuses_is_refused_with_its_errors() {
    let Some(python) = python() else { return };
    let folder = store();
    drive(&python, &Server::start(folder.path(), ""), &["mistakes_are_refused"]);
}

#[test]
fn images_are_registered_shared_copied_and_deregistered() {
    let Some(python) = python() else { return };
    let folder = store();
    drive(&python, &Server::start(folder.path(), ""), &["images_live_and_die"]);
    run_well(folder.path(), "store verify images");
}

#[test]
fn what_ec2_refuses_is_refused_with_its_codes() {
    let Some(python) = python() else { return };
    let folder = store();
    drive(&python, &Server::start(folder.path(), ""), &["images_are_judged_as_ec2_does"]);
}

#[test]
fn every_filter_that_ec2_documents_is_known() {
    let Some(python) = python() else { return };
    let folder = store();
    // Unknown ones are refused also where there is nothing to filter.
    let empty = Server::start(folder.path(), "");
    drive(&python, &empty, &["every_filter_that_ec2_documents_is_known"]);
    drop(empty);
    fs::write(folder.path().join("disk"), vec![7; 1 << 20]).unwrap();
    run_well(folder.path(), "pack disk -o images@web-1 --tag Name=web");
    let server = Server::start(folder.path(), "");
    drive(&python, &server, &["every_filter_that_ec2_documents_is_known"]);
}

#[test]
fn signatures_are_verified_where_keys_are_given() {
    let Some(python) = python() else { return };
    let folder = store();
    let keys = folder.path().join("keys");
    fs::write(&keys, "# ours\nAKIDEXAMPLE right 210987654321\n").unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let line = "serve aws images --listen 127.0.0.1:0 --keys keys";
    assert!(run_badly(folder.path(), line, 2).contains("0644"));
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    drive(&python, &Server::start(folder.path(), "--keys keys"), &["keys_must_sign"]);
}

#[test]
fn faults_and_short_pages_come_as_asked() {
    let Some(python) = python() else { return };
    let folder = store();
    let faults = r#"{"faults":[
        {"call":"StartSnapshot","times":1,"status":500,"code":"InternalServerException"},
        {"call":"PutSnapshotBlock","every":4,"code":"RequestThrottledException"}],"short_pages":true}"#;
    fs::write(folder.path().join("faults.json"), faults).unwrap();
    let server = Server::start(folder.path(), "--faults faults.json");
    drive(&python, &server, &["faults_come_as_asked"]);
    drop(server);
    fs::write(folder.path().join("bad.json"), "{\"faults\": 1}").unwrap();
    run_badly(folder.path(), "serve aws images --listen 127.0.0.1:0 --faults bad.json", 4);
}

#[test]
fn a_kill_loses_nothing_that_was_answered_and_what_was_there_is_served() {
    let Some(python) = python() else { return };
    let folder = store();
    fs::write(folder.path().join("a.raw"), vec![7; 3 << 19]).unwrap();
    run_well(folder.path(), "pack a.raw -o images@web --name there");
    let mut server = Server::start(folder.path(), "");
    drive(&python, &server, &["what_was_there_is_there", "there", "3"]);
    let second = run_badly(folder.path(), "serve aws images --listen 127.0.0.1:0", 3);
    assert!(second.contains("another run"), "{second}");
    let id = drive(&python, &server, &["pending_survives", "begin"]);
    server.kill();
    let server = Server::start(folder.path(), "");
    drive(&python, &server, &["pending_survives", "end", id.trim()]);
}

#[test]
fn the_aws_cli_works_by_endpoint_alone() {
    let named = std::env::var("AMIKIT_AWS").ok();
    let program = named.unwrap_or_else(|| "aws".to_owned());
    if !program.contains('/') && !installed(&program) {
        return;
    }
    let folder = store();
    fs::write(folder.path().join("a.raw"), vec![7; 3 << 19]).unwrap();
    run_well(folder.path(), "store add images@root a.raw");
    let server = Server::start(folder.path(), "");
    let aws = |line: &str| {
        let mut command = Command::new(&program);
        command.args(line.split_whitespace()).args(["--output", "text"]);
        command.env("AWS_ENDPOINT_URL", &server.url).env("AWS_DEFAULT_REGION", "us-east-1");
        command
            .env("AWS_PAGER", "")
            .env("AWS_ACCESS_KEY_ID", "123456789012")
            .env("AWS_SECRET_ACCESS_KEY", "x");
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        String::from_utf8(run_tool(&mut command)).unwrap().trim().to_owned()
    };
    let snapshot = aws("ec2 describe-snapshots --owner-ids self --query Snapshots[0].SnapshotId");
    let image = aws(&format!(
        "ec2 register-image --name web --architecture x86_64 --virtualization-type hvm \
         --root-device-name /dev/xvda --block-device-mappings \
         DeviceName=/dev/xvda,Ebs={{SnapshotId={snapshot}}} --query ImageId"
    ));
    aws(&format!("ec2 wait image-available --image-ids {image}"));
    let copy = aws(&format!(
        "ec2 copy-image --source-image-id {image} --source-region us-east-1 --region eu-west-1 \
         --name copy --query ImageId"
    ));
    aws(&format!(
        "ec2 modify-image-attribute --image-id {image} --launch-permission Add=[{{UserId=210987654321}}]"
    ));
    aws(&format!("ec2 create-tags --resources {image} --tags Key=a,Value=b"));
    let found =
        aws(&format!("ec2 describe-images --image-ids {image} --query Images[0].Tags[0].Value"));
    assert_eq!(found, "b");
    aws(&format!("ec2 deregister-image --image-id {image}"));
    assert!(copy.starts_with("ami-"));
}

/// Uploaders ask for buckets to learn their canonical id.
#[test]
fn s3_has_no_buckets_and_says_whose_they_would_be() {
    let folder = store();
    let server = Server::start(folder.path(), "");
    let mut client = crate::ebs::client::Client::new(&server.url);
    let who = ("123456789012", "us-east-1");
    let mut ask = |line: &str| {
        let answer = client.ask(who, "s3", line, &[], &[]);
        (answer.status, String::from_utf8(answer.body).unwrap())
    };
    let (status, text) = ask("GET /?x-id=ListBuckets");
    assert_eq!(status, 200, "{text}");
    let (_, owner) = text.split_once("<Owner><ID>").unwrap();
    assert_eq!(owner.find('<'), Some(64), "{text}");
    assert!(text.contains("<Buckets></Buckets>"), "{text}");
    for line in ["GET /bucket?acl", "PUT /bucket"] {
        let (status, text) = ask(line);
        assert!(status == 501 && text.contains("<Code>NotImplemented</Code>"), "{text}");
    }
}

/// What no client sends: the server answers or hangs up, and others are served.
#[test]
fn garbage_browsers_and_silence_cost_nothing() {
    let folder = store();
    let server = Server::start(folder.path(), "--connections 8");
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let signed = "Authorization: AWS4-HMAC-SHA256 Credential=K/20260101/us-east-1/sts/aws4_request, \
                  SignedHeaders=host, Signature=0000000000000000000000000000000000000000000000000000000000000000\r\n";
    let ask = |headers: &str| {
        let body = "Action=GetCallerIdentity&Version=2011-06-15";
        let text = format!(
            "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        server.say(text.as_bytes())
    };
    let good = ask(&format!("Host: localhost\r\n{signed}"));
    assert!(good.contains("<Account>123456789012</Account>"), "{good}");
    // Lenient clients hide a line that ends otherwise.
    let head = good.split("\r\n\r\n").next().unwrap();
    assert!(head.lines().count() > 3 && head.matches('\n').count() == head.matches("\r\n").count());
    for headers in [
        format!("Host: evil.example\r\n{signed}"),
        format!("Host: localhost\r\nOrigin: http://localhost\r\n{signed}"),
        format!("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n{signed}"),
        "Host: localhost\r\n".to_owned(),
    ] {
        assert_eq!(status(&ask(&headers)), "403", "{headers}");
    }
    for (bytes, expected) in [
        (b"\0\0\0\0\0\0\0\0\r\n\r\n".to_vec(), "400"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 524289\r\n\r\n".to_vec(), "413"),
        (b"PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n".to_vec(), "400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), "411"),
        ([b"GET / HTTP/1.1\r\nA: ".to_vec(), vec![b'x'; 20_000]].concat(), "431"),
    ] {
        assert_eq!(status(&server.say(&bytes)), expected);
    }
    // Those who say nothing hold nobody up.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let mut random = crate::common::Random::new("garbage");
    for _ in 0..200 {
        let len = random.index(300);
        let mut stream = TcpStream::connect(server.address()).unwrap();
        let _ = stream.write_all(&random.bytes(len));
    }
    assert!(ask(&format!("Host: 127.0.0.1\r\n{signed}")).contains("123456789012"));
    drop(silent);
    assert_eq!(server.stop().0, Some(0));
}
