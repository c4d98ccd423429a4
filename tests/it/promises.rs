//! Promises that were found broken once, and are kept since.
#![allow(clippy::arithmetic_side_effects)]

use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use amikit::internals::bundle::Bundle;

use crate::common::amikit;
use crate::common::run;
use crate::common::run_badly;
use crate::common::sample;
use crate::common::stderr;
use crate::common::verify;
use crate::damage::Subject;
use crate::damage::flip;
use crate::damage::found;
use crate::damage::members;
use crate::faults::shell;
use crate::faults::signal;
use crate::faults::wait;
use crate::hostile::Crafted;
use crate::hostile::header;
use crate::hostile::put_crc;
use crate::hostile::refused;

/// OCI lets readers ignore members that they do not know, so a flip in the name of an optional one
/// may pass; what the bundle is may not change by it.
#[test]
fn a_flip_in_index_json_is_found_or_changes_nothing() {
    let subject = Subject::new();
    let bundle = subject.copy();
    let sound = Bundle::open(&bundle).unwrap();
    let path = bundle.join("index.json");
    let bytes = fs::read(&path).unwrap();
    let (mut found, mut tried) = (0, 0);
    for byte in 0..bytes.len() {
        for bit in (0..8).filter(|bit| sample(5) == 5 || byte % 8 == *bit) {
            let mut flipped = bytes.clone();
            flipped[byte] ^= 1 << bit;
            tried += 1;
            fs::write(&path, &flipped).unwrap();
            match Bundle::open(&bundle) {
                Ok(opened) => {
                    assert_eq!(opened.digest(), sound.digest(), "byte {byte}, bit {bit}");
                    assert_eq!(opened.ami(), sound.ami(), "byte {byte}, bit {bit}");
                }
                Err(_) => found += 1,
            }
        }
    }
    assert!(found > tried / 2, "{found} of {tried} flips");
}

#[test]
fn an_archive_without_its_end_or_with_more_behind_it_is_found() {
    let subject = Subject::new();
    let bytes = fs::read(subject.at("b.tar")).unwrap();
    let path = subject.at("cut.tar");
    for cut in [1, 511, 512, 513, 1023, 1024] {
        fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
        assert!(found(&verify(&path, true)), "cut by {cut} bytes");
    }
    for more in [&b"x"[..], &[1; 512], &[1; 10_000]] {
        fs::write(&path, [&bytes, more].concat()).unwrap();
        assert!(found(&verify(&path, true)), "{} bytes more", more.len());
    }
}

#[test]
fn a_damaged_pack_of_an_archive_is_accused_once() {
    let subject = Subject::new();
    let whole = fs::read(subject.at("b.tar")).unwrap();
    let copy = subject.at("copy.tar");
    fs::write(&copy, &whole).unwrap();
    // The index of the first pack: its last bytes are the footer, and the index stands before it.
    let member = &members(&whole)[1];
    flip(&copy, member.end - 70, 0);
    let report = verify(&copy, false).unwrap();
    let packs: Vec<_> = report.damage.iter().filter(|it| it.what == "pack").collect();
    assert_eq!(packs.len(), 1, "{packs:#?}");
}

#[test]
fn sizes_and_counts_that_lie_are_refused() {
    let crafted = Crafted::new();
    let mut accepted = Vec::new();
    // A larger volume is what a user may ask for; a smaller one cannot hold the snapshot.
    let path = crafted.config("\"VolumeSize\": 1", "\"VolumeSize\": 0");
    accepted.extend(verify(&path, false).is_ok_and(|it| it.sound).then_some("VolumeSize"));
    for (from, to) in [
        ("\"io.amikit.volume-size\": \"", "\"io.amikit.volume-size\": \"9"),
        ("\"io.amikit.chunks\": \"", "\"io.amikit.chunks\": \"9"),
    ] {
        let path = crafted.manifest(from, to);
        accepted.extend(verify(&path, false).is_ok_and(|it| it.sound).then_some(to));
    }
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[test]
fn oci_documents_of_another_version_or_type_are_refused() {
    let crafted = Crafted::new();
    let mut accepted = Vec::new();
    let oci = "application/vnd.oci.image";
    for (from, to) in [
        ("\"schemaVersion\": 2".to_owned(), "\"schemaVersion\": 3"),
        (format!("\"mediaType\": \"{oci}.manifest.v1+json\""), "\"mediaType\": \"text/plain\""),
    ] {
        let path = crafted.manifest(&from, to);
        accepted.extend(
            verify(&path, false).is_ok_and(|it| it.sound).then(|| format!("manifest {to}")),
        );
    }
    for (from, to) in [
        ("\"schemaVersion\": 2".to_owned(), "\"schemaVersion\": 3"),
        (format!("\"mediaType\": \"{oci}.manifest.v1+json\""), "\"mediaType\": \"text/plain\""),
        (format!("\"mediaType\": \"{oci}.index.v1+json\""), "\"mediaType\": \"text/plain\""),
        ("application/vnd.amikit.ami.v1+json".to_owned(), "text/plain"),
    ] {
        let path = crafted.index(&from, to);
        accepted
            .extend(verify(&path, false).is_ok_and(|it| it.sound).then(|| format!("index {to}")));
    }
    assert!(accepted.is_empty(), "{accepted:#?}");
}

/// EBS would refuse the snapshot at the end of its upload.
#[test]
fn a_wrong_linear_aggregate_is_found_by_verify() {
    let crafted = Crafted::new();
    let path = crafted.folder.path().join("b.ami");
    let bundle = Bundle::open(&path).unwrap();
    let old = bundle.snapshots()[0].blob.digest;
    let mut bytes = fs::read(path.join("blobs/sha256").join(old.hex())).unwrap();
    bytes[112] ^= 1;
    put_crc(&mut bytes, 4092, 0..4092);
    let new = amikit::internals::digest::sha256(&bytes);
    let path = crafted.manifest(&old.to_string(), &new.to_string());
    fs::write(path.join("blobs/sha256").join(new.hex()), bytes).unwrap();
    assert!(!verify(&path, false).unwrap().sound);
}

/// amikit never unpacks members to files, but a bundle that it calls sound is unpacked by others.
#[test]
fn members_of_an_archive_that_would_land_outside_are_refused() {
    let subject = Subject::new();
    let good = fs::read(subject.at("b.tar")).unwrap();
    let path = subject.at("x.tar");
    for name in [&b"../x"[..], b"/etc/x", b"blobs/../../x", b"blobs/sha256/../x"] {
        let first = header(name, b"00000000000\0", b'0');
        fs::write(&path, [&first[..], &good].concat()).unwrap();
        refused(&path, &String::from_utf8_lossy(name));
    }
}

#[test]
fn sigterm_ends_a_run_that_waits_for_its_pipe() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["-TERM", "-INT"] {
        let mut child = amikit()
            .current_dir(folder.path())
            .args(["snapshot", "-", "-o", "out.snap"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let held = child.stdin.take();
        sleep(Duration::from_millis(200));
        signal(&child, name);
        assert!(wait(&mut child, Duration::from_secs(3)).is_some(), "{name} was ignored");
        drop(held);
    }
}

#[test]
fn a_named_pipe_is_waited_for_until_the_user_has_enough() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let made = Command::new("mkfifo").arg(here.join("pipe")).status().unwrap();
    assert!(made.success());
    for line in ["compare pipe pipe", "convert pipe out.raw", "map pipe"] {
        let start = || {
            let words = line.split(' ');
            let mut command = amikit();
            command.current_dir(here).args(words).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut child = start();
        sleep(Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none(), "{line}: nobody has written yet");
        signal(&child, "-TERM");
        let status = wait(&mut child, Duration::from_secs(3));
        assert_eq!(status.and_then(|it| it.code()), Some(143), "{line}");
        if line.starts_with("compare") {
            continue;
        }
        let mut child = start();
        sleep(Duration::from_millis(100));
        // In pieces, with nothing between them for a while.
        let mut pipe = File::create(here.join("pipe")).unwrap();
        for _ in 0..3 {
            pipe.write_all(&vec![7; 100_000]).unwrap();
            sleep(Duration::from_millis(150));
        }
        drop(pipe);
        let status = wait(&mut child, Duration::from_secs(10));
        assert_eq!(status.and_then(|it| it.code()), Some(0), "{line}");
    }
    assert!(fs::read(here.join("out.raw")).unwrap() == vec![7; 300_000]);
}

#[test]
fn sigterm_ends_a_run_at_a_high_level_soon() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = crate::common::Random::with_seed(5);
    let words: Vec<Vec<u8>> = (0..500).map(|_| random.bytes(5)).collect();
    let text: Vec<u8> =
        (0..4_000_000).flat_map(|_| words[random.index(500)].iter().copied()).collect();
    fs::write(folder.path().join("in.raw"), text).unwrap();
    let mut child = amikit()
        .current_dir(folder.path())
        .args(["pack", "in.raw", "-o", "out.ami", "--name", "test", "--level", "22"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    sleep(Duration::from_millis(400));
    signal(&child, "-TERM");
    let begin = std::time::Instant::now();
    let status = wait(&mut child, Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(143));
    assert!(begin.elapsed() < Duration::from_millis(1500), "took {:?}", begin.elapsed());
}

#[test]
fn standard_input_cannot_be_two_volumes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.raw"), [1; 5000]).unwrap();
    let mut child = amikit()
        .current_dir(folder.path())
        .args(["pack", "-", "--map", "/dev/sdf=-", "-o", "out.ami", "--name", "test"])
        .stdin(File::open(folder.path().join("in.raw")).unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = wait(&mut child, Duration::from_secs(3)).expect("it hangs");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn completions_name_a_full_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["completions zsh", "completions bash", "--help", "--version", "pack --help"] {
        let output = shell(folder.path(), &format!("\"$0\" {line} > /dev/full"));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{line}: {text}");
        assert!(text.contains("standard output: cannot write"), "{line}: {text:?}");
        assert_eq!(text.lines().count(), 1, "{line}: {text}");
    }
}

#[test]
fn lists_name_standard_output_where_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.raw"), [1; 5000]).unwrap();
    for line in ["map in.raw --json", "map in.raw --bmap"] {
        let text = stderr(&shell(folder.path(), &format!("\"$0\" {line} > /dev/full")));
        assert!(text.contains("standard output"), "{line}: {text}");
    }
}

#[test]
fn help_for_a_reader_that_goes_away_is_no_failure() {
    let mut child = amikit().args(["pack", "--help"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::with_capacity(1, child.stdout.take().unwrap());
    // It writes more than one piece; the first is enough for us.
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    let code = child.wait().unwrap().code();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = amikit().arg("--help").stdout(writer).status().unwrap();
    assert_eq!((code, status.code()), (Some(0), Some(0)));
}

#[test]
fn a_name_that_is_no_utf_8_can_be_reported_as_json() {
    let folder = tempfile::tempdir().unwrap();
    let name = OsStr::from_bytes(b"b\xff.raw");
    fs::write(folder.path().join(name), [1; 5000]).unwrap();
    let missing = OsStr::from_bytes(b"missing\xff.raw");
    for (name, code) in [(name, 0), (missing, 3)] {
        let mut command = amikit();
        command.current_dir(folder.path()).args(["inspect", "--json"]).arg(name);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name:?}: {}", stderr(&output));
        let document = if code == 0 { &output.stdout } else { &output.stderr };
        assert!(serde_json::from_slice::<serde_json::Value>(document).is_ok());
    }
}

#[test]
fn any_number_of_threads_is_taken_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.raw"), [1; 5000]).unwrap();
    for count in ["18446744073709551615", "9223372036854775808", "4611686018427387904"] {
        let line = format!("snapshot in.raw -o out.snap --threads {count}");
        let output = run(folder.path(), &line);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 2 | 6)), "{count}: {code:?}: {}", stderr(&output));
    }
}

#[test]
fn a_missing_output_folder_is_named_and_no_temporary_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.raw"), [1; 5000]).unwrap();
    for output in ["missing/out.ami", "missing/out.tar", "in.raw/out.ami"] {
        let line = format!("pack in.raw -o {output} --name test");
        let text = run_badly(folder.path(), &line, 3);
        assert!(!text.contains(".part") && !text.contains("/tmp"), "{text}");
    }
}

#[test]
fn what_is_no_bundle_is_called_that() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("in.raw"), [1; 5000]).unwrap();
    fs::write(here.join("empty"), "").unwrap();
    fs::create_dir(here.join("folder")).unwrap();
    for name in ["in.raw", "empty", "folder"] {
        let output = run(here, &format!("verify {name}"));
        let text = stderr(&output);
        assert!(text.contains("not a bundle"), "{text}");
    }
}

#[test]
fn a_pipe_that_nothing_comes_out_of_is_called_that() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["map -", "compare - in.raw", "convert - out.qcow2"] {
        let text = run_badly(folder.path(), line, 2);
        assert!(text.contains("standard input: it is empty"), "{text}");
    }
}

#[test]
fn a_mistake_on_the_command_line_is_json_where_that_was_asked() {
    let folder = tempfile::tempdir().unwrap();
    for line in ["verify --json", "pack --json x --level high -o y", "--json nonsense"] {
        let output = run(folder.path(), line);
        assert_eq!(output.status.code(), Some(2));
        let document = serde_json::from_slice::<serde_json::Value>(&output.stderr);
        assert!(document.is_ok(), "{line}: {}", stderr(&output));
    }
}

#[test]
fn the_sync_of_the_folder_that_fails_names_the_output() {
    if !crate::common::installed("strace") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("in.raw"), [1; 5000]).unwrap();
    let output = Command::new("strace")
        .args(["-f", "-qq", "-o", "log", "-e", "inject=fsync:error=EIO:when=2"])
        .arg(env!("CARGO_BIN_EXE_amikit"))
        .args(["snapshot", "in.raw", "-o", "out.snap"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("out.snap"), "{}", stderr(&output));
}
