//! Packages of systems with rpm: databases of all its kinds, made of the same headers, say what rpm itself says.
#![allow(clippy::arithmetic_side_effects)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::Random;
use crate::common::installed;
use crate::common::quick_folder;
use crate::common::run;
use crate::common::run_tool;
use crate::common::run_well;
use crate::common::stderr;

/// A header of rpm: integers are big-endian.
fn header(tags: &[(u32, u32, u32, Vec<u8>)]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (tag, kind, count, value) in tags {
        for number in [*tag, *kind, u32::try_from(data.len()).unwrap(), *count] {
            entries.extend(number.to_be_bytes());
        }
        data.extend_from_slice(value);
    }
    let count = u32::try_from(tags.len()).unwrap().to_be_bytes();
    let len = u32::try_from(data.len()).unwrap().to_be_bytes();
    [&count[..], &len, &entries, &data].concat()
}

/// Headers as rpm has them: with and without an epoch, one over many pages, and a key that was imported.
fn headers() -> Vec<Vec<u8>> {
    let text = |tag, value: &str| (tag, 6, 1, format!("{value}\0").into_bytes());
    let names: Vec<u8> =
        (0..3000).flat_map(|at| format!("a-long-name-{at}\0").into_bytes()).collect();
    let files = (1117, 8, 3000, names);
    let summary = (1004, 9, 2, b"A shell\0Eine Shell\0".to_vec());
    vec![
        header(&[text(1000, "alpha"), text(1001, "1.0"), text(1002, "1"), text(1022, "noarch")]),
        header(&[
            text(1000, "beta"),
            text(1001, "2.5~rc1"),
            text(1002, "4.el9"),
            (1003, 4, 1, vec![0, 0, 0, 3]),
            summary,
            text(1022, "x86_64"),
            files,
        ]),
        header(&[text(1000, "gpg-pubkey"), text(1001, "1234abcd"), text(1002, "5678")]),
        header(&[text(1000, "gamma"), text(1001, "7"), text(1002, "1"), text(1022, "x86_64")]),
    ]
}

const EXPECTED: [&str; 3] =
    ["alpha noarch 1.0-1", "beta x86_64 3:2.5~rc1-4.el9", "gamma x86_64 7-1"];

/// The database of SUSE: slots, then blobs, with a slot and a blob that were freed between them.
fn ndb(headers: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let next = u32::try_from(headers.len()).unwrap() + 2;
    for (at, number) in [(4, 0), (8, 9), (12, 1), (16, next)] {
        bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
    }
    bytes[..4].copy_from_slice(b"RpmP");
    for slot in 2..256 {
        bytes[slot * 16..][..4].copy_from_slice(b"Slot");
    }
    for (number, header) in (1_u32..).zip(headers) {
        // One was deleted: its slot has no package any more, and its blob is litter.
        let slot = usize::try_from(number).unwrap() * 2;
        bytes.extend([0xaa; 48]);
        let place = u32::try_from(bytes.len() / 16).unwrap();
        let len = u32::try_from(header.len()).unwrap();
        bytes.extend(b"BlbS");
        for word in [number, 9, len] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(header);
        bytes.resize((bytes.len() + 12).next_multiple_of(16) - 12, 0);
        bytes.extend([0; 4]);
        bytes.extend(len.to_le_bytes());
        bytes.extend(b"BlbE");
        let count = u32::try_from(bytes.len() / 16).unwrap() - place;
        for (at, word) in (1..).zip([number, place, count]) {
            bytes[slot * 16 + at * 4..][..4].copy_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

/// A hash database of Berkeley DB by its own program, of headers under the numbers of their packages.
fn bdb(here: &Path, headers: &[Vec<u8>], to: &Path) {
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::from(" "), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    };
    let mut text =
        "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n".to_owned();
    let next = u32::try_from(headers.len()).unwrap().to_le_bytes();
    writeln!(text, "{}\n{}", hex(&[0; 4]), hex(&next)).unwrap();
    for (number, header) in (1_u32..).zip(headers) {
        writeln!(text, "{}\n{}", hex(&number.to_le_bytes()), hex(header)).unwrap();
    }
    fs::write(here.join("load"), text + "DATA=END\n").unwrap();
    run_tool(Command::new("db5.3_load").arg("-f").arg(here.join("load")).arg(to));
}

/// Makes an ext4 of what is in `root`.
fn image(here: &Path, name: &str) {
    let path = here.join(format!("{name}.raw"));
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-d"]).arg(here.join(name)).arg(path).arg("16M");
    run_tool(&mut command);
}

/// Name, architecture and version of each package that an image has.
fn packages(here: &Path, image: &str) -> Vec<String> {
    let said = run_well(here, &format!("packages {image}.raw --json"));
    let said: Value = serde_json::from_str(&said).unwrap();
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    let listed = said["packages"].as_array().unwrap().iter();
    let rpm = listed.filter(|it| it["manager"] == "rpm");
    rpm.map(|it| [&it["name"], &it["architecture"], &it["version"]].map(text).join(" ")).collect()
}

#[test]
fn a_database_of_suse_and_one_of_berkeley_db_are_read() {
    if !installed("mke2fs") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    fs::create_dir_all(here.join("suse/usr/lib/sysimage/rpm")).unwrap();
    fs::write(here.join("suse/usr/lib/sysimage/rpm/Packages.db"), ndb(&headers())).unwrap();
    image(here, "suse");
    assert_eq!(packages(here, "suse"), EXPECTED);
    if installed("db5.3_load") {
        fs::create_dir_all(here.join("old/var/lib/rpm")).unwrap();
        bdb(here, &headers(), &here.join("old/var/lib/rpm/Packages"));
        image(here, "old");
        assert_eq!(packages(here, "old"), EXPECTED);
    }
}

/// A database that is damaged in any byte is named, or read as what it says now; it is never the end of the run.
#[test]
fn a_damaged_database_ends_nothing() {
    if !installed("mke2fs") {
        return;
    }
    let folder = quick_folder();
    let here = folder.path();
    fs::create_dir_all(here.join("suse/var/lib/rpm")).unwrap();
    let whole = ndb(&headers());
    fs::write(here.join("suse/var/lib/rpm/Packages.db"), &whole).unwrap();
    image(here, "suse");
    let disk = fs::read(here.join("suse.raw")).unwrap();
    let start = disk.windows(4).position(|it| it == b"RpmP").unwrap();
    assert!(disk[start..].starts_with(&whole), "the file lies in one piece");
    let mut random = Random::new("damaged rpm");
    // What must be named: the magic, the number of slots, where a blob lies, its magic and its length; then any bytes.
    let must = [0, 15, 42, 4144, 4158].map(Some);
    for (round, must) in must.into_iter().chain([None; 60]).enumerate() {
        let mut disk = disk.clone();
        // The header, the first slots, and the heads of blobs are where most of it shows.
        let any = match round % 3 {
            0 => random.index(192),
            1 => 4096 + random.index(512),
            _ => random.index(whole.len()),
        };
        let at = must.unwrap_or(any);
        disk[start + at] ^= 1 << random.below(8);
        fs::write(here.join("suse.raw"), &disk).unwrap();
        let output = run(here, "packages suse.raw --json");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let is_damaged = said["faults"].as_array().is_some_and(|faults| !faults.is_empty());
        // An answer that is not whole is no success.
        let expected = Some(i32::from(is_damaged));
        assert_eq!(output.status.code(), expected, "byte {at}: {said} {}", stderr(&output));
        assert!(is_damaged || must.is_none(), "byte {at}: {said}");
    }
}

/// Packages of our own that rpm itself built and installed: the same headers in each kind of database.
#[test]
fn what_rpm_installed_is_listed_as_rpm_lists_it() {
    for tool in ["mke2fs", "rpmbuild", "rpm", "db5.3_load", "python3"] {
        if !installed(tool) {
            return;
        }
    }
    let folder = quick_folder();
    let here = folder.path();
    let files = "%install\nmkdir -p %{buildroot}/opt/NAME\nfor i in $(seq 400); do echo $i > \
                 %{buildroot}/opt/NAME/a-file-of-NAME-$i; done\n%files\n/opt/NAME\n";
    for (name, more) in [
        ("alpha", "Version: 1.0\nRelease: 1\nBuildArch: noarch\n"),
        ("beta", "Version: 2.5~rc1\nRelease: 4.el9\nEpoch: 3\nSummary(de): Ein Paket\n"),
        ("gamma", "Version: 7\nRelease: 1\n"),
        ("delta", "Version: 8\nRelease: 1\n"),
    ] {
        let head =
            format!("Name: {name}\n{more}Summary: A package\nLicense: MIT\n%description\nIt.\n");
        let spec = here.join(format!("{name}.spec"));
        fs::write(&spec, head + &files.replace("NAME", name)).unwrap();
        let mut build = Command::new("rpmbuild");
        build.arg("-bb").arg("--define").arg(format!("_topdir {}", here.join("top").display()));
        build.args(["--define", "_binary_payload w1.gzdio", "--define", "debug_package %{nil}"]);
        run_tool(build.arg(spec));
    }
    let database = here.join("fedora/usr/lib/sysimage/rpm");
    fs::create_dir_all(&database).unwrap();
    let rpm = |args: &[&str]| {
        let mut rpm = Command::new("rpm");
        rpm.arg("--dbpath").arg(&database).args(["--define", "_db_backend sqlite"]).args(args);
        String::from_utf8(run_tool(&mut rpm)).unwrap()
    };
    let mut built: Vec<String> = Vec::new();
    for folder in fs::read_dir(here.join("top/RPMS")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            built.push(file.unwrap().path().display().to_string());
        }
    }
    assert_eq!(built.len(), 4);
    let install = ["--justdb", "--nodeps", "--ignorearch", "--ignoreos", "-i"];
    rpm(&[&install[..], &built.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    rpm(&["--justdb", "--nodeps", "-e", "delta"]);
    let format = "%{NAME} %{ARCH} %|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\n";
    let mut expected: Vec<String> =
        rpm(&["-qa", "--qf", format]).lines().map(str::to_owned).collect();
    expected.sort();
    assert_eq!(expected.len(), 3, "{expected:?}");
    image(here, "fedora");
    assert_eq!(packages(here, "fedora"), expected);
    // The headers, as rpm stored them.
    let script = "import sqlite3, sys
for number, blob in sqlite3.connect(sys.argv[1]).execute('select hnum, blob from Packages order by hnum'):
    print(blob.hex())";
    let mut python = Command::new("python3");
    let stored = run_tool(python.args(["-c", script]).arg(database.join("rpmdb.sqlite")));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let stored: Vec<Vec<u8>> = stored
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.chunks(2).map(byte).collect())
        .collect();
    assert_eq!(stored.len(), 3);
    fs::create_dir_all(here.join("suse/usr/lib/sysimage/rpm")).unwrap();
    fs::write(here.join("suse/usr/lib/sysimage/rpm/Packages.db"), ndb(&stored)).unwrap();
    image(here, "suse");
    assert_eq!(packages(here, "suse"), expected);
    fs::create_dir_all(here.join("old/var/lib/rpm")).unwrap();
    bdb(here, &stored, &here.join("old/var/lib/rpm/Packages"));
    image(here, "old");
    assert_eq!(packages(here, "old"), expected);
}
