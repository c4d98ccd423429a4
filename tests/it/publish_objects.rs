//! `publish` of an instance-store bundle: parts and manifest to a stub of S3, the AMI registered by the manifest's place.
//! The stub is also EC2 and STS, as far as that needs them, and checks what S3 checks; `moto` is the oracle of the form.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::digest::sha256;

use crate::common::Random;
use crate::common::copy_tree;
use crate::common::fixture;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::stderr;
use crate::publish::ACCOUNT;
use crate::publish::badly;
use crate::publish::client;
use crate::publish::events;
use crate::publish::well;

/// The region of the stub's buckets.
const REGION: &str = "eu-central-1";

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a service of its own kind")]
struct World {
    /// Objects by their paths.
    objects: BTreeMap<String, Vec<u8>>,
    /// Methods and paths, in their order.
    log: Vec<String>,
    /// Forms of `RegisterImage`.
    registered: Vec<BTreeMap<String, String>>,
    /// Requests of S3 that are answered with 503 first.
    faults: usize,
    /// Objects whose checksum nobody knows.
    without_checksum: bool,
    /// Whether the credentials may not look at objects.
    hidden: bool,
    /// Whether puts on a condition are not known.
    old: bool,
    /// Puts on a condition that are answered with 409 first.
    conflicts: usize,
    /// What somebody else puts before the first put.
    appears: Option<(String, Vec<u8>)>,
    /// Puts that are done, and whose answer is lost.
    lost: usize,
    /// What objects are known by, if that is not made of their bytes: as where they are encrypted by a key of KMS.
    tags: Option<BTreeMap<String, String>>,
    /// Entries of a page of a list; none are listed if it is 0: the credentials may not do that.
    page: usize,
    /// Tells of which request on nothing is answered, and whether what is asked for is done nevertheless.
    stall: Option<Stall>,
    stalled: bool,
    /// A parameter, and what it becomes after the first look.
    parameter: Option<String>,
    parameter_appears: Option<String>,
}

/// `Some` from the request on which is not answered any more.
type Stall = Box<dyn FnMut(&Asked) -> Option<bool> + Send>;

/// What is answered: the status, headers with the length of the body, and the body.
type Answer = (u16, String, String);

#[allow(
    clippy::unnecessary_wraps,
    reason = "as the stub's answers, of which one is a cut connection"
)]
fn said(status: u16, body: impl Into<String>) -> Option<Answer> {
    let body = body.into();
    Some((status, format!("Content-Length: {}\r\n", body.len()), body))
}

fn refused(status: u16, code: &str) -> Option<Answer> {
    said(status, format!("<Error><Code>{code}</Code><Message>m</Message></Error>"))
}

struct Stub {
    url: String,
    world: Arc<Mutex<World>>,
}

struct Asked {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|len| *len > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    if headers.get("expect").is_some_and(|it| it == "100-continue") {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let len = headers.get("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    stream.read_exact(&mut body).ok()?;
    Some(Asked { method, path, headers, body })
}

fn form(body: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let pair = |it: &str| {
        let (name, value) = it.split_once('=').unwrap();
        (name.to_owned(), value.replace("%2F", "/").replace("%3A", ":"))
    };
    text.split('&').map(pair).collect()
}

fn image(form: &BTreeMap<String, String>, number: usize) -> String {
    let tag = |what: &str| &form[&format!("TagSpecification.1.Tag.1.{what}")];
    format!(
        "<item><imageId>ami-0000000{number}</imageId><imageLocation>{}</imageLocation><imageState>available</imageState>\
         <imageOwnerId>{ACCOUNT}</imageOwnerId>\
         <name>{}</name><tagSet><item><key>{}</key><value>{}</value></item></tagSet></item>",
        form["ImageLocation"],
        form["Name"],
        tag("Key"),
        tag("Value"),
    )
}

impl World {
    /// Answers, or cuts the connection.
    fn answer(&mut self, asked: &Asked) -> Option<Answer> {
        if self.stalled {
            return None;
        }
        if let Some(is_done) = self.stall.as_mut().and_then(|stall| stall(asked)) {
            (self.stalled, self.stall) = (true, None);
            if !is_done {
                return None;
            }
        }
        let scope = asked.header("authorization").split('/').nth(3).unwrap_or_default().to_owned();
        if scope == "ssm" {
            return self.ssm(asked);
        }
        if scope != "s3" {
            return said(200, self.query(&form(&asked.body)));
        }
        self.log.push(format!("{} {}", asked.method, asked.path));
        if self.faults > 0 {
            self.faults -= 1;
            return refused(503, "SlowDown");
        }
        if asked.path.starts_with("/elsewhere/") {
            let head = "x-amz-bucket-region: us-west-2\r\nContent-Length: 0\r\n";
            return Some((301, head.to_owned(), String::new()));
        }
        if asked.path.starts_with("/closed/") && asked.method == "PUT" {
            return refused(400, "AccessControlListNotSupported");
        }
        match asked.method.as_str() {
            "HEAD" => self.head(asked),
            "GET" => self.list(asked),
            _ => self.put(asked),
        }
    }

    fn tag(&self, path: &str) -> String {
        let tag = self.tags.as_ref().and_then(|tags| tags.get(path).cloned());
        tag.unwrap_or_else(|| format!("\"{}\"", &sha256(&self.objects[path]).hex()[..32]))
    }

    fn replace(&mut self, path: &str, bytes: Vec<u8>) {
        self.objects.insert(path.to_owned(), bytes);
        if let Some(tags) = &mut self.tags {
            let number = tags.len() + tags.values().map(String::len).sum::<usize>();
            tags.insert(path.to_owned(), format!("\"{number}\""));
        }
    }

    fn list(&self, asked: &Asked) -> Option<Answer> {
        if self.page == 0 {
            return refused(403, "AccessDenied");
        }
        let (path, query) = asked.path.split_once('?').unwrap();
        let query = form(query.as_bytes());
        assert_eq!(query["list-type"], "2");
        let prefix = format!("{path}/{}", query["prefix"]);
        let after = query.get("continuation-token").cloned().unwrap_or_default();
        let rest = || self.objects.keys().filter(|it| it.starts_with(&prefix) && **it > after);
        let mut body = String::from("<?xml version=\"1.0\"?>\n<ListBucketResult>");
        for it in rest().take(self.page) {
            let (key, len) =
                (it.strip_prefix(&format!("{path}/")).unwrap(), self.objects[it].len());
            let tag = self.tag(it).replace('"', "&quot;");
            let item = format!(
                "<Contents><Key>{key}</Key><ETag>{tag}</ETag><Size>{len}</Size></Contents>"
            );
            body.push_str(&item);
        }
        if rest().nth(self.page).is_some() {
            let last = rest().nth(self.page - 1).unwrap();
            let token = format!("<NextContinuationToken>{last}</NextContinuationToken>");
            body.push_str(&token);
        }
        said(200, body + "</ListBucketResult>")
    }

    fn head(&self, asked: &Asked) -> Option<Answer> {
        assert_eq!(asked.header("x-amz-checksum-mode"), "ENABLED");
        if self.hidden {
            return said(403, "");
        }
        let Some(bytes) = self.objects.get(&asked.path) else { return said(404, "") };
        let checksum = format!("x-amz-checksum-sha256: {}\r\n", sha256(bytes).base64());
        let checksum = if self.without_checksum { "" } else { &checksum };
        let tag = self.tag(&asked.path);
        let head = format!("Content-Length: {}\r\nETag: {tag}\r\n{checksum}", bytes.len());
        Some((200, head, String::new()))
    }

    fn put(&mut self, asked: &Asked) -> Option<Answer> {
        assert_eq!(asked.method, "PUT");
        let digest = sha256(&asked.body);
        assert_eq!(asked.header("x-amz-content-sha256"), digest.hex());
        assert_eq!(asked.header("x-amz-checksum-sha256"), digest.base64());
        assert_eq!(asked.header("x-amz-acl"), "aws-exec-read");
        if let Some((path, bytes)) = self.appears.take() {
            self.objects.insert(path, bytes);
        }
        match asked.header("if-none-match") {
            "" => {}
            "*" if self.old => return refused(501, "NotImplemented"),
            "*" if self.conflicts > 0 => {
                self.conflicts -= 1;
                return refused(409, "ConditionalRequestConflict");
            }
            "*" if self.objects.contains_key(&asked.path) => {
                return refused(412, "PreconditionFailed");
            }
            condition => assert_eq!(condition, "*"),
        }
        self.replace(&asked.path, asked.body.clone());
        if self.lost > 0 {
            self.lost -= 1;
            return None;
        }
        let head = format!("ETag: {}\r\nContent-Length: 0\r\n", self.tag(&asked.path));
        Some((200, head, String::new()))
    }

    fn ssm(&mut self, asked: &Asked) -> Option<Answer> {
        let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        let found = self.parameter.clone();
        if asked.header("x-amz-target") == "AmazonSSM.GetParameter" {
            self.parameter = self.parameter_appears.take().or(found.clone());
            return match found {
                Some(value) => {
                    said(200, serde_json::json!({ "Parameter": { "Value": value } }).to_string())
                }
                None => said(400, r#"{"__type":"ParameterNotFound"}"#),
            };
        }
        if found.is_some() && body["Overwrite"] != true {
            return said(400, r#"{"__type":"ParameterAlreadyExists"}"#);
        }
        self.parameter = body["Value"].as_str().map(str::to_owned);
        if self.lost > 0 {
            self.lost -= 1;
            return None;
        }
        said(200, r#"{"Version":1}"#)
    }

    fn query(&mut self, form: &BTreeMap<String, String>) -> String {
        match form["Action"].as_str() {
            "GetCallerIdentity" => format!(
                "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{ACCOUNT}</Account>\
                 </GetCallerIdentityResult></GetCallerIdentityResponse>"
            ),
            "RegisterImage" => {
                self.registered.push(form.clone());
                let id = self.registered.len();
                format!(
                    "<RegisterImageResponse><imageId>ami-0000000{id}</imageId></RegisterImageResponse>"
                )
            }
            "DescribeImages" => {
                let all = self.registered.iter().enumerate();
                let items: String = all.map(|(number, form)| image(form, number + 1)).collect();
                format!(
                    "<DescribeImagesResponse><imagesSet>{items}</imagesSet></DescribeImagesResponse>"
                )
            }
            "DeregisterImage" => {
                self.registered.clear();
                "<DeregisterImageResponse><return>true</return></DeregisterImageResponse>"
                    .to_owned()
            }
            other => panic!("{other}"),
        }
    }
}

impl Stub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let world = Arc::new(Mutex::new(World { page: 1000, ..World::default() }));
        let kept = Arc::clone(&world);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, world) = (stream.unwrap(), Arc::clone(&kept));
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(asked) = read(&mut stream) {
                        let answer = world.lock().unwrap().answer(&asked);
                        // Who waits for it is killed.
                        while world.lock().unwrap().stalled {
                            thread::sleep(Duration::from_millis(2));
                        }
                        let Some((status, head, body)) = answer else { break };
                        let body = if asked.method == "HEAD" { "" } else { &body };
                        let text = format!("HTTP/1.1 {status} X\r\n{head}\r\n{body}");
                        if stream.get_mut().write_all(text.as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { url, world }
    }

    fn with<R>(&self, look: impl FnOnce(&mut World) -> R) -> R {
        look(&mut self.world.lock().unwrap())
    }

    fn log(&self) -> Vec<String> {
        self.with(|it| std::mem::take(&mut it.log))
    }
}

fn bundle(here: &Path) {
    copy_tree(&fixture("instance-store/euca"), &here.join("old"));
}

/// The kernel of the bundle is one of Eucalyptus, which EC2 has no id for.
const LINE: &str =
    "publish old/disk.manifest.xml --bucket images/web/1 --name web-1 --allow kernel-id";

#[test]
fn parts_then_the_manifest_are_put_and_the_ami_is_registered_by_its_place() {
    let folder = quick_folder();
    let here = folder.path();
    bundle(here);
    let stub = Stub::start();
    stub.with(|it| it.faults = 2);
    let text = well(here, &stub.url, &format!("{LINE} --json"));
    let lines = events(&text);
    let report = &lines.last().unwrap()["published"];
    assert_eq!(report["location"], "images/web/1/disk.manifest.xml");
    assert_eq!((&report["put_objects"], &report["image_id"]), (&6.into(), &"ami-00000001".into()));
    let mut names: Vec<String> = (0..5).map(|it| format!("disk.part.0{it}")).collect();
    names.push("disk.manifest.xml".to_owned());
    for name in &names {
        let bytes = fs::read(here.join("old").join(name)).unwrap();
        assert_eq!(stub.with(|it| it.objects[&format!("/images/web/1/{name}")].clone()), bytes);
    }
    let log = stub.log();
    assert_eq!(log.last().unwrap(), "PUT /images/web/1/disk.manifest.xml");
    let call = stub.with(|it| it.registered[0].clone());
    for (name, value) in [
        ("Name", "web-1"),
        ("ImageLocation", "images/web/1/disk.manifest.xml"),
        ("Architecture", "x86_64"),
        ("TagSpecification.1.Tag.1.Key", "amikit:bundle"),
    ] {
        assert_eq!(call[name], value, "{call:?}");
    }
    // Again: it is there, and nothing is sent.
    let text = well(here, &stub.url, LINE);
    assert!(text.contains("as it was already") && text.contains("0 files put"), "{text}");
    assert!(stub.log().is_empty());
    // The record takes it back. What is in the bucket is the user's.
    let line = format!("unpublish old/disk.manifest.xml --yes {ACCOUNT}");
    assert!(well(here, &stub.url, &line).contains("ami-00000001"));
    assert_eq!(stub.with(|it| (it.registered.len(), it.objects.len())), (0, 6));
    // What is missing is put, and nothing else.
    stub.with(|it| it.objects.remove("/images/web/1/disk.part.03"));
    well(here, &stub.url, LINE);
    let puts: Vec<String> = stub.log().into_iter().filter(|it| it.starts_with("PUT")).collect();
    assert_eq!(puts, ["PUT /images/web/1/disk.part.03"]);
}

#[test]
fn what_cannot_be_published_is_named_and_nothing_is_written_over() {
    let folder = quick_folder();
    let here = folder.path();
    bundle(here);
    let stub = Stub::start();
    let bad = |line: &str, code: i32, expected: &str| {
        let text = badly(here, &stub.url, line, code);
        assert!(text.contains(expected), "{line}: {text}");
    };
    let place = "/images/web/1/disk.part.02".to_owned();
    stub.with(|it| it.objects.insert(place.clone(), b"another's".to_vec()));
    bad(LINE, 2, "s3://images/web/1/disk.part.02 is there, and is another file");
    assert_eq!(stub.with(|it| it.objects[&place].clone()), b"another's");
    assert!(stub.with(|it| !it.objects.contains_key("/images/web/1/disk.manifest.xml")));
    let to = |bucket: &str| LINE.replace("images/web/1", bucket);
    bad(&to("elsewhere/x"), 2, "the bucket elsewhere lies in \"us-west-2\", expected eu-central-1");
    bad(&to("closed/x"), 2, "BucketOwnerPreferred");
    bad(&to("images/../x"), 2, "is not a bucket");
    bad("publish old/disk.manifest.xml", 2, "--bucket BUCKET/PREFIX");
    bad("publish old/unsigned.manifest.xml --bucket images", 2, "not signed");
    bad(&format!("{LINE} --copy-to us-east-1"), 2, "cannot be used with");
    fs::write(here.join("old/disk.part.04"), "short").unwrap();
    bad(LINE, 4, "expected bundled_size, 82000");
    // Journals of the parts that were put before, and no record.
    let left = names(&here.join("old/disk.manifest.xml.publications"));
    assert!(left.iter().all(|it| it.ends_with(".journal")), "{left:?}");
    assert!(stub.with(|it| it.registered.is_empty()));
}

/// What the place of an object has when it is put, and what a look before that showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum There {
    Nothing,
    Same,
    Other,
    OtherOfThatLength,
    SameAppears,
    OtherAppears,
}

/// From the kind, and not from one case: whatever was there, whoever may look, and whatever the service knows, what is not
/// this file stays as it is, and it is said what to do; and a run that ends well has put or found every byte.
#[test]
fn nothing_is_replaced_that_is_not_proven_to_be_the_same() {
    let folder = quick_folder();
    let here = folder.path();
    bundle(here);
    let place = "/images/web/1/disk.part.02";
    let file = fs::read(here.join("old/disk.part.02")).unwrap();
    let mut seen = 0;
    for hidden in [false, true] {
        for old in [false, true] {
            for without_checksum in [false, true] {
                for there in [
                    There::Nothing,
                    There::Same,
                    There::Other,
                    There::OtherOfThatLength,
                    There::SameAppears,
                    There::OtherAppears,
                ] {
                    if old && !hidden && matches!(there, There::SameAppears | There::OtherAppears) {
                        // Between a look and a put of such a service there is nothing that could help.
                        continue;
                    }
                    let case = format!("{hidden} {old} {without_checksum} {there:?}");
                    let _ = fs::remove_dir_all(here.join("old/disk.manifest.xml.publications"));
                    let stub = Stub::start();
                    let found = match there {
                        There::Nothing => None,
                        There::Same | There::SameAppears => Some(file.clone()),
                        There::OtherOfThatLength => Some(vec![7; file.len()]),
                        There::Other | There::OtherAppears => Some(b"another's".to_vec()),
                    };
                    stub.with(|it| {
                        (it.hidden, it.old) = (hidden, old);
                        (it.without_checksum, it.conflicts) = (without_checksum, 1);
                        match (there, found.clone()) {
                            (There::SameAppears | There::OtherAppears, Some(found)) => {
                                it.appears = Some((place.to_owned(), found));
                            }
                            (_, Some(found)) => drop(it.objects.insert(place.to_owned(), found)),
                            (_, None) => {}
                        }
                    });
                    let is_same = matches!(there, There::Same | There::SameAppears);
                    let ends_well = match there {
                        _ if hidden && old => false,
                        There::Nothing => true,
                        _ => is_same && !hidden && !without_checksum,
                    };
                    let output = client(here, &stub.url, LINE).output().unwrap();
                    let text = stderr(&output);
                    let expected = if ends_well { Some(0) } else { Some(2) };
                    assert_eq!(output.status.code(), expected, "{case}: {text}");
                    let left = stub.with(|it| it.objects.get(place).cloned());
                    if let Some(found) = found {
                        assert!(left.is_none_or(|it| it == found), "{case}: {text}");
                    }
                    let manifest = "/images/web/1/disk.manifest.xml";
                    let complete = stub.with(|it| it.objects.contains_key(manifest));
                    assert_eq!(complete, ends_well, "{case}");
                    assert_eq!(stub.with(|it| it.registered.len()), usize::from(ends_well));
                    if !ends_well {
                        assert!(text.contains("s3://images/web/1/disk.part.0"), "{case}: {text}");
                        assert!(text.contains("name another prefix"), "{case}: {text}");
                        assert_eq!(text.contains("s3:ListBucket"), hidden, "{case}: {text}");
                    }
                    seen += 1;
                }
            }
        }
    }
    assert_eq!(seen, 44);
}

/// Returns the files that the journals say S3 has.
fn journaled(here: &Path) -> BTreeSet<String> {
    let folder = here.join("old/disk.manifest.xml.publications");
    if !folder.exists() {
        return BTreeSet::new();
    }
    let journals = names(&folder).into_iter().filter(|it| it.ends_with(".journal"));
    let texts: Vec<_> = journals.map(|it| fs::read_to_string(folder.join(it)).unwrap()).collect();
    let lines = texts.iter().flat_map(|it| it.split_inclusive('\n'));
    let lines = lines.filter_map(|it| it.strip_suffix('\n'));
    let files = lines.filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["Put"]["File"].as_str().map(str::to_owned)
    });
    files.collect()
}

/// Runs it until the stub answers no more, and kills it then; returns its output if it ends before.
fn run_until_stalled(here: &Path, stub: &Stub, line: &str) -> Option<std::process::Output> {
    let mut child = client(here, &stub.url, line).spawn().unwrap();
    let started = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return Some(child.wait_with_output().unwrap());
        }
        if stub.with(|it| it.stalled) {
            child.kill().unwrap();
            child.wait().unwrap();
            stub.with(|it| it.stalled = false);
            return None;
        }
        assert!(started.elapsed() < Duration::from_mins(1), "it hangs");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Kills at any request, done or not: what the journal has by then is neither put nor looked at again, in however many pages
/// the bucket is listed, and the AMI is registered once, of all files.
#[test]
fn what_the_journal_has_is_neither_put_nor_asked_for_again() {
    let (mut kills, mut most) = (0, 0);
    for seed in 1..=rounds(8) {
        let folder = quick_folder();
        let here = folder.path();
        bundle(here);
        let stub = Stub::start();
        let mut random = Random::with_seed(u64::try_from(seed).unwrap());
        stub.with(|it| {
            it.page = 1 + random.index(4);
            it.tags = (random.below(2) == 0).then(BTreeMap::new);
        });
        let line = format!("{LINE} --connections {}", 1 + random.below(8));
        let output = loop {
            let known = journaled(here);
            most = most.max(known.len());
            stub.log();
            let (mut left, is_done) = (random.below(9), random.below(2) == 0);
            let stall = move |_: &Asked| {
                let over = left == 0;
                left = left.saturating_sub(1);
                over.then_some(is_done)
            };
            stub.with(|it| it.stall = Some(Box::new(stall)));
            let output = run_until_stalled(here, &stub, &line);
            for entry in stub.log().into_iter().filter(|it| !it.starts_with("GET")) {
                let again = known.iter().find(|it| entry.ends_with(it.as_str()));
                assert!(again.is_none(), "seed {seed}: {entry} although the journal has it");
            }
            if let Some(output) = output {
                break output;
            }
            kills += 1;
        };
        assert_eq!(output.status.code(), Some(0), "seed {seed}: {}", stderr(&output));
        assert_eq!(stub.with(|it| (it.objects.len(), it.registered.len())), (6, 1), "seed {seed}");
        for (path, bytes) in stub.with(|it| it.objects.clone()) {
            let name = path.rsplit('/').next().unwrap();
            assert_eq!(fs::read(here.join("old").join(name)).unwrap(), bytes, "seed {seed}");
        }
        let left = names(&here.join("old/disk.manifest.xml.publications"));
        let is_record = left[0].split('.').next_back() == Some("json");
        assert_eq!((left.len(), is_record), (1, true), "{left:?}");
    }
    assert!(kills > rounds(8) && most == 6, "{kills} kills, {most} files in a journal");
}

/// What somebody did between two runs to a file that the journal has: the AMI is registered of the bundle's own files, or not
/// at all, whether or not the bucket may be listed.
#[test]
fn what_was_replaced_since_the_journal_is_found_before_the_ami_is_registered() {
    let place = "/images/web/1/disk.part.01";
    for tags in [false, true] {
        for page in [0, 1, 1000] {
            for change in ["none", "gone", "same", "other", "short"] {
                let case = format!("{tags} {page} {change}");
                let folder = quick_folder();
                let here = folder.path();
                bundle(here);
                let stub = Stub::start();
                stub.with(|it| {
                    (it.page, it.tags) = (page, tags.then(BTreeMap::new));
                    let at = |asked: &Asked| asked.path.ends_with("disk.part.03").then_some(false);
                    it.stall = Some(Box::new(at));
                });
                let line = format!("{LINE} --connections 1");
                assert!(run_until_stalled(here, &stub, &line).is_none(), "{case}");
                let known = journaled(here);
                assert!(known.contains("disk.part.01") && known.len() == 3, "{case}: {known:?}");
                let file = stub.with(|it| it.objects[place].clone());
                let mut other = file.clone();
                other[0] ^= 1;
                stub.with(|it| match change {
                    "gone" => drop(it.objects.remove(place)),
                    "same" => it.replace(place, file.clone()),
                    "other" => it.replace(place, other.clone()),
                    "short" => it.replace(place, b"short".to_vec()),
                    _ => {}
                });
                stub.log();
                let output = client(here, &stub.url, &line).output().unwrap();
                let (text, log) = (stderr(&output), stub.log());
                assert!(text.contains("going on from the journal"), "{case}: {text}");
                let looked = log.contains(&format!("HEAD {place}"));
                let is_seen = match change {
                    "none" => false,
                    "same" => tags,
                    _ => true,
                };
                assert_eq!(looked, is_seen || page == 0, "{case}: {log:?}");
                assert_eq!(log.contains(&format!("PUT {place}")), change == "gone", "{case}");
                if matches!(change, "other" | "short") {
                    assert_eq!(output.status.code(), Some(2), "{case}: {text}");
                    assert!(text.contains("disk.part.01 is there, and is another"), "{text}");
                    assert!(stub.with(|it| it.registered.is_empty()), "{case}");
                    let manifest = "/images/web/1/disk.manifest.xml";
                    assert!(!stub.with(|it| it.objects.contains_key(manifest)), "{case}");
                } else {
                    assert_eq!(output.status.code(), Some(0), "{case}: {text}");
                    assert!(stub.with(|it| it.objects[place] == file), "{case}");
                    assert_eq!(stub.with(|it| it.registered.len()), 1, "{case}");
                }
            }
        }
    }
}

#[test]
fn a_put_whose_answer_is_lost_is_known_again() {
    let folder = quick_folder();
    let here = folder.path();
    bundle(here);
    let stub = Stub::start();
    stub.with(|it| it.lost = 3);
    assert!(well(here, &stub.url, LINE).contains("6 files put"));
    assert_eq!(stub.with(|it| it.objects.len()), 6);
}

#[test]
fn a_parameter_that_appears_meanwhile_is_moved_only_if_it_is_that_of_an_ami() {
    let folder = quick_folder();
    let here = folder.path();
    bundle(here);
    let line = format!("{LINE} --ssm-parameter /images/web");
    let ami = "ami-00000001";
    for (before, appears, lost, after) in [
        (None, None, 0, Some(ami)),
        (None, None, 1, Some(ami)),
        (Some("ami-0abcdef1234567890"), None, 0, Some(ami)),
        (None, Some("ami-0abcdef1234567890"), 0, Some(ami)),
        (None, Some("a password"), 0, None),
        (Some("ami-0abcdef1234567890"), Some("a password"), 0, None),
        (Some("a password"), None, 0, None),
    ] {
        let case = format!("{before:?} {appears:?} {lost}");
        let _ = fs::remove_dir_all(here.join("old/disk.manifest.xml.publications"));
        let stub = Stub::start();
        stub.with(|it| {
            it.parameter = before.map(str::to_owned);
            it.parameter_appears = appears.map(str::to_owned);
        });
        let url = stub.url.clone();
        let mut command = client(here, &url, &line);
        stub.with(|it| it.lost = 0);
        if lost > 0 {
            // The objects are there already, so that it is the parameter's answer that is lost.
            well(here, &url, LINE);
            let _ = fs::remove_dir_all(here.join("old/disk.manifest.xml.publications"));
            stub.with(|it| it.lost = lost);
        }
        let output = command.output().unwrap();
        let text = stderr(&output);
        assert_eq!(
            output.status.code(),
            Some(if after.is_some() { 0 } else { 2 }),
            "{case}: {text}"
        );
        let kept = after.or(Some("a password")).map(str::to_owned);
        assert_eq!(stub.with(|it| it.parameter.clone()), kept, "{case}: {text}");
        if after.is_none() {
            assert!(text.contains("holds something else than an AMI's id"), "{case}: {text}");
        }
    }
}

#[test]
fn a_dry_run_asks_nobody() {
    let folder = quick_folder();
    let here = folder.path();
    bundle(here);
    let nobody = "http://127.0.0.1:1";
    let text = well(here, nobody, &format!("{LINE} --dry-run"));
    assert!(text.starts_with("PutObject s3://images/web/1/disk.part.00 ("), "{text}");
    let text = well(here, nobody, &format!("{LINE} --dry-run --json"));
    let lines: Vec<serde_json::Value> =
        text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(lines.len(), 7);
    assert_eq!(lines[5]["Location"], "images/web/1/disk.manifest.xml");
    assert_eq!(lines[6]["Parameters"]["ImageLocation"], "images/web/1/disk.manifest.xml");
    let output = client(here, nobody, &format!("{LINE} --region {REGION} --dry-run")).output();
    assert_eq!(stderr(&output.unwrap()), "");
}
