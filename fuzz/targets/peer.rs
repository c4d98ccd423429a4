//! A peer of the local EBS direct and EC2: requests of HTTP, and what they ask.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use amikit::Ami;
use amikit::internals::ami::Unread;
use amikit::internals::bundle::Snapshot;
use amikit::internals::digest::Digest;
use amikit::internals::error::Error;
use amikit::internals::error::Kind;
use amikit::internals::error::Result;
use amikit::internals::instance_store::Machine;
use amikit::internals::lint::Finding;
use amikit::internals::lint::Subject;
use amikit::internals::lint::lint;
use amikit::internals::serve::aws::Faults;
use amikit::internals::serve::aws::Keeper;
use amikit::internals::serve::aws::Kept;
use amikit::internals::serve::aws::Settings;
use amikit::internals::serve::aws::answers;
use amikit::internals::volume::ReadVolume;

use super::Seed;

/// What a snapshot says whose blocks are asked for.
const NO_BLOCKS: &str = "nothing is kept here";

/// An empty folder for a server's state, that goes when it is dropped.
struct Store(PathBuf);

impl Store {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("amikit-fuzz-peer-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A store of one AMI and one snapshot, whose blocks cannot be read, and that forgets what it is given.
struct Forgetful;

impl Keeper for Forgetful {
    fn list(&self) -> Result<Vec<Kept>> {
        let kept = |name: &str, ami| Kept {
            name: name.to_owned(),
            digest: Digest([1; 32]),
            ami,
            volumes: vec![("/dev/xvda".to_owned(), Digest([2; 32]), 1 << 30)],
            description: None,
        };
        let ami = amikit::verbs::with_defaults(Ami { name: "web".into(), ..Ami::default() }, false);
        Ok(vec![kept("web", Some(ami)), kept("root", None)])
    }

    fn open(&self, _name: &str, _device: &str) -> Result<Arc<Snapshot>> {
        Err(Error::new(Kind::Io, NO_BLOCKS))
    }

    fn keep(
        &self,
        _name: &str,
        _volume: &dyn ReadVolume,
        _base: Option<&(String, String)>,
        _description: Option<String>,
    ) -> Result<Digest> {
        Ok(Digest([3; 32]))
    }

    fn register(
        &self,
        _name: &str,
        _ami: &Ami,
        _from: &[(String, (String, String))],
    ) -> Result<()> {
        Ok(())
    }

    fn remove(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn instance_store(&self, name: &str) -> Result<Option<Machine>> {
        let machine = Machine { architecture: "x86_64".to_owned(), ..Machine::default() };
        Ok((name == "bundle").then_some(machine))
    }

    fn refusals(
        &self,
        ami: &Ami,
        _volumes: &[(String, (String, String))],
        unread: &[Unread],
    ) -> Result<Vec<Finding>> {
        Ok(lint(&Subject { unread, ..Subject::of(ami) }, &[]))
    }
}

/// Returns the number of a header.
fn number(head: &str, name: &str) -> Option<usize> {
    let mut lines = head.split("\r\n");
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
}

/// All that a peer sends, as one connection. What comes back are answers of HTTP, one after the other, and none of them
/// says that the server failed.
pub fn peer(data: &[u8]) {
    let store = Store::new();
    let settings = Settings {
        account: "123456789012".to_owned(),
        region: "us-east-1".to_owned(),
        keys: std::collections::BTreeMap::new(),
        host: None,
        max_size: 1 << 40,
        connections: 1,
        faults: Faults::default(),
    };
    let all = answers(&store.0, &Forgetful, settings, data).expect("the store is there");
    let mut rest = &all[..];
    while !rest.is_empty() {
        let end = rest.windows(4).position(|it| it == b"\r\n\r\n").expect("a head has an end");
        let (head, body) = rest.split_at(end + 4);
        let head = std::str::from_utf8(&head[..end]).expect("a head is text");
        assert!(!head.replace("\r\n", "").contains(char::is_control), "{head:?}");
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3)).expect("a status");
        let len = number(head, "Content-Length").unwrap_or(0);
        assert!(status == "100" || head.contains("Content-Length: "), "{head:?}");
        let (body, next) = body.split_at(len);
        let text = String::from_utf8_lossy(body);
        let is_known = status == "501" || text.contains(NO_BLOCKS);
        assert!(!status.starts_with('5') || is_known, "{head}\n{text}");
        if head.contains("xml") {
            let of = |c: char| text.matches(c).count();
            assert_eq!(of('<'), of('>'), "{text}");
        }
        rest = next;
    }
}

/// Requests as clients send them: the fuzzer learns their words from these.
pub fn seeds() -> Vec<Seed> {
    let zeros = "0".repeat(64);
    let head = |line: &str, service: &str, len: usize, more: &str| {
        format!(
            "{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=AKID/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, \
             Signature={zeros}\r\nContent-Length: {len}\r\n{more}\r\n"
        )
    };
    let form = |body: &str| head("POST /", "ec2", body.len(), "") + body;
    let start =
        r#"{"VolumeSize":1,"ClientToken":"a","Tags":[{"Key":"a","Value":"b"}],"Timeout":60}"#;
    let ami = "ami-4b5e57f6eb2f42b90";
    let texts = [
        ("start", head("POST /snapshots", "ebs", start.len(), "Expect: 100-continue\r\n") + start),
        (
            "list",
            head("GET /snapshots/snap-0a/blocks?maxResults=100&pageToken=AA%3D", "ebs", 0, ""),
        ),
        (
            "changed",
            head("GET /snapshots/snap-0a/changedblocks?firstSnapshotId=snap-0b", "ebs", 0, ""),
        ),
        ("get", head("GET /snapshots/snap-0a/blocks/7?blockToken=AAAA", "ebs", 0, "")),
        (
            "put",
            head(
                "PUT /snapshots/snap-0a/blocks/7",
                "ebs",
                4,
                "x-amz-Data-Length: 524288\r\nx-amz-Checksum: AAAA\r\nx-amz-Checksum-Algorithm: SHA256\r\n",
            ) + "abcd",
        ),
        (
            "complete",
            head("POST /snapshots/completion/snap-0a", "ebs", 0, "x-amz-ChangedBlocksCount: 1\r\n"),
        ),
        (
            "register",
            form(
                "Action=RegisterImage&Version=2016-11-15&Name=web2&Architecture=x86_64&RootDeviceName=%2Fdev%2Fxvda\
                 &VirtualizationType=hvm&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.Ebs.VolumeSize=8\
                 &BlockDeviceMapping.1.Ebs.VolumeType=gp3&TagSpecification.1.ResourceType=image\
                 &TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b&ImageLocation=bundle",
            ),
        ),
        (
            "describe",
            form(
                "Action=DescribeImages&Owner.1=self&Filter.1.Name=name&Filter.1.Value.1=w%3Fb*&MaxResults=5&NextToken=",
            ) + &form("Action=DescribeSnapshots&Filter.1.Name=tag%3Aa&Filter.1.Value.1=b"),
        ),
        (
            "modify",
            form(&format!(
                "Action=ModifyImageAttribute&ImageId={ami}&LaunchPermission.Add.1.UserId=210987654321&DryRun=true"
            )) + &form(&format!(
                "Action=DescribeImageAttribute&ImageId={ami}&Attribute=launchPermission"
            )),
        ),
        (
            "tags",
            form(&format!(
                "Action=CreateTags&ResourceId.1={ami}&Tag.1.Key=%3Ca%3E&Tag.1.Value=%26"
            )) + &form("Action=DescribeTags&Filter.1.Name=key&Filter.1.Value.1=*")
                + &form(&format!("Action=DeregisterImage&ImageId={ami}")),
        ),
        (
            "copy",
            form(&format!(
                "Action=CopyImage&SourceImageId={ami}&SourceRegion=us-east-1&Name=copy&CopyImageTags=true"
            )) + &form(
                "Action=EnableImageDeprecation&DeprecateAt=2030-01-01T00:00:00Z&ImageId=ami-0",
            ),
        ),
        ("who", head("POST /", "sts", 25, "") + "Action=GetCallerIdentity&"),
    ];
    let seeds = texts.into_iter();
    seeds.map(|(name, text)| ("peer", PathBuf::from(name), text.into_bytes())).collect()
}
