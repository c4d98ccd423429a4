//! `serve aws` over a disk that takes no more: a call that failed did nothing, what is wrong is said, and the server goes on
//! when there is room again.

use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;
use std::time::Instant;

use amikit::internals::digest::Sha256;
use amikit::internals::digest::sha256;
use serde_json::Value;

use crate::common::Random;
use crate::common::quick_folder;
use crate::common::run_well;
use crate::ebs::client::Client;
use crate::serve_aws::Server;

const ME: (&str, &str) = ("123456789012", "us-east-1");

fn ec2(client: &mut Client, form: &str) -> (u16, String) {
    let form = format!("Action={form}&Version=2016-11-15");
    let answer = client.ask(ME, "ec2", "POST /", &[], form.as_bytes());
    (answer.status, String::from_utf8(answer.body).unwrap())
}

/// A server of a new store none of whose files may be longer than so many KiB.
fn limited(folder: &Path, kib: u32) -> Server {
    run_well(folder, "store init images");
    let mut limited = Command::new("sh");
    let line = format!("ulimit -f {}; exec \"$0\" \"$@\"", kib.strict_mul(2));
    limited.args(["-c", &*line, env!("CARGO_BIN_EXE_amikit")]);
    Server::of(limited, folder, "")
}

/// What clients see of snapshots, without the number of the request.
fn seen(client: &mut Client) -> String {
    let (status, text) = ec2(client, "DescribeSnapshots&Owner.1=self");
    assert_eq!(status, 200, "{text}");
    text.split_once("<snapshotSet").unwrap().1.to_owned()
}

#[test]
fn a_call_that_the_disk_has_no_room_for_did_nothing() {
    let folder = quick_folder();
    // What the server knows of a snapshot has some 400 bytes.
    let server = limited(folder.path(), 8);
    let mut client = Client::new(&server.url);
    let mut ids = Vec::new();
    let refused = loop {
        let body = format!(r#"{{"VolumeSize":1,"ClientToken":"t{}"}}"#, ids.len());
        let answer = client.ask(ME, "ebs", "POST /snapshots", &[], body.as_bytes());
        if answer.status != 201 {
            break answer;
        }
        ids.push(answer.json()["SnapshotId"].as_str().unwrap().to_owned());
        assert!(ids.len() < 100, "8 KiB hold them all");
    };
    assert_eq!(refused.status, 500);
    let before = seen(&mut client);
    assert_eq!(before.matches("<snapshotId>").count(), ids.len());
    // Calls of each kind, which would make it longer.
    let (long, id) = ("x".repeat(250), ids[0].clone());
    let tag = |number: usize| format!("&Tag.{number}.Key=k{number}&Tag.{number}.Value={long}");
    let tags: String = (1..=40).map(tag).collect();
    let users: Vec<_> = (1..=999).map(|it| format!("&UserId.{it}={:012}", it + 1)).collect();
    let users = users.concat();
    for form in [
        format!("CreateTags&ResourceId.1={id}{tags}"),
        format!(
            "ModifySnapshotAttribute&SnapshotId={id}&Attribute=createVolumePermission&OperationType=add{users}"
        ),
    ] {
        let (status, text) = ec2(&mut client, &form);
        assert_eq!(status, 500, "{text}");
        assert!(text.contains("InternalError"), "{text}");
        assert_eq!(seen(&mut client), before, "{form}");
    }
    // One goes, and there is room for the one that was refused: it was not half begun.
    let (status, text) = ec2(&mut client, &format!("DeleteSnapshot&SnapshotId={id}"));
    assert_eq!(status, 200, "{text}");
    let body = format!(r#"{{"VolumeSize":1,"ClientToken":"t{}"}}"#, ids.len());
    let answer = client.ask(ME, "ebs", "POST /snapshots", &[], body.as_bytes());
    assert_eq!(answer.status, 201);
    drop(client);
    let (code, lines) = server.stop();
    assert_eq!(code, Some(0));
    let failed: Vec<&Value> = lines.iter().filter(|it| it.get("failed").is_some()).collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    let calls: Vec<&str> = failed.iter().filter_map(|it| it["failed"]["call"].as_str()).collect();
    assert_eq!(calls, ["StartSnapshot", "CreateTags", "ModifySnapshotAttribute"]);
    for it in failed {
        let error = it["failed"]["error"].as_str().unwrap();
        assert!(error.contains("File too large"), "{error}");
    }
}

/// Puts a block, and returns the status.
fn put(client: &mut Client, id: &str, index: u32, block: &[u8]) -> u16 {
    let checksum = sha256(block).base64();
    let headers = [
        ("x-amz-Data-Length", "524288"),
        ("x-amz-Checksum", &*checksum),
        ("x-amz-Checksum-Algorithm", "SHA256"),
    ];
    client.ask(ME, "ebs", &format!("PUT /snapshots/{id}/blocks/{index}"), &headers, block).status
}

#[test]
fn a_block_that_the_disk_has_no_room_for_takes_none_from_others() {
    let folder = quick_folder();
    let server = limited(folder.path(), 8);
    let mut client = Client::new(&server.url);
    let started = client.ask(ME, "ebs", "POST /snapshots", &[], br#"{"VolumeSize":1}"#);
    let id = started.json()["SnapshotId"].as_str().unwrap().to_owned();
    let same = |byte: u8| vec![byte; 512 << 10];
    let unlike = Random::with_seed(3).bytes(512 << 10);
    // Blocks of one byte take a hundred; the other one takes half a mebibyte, twice.
    assert_eq!(put(&mut client, &id, 0, &same(1)), 201);
    for _ in 0..2 {
        assert_eq!(put(&mut client, &id, 1, &unlike), 500);
        assert_eq!(put(&mut client, &id, 2, &same(3)), 201);
    }
    assert_eq!(put(&mut client, &id, 3, &same(4)), 201);
    drop((client, server));
    // The next server has all that was answered, and the rest can be put.
    let server = Server::start_quietly(folder.path(), "");
    let mut client = Client::new(&server.url);
    assert_eq!(put(&mut client, &id, 1, &unlike), 201);
    assert_eq!(complete(&mut client, &id, &[same(1), unlike, same(3), same(4)]), 202);
    wait_for_completed(&mut client);
}

/// Calls a snapshot of these blocks complete, and returns the status.
fn complete(client: &mut Client, id: &str, blocks: &[Vec<u8>]) -> u16 {
    let mut linear = Sha256::new();
    for block in blocks {
        linear.update(&sha256(block).0);
    }
    let (count, linear) = (blocks.len().to_string(), linear.finish().base64());
    let headers = [
        ("x-amz-ChangedBlocksCount", &*count),
        ("x-amz-Checksum", &*linear),
        ("x-amz-Checksum-Algorithm", "SHA256"),
        ("x-amz-Checksum-Aggregation-Method", "LINEAR"),
    ];
    client.ask(ME, "ebs", &format!("POST /snapshots/completion/{id}"), &headers, b"").status
}

/// Waits for the one snapshot to be completed.
fn wait_for_completed(client: &mut Client) {
    let began = Instant::now();
    while !seen(client).contains("<status>completed</status>") {
        assert!(began.elapsed() < Duration::from_mins(1), "{}", seen(client));
        sleep(Duration::from_millis(50));
    }
}

/// Adds tags until what the server knows is as long as a file may be.
fn fill(client: &mut Client, id: &str, name: &str) {
    for len in [250, 1] {
        let value = "x".repeat(len);
        let tag = |number| {
            format!(
                "CreateTags&ResourceId.1={id}&Tag.1.Key={name}{len}-{number}&Tag.1.Value={value}"
            )
        };
        let refused = (0..50).find(|number| ec2(client, &tag(*number)).0 == 500);
        assert!(refused.is_some(), "there was room for 50 tags of {len} bytes");
    }
}

#[test]
fn what_was_made_is_known_whatever_fails_then() {
    let folder = quick_folder();
    // A manifest has 8,256 bytes.
    let server = limited(folder.path(), 10);
    let mut client = Client::new(&server.url);
    let started = client.ask(ME, "ebs", "POST /snapshots", &[], br#"{"VolumeSize":1}"#);
    let id = started.json()["SnapshotId"].as_str().unwrap().to_owned();
    let block = vec![1_u8; 512 << 10];
    assert_eq!(put(&mut client, &id, 0, &block), 201);
    fill(&mut client, &id, "a");
    // The call itself makes what the server knows no longer; that it is completed does.
    assert_eq!(complete(&mut client, &id, &[block]), 202);
    wait_for_completed(&mut client);
    fill(&mut client, &id, "b");
    wait_for_completed(&mut client);
}
