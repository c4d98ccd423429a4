//! `publish`, `fetch` and `unpublish` against `serve aws`, which verifies signatures: bit for bit, over parents, through
//! throttling, broken connections and kills.
#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::units::BLOCK_LEN;
use serde_json::Value;

use crate::common::Model;
use crate::common::Random;
use crate::common::State;
use crate::common::amikit;
use crate::common::names;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::stderr;
use crate::schemas;
use crate::serve_aws::Server;

pub(crate) const ACCOUNT: &str = "123456789012";
pub(crate) const OTHER: &str = "210987654321";

/// A folder with a store of AMIs, a store that stands for EC2, and keys of two accounts.
pub(crate) fn scene() -> tempfile::TempDir {
    let folder = quick_folder();
    let here = folder.path();
    run_well(here, "store init mine");
    run_well(here, "store init images");
    let keys = format!("AKID s3cr3t+/x {ACCOUNT}\nOTHER t0p {OTHER}\n");
    fs::write(here.join("keys"), keys).unwrap();
    fs::set_permissions(here.join("keys"), fs::Permissions::from_mode(0o600)).unwrap();
    folder
}

/// Makes the program, as an account uses it.
pub(crate) fn client(here: &Path, url: &str, line: &str) -> Command {
    let mut command = amikit();
    command.current_dir(here).args(line.split_whitespace());
    for (name, _) in std::env::vars() {
        if name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", "AKID")
        .env("AWS_SECRET_ACCESS_KEY", "s3cr3t+/x")
        .env("AWS_REGION", "eu-central-1")
        .env("HOME", here)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[track_caller]
pub(crate) fn well(here: &Path, url: &str, line: &str) -> String {
    let output = client(here, url, line).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{line}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn badly(here: &Path, url: &str, line: &str, code: i32) -> String {
    let output = client(here, url, line).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{line}: {text}");
    text
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Three versions of a volume: data, zeros and holes that come, go and stay.
pub(crate) fn versions(blocks: usize) -> [Model; 3] {
    let mut random = Random::with_seed(7);
    let first: Vec<Option<Vec<u8>>> = (0..blocks)
        .map(|number| match number % 9 {
            0 => None,
            1 => Some(vec![0; 1]),
            2 => Some(vec![2; BLOCK_LEN]),
            _ => Some(random.bytes(BLOCK_LEN)),
        })
        .collect();
    let mut second = first.clone();
    for (number, block) in second.iter_mut().enumerate() {
        match number % 18 {
            0 | 5 => *block = Some(random.bytes(BLOCK_LEN)),
            3 => *block = Some(vec![0; 1]),
            4 | 10 => *block = None,
            _ => {}
        }
    }
    let mut third = second.clone();
    third[1] = Some(random.bytes(BLOCK_LEN));
    [first, second, third].map(|blocks| Model::of(&blocks, 1234))
}

pub(crate) fn packed(here: &Path, models: &[Model]) {
    for (number, model) in models.iter().enumerate() {
        let (raw, name) = (format!("v{number}.raw"), format!("web-{number}"));
        model.write(&here.join(&raw));
        run_well(here, &format!("pack {raw} -o mine@{name} --name {name}"));
    }
}

/// Returns the root digest that a volume has as EBS keeps it: whole GiB, holes behind the end.
fn kept(here: &Path, model: &Model) -> String {
    let path = here.join("kept.raw");
    model.write(&path);
    fs::File::options().write(true).open(&path).unwrap().set_len(1 << 30).unwrap();
    let report: Value =
        serde_json::from_str(&run_well(here, "snapshot kept.raw -o kept.snap --json")).unwrap();
    report["root_digest"].as_str().unwrap().to_owned()
}

/// Returns the root digest of what was fetched: all bytes and all states are in it.
pub(crate) fn fetched(here: &Path, source: &str) -> String {
    let line = format!("unpack {source} -o fetched.raw --json");
    let report: Value = serde_json::from_str(&run_well(here, &line)).unwrap();
    report["root_digest"].as_str().unwrap().to_owned()
}

fn records(here: &Path) -> Vec<Value> {
    let folder = here.join("mine/publications");
    names(&folder)
        .into_iter()
        .filter(|it| Path::new(it).extension().is_some_and(|it| it == "json"))
        .map(|it| serde_json::from_slice(&fs::read(folder.join(it)).unwrap()).unwrap())
        .collect()
}

pub(crate) fn events(text: &str) -> Vec<Value> {
    let schema = schemas::schema("publish");
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let faults = schemas::check::faults(&schema, &line);
            assert!(faults.is_empty(), "{faults:#?}\n{line}");
            line
        })
        .collect()
}

#[test]
fn a_version_and_the_next_one_over_it_are_published_and_come_back_bit_for_bit() {
    let folder = scene();
    let here = folder.path();
    let models = versions(60);
    packed(here, &models);
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    let text = well(here, &url, "publish mine@web-0 --copy-to us-east-1 --json");
    let first = events(&text).pop().unwrap()["published"].clone();
    assert_eq!(first["account"], ACCOUNT);
    assert_eq!(first["images"].as_array().unwrap().len(), 2);
    let text = well(here, &url, "publish mine@web-1 --json");
    let lines = events(&text);
    let second = lines.last().unwrap()["published"].clone();
    // Found in the record: the first one's snapshot is the parent, and only what changed is put.
    assert_eq!(second["parents"]["/dev/xvda"], first["images"][0]["snapshots"][0]["snapshot_id"]);
    let put = second["put_blocks"].as_u64().unwrap();
    let whole = models[1].states.iter().filter(|it| **it != State::Hole).count();
    assert!(put > 0 && put < u64::try_from(whole / 2).unwrap(), "{put} of {whole}");
    assert!(lines.iter().any(|line| line.get("proved").is_some()));
    let again = well(here, &url, "publish mine@web-1 --json");
    assert_eq!(events(&again)[0]["published"]["was_there"], true);
    // The parent has blocks of its own parent that no manifest says: they became zeros.
    let text = well(here, &url, "publish mine@web-2 --json");
    let third = events(&text).pop().unwrap()["published"].clone();
    assert_eq!((&third["put_blocks"], &third["blocks"]), (&1.into(), &1.into()));
    assert_eq!(records(here).len(), 3);
    // No journal is left.
    assert_eq!(names(&here.join("mine/publications")).len(), 3);

    for (number, report) in [&first, &second].into_iter().enumerate() {
        let id = report["image_id"].as_str().unwrap();
        let snapshot = report["images"][0]["snapshots"][0]["snapshot_id"].as_str().unwrap();
        well(here, &url, &format!("fetch {id} -o back{number}.ami"));
        well(here, &url, &format!("fetch {snapshot} -o mine@back{number}"));
        // What the parent wrote stays written, as a block of zeros.
        let mut expected = models[number].clone();
        if number == 1 {
            for (written, before) in expected.written.iter_mut().zip(&models[0].written) {
                *written |= *before;
            }
            expected = expected.settle();
        }
        let root = kept(here, &expected);
        for source in [format!("back{number}.ami"), format!("mine@back{number}")] {
            assert_eq!(fetched(here, &source), root, "{source}");
        }
    }
    // The AMI's description comes back with it, without our tag.
    let inspected = run_well(here, "inspect back1.ami --json");
    assert!(inspected.contains("web-1") && !inspected.contains("amikit:bundle"), "{inspected}");
    // Over a base only what changed is read: here by the record, there by the id that is typed.
    let id = second["image_id"].as_str().unwrap();
    let base_id = first["images"][0]["snapshots"][0]["snapshot_id"].as_str().unwrap();
    for base in ["mine@web-0".to_owned(), format!("mine@web-0={base_id}")] {
        let text = well(here, &url, &format!("fetch {id} -o over.ami --base {base} --json"));
        let report: Value = serde_json::from_str(&text).unwrap();
        let faults = schemas::check::faults(&schemas::schema("fetch"), &report);
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(report["volumes"][0]["read_blocks"].as_u64().unwrap() <= put);
        assert_eq!(fetched(here, "over.ami"), fetched(here, "back1.ami"));
        fs::remove_dir_all(here.join("over.ami")).unwrap();
    }
    let (_, lines) = server.stop();
    let starts = lines.iter().filter(|it| it["called"]["call"] == "StartSnapshot").count();
    assert_eq!(starts, 3, "one snapshot a volume");
}

#[test]
fn what_was_published_goes_only_by_the_record_and_the_tag() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(20)[..2]);
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    well(here, &url, "publish mine@web-0 --copy-to us-east-1 --no-base");
    well(here, &url, "publish mine@web-1 --no-base");
    let line = "unpublish mine@web-0 --json";
    let report: Value = serde_json::from_str(&well(here, &url, line)).unwrap();
    let faults = schemas::check::faults(&schemas::schema("unpublish"), &report);
    assert!(faults.is_empty(), "{faults:#?}");
    let taken = report["publications"][0]["taken"].as_array().unwrap().clone();
    assert_eq!(taken.len(), 4, "two AMIs and two snapshots");
    assert!(taken.iter().all(|it| it["fate"] == "goes"));
    // It was only said.
    assert_eq!(records(here).len(), 2);
    // Another account: of the keys, and of the request.
    let mut other = client(here, &url, "unpublish mine@web-0 --yes 210987654321");
    let output = other
        .env("AWS_ACCESS_KEY_ID", "OTHER")
        .env("AWS_SECRET_ACCESS_KEY", "t0p")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("account 123456789012 published it"), "{}", stderr(&output));
    let text = badly(here, &url, &format!("unpublish mine@web-0 --yes {OTHER}"), 2);
    assert!(text.contains("the request names account"), "{text}");
    // A snapshot stays while another AMI uses it.
    let record = records(here).into_iter().find(|it| it["Name"] == "web-0").unwrap();
    let snapshot = record["Images"][0]["Snapshots"][0]["SnapshotId"].as_str().unwrap().to_owned();
    let body = format!(
        "Action=RegisterImage&Version=2016-11-15&Name=other&Architecture=x86_64&VirtualizationType=hvm\
         &RootDeviceName=%2Fdev%2Fxvda&BlockDeviceMapping.1.DeviceName=%2Fdev%2Fxvda\
         &BlockDeviceMapping.1.Ebs.SnapshotId={snapshot}"
    );
    drop(server);
    let server = Server::start(here, "");
    let url = server.url.clone();
    let answer = say(&server, &body);
    // Also one that EC2 does not list unless it is asked for: it is disabled.
    let (_, other) = answer.split_once("<imageId>").unwrap_or_else(|| panic!("{answer}"));
    disable(&server, other.split_once('<').unwrap().0);
    let text = well(here, &url, &format!("unpublish mine@web-0 --yes {ACCOUNT}"));
    assert!(text.contains("uses it") && text.contains("gone"), "{text}");
    // The record stays as long as something of it is there.
    assert_eq!(records(here).len(), 2);
    // What lost its tag is not ours any more.
    let record = records(here).into_iter().find(|it| it["Name"] == "web-1").unwrap();
    let image = record["Images"][0]["ImageId"].as_str().unwrap();
    disable(&server, image);
    let text = well(here, &url, "unpublish mine@web-1");
    assert!(!text.contains("gone already"), "a disabled AMI is still there: {text}");
    let body = format!(
        "Action=DeleteTags&Version=2016-11-15&ResourceId.1={image}&Tag.1.Key=amikit%3Abundle"
    );
    assert!(say(&server, &body).contains("<return>true"));
    let text = well(here, &url, &format!("unpublish mine@web-1 --yes {ACCOUNT}"));
    assert!(text.contains("does not have the tag"), "{text}");
    assert!(badly(here, &url, "unpublish mine@none", 2).contains("no record says"));
}

/// Disables an AMI, as soon as it is available.
fn disable(server: &Server, image: &str) {
    let body = format!("Action=DisableImage&Version=2016-11-15&ImageId={image}");
    let started = Instant::now();
    loop {
        let answer = say(server, &body);
        if answer.contains("<return>true") {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{image}: {answer}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Asks the server as the account, in the region of the tests.
pub(crate) fn say(server: &Server, body: &str) -> String {
    say_in(server, "eu-central-1", body)
}

pub(crate) fn say_in(server: &Server, region: &str, body: &str) -> String {
    let request = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={ACCOUNT}/20261130/{region}/ec2/aws4_request, \
         SignedHeaders=host, Signature={}\r\nContent-Length: {}\r\n\r\n{body}",
        "0".repeat(64),
        body.len()
    );
    server.say(request.as_bytes())
}

#[test]
fn the_newest_publications_are_kept() {
    let folder = scene();
    let here = folder.path();
    let models = versions(10);
    models[0].write(&here.join("v.raw"));
    let server = Server::start(here, "--keys keys");
    for number in 0..3 {
        run_well(here, &format!("pack v.raw -o mine@web --name web-{number}"));
        well(here, &server.url, "publish mine@web");
        // Records are told apart by seconds.
        thread::sleep(Duration::from_millis(1100));
    }
    let text = well(here, &server.url, &format!("unpublish mine@web --keep 1 --yes {ACCOUNT}"));
    assert!(text.contains("web-0") && text.contains("web-1") && !text.contains("web-2"), "{text}");
    let left = records(here);
    assert_eq!((left.len(), &left[0]["AmiName"]), (1, &Value::from("web-2")));
}

/// A server whose lines go into a file: a pipe that nobody reads is full after some 800 calls, and stops it.
struct Logged {
    process: std::process::Child,
    url: String,
}

impl Logged {
    #[allow(clippy::zombie_processes, reason = "a panic ends the test, and its children with it")]
    fn start(here: &Path, more: &str) -> Self {
        let log = here.join("server.log");
        let mut command = amikit();
        command.current_dir(here).args(["serve", "aws", "images", "--listen", "127.0.0.1:0"]);
        command.args(more.split_whitespace()).arg("--json");
        command.stdout(fs::File::create(&log).unwrap()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let started = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap();
            if let Some((first, _)) = text.split_once('\n') {
                let first: Value = serde_json::from_str(first).unwrap();
                let url = first["listening"]["url"].as_str().unwrap().to_owned();
                return Self { process, url };
            }
            assert!(started.elapsed() < Duration::from_mins(1), "the server does not start");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Stands between a client and the server: breaks connections, and takes down which blocks are put.
struct Between {
    url: String,
    puts: Arc<Mutex<Vec<u32>>>,
    requests: Arc<AtomicU64>,
}

impl Between {
    fn start(to: &str, breaks: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (puts, requests) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let between = Self { url, puts: Arc::clone(&puts), requests: Arc::clone(&requests) };
        let to = to.strip_prefix("http://").unwrap().to_owned();
        thread::spawn(move || {
            let mut random = Random::with_seed(11);
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&to)) else { break };
                // Some bytes into a body, or in the middle of an answer.
                let most = if breaks && random.below(3) == 0 {
                    200_000 + random.below(5_000_000)
                } else {
                    u64::MAX
                };
                let (puts, requests) = (Arc::clone(&puts), Arc::clone(&requests));
                let pair = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || {
                    forward(pair.0, pair.1, most, |piece| look(piece, &puts, &requests));
                });
                thread::spawn(move || forward(server, client, u64::MAX, |_| {}));
            }
        });
        between
    }
}

/// Passes bytes on until one side ends, or so many have passed.
fn forward(mut from: TcpStream, mut to: TcpStream, most: u64, mut look: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
    while let Ok(len) = from.read(&mut buffer) {
        look(&buffer[..len]);
        passed += u64::try_from(len).unwrap();
        if len == 0 || passed > most || to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Takes down a request whose first line begins a piece: a client waits for an answer before its next request.
fn look(piece: &[u8], puts: &Mutex<Vec<u32>>, requests: &AtomicU64) {
    let line = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else { return };
    if !line.ends_with(" HTTP/1.1") {
        return;
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let path = line.strip_prefix("PUT /snapshots/");
    if let Some(index) = path.and_then(|it| it.split('/').nth(2)?.split(' ').next()?.parse().ok()) {
        puts.lock().unwrap().push(index);
    }
}

/// Returns the blocks that the synced lines of the only journal say are acknowledged.
fn acknowledged(here: &Path) -> BTreeSet<u32> {
    let folder = here.join("mine/publications");
    if !folder.is_dir() {
        return BTreeSet::new();
    }
    let journal = names(&folder).into_iter().find(|it| it.ends_with(".journal"));
    let Some(journal) = journal else { return BTreeSet::new() };
    let text = fs::read_to_string(folder.join(journal)).unwrap();
    let mut blocks = BTreeSet::new();
    for line in text.split_inclusive('\n').filter(|it| it.ends_with('\n')) {
        let line: Value = serde_json::from_str(line).unwrap();
        for range in line["Acknowledged"]["Ranges"].as_array().into_iter().flatten() {
            let number = |at: usize| u32::try_from(range[at].as_u64().unwrap()).unwrap();
            blocks.extend(number(0)..number(0) + number(1));
        }
    }
    blocks
}

/// 30 % of puts throttled, 5 % of all answered with 500, connections that break, and a kill at every 50th request.
#[test]
fn an_upload_ends_right_through_throttling_failures_broken_connections_and_kills() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(rounds(150))[..1]);
    let model = versions(rounds(150))[0].clone();
    let faults = r#"{ "faults": [
        { "call": "PutSnapshotBlock", "every": 10, "code": "RequestThrottledException" },
        { "call": "PutSnapshotBlock", "every": 10, "code": "ThrottlingException" },
        { "call": "PutSnapshotBlock", "every": 10, "code": "ValidationException", "message": "Failed to read block data" },
        { "call": "*", "every": 20, "status": 500, "code": "InternalServerException" } ],
        "hidden_after_start_seconds": 1, "short_pages": true }"#;
    fs::write(here.join("faults.json"), faults).unwrap();
    let server = Logged::start(here, "--keys keys --faults faults.json");
    let between = Between::start(&server.url, true);
    let line = "publish mine@web-0 --json --connections 8";
    let (mut kills, mut next_kill) = (0, 50);
    let report = loop {
        let before = acknowledged(here);
        between.puts.lock().unwrap().clear();
        let mut child = client(here, &between.url, line).spawn().unwrap();
        let started = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if between.requests.load(Ordering::SeqCst) >= next_kill {
                break None;
            }
            assert!(started.elapsed() < Duration::from_mins(4), "it hangs");
            thread::sleep(Duration::from_millis(2));
        };
        if ended.is_none() {
            kill(child.id());
            kills += 1;
            next_kill = between.requests.load(Ordering::SeqCst) + 50;
        }
        let output = child.wait_with_output().unwrap();
        let again: Vec<u32> =
            between.puts.lock().unwrap().iter().copied().filter(|it| before.contains(it)).collect();
        assert!(again.is_empty(), "put again although it was in the journal: {again:?}");
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(0), "{}", stderr(&output));
            break events(std::str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
        }
    };
    println!("{kills} kills, {} requests", between.requests.load(Ordering::SeqCst));
    assert!(kills > 2, "{kills}");
    let report = &report["published"];
    let snapshot = report["images"][0]["snapshots"][0]["snapshot_id"].as_str().unwrap();
    well(here, &between.url, &format!("fetch {snapshot} -o back.ami"));
    assert_eq!(fetched(here, "back.ami"), kept(here, &model));
    // One snapshot of the volume in all the account, and it is complete.
    let state: Value =
        serde_json::from_slice(&fs::read(here.join("images/serve-aws/state.json")).unwrap())
            .unwrap();
    let text = state.to_string();
    let snapshots: BTreeSet<&str> = text
        .match_indices("snap-")
        .map(|(at, _)| {
            text[at..].split(|it: char| !it.is_ascii_alphanumeric() && it != '-').next().unwrap()
        })
        .collect();
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
}

#[test]
fn a_request_to_stop_leaves_a_journal_that_goes_on() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(60)[..1]);
    fs::write(
        here.join("faults.json"),
        r#"{ "faults": [{ "call": "PutSnapshotBlock", "delay_ms": 100 }] }"#,
    )
    .unwrap();
    let server = Server::start(here, "--keys keys --faults faults.json");
    let between = Between::start(&server.url, false);
    let line = "publish mine@web-0 --connections 4";
    let child = client(here, &between.url, line).spawn().unwrap();
    while between.puts.lock().unwrap().len() < 10 {
        thread::sleep(Duration::from_millis(2));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("the same command goes on from there"), "{}", stderr(&output));
    let known = acknowledged(here);
    assert!(!known.is_empty());
    let mode = fs::metadata(journal(here)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    between.puts.lock().unwrap().clear();
    well(here, &between.url, line);
    let again: Vec<u32> =
        between.puts.lock().unwrap().iter().copied().filter(|it| known.contains(it)).collect();
    assert!(again.is_empty(), "{again:?}");
}

/// EBS gives a snapshot up that nobody writes to: the next run starts another one, although the token of the first gives that.
#[test]
fn a_snapshot_that_was_given_up_is_started_again() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(30)[..1]);
    fs::write(
        here.join("faults.json"),
        r#"{ "faults": [{ "call": "CompleteSnapshot", "status": 403, "code": "AccessDeniedException" }] }"#,
    )
    .unwrap();
    let server = Server::start(here, "--keys keys --faults faults.json");
    let text = badly(here, &server.url, "publish mine@web-0", 2);
    assert!(text.contains("AccessDeniedException") && text.contains(".journal"), "{text}");
    assert!(!acknowledged(here).is_empty());
    server.stop();
    let path = here.join("images/serve-aws/state.json");
    let state = fs::read_to_string(&path).unwrap();
    let changed = state.replace("\"pending\"", "\"error\"");
    assert_ne!(state, changed);
    fs::write(&path, changed).unwrap();
    let server = Server::start(here, "--keys keys");
    let text = well(here, &server.url, "publish mine@web-0 --json");
    let report = events(&text).pop().unwrap()["published"].clone();
    assert_eq!(report["blocks"], report["put_blocks"]);
}

/// What was deleted from the account between two runs is made again, and an earlier proof of it counts no more.
#[test]
fn what_was_deleted_between_two_runs_is_made_again() {
    for (refused, lost) in [
        ("CompleteSnapshot", "DeleteSnapshot"),
        ("RegisterImage", "DeleteSnapshot"),
        ("DescribeImages", "DeregisterImage"),
    ] {
        let folder = scene();
        let here = folder.path();
        packed(here, &versions(30)[..1]);
        let faults = format!(
            r#"{{ "faults": [{{ "call": "{refused}", "status": 403, "code": "AccessDenied" }}] }}"#
        );
        fs::write(here.join("faults.json"), faults).unwrap();
        let server = Server::start(here, "--keys keys --faults faults.json");
        let text = badly(here, &server.url, "publish mine@web-0", 2);
        assert!(text.contains("AccessDenied") && text.contains(".journal"), "{refused}: {text}");
        server.stop();
        // Two minutes later nothing is too new to be known.
        let journal = fs::File::options().write(true).open(journal(here)).unwrap();
        let hour = Duration::from_hours(1);
        journal.set_modified(std::time::SystemTime::now() - hour).unwrap();
        let path = here.join("images/serve-aws/state.json");
        let state = fs::read_to_string(&path).unwrap();
        let id = |prefix: &str| {
            let (_, rest) = state.split_once(&format!("\"{prefix}")).unwrap();
            format!("{prefix}{}", rest.split_once('"').unwrap().0)
        };
        let server = Server::start(here, "");
        let (name, gone) = match lost {
            "DeregisterImage" => ("ImageId", id("ami-")),
            _ => ("SnapshotId", id("snap-")),
        };
        let body = format!("Action={lost}&Version=2016-11-15&{name}={gone}");
        assert!(say(&server, &body).contains("<return>true"), "{refused}");
        server.stop();
        let server = Server::start(here, "--keys keys");
        let text = well(here, &server.url, "publish mine@web-0 --json");
        let report = events(&text).pop().unwrap()["published"].clone();
        assert!(!report.to_string().contains(&gone), "{refused}: {report}");
        let is_new = lost == "DeleteSnapshot";
        assert_eq!(report["blocks"] == report["put_blocks"], is_new, "{refused}: {report}");
        assert!(text.contains("\"proved\""), "{refused}: {text}");
        let snapshot = report["images"][0]["snapshots"][0]["snapshot_id"].as_str().unwrap();
        well(here, &server.url, &format!("fetch {snapshot} -o back.ami"));
        assert_eq!(fetched(here, "back.ami"), kept(here, &versions(30)[0]));
    }
}

/// What is asked for in another way is another plan, and the snapshot of the first one stays: that is said.
#[test]
fn an_upload_that_nothing_goes_on_with_is_named() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(12)[..2]);
    let faults =
        r#"{ "faults": [{ "call": "CompleteSnapshot", "status": 403, "code": "AccessDenied" }] }"#;
    fs::write(here.join("faults.json"), faults).unwrap();
    let server = Server::start(here, "--keys keys --faults faults.json");
    badly(here, &server.url, "publish mine@web-0", 2);
    let left = journal(here);
    // The same one, which goes on, is not left; nor is one of another bundle.
    for line in ["publish mine@web-0", "publish mine@web-1"] {
        let text = badly(here, &server.url, line, 2);
        assert!(!text.contains("an earlier upload"), "{line}: {text}");
    }
    server.stop();
    let server = Server::start(here, "--keys keys");
    let text = well(here, &server.url, "publish mine@web-0 --holes send --json");
    let said: Vec<_> =
        events(&text).into_iter().filter_map(|it| it.get("unfinished").cloned()).collect();
    assert_eq!(said.len(), 1, "{text}");
    assert!(
        said[0]["journal"].as_str().unwrap().ends_with(left.file_name().unwrap().to_str().unwrap())
    );
    assert!(said[0]["snapshot_ids"][0].as_str().unwrap().starts_with("snap-"), "{text}");
    // It was said and left alone.
    assert!(left.exists());
}

/// A proof that is killed at each page of its lists ends, over a parent, too.
#[test]
fn a_proof_goes_on_where_it_was_killed() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(120)[..2]);
    let server = Server::start(here, "--keys keys");
    well(here, &server.url, "publish mine@web-0");
    server.stop();
    // Slow lists of seven blocks, so that a page is seen before the next one is asked for.
    let faults = r#"{ "faults": [{ "call": "ListSnapshotBlocks", "delay_ms": 30 }],
        "short_pages": true }"#;
    fs::write(here.join("faults.json"), faults).unwrap();
    let server = Server::start(here, "--keys keys --faults faults.json");
    let line = "publish mine@web-1 --json";
    // The journal goes when the run is done.
    let checked = || -> Option<u64> {
        let folder = here.join("mine/publications");
        let name = names(&folder).into_iter().find(|it| it.ends_with(".journal"))?;
        let text = fs::read_to_string(folder.join(name)).ok()?;
        let lines = text.lines().filter_map(|it| serde_json::from_str::<Value>(it).ok());
        lines.filter_map(|it| it["Checked"]["Blocks"].as_u64()).next_back()
    };
    let (mut kills, mut blocks) = (0, 0);
    let report = loop {
        let mut child = client(here, &server.url, line).spawn().unwrap();
        let started = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if let Some(now) = checked() {
                assert!(now >= blocks, "{now} after {blocks}");
                if now > blocks {
                    blocks = now;
                    break None;
                }
            }
            assert!(started.elapsed() < Duration::from_mins(1), "it does not come further");
            thread::sleep(Duration::from_millis(1));
        };
        if ended.is_none() {
            kill(child.id());
            kills += 1;
        }
        let output = child.wait_with_output().unwrap();
        if let Some(status) = ended {
            assert_eq!(status.code(), Some(0), "{}", stderr(&output));
            break events(std::str::from_utf8(&output.stdout).unwrap()).pop().unwrap();
        }
    };
    // Not one kill for each page: some come when the next one is there.
    assert!(kills >= 3, "{kills}");
    let snapshot = report["published"]["images"][0]["snapshots"][0]["snapshot_id"].clone();
    well(here, &server.url, &format!("fetch {} -o back.ami", snapshot.as_str().unwrap()));
    let mut expected = versions(120)[1].clone();
    for (written, before) in expected.written.iter_mut().zip(&versions(120)[0].written) {
        *written |= *before;
    }
    assert_eq!(fetched(here, "back.ami"), kept(here, &expected.settle()));
}

/// A run may die when its record is written and its journal is still there. When the AMI was taken back meanwhile, the next
/// run makes a new one, and does not say that the old one is there.
#[test]
fn a_journal_does_not_bring_back_what_was_taken_back() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(30)[..1]);
    let faults = r#"{ "faults": [{ "call": "PutSnapshotBlock", "delay_ms": 20 }] }"#;
    fs::write(here.join("faults.json"), faults).unwrap();
    let server = Server::start(here, "--keys keys --faults faults.json");
    let line = "publish mine@web-0 --json";
    let child = client(here, &server.url, line).spawn().unwrap();
    let journals = here.join("mine/publications");
    let started = Instant::now();
    let is_journal = |name: &String| name.ends_with(".journal");
    let name = loop {
        let there = journals.is_dir().then(|| names(&journals).into_iter().find(is_journal));
        if let Some(name) = there.flatten() {
            break name;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "no journal");
        thread::sleep(Duration::from_millis(1));
    };
    // Another name of the same file, which stays when the run is done with it.
    fs::hard_link(journals.join(&name), here.join("kept")).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let image_of = |text: &str| {
        let report = events(text).pop().unwrap()["published"].clone();
        report["images"][0]["image_id"].as_str().unwrap().to_owned()
    };
    let first = image_of(&String::from_utf8(output.stdout).unwrap());
    fs::rename(here.join("kept"), journals.join(&name)).unwrap();
    well(here, &server.url, &format!("unpublish mine@web-0 --yes {ACCOUNT}"));

    let second = image_of(&well(here, &server.url, line));
    assert_ne!(first, second);
    // This asks for its state and for its snapshots.
    let third = well(here, &server.url, line);
    assert_eq!(events(&third)[0]["published"]["was_there"], true, "{third}");
    assert_eq!(image_of(&third), second);
    assert!(!names(&journals).iter().any(is_journal));
}

fn journal(here: &Path) -> PathBuf {
    let folder = here.join("mine/publications");
    let name = names(&folder).into_iter().find(|it| it.ends_with(".journal")).unwrap();
    folder.join(name)
}

#[test]
fn what_is_wrong_with_a_request_is_said_before_anything_is_sent() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(10)[..1]);
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    let mut wrong = client(here, &url, "publish mine@web-0");
    let output = wrong.env("AWS_SECRET_ACCESS_KEY", "other").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("SignatureDoesNotMatch") && !text.contains("other"), "{text}");
    let mut none = client(here, &url, "publish mine@web-0");
    none.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let output = none.env("AWS_EC2_METADATA_DISABLED", "true").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no AWS credentials were found"), "{}", stderr(&output));
    let mut nowhere = client(here, &url, "publish mine@web-0");
    let output = nowhere.env_remove("AWS_REGION").output().unwrap();
    assert!(stderr(&output).contains("--region REGION"), "{}", stderr(&output));
    let text = badly(here, &url, "publish mine@web-0 --endpoint http://ec2.example", 2);
    assert!(text.contains("--insecure-endpoint"), "{text}");
    assert!(badly(here, &url, "fetch vol-1 -o x.ami", 2).contains("neither the id"));
    assert!(badly(here, &url, "fetch snap-0123 -o x.ami", 2).contains("ResourceNotFoundException"));
    let text = badly(here, &url, "publish mine@web-0 --signers keys", 2);
    assert!(text.contains("keys"), "{text}");
    assert!(!here.join("mine/publications").exists());
    // What would be sent is what `plan` prints.
    let dry = well(here, &url, "publish mine@web-0 --dry-run --region eu-central-1");
    assert_eq!(dry, run_well(here, "plan mine@web-0 --region eu-central-1"));
}

/// Several volumes, one of them without content, sharing, deprecation, and a copy that gets what the recipe says.
#[test]
fn a_recipe_is_published_with_all_that_it_says() {
    let folder = scene();
    let here = folder.path();
    for (number, model) in versions(12)[..2].iter().enumerate() {
        model.write(&here.join(format!("v{number}.raw")));
    }
    let recipe = format!(
        "version = 1\n[ami]\nname = \"web\"\narchitecture = \"x86_64\"\nvirtualization-type = \"hvm\"\n\
         root-device-name = \"/dev/xvda\"\nena-support = true\nlaunch-permissions = [\"{OTHER}\"]\n\
         deprecate-at = \"2030-01-31T12:00:00Z\"\n[ami.tags]\nTeam = \"web\"\n\
         [[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"v0.raw\"\n\
         [[volume]]\ndevice-name = \"/dev/sdf\"\nimage = \"v1.raw\"\n\
         [[volume]]\ndevice-name = \"/dev/sdg\"\nvolume-size = 2\n\
         [upload]\nregion = \"eu-west-1\"\ncreate-volume-permissions = [\"{OTHER}\"]\n\
         [[distribute]]\nregions = [\"us-east-1\", \"us-west-2\"]\nname = \"web-us\"\n\
         [distribute.tags]\nWhere = \"us\"\n"
    );
    fs::write(here.join("ami.toml"), recipe).unwrap();
    run_well(here, "build ami.toml -o mine@web");
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    let text = well(here, &url, "publish mine@web --recipe ami.toml --json");
    let report = events(&text).pop().unwrap()["published"].clone();
    assert_eq!(report["region"], "eu-west-1");
    let images = report["images"].as_array().unwrap();
    let regions: Vec<&str> = images.iter().map(|it| it["region"].as_str().unwrap()).collect();
    assert_eq!(regions, ["eu-west-1", "us-east-1", "us-west-2"]);
    for image in images {
        assert_eq!(image["snapshots"].as_array().unwrap().len(), 2);
        // The other account sees it, with its snapshots.
        let id = image["image_id"].as_str().unwrap();
        let region = image["region"].as_str().unwrap();
        let output = client(here, &url, &format!("fetch {id} -o {id}.ami --region {region}"))
            .env("AWS_ACCESS_KEY_ID", "OTHER")
            .env("AWS_SECRET_ACCESS_KEY", "t0p")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(fetched(here, &format!("{id}.ami /dev/sdf")), kept(here, &versions(12)[1]));
    }
    let owned = images[1]["image_id"].as_str().unwrap();
    well(here, &url, &format!("fetch {owned} -o own.ami --region us-east-1"));
    let ami = run_well(here, "inspect own.ami --json");
    for said in ["web-us", "Where", "Team", OTHER, "2030-01-31", "/dev/sdg"] {
        assert!(ami.contains(said), "{said}: {ami}");
    }
}

/// The blocks of the guide are run, in order, by one shell.
#[test]
fn the_guide_is_what_happens() {
    let folder = scene();
    let here = folder.path();
    let server = Server::start(here, "--keys keys");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/guide/publish.md")).unwrap();
    let mut script = "set -e\n".to_owned();
    let mut block = None;
    for line in page.lines() {
        match (block, line.strip_prefix("```")) {
            (None, language) => block = language,
            (Some(_), Some(_)) => block = None,
            (Some("bash"), None) => {
                script.push_str(line);
                script.push('\n');
            }
            (Some(_), None) => {}
        }
    }
    assert!(script.matches("amikit").count() > 8, "{script}");
    // The server's store is called images, too.
    let here = &here.join("guide");
    fs::create_dir(here).unwrap();
    std::os::unix::fs::symlink(root.join("fixtures"), here.join("fixtures")).unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_amikit")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = client(here, &server.url, "");
    command = {
        let envs: BTreeMap<_, _> =
            command.get_envs().filter_map(|(a, b)| Some((a.to_owned(), b?.to_owned()))).collect();
        let mut shell = Command::new("bash");
        shell.current_dir(here).args(["-c", &script]).envs(envs).env("PATH", path);
        shell
    };
    run_tool(&mut command);
}
