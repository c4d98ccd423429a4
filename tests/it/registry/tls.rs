//! Registries and endpoints that speak TLS with a certificate that nobody trusts, and those that do not speak TLS.

use std::fs;
use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::common::amikit;
use crate::common::installed;
use crate::common::run_well;
use crate::common::stderr;

/// The byte that a TLS connection begins with.
const HANDSHAKE: u8 = 22;

/// A server, and the first byte of each connection to it.
struct Listening {
    port: u16,
    first: Arc<Mutex<Vec<u8>>>,
    server: Option<Child>,
}

impl Listening {
    /// Starts one that answers each first byte by a function, which has the connection then.
    fn start(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let first: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (heard, answer) = (Arc::clone(&first), Arc::new(answer));
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let (heard, answer) = (Arc::clone(&heard), Arc::clone(&answer));
                thread::spawn(move || {
                    let mut byte = [0];
                    if client.peek(&mut byte).is_ok_and(|len| len == 1) {
                        heard.lock().unwrap().push(byte[0]);
                        answer(client);
                    }
                });
            }
        });
        Self { port, first, server: None }
    }

    /// Starts one that speaks TLS, with a certificate of an authority whose own is `authority.pem`.
    fn with_tls(here: &Path) -> Self {
        certificates(here);
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let behind = free.local_addr().unwrap();
        drop(free);
        let server = Command::new("openssl")
            .args(["s_server", "-quiet", "-www", "-cert", "server.pem", "-key", "server.key"])
            .args(["-accept", &behind.to_string()])
            .current_dir(here)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        while TcpStream::connect(behind).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "openssl does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        let mut listening = Self::start(move |client| {
            let Ok(server) = TcpStream::connect(behind) else { return };
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            thread::spawn(move || pass(back.0, back.1));
            pass(client, server);
        });
        listening.server = Some(server);
        listening
    }

    fn first(&self) -> Vec<u8> {
        self.first.lock().unwrap().clone()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Makes an authority and a certificate of this machine that it signed.
fn certificates(here: &Path) {
    let extension = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n\
                     extendedKeyUsage=serverAuth\n";
    fs::write(here.join("extension"), extension).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for line in [
        format!(
            "req -x509 {key} -keyout authority.key -out authority.pem -days 30 -subj /CN=authority \
             -addext basicConstraints=critical,CA:TRUE"
        ),
        format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"),
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 30 \
         -extfile extension -out server.pem"
            .to_owned(),
    ] {
        let output = Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(here)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
    }
}

/// Answers as servers of plain HTTP do what they do not understand.
fn plain(mut client: TcpStream) {
    let mut head = vec![0; 4096];
    let len = client.read(&mut head).unwrap_or(0);
    let status = if head[..len].starts_with(b"GET /") || head[..len].starts_with(b"HEAD /") {
        "404 Not Found"
    } else {
        "400 Bad Request"
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let _ = client.write_all(answer.as_bytes());
}

/// Answers as servers do that close what they do not understand, without a word, and before they have read all of it.
fn curt(mut client: TcpStream) {
    let mut head = [0; 5];
    if client.read_exact(&mut head).is_ok() && head == *b"GET /" {
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let _ = client.read(&mut [0; 4096]);
        let _ = client.write_all(answer.as_bytes());
    }
}

fn run(here: &Path, line: &str, vars: &[(&str, &str)]) -> (i32, String) {
    let mut command = amikit();
    command.current_dir(here).args(line.split_whitespace()).env("HOME", here);
    command.env("AWS_ACCESS_KEY_ID", "AKID").env("AWS_SECRET_ACCESS_KEY", "s");
    let output = command.envs(vars.iter().copied()).output().unwrap();
    (output.status.code().unwrap(), stderr(&output))
}

/// What speaks TLS is never spoken to without it, whatever is wrong with its certificate.
#[test]
fn a_certificate_that_nobody_trusts_is_an_error_and_no_reason_to_do_without_tls() {
    if !installed("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("a.raw"), vec![1; 1 << 20]).unwrap();
    run_well(here, "pack a.raw -o a.ami --name web");
    let server = Listening::with_tls(here);
    let port = server.port;
    for line in [
        format!("pull localhost:{port}/web:v1 -o back.ami"),
        format!("pull localhost:{port}/web:v1 -o back.ami --insecure-endpoint"),
        format!("push a.ami 127.0.0.1:{port}/web:v1 --insecure-endpoint"),
        format!("fetch snap-0123 -o back.ami --region x-1 --endpoint https://localhost:{port}"),
        format!("publish a.ami --region eu-west-1 --endpoint https://localhost:{port}"),
    ] {
        let (code, text) = run(here, &line, &[]);
        assert_eq!(code, 3, "{line}: {text}");
        assert!(text.contains("certificate") && text.contains("UnknownIssuer"), "{line}: {text}");
        assert!(text.contains("SSL_CERT_FILE"), "{line}: {text}");
        assert!(server.first().iter().all(|byte| *byte == HANDSHAKE), "{line}: plain HTTP");
    }
    // With the authority named, TLS is agreed: what fails then is something else.
    let line = format!("pull localhost:{port}/web:v1 -o back.ami");
    let (_, text) = run(here, &line, &[("SSL_CERT_FILE", "authority.pem")]);
    assert!(!text.contains("certificate") && text.contains("text/html"), "{text}");
    assert!(server.first().iter().all(|byte| *byte == HANDSHAKE), "plain HTTP");
}

/// What answers, and not with TLS, or closes, is spoken to without, on this machine; what fails in another way is not.
#[test]
fn only_an_answer_that_is_not_tls_is_answered_without() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for answer in [plain, curt] {
        let server = Listening::start(answer);
        let (code, text) =
            run(here, &format!("pull 127.0.0.1:{}/web:v1 -o back.ami", server.port), &[]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains("there is no 127.0.0.1"), "{text}");
        assert_eq!(server.first()[0], HANDSHAKE);
        assert!(server.first().contains(&b'G'), "{:?}", server.first());
    }
    // An alert of TLS: no protocol or cipher in common.
    let alert = Listening::start(|mut client| {
        let _ = client.read(&mut [0; 4096]);
        let _ = client.write_all(&[21, 3, 3, 0, 2, 2, 40]);
    });
    let line = format!("pull 127.0.0.1:{}/web:v1 -o back.ami --insecure-endpoint", alert.port);
    let (code, text) = run(here, &line, &[]);
    assert_eq!(code, 3, "{text}");
    assert!(alert.first().iter().all(|byte| *byte == HANDSHAKE), "plain HTTP: {text}");
}
