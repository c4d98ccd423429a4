//! What is waited for is said: by a line that moves on a terminal, by a note at the beginning and one at the end elsewhere.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::common::installed;
use crate::common::stderr;
use crate::publish::client;
use crate::publish::packed;
use crate::publish::scene;
use crate::publish::versions;
use crate::serve_aws::Server;

/// What snapshots and AMIs are until somebody waited.
const SLOW: &str = r#"{ "pending_ms": 4000 }"#;

/// Each kind of wait of an upload: for a snapshot, an AMI and a copy in another region.
#[test]
fn a_wait_for_aws_begins_and_ends_with_a_note() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(9));
    std::fs::write(here.join("slow.json"), SLOW).unwrap();
    let server = Server::start_quietly(here, "--keys keys --faults slow.json");
    let line = "publish mine@web-0 --copy-to us-east-1";
    let output = client(here, &server.url, line).output().unwrap();
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let notes: Vec<&str> = text.lines().collect();
    let made = String::from_utf8(output.stdout).unwrap();
    let id = |region: &str, kind: &str| {
        let mut lines = made.lines().skip_while(|it| !it.starts_with(&format!("  {region} ")));
        let line = lines.find(|it| it.contains(kind)).unwrap();
        line.split(' ').next_back().unwrap().to_owned()
    };
    for (region, kind, state) in [
        ("eu-central-1", "snap-", "completed"),
        ("eu-central-1", "ami-", "available"),
        ("us-east-1", "ami-", "available"),
    ] {
        let what = format!("{} in {region} to be {state}", id(region, kind));
        let begin = format!("amikit: note: waiting for {what} (pending)");
        let at = notes.iter().position(|it| *it == begin);
        let at = at.unwrap_or_else(|| panic!("{begin:?} is not in {notes:#?}"));
        let end = notes[at + 1].strip_prefix("amikit: note: waited ");
        let (seconds, rest) = end.and_then(|it| it.split_once(" s for ")).unwrap();
        assert_eq!(rest, what);
        assert!((2..60).contains(&seconds.parse::<u32>().unwrap()), "{seconds}");
    }
    // Who wants no notes, or documents, has none.
    for (name, option) in [("web-1", "--quiet"), ("web-2", "--json")] {
        let line = format!("publish mine@{name} --no-base {option}");
        let output = client(here, &server.url, &line).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{option}");
    }
}

/// Runs a line of the shell on a terminal, and returns what appears there.
fn on_a_terminal(here: &Path, url: &str, line: &str) -> String {
    let program = env!("CARGO_BIN_EXE_amikit");
    let mut command = Command::new("script");
    command.args(["-qec", &format!("{program} {line}"), "/dev/null"]);
    // The environment of an account, and no other.
    for (name, value) in client(here, url, "").get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.current_dir(here).env("TERM", "xterm").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    text
}

#[test]
fn on_a_terminal_a_wait_is_a_line_with_its_seconds() {
    if !installed("script") {
        return;
    }
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(9)[..1]);
    std::fs::write(here.join("slow.json"), SLOW).unwrap();
    let server = Server::start_quietly(here, "--keys keys --faults slow.json");
    let text = on_a_terminal(here, &server.url, "publish mine@web-0");
    for state in ["completed", "available"] {
        for seconds in [1, 2] {
            let line = format!(" in eu-central-1 to be {state} (pending), {seconds} s");
            assert!(text.contains(&line), "{line}: {text}");
        }
    }
    assert!(text.contains("waiting for snap-") && text.contains("waiting for ami-"), "{text}");
    assert!(!text.contains("note:"), "{text}");
}

/// Another run has the lock of a store for a while.
#[test]
fn a_wait_for_another_run_is_said() {
    let folder = scene();
    let here = folder.path();
    packed(here, &versions(9)[..2]);
    let lock = File::options().write(true).open(here.join("mine/amikit-store.lock")).unwrap();
    for (name, time, is_said) in [("web-0", 0, false), ("web-1", 4, true)] {
        lock.lock().unwrap();
        let mut command = client(here, "", &format!("store remove mine@{name}"));
        let text = thread::scope(|scope| {
            let run = scope.spawn(move || command.output().unwrap());
            thread::sleep(Duration::from_secs(time));
            lock.unlock().unwrap();
            let output = run.join().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            stderr(&output)
        });
        for word in ["note: waiting for another run of amikit that writes to ", "note: waited "] {
            assert_eq!(text.contains(word), is_said, "{time}: {text}");
        }
    }
}
