//! Peers that mean no good, hundreds at a time: random, cut, slow, deaf. Both servers live, stay small, and serve the
//! others meanwhile. `AMIKIT_ROUNDS=600` does it for ten minutes.
#![allow(clippy::arithmetic_side_effects)]

use std::fs;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::common::Random;
use crate::common::amikit;
use crate::common::quick_folder;
use crate::common::rounds;
use crate::common::run_well;
use crate::common::sample;
use crate::ebs::client::Client;

/// Connections that are open at once.
const PEERS: usize = 1000;

/// Threads that have them.
const THREADS: usize = 50;

/// Connections that a server takes at once; the others wait.
const TAKEN: u64 = 256;

/// What a server may grow by: 64 MiB, and 1 MiB for each peer.
const MOST_GROWTH: u64 = (64 + TAKEN) << 20;

/// How long the others may wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server under attack, ended when it is dropped.
struct Victim {
    process: Child,
    address: SocketAddr,
}

impl Victim {
    fn start(folder: &Path, line: &str) -> Self {
        let mut command = amikit();
        command.current_dir(folder).args(line.split(' '));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let first: Value = serde_json::from_str(&line).unwrap();
        // A log that nobody reads would stop it.
        thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let url =
            first["listening"]["url"].as_str().or(first["listening"]["exports"][0]["uri"].as_str());
        let url = url.unwrap_or_else(|| panic!("{first}"));
        let (_, address) = url.split_once("://").unwrap();
        let address = address.trim_end_matches('/').parse().unwrap();
        Self { process, address }
    }

    /// A line of its status, in bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        kib << 10
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    // More than the system keeps waiting are turned away, which is fine.
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    Some(stream)
}

/// One thread's peers, until the time is over: each gets something of a few kinds, and then goes.
fn torment(address: SocketAddr, words: &[Vec<u8>], mut random: Random, until: Instant) -> usize {
    let mut count = 0;
    while Instant::now() < until {
        let mut peers: Vec<TcpStream> =
            (0..PEERS / THREADS).filter_map(|_| connect(address)).collect();
        count += peers.len();
        for peer in &mut peers {
            let mut text = words[random.index(words.len())].clone();
            let sent = match random.below(8) {
                0 => {
                    let len = random.index(4000);
                    peer.write_all(&random.bytes(len))
                }
                1 => {
                    for _ in 0..=random.below(6) {
                        let at = random.index(text.len());
                        text[at] = u8::try_from(random.below(256)).unwrap();
                    }
                    peer.write_all(&text)
                }
                2 => {
                    let len = random.index(text.len());
                    peer.write_all(&text[..len])
                }
                // Many questions, and no ear for the answers.
                3 => peer.write_all(&text.repeat(200)),
                // A beginning that never ends.
                4 => peer.write_all(&[&text[..20], &vec![b'a'; 100_000][..]].concat()),
                5 => Ok(()),
                // Slow: a byte for each time that this thread comes by.
                6 => peer.write_all(&text[..1]),
                _ => peer.write_all(&text),
            };
            // The server may have hung up, which is its right.
            drop(sent);
        }
        for step in 1..4 {
            for peer in &mut peers {
                let text = &words[0];
                let _ = match random.below(4) {
                    0 => peer.write_all(&text[step..=step]).map(|()| 0),
                    1 => peer.read(&mut [0; 512]),
                    _ => Ok(0),
                };
            }
            thread::sleep(Duration::from_millis(random.below(60)));
        }
    }
    count
}

/// Attacks a server while `serve_me` is answered, and says how many peers and answers there were.
fn attack(victim: &mut Victim, words: &[Vec<u8>], name: &str, serve_me: &dyn Fn(SocketAddr)) {
    let mut random = Random::new(name);
    serve_me(victim.address);
    let (before, address) = (victim.memory("VmRSS:"), victim.address);
    let time = Duration::from_secs(u64::try_from(rounds(sample(20))).unwrap());
    let until = Instant::now() + time;
    let (peers, answers, longest) = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| Random::with_seed(random.next()))
            .map(|random| scope.spawn(move || torment(address, words, random, until)))
            .collect();
        let (mut answers, mut longest) = (0, Duration::ZERO);
        while Instant::now() < until {
            let began = Instant::now();
            serve_me(address);
            longest = longest.max(began.elapsed());
            answers += 1;
            thread::sleep(Duration::from_millis(50));
        }
        let peers: usize = threads.into_iter().map(|it| it.join().unwrap()).sum();
        (peers, answers, longest)
    });
    assert!(victim.process.try_wait().unwrap().is_none(), "{name}: the server is gone");
    let growth = victim.memory("VmHWM:").saturating_sub(before);
    println!("{name}: {peers} peers, {answers} answers, longest {longest:?}, grew {growth} bytes");
    assert!(growth <= MOST_GROWTH, "{name}: it grew by {growth} bytes");
    assert!(peers >= PEERS / 2 && answers > 0 && longest < PATIENCE, "{name}");
    serve_me(address);
}

#[test]
fn ec2_outlives_peers_that_mean_no_good() {
    let folder = quick_folder();
    run_well(folder.path(), "store init images");
    let mut victim = Victim::start(folder.path(), "serve aws images --listen 127.0.0.1:0 --json");
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/peer");
    let files = fs::read_dir(seeds).unwrap();
    let mut words: Vec<Vec<u8>> = files.map(|it| fs::read(it.unwrap().path()).unwrap()).collect();
    let block = "PUT /snapshots/snap-1/blocks/0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 524288\r\n\r\n";
    words.push([block.as_bytes(), &vec![7; 300_000]].concat());
    attack(&mut victim, &words, "ec2", &|address| {
        let began = Instant::now();
        let form = b"Action=GetCallerIdentity&Version=2011-06-15";
        // A peer that waits its turn may be turned away, and comes again.
        while began.elapsed() < PATIENCE {
            let stream = TcpStream::connect_timeout(&address, PATIENCE);
            let Ok(stream) = stream else { continue };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut client = Client::of(stream);
            let who = ("210987654321", "us-east-1");
            let asked = (who, "sts", "POST /");
            let Ok(answer) = client.try_ask(asked, &[], form) else { continue };
            let text = String::from_utf8(answer.body).unwrap();
            return assert!(text.contains("<Account>210987654321</Account>"), "{text}");
        }
        panic!("nobody answers");
    });
}

#[test]
fn nbd_outlives_peers_that_mean_no_good() {
    let folder = quick_folder();
    let mut bytes = Random::with_seed(1).bytes(1 << 20);
    bytes.resize(48 << 20, 5);
    fs::write(folder.path().join("v.raw"), &bytes).unwrap();
    let mut victim = Victim::start(folder.path(), "serve nbd v.raw --listen 127.0.0.1:0 --json");
    let hello = b"\0\0\0\x03";
    let go = b"IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0";
    let read = |len: u32| {
        let head = [&0x2560_9513_u32.to_be_bytes()[..], &[0; 4], &[9; 8], &[0; 8]].concat();
        [&head[..], &len.to_be_bytes()].concat()
    };
    let start = [&hello[..], go].concat();
    let words = [
        [&start[..], &read(4096)].concat(),
        [&start[..], &read(32 << 20)].concat(),
        [&start[..], &read(32 << 20).repeat(40)].concat(),
        [&hello[..], b"IHAVEOPT\0\0\0\x03\0\0\0\0", b"IHAVEOPT\0\0\0\x08\0\0\0\0", go].concat(),
        [&hello[..], b"IHAVEOPT\0\0\0\x06\xff\xff\xff\xff"].concat(),
    ];
    attack(&mut victim, &words, "nbd", &|address| {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else { continue };
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = Vec::new();
            let asked = stream.write_all(&[&start[..], &read(4096)].concat());
            let whole = asked.and_then(|()| {
                while !answer.ends_with(&bytes[..4096]) {
                    let mut piece = [0; 4096];
                    match stream.read(&mut piece)? {
                        0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                        len => answer.extend_from_slice(&piece[..len]),
                    }
                }
                Ok(())
            });
            if whole.is_ok() {
                return;
            }
        }
        panic!("nobody answers");
    });
}

/// Peers choose which snapshots are open, and how many: what is decompressed of them has one room.
#[test]
fn many_snapshots_that_are_read_take_no_more_memory_than_a_few() {
    const AMIS: usize = 14;
    const BLOCKS: usize = 66;
    let folder = quick_folder();
    let here = folder.path();
    run_well(here, "store init images");
    let mut random = Random::with_seed(14);
    for number in 0..AMIS {
        // Two groups of blocks that are unlike each other, and small when they are packed.
        let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| random.bytes(1024).repeat(512)).collect();
        fs::write(here.join("v.raw"), blocks.concat()).unwrap();
        run_well(here, &format!("pack v.raw -o images@ami-{number}"));
    }
    let victim = Victim::start(here, "serve aws images --listen 127.0.0.1:0 --json");
    let before = victim.memory("VmHWM:");
    let mut client = Client::of(TcpStream::connect(victim.address).unwrap());
    let who = ("123456789012", "us-east-1");
    let form = b"Action=DescribeSnapshots&Version=2016-11-15&Owner.1=self";
    let listed = String::from_utf8(client.ask(who, "ec2", "POST /", &[], form).body).unwrap();
    let ids: Vec<&str> =
        listed.split("<snapshotId>").skip(1).map(|it| it.split_once('<').unwrap().0).collect();
    assert_eq!(ids.len(), AMIS, "{listed}");
    for id in ids {
        let list = client.ask(who, "ebs", &format!("GET /snapshots/{id}/blocks"), &[], b"").json();
        for index in [BLOCKS - 4, BLOCKS - 1] {
            let block = &list["Blocks"][index];
            let token = block["BlockToken"].as_str().unwrap();
            let mut escaped = String::new();
            for byte in token.bytes() {
                std::fmt::Write::write_fmt(&mut escaped, format_args!("%{byte:02X}")).unwrap();
            }
            let line =
                format!("GET /snapshots/{id}/blocks/{}?blockToken={escaped}", block["BlockIndex"]);
            let answer = client.ask(who, "ebs", &line, &[], b"");
            assert_eq!((answer.status, answer.body.len()), (200, 512 << 10), "{id}");
        }
    }
    let growth = victim.memory("VmHWM:").saturating_sub(before);
    println!("{AMIS} snapshots: grew {growth} bytes");
    // Nine groups, and what decodes one of them.
    assert!(growth <= 420 << 20, "it grew by {growth} bytes");
}
