//! Two thousand bundles that mean harm, or are merely broken. Each is refused, or gives the very volume;
//! nothing is ever written beside the output, and nothing under its name before all checks are passed.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use amikit::internals::error::Kind;
use amikit::internals::error::Result;
use amikit::internals::ops::instance_store as ops;
use amikit::internals::work::Unwatched;

use crate::common::Random;
use crate::common::copy_tree;
use crate::common::sample;
use crate::common::threads;
use crate::common::tree;
use crate::instance_store::cert;
use crate::instance_store::folder;
use crate::instance_store::key;
use crate::instance_store::unbundle_request;
use crate::instance_store::volume;

const VARIANTS: u64 = 2000;

/// Names that a part must not have.
const BAD_NAMES: [&str; 14] = [
    "../victim",
    "/etc/passwd",
    "a/b",
    "",
    ".",
    "..",
    "sub/../../victim",
    "a\\b",
    "a&#0;b",
    "a&#10;b",
    "&#47;etc&#47;passwd",
    "&#46;&#46;",
    "&#x2f;etc",
    " ",
];

/// What stands in front of the root, or in it.
const BAD_XML: [&str; 8] = [
    "<!DOCTYPE manifest [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
    "<!DOCTYPE manifest [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'><!ENTITY c '&b;&b;&b;&b;'>]>",
    "<!DOCTYPE manifest SYSTEM 'http://127.0.0.1/x.dtd'>",
    "<?xml-stylesheet href='x'?>",
    "<!-- x -->",
    "&lol;",
    "<![CDATA[x]]>",
    "\u{0}",
];

/// Changes a manifest; returns what it is like then.
fn change(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let all = bytes.len();
    let replace = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    match random.below(16) {
        0 => {
            let at = random.index(all);
            bytes[at] ^= 1 << random.below(8);
        }
        1 => bytes.truncate(random.index(all)),
        2 => {
            let name = BAD_NAMES[random.index(BAD_NAMES.len())];
            return replace("disk.part.01", name);
        }
        3 => {
            let bad = BAD_XML[random.index(BAD_XML.len())];
            let place = ["<manifest>", "<image>", "<size>", "<parts "][random.index(4)];
            return replace(place, &format!("{bad}{place}"));
        }
        4 => {
            let count = ["0", "1", "4", "6", "-1", "99999999999", "x", "18446744073709551616"];
            let count = count[random.index(count.len())];
            return replace("count=\"5\"", &format!("count=\"{count}\""));
        }
        5 => {
            let index = ["1", "3", "-0", "99", "x", ""][random.index(6)];
            return replace("index=\"2\"", &format!("index=\"{index}\""));
        }
        6 => return replace("disk.part.01", "disk.part.02"),
        7 => {
            let size =
                ["0", "1050099", "1050101", "10737418241", "18446744073709551615", "-1", "1e6"];
            return replace("<size>1050100", &format!("<size>{}", size[random.index(size.len())]));
        }
        8 => {
            let size = ["0", "81999", "82016", "18446744073709551615"][random.index(4)];
            return replace("<bundled_size>82000", &format!("<bundled_size>{size}"));
        }
        9 => {
            // The digest of a part or of the archive, by one digit.
            let places: Vec<usize> = text.match_indices("\"SHA1\">").map(|it| it.0 + 7).collect();
            let at = places[random.index(places.len())] + random.index(40);
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        }
        10 => {
            // Two parts change places, digests and all.
            let first = text.find("<part index=\"1\">").unwrap();
            let second = text.find("<part index=\"2\">").unwrap();
            let third = text.find("<part index=\"3\">").unwrap();
            let moved =
                [&text[..first], &text[second..third], &text[first..second], &text[third..]];
            return moved.concat().into_bytes();
        }
        11 => {
            let element = ["version", "size", "name", "parts", "digest", "image"][random.index(6)];
            let again = format!("<{element}>1</{element}></image>");
            return replace("</image>", &again);
        }
        12 => {
            let element =
                ["size", "user_encrypted_key", "ec2_encrypted_iv", "digest", "parts", "user"];
            let element = element[random.index(element.len())];
            return text
                .replace(&format!("<{element}"), "<x")
                .replace(&format!("</{element}"), "</x")
                .into();
        }
        13 => {
            let version = ["2008-01-01", "1", "", "20071010", "3"][random.index(5)];
            return replace("2007-10-10", version);
        }
        14 => {
            let deep = random.index(40) + 16;
            return replace(
                "<image>",
                &format!("{}{}<image>", "<a>".repeat(deep), "</a>".repeat(deep)),
            );
        }
        _ => {
            let algorithm = ["MD5", "sha1", "SHA256", ""][random.index(4)];
            return replace("\"SHA1\"", &format!("\"{algorithm}\""));
        }
    }
    bytes
}

/// Does something to the parts.
fn spoil(copy: &Path, random: &mut Random) {
    let path = copy.join(format!("disk.part.0{}", random.below(4)));
    let mut bytes = fs::read(&path).unwrap();
    let at = random.index(bytes.len());
    match random.below(8) {
        0 | 1 => bytes[at] ^= 1 << random.below(8),
        2 => bytes.truncate(at),
        3 => bytes.extend([0; 16]),
        4 => bytes = fs::read(copy.join("disk.part.02")).unwrap().into_iter().rev().collect(),
        5 => {
            fs::remove_file(&path).unwrap();
            return;
        }
        6 => {
            fs::rename(&path, copy.join("elsewhere")).unwrap();
            symlink("elsewhere", &path).unwrap();
            return;
        }
        _ => {
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            return;
        }
    }
    fs::write(path, bytes).unwrap();
}

#[test]
fn two_thousand_hostile_bundles_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut random = Random::new("two_thousand_hostile_bundles_are_refused");
    let expected = volume();
    let text = fs::read_to_string(folder().join("euca/disk.manifest.xml")).unwrap();
    let keys = home.path().join("keys");
    fs::create_dir(&keys).unwrap();
    fs::write(home.path().join("victim"), b"untouched").unwrap();
    let opener = key(&keys, "ec2");
    let (mut refused, mut read) = (0, 0);
    let variants = sample(VARIANTS);
    for number in 0..variants {
        let copy = home.path().join("bundle");
        copy_tree(&folder().join("euca"), &copy);
        let manifest = copy.join("disk.manifest.xml");
        if number % 3 == 2 {
            spoil(&copy, &mut random);
        } else {
            fs::write(&manifest, change(&text, &mut random)).unwrap();
        }
        let target = home.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("mine"), b"mine").unwrap();
        let request = ops::UnbundleRequest {
            key: opener.clone(),
            // Without the certificate nobody vouches for the manifest, and what it says has to be safe.
            cert: (number % 2 == 0).then(|| cert("user")),
            threads: threads(1),
            ..unbundle_request(&keys, &manifest, &target.join("out"))
        };
        let before = tree(&copy);
        let done: Result<_> = ops::unbundle(&request, &Unwatched);
        let mut files = tree(&target);
        match done {
            Ok(_) => {
                read += 1;
                let out = files.remove(Path::new("out")).expect("the volume");
                assert!(out == expected, "variant {number} gives another volume");
            }
            Err(error) => {
                refused += 1;
                let user = matches!(error.kind(), Kind::Invalid | Kind::Interrupted);
                assert!(!user, "variant {number} is the bundle's fault: {error}");
                assert!(!error.to_string().is_empty());
            }
        }
        assert_eq!(files.len(), 1, "variant {number} left {:?}", files.keys());
        assert_eq!(tree(&copy), before, "variant {number} changed its own bundle");
        assert_eq!(fs::read(home.path().join("victim")).unwrap(), b"untouched");
        fs::remove_dir_all(&target).unwrap();
        fs::remove_dir_all(&copy).unwrap();
    }
    println!("{refused} refused, {read} read");
    // Some changes hit nothing that matters: a space, a name that nobody looks at.
    assert!(refused > variants * 9 / 10, "{refused} refused, {read} read");
}

/// Every prefix of a manifest, and of a part, is refused.
#[test]
fn whatever_is_cut_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let copy = home.path().join("ec2");
    copy_tree(&folder().join("ec2"), &copy);
    let manifest = copy.join("disk.manifest.xml");
    let text = fs::read(&manifest).unwrap();
    for len in (0..text.len()).step_by(13) {
        fs::write(&manifest, &text[..len]).unwrap();
        assert!(ops::inspect(&manifest).is_err(), "{len}");
    }
    fs::write(&manifest, &text).unwrap();
    let part = copy.join("disk.part.0");
    let bytes = fs::read(&part).unwrap();
    let request = unbundle_request(home.path(), &manifest, &home.path().join("out"));
    for len in (0..bytes.len()).step_by(5011) {
        fs::write(&part, &bytes[..len]).unwrap();
        let error = ops::unbundle(&request, &Unwatched).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{len}: {error}");
    }
    assert!(!home.path().join("out").exists());
}
