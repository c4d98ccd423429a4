//! `serve nbd`: a client of our own for what real clients never do, and real clients for the rest.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::cast_possible_truncation)]

use std::fs;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;

use crate::common::amikit;
use crate::common::installed;
use crate::common::run_well;
use crate::schemas;

/// A server, ended with the test.
pub(crate) struct Server {
    child: Child,
    socket: PathBuf,
    lines: BufReader<std::process::ChildStdout>,
    pub(crate) listening: Value,
}

impl Server {
    pub(crate) fn start(folder: &Path, arguments: &str) -> Self {
        let socket = folder.join("nbd.sock");
        let mut command = amikit();
        command.current_dir(folder).args(["serve", "nbd", "--json", "--socket"]).arg(&socket);
        command.args(arguments.split_whitespace());
        Self::of(command, socket)
    }

    fn of(mut command: Command, socket: PathBuf) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let listening = serde_json::from_str(&line).unwrap_or_else(|e| {
            let mut text = String::new();
            child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
            panic!("{e}: {line}{text}")
        });
        Self { child, socket, lines, listening }
    }

    pub(crate) fn connect(&self) -> Client {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Client { stream, cookie: 0 }
    }

    /// Asks it to stop; returns its exit code and the lines that it printed.
    fn stop(mut self) -> (Option<i32>, Vec<Value>) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        let code = self.child.wait().unwrap().code();
        let mut lines = vec![self.listening.clone()];
        lines.extend(text.lines().map(|line| serde_json::from_str(line).unwrap()));
        (code, lines)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) struct Client {
    stream: UnixStream,
    cookie: u64,
}

const READ: u16 = 0;
const WRITE: u16 = 1;
const BLOCK_STATUS: u16 = 7;

impl Client {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn vec(&mut self, len: u32) -> Vec<u8> {
        let mut bytes = vec![0; len as usize];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    fn hello(&mut self) {
        assert_eq!(&self.take::<18>(), b"NBDMAGICIHAVEOPT\x00\x03");
        self.stream.write_all(&3_u32.to_be_bytes()).unwrap();
    }

    fn option(&mut self, option: u32, data: &[u8]) {
        let len = u32::try_from(data.len()).unwrap();
        let head = [&b"IHAVEOPT"[..], &option.to_be_bytes(), &len.to_be_bytes(), data].concat();
        self.stream.write_all(&head).unwrap();
    }

    /// Returns the kind and the data of an option's answer.
    fn answer(&mut self) -> (u32, Vec<u8>) {
        let head: [u8; 20] = self.take();
        assert_eq!(head[..8], 0x0003_e889_0455_65a9_u64.to_be_bytes());
        let number = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
        (number(12), self.vec(number(16)))
    }

    /// Chooses an export by name, with simple replies.
    pub(crate) fn choose(&mut self, name: &str) -> u64 {
        self.hello();
        self.option(1, name.as_bytes());
        let size = u64::from_be_bytes(self.take());
        self.take::<2>();
        size
    }

    fn ask(&mut self, command: u16, flags: u16, offset: u64, len: u32) {
        self.cookie += 1;
        let request = [
            &0x2560_9513_u32.to_be_bytes()[..],
            &flags.to_be_bytes(),
            &command.to_be_bytes(),
            &self.cookie.to_be_bytes(),
            &offset.to_be_bytes(),
            &len.to_be_bytes(),
        ]
        .concat();
        self.stream.write_all(&request).unwrap();
    }

    /// Returns the error of a simple reply.
    fn error(&mut self) -> u32 {
        let reply: [u8; 16] = self.take();
        assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
        assert_eq!(reply[8..], self.cookie.to_be_bytes());
        u32::from_be_bytes(reply[4..8].try_into().unwrap())
    }

    pub(crate) fn read(&mut self, offset: u64, len: u32) -> Result<Vec<u8>, u32> {
        self.ask(READ, 0, offset, len);
        match self.error() {
            0 => Ok(self.vec(len)),
            error => Err(error),
        }
    }
}

const SIZE: usize = 5 << 19;

/// A volume of five blocks: data, data, hole, hole, data.
fn bytes() -> Vec<u8> {
    let mut state = 7_u32;
    let mut bytes: Vec<u8> = (0..SIZE)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    bytes[2 << 19..4 << 19].fill(0);
    bytes
}

fn scene(folder: &Path) -> Vec<u8> {
    let bytes = bytes();
    crate::common::write_with_holes(&folder.join("v.raw"), &bytes);
    run_well(folder, "pack v.raw --map /dev/sdf=v.raw -o v.ami --name served");
    bytes
}

#[test]
fn each_device_of_a_bundle_reads_as_its_volume_and_sigterm_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = scene(folder.path());
    let server = Server::start(folder.path(), "v.ami");
    let mode = fs::metadata(&server.socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "only the owner may connect");
    let names: Vec<&str> = server.listening["listening"]["exports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|export| export["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["", "xvda", "sdf"]);
    for name in names {
        let mut client = server.connect();
        assert_eq!(client.choose(name), SIZE as u64);
        for (at, len) in [(0, SIZE), (1, 1), (524_280, 16), (SIZE - 1, 1), (1 << 20, 300_000)] {
            let read = client.read(at as u64, len as u32);
            assert!(read.as_deref() == Ok(&bytes[at..][..len]), "{len} bytes at {at} of {name:?}");
        }
    }
    let socket = server.socket.clone();
    let (code, lines) = server.stop();
    assert_eq!(code, Some(0));
    assert!(!socket.exists(), "the socket goes with its server");
    let schema = schemas::schema("serve-nbd");
    for line in &lines {
        let faults = schemas::check::faults(&schema, line);
        assert!(faults.is_empty(), "{faults:#?}\n{line}");
    }
    assert_eq!(lines.last().unwrap()["sum"]["connections"], 3);
}

#[test]
fn what_is_not_offered_is_refused_and_the_connection_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = scene(folder.path());
    let server = Server::start(folder.path(), "v.ami");
    let mut client = server.connect();
    let size = client.choose("");
    let (eperm, einval) = (1, 22);
    client.ask(WRITE, 0, 0, 512);
    client.stream.write_all(&[9; 512]).unwrap();
    assert_eq!(client.error(), eperm);
    for (command, flags, offset, len, error) in [
        (4, 0, 0, 512, eperm),
        (6, 0, 0, 512, eperm),
        (READ, 0, size, 1, einval),
        (READ, 0, size - 1, 2, einval),
        (READ, 0, u64::MAX, 1, einval),
        (READ, 0, 0, 0, einval),
        (READ, 0, 0, u32::MAX, einval),
        (READ, 1, 0, 512, einval),
        (BLOCK_STATUS, 0, 0, 512, einval),
        (5, 0, 0, 512, einval),
        (999, 0, 0, 512, einval),
    ] {
        client.ask(command, flags, offset, len);
        assert_eq!(client.error(), error, "command {command}, flags {flags}, {len} at {offset}");
    }
    assert!(client.read(5, 100).as_deref() == Ok(&bytes[5..105]));
    assert_eq!(fs::read(folder.path().join("v.raw")).unwrap(), bytes);
}

#[test]
fn options_that_do_not_add_up_are_refused_and_haggling_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    scene(folder.path());
    let server = Server::start(folder.path(), "v.ami");
    let mut client = server.connect();
    client.hello();
    let (unsup, invalid, unknown, too_big) = (0x8000_0001, 0x8000_0003, 0x8000_0006, 0x8000_0009);
    for (option, data, expected) in [
        (5, vec![], unsup),
        (11, vec![], unsup),
        (3, vec![1], invalid),
        (8, vec![1], invalid),
        (7, vec![], invalid),
        (7, vec![0xff; 6], invalid),
        (7, [&4_u32.to_be_bytes()[..], b"none", &[0, 0]].concat(), unknown),
        (10, vec![0; 8], invalid),
        (9, vec![0xff; 8], invalid),
        (9, [[0_u8; 4], [0xff; 4]].concat(), invalid),
        (3, vec![0; 9000], too_big),
    ] {
        client.option(option, &data);
        assert_eq!(client.answer().0, expected, "option {option} with {} bytes", data.len());
    }
    client.option(7, &[&4_u32.to_be_bytes()[..], b"none", &[0, 0]].concat());
    let text = String::from_utf8(client.answer().1).unwrap();
    assert!(text.starts_with("there is no export \"none\"; this server has \"\""), "{text}");
    // Both contexts, once there are structured replies.
    client.option(8, b"");
    assert_eq!(client.answer().0, 1);
    let names = ["base:allocation", "amikit:state", "other:thing"];
    let mut query = [[0; 4], 3_u32.to_be_bytes()].concat();
    for name in names {
        query.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        query.extend(name.as_bytes());
    }
    client.option(10, &query);
    for (id, name) in [(1_u32, names[0]), (2, names[1])] {
        assert_eq!(client.answer(), (4, [&id.to_be_bytes(), name.as_bytes()].concat()));
    }
    assert_eq!(client.answer().0, 1);
    client.option(7, &[0; 6]);
    while client.answer().0 != 1 {}
    // Data, hole, data, in both contexts; the range begins and ends inside blocks.
    client.ask(BLOCK_STATUS, 0, 100, u32::try_from(SIZE).unwrap() - 200);
    let mut states = Vec::new();
    for _ in 0..2 {
        let head: [u8; 20] = client.take();
        let len = u32::from_be_bytes(head[16..].try_into().unwrap());
        let body = client.vec(len);
        let numbers: Vec<u32> =
            body.chunks(4).map(|it| u32::from_be_bytes(it.try_into().unwrap())).collect();
        states.push(numbers);
    }
    let (data, hole) = ((1 << 20) - 100, 1 << 20);
    let last = (1 << 19) - 100;
    assert_eq!(states[0], [1, data, 0, hole, 3, last, 0]);
    assert_eq!(states[1], [2, data, 0, hole, 2, last, 0]);
}

/// Random bytes, connections that are cut, and those that say nothing, more than there is room for.
#[test]
fn whatever_a_peer_sends_the_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = scene(folder.path());
    let server = Server::start(folder.path(), "v.ami --connections 4");
    let mut client = server.connect();
    client.choose("");
    let mut silent = Vec::new();
    let mut state = 1_u64;
    for round in 0..200_usize {
        let mut peer = UnixStream::connect(&server.socket).unwrap();
        let mut garbage = Vec::new();
        for _ in 0..round {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            garbage.push((state >> 56) as u8);
        }
        if round % 3 == 0 {
            // Past the greeting, so that garbage is taken for options.
            garbage.splice(..0, *b"\0\0\0\x03IHAVEOPT\0\0\0\x06");
        }
        match peer.write_all(&garbage) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
            written => written.unwrap(),
        }
        if round % 2 == 0 {
            silent.push(peer);
        }
        let at = round * 13_000;
        assert!(client.read(at as u64, 20).as_deref() == Ok(&bytes[at..at + 20]), "round {round}");
    }
    // A new one gets in although none of the silent ones went away.
    let mut another = server.connect();
    assert_eq!(another.choose("sdf"), SIZE as u64);
    drop(silent);
    let began = Instant::now();
    assert_eq!(server.stop().0, Some(0));
    assert!(began.elapsed() < Duration::from_secs(15), "an idle peer does not keep it");
}

#[test]
fn a_read_that_fails_is_told_and_the_rest_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = scene(folder.path());
    // The volume's last byte is in the last block that the pack holds.
    let blobs = folder.path().join("v.ami/blobs/sha256");
    let pack = fs::read_dir(blobs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut stored = fs::read(&pack).unwrap();
    let middle = stored.len() / 2;
    stored[middle] ^= 1;
    fs::write(&pack, stored).unwrap();
    let server = Server::start(folder.path(), "v.ami");
    let mut client = server.connect();
    client.choose("");
    let blocks = [0_u64, 1, 4].map(|block| client.read(block << 19, 4096));
    assert!(blocks.contains(&Err(5)), "EIO for what is damaged");
    for (block, read) in [0_usize, 1, 4].into_iter().zip(&blocks) {
        if let Ok(read) = read {
            assert_eq!(read, &bytes[block << 19..][..4096]);
        }
    }
    // A hole is not in the pack.
    assert_eq!(client.read(2 << 19, 4096), Ok(vec![0; 4096]));
    let (code, lines) = server.stop();
    assert_eq!(code, Some(0));
    let failed = lines.iter().find_map(|line| line.get("failed")).expect("the log has it");
    assert!(failed["error"].as_str().unwrap().contains("v.ami"), "{failed}");
}

#[test]
fn an_image_that_was_written_to_is_not_served_to_new_peers() {
    let folder = tempfile::tempdir().unwrap();
    scene(folder.path());
    let server = Server::start(folder.path(), "v.raw");
    let mut first = server.connect();
    first.choose("");
    std::thread::sleep(Duration::from_millis(20));
    fs::write(folder.path().join("v.raw"), b"something else").unwrap();
    let mut second = server.connect();
    second.choose("");
    assert_eq!(second.stream.read(&mut [0; 16]).unwrap_or(0), 0, "the connection closes");
    let (code, lines) = server.stop();
    assert_eq!(code, Some(3), "{lines:?}");
}

#[test]
fn real_clients_read_the_volume_and_its_states() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = scene(folder.path());
    let server = Server::start(folder.path(), "v.ami");
    let uri = server.listening["listening"]["exports"][2]["uri"].as_str().unwrap().to_owned();
    let output = |program: &str, arguments: &[&str]| {
        let done = Command::new(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{program} {arguments:?}: {text}");
        String::from_utf8(done.stdout).unwrap()
    };
    if installed("nbdcopy") {
        let copy = folder.path().join("copy.raw");
        output("nbdcopy", &["--connections=4", &uri, copy.to_str().unwrap()]);
        assert!(fs::read(copy).unwrap() == bytes);
        let map = output("nbdinfo", &["--map", "--json", &uri]);
        let map: Value = serde_json::from_str(&map).unwrap();
        let types: Vec<u64> =
            map.as_array().unwrap().iter().map(|it| it["type"].as_u64().unwrap()).collect();
        assert_eq!(types, [0, 3, 0], "{map}");
    }
    if installed("qemu-img") {
        let raw = folder.path().join("v.raw");
        let raw = raw.to_str().unwrap();
        output("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, raw]);
        let map = output("qemu-img", &["map", "-f", "raw", "--output=json", &uri]);
        let map: Value = serde_json::from_str(&map).unwrap();
        let zero: Vec<bool> =
            map.as_array().unwrap().iter().map(|it| it["zero"].as_bool().unwrap()).collect();
        assert_eq!(zero, [false, true, false], "{map}");
    }
}

#[test]
fn a_socket_of_the_service_manager_is_used() {
    if !installed("systemd-socket-activate") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let bytes = scene(folder.path());
    let socket = folder.path().join("activated.sock");
    let mut command = Command::new("systemd-socket-activate");
    command.current_dir(folder.path()).arg("-l").arg(&socket);
    command.arg(env!("CARGO_BIN_EXE_amikit")).args(["serve", "nbd", "--json", "v.ami"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // The program is started by the first connection.
    let began = Instant::now();
    while !socket.exists() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut client = Client { stream, cookie: 0 };
    assert_eq!(client.choose(""), SIZE as u64);
    assert!(client.read(7, 70).as_deref() == Ok(&bytes[7..77]));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(socket.exists(), "the name is the service manager's");
}

#[test]
fn without_a_name_the_socket_is_in_a_private_folder_that_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    scene(folder.path());
    let mut command = amikit();
    command.current_dir(folder.path()).env("TMPDIR", folder.path());
    command.args(["serve", "nbd", "--json", "v.ami:sdf"]);
    let mut server = Server::of(command, PathBuf::new());
    let uri = server.listening["listening"]["exports"][0]["uri"].as_str().unwrap().to_owned();
    let path = uri.split_once("socket=").unwrap().1.to_owned();
    server.socket = PathBuf::from(&path);
    let private = server.socket.parent().unwrap().to_owned();
    assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(server.connect().choose(""), SIZE as u64);
    assert_eq!(server.stop().0, Some(0));
    assert!(!private.exists(), "the folder goes with its server");
}

/// A server that ends says why, and the end of a terminal is not the end of one that `nohup` started.
#[test]
fn the_signal_that_ends_a_server_is_said_and_nohup_is_respected() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("v.raw"), vec![7; 1 << 20]).unwrap();
    for (starter, outlives) in [("nohup", true), ("env", false)] {
        if !outlives && amikit::internals::io::ignores(1) {
            println!("skipped: these tests were started so that SIGHUP is ignored");
            continue;
        }
        let mut command = Command::new(starter);
        command.arg(env!("CARGO_BIN_EXE_amikit")).args(["serve", "nbd", "v.raw", "--socket"]);
        command.arg(folder.path().join(starter)).current_dir(folder.path()).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        if outlives {
            std::thread::sleep(Duration::from_millis(500));
            assert!(child.try_wait().unwrap().is_none(), "it ended with its terminal");
            UnixStream::connect(folder.path().join(starter)).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let signal =
            if outlives { "stopped by SIGTERM" } else { "stopped by SIGHUP: its terminal" };
        assert!(said.contains(signal), "{said}");
        assert_eq!(output.status.code(), Some(0));
    }
}
