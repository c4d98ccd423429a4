//! A gate before a registry: requests pass one by one, or do not.

use std::io::Read;
use std::io::Write;
use std::net::Shutdown;
use std::net::TcpListener;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::thread;

/// The head of a request: its first line, and all of it.
pub(super) struct Head {
    /// How many requests came before.
    pub(super) number: u64,
    pub(super) line: String,
    pub(super) text: String,
}

impl Head {
    pub(super) fn is(&self, method: &str, part: &str) -> bool {
        self.line.starts_with(method) && self.line.contains(part)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(super) fn len(&self) -> u64 {
        self.header("content-length").map_or(0, |it| it.parse().unwrap())
    }
}

/// What becomes of a request.
pub(super) enum Fate {
    Pass,
    /// The connection breaks before the registry hears of it.
    Cut,
    /// The connection breaks after so many bytes of the answer.
    CutAnswer(usize),
    /// The registry does not hear of the range.
    WithoutRange,
    /// A byte of the body's beginning is another one.
    Wrong,
    /// The answer announces another length.
    Announce(u64),
    /// This is the answer.
    Answer(String),
}

type Judge = dyn Fn(&Head) -> Fate + Send + Sync;

/// A gate that listens, and the bytes that came through it to the registry.
pub(super) struct Gate {
    pub(super) port: u16,
    pub(super) lines: Arc<Mutex<Vec<String>>>,
    bytes: Arc<AtomicU64>,
}

impl Gate {
    pub(super) fn before(
        registry: u16,
        judge: impl Fn(&Head) -> Fate + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Self { port, lines: Arc::default(), bytes: Arc::default() };
        let (lines, bytes) = (Arc::clone(&gate.lines), Arc::clone(&gate.bytes));
        let judge: Arc<Judge> = Arc::new(judge);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let (lines, bytes) = (Arc::clone(&lines), Arc::clone(&bytes));
                let judge = Arc::clone(&judge);
                // A client may go at any time: that is its business.
                thread::spawn(move || pass(client, registry, &*judge, &lines, &bytes));
            }
        });
        gate
    }

    /// Returns the bytes that the registry was sent since the last time.
    pub(super) fn sent(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }

    pub(super) fn count(&self, method: &str, part: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|it| it.starts_with(method) && it.contains(part)).count()
    }
}

fn length(len: usize) -> u64 {
    u64::try_from(len).unwrap()
}

fn pass(
    mut client: TcpStream,
    registry: u16,
    judge: &Judge,
    lines: &Mutex<Vec<String>>,
    bytes: &Arc<AtomicU64>,
) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
        // The first bytes of TLS are not a head: whoever asks for that hears that it is not to be had.
        if head.len() == 3 && head[0] == 22 {
            return None;
        }
    }
    let text = String::from_utf8(head).ok()?;
    let line = text.lines().next()?.to_owned();
    let number = {
        let mut lines = lines.lock().unwrap();
        lines.push(line.clone());
        length(lines.len()) - 1
    };
    let head = Head { number, line, text };
    let fate = judge(&head);
    let mut text = head.text.clone();
    match &fate {
        Fate::Cut => {
            // Half of what it brings is read: the connection breaks while it is sent.
            if head.header("expect").is_some() {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
            }
            let mut half = vec![0; usize::try_from(head.len() / 2).unwrap()];
            let _ = client.read_exact(&mut half);
            return None;
        }
        Fate::Answer(answer) => {
            // As servers do that do not want a body: they answer, and close. One that was not announced is on its
            // way, and an answer over a connection with unread bytes can be lost.
            if head.header("expect").is_none() {
                let mut body = vec![0; usize::try_from(head.len()).unwrap()];
                client.read_exact(&mut body).ok()?;
            }
            client.write_all(answer.as_bytes()).ok()?;
            return None;
        }
        Fate::WithoutRange => {
            let kept: Vec<_> =
                text.lines().filter(|it| !it.to_lowercase().starts_with("range:")).collect();
            text = kept.join("\r\n") + "\r\n";
        }
        _ => {}
    }
    let text = text.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    let mut upstream = TcpStream::connect(("127.0.0.1", registry)).ok()?;
    upstream.write_all(text.as_bytes()).ok()?;
    bytes.fetch_add(length(text.len()), Ordering::SeqCst);
    let (mut from, mut to) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    let counted = Arc::clone(bytes);
    let forward = thread::spawn(move || {
        let mut piece = vec![0; 1 << 16];
        while let Ok(len @ 1..) = from.read(&mut piece) {
            counted.fetch_add(length(len), Ordering::SeqCst);
            if to.write_all(&piece[..len]).is_err() {
                break;
            }
        }
    });
    answer(&mut client, &mut upstream, &fate);
    let _ = client.shutdown(Shutdown::Both);
    let _ = upstream.shutdown(Shutdown::Both);
    forward.join().ok()
}

/// Brings the answer back, changed as is wished.
fn answer(client: &mut TcpStream, upstream: &mut TcpStream, fate: &Fate) -> Option<()> {
    if let Fate::Pass | Fate::WithoutRange = fate {
        std::io::copy(upstream, client).ok()?;
        return Some(());
    }
    let mut all = Vec::new();
    upstream.read_to_end(&mut all).ok()?;
    let body = all.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    match fate {
        Fate::CutAnswer(len) => all.truncate(body + len),
        Fate::Wrong if all.len() > body => all[body] ^= 1,
        Fate::Announce(len) => {
            let head = String::from_utf8(all[..body].to_vec()).ok()?;
            let head: Vec<_> = head
                .lines()
                .map(|line| {
                    let is_it = line.to_lowercase().starts_with("content-length:");
                    if is_it { format!("Content-Length: {len}\r\n") } else { format!("{line}\r\n") }
                })
                .collect();
            all.splice(..body, head.concat().into_bytes());
        }
        _ => {}
    }
    client.write_all(&all).ok()
}
