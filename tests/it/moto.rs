//! `moto`'s server as the oracle of services that we only use. It does not check signatures; `aws_sign` does that.

#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use crate::common::copy_tree;
use crate::common::fixture;
use crate::common::stderr;
use crate::publish::OTHER;
use crate::publish::client;
use crate::publish::events;
use crate::publish::packed;
use crate::publish::scene;
use crate::publish::versions;
use crate::serve_aws::Server;

/// A server of moto's.
struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    /// Starts it, or says that it is missing.
    fn start(here: &Path) -> Option<Self> {
        let program = std::env::var("AMIKIT_MOTO").unwrap_or_else(|_| "moto_server".to_owned());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = fs::File::create(here.join("moto.log")).unwrap();
        let mut command = Command::new(&program);
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .env("MOTO_ACCOUNT_ID", crate::publish::ACCOUNT);
        let process = command.stdout(Stdio::null()).stderr(log).spawn();
        let Ok(process) = process else {
            println!("skipped: moto_server is not installed");
            return None;
        };
        let mut moto = Self { process, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if moto.process.try_wait().unwrap().is_some() {
                println!("skipped: moto_server does not run");
                return None;
            }
            assert!(started.elapsed() < Duration::from_mins(2), "moto does not start");
            thread::sleep(Duration::from_millis(100));
        }
        Some(moto)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks a service in a region, and returns the body of the answer.
    fn ask(&self, line: &str, (region, service): (&str, &str), more: &str, body: &str) -> Vec<u8> {
        let head = format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}Content-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKID/20261130/{region}/{service}/aws4_request, \
             SignedHeaders=host, Signature=0\r\n\r\n",
            body.len()
        );
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        connection.write_all(head.as_bytes()).unwrap();
        connection.write_all(body.as_bytes()).unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        answer.split_off(end + 4)
    }

    /// Asks Systems Manager in a region.
    fn ssm(&self, region: &str, call: &str, parameters: &Value) -> Value {
        let kind = "Content-Type: application/x-amz-json-1.1";
        let more = format!("X-Amz-Target: AmazonSSM.{call}\r\n{kind}\r\n");
        let body = self.ask("POST /", (region, "ssm"), &more, &parameters.to_string());
        serde_json::from_slice(&body).unwrap()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_parameter_of_each_region_gets_the_id_of_its_ami() {
    let folder = scene();
    let here = folder.path();
    let Some(moto) = Moto::start(here) else { return };
    packed(here, &versions(10)[..2]);
    let server = Server::start(here, "--keys keys");
    let publish = |line: &str| {
        let mut command = client(here, &server.url, line);
        command.env("AWS_ENDPOINT_URL_SSM", moto.url()).output().unwrap()
    };
    let value = |region: &str, name: &str| {
        let answer = moto.ssm(region, "GetParameter", &json!({ "Name": name }));
        answer["Parameter"].clone()
    };
    moto.ssm(
        "us-east-1",
        "PutParameter",
        &json!({ "Name": "/other", "Value": "hello", "Type": "String" }),
    );
    // What is no AMI's stays, and nothing is uploaded.
    let line = "publish mine@web-0 --copy-to us-east-1 --ssm-parameter";
    let output = publish(&format!("{line} /other"));
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("/other in us-east-1 holds something else"),
        "{}",
        stderr(&output)
    );
    let output = publish("publish mine@web-0 --ssm-parameter a:b");
    assert!(stderr(&output).contains("is not the name of a parameter"), "{}", stderr(&output));
    assert_eq!(value("us-east-1", "/other")["Value"], "hello");
    assert!(!here.join("mine/publications").exists());

    let output = publish(&format!("{line} /images/web --json"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines = events(std::str::from_utf8(&output.stdout).unwrap());
    assert_eq!(lines.iter().filter(|it| it.get("parameter").is_some()).count(), 2);
    let first = lines.last().unwrap()["published"].clone();
    for image in first["images"].as_array().unwrap() {
        let found = value(image["region"].as_str().unwrap(), "/images/web");
        assert_eq!(found["Value"], image["image_id"]);
        assert_eq!(found["DataType"], "aws:ec2:image");
    }
    // The next version takes its place where it is published, and the old one can take it back.
    let output = publish("publish mine@web-1 --ssm-parameter /images/web --json");
    let second =
        events(std::str::from_utf8(&output.stdout).unwrap()).pop().unwrap()["published"].clone();
    assert_eq!(value("eu-central-1", "/images/web")["Value"], second["image_id"]);
    assert_eq!(value("us-east-1", "/images/web")["Value"], first["images"][1]["image_id"]);
    let output = publish("publish mine@web-0 --ssm-parameter /images/web");
    assert!(String::from_utf8_lossy(&output.stdout).contains("as it was already"));
    assert_eq!(value("eu-central-1", "/images/web")["Value"], first["image_id"]);
}

#[test]
fn an_instance_store_bundle_goes_to_s3_and_its_ami_is_registered() {
    let folder = scene();
    let here = folder.path();
    let Some(moto) = Moto::start(here) else { return };
    copy_tree(&fixture("instance-store/euca"), &here.join("old"));
    let s3 = ("eu-central-1", "s3");
    let place = "<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint>\
                 </CreateBucketConfiguration>";
    moto.ask("PUT /images", s3, "", place);
    let line =
        "publish old/disk.manifest.xml --bucket images/web --name web-1 --allow kernel-id --json";
    let publish = || {
        let output = client(here, &moto.url(), line).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        events(std::str::from_utf8(&output.stdout).unwrap()).pop().unwrap()["published"].clone()
    };
    let report = publish();
    assert_eq!(report["put_objects"], 6);
    for name in ["disk.part.00", "disk.part.04", "disk.manifest.xml"] {
        let found = moto.ask(&format!("GET /images/web/{name}"), s3, "", "");
        assert!(found == fs::read(here.join("old").join(name)).unwrap(), "{name}");
    }
    let form = format!(
        "Action=DescribeImages&Version=2016-11-15&ImageId.1={}",
        report["image_id"].as_str().unwrap()
    );
    let more = "Content-Type: application/x-www-form-urlencoded\r\n";
    let text = moto.ask("POST /", ("eu-central-1", "ec2"), more, &form);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("<name>web-1</name>"), "{text}");
}

#[test]
fn a_role_is_assumed_and_what_is_done_is_done_by_it() {
    let folder = scene();
    let here = folder.path();
    let Some(moto) = Moto::start(here) else { return };
    packed(here, &versions(10)[..1]);
    let role = format!("arn:aws:iam::{OTHER}:role/publisher");
    let config = format!(
        "[profile base]\naws_access_key_id = AKID\naws_secret_access_key = s3cr3t\n\
         [profile role]\nrole_arn = {role}\nsource_profile = base\n"
    );
    fs::write(here.join("config"), config).unwrap();
    fs::write(here.join("token"), "a.web.token").unwrap();
    let ask = |vars: &[(&str, &str)]| {
        let mut command = client(here, &moto.url(), "unpublish mine@web-0");
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.envs(vars.iter().copied());
        stderr(&command.output().unwrap())
    };
    let record = serde_json::json!({
        "Publication": 1, "Bundle": format!("sha256:{}", "0".repeat(64)), "Name": "web-0", "AmiName": "web-0",
        "Account": crate::publish::ACCOUNT, "PublishedAt": "2026-11-30T00:00:00Z",
        "Images": [{ "Region": "eu-central-1", "ImageId": "ami-0123456789abcdef0", "Snapshots": [] }],
    });
    fs::create_dir(here.join("mine/publications")).unwrap();
    fs::write(here.join("mine/publications/x.json"), record.to_string()).unwrap();
    let config = here.join("config");
    let (config, token) = (config.to_str().unwrap(), here.join("token"));
    for vars in [
        vec![("AWS_CONFIG_FILE", config), ("AWS_PROFILE", "role")],
        vec![("AWS_ROLE_ARN", &*role), ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap())],
    ] {
        // The environment has no key any more: only the role's session can have signed.
        let text = ask(&vars);
        assert!(text.contains("nothing was done"), "{vars:?}: {text}");
    }
}
