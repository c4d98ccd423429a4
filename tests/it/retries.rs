//! A service that does not do what it is asked for is asked again, and the user hears what it says: in notes, in events, and in
//! the error when it never does.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::common::run_well;
use crate::common::stderr;
use crate::publish::client;
use crate::schemas;

/// What the services say.
const WHY: &str = "no space left on device";

/// Starts a service that answers every request so, and returns its port, and how often it was asked.
fn refusing(head: &'static str, body: &'static str) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), counted) = (client, Arc::clone(&counted)) else { return };
            thread::spawn(move || answer(client, head, body, &counted));
        }
    });
    (port, count)
}

fn answer(mut client: TcpStream, head: &str, body: &str, count: &AtomicUsize) {
    let mut bytes = vec![0; 64 << 10];
    let Ok(len) = client.read(&mut bytes) else { return };
    // What is no HTTP is TLS, which it does not speak.
    let is_http = bytes[..len].is_ascii();
    count.fetch_add(usize::from(is_http), Ordering::SeqCst);
    let head = if is_http { head } else { "400 Bad Request" };
    let answer = format!(
        "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = client.write_all(answer.as_bytes());
    // What is still on its way is taken, so that the answer is not lost.
    let _ = client.set_read_timeout(Some(Duration::from_millis(100)));
    while client.read(&mut bytes).is_ok_and(|len| len > 0) {}
}

/// Waits until the command has said something on standard error, stops it, and returns all that it said there.
fn heard(mut command: Command) -> String {
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut from = child.stderr.take().unwrap();
    let text = Arc::new(std::sync::Mutex::new(String::new()));
    let heard = Arc::clone(&text);
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 4096];
        while let Ok(len @ 1..) = from.read(&mut bytes) {
            heard.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
    });
    let started = Instant::now();
    while !text.lock().unwrap().contains('\n') {
        assert!(started.elapsed() < Duration::from_secs(40), "it says nothing");
        assert!(child.try_wait().unwrap().is_none(), "it ended: {}", text.lock().unwrap());
        thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    let text = text.lock().unwrap().clone();
    format!("{text}{out}")
}

fn packed(here: &Path) {
    fs::write(here.join("a.raw"), vec![1; 1 << 20]).unwrap();
    run_well(here, "pack a.raw -o a.ami --name web");
}

/// Each loop that tries again: of EC2's calls and EBS's, and of a registry's documents and blobs.
#[test]
fn what_is_waited_for_and_what_the_service_says_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    packed(here);
    let xml = "<Response><Errors><Error><Code>InternalError</Code><Message>no space left on device\
               </Message></Error></Errors><RequestID>r</RequestID></Response>";
    let json = r#"{"errors":[{"code":"UNAVAILABLE","message":"no space left on device"}]}"#;
    for (line, head, body, call) in [
        ("fetch snap-0123 -o b.ami", "500 Internal Server Error", xml, "GetCallerIdentity"),
        ("publish a.ami", "503 Service Unavailable", xml, "GetCallerIdentity"),
        ("pull 127.0.0.1:PORT/web:v1 -o b.ami", "503 Service Unavailable", json, "manifest"),
        ("push a.ami 127.0.0.1:PORT/web:v1", "500 Internal Server Error", json, "manifest"),
        ("push a.ami 127.0.0.1:PORT/web:v1", "502 Bad Gateway", "no space left on device", ""),
    ] {
        for json in [false, true] {
            let (port, count) = refusing(head, body);
            let line = line.replace("PORT", &port.to_string());
            let url = format!("http://127.0.0.1:{port}");
            let mut command = client(here, &url, &line);
            if json {
                command.arg("--json");
            }
            let text = heard(command);
            assert!(text.contains(WHY) && text.contains(call), "{line}: {text}");
            let status = head.split(' ').next().unwrap();
            assert!(
                text.contains(&format!("127.0.0.1:{port} answered {status}")),
                "{line}: {text}"
            );
            assert!(count.load(Ordering::SeqCst) > 2, "{line}");
            if json {
                let first = text.lines().next().unwrap();
                let document: Value = serde_json::from_str(first).unwrap();
                let faults = schemas::check::faults(&schemas::schema("retry"), &document);
                assert!(faults.is_empty(), "{faults:#?}\n{first}");
                let event = text.lines().find(|it| it.starts_with("{\"retrying\""));
                assert_eq!(event.is_some(), line.starts_with("publish"), "{text}");
                if let Some(event) = event {
                    let event: Value = serde_json::from_str(event).unwrap();
                    let faults = schemas::check::faults(&schemas::schema("publish"), &event);
                    assert!(faults.is_empty(), "{faults:#?}\n{event}");
                }
            } else {
                assert!(text.starts_with("amikit: note: cannot "), "{line}: {text}");
            }
        }
        // Who wants no notes has none; the error says it nevertheless.
        if line.starts_with("pull") || line.starts_with("push") {
            let (port, _) = refusing(head, body);
            let line = format!("{} --quiet", line.replace("PORT", &port.to_string()));
            let output = client(here, "", &line).output().unwrap();
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(3), "{line}: {text}");
            assert!(text.contains(WHY) && text.lines().count() == 1, "{line}: {text}");
        }
    }
}
