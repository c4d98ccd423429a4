//! Who is believed about the content of a snapshot: nobody who only names it. Blocks that are not read, or not put, come from
//! what the snapshot is said to be, so a wrong id would make a wrong volume, and a success of it.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::run_well;
use crate::publish::ACCOUNT;
use crate::publish::OTHER;
use crate::publish::badly;
use crate::publish::client;
use crate::publish::events;
use crate::publish::fetched;
use crate::publish::packed;
use crate::publish::say;
use crate::publish::scene;
use crate::publish::versions;
use crate::publish::well;
use crate::serve_aws::Server;

/// The ids of a publication: its AMI, and the snapshot of its volume.
fn published(here: &Path, url: &str, line: &str) -> (String, String) {
    let text = well(here, url, &format!("{line} --json"));
    let report = events(&text).pop().unwrap()["published"].clone();
    let of = |value: &Value| value.as_str().unwrap().to_owned();
    (of(&report["image_id"]), of(&report["images"][0]["snapshots"][0]["snapshot_id"]))
}

/// Fetches, and returns the root digest with the number of blocks that were read.
fn fetch(here: &Path, url: &str, id: &str, output: &str, base: &str) -> (String, u64) {
    let line = format!("fetch {id} -o {output} {base} --json");
    let report: Value = serde_json::from_str(&well(here, url, &line)).unwrap();
    (fetched(here, output), report["volumes"][0]["read_blocks"].as_u64().unwrap())
}

fn calls(lines: &[Value], call: &str) -> usize {
    lines.iter().filter(|it| it["called"]["call"] == call).count()
}

#[test]
fn a_base_is_read_only_in_place_of_the_snapshot_that_it_is() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(40));
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    let made: Vec<(String, String)> =
        (0..3).map(|it| published(here, &url, &format!("publish mine@web-{it}"))).collect();
    let snapshot = |number: usize| made[number].1.as_str();
    let whole: Vec<(String, u64)> =
        (0..3).map(|it| fetch(here, &url, snapshot(it), &format!("whole{it}.ami"), "")).collect();

    // The records say otherwise: EBS would name one block, and all others were taken from another version.
    for base in [format!("mine@web-0={}", snapshot(1)), format!("mine@web-1={}", snapshot(0))] {
        let text = badly(here, &url, &format!("fetch {} -o x.ami --base {base}", made[2].0), 7);
        assert!(
            text.contains("a record says that snap-") && text.contains("omit --base"),
            "{text}"
        );
    }
    // No record: an AMI that was made of the bundle proves it.
    for number in 0..2 {
        run_well(here, &format!("store copy mine@web-{number} old{number}.ami"));
    }
    let line = format!("--base old1.ami={}", snapshot(1));
    let (root, read) = fetch(here, &url, &made[2].0, "over.ami", &line);
    assert_eq!((&root, read), (&whole[2].0, 1));
    for base in [format!("old0.ami={}", snapshot(1)), format!("old1.ami={}", snapshot(0))] {
        let text = badly(here, &url, &format!("fetch {} -o x.ami --base {base}", made[2].0), 2);
        assert!(text.contains("nothing proves that snap-"), "{text}");
    }
    // Without a record and an id nothing is guessed, and an image is not believed.
    let text = badly(here, &url, &format!("fetch {} -o x.ami --base old1.ami", made[2].0), 2);
    assert!(text.contains("no record says which snapshot"), "{text}");
    let line = format!("fetch {} -o x.ami --base v1.raw={}", made[2].0, snapshot(1));
    assert!(badly(here, &url, &line, 2).contains("it is not a bundle"));
    let line = format!("fetch {} -o x.ami --base old1.ami=snap-0123", made[2].0);
    assert!(badly(here, &url, &line, 2).contains("no complete snapshot snap-0123"));
    assert!(!here.join("x.ami").exists());

    // What was fetched is a base as it is, states and all: zeros that EBS has over a parent's blocks are kept.
    let (root, read) = fetch(here, &url, snapshot(1), "step.ami", "--base whole0.ami");
    assert!(read < whole[1].1, "{read}");
    assert_eq!(root, whole[1].0);
    let (root, read) = fetch(here, &url, snapshot(2), "next.ami", "--base step.ami");
    assert_eq!((&root, read), (&whole[2].0, 1));
    fetch(here, &url, &made[1].0, "mine@back", "");
    let (root, read) = fetch(here, &url, &made[2].0, "mine@forth", "--base mine@back");
    assert_eq!((&root, read), (&whole[2].0, 1));
    let (root, read) = fetch(here, &url, &made[2].0, "published.ami", "--base mine@web-1");
    assert_eq!((&root, read), (&whole[2].0, 1));
    // A record of a fetch is not one of a publication.
    let text = badly(here, &url, &format!("unpublish step.ami --yes {ACCOUNT}"), 2);
    assert!(text.contains("no record says that it was published"), "{text}");
    // A record is about a content, and not about a name.
    fs::remove_dir_all(here.join("whole0.ami")).unwrap();
    fs::rename(here.join("whole2.ami"), here.join("whole0.ami")).unwrap();
    let text = badly(here, &url, &format!("fetch {} -o x.ami --base whole0.ami", made[1].0), 2);
    assert!(text.contains("no record says which snapshot"), "{text}");
    let line = format!("fetch {} -o x.ami --base whole0.ami={}", made[1].0, snapshot(0));
    assert!(badly(here, &url, &line, 7).contains("a record says that snap-"));
}

#[test]
fn what_is_not_our_tag_proves_nothing() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(20)[..2]);
    let server = Server::start(here, "");
    let url = server.url.clone();
    let old = published(here, &url, "publish mine@web-0");
    let new = published(here, &url, "publish mine@web-1");
    run_well(here, "store copy mine@web-0 old.ami");
    let line = format!("fetch {} -o x.ami --base old.ami={}", new.0, old.1);
    let body = format!(
        "Action=DeleteTags&Version=2016-11-15&ResourceId.1={}&Tag.1.Key=amikit%3Abundle",
        old.0
    );
    assert!(say(&server, &body).contains("<return>true"));
    assert!(badly(here, &url, &line, 2).contains("nothing proves that snap-"));
    // A record of another account is of another snapshot, whatever its id.
    let records = here.join("mine/publications");
    for entry in fs::read_dir(&records).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(ACCOUNT));
        fs::write(&path, text.replace(ACCOUNT, OTHER)).unwrap();
    }
    let text = badly(here, &url, &format!("fetch {} -o x.ami --base mine@web-0", new.0), 2);
    assert!(text.contains("no record says which snapshot"), "{text}");
}

#[test]
fn a_parent_is_named_only_with_proof() {
    let folder = scene();
    let here = folder.path();
    let models = versions(40);
    packed(here, &models);
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    let old = published(here, &url, "publish mine@web-0");
    let new = published(here, &url, "publish mine@web-1");
    run_well(here, "store copy mine@web-0 old.ami");
    run_well(here, "pack v2.raw -o next.ami --name next");
    run_well(here, "snapshot v0.raw -o v0.snap");
    for (base, code, said) in [
        // The first has blocks that the second changed, and no put would change them back.
        (format!("mine@web-0={}", new.1), 7, "a record says that snap-"),
        (format!("old.ami={}", new.1), 2, "nothing proves that snap-"),
        (format!("v0.snap={}", old.1), 2, "nothing proves that snap-"),
        ("old.ami=snap-0123".to_owned(), 2, "no complete snapshot snap-0123"),
    ] {
        let text = badly(here, &url, &format!("publish next.ami --base {base}"), code);
        assert!(text.contains(said) && text.contains("omit --base"), "{base}: {text}");
    }
    // An AMI made of the bundle proves the one, a record of the store the other.
    let third = published(here, &url, &format!("publish next.ami --base old.ami={}", old.1));
    let line = format!("publish mine@web-2 --base v0.snap={} --json", old.1);
    let report = events(&well(here, &url, &line)).pop().unwrap()["published"].clone();
    assert_eq!(report["parents"]["/dev/xvda"], old.1);
    let (root, _) = fetch(here, &url, &third.1, "back.ami", "");
    let id = report["image_id"].as_str().unwrap();
    assert_eq!(fetch(here, &url, id, "again.ami", "").0, root);
    // So does a record of what was fetched.
    fetch(here, &url, &old.0, "from.ami", "");
    run_well(here, "pack v1.raw -o other.ami --name other");
    let other = published(here, &url, &format!("publish other.ami --base from.ami={}", old.1));
    let (root, _) = fetch(here, &url, &new.1, "one.ami", "");
    assert_eq!(fetch(here, &url, &other.1, "two.ami", "").0, root);
    let (_, lines) = server.stop();
    assert_eq!(calls(&lines, "StartSnapshot"), 5, "what was refused has started nothing");
}

/// The account that a snapshot is shared with fetches over what it fetched, and cannot see its owner's tags.
#[test]
fn a_shared_snapshot_is_a_base_for_who_has_read_it() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(20)[..2]);
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    let recipe = format!(
        "version = 1\n[ami]\nname = \"web\"\narchitecture = \"x86_64\"\nvirtualization-type = \"hvm\"\n\
         root-device-name = \"/dev/xvda\"\n[[volume]]\ndevice-name = \"/dev/xvda\"\nimage = \"v0.raw\"\n\
         [upload]\ncreate-volume-permissions = [\"{OTHER}\"]\n"
    );
    fs::write(here.join("ami.toml"), recipe).unwrap();
    let old = published(here, &url, "publish mine@web-0 --recipe ami.toml");
    let new = published(here, &url, "publish mine@web-1 --recipe ami.toml");
    let other = |line: &str, code: i32| {
        let mut command = client(here, &url, line);
        command.env("AWS_ACCESS_KEY_ID", "OTHER").env("AWS_SECRET_ACCESS_KEY", "t0p");
        let output = command.output().unwrap();
        let text = crate::common::stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{line}: {text}");
        text
    };
    other(&format!("fetch {} -o whole.ami", new.1), 0);
    other(&format!("fetch {} -o old.ami", old.1), 0);
    other(&format!("fetch {} -o over.ami --base old.ami", new.1), 0);
    assert_eq!(fetched(here, "over.ami"), fetched(here, "whole.ami"));
    // The owner's record is about the same snapshot.
    other(&format!("fetch {} -o owners.ami --base mine@web-0", new.1), 0);
    assert_eq!(fetched(here, "owners.ami"), fetched(here, "whole.ami"));
    // What the one has read is not what the other has.
    let line = format!("fetch {} -o x.ami --base old.ami", new.1);
    assert!(badly(here, &url, &line, 2).contains("no record says which snapshot"));
}

#[test]
fn a_thin_bundle_is_published_over_what_it_was_packed_against() {
    let folder = scene();
    let here = folder.path();
    for (number, model) in versions(40)[..2].iter().enumerate() {
        model.write(&here.join(format!("v{number}.raw")));
    }
    run_well(here, "pack v0.raw -o old.ami --name web-old");
    run_well(here, "pack v1.raw -o thin.ami --name web-thin --base old.ami --thin");
    run_well(here, "pack v1.raw -o image.ami --name web-image --base v0.raw --thin");
    let server = Server::start(here, "--keys keys");
    let url = server.url.clone();
    let expected = fs::read(here.join("v1.raw")).unwrap();
    let check = |id: &str| {
        well(here, &url, &format!("fetch {id} -o back.ami"));
        run_well(here, "unpack back.ami -o back.raw");
        assert!(fs::read(here.join("back.raw")).unwrap()[..expected.len()] == expected, "{id}");
        fs::remove_dir_all(here.join("back.ami")).unwrap();
        fs::remove_file(here.join("back.raw")).unwrap();
    };
    // Nothing is sent of a volume that cannot be read.
    let text = badly(here, &url, "publish thin.ami", 2);
    assert!(text.contains("the bundle is thin") && text.contains("--base OLD"), "{text}");
    assert!(badly(here, &url, "publish thin.ami --base v1.raw", 7).contains("root digest"));
    let text = badly(here, &url, "publish thin.ami --base old.ami", 2);
    assert!(text.contains("no record says which snapshot"), "{text}");
    assert!(badly(here, &url, "plan thin.ami --base old.ami", 2).contains("OLD=snap-0123"));
    assert!(!here.join("thin.ami.publications").exists());
    // Without a parent all blocks are put, and what the bundle lacks comes from the base.
    check(&published(here, &url, "publish thin.ami --base old.ami --no-base").0);
    well(here, &url, &format!("unpublish thin.ami --yes {ACCOUNT}"));
    // Over the parent that a record names, or that is named.
    let old = published(here, &url, "publish old.ami").1;
    for line in [
        "publish thin.ami --base old.ami".to_owned(),
        "publish image.ami --base v0.raw --records old.ami.publications".to_owned(),
    ] {
        let text = well(here, &url, &format!("{line} --json"));
        let report = events(&text).pop().unwrap()["published"].clone();
        assert_eq!(report["parents"]["/dev/xvda"], old.as_str(), "{line}");
        assert!(report["put_blocks"].as_u64().unwrap() < 20, "{report}");
        check(report["image_id"].as_str().unwrap());
    }
    well(here, &url, &format!("unpublish thin.ami --yes {ACCOUNT}"));
    check(&published(here, &url, &format!("publish thin.ami --base old.ami={old}")).0);
}
