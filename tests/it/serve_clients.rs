//! `serve aws` and what flexible-snapshot-proxy sends, header by header as it was recorded (boto3 1.43, 2026): an upload over a
//! parent, a diff and a delta download, by endpoint alone.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;

use crate::common::quick_folder;
use crate::common::run_well;
use crate::ebs::client::Answer;
use crate::ebs::client::Client;
use crate::serve_aws::Server;

const BLOCK_LEN: usize = 524_288;

/// A client of boto3: it keeps its connection.
struct Boto {
    client: Client,
    host: String,
}

impl Boto {
    /// Sends a request with the headers that its operation has, in the order in which boto3 writes them.
    fn ask(&mut self, service: &str, line: &str, own: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut head =
            format!("{line} HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: identity\r\n", self.host);
        let (first, last): (Vec<_>, Vec<_>) =
            own.iter().partition(|(name, _)| *name != "X-Amz-Content-SHA256");
        for (name, value) in first {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head += "User-Agent: Boto3/1.43.11 md/Botocore#1.43.11 ua/2.1 os/linux md/arch#x86_64 lang/python#3.11.7 \
                 md/pyimpl#CPython m/D,Z,b,N cfg/retry-mode#legacy Botocore/1.43.11\r\nX-Amz-Date: 20261130T122130Z\r\n";
        for (name, value) in last {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        let mut signed: Vec<String> =
            own.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
        signed.extend(["host".to_owned(), "x-amz-date".to_owned()]);
        signed.sort();
        write!(
            head,
            "Authorization: AWS4-HMAC-SHA256 Credential=123456789012/20261130/us-east-1/{service}/aws4_request, \
             SignedHeaders={}, Signature={}\r\namz-sdk-invocation-id: c48f5147-09fd-4363-980c-29d92fc1fb45\r\n\
             amz-sdk-request: attempt=1\r\n",
            signed.join(";"),
            "5".repeat(64)
        )
        .unwrap();
        if !line.starts_with("GET") {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        head += "\r\n";
        self.client.send(&[head.as_bytes(), body].concat()).unwrap()
    }

    fn form(&mut self, service: &str, form: &str) -> String {
        let kind = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
        let answer = self.ask(service, "POST /", &[kind], form.as_bytes());
        let text = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200, "{text}");
        text
    }

    fn json(&mut self, line: &str, own: &[(&str, &str)], body: &str, status: u16) -> Value {
        let answer = self.ask("ebs", line, own, body.as_bytes());
        assert_eq!(answer.status, status, "{line}: {}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Uploads blocks, of which it says the count and no aggregate, and waits.
    fn upload(&mut self, parent: &str, token: &str, blocks: &[(u32, u8)]) -> String {
        let body = format!(
            "{{\"VolumeSize\": 1, \"Description\": \"Uploaded by fsp.py from ../v2.raw\", {parent}\"ClientToken\": \"{token}\"}}"
        );
        let json = ("Content-Type", "application/json");
        let started = self.json("POST /snapshots", &[json], &body, 201);
        let id = started["SnapshotId"].as_str().unwrap().to_owned();
        for (index, byte) in blocks {
            let block = vec![*byte; BLOCK_LEN];
            let checksum = STANDARD.encode(Sha256::digest(&block));
            let own = [
                ("x-amz-Data-Length", "524288"),
                ("x-amz-Checksum", &checksum),
                ("x-amz-Checksum-Algorithm", "SHA256"),
                ("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"),
            ];
            let line = format!("PUT /snapshots/{id}/blocks/{index}");
            let answer = self.ask("ebs", &line, &own, &block);
            assert_eq!((answer.status, &answer.headers["x-amz-checksum"]), (201, &checksum));
        }
        let count = blocks.len().to_string();
        let own = [("x-amz-ChangedBlocksCount", &*count)];
        let line = format!("POST /snapshots/completion/{id}");
        assert_eq!(self.json(&line, &own, "", 202)["Status"], "pending");
        let form = format!("Action=DescribeSnapshots&Version=2016-11-15&SnapshotId.1={id}");
        for _ in 0..600 {
            let text = self.form("ec2", &form);
            if text.contains("<progress>100%</progress>")
                && text.contains("<status>completed</status>")
            {
                return id;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("{id} stays pending");
    }
}

#[test]
fn flexible_snapshot_proxy_uploads_compares_and_downloads() {
    let folder = quick_folder();
    run_well(folder.path(), "store init images");
    let server = Server::start(folder.path(), "");
    let host = server.url.strip_prefix("http://").unwrap().to_owned();
    let mut boto = Boto { client: Client::new(&server.url), host };
    let who = boto.form("sts", "Action=GetCallerIdentity&Version=2011-06-15");
    assert!(who.contains("<Account>123456789012</Account>"), "{who}");
    let buckets = boto.ask("s3", "GET /?x-id=ListBuckets", &[], &[]);
    assert!(String::from_utf8_lossy(&buckets.body).contains("<Owner><ID>"));
    let regions = boto.form("ec2", "Action=DescribeRegions&Version=2016-11-15");
    assert!(regions.contains("<regionName>us-east-1</regionName>"), "{regions}");
    let first = boto.upload("", "cbbf95b6-30ce-4e8b-8672-ec720d164d2d", &[(0, 1), (3, 2), (9, 3)]);
    let parent = format!("\"ParentSnapshotId\": \"{first}\", ");
    let second = boto.upload(&parent, "0800317a-deba-4d2a-90d4-1074f045c4aa", &[(3, 7), (20, 8)]);
    let blocks = boto.json(&format!("GET /snapshots/{second}/blocks"), &[], "", 200);
    let indexes: Vec<_> =
        blocks["Blocks"].as_array().unwrap().iter().map(|it| &it["BlockIndex"]).collect();
    assert_eq!(indexes, [0, 3, 9, 20]);
    let line = format!("GET /snapshots/{second}/changedblocks?firstSnapshotId={first}");
    let changed = boto.json(&line, &[], "", 200);
    let mut found = Vec::new();
    for entry in changed["ChangedBlocks"].as_array().unwrap() {
        let index = &entry["BlockIndex"];
        let token = entry["SecondBlockToken"].as_str().unwrap();
        let token = token.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let line = format!("GET /snapshots/{second}/blocks/{index}?blockToken={token}");
        let answer = boto.ask("ebs", &line, &[], &[]);
        assert_eq!(answer.headers["x-amz-checksum"], STANDARD.encode(Sha256::digest(&answer.body)));
        assert_eq!(answer.body.len(), BLOCK_LEN);
        found.push((index.as_u64().unwrap(), answer.body[0]));
    }
    assert_eq!(found, [(3, 7), (20, 8)]);
}
